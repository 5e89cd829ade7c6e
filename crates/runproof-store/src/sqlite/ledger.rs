//! The whole ledger, read in one snapshot and row by row: memory does not grow with it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use runproof_engine::audit::RawRow;
use runproof_engine::ports::StoreError;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{SqliteStore, connect, unavailable};
use super::{read, retention};
use crate::{CheckpointRow, EachRun, EachTransition, Evidence, KeptRun, RunStream, Snapshot, StoredTile};

/// Tables whose rows belong to a run, with the column that leads to them after the tenant.
const RUN_KEYS: &[(&str, &str)] = &[
    ("runs", "id"),
    ("aos_traces", "trace_id"),
    ("aos_trace_steps", "trace_id"),
    ("run_seals", "run_id"),
    ("erasures", "run_id"),
    ("holds", "run_id"),
];

/// One state of the database, for as long as it lives. The log of SQLite grows meanwhile.
pub(super) struct SqliteSnapshot {
    connection: Connection,
    log: String,
}

impl SqliteStore {
    /// Begins to read the state of this moment, on a connection of its own.
    pub(super) fn begin_snapshot(&self) -> Result<SqliteSnapshot, StoreError> {
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .or_else(|_| connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        connection.execute_batch("BEGIN").map_err(unavailable)?;
        let snapshot = SqliteSnapshot { connection, log: self.log.clone() };
        snapshot.size()?; // the first read is what begins it
        Ok(snapshot)
    }
}

impl SqliteSnapshot {
    fn a_checkpoint(&self, sql: &str, size: i64) -> Result<Option<CheckpointRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let row = statement.query_row([size], |row| {
            Ok(CheckpointRow { size: row.get(0)?, root: read::cell(row, 1)?, note: read::cell(row, 2)? })
        });
        row.optional().map_err(unavailable)
    }

    /// Rows of a run by what leads their keys: every row is found by one run's key or by `rows_without_events`.
    fn run_rows(&self, tenant: &str, run_id: &str) -> Result<BTreeMap<&'static str, Vec<RawRow>>, StoreError> {
        let trace_id = runproof_engine::projection::trace_id(run_id);
        let mut rows = BTreeMap::new();
        for (table, column) in RUN_KEYS {
            let id = if *column == "trace_id" { &trace_id } else { run_id };
            let condition = format!("tenant_id = ?1 AND {column} = ?2");
            rows.insert(*table, read::select(&self.connection, table, &condition, &[tenant, id])?);
        }
        Ok(rows)
    }

    fn each_pair(&self, sql: &str, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare(sql).map_err(unavailable)?;
        let mut rows = statement.query([]).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            let (tenant, id) = (read::cell(row, 0).map_err(unavailable)?, read::cell(row, 1).map_err(unavailable)?);
            each(&tenant.to_string(), &id.to_string());
        }
        Ok(())
    }
}

impl Snapshot for SqliteSnapshot {
    fn log(&self) -> &str {
        &self.log
    }

    fn size(&self) -> Result<u64, StoreError> {
        let sql = "SELECT first_leaf + event_count FROM transitions ORDER BY first_leaf DESC LIMIT 1";
        let size = self.connection.query_row(sql, [], |row| Ok(row.get::<_, u64>(0).unwrap_or(0)));
        Ok(size.optional().map_err(unavailable)?.unwrap_or(0))
    }

