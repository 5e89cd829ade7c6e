//! The whole ledger in one state of the database, read page by page: memory does not grow with it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use runproof_engine::audit::RawRow;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::{Cell, trace_id};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;
use tokio::runtime::Runtime;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::connect::{Address, unavailable};
use super::evidence::{raw_row, run_tables};
use super::read::{self, Wanted, column, hashes, natural, transition};
use super::retention;
use super::session::{Param, by_keys};
use crate::tree::{subtree_root, tiles_of};
use crate::{CheckpointRow, EachRun, EachTransition, Evidence, KeptRun, RunStream, Snapshot, StoredTile};

/// Most bytes of a page of transitions, unless one alone has more.
const PAGE_BYTES: i64 = 16 * 1024 * 1024;
/// What begins the transaction. Pages go through indexes: another plan would read a table for each page. A pass over all
/// of it takes as long as it takes.
const BEGIN: &str = concat!(
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL enable_hashagg = off; ",
    by_keys!()
);

/// One state of the database, for as long as it lives, on a connection of its own.
///
/// Only for a role that sees all tenants: another one sees an empty ledger here.
pub(super) struct PgSnapshot {
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    log: String,
    scans: AtomicU64,
}

impl PgSnapshot {
    /// Begins to read the state of this moment. Blocks, as all of its methods do.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(super) fn begin(address: &Address, log: &str) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let client = runtime.block_on(address.connect())?;
        let snapshot = Self { runtime: Some(runtime), client, log: log.to_owned(), scans: AtomicU64::new(0) };
        snapshot.wait(snapshot.client.batch_execute(BEGIN))?;
        snapshot.size()?; // the first read is what begins it
        Ok(snapshot)
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        let ended = || StoreError::Unavailable("the snapshot has ended".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        runtime.block_on(work).map_err(|error| unavailable(&error))
    }

    fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.wait(self.client.query_typed(sql, params))
    }

    fn row(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, StoreError> {
        self.wait(self.client.query_typed_opt(sql, params))
    }

    fn checkpoint(&self, sql: &str, size: i64) -> Result<Option<CheckpointRow>, StoreError> {
        let text = |row: &Row, index| match row.try_get::<_, Option<String>>(index) {
            Ok(text) => text.map_or(Cell::Null, Cell::Text),
            Err(_) => Cell::Text("not text".to_owned()),
        };
        let row = self.row(sql, &[(&size, Type::INT8)])?;
        row.map(|row| Ok(CheckpointRow { size: column(&row, 0)?, root: text(&row, 1), note: text(&row, 2) }))
            .transpose()
    }

    /// Hands over all rows of a query, a page at a time. What is called may read from the snapshot.
    fn scan(&self, sql: &str, each: &mut dyn FnMut(&Row) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let name = format!("scan_{}", self.scans.fetch_add(1, Ordering::Relaxed));
        self.wait(self.client.batch_execute(&format!("DECLARE {name} NO SCROLL CURSOR FOR {sql}")))?;
        let fetch = format!("FETCH 1000 FROM {name}");
        loop {
            let page = self.rows(&fetch, &[])?;
            if page.is_empty() {
                return self.wait(self.client.batch_execute(&format!("CLOSE {name}")));
            }
            page.iter().try_for_each(&mut *each)?;
        }
    }
}

impl Drop for PgSnapshot {
    /// Does not wait: it may be dropped on a thread of another runtime. The transaction has only read.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Snapshot for PgSnapshot {
    fn log(&self) -> &str {
        &self.log
    }

    fn size(&self) -> Result<u64, StoreError> {
        let row = self.row(include_str!("../../sql/postgres/ledger_head.sql"), &[])?;
        row.map_or(Ok(0), |row| natural(&row, 0))
    }

