//! What one pass of the sequencer reads and writes, as arrays.

use std::collections::BTreeSet;

use runproof_engine::ports::StoreError;
use runproof_proof::hash::{Hash, leaf};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::read::column;
use super::sequencer::{SequenceError, int};
use super::session::{Param, in_time};
use crate::Tree;
use crate::tree::edge_of;

/// Most bytes of events in one transaction, unless one transition alone has more.
const MAX_BYTES: i64 = 16 * 1024 * 1024;

/// Transitions that are to be placed, in order.
pub(super) struct Batch(Vec<Row>);

impl Batch {
    /// Reads transitions by rows of `read_unplaced`, as many from the first on as are small enough together.
    pub(super) async fn read(client: &Client, unplaced: &[Row]) -> Result<Self, SequenceError> {
        let mut ids: Vec<i64> = Vec::with_capacity(unplaced.len());
        let mut tenants = BTreeSet::new();
        for row in unplaced {
            ids.push(column(row, 0)?);
            tenants.insert(column::<&str>(row, 1)?);
        }
        if ids.is_empty() {
            return Ok(Self(Vec::new()));
        }
        // The empty name in front is the log's own.
        let tenants = format!(",{}", tenants.into_iter().collect::<Vec<_>>().join(","));
        let show: [Param<'_>; 1] = [(&tenants, Type::TEXT)];
        let read: [Param<'_>; 2] = [(&ids, Type::INT8_ARRAY), (&MAX_BYTES, Type::INT8)];
        let rows = in_time(async {
            let (shown, rows) = tokio::join!(biased;
                client.query_typed(include_str!("../../sql/postgres/show_tenants.sql"), &show),
                client.query_typed(include_str!("../../sql/postgres/read_to_place.sql"), &read)
            );
            shown?;
            rows
        });
        let rows = rows.await?;
        for (row, id) in rows.iter().zip(&ids) {
            if column::<i64>(row, 0)? != *id {
                let problem = "it is committed, and cannot be read".to_owned();
                return Err(StoreError::Corrupt { at: format!("transitions[id={id}]"), problem }.into());
            }
        }
        Ok(Self(rows))
    }

    /// Gives them their places at the right edge of the tree.
    pub(super) fn leaves(&self, tree: &mut Tree) -> Result<Leaves<'_>, StoreError> {
        let mut leaves = Leaves::default();
        for row in &self.0 {
            leaves.first_leaves.push(int(tree.size()));
            leaves.ids.push(column(row, 0)?);
            leaves.tenants.push(column(row, 1)?);
            leaves.streams.push(column(row, 2)?);
            leaves.first_seqs.push(column(row, 3)?);
            for line in column::<&str>(row, 4)?.split('\n') {
                tree.push(leaf(line.as_bytes()));
            }
        }
        Ok(leaves)
    }
}

/// Rows of `leaves`.
#[derive(Default)]
pub(super) struct Leaves<'a> {
    first_leaves: Vec<i64>,
    tenants: Vec<&'a str>,
    streams: Vec<&'a str>,
    first_seqs: Vec<i64>,
    pub(super) ids: Vec<i64>,
}

impl Leaves<'_> {
    pub(super) fn params(&self) -> [Param<'_>; 5] {
        [
            (&self.first_leaves, Type::INT8_ARRAY),
            (&self.tenants, Type::TEXT_ARRAY),
            (&self.streams, Type::TEXT_ARRAY),
            (&self.first_seqs, Type::INT8_ARRAY),
            (&self.ids, Type::INT8_ARRAY),
        ]
    }
}

/// Rows of `ledger_tiles`.
#[derive(Default)]
pub(super) struct Tiles {
    levels: Vec<i64>,
    tiles: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl Tiles {
    /// Tiles that changed since they were last taken.
    pub(super) fn of(tree: &mut Tree) -> Self {
        let mut all = Self::default();
        for ((level, tile), hashes) in tree.take_dirty() {
            all.push(level, tile, &hashes);
        }
        all
    }

    /// The last tile of every level: all that the root depends on.
    pub(super) fn edge(tree: &Tree) -> Self {
        let mut all = Self::default();
        for (level, tile) in edge_of(tree.size()).into_keys() {
            let hashes = usize::try_from(level).ok().and_then(|level| tree.edge().get(level));
            all.push(level, tile, hashes.map_or(&[], Vec::as_slice));
        }
        all
    }

    fn push(&mut self, level: u32, tile: u64, hashes: &[Hash]) {
        self.levels.push(i64::from(level));
        self.tiles.push(int(tile));
        self.hashes.push(hashes.iter().flat_map(|hash| hash.0).collect());
    }

    pub(super) fn params(&self) -> [Param<'_>; 3] {
        [(&self.levels, Type::INT8_ARRAY), (&self.tiles, Type::INT8_ARRAY), (&self.hashes, Type::BYTEA_ARRAY)]
    }
}
