//! What a failure takes with it, when many write at once. What an append costs is in `disk/growth.rs`.

use std::pin::Pin;
use std::task::{Context, Waker};

use runproof_engine::decide::{Command, Context as Facts, decide};
use runproof_engine::ports::{Append, Claim, Claimed, Journal};
use runproof_engine::projection::{self, Cell, Row};
use runproof_engine::skill::Skills;
use runproof_store::{Store, TenantChange};
use serde_json::json;

use super::count;
use crate::doubles::{START, block_on};
use crate::support::*;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

fn waiting() -> serde_json::Value {
    plan(json!([{"id": "pay", "skill": "pay"}]))
}

/// An append that fails at its last statement: the queue has moved and the events are in the ledger by then.
fn fails_at_the_end(claimed: &Claimed) -> Append {
    let mut append = claim_event(claimed);
    let cells = vec![("tenant_id", Cell::Null); 22];
    append.rows.steps.push(Row { table: "aos_trace_steps", key: &["step_index"], cells });
    append
}

fn claim_event(Claimed { run, fence }: &Claimed) -> Append {
    let command = Command::Claim { worker: fence.owner.clone(), epoch: fence.epoch };
    let decision = decide(run, command, &Facts { now: START, seed: [9; 32], facts: &Skills::default() }).unwrap();
    Append {
        tenant: run.tenant.clone(),
        run_id: run.id.clone(),
        fence: fence.clone(),
        expected_seq: run.next_seq,
        expected_head: run.head,
        rows: projection::changes(run, &decision.run),
        lines: decision.lines.into(),
        writes: Vec::new(),
        claim: Claim::Keep,
    }
}

#[test]
fn a_job_that_fails_takes_nothing_with_it() {
    let mut disk = OnDisk::new();
    let store = disk.sqlite();
    populate(store.as_ref());
    let held = claimed(open(store.as_ref(), TENANT, "held", waiting()));
    let before = count(&disk.raw(), "SELECT max(first_leaf + event_count) FROM transitions");

    // Nobody can write while all of them are handed in: the writer takes them in one transaction.
    let lock = disk.raw();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut jobs: Vec<(bool, Answer<'_>)> = Vec::new();
    for n in 0..40 {
        let good = TenantChange::CreateAgent { id: format!("a_{n}_more"), name: "n".to_owned() };
        let twice = TenantChange::CreateAgent { id: AGENT.to_owned(), name: "n".to_owned() };
        let run = admitted(OTHER, &format!("r_{n}"), Some(waiting()));
        let mut nobody = run.clone();
        nobody.request.agent = "nobody".to_owned();
        jobs.push((
            true,
            Box::pin(async { store.change_tenant(TENANT, good, stamp(START)).await.map_err(|error| text(&error)) }),
        ));
        jobs.push((
            false,
            Box::pin(async { store.append(fails_at_the_end(&held)).await.map_err(|error| text(&error)) }),
        ));
        jobs.push((
            true,
            Box::pin(async { store.open_run(run, None, stamp(START)).await.map(drop).map_err(|error| text(&error)) }),
        ));
        jobs.push((
            false,
            Box::pin(async {
                store.open_run(nobody, None, stamp(START)).await.map(drop).map_err(|error| text(&error))
            }),
        ));
        jobs.push((
            false,
            Box::pin(async { store.change_tenant(TENANT, twice, stamp(START)).await.map_err(|error| text(&error)) }),
        ));
    }
    for (_, job) in &mut jobs {
        assert!(
            job.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(),
            "nothing is acknowledged before it is durable"
        );
    }
    lock.execute_batch("COMMIT").unwrap();
    for (number, (good, job)) in jobs.into_iter().enumerate() {
        let answer = block_on(job);
        assert_eq!(answer.is_ok(), good, "job {number}: {answer:?}");
    }

    let db = disk.raw();
    assert_eq!(count(&db, "SELECT count(*) FROM agents WHERE tenant_id = 't_1'"), 41);
    assert_eq!(
        count(&db, "SELECT max(run_no) FROM runs WHERE tenant_id = 't_2'"),
        40,
        "what is refused uses up no number"
    );
    // 40 agents, and 40 runs of three events each; nothing of what failed.
    assert_eq!(count(&db, "SELECT max(first_leaf + event_count) FROM transitions"), before + 40 + 40 * 3);
    block_on(store.append(claim_event(&held))).expect("the run is where it was");
    drop(store);
    audit_ledger(&disk);
    disk.restart();
    audit_ledger(&disk);
}
