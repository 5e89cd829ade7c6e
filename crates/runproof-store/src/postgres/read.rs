//! Reads. Each is one transaction that may see one tenant, or whatever the role may see when none is named.
//!
//! A future of these must run to its end: one that is dropped leaves a statement half read, and a pooler ends the
//! connection of somebody else.

use std::collections::BTreeMap;

use runproof_engine::ports::{StoreError, Stored};
use runproof_engine::run::Run;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::{self, Range};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::session::{Param, read};
use crate::tree::{TileId, subtree_root, tiles_of};
use crate::{AgentRow, RunListing, TransitionRow, fold};

/// Most ranges whose tiles are read at once: what is held stays below some tens of megabytes.
const RANGES: usize = 256;

/// One read in a transaction of its own.
async fn rows(client: &Client, tenants: &[&str], sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
    read(client, tenants, sql, params).await.map_err(|failure| failure.unavailable())
}

/// A column of a row. What has another type than the schema says cannot be read.
pub(super) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| super::connect::unavailable(&error))
}

/// A number that is never negative; a negative one counts as the largest.
pub(super) fn natural(row: &Row, index: usize) -> Result<u64, StoreError> {
    Ok(u64::try_from(column::<i64>(row, index)?).unwrap_or(u64::MAX))
}

/// Whether this role sees the rows of all tenants: the owner and an auditor do. Who asks about all tenants under another
/// role would see nothing, and take it for an empty database.
pub(super) async fn sees_all_tenants(client: &Client) -> Result<bool, StoreError> {
    let rows = rows(client, &[], include_str!("../../sql/postgres/sees_all_tenants.sql"), &[]).await?;
    rows.first().map_or(Ok(false), |row| column(row, 0))
}

/// Origin and key of the ledger.
pub(super) async fn ledger(client: &Client) -> Result<Option<(String, String)>, StoreError> {
    let rows = rows(client, &[], include_str!("../../sql/postgres/read_ledger.sql"), &[]).await?;
    rows.first().map(|row| Ok((column(row, 0)?, column(row, 1)?))).transpose()
}

/// A row of `read_stream` or `read_ledger`, as it is. What cannot be in such a column is read as something that no event
/// says, so that whoever compares names the column.
pub(super) fn transition(row: &Row) -> TransitionRow {
    let number = |index| row.try_get(index).ok().and_then(|number: i64| u64::try_from(number).ok()).unwrap_or(u64::MAX);
    let text = |index| row.try_get::<_, String>(index).unwrap_or_else(|_| "(NULL)".to_owned());
    let first_leaf: Option<i64> = row.try_get(0).unwrap_or(Some(-1));
    TransitionRow {
        first_leaf: first_leaf.map(|leaf| u64::try_from(leaf).unwrap_or(u64::MAX)),
        arrival: Some((row.try_get(7).unwrap_or(-1), row.try_get(8).unwrap_or(Some(-1)))),
        tenant: text(1),
        stream: text(2),
        first_seq: number(3),
        event_count: number(4),
        events: text(5),
        payloads: text(6),
    }
}

/// The run, from its events.
pub(super) async fn load_run(
    client: &Client,
    log: &str,
    tenant: &str,
    run_id: &str,
) -> Result<Option<Run>, StoreError> {
    let stream = format!("run/{run_id}");
    let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&stream, Type::TEXT)];
    let rows = rows(client, &[tenant], include_str!("../../sql/postgres/read_stream.sql"), &params).await?;
    let transitions: Vec<TransitionRow> = rows.iter().map(transition).collect();
    if transitions.is_empty() {
        let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT)];
        let sql = include_str!("../../sql/postgres/read_archive.sql");
        let found = read(client, &[tenant], sql, &params).await.map_err(|failure| failure.unavailable())?;
        if let Some(archive) = found.first().map(super::retention::archive_row).transpose()? {
            return crate::retention::run_of(log, tenant, run_id, &archive.bundle).map(Some);
        }
    }
    fold(log, tenant, run_id, &transitions)
}

/// What is stored under a key of a tenant, expired or not.
pub(super) async fn value(client: &Client, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError> {
    let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&key, Type::TEXT)];
    let rows = rows(client, &[tenant], include_str!("../../sql/postgres/read_value.sql"), &params).await?;
    let stored = |row: &Row| {
        let expires_at: Option<i64> = column(row, 2)?;
        Ok(Stored {
            value: column::<String>(row, 0)?.into_bytes(),
            version: natural(row, 1)?,
            expires_at: expires_at.map(|at| u64::try_from(at).unwrap_or(0)),
        })
    };
    rows.first().map(stored).transpose()
}

