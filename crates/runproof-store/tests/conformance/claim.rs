//! Who may work on a run, and when.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use runproof_engine::driver::Left;
use runproof_engine::ports::{Claimed, Claims, Fence, StoreError};
use runproof_engine::run::{CallId, WaitReason};
use runproof_store::Store;
use serde_json::{Value, json};

use crate::doubles::{START, block_on};
use crate::support::*;

const LATER: u64 = START + 1_000_000_000;

fn pay() -> Value {
    plan(json!([{"id": "pay", "skill": "pay"}]))
}

fn queue(store: &dyn Store, tenant: &str, run_id: &str, now: u64) {
    block_on(store.open_run(admitted(tenant, run_id, Some(pay())), None, stamp(now))).unwrap();
}

fn take(store: &dyn Store, owner: &str, now: u64, limit: usize) -> Vec<String> {
    let Claims { taken, unreadable } = block_on(store.claim(owner, now, limit)).unwrap();
    assert_eq!(unreadable, []);
    assert!(taken.iter().all(|claimed| claimed.fence.owner == owner));
    taken.into_iter().map(|claimed| claimed.run.id).collect()
}

pub(crate) fn an_opened_run_is_due_unless_somebody_has_it(subject: &mut dyn Subject) {
    let store = subject.store();
    open(store.as_ref(), TENANT, "r_1", pay());
    assert!(take(store.as_ref(), "w_2", LATER, 10).is_empty(), "it was opened for somebody");
    queue(store.as_ref(), TENANT, "r_2", START);
    assert!(take(store.as_ref(), "w_2", START - 1, 10).is_empty());
    let taken = block_on(store.claim("w_2", START, 10)).unwrap().taken;
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].fence, Fence { owner: "w_2".to_owned(), epoch: 1 });
    assert_same(&taken[0].run, &load(store.as_ref(), TENANT, "r_2"));
    assert!(take(store.as_ref(), "w_3", LATER, 10).is_empty());
}

pub(crate) fn a_run_that_waits_for_its_time_is_not_due_before(subject: &mut dyn Subject) {
    let store = subject.store();
    let opened = claimed(open(store.as_ref(), TENANT, "r_1", plan(json!([{"id": "busy", "skill": "busy"}]))));
    let process = Process::plain(Arc::clone(&store) as _);
    let (run, left) = block_on(process.driver.drive(opened, process.cancel.as_ref())).unwrap();
    assert_eq!(left, Left::Until(START + 60_000_000));
    assert_eq!(run.status().word(), "retry");
    assert!(take(store.as_ref(), WORKER, START + 59_999_999, 10).is_empty());
    assert_eq!(take(store.as_ref(), WORKER, START + 60_000_000, 10), ["r_1"]);
}

pub(crate) fn the_longest_due_are_taken_first_up_to_the_limit(subject: &mut dyn Subject) {
    let store = subject.store();
    for (run_id, now) in [("r_3", START + 3), ("r_1", START + 1), ("r_4", START + 4), ("r_2", START + 2)] {
        queue(store.as_ref(), TENANT, run_id, now);
    }
    assert!(take(store.as_ref(), WORKER, LATER, 0).is_empty());
    let mut first = take(store.as_ref(), WORKER, LATER, 2);
    first.sort();
    assert_eq!(first, ["r_1", "r_2"]);
    assert_eq!(take(store.as_ref(), WORKER, START + 3, 9), ["r_3"]);
    assert_eq!(take(store.as_ref(), WORKER, LATER, 9), ["r_4"]);
}

pub(crate) fn a_run_is_taken_by_one_worker_only(subject: &mut dyn Subject) {
    let store = subject.store();
    queue(store.as_ref(), TENANT, "r_1", START);
    let first = block_on(store.claim_run("w_1", TENANT, "r_1")).unwrap().unwrap();
    assert_eq!(first.fence, Fence { owner: "w_1".to_owned(), epoch: 1 });
    assert!(block_on(store.claim_run("w_2", TENANT, "r_1")).unwrap().is_none());
    assert!(block_on(store.claim_run("w_1", TENANT, "r_1")).unwrap().is_none(), "not even by the same one twice");
    assert!(take(store.as_ref(), "w_2", LATER, 10).is_empty());
}

pub(crate) fn a_run_that_waits_for_somebody_is_taken_by_name_only(subject: &mut dyn Subject) {
    let store = subject.store();
    let (run, left) = driven(&store, TENANT, "r_1", plan(json!([{"id": "doubt", "skill": "doubt"}])));
    assert_eq!(left, Left::Waiting(WaitReason::Resolution(CallId::parse("doubt").unwrap())));
    assert!(take(store.as_ref(), WORKER, u64::MAX >> 1, 10).is_empty());
    let taken = block_on(store.claim_run("w_2", TENANT, "r_1")).unwrap().unwrap();
    assert_same(&taken.run, &run);
    assert_eq!(taken.fence.epoch, 2);
}

pub(crate) fn what_cannot_be_taken_is_not_there(subject: &mut dyn Subject) {
    let store = subject.store();
    driven(&store, TENANT, "r_1", pay());
    for (tenant, run_id) in [(TENANT, "r_1"), (OTHER, "r_1"), (TENANT, "r_9"), ("t_9", "r_1")] {
        assert!(block_on(store.claim_run(WORKER, tenant, run_id)).unwrap().is_none(), "{tenant} {run_id}");
    }
}

pub(crate) fn claims_of_a_process_that_ended_are_given_back(subject: &mut dyn Subject) {
    let old = {
        let store = subject.store();
        queue(store.as_ref(), TENANT, "r_due", START);
        let (_, left) = driven(&store, TENANT, "r_parked", plan(json!([{"id": "doubt", "skill": "doubt"}])));
        assert!(matches!(left, Left::Waiting(_)));
        open(store.as_ref(), TENANT, "r_held", pay())
    };
    subject.restart();
    let store = subject.store();
    let mut due = take(store.as_ref(), "w_2", START, 10);
    due.sort();
    assert_eq!(due, ["r_due", "r_held"], "what waits for somebody still does");
    // The process that was thought dead comes back: its fence is too old.
    let process = Process::plain(Arc::clone(&store) as _);
    let late = Claimed { run: old.run, fence: old.fence.unwrap() };
    assert_eq!(process.drive(late).map(drop), Err(StoreError::Conflict("r_held".to_owned())));
}

pub(crate) fn many_workers_share_the_runs_between_them(subject: &mut dyn Subject) {
    let store = subject.store();
    for count in 0..40 {
        queue(store.as_ref(), if count % 2 == 0 { TENANT } else { OTHER }, &format!("r_{count}"), START + count);
    }
    let taken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (store, taken) = (Arc::clone(&store), &taken);
            scope.spawn(move || {
                loop {
                    let mine = take(store.as_ref(), &format!("w_{worker}"), LATER, 3);
                    if mine.is_empty() {
                        return;
                    }
                    taken.lock().unwrap().extend(mine);
                }
            });
        }
    });
    let taken = taken.into_inner().unwrap();
    assert_eq!(taken.len(), 40, "nobody took what another one has");
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>().len(), 40);
}
