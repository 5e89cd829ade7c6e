//! Opening runs, and appending to them under a claim.

use std::sync::Arc;

use runproof_engine::admission::admit;
use runproof_engine::decide::{Command, Context, decide};
use runproof_engine::ports::{Append, Claim, Claimed, Fence, StoreError};
use runproof_engine::projection;
use runproof_engine::run::{Run, RunStatus};
use runproof_engine::skill::{EffectClass, Skills};
use runproof_proof::event::{EndReason, EndStatus};
use runproof_proof::hash::sha256;
use runproof_store::{CommandError, Opened, Store};
use serde_json::json;

use crate::doubles::{Cancel, START, Scripted, block_on};
use crate::support::*;

/// What a worker writes first: that it took the run, and what follows.
pub(crate) fn first_append(claimed: &Claimed, claim: Claim) -> (Append, Run) {
    let Claimed { run, fence } = claimed;
    let mut skills = Skills::default();
    skills.register(Scripted::new("pay", EffectClass::Unsafe, Vec::new(), &Arc::new(Cancel::default()))).unwrap();
    let context = Context { now: START, seed: [9; 32], facts: &skills };
    let command = Command::Claim { worker: fence.owner.clone(), epoch: fence.epoch };
    let decision = decide(run, command, &context).unwrap();
    let append = Append {
        tenant: run.tenant.clone(),
        run_id: run.id.clone(),
        fence: fence.clone(),
        expected_seq: run.next_seq,
        expected_head: run.head,
        rows: projection::changes(run, &decision.run),
        lines: decision.lines.into(),
        writes: Vec::new(),
        claim,
    };
    (append, decision.run)
}

/// Nothing that can be read of the run differs afterwards.
pub(super) fn writes_nothing(store: &dyn Store, append: Append, expected: StoreError) {
    let (tenant, run_id) = (append.tenant.clone(), append.run_id.clone());
    let read = || {
        let mut evidence = evidence(store, &tenant, &run_id);
        evidence.checkpoint = None; // signed a moment later by some stores
        evidence.shared.remove("checkpoints");
        evidence.settled_id = None; // moves when the transactions of a moment before are over
        format!("{evidence:#?}")
    };
    let before = read();
    assert_eq!(block_on(store.append(append)), Err(expected));
    assert_eq!(before, read());
}

/// Somebody else wrote, or holds the claim.
fn conflicts(store: &dyn Store, append: Append) {
    let conflict = StoreError::Conflict(append.run_id.clone());
    writes_nothing(store, append, conflict);
}

pub(super) fn endless() -> serde_json::Value {
    plan(json!([{"id": "pay", "skill": "pay"}]))
}

pub(crate) fn runs_of_a_tenant_are_numbered_without_gaps(subject: &mut dyn Subject) {
    let store = subject.store();
    let number = |opened: &Opened| opened.run.header.as_ref().map(|header| header.run_no).unwrap();
    for expected in 1..=3u64 {
        let opened = open(store.as_ref(), TENANT, &format!("r_{expected}"), endless());
        assert_eq!(number(&opened), expected);
        // What is refused in between uses up no number, and another tenant counts for itself.
        let refused = admitted(TENANT, &format!("r_{expected}"), Some(endless()));
        assert!(block_on(store.open_run(refused, None, stamp(START))).is_err());
        assert_eq!(number(&open(store.as_ref(), OTHER, &format!("o_{expected}"), endless())), expected);
    }
}

pub(crate) fn a_run_of_nobody_is_not_opened(subject: &mut dyn Subject) {
    let store = subject.store();
    let open = |tenant: &str, agent: &str| {
        let mut asked = request(tenant, "r_1", Some(endless()));
        asked.agent = agent.to_owned();
        block_on(store.open_run(admit(asked).unwrap(), None, stamp(START))).map(|opened| opened.run.id)
    };
    assert_eq!(open("t_9", AGENT), Err(CommandError::NoTenant("t_9".to_owned())));
    let no_agent = CommandError::NoAgent { tenant: TENANT.to_owned(), agent: "a_9".to_owned() };
    assert_eq!(open(TENANT, "a_9"), Err(no_agent));
    assert_eq!(block_on(store.load_run(TENANT, "r_1")).unwrap().map(|run| run.id), None);
    assert!(block_on(store.list_runs(None, 10)).unwrap().is_empty());
}