/// The newest checkpoint, as a signed note.
pub(super) async fn checkpoint(client: &Client) -> Result<Option<String>, StoreError> {
    let rows = rows(client, &[], include_str!("../../sql/postgres/newest_checkpoint.sql"), &[]).await?;
    rows.first().map(|row| column(row, 1)).transpose()
}

/// Number of leaves.
pub(super) async fn tree_size(client: &Client) -> Result<u64, StoreError> {
    let rows = rows(client, &[], include_str!("../../sql/postgres/ledger_head.sql"), &[]).await?;
    rows.first().map_or(Ok(0), |row| natural(row, 0))
}

/// The root over the first leaves, as the tiles have it.
pub(super) async fn root_at(client: &Client, size: u64) -> Result<Hash, StoreError> {
    if size == 0 {
        return Ok(merkle::root(&[]));
    }
    let roots = subtree_roots(client, &[Range { start: 0, end: size }]).await?;
    roots.first().copied().ok_or_else(tiles_corrupt)
}

/// Roots of subtrees of the ledger. Tiles only grow, so it does not matter that they are not read at once.
pub(super) async fn subtree_roots(client: &Client, ranges: &[Range]) -> Result<Vec<Hash>, StoreError> {
    let mut roots = Vec::with_capacity(ranges.len());
    for ranges in ranges.chunks(RANGES) {
        let wanted = Wanted::tiles(tiles_of(ranges));
        let rows = rows(client, &[], include_str!("../../sql/postgres/read_tiles.sql"), &wanted.params()).await?;
        let tiles = tiles(&rows);
        for range in ranges {
            let root = subtree_root(*range, &mut |id| tiles.get(&id).cloned());
            roots.push(root.ok_or_else(tiles_corrupt)?);
        }
    }
    Ok(roots)
}

/// Tiles to be read, as parameters of `read_tiles`.
pub(super) struct Wanted {
    levels: Vec<i64>,
    tiles: Vec<i64>,
}

impl Wanted {
    pub(super) fn tiles(ids: impl IntoIterator<Item = TileId>) -> Self {
        let (levels, tiles) =
            ids.into_iter().map(|(level, tile)| (i64::from(level), i64::try_from(tile).unwrap_or(i64::MAX))).unzip();
        Self { levels, tiles }
    }

    pub(super) fn params(&self) -> [Param<'_>; 2] {
        [(&self.levels, Type::INT8_ARRAY), (&self.tiles, Type::INT8_ARRAY)]
    }
}

/// Tiles as `read_tiles` answers them. One that does not hold whole hashes counts as missing.
pub(super) fn tiles(rows: &[Row]) -> BTreeMap<TileId, Vec<Hash>> {
    let tile = |row: &Row| {
        let level: i64 = row.try_get(0).ok()?;
        let tile: i64 = row.try_get(1).ok()?;
        let hashes = hashes(row.try_get(2).ok()?)?;
        Some(((u32::try_from(level).ok()?, u64::try_from(tile).ok()?), hashes))
    };
    rows.iter().filter_map(tile).collect()
}

/// Whole hashes, or nothing.
pub(super) fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

pub(super) fn tiles_corrupt() -> StoreError {
    StoreError::Corrupt {
        at: "ledger_tiles".to_owned(),
        problem: "a tile is missing or has another width than the ledger calls for".to_owned(),
    }
}

/// Newest runs first.
pub(super) async fn list_runs(
    client: &Client,
    tenant: Option<&str>,
    limit: usize,
) -> Result<Vec<RunListing>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&limit, Type::INT8)];
    let sql = include_str!("../../sql/postgres/list_runs.sql");
    let rows = rows(client, tenant.as_slice(), sql, &params).await?;
    let run = |row: &Row| {
        Ok(RunListing {
            run_id: column(row, 0)?,
            run_no: column::<Option<i64>>(row, 1)?.and_then(|number| u64::try_from(number).ok()),
            tenant_id: column(row, 2)?,
            agent_id: column(row, 3)?,
            status: column(row, 4)?,
            wait_reason: column(row, 5)?,
            wait_ref: column(row, 6)?,
            created_at: column(row, 7)?,
            completed_at: column(row, 8)?,
        })
    };
    rows.iter().map(run).collect()
}

/// Agents by tenant and id.
pub(super) async fn list_agents(client: &Client, tenant: Option<&str>) -> Result<Vec<AgentRow>, StoreError> {
    let params: [Param<'_>; 1] = [(&tenant, Type::TEXT)];
    let sql = include_str!("../../sql/postgres/list_agents.sql");
    let rows = rows(client, tenant.as_slice(), sql, &params).await?;
    let agent = |row: &Row| {
        Ok(AgentRow {
            tenant_id: column(row, 0)?,
            id: column(row, 1)?,
            name: column(row, 2)?,
            created_at: column(row, 3)?,
        })
    };
    rows.iter().map(agent).collect()
}
