//! Reads. Every function works on one connection, and what belongs together is read in one snapshot.

use std::collections::BTreeMap;

use runproof_engine::audit::RawRow;
use runproof_engine::ports::{StoreError, Stored};
use runproof_engine::projection::Cell;
use runproof_engine::run::Run;
use runproof_proof::event::FORMAT_LEVEL;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{retention, unavailable};
use crate::retention::run_of;
use crate::tree::{TileId, subtree_root};
use crate::{AgentRow, Evidence, Request, RunListing, TransitionRow, Tree, fold};

/// Origin and key of the ledger.
pub(super) fn ledger(connection: &Connection) -> Result<Option<(String, String)>, StoreError> {
    let row = connection.query_row("SELECT origin, vkey FROM ledger", [], |row| Ok((row.get(0)?, row.get(1)?)));
    row.optional().map_err(unavailable)
}

pub(super) fn requests(connection: &Connection) -> Result<Vec<Request>, StoreError> {
    let sql = "SELECT id, tenant_id, body FROM requests WHERE answer IS NULL ORDER BY id LIMIT 256";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let request = |row: &Row<'_>| Ok(Request { id: row.get(0)?, tenant: row.get(1)?, body: row.get(2)? });
    let rows = statement.query_map([], request).map_err(unavailable)?;
    rows.collect::<Result<_, _>>().map_err(unavailable)
}

pub(super) fn stream(connection: &Connection, tenant: &str, stream: &str) -> Result<Vec<TransitionRow>, StoreError> {
    let sql = include_str!("../../sql/sqlite/read_stream.sql");
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map((tenant, stream), transition).map_err(unavailable)?;
    rows.collect::<Result<_, _>>().map_err(unavailable)
}

/// A row as it is. What cannot be in such a column is read as something that no event says, so that whoever compares
/// names the column: the largest number, or `(NULL)`.
pub(super) fn transition(row: &Row<'_>) -> rusqlite::Result<TransitionRow> {
    let number = |index| row.get::<_, u64>(index).unwrap_or(u64::MAX);
    let text = |index| {
        Ok::<_, rusqlite::Error>(match row.get_ref(index)? {
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
                format!("({})", cell(row, index)?)
            }
        })
    };
    Ok(TransitionRow {
        first_leaf: Some(number(0)),
        arrival: None,
        tenant: text(1)?,
        stream: text(2)?,
        first_seq: number(3),
        event_count: number(4),
        events: text(5)?,
        payloads: text(6)?,
    })
}

pub(super) fn load_run(
    connection: &Connection,
    log: &str,
    tenant: &str,
    run_id: &str,
) -> Result<Option<Run>, StoreError> {
    let transitions = stream(connection, tenant, &format!("run/{run_id}"))?;
    if transitions.is_empty()
        && let Some(archive) = retention::archive(connection, tenant, run_id)?
    {
        return run_of(log, tenant, run_id, &archive.bundle).map(Some);
    }
    fold(log, tenant, run_id, &transitions)
}

/// Tables whose rows belong to a run, with the column that names it.
const RUN_TABLES: &[(&str, &str)] = &[
    ("runs", "id"),
    ("aos_traces", "run_id"),
    ("aos_trace_steps", "run_id"),
    ("run_seals", "run_id"),
    ("erasures", "run_id"),
    ("holds", "run_id"),
];

