//! Archives, tombstones and holds: what each step writes and removes, and how they are read.

use runproof_engine::ports::StoreError;
use runproof_engine::projection::{rfc3339, trace_id};
use runproof_proof::event::{Body, Stream};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::writer::Batch;
use super::{apply, unavailable};
use crate::retention::{Standing, archived, purged};
use crate::{ArchiveRow, CommandError, HoldRow, KeptRun, Retention, Stamp, TombstoneRow, plain_event};

/// A number as it is; what is none reads as the largest, so that whoever compares names it.
fn number(row: &Row<'_>, index: usize) -> u64 {
    row.get(index).unwrap_or(u64::MAX)
}

pub(super) fn kept(row: &Row<'_>) -> rusqlite::Result<KeptRun> {
    let state = if row.get::<_, String>(3)? == "purged" { "purged" } else { "archived" };
    Ok(KeptRun {
        tenant_id: row.get(0)?,
        run_id: row.get(1)?,
        run_no: number(row, 2),
        state,
        since: row.get(4)?,
        leaves: row.get(5)?,
    })
}

pub(super) fn list_kept(connection: &Connection, tenant: Option<&str>) -> Result<Vec<KeptRun>, StoreError> {
    let mut statement =
        connection.prepare_cached(include_str!("../../sql/sqlite/list_kept.sql")).map_err(unavailable)?;
    let rows = statement.query_map([tenant], kept).map_err(unavailable)?;
    rows.collect::<Result<_, _>>().map_err(unavailable)
}

pub(super) fn list_holds(connection: &Connection, tenant: &str) -> Result<Vec<HoldRow>, StoreError> {
    let sql = "SELECT tenant_id, run_id, reason, placed_at, lifted_at FROM holds WHERE tenant_id = ?1 ORDER BY seq";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map([tenant], |row| {
        Ok(HoldRow {
            tenant_id: row.get(0)?,
            run_id: row.get(1)?,
            reason: row.get(2)?,
            placed_at: row.get(3)?,
            lifted_at: row.get(4)?,
        })
    });
    rows.map_err(unavailable)?.collect::<Result<_, _>>().map_err(unavailable)
}

pub(super) fn over_before(
    connection: &Connection,
    tenant: &str,
    time: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT id FROM runs WHERE tenant_id = ?1 AND completed_at <= ?2 ORDER BY completed_at, id LIMIT ?3";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map((tenant, time, limit), |row| row.get(0)).map_err(unavailable)?;
    rows.collect::<Result<_, _>>().map_err(unavailable)
}

pub(super) fn archive(connection: &Connection, tenant: &str, run_id: &str) -> Result<Option<ArchiveRow>, StoreError> {
    let sql = "SELECT run_no, leaves, bundle, bundle_digest, archived_at FROM archives
               WHERE tenant_id = ?1 AND run_id = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let row = statement.query_row((tenant, run_id), |row| {
        Ok(ArchiveRow {
            run_no: number(row, 0),
            leaves: row.get(1)?,
            bundle: match row.get_ref(2)? {
                ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_owned(),
                ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Vec::new(),
            },
            bundle_digest: row.get(3)?,
            archived_at: row.get(4)?,
        })
    });
    row.optional().map_err(unavailable)
}

pub(super) fn tombstone(
    connection: &Connection,
    tenant: &str,
    run_id: &str,
) -> Result<Option<TombstoneRow>, StoreError> {
    let sql = "SELECT run_no, leaves, seal, run_root, purged_at FROM tombstones WHERE tenant_id = ?1 AND run_id = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let row = statement.query_row((tenant, run_id), |row| {
        Ok(TombstoneRow {
            run_no: number(row, 0),
            leaves: row.get(1)?,
            seal: row.get(2)?,
            run_root: row.get(3)?,
            purged_at: row.get(4)?,
        })
    });
    row.optional().map_err(unavailable)
}

pub(super) fn standing(connection: &Connection, tenant: &str, run_id: &str) -> Result<Standing, StoreError> {
    let mut statement =
        connection.prepare_cached(include_str!("../../sql/sqlite/standing.sql")).map_err(unavailable)?;
    let standing = statement.query_row((tenant, run_id), |row| {
        Ok(Standing {
            has_rows: row.get(0)?,
            is_over: row.get(1)?,
            is_archived: row.get(2)?,
            is_purged: row.get(3)?,
            is_held: row.get(4)?,
            erasures: row.get(5)?,
        })
    });
    standing.map_err(unavailable)
}

