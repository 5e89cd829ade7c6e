//! Ways past the triggers: replacing a row instead of changing it, and taking out the copy of a value without a record.

use runproof_store::TenantChange;
use rusqlite::Connection;

use crate::doubles::{START, block_on};
use crate::support::*;

/// The statement is refused with exactly this text.
fn refused(raw: &Connection, sql: &str, text: &str) {
    match raw.execute(sql, []) {
        Err(rusqlite::Error::SqliteFailure(_, Some(message))) => assert_eq!(message, text, "{sql}"),
        other => panic!("{sql}: {other:?} instead of {text}"),
    }
}

/// A run that is over and whose goal was erased.
fn erased() -> OnDisk {
    let disk = OnDisk::new();
    let store = disk.store();
    populate(store.as_ref());
    driven(&store, TENANT, "r_1", mixed_plan());
    let reason = "asked for".to_owned();
    let change =
        TenantChange::Erase { run_id: "r_1".to_owned(), seq: 0, field: "goal".to_owned(), index: None, reason };
    block_on(store.change_tenant(TENANT, change, stamp(START))).unwrap();
    disk
}

/// `INSERT OR REPLACE` deletes what is in its way without asking the DELETE triggers.
#[test]
fn nothing_is_replaced_in_evidence_or_projections() {
    let disk = erased();
    let raw = disk.raw();
    let tables = [
        "transitions",
        "run_seals",
        "checkpoints",
        "tenants",
        "agents",
        "runs",
        "aos_traces",
        "aos_trace_steps",
        "erasures",
        "ledger_tiles",
    ];
    for table in tables {
        let columns: Vec<String> = raw
            .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")
            .and_then(|mut statement| statement.query_map([table], |row| row.get(0))?.collect())
            .unwrap();
        let columns = columns.join(", ");
        let count = || raw.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u64>(0)).unwrap();
        let before = count();
        assert!(before > 0, "{table} has rows");
        for verb in ["INSERT OR REPLACE", "REPLACE"] {
            let replaced =
                raw.execute(&format!("{verb} INTO {table} ({columns}) SELECT {columns} FROM {table} LIMIT 1"), []);
            assert!(replaced.is_err(), "{table}: {replaced:?}");
        }
        assert_eq!(count(), before);
    }
    // A row can also be in the way by a second key.
    let number = "INSERT OR REPLACE INTO runs (tenant_id, id, agent_id, goal, origin_system_id, run_no) VALUES ('t_1', 'x', 'a_1', 'g', 'crm', 1)";
    refused(&raw, number, "runs: a run with this id or number exists");
    let place = "INSERT OR REPLACE INTO transitions SELECT 999999, tenant_id, stream, first_seq, event_count, events, payloads FROM transitions LIMIT 1";
    refused(&raw, place, "S6_IMMUTABILITY_VIOLATION: transitions is append-only. INSERT rejected. The place is taken.");
    drop(raw);
    audit_ledger(&disk);
}

#[test]
fn the_goal_and_the_plan_of_a_run_leave_only_with_an_erasure_record() {
    let disk = erased();
    let raw = disk.raw();
    let goal = raw.query_row("SELECT goal FROM runs WHERE id = 'r_1'", [], |row| row.get::<_, Option<String>>(0));
    assert_eq!(goal, Ok(None), "the copy went with the value");
    let over = "runs: a run that is over cannot be changed";
    for set in ["goal = 'another'", "plan_json = NULL", "goal = NULL, attempts = 7", "goal = NULL, plan_json = '{}'"] {
        refused(&raw, &format!("UPDATE runs SET {set} WHERE id = 'r_1'"), over);
    }
    let rule = "CHECK constraint failed: goal IS NOT NULL OR status IN ('succeeded', 'failed', 'halted', 'cancelled')";
    let nothing = "INSERT INTO runs (tenant_id, id, agent_id, origin_system_id) VALUES ('t_1', 'r_hand', 'a_1', 'crm')";
    refused(&raw, nothing, rule);
}
