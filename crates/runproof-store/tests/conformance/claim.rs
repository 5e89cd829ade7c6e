//! Who may work on a run, and when.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use runproof_engine::admission::{RunRequest, admit};
use runproof_engine::driver::Left;
use runproof_engine::ports::{Claimed, Claims, Fence, StoreError, UNREADABLE_FOR};
use runproof_engine::run::{CallId, WaitReason};
use runproof_proof::event::FORMAT_LEVEL;
use runproof_store::{CommandError, LimitRow, Store, TenantChange};
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

/// Queues a run of an agent, with a priority.
fn queue_for(store: &dyn Store, tenant: &str, agent: &str, run_id: &str, priority: u8, now: u64) {
    let request = RunRequest { agent: agent.to_owned(), priority, ..request(tenant, run_id, Some(pay())) };
    block_on(store.open_run(admit(request).unwrap(), None, stamp(now))).unwrap();
}

/// What one run at a time is taken, in order.
fn in_turn(store: &dyn Store, count: usize) -> Vec<String> {
    (0..count).flat_map(|_| take(store, WORKER, LATER, 1)).collect()
}

pub(crate) fn a_higher_priority_goes_first_in_its_tenant(subject: &mut dyn Subject) {
    let store = subject.store();
    for (run_id, priority, now) in [("low", 0, 1), ("usual_2", 5, 3), ("usual_1", 5, 2), ("high", 9, 4)] {
        queue_for(store.as_ref(), TENANT, AGENT, run_id, priority, START + now);
    }
    assert_eq!(take(store.as_ref(), WORKER, START, 9), [""; 0], "not before it is due, whatever its priority");
    assert_eq!(in_turn(store.as_ref(), 5), ["high", "usual_1", "usual_2", "low"]);
}

pub(crate) fn tenants_take_turns(subject: &mut dyn Subject) {
    let store = subject.store();
    for count in 0..3 {
        queue_for(store.as_ref(), TENANT, AGENT, &format!("many_{count}"), 9, START + count);
    }
    queue_for(store.as_ref(), OTHER, AGENT, "other_0", 0, START + 10);
    queue_for(store.as_ref(), OTHER, AGENT, "other_1", 0, START + 11);
    // A priority is worth something in its own tenant only; who has as many going as the other comes when it is due.
    assert_eq!(in_turn(store.as_ref(), 5), ["many_0", "other_0", "many_1", "other_1", "many_2"]);
}

pub(crate) fn one_claim_shares_as_many_claims_would(subject: &mut dyn Subject) {
    let store = subject.store();
    for count in 0..9 {
        queue_for(store.as_ref(), TENANT, AGENT, &format!("many_{count}"), 5, START + count);
    }
    queue_for(store.as_ref(), OTHER, AGENT, "other", 5, START + 20);
    let mut taken = take(store.as_ref(), WORKER, LATER, 3);
    taken.sort();
    assert_eq!(taken, ["many_0", "many_1", "other"]);
}

pub(crate) fn no_limit_on_running_runs_is_passed(subject: &mut dyn Subject) {
    let store = subject.store();
    let store = store.as_ref();
    change(store, TENANT, TenantChange::CreateAgent { id: "a_2".to_owned(), name: "second".to_owned() });
    let limit = |agent: Option<&str>, most| block_on(store.set_limit(TENANT, agent, most)).unwrap();
    limit(None, Some(3));
    limit(Some(AGENT), Some(1));
    for count in 0..3 {
        queue_for(store, TENANT, AGENT, &format!("first_{count}"), 9, START + count);
        queue_for(store, TENANT, "a_2", &format!("second_{count}"), 1, START + count);
    }
    queue_for(store, OTHER, AGENT, "other", 5, START);
    let mut taken = take(store, WORKER, LATER, 16);
    taken.sort();
    assert_eq!(taken, ["first_0", "other", "second_0", "second_1"], "what is full stands in nobody's way");
    assert!(take(store, "w_2", LATER, 16).is_empty(), "limits are about all workers together");
    let row = |agent: Option<&str>, max_running, running| LimitRow {
        tenant_id: TENANT.to_owned(),
        agent_id: agent.map(str::to_owned),
        max_running,
        running,
    };
    assert_eq!(block_on(store.limits(TENANT)).unwrap(), [row(None, 3, 3), row(Some(AGENT), 1, 1)]);
    assert_eq!(block_on(store.limits(OTHER)).unwrap(), []);
    limit(Some(AGENT), None);
    limit(None, Some(4));
    assert_eq!(take(store, WORKER, LATER, 16), ["first_1"]);
    limit(None, None);
    assert_eq!(take(store, WORKER, LATER, 16).len(), 2);
    assert_eq!(block_on(store.limits(TENANT)).unwrap(), []);
}

pub(crate) fn a_limit_is_about_a_tenant_or_agent_that_exists(subject: &mut dyn Subject) {
    let store = subject.store();
    let set = |tenant, agent| block_on(store.set_limit(tenant, agent, Some(1)));
    assert_eq!(set("t_9", None), Err(CommandError::NoTenant("t_9".to_owned())));
    let no_agent = CommandError::NoAgent { tenant: TENANT.to_owned(), agent: "a_9".to_owned() };
    assert_eq!(set(TENANT, Some("a_9")), Err(no_agent));
    assert_eq!(block_on(store.limits(TENANT)).unwrap(), []);
}