/// Puts a hold on a run. The event is written by the caller, in the same transaction.
pub(super) fn place_hold(
    connection: &Connection,
    tenant: &str,
    run_id: &str,
    seq: u64,
    reason: &str,
    at: &str,
) -> Result<(), CommandError> {
    let standing = standing(connection, tenant, run_id)?;
    standing.exists(tenant, run_id)?;
    if standing.is_held {
        return Err(CommandError::Held(run_id.to_owned()));
    }
    let sql = "INSERT INTO holds (tenant_id, run_id, seq, reason, placed_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.execute(sql, (tenant, run_id, seq, reason, at)).map_err(unavailable)?;
    Ok(())
}

/// Lifts the hold on a run.
pub(super) fn lift_hold(connection: &Connection, tenant: &str, run_id: &str, at: &str) -> Result<(), CommandError> {
    standing(connection, tenant, run_id)?.exists(tenant, run_id)?;
    let sql = "UPDATE holds SET lifted_at = ?3 WHERE tenant_id = ?1 AND run_id = ?2 AND lifted_at IS NULL";
    match connection.execute(sql, (tenant, run_id, at)).map_err(unavailable)? {
        0 => Err(CommandError::NotHeld(run_id.to_owned())),
        _ => Ok(()),
    }
}

/// Makes one step of a run towards its tombstone.
pub(super) fn retain(batch: &mut Batch<'_>, tenant: &str, step: &Retention, stamp: &Stamp) -> Result<(), CommandError> {
    let connection = batch.connection;
    standing(connection, tenant, step.run_id())?.allows(tenant, step)?;
    match step {
        Retention::Archive(new) => {
            let at = record(batch, tenant, archived(new), stamp)?;
            let run_id = &new.run_id;
            let row = ArchiveRow::of(new, at);
            let cells = (tenant, run_id, row.run_no, &row.leaves, &row.bundle, &row.bundle_digest, &row.archived_at);
            connection.execute(include_str!("../../sql/sqlite/insert_archive.sql"), cells).map_err(unavailable)?;
            for table in ["aos_traces", "aos_trace_steps"] {
                let sql = format!("UPDATE {table} SET archived_at = ?3 WHERE tenant_id = ?1 AND trace_id = ?2");
                connection.execute(&sql, (tenant, trace_id(run_id), &row.archived_at)).map_err(unavailable)?;
            }
            Ok(())
        }
        Retention::Remove { run_id } => remove(connection, tenant, run_id),
        Retention::Purge { run_id } => {
            let row = archive(connection, tenant, run_id)?;
            let row = row.ok_or_else(|| CommandError::NotArchived(run_id.clone()))?;
            let (body, mut tombstone) = purged(tenant, run_id, &row, stamp)?;
            tombstone.purged_at = record(batch, tenant, body, stamp)?;
            let TombstoneRow { run_no, leaves, seal, run_root, purged_at } = &tombstone;
            let cells = (tenant, run_id, run_no, leaves, seal, run_root, purged_at);
            connection.execute(include_str!("../../sql/sqlite/insert_tombstone.sql"), cells).map_err(unavailable)?;
            let sql = "DELETE FROM archives WHERE tenant_id = ?1 AND run_id = ?2";
            connection.execute(sql, (tenant, run_id)).map_err(unavailable)?;
            Ok(())
        }
    }
}

/// Removes the rows of an archived run.
fn remove(connection: &Connection, tenant: &str, run_id: &str) -> Result<(), CommandError> {
    let stream = Stream::Run(run_id.to_owned()).name();
    for (table, column, value) in [
        ("aos_trace_steps", "trace_id", trace_id(run_id).as_str()),
        ("aos_traces", "trace_id", trace_id(run_id).as_str()),
        ("run_seals", "run_id", run_id),
        ("erasures", "run_id", run_id),
        ("runs", "id", run_id),
        ("transitions", "stream", stream.as_str()),
    ] {
        let sql = format!("DELETE FROM {table} WHERE tenant_id = ?1 AND {column} = ?2");
        connection.execute(&sql, (tenant, value)).map_err(unavailable)?;
    }
    Ok(())
}

/// Writes an event of the tenant's stream; answers its time as columns show it.
fn record(batch: &mut Batch<'_>, tenant: &str, body: Body, stamp: &Stamp) -> Result<String, CommandError> {
    let stream = Stream::Tenant(tenant.to_owned());
    let found = apply::read_head(batch.connection, tenant, &stream)?;
    let (head, runs) = found.ok_or_else(|| CommandError::NoTenant(tenant.to_owned()))?;
    let event = plain_event(batch.log, tenant, body, &head, stamp)?;
    batch.transition(tenant, &stream, head.next_seq, std::slice::from_ref(&event.line))?;
    apply::write_head(batch.connection, tenant, &stream, &event.head, runs)?;
    Ok(rfc3339(event.head.last_at))
}
