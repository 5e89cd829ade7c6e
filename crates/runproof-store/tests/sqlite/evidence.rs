//! Evidence and the smaller projections: appended, never changed, but for an erasure that is on record.

use super::{count, ended_run, other_values, refused, taken};
use crate::support::*;

const TRANSITION_UPDATE: &str = "S6_IMMUTABILITY_VIOLATION: transitions is append-only. UPDATE rejected. Only the erasure of a value whose erasure record exists is permitted.";

/// What a table says to a verb.
type Text = fn(&str, &str) -> String;

fn record_erasure(tenant: &str, run_id: &str, seq: i64) -> String {
    format!(
        "INSERT INTO erasures (tenant_id, run_id, seq, field, part_index, erased_at) VALUES ('{tenant}', '{run_id}', {seq}, 'goal', -1, 'now')"
    )
}

#[test]
fn rows_that_are_written_once_are_neither_changed_nor_deleted() {
    let disk = ended_run();
    let db = disk.raw();
    taken(&db, &record_erasure(TENANT, "r_9", 0));
    let s6 = |table: &str, verb: &str| format!("S6_IMMUTABILITY_VIOLATION: {table} is append-only. {verb} rejected.");
    let plain = |table: &str, verb: &str| match verb {
        "UPDATE" => format!("{table}: rows cannot be changed"),
        _ => format!("{table}: direct DELETE not allowed"),
    };
    let tables: [(&str, Text); 5] =
        [("run_seals", s6), ("checkpoints", s6), ("tenants", plain), ("agents", plain), ("erasures", plain)];
    for (table, text) in tables {
        assert!(count(&db, &format!("SELECT count(*) FROM {table}")) > 0, "{table} has a row to attack");
        for (column, value) in other_values(&db, table) {
            refused(&db, &format!("UPDATE {table} SET {column} = {value}"), &text(table, "UPDATE"));
            refused(&db, &format!("UPDATE {table} SET {column} = {column}"), &text(table, "UPDATE"));
        }
        refused(&db, &format!("DELETE FROM {table}"), &text(table, "DELETE"));
    }
    refused(&db, "DELETE FROM transitions", "S6_IMMUTABILITY_VIOLATION: transitions is append-only. DELETE rejected.");
}

#[test]
fn a_payload_is_changed_only_while_its_erasure_is_on_record() {
    let disk = ended_run();
    let db = disk.raw();
    for (column, value) in other_values(&db, "transitions") {
        refused(&db, &format!("UPDATE transitions SET {column} = {value} WHERE stream = 'run/r_1'"), TRANSITION_UPDATE);
    }
    let (leaf, seq, events): (i64, i64, i64) = db
        .query_row(
            "SELECT first_leaf, first_seq, event_count FROM transitions WHERE stream = 'run/r_1' AND first_seq > 0 ORDER BY event_count DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    let erase = format!("UPDATE transitions SET payloads = '' WHERE first_leaf = {leaf}");
    // Records of another tenant, another run, and of the events just before and just after.
    for elsewhere in [
        record_erasure(OTHER, "r_1", seq),
        record_erasure(TENANT, "r_2", seq),
        record_erasure(TENANT, "r_1", seq - 1),
        record_erasure(TENANT, "r_1", seq + events),
    ] {
        taken(&db, &elsewhere);
        refused(&db, &erase, TRANSITION_UPDATE);
    }
    taken(&db, &record_erasure(TENANT, "r_1", seq + events - 1));
    for (column, value) in other_values(&db, "transitions") {
        if column != "payloads" {
            refused(
                &db,
                &format!("UPDATE transitions SET payloads = '', {column} = {value} WHERE first_leaf = {leaf}"),
                TRANSITION_UPDATE,
            );
        }
    }
    taken(&db, &erase);
    refused(&db, "UPDATE transitions SET payloads = '' WHERE stream = 'tenant/t_1'", TRANSITION_UPDATE);
}

#[test]
fn ledger_tiles_only_grow() {
    let disk = ended_run();
    let db = disk.raw();
    let text = "S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. UPDATE rejected.";
    for change in [
        "hashes = hashes",
        "hashes = x''",
        "hashes = substr(hashes, 1, length(hashes) - 32)",
        "hashes = zeroblob(length(hashes) + 32)",
        "hashes = CAST(substr(hashes, 33) || zeroblob(64) AS BLOB)",
        "level = level + 1",
        "tile = tile + 1, hashes = CAST(hashes || zeroblob(32) AS BLOB)",
    ] {
        refused(&db, &format!("UPDATE ledger_tiles SET {change}"), text);
    }
    refused(&db, "DELETE FROM ledger_tiles", "S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. DELETE rejected.");
    // A blob stays one: what `||` makes of two blobs is text in SQLite.
    taken(&db, "UPDATE ledger_tiles SET hashes = CAST(hashes || zeroblob(32) AS BLOB)");
}