    fn transitions(&self, after: i64, each: EachTransition<'_>) -> Result<ControlFlow<()>, StoreError> {
        let mut after = after;
        loop {
            let params: [Param<'_>; 2] = [(&after, Type::INT8), (&PAGE_BYTES, Type::INT8)];
            let page = self.rows(include_str!("../../sql/postgres/read_ledger_page.sql"), &params)?;
            if page.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            for row in page {
                after = column(&row, 0)?;
                if each(after, transition(&row))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    fn tile(&self, level: u32, tile: u64) -> Result<StoredTile, StoreError> {
        let wanted = Wanted::tiles([(level, tile)]);
        let rows = self.rows(include_str!("../../sql/postgres/read_tiles.sql"), &wanted.params())?;
        Ok(match rows.first().map(|row| row.try_get(2).ok().and_then(hashes)) {
            None => StoredTile::Missing,
            Some(None) => StoredTile::Unreadable,
            Some(Some(hashes)) => StoredTile::Hashes(hashes),
        })
    }

    fn tiles(&self, each: &mut dyn FnMut(i64, i64)) -> Result<(), StoreError> {
        self.scan(include_str!("../../sql/postgres/scan_tiles.sql"), &mut |row| {
            each(column(row, 0)?, column(row, 1)?);
            Ok(())
        })
    }

    fn subtree_roots(&self, ranges: &[Range]) -> Option<Vec<Hash>> {
        let wanted = Wanted::tiles(tiles_of(ranges));
        let rows = self.rows(include_str!("../../sql/postgres/read_tiles.sql"), &wanted.params()).ok()?;
        let tiles = read::tiles(&rows);
        ranges.iter().map(|range| subtree_root(*range, &mut |id| tiles.get(&id).cloned())).collect()
    }

    fn next_checkpoint(&self, after: i64) -> Result<Option<CheckpointRow>, StoreError> {
        self.checkpoint(include_str!("../../sql/postgres/next_checkpoint.sql"), after)
    }

    fn last_checkpoint(&self, up_to: i64) -> Result<Option<CheckpointRow>, StoreError> {
        self.checkpoint(include_str!("../../sql/postgres/last_checkpoint.sql"), up_to)
    }

    fn run_streams(&self, (tenant, run_id): (&str, &str), each: EachRun<'_>) -> Result<ControlFlow<()>, StoreError> {
        let mut after = (tenant.to_owned(), format!("run/{run_id}"));
        loop {
            let params: [Param<'_>; 2] = [(&after.0, Type::TEXT), (&after.1, Type::TEXT)];
            let page = self.rows(include_str!("../../sql/postgres/read_run_streams.sql"), &params)?;
            if page.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            for row in page {
                let (tenant, stream): (String, String) = (column(&row, 0)?, column(&row, 1)?);
                let last_leaf: i64 = column(&row, 2)?;
                let run = RunStream {
                    tenant: tenant.clone(),
                    run_id: stream.strip_prefix("run/").unwrap_or_default().to_owned(),
                    last_leaf: u64::try_from(last_leaf).ok().filter(|_| last_leaf < i64::MAX).unwrap_or(u64::MAX),
                };
                after = (tenant, stream);
                if each(run)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    fn run_count(&self) -> Result<u64, StoreError> {
        let row = self.row(include_str!("../../sql/postgres/count_runs.sql"), &[])?;
        row.map_or(Ok(0), |row| natural(&row, 0))
    }

    fn has_stream(&self, tenant: &str, stream: &str) -> Result<bool, StoreError> {
        let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&stream, Type::TEXT)];
        let row = self.row(include_str!("../../sql/postgres/has_stream.sql"), &params)?;
        row.map_or(Ok(false), |row| column(&row, 0))
    }

    fn kept(
        &self,
        each: &mut dyn FnMut(KeptRun) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let params: [Param<'_>; 1] = [(&None::<&str>, Type::TEXT)];
        for row in self.rows(include_str!("../../sql/postgres/list_kept.sql"), &params)? {
            if each(retention::kept(&row)?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn evidence(&self, tenant: &str, run_id: &str, records: &[u64]) -> Result<Evidence, StoreError> {
        let (stream, trace_id) = (format!("run/{run_id}"), trace_id(run_id));
        let records: Vec<i64> = records.iter().filter_map(|record| i64::try_from(*record).ok()).collect();
        let of_run: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&stream, Type::TEXT)];
        let run: [Param<'_>; 3] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT), (&trace_id, Type::TEXT)];
        let placed: [Param<'_>; 1] = [(&records, Type::INT8_ARRAY)];
        let (transitions, tenant_transitions, rows, head, archive, tombstone) = self.wait(async {
            let (transitions, tenant_transitions, rows, head, archive, tombstone) = tokio::join!(biased;
                self.client.query_typed(include_str!("../../sql/postgres/read_stream.sql"), &of_run),
                self.client.query_typed(include_str!("../../sql/postgres/read_placed.sql"), &placed),
                self.client.query_typed(include_str!("../../sql/postgres/read_run_rows_by_key.sql"), &run),
                self.client.query_typed_opt(include_str!("../../sql/postgres/ledger_head.sql"), &[]),
                self.client.query_typed_opt(include_str!("../../sql/postgres/read_archive.sql"), &run[..2]),
                self.client.query_typed_opt(include_str!("../../sql/postgres/read_tombstone.sql"), &run[..2])
            );
            Ok((transitions?, tenant_transitions?, rows?, head?, archive?, tombstone?))
        })?;
        Ok(Evidence {
            log: self.log.clone(),
            transitions: transitions.iter().map(transition).collect(),
            tenant_transitions: tenant_transitions.iter().map(transition).collect(),
            rows: run_tables(&rows)?,
            shared: BTreeMap::new(),
            checkpoint: None,
            settled_id: head.map(|row| column(&row, 1)).transpose()?,
            archive: archive.as_ref().map(retention::archive_row).transpose()?,
            tombstone: tombstone.as_ref().map(retention::tombstone_row).transpose()?,
        })
    }

    fn shared_rows(&self, table: &str, key: &[&str]) -> Result<Vec<RawRow>, StoreError> {
        let at = |index: usize| key.get(index).copied().unwrap_or_default();
        let (first, second) = (at(0), at(1));
        let params: [Param<'_>; 3] = [(&table, Type::TEXT), (&first, Type::TEXT), (&second, Type::TEXT)];
        let rows = self.rows(include_str!("../../sql/postgres/read_shared_row.sql"), &params)?;
        rows.iter().map(|row| raw_row(row).map(|(_, cells)| cells)).collect()
    }

    fn rows_without_events(&self, each: &mut dyn FnMut(&str, &str, &str)) -> Result<(), StoreError> {
        self.scan(include_str!("../../sql/postgres/rows_without_events.sql"), &mut |row| {
            each(column(row, 0)?, column(row, 1)?, column(row, 2)?);
            Ok(())
        })
    }

    fn agents(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        self.scan(include_str!("../../sql/postgres/scan_agents.sql"), &mut |row| {
            each(column(row, 0)?, column(row, 1)?);
            Ok(())
        })
    }
}
