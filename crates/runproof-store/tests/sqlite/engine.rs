//! Being the engine of a file: one process at a time, never on the wrong file, never behind what was signed.

use std::sync::Arc;

use runproof_engine::ports::{Journal, StoreError};
use runproof_store::sqlite::{self, OpenError, SqliteStore};
use runproof_store::{CommandError, Store};
use serde_json::json;

use crate::doubles::{START, block_on};
use crate::support::*;

const NOW: &str = "2027-01-15T08:00:00.000000Z";

fn opened(path: &std::path::Path, keeper: &Keeper) -> Result<(), OpenError> {
    SqliteStore::open_engine(path, keeper.notary()).map(drop)
}

#[test]
fn a_second_engine_on_a_file_is_busy_and_a_reader_is_not() {
    let mut disk = OnDisk::new();
    populate(disk.store().as_ref());
    assert!(matches!(opened(&disk.path, &disk.keeper), Err(OpenError::Busy(path)) if path == disk.path));
    let reader = SqliteStore::open_reader(&disk.path).unwrap();
    assert_eq!((reader.is_engine(), reader.log(), reader.path()), (false, LOG, disk.path.as_path()));
    assert_eq!(block_on(reader.list_agents(None)).unwrap().len(), 2);
    disk.close();
    assert!(opened(&disk.path, &disk.keeper).is_ok());
}

#[test]
fn a_reader_writes_nothing_and_says_why() {
    let disk = OnDisk::new();
    populate(disk.store().as_ref());
    let reader = SqliteStore::open_reader(&disk.path).unwrap();
    let refused = StoreError::Unavailable("this process is not the engine".to_owned());
    let plan = plan(json!([{"id": "pay", "skill": "pay"}]));
    let opened = block_on(reader.open_run(admitted(TENANT, "r_1", Some(plan)), None, stamp(START)));
    assert_eq!(opened.map(drop), Err(CommandError::Store(refused.clone())));
    assert_eq!(block_on(reader.claim(WORKER, START, 1)).map(drop), Err(refused));
}

#[test]
fn a_reader_leaves_requests_that_the_engine_answers() {
    let disk = OnDisk::new();
    let engine = disk.sqlite();
    let reader = SqliteStore::open_reader(&disk.path).unwrap();
    let first = reader.leave_request(TENANT, "cancel r_1").unwrap();
    let second = reader.leave_request(OTHER, "cancel r_2").unwrap();
    assert_eq!(reader.take_answer(first).unwrap(), None);
    let open = engine.open_requests().unwrap();
    assert_eq!(open, [(first, TENANT.to_owned(), "cancel r_1".to_owned()), (second, OTHER.to_owned(), "cancel r_2".to_owned())]);
    block_on(engine.answer_request(first, "done".to_owned())).unwrap();
    assert_eq!(engine.open_requests().unwrap().len(), 1);
    assert_eq!(reader.take_answer(first).unwrap().as_deref(), Some("done"));
    assert_eq!(reader.take_answer(first).unwrap(), None, "an answer is taken once");
    assert_eq!(reader.take_answer(second).unwrap(), None);
}

#[test]
fn a_file_that_is_missing_empty_or_without_a_ledger_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.db");
    let keeper = Keeper::new(7, None);
    assert!(matches!(opened(&path, &keeper), Err(OpenError::Missing(missing)) if missing == path));
    assert!(matches!(SqliteStore::open_reader(&path).map(drop), Err(OpenError::Missing(_))));
    assert!(matches!(sqlite::status(&path), Err(OpenError::Missing(_))));
    assert!(!path.exists(), "opening makes no database");
    std::fs::write(&path, b"").unwrap();
    let error = opened(&path, &keeper).unwrap_err();
    assert!(matches!(&error, OpenError::NotMigrated { status, .. } if status.current.is_none()), "{error}");
    assert!(error.to_string().ends_with("has schema version none, this program needs 1"), "{error}");
    sqlite::create(&path, NOW).unwrap();
    assert!(matches!(opened(&path, &keeper), Err(OpenError::NoLedger(_))));
    std::fs::write(dir.path().join("text.db"), "this is not a database, however long it may be".repeat(99)).unwrap();
    assert!(matches!(opened(&dir.path().join("text.db"), &keeper), Err(OpenError::Migrate(_))));
}

