//! One transaction for whatever is ready, and in it each command for itself.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use runproof_engine::admission::admit;
use runproof_engine::ports::StoreError;
use runproof_store::{CommandError, Opened, Store};
use rusqlite::Connection;
use serde_json::json;

use crate::doubles::{START, block_on};
use crate::support::*;

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Opened, CommandError>> + Send + 'a>>;

/// Hands commands to the writer while it cannot begin, so that all of them are in one transaction.
fn together<'a>(disk: &OnDisk, commands: Vec<Opening<'a>>) -> Vec<Result<String, CommandError>> {
    let blocker = disk.raw();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut commands = commands;
    for command in &mut commands {
        let polled = command.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending), "the writer waits for the lock");
    }
    blocker.execute_batch("COMMIT").unwrap();
    commands.into_iter().map(|command| block_on(command).map(|opened| opened.run.id)).collect()
}

fn opening<'a>(store: &'a Arc<dyn Store>, run_id: &str, agent: &str, key: Option<&str>) -> Opening<'a> {
    let mut asked = request(TENANT, run_id, Some(plan(json!([{"id": "pay", "skill": "pay"}]))));
    asked.agent = agent.to_owned();
    asked.idempotency_key = key.map(str::to_owned);
    store.open_run(admit(asked).unwrap(), None, stamp(START))
}

/// Transactions in a write-ahead log: frames that end one say how large the database is then.
fn transactions(path: &Path) -> usize {
    let log = std::fs::read(format!("{}-wal", path.display())).unwrap();
    let word = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = 24 + word(8) as usize;
    (32..log.len()).step_by(frame).filter(|at| word(at + 4) > 0).count()
}

fn ids(store: &dyn Store) -> Vec<String> {
    let mut ids: Vec<String> =
        block_on(store.list_runs(None, 999)).unwrap().into_iter().map(|run| run.run_id).collect();
    ids.sort();
    ids
}

#[test]
fn what_is_ready_is_one_transaction() {
    let disk = OnDisk::new();
    let store = disk.store();
    populate(store.as_ref());
    disk.keeper.wait_for(5);
    let before = transactions(&disk.path);
    let commands = (0..100).map(|count| opening(&store, &format!("r_{count}"), AGENT, None)).collect();
    let done = together(&disk, commands);
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    disk.keeper.wait_for(5 + 300);
    assert_eq!(transactions(&disk.path), before + 2, "one for a hundred runs, one for the checkpoint over them");
    let numbers: Vec<u64> = block_on(store.list_runs(None, 999)).unwrap().iter().filter_map(|run| run.run_no).collect();
    assert_eq!(numbers.len(), 100);
    audit_ledger(&disk);
}

/// Makes SQLite fail at the last write of a command with this idempotency key.
fn trap(raw: &Connection, key: &str, action: &str) {
    let sql = format!(
        "CREATE TRIGGER trap_{key} BEFORE INSERT ON idempotency_keys WHEN NEW.key = '{key}'
         BEGIN SELECT RAISE({action}, 'the disk is full'); END"
    );
    raw.execute_batch(&sql).unwrap();
}

#[test]
fn a_command_that_fails_takes_nothing_with_it() {
    let disk = OnDisk::new();
    let store = disk.store();
    populate(store.as_ref());
    trap(&disk.raw(), "boom", "ABORT");
    let commands = vec![
        opening(&store, "r_1", AGENT, None),
        opening(&store, "r_2", "nobody", None),
        opening(&store, "r_3", AGENT, Some("boom")),
        opening(&store, "r_4", AGENT, Some("fine")),
        opening(&store, "r_5", AGENT, Some("boom")),
        opening(&store, "r_1", AGENT, None),
        opening(&store, "r_6", AGENT, None),
    ];
    let full = Err(CommandError::Store(StoreError::Unavailable("the disk is full".to_owned())));
    let expected = [
        Ok("r_1".to_owned()),
        Err(CommandError::NoAgent { tenant: TENANT.to_owned(), agent: "nobody".to_owned() }),
        full.clone(),
        Ok("r_4".to_owned()),
        full,
        Err(CommandError::Refused("run `r_1` exists already".to_owned())),
        Ok("r_6".to_owned()),
    ];
    assert_eq!(together(&disk, commands), expected);
    assert_eq!(ids(store.as_ref()), ["r_1", "r_4", "r_6"]);
    let numbers: Vec<Option<u64>> = block_on(store.list_runs(None, 9)).unwrap().iter().map(|run| run.run_no).collect();
    assert_eq!(numbers, [Some(3), Some(2), Some(1)], "what failed used up no number");
    audit_ledger(&disk);
}

#[test]
fn a_transaction_that_sqlite_takes_back_leaves_nothing_behind() {
    let mut disk = OnDisk::new();
    let store = disk.store();
    populate(store.as_ref());
    // What SQLite does by itself when the disk is full or cannot be written: the whole transaction is gone at once.
    trap(&disk.raw(), "boom", "ROLLBACK");
    let commands = vec![
        opening(&store, "r_1", AGENT, None),
        opening(&store, "r_2", AGENT, Some("boom")),
        opening(&store, "r_3", AGENT, None),
        opening(&store, "r_4", AGENT, Some("fine")),
    ];
    let done = together(&disk, commands);
    for result in &done[..2] {
        assert!(
            matches!(result, Err(CommandError::Store(StoreError::Unavailable(_)))),
            "nobody is told that it was written: {done:?}"
        );
    }
    assert_eq!(done[2..], [Ok("r_3".to_owned()), Ok("r_4".to_owned())], "who comes after is in the next transaction");
    assert_eq!(ids(store.as_ref()), ["r_3", "r_4"]);
    block_on(opening(&store, "r_1", AGENT, None)).unwrap();
    drop(store);
    audit_ledger(&disk);
    disk.restart();
    audit_ledger(&disk);
}
