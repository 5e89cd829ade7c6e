//! What an append costs does not depend on how long the run, or the ledger, is.

use serde_json::json;

use crate::conformance::ledger::grow;
use crate::doubles::block_on;
use crate::support::*;

const EVENTS: u64 = 100_000;
const CHUNK: u64 = 10_000;
const APPEND: u64 = 250;

/// Rows and bytes that the file has taken so far, counted by triggers that only this test makes.
const COUNTERS: &str = "
    CREATE TABLE written (rows INTEGER, bytes INTEGER);
    INSERT INTO written VALUES (0, 0);
    CREATE TRIGGER count_transitions AFTER INSERT ON transitions BEGIN
        UPDATE written SET rows = rows + 1, bytes = bytes + length(NEW.events) + length(NEW.payloads);
    END;
    CREATE TRIGGER count_tiles AFTER INSERT ON ledger_tiles BEGIN
        UPDATE written SET rows = rows + 1, bytes = bytes + length(NEW.hashes);
    END;
    CREATE TRIGGER count_grown_tiles AFTER UPDATE ON ledger_tiles BEGIN
        UPDATE written SET rows = rows + 1, bytes = bytes + length(NEW.hashes);
    END;
    CREATE TRIGGER count_queue AFTER UPDATE ON run_queue BEGIN
        UPDATE written SET rows = rows + 1, bytes = bytes + 200;
    END;";

#[test]
fn the_hundred_thousandth_event_costs_what_the_first_did() {
    let disk = OnDisk::new();
    let store = disk.store();
    populate(store.as_ref());
    let raw = disk.raw();
    raw.execute_batch(COUNTERS).unwrap();
    let mut run = claimed(open(store.as_ref(), TENANT, "r_1", plan(json!([{"id": "pay", "skill": "pay"}]))));
    let written = || -> (u64, u64) {
        raw.query_row("SELECT rows, bytes FROM written", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let mut chunks = Vec::new();
    for _ in 0..EVENTS / CHUNK {
        let before = written();
        for _ in 0..CHUNK / APPEND {
            grow(store.as_ref(), &mut run, APPEND);
        }
        let after = written();
        chunks.push((after.0 - before.0, after.1 - before.1));
    }
    let (rows, bytes): (Vec<u64>, Vec<u64>) = chunks.iter().copied().unzip();
    let spread = |numbers: &[u64]| {
        (numbers.iter().max().unwrap() - numbers.iter().min().unwrap()) * 100 / numbers.iter().min().unwrap()
    };
    assert!(spread(&rows) <= 2, "rows of each {CHUNK} events: {rows:?}");
    // The last tile is written again with every append, between empty and full: that evens out, but not in every chunk.
    assert!(spread(&bytes) <= 12, "bytes of each {CHUNK} events: {bytes:?}");
    assert!(rows.iter().all(|rows| *rows <= 5 * CHUNK / APPEND), "a handful of rows for each append: {rows:?}");
    assert_eq!(block_on(disk.store().tree_size()).unwrap(), 5 + 3 + EVENTS);
    assert_eq!(load(store.as_ref(), TENANT, "r_1").head, run.run.head);
}