#[test]
fn a_ledger_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runproof.db");
    let keeper = Keeper::new(7, None);
    sqlite::create(&path, NOW).unwrap();
    SqliteStore::create_ledger(&path, keeper.notary(), [1; 32]).unwrap();
    let first = keeper.last().unwrap();
    assert_eq!(first.size, 1);
    SqliteStore::create_ledger(&path, keeper.notary(), [2; 32]).unwrap();
    let store = SqliteStore::open_engine(&path, keeper.notary()).unwrap();
    assert_eq!((store.tree_size().unwrap(), store.root_at(1).unwrap()), (1, first.root));
    assert_eq!(store.ledger_key().unwrap(), Some(keeper.notary().signer().verifier().vkey()));
}

#[test]
fn a_key_other_than_the_ledgers_never_signs() {
    let mut disk = OnDisk::new();
    populate(disk.store().as_ref());
    disk.close();
    let other = Keeper::new(8, None);
    let error = opened(&disk.path, &other).unwrap_err();
    assert!(matches!(&error, OpenError::OtherKey { key, ledger } if key != ledger), "{error}");
    assert_eq!(other.last(), None);
    assert!(opened(&disk.path, &disk.keeper).is_ok(), "the lock was given back");
}

#[test]
fn a_database_behind_the_kept_checkpoint_was_rolled_back() {
    let mut disk = OnDisk::new();
    populate(disk.store().as_ref());
    disk.close();
    let copy = std::fs::read(&disk.path).unwrap();
    disk.store = Some(Arc::new(SqliteStore::open_engine(&disk.path, disk.keeper.notary()).unwrap()));
    driven(&disk.store(), TENANT, "r_1", mixed_plan());
    disk.close();
    let kept = disk.keeper.last().unwrap().size;
    std::fs::write(&disk.path, copy).unwrap();
    let error = opened(&disk.path, &disk.keeper).unwrap_err();
    assert!(matches!(&error, OpenError::RolledBack { found: 5, kept: newest } if *newest == kept), "{error}");
    assert_eq!(disk.keeper.last().unwrap().size, kept, "nothing was signed");
}

#[test]
fn a_database_with_another_history_was_replaced() {
    let (mut one, mut other) = (OnDisk::new(), OnDisk::new());
    populate(one.store().as_ref());
    populate(other.store().as_ref());
    driven(&other.store(), TENANT, "r_1", mixed_plan());
    one.close();
    other.close();
    assert!(other.keeper.last().unwrap().size > one.keeper.last().unwrap().size);
    let error = opened(&other.path, &one.keeper).unwrap_err();
    assert!(matches!(error, OpenError::RolledBack { .. }), "{error}");
}

#[test]
fn a_head_that_cannot_be_kept_stops_the_signing_and_not_the_work() {
    let mut disk = OnDisk::new();
    populate(disk.store().as_ref());
    let before = disk.keeper.wait_for(5);
    disk.keeper.break_down();
    let (run, _) = driven(&disk.store(), TENANT, "r_1", mixed_plan());
    assert_eq!(run.status().word(), "succeeded");
    disk.close();
    assert_eq!(disk.keeper.last(), Some(before.clone()));
    // Another process, whose medium works, takes over what was left unsigned.
    disk.keeper = Keeper::new(7, Some(before));
    disk.store = Some(Arc::new(SqliteStore::open_engine(&disk.path, disk.keeper.notary()).unwrap()));
    change(disk.store().as_ref(), "t_3", runproof_store::TenantChange::Create);
    let size = disk.sqlite().tree_size().unwrap();
    assert_eq!(disk.keeper.wait_for(size).size, size);
}

#[test]
fn leaves_that_nobody_signed_are_signed_at_the_next_start() {
    let mut disk = OnDisk::new();
    populate(disk.store().as_ref());
    let before = disk.keeper.wait_for(5);
    disk.close();
    // What a crash between the commit and the signature leaves: leaves beyond the last checkpoint.
    let raw = disk.raw();
    raw.execute_batch("DROP TRIGGER checkpoints_delete; DELETE FROM checkpoints WHERE size > 1").unwrap();
    drop(raw);
    disk.keeper = Keeper::new(7, Some(runproof_proof::checkpoint::Checkpoint { size: 0, ..before.clone() }));
    let refused = opened(&disk.path, &disk.keeper);
    assert!(matches!(refused, Err(OpenError::RolledBack { .. })), "a kept head of another tree: {refused:?}");
    disk.keeper = Keeper::new(7, None);
    assert!(opened(&disk.path, &disk.keeper).is_ok());
    assert_eq!(disk.keeper.last(), Some(before));
}