pub(crate) fn an_idempotency_key_makes_one_run(subject: &mut dyn Subject) {
    let store = subject.store();
    let open = |tenant: &str, run_id: &str, goal: &str| {
        let mut asked = request(tenant, run_id, Some(endless()));
        asked.goal = goal.to_owned();
        asked.idempotency_key = Some("key-1".to_owned());
        block_on(store.open_run(admit(asked).unwrap(), Some(WORKER.to_owned()), stamp(START)))
    };
    let first = open(TENANT, "r_1", "look around").unwrap();
    assert!(!first.existing && first.fence.is_some());
    let again = open(TENANT, "r_2", "look around").unwrap();
    assert!(again.existing && again.fence.is_none(), "whoever asks again gets the run, and no claim on it");
    assert_same(&first.run, &again.run);
    let reused = CommandError::KeyReused { key: "key-1".to_owned(), run_id: "r_1".to_owned() };
    assert_eq!(open(TENANT, "r_3", "look elsewhere").map(drop), Err(reused));
    assert!(!open(OTHER, "r_1", "look elsewhere").unwrap().existing, "a key is the tenant's own");
    assert_eq!(block_on(store.list_runs(Some(TENANT), 10)).unwrap().len(), 1);
}

pub(crate) fn a_run_id_is_used_once_in_a_tenant(subject: &mut dyn Subject) {
    let store = subject.store();
    open(store.as_ref(), TENANT, "r_1", endless());
    let again = block_on(store.open_run(admitted(TENANT, "r_1", Some(endless())), None, stamp(START)));
    assert_eq!(again.map(drop), Err(CommandError::Refused("run `r_1` exists already".to_owned())));
    open(store.as_ref(), OTHER, "r_1", endless());
}

pub(crate) fn an_append_at_a_stale_head_writes_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    let claimed = claimed(open(store.as_ref(), TENANT, "r_1", endless()));
    let (append, after) = first_append(&claimed, Claim::Keep);
    conflicts(store.as_ref(), Append { expected_seq: append.expected_seq + 1, ..append.clone() });
    conflicts(store.as_ref(), Append { expected_head: sha256(b"elsewhere"), ..append.clone() });
    block_on(store.append(append.clone())).unwrap();
    assert_same(&load(store.as_ref(), TENANT, "r_1"), &after);
    conflicts(store.as_ref(), append);
}

pub(crate) fn an_append_under_another_claim_writes_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    let claimed = claimed(open(store.as_ref(), TENANT, "r_1", endless()));
    open(store.as_ref(), OTHER, "r_1", endless());
    let (append, _) = first_append(&claimed, Claim::Keep);
    for (owner, epoch) in [(WORKER, 0), (WORKER, 2), ("w_2", 1)] {
        let fence = Fence { owner: owner.to_owned(), epoch };
        conflicts(store.as_ref(), Append { fence, ..append.clone() });
    }
    conflicts(store.as_ref(), Append { tenant: OTHER.to_owned(), ..append.clone() });
    conflicts(store.as_ref(), Append { run_id: "r_9".to_owned(), ..append.clone() });
    block_on(store.append(append)).unwrap();
}

/// With rows in every table: those of the same run, as another tenant's came to its end.
pub(crate) fn an_end_under_another_claim_writes_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    let ended = {
        let before = claimed(open(store.as_ref(), OTHER, "r_1", mixed_plan()));
        let opened = before.run.clone();
        projection::changes(&opened, &Process::plain(subject.store()).drive(before).unwrap().0)
    };
    assert!(ended.run.is_some() && ended.trace.is_some() && ended.seal.is_some() && !ended.steps.is_empty());
    let claimed = claimed(open(store.as_ref(), TENANT, "r_1", mixed_plan()));
    let trace_id = projection::run_row(&claimed.run).get("trace_id").clone();
    let ours = |mut row: projection::Row| {
        for (name, cell) in &mut row.cells {
            match *name {
                "tenant_id" => *cell = projection::Cell::Text(TENANT.to_owned()),
                "trace_id" => *cell = trace_id.clone(),
                _ => {}
            }
        }
        row
    };
    let rows = projection::RowChanges {
        run: ended.run.map(ours),
        trace: ended.trace.map(ours),
        steps: ended.steps.into_iter().map(ours).collect(),
        seal: ended.seal.map(ours),
    };
    let (append, _) = first_append(&claimed, Claim::End);
    let fence = Fence { epoch: 2, ..claimed.fence };
    conflicts(store.as_ref(), Append { fence, rows, ..append });
}

