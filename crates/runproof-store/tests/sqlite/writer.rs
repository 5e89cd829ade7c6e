//! What commits together, what a failure takes with it, and what an append costs in rows.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use runproof_engine::decide::{Command, Context as Facts, decide};
use runproof_engine::draft::Draft;
use runproof_engine::ports::{Append, Claim, Claimed, Journal};
use runproof_engine::projection::{self, Cell, Row};
use runproof_engine::skill::Skills;
use runproof_proof::event::{RunPaused, RunResumed};
use runproof_store::{Store, TenantChange};
use serde_json::json;

use super::count;
use crate::doubles::{START, block_on, operator};
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
        lines: decision.lines,
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
        jobs.push((true, Box::pin(async { store.change_tenant(TENANT, good, stamp(START)).await.map_err(|error| text(&error)) })));
        jobs.push((false, Box::pin(async { store.append(fails_at_the_end(&held)).await.map_err(|error| text(&error)) })));
        jobs.push((true, Box::pin(async { store.open_run(run, None, stamp(START)).await.map(drop).map_err(|error| text(&error)) })));
        jobs.push((false, Box::pin(async { store.open_run(nobody, None, stamp(START)).await.map(drop).map_err(|error| text(&error)) })));
        jobs.push((false, Box::pin(async { store.change_tenant(TENANT, twice, stamp(START)).await.map_err(|error| text(&error)) })));
    }
    for (_, job) in &mut jobs {
        assert!(job.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "nothing is acknowledged before it is durable");
    }
    lock.execute_batch("COMMIT").unwrap();
    for (number, (good, job)) in jobs.into_iter().enumerate() {
        let answer = block_on(job);
        assert_eq!(answer.is_ok(), good, "job {number}: {answer:?}");
    }

    let db = disk.raw();
    assert_eq!(count(&db, "SELECT count(*) FROM agents WHERE tenant_id = 't_1'"), 41);
    assert_eq!(count(&db, "SELECT max(run_no) FROM runs WHERE tenant_id = 't_2'"), 40, "what is refused uses up no number");
    // 40 agents, and 40 runs of three events each; nothing of what failed.
    assert_eq!(count(&db, "SELECT max(first_leaf + event_count) FROM transitions"), before + 40 + 40 * 3);
    block_on(store.append(claim_event(&held))).expect("the run is where it was");
    drop(store);
    audit_ledger(&disk);
    disk.restart();
    audit_ledger(&disk);
}

/// Counts every row that anybody inserts or updates, in all tables that an append may write.
fn count_writes(db: &rusqlite::Connection) {
    let mut sql = "CREATE TABLE written (n INTEGER NOT NULL); INSERT INTO written VALUES (0);".to_owned();
    for table in ["transitions", "ledger_tiles", "run_queue", "runs", "aos_traces", "aos_trace_steps", "run_seals", "stream_heads", "kv"] {
        for verb in ["INSERT", "UPDATE", "DELETE"] {
            sql.push_str(&format!("CREATE TRIGGER count_{table}_{verb} AFTER {verb} ON {table} BEGIN UPDATE written SET n = n + 1; END;"));
        }
    }
    db.execute_batch(&sql).unwrap();
}

#[test]
fn an_append_writes_as_many_rows_late_as_early() {
    const EVENTS: usize = 32; // of an append
    const APPENDS: usize = 32; // of a chunk: 1,024 leaves, four tiles
    const CHUNKS: usize = 20;
    let disk = OnDisk::new();
    count_writes(&disk.raw());
    let store = disk.sqlite();
    populate(store.as_ref());
    let Claimed { mut run, fence } = claimed(open(store.as_ref(), TENANT, "r_1", waiting()));
    let db = disk.raw();
    let read = || (count(&db, "SELECT n FROM written"), count(&db, "SELECT count(*) FROM transitions"), count(&db, "SELECT count(*) FROM ledger_tiles"));
    let mut costs = Vec::new();
    for _ in 0..CHUNKS {
        let before = read();
        for _ in 0..APPENDS {
            let mut draft = Draft::new(run.clone(), START, [9; 32]);
            for _ in 0..EVENTS / 2 {
                draft.push(|_| Ok(RunPaused { actor: operator(), reason: None })).unwrap();
                draft.push(|_| Ok(RunResumed { actor: operator(), reason: None })).unwrap();
            }
            let append = Append {
                tenant: TENANT.to_owned(),
                run_id: "r_1".to_owned(),
                fence: fence.clone(),
                expected_seq: run.next_seq,
                expected_head: run.head,
                rows: projection::changes(&run, &draft.run),
                lines: draft.lines,
                writes: Vec::new(),
                claim: Claim::Keep,
            };
            block_on(store.append(append)).unwrap();
            run = draft.run;
        }
        let after = read();
        costs.push((after.0 - before.0, after.1 - before.1, after.2 - before.2));
    }
    assert!(run.next_seq >= 20_000);
    for (written, transitions, tiles) in &costs {
        assert_eq!(*transitions, APPENDS as i64, "an append is one row: {costs:?}");
        assert!((4..=6).contains(tiles), "a tile is a row: {costs:?}");
        let first = costs[1].0;
        assert!((written - first).abs() * 100 <= first, "{costs:?}");
    }
    drop(store);
    assert_eq!(block_on(disk.sqlite().load_run(TENANT, "r_1")).unwrap().unwrap().next_seq, run.next_seq);
}