pub(super) fn evidence(connection: &Connection, log: &str, tenant: &str, run_id: &str) -> Result<Evidence, StoreError> {
    let snapshot = connection.unchecked_transaction().map_err(unavailable)?;
    let mut rows = BTreeMap::new();
    for (table, column) in RUN_TABLES {
        let mut found = raw_rows(&snapshot, table, column, run_id, (tenant, run_id))?;
        if *table == "aos_traces" || *table == "aos_trace_steps" {
            // A row whose run_id was changed is still this run's, by its trace id.
            let trace_id = runproof_engine::projection::trace_id(run_id);
            let more = raw_rows(&snapshot, table, "trace_id", &trace_id, (tenant, run_id))?;
            found.extend(more.into_iter().filter(|row| row.get("run_id") != Some(&Cell::Text(run_id.to_owned()))));
        }
        rows.insert(*table, found);
    }
    let shared = BTreeMap::from([
        ("tenants", select(&snapshot, "tenants", "id = ?1", &[tenant])?),
        ("agents", select(&snapshot, "agents", "tenant_id = ?1", &[tenant])?),
        ("checkpoints", select(&snapshot, "checkpoints", "size = (SELECT max(size) FROM checkpoints)", &[])?),
    ]);
    Ok(Evidence {
        log: log.to_owned(),
        transitions: stream(&snapshot, tenant, &format!("run/{run_id}"))?,
        tenant_transitions: stream(&snapshot, tenant, &format!("tenant/{tenant}"))?,
        rows,
        shared,
        checkpoint: checkpoint(&snapshot)?,
        settled_id: None,
        archive: retention::archive(&snapshot, tenant, run_id)?,
        tombstone: retention::tombstone(&snapshot, tenant, run_id)?,
    })
}

/// Rows of a table that belong to a run. Rows of another tenant are shown only when that tenant has no run of this id:
/// then somebody moved them there.
fn raw_rows(
    connection: &Connection,
    table: &str,
    column: &str,
    value: &str,
    (tenant, run_id): (&str, &str),
) -> Result<Vec<RawRow>, StoreError> {
    let condition = format!(
        "{column} = ?1 AND (tenant_id = ?2 OR NOT EXISTS (
             SELECT 1 FROM transitions AS other WHERE other.tenant_id = found.tenant_id AND other.stream = ?3)
             AND NOT EXISTS (SELECT 1 FROM archives WHERE archives.tenant_id = found.tenant_id AND archives.run_id = ?4)
             AND NOT EXISTS (
                 SELECT 1 FROM tombstones WHERE tombstones.tenant_id = found.tenant_id AND tombstones.run_id = ?4))"
    );
    select(connection, table, &condition, &[value, tenant, &format!("run/{run_id}"), run_id])
}

/// Rows of a table under a condition, every stored column; generated ones are functions of the others.
pub(super) fn select(
    connection: &Connection,
    table: &str,
    condition: &str,
    values: &[&str],
) -> Result<Vec<RawRow>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0").map_err(unavailable)?;
    let names = statement.query_map([table], |row| row.get::<_, String>(0)).map_err(unavailable)?;
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(unavailable)?;
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    let sql = format!("SELECT {} FROM {table} AS found WHERE {condition}", quoted.join(", "));
    let mut statement = connection.prepare_cached(&sql).map_err(unavailable)?;
    let rows = statement
        .query_map(rusqlite::params_from_iter(values), |row| {
            names.iter().enumerate().map(|(index, name)| Ok((name.clone(), cell(row, index)?))).collect()
        })
        .map_err(unavailable)?;
    rows.collect::<Result<_, _>>().map_err(unavailable)
}

pub(super) fn cell(row: &Row<'_>, index: usize) -> rusqlite::Result<Cell> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Real(number) => Cell::Text(format!("real {number}")),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Text(format!("blob of {} bytes", bytes.len())),
    })
}

pub(super) fn checkpoint(connection: &Connection) -> Result<Option<String>, StoreError> {
    let sql = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1";
    connection.query_row(sql, [], |row| row.get(0)).optional().map_err(unavailable)
}

pub(super) fn checkpoint_size(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(max(size), 0) FROM checkpoints";
    connection.query_row(sql, [], |row| row.get(0)).map_err(unavailable)
}

pub(super) fn has_due(connection: &Connection, at: u64) -> Result<bool, StoreError> {
    connection
        .prepare_cached(include_str!("../../sql/sqlite/has_due.sql"))
        .and_then(|mut statement| statement.query_row((at, FORMAT_LEVEL), |row| row.get(0)))
        .map_err(unavailable)
}

