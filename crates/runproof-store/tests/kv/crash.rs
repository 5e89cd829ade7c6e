//! Every durable write of a run that counts fails once, before it or after it, and then again while it recovers.

use std::sync::Arc;

use runproof_engine::admission::admit;
use runproof_engine::ports::{Claimed, StoreError};
use runproof_engine::run::RunStatus;
use runproof_proof::event::{EndStatus, StepStatus};
use runproof_proof::finding::Verdict;
use runproof_store::faults::{Fault, FaultPlan, Faulty};
use runproof_store::{CommandError, Store};
use serde_json::{Value, json};

use super::{incr, output, process, step, stored_number};
use crate::doubles::{FakeClock, START, Seeds, block_on};
use crate::on_postgres::OnPostgres;
use crate::support::*;

/// Counts, fails to count, and reads what it counted.
fn counting() -> Value {
    let mut not_counted = step("not_counted", json!({"operation": "incr", "key": "text"}));
    not_counted["on_error"] = json!("continue");
    plan(json!([
        incr("one"),
        step("ten", json!({"operation": "incr", "key": "n", "amount": 10})),
        step("text", json!({"operation": "set", "key": "text", "value": "no number"})),
        not_counted,
        step("down", json!({"operation": "decr", "key": "n", "amount": 4})),
        step("brief", json!({"operation": "set", "key": "brief", "value": 1, "ttl_seconds": 60})),
        step("gone", json!({"operation": "delete", "key": "brief"})),
        step("read", json!({"operation": "get", "key": "n"})),
    ]))
}

/// A process lives until the run is over or the store fails it.
fn live(subject: &dyn Subject, faults: &Arc<FaultPlan>, seeds: &Arc<Seeds>) -> Result<(), StoreError> {
    let store: Arc<dyn Store> = Arc::new(Faulty::new(subject.store(), Arc::clone(faults)));
    let process = process(Arc::clone(&store) as _, subject.key_values(), &FakeClock::new(), seeds);
    let mut asked = request(TENANT, "r_1", Some(counting()));
    asked.idempotency_key = Some("asked-once".to_owned());
    let opened = block_on(store.open_run(admit(asked).unwrap(), Some(WORKER.to_owned()), stamp(START)));
    let opened = opened.map_err(|error| {
        let CommandError::Store(error) = error else { panic!("{error}") };
        error
    })?;
    if let Some(fence) = opened.fence {
        process.drive(Claimed { run: opened.run, fence })?;
    }
    for claimed in block_on(store.claim(WORKER, u64::MAX >> 1, 16))?.taken {
        process.drive(claimed)?;
    }
    Ok(())
}

/// Lives through the faults, one process for each, and then without one. Answers whether every fault happened.
fn tell(begin: fn() -> Box<dyn Subject>, faults: &[(u64, Fault)]) -> bool {
    let mut subject = begin();
    populate(subject.store().as_ref());
    let (seeds, mut fired) = (Arc::new(Seeds::default()), true);
    for (nth, fault) in faults {
        let plan = FaultPlan::new(*nth, *fault);
        let lived = live(subject.as_ref(), &plan, &seeds);
        assert_eq!(lived.is_err(), plan.fired(), "only the fault ends a process: {lived:?}");
        fired &= plan.fired();
        subject.restart();
    }
    live(subject.as_ref(), &FaultPlan::new(0, Fault::Before), &seeds).unwrap();
    judge(subject.as_ref());
    fired
}

/// Whatever happened, the numbers are those of a run that nothing happened to.
fn judge(subject: &dyn Subject) {
    let store = subject.store();
    let run = load(store.as_ref(), TENANT, "r_1");
    assert_eq!(run.status(), RunStatus::Ended(EndStatus::Succeeded), "{:#?}", run.steps);
    for (step, expected) in [
        ("one", json!({"value": 1})),
        ("ten", json!({"value": 11})),
        ("text", json!({"created": true})),
        ("down", json!({"value": 7})),
        ("brief", json!({"created": true})),
        ("gone", json!({"found": true})),
        ("read", json!({"found": true, "value": 7})),
    ] {
        assert_eq!(output(&run, step), expected, "{step}");
    }
    let not_counted = run.steps.iter().find(|settled| settled.step.step_id == "not_counted").unwrap();
    assert_eq!(not_counted.step.status, StepStatus::Failure);
    assert_eq!(not_counted.step.code.as_deref(), Some("kv.not_a_number"));
    let values = subject.key_values();
    assert_eq!(stored_number(values.as_ref()), Some(7));
    let version = |key: &str| block_on(values.read(TENANT, key)).unwrap().map(|stored| stored.version);
    let returned = |step: &str| returned_at(store.as_ref(), TENANT, "r_1", step);
    assert_eq!(version("default:n"), returned("down"), "what is stored came with the outcome of its step");
    assert_eq!(version("default:text"), returned("text"));
    assert_eq!(version("default:brief"), None);
    drop(values);
    subject.keeper().wait_for(placed(&evidence(store.as_ref(), TENANT, "r_1").transitions).last().unwrap().index + 1);
    assert_verdict(&prove(subject, TENANT, "r_1"), Verdict::Verified);
    audit_ledger(subject);
}

/// Every write fails once, in both ways.
fn every_write_fails_once(begin: fn() -> Box<dyn Subject>) {
    for fault in [Fault::Before, Fault::After] {
        let writes = (1..).take_while(|nth| tell(begin, &[(*nth, fault)])).count();
        assert!(writes >= 10, "the story has only {writes} writes");
    }
}

#[test]
fn in_memory_a_counter_is_incremented_once_for_every_step_that_succeeded() {
    every_write_fails_once(InMemory::begin);
}

#[test]
fn on_disk_a_counter_is_incremented_once_for_every_step_that_succeeded() {
    every_write_fails_once(OnDisk::begin);
}

#[test]
fn on_postgres_a_counter_is_incremented_once_for_every_step_that_succeeded() {
    every_write_fails_once(OnPostgres::direct);
}

#[test]
fn a_second_crash_during_the_recovery_counts_nothing_twice() {
    for first in [Fault::Before, Fault::After] {
        for second in [Fault::Before, Fault::After] {
            for nth in 1..=12 {
                (1..=4).take_while(|then| tell(InMemory::begin, &[(nth, first), (*then, second)])).count();
            }
        }
    }
}
