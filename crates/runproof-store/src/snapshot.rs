//! The whole ledger in one state, read row by row: what a verification of all of it needs from a store.

use std::ops::ControlFlow;

use runproof_engine::audit::RawRow;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::Cell;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;

use crate::{Evidence, KeptRun, TransitionRow};

/// A stored checkpoint, column by column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The column `size`.
    pub size: i64,
    /// The column `root`.
    pub root: Cell,
    /// The column `note`.
    pub note: Cell,
}

/// A stored hash tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredTile {
    /// No such row.
    Missing,
    /// The column holds something else than whole hashes.
    Unreadable,
    /// The hashes.
    Hashes(Vec<Hash>),
}

/// The streams of one run, as the index knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStream {
    /// Tenant column.
    pub tenant: String,
    /// Run id, from the stream column.
    pub run_id: String,
    /// Leaf index that its last row names; the largest number where a row names none.
    pub last_leaf: u64,
}

/// Told of a transition and its key in the ledger; a break ends the reading.
pub type EachTransition<'a> = &'a mut dyn FnMut(i64, TransitionRow) -> Result<ControlFlow<()>, StoreError>;

/// Told of a run; a break ends the reading.
pub type EachRun<'a> = &'a mut dyn FnMut(RunStream) -> Result<ControlFlow<()>, StoreError>;

/// One state of the ledger, for as long as it lives. Every method blocks until it has read.
pub trait Snapshot: Send {
    /// Origin of the log.
    fn log(&self) -> &str;

    /// Leaves, as the last transition that has a place says. Damaged columns count as nothing: this is for progress and
    /// for waiting.
    ///
    /// # Errors
    /// [`StoreError`].
    fn size(&self) -> Result<u64, StoreError>;

    /// Hands over every transition that has a place after this key, in order, until told to stop.
    ///
    /// # Errors
    /// [`StoreError`], or what `each` gave.
    fn transitions(&self, after: i64, each: EachTransition<'_>) -> Result<ControlFlow<()>, StoreError>;

    /// A hash tile.
    ///
    /// # Errors
    /// [`StoreError`].
    fn tile(&self, level: u32, tile: u64) -> Result<StoredTile, StoreError>;

    /// Hands over level and number of every stored tile, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn tiles(&self, each: &mut dyn FnMut(i64, i64)) -> Result<(), StoreError>;

    /// Roots of subtrees of the ledger, from tiles. `None` when a tile is missing or short.
    fn subtree_roots(&self, ranges: &[Range]) -> Option<Vec<Hash>>;

    /// The stored checkpoint with the smallest size above this one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn next_checkpoint(&self, after: i64) -> Result<Option<CheckpointRow>, StoreError>;

    /// The stored checkpoint with the largest size up to this one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn last_checkpoint(&self, up_to: i64) -> Result<Option<CheckpointRow>, StoreError>;

    /// Hands over every run that has rows in `transitions`, after a tenant and run id, in order, until told to stop.
    ///
    /// # Errors
    /// [`StoreError`], or what `each` gave.
    fn run_streams(&self, after: (&str, &str), each: EachRun<'_>) -> Result<ControlFlow<()>, StoreError>;

    /// Rows of `runs`, for progress.
    ///
    /// # Errors
    /// [`StoreError`].
    fn run_count(&self) -> Result<u64, StoreError>;

    /// Whether a stream has rows.
    ///
    /// # Errors
    /// [`StoreError`].
    fn has_stream(&self, tenant: &str, stream: &str) -> Result<bool, StoreError>;

    /// Hands over every archived and purged run; a break ends the reading.
    ///
    /// # Errors
    /// [`StoreError`], or what `each` gave.
    fn kept(
        &self,
        each: &mut dyn FnMut(KeptRun) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError>;

    /// Everything about one run, without checkpoint and shared rows; of the tenant's stream, the transitions with these
    /// keys only.
    ///
    /// # Errors
    /// [`StoreError`].
    fn evidence(&self, tenant: &str, run_id: &str, records: &[u64]) -> Result<Evidence, StoreError>;

    /// Rows of `tenants` (by id) or `agents` (by tenant and id), every column.
    ///
    /// # Errors
    /// [`StoreError`].
    fn shared_rows(&self, table: &str, key: &[&str]) -> Result<Vec<RawRow>, StoreError>;

    /// Hands over table, tenant and id of every row of a projection whose stream has no transition.
    ///
    /// # Errors
    /// [`StoreError`].
    fn rows_without_events(&self, each: &mut dyn FnMut(&str, &str, &str)) -> Result<(), StoreError>;

    /// Hands over tenant and id of every agent.
    ///
    /// # Errors
    /// [`StoreError`].
    fn agents(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError>;
}