pub(crate) fn who_asks_for_one_run_is_not_held_back_by_a_limit(subject: &mut dyn Subject) {
    let store = subject.store();
    block_on(store.set_limit(TENANT, None, Some(0))).unwrap();
    queue(store.as_ref(), TENANT, "r_1", START);
    assert!(take(store.as_ref(), WORKER, LATER, 9).is_empty());
    assert!(block_on(store.claim_run(WORKER, TENANT, "r_1")).unwrap().is_some());
}

pub(crate) fn a_damaged_run_takes_no_other_with_it(subject: &mut dyn Subject) {
    let store = subject.store();
    for run_id in ["r_1", "r_2", "r_3"] {
        queue(store.as_ref(), TENANT, run_id, START);
    }
    let (whole, damaged) = ("\"kind\":\"run.created\"", "\"kind\":\"run.creates\"");
    subject.rewrite(TENANT, "r_2", whole, damaged);
    let before = evidence(store.as_ref(), TENANT, "r_2");
    let claims = block_on(store.claim(WORKER, LATER, 16)).unwrap();
    let taken: BTreeSet<&str> = claims.taken.iter().map(|claimed| claimed.run.id.as_str()).collect();
    assert_eq!(taken, BTreeSet::from(["r_1", "r_3"]));
    let named: Vec<(&str, &str)> =
        claims.unreadable.iter().map(|unreadable| (unreadable.tenant.as_str(), unreadable.run_id.as_str())).collect();
    assert_eq!(named, [(TENANT, "r_2")]);
    assert!(matches!(claims.unreadable[0].problem, StoreError::Corrupt { .. }), "{:?}", claims.unreadable);
    // It is left alone for a while, and nothing that is recorded of it has changed.
    assert!(!block_on(store.has_due(LATER + UNREADABLE_FOR - 1)).unwrap());
    assert!(block_on(store.has_due(LATER + UNREADABLE_FOR)).unwrap());
    let after = evidence(store.as_ref(), TENANT, "r_2");
    assert_eq!((after.transitions, after.rows), (before.transitions, before.rows));
    assert!(block_on(store.claim_run(WORKER, TENANT, "r_2")).is_err());
    subject.rewrite(TENANT, "r_2", damaged, whole);
    assert_eq!(take(store.as_ref(), WORKER, LATER + UNREADABLE_FOR, 16), ["r_2"]);
}

pub(crate) fn a_run_of_a_newer_version_is_left_alone(subject: &mut dyn Subject) {
    let store = subject.store();
    queue(store.as_ref(), TENANT, "r_1", START);
    subject.set_format(TENANT, "r_1", FORMAT_LEVEL + 1);
    assert!(take(store.as_ref(), WORKER, LATER, 16).is_empty());
    assert!(!block_on(store.has_due(LATER)).unwrap(), "there is nothing to do for this version");
    subject.set_format(TENANT, "r_1", FORMAT_LEVEL);
    assert_eq!(take(store.as_ref(), WORKER, LATER, 16), ["r_1"]);
}

pub(crate) fn a_claim_is_given_back_by_who_holds_it_only(subject: &mut dyn Subject) {
    let store = subject.store();
    queue(store.as_ref(), TENANT, "r_1", START);
    let fence = block_on(store.claim_run("w_1", TENANT, "r_1")).unwrap().unwrap().fence;
    let give_back = |fence: &Fence| block_on(store.give_back(TENANT, "r_1", fence, LATER)).unwrap();
    give_back(&Fence { owner: "w_2".to_owned(), ..fence.clone() });
    give_back(&Fence { epoch: fence.epoch + 1, ..fence.clone() });
    assert!(!block_on(store.has_due(u64::MAX >> 1)).unwrap(), "it is still held");
    give_back(&fence);
    assert!(take(store.as_ref(), WORKER, LATER - 1, 1).is_empty());
    assert_eq!(take(store.as_ref(), WORKER, LATER, 1), ["r_1"]);
}

pub(crate) fn a_request_is_answered_once(subject: &mut dyn Subject) {
    let store = subject.store();
    queue(store.as_ref(), TENANT, "r_1", START);
    block_on(store.claim_run(WORKER, TENANT, "r_1")).unwrap().expect("nobody holds it");
    let leave = |body: &str| block_on(store.leave_request(TENANT, Some("r_1"), body)).unwrap();
    let (first, second) = (leave("first"), leave("second"));
    assert_eq!(block_on(store.take_answer(TENANT, first)).unwrap(), None);
    let open = block_on(store.open_requests(WORKER)).unwrap();
    assert_eq!(open.iter().map(|request| request.body.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    block_on(store.answer_request(&open[0], "done")).unwrap();
    assert!(!block_on(store.withdraw_request(TENANT, first)).unwrap(), "it has its answer");
    assert_eq!(block_on(store.take_answer(OTHER, first)).unwrap(), None, "it is another tenant's");
    assert_eq!(block_on(store.take_answer(TENANT, first)).unwrap().as_deref(), Some("done"));
    assert_eq!(block_on(store.take_answer(TENANT, first)).unwrap(), None, "an answer is taken once");
    assert!(!block_on(store.withdraw_request(OTHER, second)).unwrap());
    assert!(block_on(store.withdraw_request(TENANT, second)).unwrap());
    assert!(!block_on(store.withdraw_request(TENANT, second)).unwrap());
    assert_eq!(block_on(store.open_requests(WORKER)).unwrap(), []);
}
