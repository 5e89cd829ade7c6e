//! From one process to the next: requests, the ledger's beginning, and heads that could not be signed or kept.

use std::sync::Arc;

use runproof_store::sqlite::{self, OpenError, SqliteStore};
use runproof_store::{Store, TenantChange};

use crate::doubles::block_on;
use crate::support::*;

const NOW: &str = "2027-01-15T08:00:00.000000Z";

fn opened(path: &std::path::Path, keeper: &Keeper) -> Result<(), OpenError> {
    SqliteStore::open_engine(path, keeper.notary()).map(drop)
}

#[test]
fn a_reader_leaves_requests_that_the_engine_answers() {
    let disk = OnDisk::new();
    let engine = disk.sqlite();
    let reader = SqliteStore::open_reader(&disk.path).unwrap();
    let first = block_on(reader.leave_request(TENANT, None, "cancel r_1")).unwrap();
    block_on(reader.leave_request(OTHER, Some("r_2"), "cancel r_2")).unwrap();
    assert_eq!(block_on(reader.take_answer(TENANT, first)).unwrap(), None);
    let open = block_on(engine.open_requests(WORKER)).unwrap();
    let said: Vec<(&str, &str)> = open.iter().map(|request| (request.tenant.as_str(), request.body.as_str())).collect();
    assert_eq!(said, [(TENANT, "cancel r_1"), (OTHER, "cancel r_2")], "whoever holds the runs");
    block_on(engine.answer_request(&open[0], "done")).unwrap();
    assert_eq!(block_on(engine.open_requests(WORKER)).unwrap().len(), 1);
    assert_eq!(block_on(reader.take_answer(TENANT, first)).unwrap().as_deref(), Some("done"));
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
    let (size, root) = (block_on(store.tree_size()).unwrap(), block_on(store.root_at(1)).unwrap());
    assert_eq!((size, root), (1, first.root));
    assert_eq!(block_on(store.ledger_key()).unwrap(), Some(keeper.notary().signer().verifier().vkey()));
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
    change(disk.store().as_ref(), "t_3", TenantChange::Create);
    let size = block_on(disk.sqlite().tree_size()).unwrap();
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
