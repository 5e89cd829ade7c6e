//! The whole ledger in one state: a copy of everything, which is cheap where the store is small.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use runproof_engine::audit::RawRow;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::Cell;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;
use runproof_proof::note::Note;

use super::{Key, RUN_TABLES, State, of_stream, raw_rows, retention};
use crate::tree::{TileId, subtree_root};
use crate::{
    AgentRow, ArchiveRow, CheckpointRow, EachRun, EachTransition, Evidence, KeptRun, RunStream, Snapshot, StoredTile,
    TombstoneRow, TransitionRow,
};

pub(super) struct MemorySnapshot {
    log: String,
    transitions: Vec<TransitionRow>,
    tiles: BTreeMap<TileId, Vec<Hash>>,
    checkpoints: BTreeMap<u64, String>,
    tenants: BTreeMap<String, String>,
    agents: BTreeMap<Key, AgentRow>,
    rows: BTreeMap<Key, Vec<runproof_engine::projection::Row>>,
    archives: BTreeMap<Key, ArchiveRow>,
    tombstones: BTreeMap<Key, TombstoneRow>,
}

impl MemorySnapshot {
    pub(super) fn of(state: &State) -> Self {
        Self {
            log: state.log.clone(),
            transitions: state.transitions.clone(),
            tiles: state.tiles.clone(),
            checkpoints: state.checkpoints.clone(),
            tenants: state.tenants.clone(),
            agents: state.agents.clone(),
            rows: state.rows.clone(),
            archives: state.archives.clone(),
            tombstones: state.tombstones.clone(),
        }
    }
}

fn checkpoint_row((size, note): (&u64, &String)) -> CheckpointRow {
    let said = Note::parse(note.as_bytes()).ok().and_then(|note| Checkpoint::parse(&note.text).ok());
    let root = said.map_or(Cell::Null, |said| Cell::Text(said.root.hex()));
    CheckpointRow { size: i64::try_from(*size).unwrap_or(i64::MAX), root, note: Cell::Text(note.clone()) }
}

impl Snapshot for MemorySnapshot {
    fn log(&self) -> &str {
        &self.log
    }

    fn size(&self) -> Result<u64, StoreError> {
        let end = |row: &TransitionRow| row.first_leaf.unwrap_or(0) + row.event_count;
        Ok(self.transitions.last().map_or(0, end))
    }

    fn transitions(&self, after: i64, each: EachTransition<'_>) -> Result<ControlFlow<()>, StoreError> {
        for row in &self.transitions {
            let key = row.first_leaf.and_then(|leaf| i64::try_from(leaf).ok()).unwrap_or(i64::MAX);
            if key > after && each(key, row.clone())?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn tile(&self, level: u32, tile: u64) -> Result<StoredTile, StoreError> {
        Ok(self.tiles.get(&(level, tile)).map_or(StoredTile::Missing, |hashes| StoredTile::Hashes(hashes.clone())))
    }

    fn tiles(&self, each: &mut dyn FnMut(i64, i64)) -> Result<(), StoreError> {
        for (level, tile) in self.tiles.keys() {
            each(i64::from(*level), i64::try_from(*tile).unwrap_or(i64::MAX));
        }
        Ok(())
    }

    fn subtree_roots(&self, ranges: &[Range]) -> Option<Vec<Hash>> {
        ranges.iter().map(|range| subtree_root(*range, &mut |id| self.tiles.get(&id).cloned())).collect()
    }

    fn next_checkpoint(&self, after: i64) -> Result<Option<CheckpointRow>, StoreError> {
        let from = u64::try_from(after.saturating_add(1)).unwrap_or(0);
        Ok(self.checkpoints.range(from..).next().map(checkpoint_row))
    }

    fn last_checkpoint(&self, up_to: i64) -> Result<Option<CheckpointRow>, StoreError> {
        let Ok(up_to) = u64::try_from(up_to) else { return Ok(None) };
        Ok(self.checkpoints.range(..=up_to).next_back().map(checkpoint_row))
    }

    fn run_streams(&self, after: (&str, &str), each: EachRun<'_>) -> Result<ControlFlow<()>, StoreError> {
        let mut last: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for row in &self.transitions {
            if let Some(run_id) = row.stream.strip_prefix("run/") {
                last.insert((&row.tenant, run_id), row.first_leaf.unwrap_or(u64::MAX));
            }
        }
        for ((tenant, run_id), last_leaf) in last.into_iter().filter(|(key, _)| *key > after) {
            let run = RunStream { tenant: tenant.to_owned(), run_id: run_id.to_owned(), last_leaf };
            if each(run)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn run_count(&self) -> Result<u64, StoreError> {
        Ok(self.rows.len() as u64)
    }

    fn has_stream(&self, tenant: &str, stream: &str) -> Result<bool, StoreError> {
        Ok(self.transitions.iter().any(|row| row.tenant == tenant && row.stream == stream))
    }

    fn kept(
        &self,
        each: &mut dyn FnMut(KeptRun) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError> {
        for run in retention::list_kept(&self.archives, &self.tombstones) {
            if each(run)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn evidence(&self, tenant: &str, run_id: &str, records: &[u64]) -> Result<Evidence, StoreError> {
        let is_record = |row: &&TransitionRow| row.first_leaf.is_some_and(|leaf| records.contains(&leaf));
        let key = (tenant.to_owned(), run_id.to_owned());
        let rows = self.rows.get(&key);
        Ok(Evidence {
            log: self.log.clone(),
            transitions: of_stream(&self.transitions, tenant, &format!("run/{run_id}")),
            tenant_transitions: self.transitions.iter().filter(is_record).cloned().collect(),
            rows: raw_rows(rows),
            archive: self.archives.get(&key).cloned(),
            tombstone: self.tombstones.get(&key).cloned(),
            ..Evidence::default()
        })
    }

    fn shared_rows(&self, table: &str, key: &[&str]) -> Result<Vec<RawRow>, StoreError> {
        let text = |column: &str, value: &str| (column.to_owned(), Cell::Text(value.to_owned()));
        Ok(match (table, key) {
            ("tenants", [id]) => {
                let tenant = self.tenants.get(*id);
                tenant.map(|at| RawRow::from_iter([text("id", id), text("created_at", at)])).into_iter().collect()
            }
            ("agents", [tenant, id]) => {
                let agent = self.agents.get(&((*tenant).to_owned(), (*id).to_owned()));
                let row = |agent: &AgentRow| {
                    RawRow::from_iter([
                        text("tenant_id", tenant),
                        text("id", id),
                        text("name", &agent.name),
                        text("created_at", &agent.created_at),
                    ])
                };
                agent.map(row).into_iter().collect()
            }
            (_, _) => Vec::new(),
        })
    }

    fn rows_without_events(&self, each: &mut dyn FnMut(&str, &str, &str)) -> Result<(), StoreError> {
        for (key @ (tenant, run_id), rows) in &self.rows {
            if !self.has_stream(tenant, &format!("run/{run_id}"))? {
                let is_kept = self.archives.contains_key(key) || self.tombstones.contains_key(key);
                let is_extra =
                    |table: &&&str| rows.iter().any(|row| row.table == **table && (!is_kept || row.table != "holds"));
                RUN_TABLES.iter().filter(is_extra).for_each(|table| each(table, tenant, run_id));
            }
        }
        for tenant in self.tenants.keys() {
            if !self.has_stream(tenant, &format!("tenant/{tenant}"))? {
                each("tenants", tenant, tenant);
            }
        }
        Ok(())
    }

    fn agents(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        self.agents.keys().for_each(|(tenant, id)| each(tenant, id));
        Ok(())
    }
}