pub(crate) fn an_append_after_the_claim_was_given_back_writes_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    for (run_id, claim) in [("r_1", Claim::Release(START)), ("r_2", Claim::Park)] {
        let claimed = claimed(open(store.as_ref(), TENANT, run_id, endless()));
        let (append, after) = first_append(&claimed, claim);
        block_on(store.append(append)).unwrap();
        let (next, _) =
            first_append(&Claimed { run: after, fence: Fence { epoch: 2, ..claimed.fence.clone() } }, Claim::Keep);
        conflicts(store.as_ref(), Append { fence: claimed.fence.clone(), ..next.clone() });
        let taken = block_on(store.claim_run("w_2", TENANT, run_id)).unwrap().unwrap();
        assert_eq!(taken.fence, Fence { owner: "w_2".to_owned(), epoch: 2 });
        conflicts(store.as_ref(), Append { fence: claimed.fence, ..next });
    }
}

pub(crate) fn a_run_that_is_over_takes_nothing_more(subject: &mut dyn Subject) {
    let store = subject.store();
    let opened = claimed(open(store.as_ref(), TENANT, "r_1", endless()));
    let (run, _) = Process::plain(Arc::clone(&store) as _).drive(opened.clone()).unwrap();
    assert_eq!(run.status(), RunStatus::Ended(EndStatus::Succeeded));
    let (append, _) = first_append(&opened, Claim::Keep);
    conflicts(store.as_ref(), Append { expected_seq: run.next_seq, expected_head: run.head, ..append });
    assert!(block_on(store.claim_run(WORKER, TENANT, "r_1")).unwrap().is_none());
}

pub(crate) fn a_run_without_a_plan_is_over_when_it_is_opened(subject: &mut dyn Subject) {
    let store = subject.store();
    let mut asked = request(TENANT, "r_1", None);
    asked.goal = "fetch http://".to_owned();
    let opened = block_on(store.open_run(admit(asked).unwrap(), Some(WORKER.to_owned()), stamp(START))).unwrap();
    assert_eq!(opened.run.status(), RunStatus::Ended(EndStatus::Failed));
    assert_eq!(opened.run.seal.as_ref().map(|(seal, _)| seal.reason), Some(EndReason::PlannerFailed));
    assert_eq!(opened.fence, None);
    assert!(block_on(store.claim(WORKER, u64::MAX >> 1, 10)).unwrap().taken.is_empty());
    assert_rows(&evidence(store.as_ref(), TENANT, "r_1"), &opened.run);
}

pub(crate) fn writes_of_a_skill_come_with_its_outcome(subject: &mut dyn Subject) {
    let store = subject.store();
    for run_id in ["r_1", "r_2"] {
        driven(&store, TENANT, run_id, plan(json!([{"id": "note", "skill": "note"}])));
        let noted = block_on(subject.key_values().read(TENANT, "noted")).unwrap().unwrap();
        assert_eq!(noted.value, br#"{"by":"note"}"#);
        assert_eq!(Some(noted.version), returned_at(store.as_ref(), TENANT, run_id, "note"));
    }
    assert_eq!(block_on(subject.key_values().read(OTHER, "noted")).unwrap(), None, "keys are the tenant's own");
}

pub(crate) fn many_at_once_are_all_written(subject: &mut dyn Subject) {
    let store = subject.store();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                for count in 0..6 {
                    let tenant = if count % 2 == 0 { TENANT } else { OTHER };
                    let (run, _) = driven(&store, tenant, &format!("r_{thread}_{count}"), mixed_plan());
                    assert_eq!(run.status(), RunStatus::Ended(EndStatus::Succeeded));
                }
            });
        }
    });
    for tenant in [TENANT, OTHER] {
        let runs = block_on(store.list_runs(Some(tenant), 100)).unwrap();
        let mut numbers: Vec<u64> = runs.iter().map(|run| run.run_no.unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=24).collect::<Vec<_>>());
        assert!(runs.iter().all(|run| run.status == "succeeded"));
    }
    assert!(block_on(subject.key_values().read(TENANT, "noted")).unwrap().is_some());
}