    fn transitions(&self, after: i64, each: EachTransition<'_>) -> Result<ControlFlow<()>, StoreError> {
        let sql = include_str!("../../sql/sqlite/read_ledger.sql");
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let mut rows = statement.query([after]).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            let key = row.get(0).map_err(unavailable)?;
            if each(key, read::transition(row).map_err(unavailable)?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn tile(&self, level: u32, tile: u64) -> Result<StoredTile, StoreError> {
        let sql = "SELECT hashes FROM ledger_tiles WHERE level = ?1 AND tile = ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let found = statement.query_row((level, tile), |row| Ok(row.get::<_, Vec<u8>>(0).ok()));
        Ok(match found.optional().map_err(unavailable)? {
            None => StoredTile::Missing,
            Some(bytes) => match bytes.as_deref().map(<[u8]>::as_chunks::<32>) {
                Some((hashes, [])) => StoredTile::Hashes(hashes.iter().map(|hash| Hash(*hash)).collect()),
                Some(_) | None => StoredTile::Unreadable,
            },
        })
    }

    fn tiles(&self, each: &mut dyn FnMut(i64, i64)) -> Result<(), StoreError> {
        let sql = "SELECT level, tile FROM ledger_tiles ORDER BY level, tile";
        let mut statement = self.connection.prepare(sql).map_err(unavailable)?;
        let mut rows = statement.query([]).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            each(row.get(0).unwrap_or(-1), row.get(1).unwrap_or(-1));
        }
        Ok(())
    }

    fn subtree_roots(&self, ranges: &[Range]) -> Option<Vec<Hash>> {
        let mut tile = |id| read::tile(&self.connection, id);
        ranges.iter().map(|range| crate::tree::subtree_root(*range, &mut tile)).collect()
    }

    fn next_checkpoint(&self, after: i64) -> Result<Option<CheckpointRow>, StoreError> {
        self.a_checkpoint("SELECT size, root, note FROM checkpoints WHERE size > ?1 ORDER BY size LIMIT 1", after)
    }

    fn last_checkpoint(&self, up_to: i64) -> Result<Option<CheckpointRow>, StoreError> {
        self.a_checkpoint("SELECT size, root, note FROM checkpoints WHERE size <= ?1 ORDER BY size DESC LIMIT 1", up_to)
    }

    fn run_streams(&self, (tenant, run_id): (&str, &str), each: EachRun<'_>) -> Result<ControlFlow<()>, StoreError> {
        let sql = include_str!("../../sql/sqlite/read_run_streams.sql");
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let mut rows = statement.query((tenant, format!("run/{run_id}"))).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            let stream: String = row.get(1).map_err(unavailable)?;
            let run = RunStream {
                tenant: row.get(0).map_err(unavailable)?,
                run_id: stream.strip_prefix("run/").unwrap_or_default().to_owned(),
                last_leaf: row.get(2).unwrap_or(u64::MAX),
            };
            if each(run)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn run_count(&self) -> Result<u64, StoreError> {
        self.connection.query_row("SELECT count(*) FROM runs", [], |row| row.get(0)).map_err(unavailable)
    }

    fn has_stream(&self, tenant: &str, stream: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM transitions WHERE tenant_id = ?1 AND stream = ?2)";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        statement.query_row((tenant, stream), |row| row.get(0)).map_err(unavailable)
    }

    fn kept(
        &self,
        each: &mut dyn FnMut(KeptRun) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut statement =
            self.connection.prepare(include_str!("../../sql/sqlite/list_kept.sql")).map_err(unavailable)?;
        let mut rows = statement.query([None::<&str>]).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            if each(retention::kept(row).map_err(unavailable)?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn evidence(&self, tenant: &str, run_id: &str, records: &[u64]) -> Result<Evidence, StoreError> {
        let sql = "SELECT first_leaf, tenant_id, stream, first_seq, event_count, events, payloads FROM transitions
                   WHERE first_leaf = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let mut tenant_transitions = Vec::new();
        for first_leaf in records {
            let row = statement.query_row([first_leaf], read::transition).optional().map_err(unavailable)?;
            tenant_transitions.extend(row);
        }
        Ok(Evidence {
            log: self.log.clone(),
            transitions: read::stream(&self.connection, tenant, &format!("run/{run_id}"))?,
            tenant_transitions,
            rows: self.run_rows(tenant, run_id)?,
            shared: BTreeMap::new(),
            checkpoint: None,
            settled_id: None,
            archive: retention::archive(&self.connection, tenant, run_id)?,
            tombstone: retention::tombstone(&self.connection, tenant, run_id)?,
        })
    }

    fn shared_rows(&self, table: &str, key: &[&str]) -> Result<Vec<RawRow>, StoreError> {
        let condition = if key.len() == 1 { "id = ?1" } else { "tenant_id = ?1 AND id = ?2" };
        read::select(&self.connection, table, condition, key)
    }

    fn rows_without_events(&self, each: &mut dyn FnMut(&str, &str, &str)) -> Result<(), StoreError> {
        for (table, column) in RUN_KEYS {
            let run_id = if *column == "trace_id" { "substr(trace_id, 7)" } else { column };
            let is_trace = if *column == "trace_id" { "AND trace_id = 'trace_' || substr(trace_id, 7)" } else { "" };
            // What a hold is on may be archived or purged; rows of everything else are gone then.
            let is_kept = if *table == "holds" {
                "AND (tenant_id, run_id) NOT IN (SELECT tenant_id, run_id FROM archives
                     UNION ALL SELECT tenant_id, run_id FROM tombstones)"
            } else {
                ""
            };
            let sql = format!(
                "SELECT DISTINCT tenant_id, {column} FROM {table} AS found WHERE NOT EXISTS (
                     SELECT 1 FROM transitions AS other
                     WHERE other.tenant_id = found.tenant_id AND other.stream = 'run/' || {run_id} {is_trace}) {is_kept}"
            );
            self.each_pair(&sql, &mut |tenant, id| each(table, tenant, id))?;
        }
        let sql = "SELECT id, id FROM tenants WHERE NOT EXISTS (
                       SELECT 1 FROM transitions WHERE tenant_id = id AND stream = 'tenant/' || id)";
        self.each_pair(sql, &mut |tenant, id| each("tenants", tenant, id))?;
        Ok(())
    }

    fn agents(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        self.each_pair("SELECT tenant_id, id FROM agents", each)
    }
}