/// What is stored under a key of a tenant.
pub(super) fn value(connection: &Connection, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError> {
    let sql = include_str!("../../sql/sqlite/read_value.sql");
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let row = statement.query_row((tenant, key), |row| {
        let value: String = row.get(0)?;
        Ok(Stored { value: value.into_bytes(), version: row.get(1)?, expires_at: row.get(2)? })
    });
    row.optional().map_err(unavailable)
}

/// Number of leaves, from the last transition. It is never one of a run that was removed: the event that says that the run
/// is archived comes after all of them.
pub(super) fn tree_size(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT first_leaf + event_count FROM transitions ORDER BY first_leaf DESC LIMIT 1";
    Ok(connection.query_row(sql, [], |row| row.get(0)).optional().map_err(unavailable)?.unwrap_or(0))
}

pub(super) fn tile(connection: &Connection, (level, tile): TileId) -> Option<Vec<Hash>> {
    let mut statement =
        connection.prepare_cached("SELECT hashes FROM ledger_tiles WHERE level = ?1 AND tile = ?2").ok()?;
    let bytes: Vec<u8> = statement.query_row((level, tile), |row| row.get(0)).ok()?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

fn tiles_corrupt() -> StoreError {
    StoreError::Corrupt {
        at: "ledger_tiles".to_owned(),
        problem: "a tile is missing or has another width than the transitions call for".to_owned(),
    }
}

pub(super) fn tree(connection: &Connection) -> Result<Tree, StoreError> {
    Tree::load(tree_size(connection)?, |id| tile(connection, id)).ok_or_else(tiles_corrupt)
}

pub(super) fn root_at(connection: &Connection, size: u64) -> Result<Hash, StoreError> {
    if size == 0 {
        return Ok(runproof_proof::merkle::root(&[]));
    }
    subtree_root(Range { start: 0, end: size }, &mut |id| tile(connection, id)).ok_or_else(tiles_corrupt)
}

pub(super) fn subtree_roots(connection: &Connection, ranges: &[Range]) -> Result<Vec<Hash>, StoreError> {
    let snapshot = connection.unchecked_transaction().map_err(unavailable)?;
    let roots = ranges.iter().map(|range| subtree_root(*range, &mut |id| tile(&snapshot, id)));
    roots.collect::<Option<_>>().ok_or_else(tiles_corrupt)
}

pub(super) fn list_runs(
    connection: &Connection,
    tenant: Option<&str>,
    limit: usize,
) -> Result<Vec<RunListing>, StoreError> {
    let sql =
        "SELECT id, run_no, tenant_id, agent_id, status, wait_reason, wait_ref, created_at, completed_at FROM runs
               WHERE ?1 IS NULL OR tenant_id = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map((tenant, limit), |row| {
        Ok(RunListing {
            run_id: row.get(0)?,
            run_no: row.get(1)?,
            tenant_id: row.get(2)?,
            agent_id: row.get(3)?,
            status: row.get(4)?,
            wait_reason: row.get(5)?,
            wait_ref: row.get(6)?,
            created_at: row.get(7)?,
            completed_at: row.get(8)?,
        })
    });
    rows.map_err(unavailable)?.collect::<Result<_, _>>().map_err(unavailable)
}

pub(super) fn list_agents(connection: &Connection, tenant: Option<&str>) -> Result<Vec<AgentRow>, StoreError> {
    let sql =
        "SELECT tenant_id, id, name, created_at FROM agents WHERE ?1 IS NULL OR tenant_id = ?1 ORDER BY tenant_id, id";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map([tenant], |row| {
        Ok(AgentRow { tenant_id: row.get(0)?, id: row.get(1)?, name: row.get(2)?, created_at: row.get(3)? })
    });
    rows.map_err(unavailable)?.collect::<Result<_, _>>().map_err(unavailable)
}
