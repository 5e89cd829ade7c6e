//! Leaves and tree: every row of the journal in the order of the ledger, every hash tile, every signed checkpoint.
//!
//! Where a row and a tile disagree, the newest signed checkpoint says which of them is the one that was signed; the tree
//! goes on with that one. So one changed byte gives one finding here, not one for each checkpoint after it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use runproof_engine::ports::StoreError;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::event::is_id;
use runproof_proof::finding::{Code, Finding};
use runproof_proof::hash::{Hash, leaf};
use runproof_proof::merkle;
use runproof_store::{CheckpointRow, Snapshot, StoredTile, TransitionRow, Tree};

use super::checkpoints::{Judged, compare_head, judge};
use super::{Position, Progress, Tick, Work, streams};

/// Hashes in a full tile.
pub(super) const WIDTH: u64 = 256;

/// The tree of the first leaves as it was kept. `None` when the tiles no longer give the root that they gave.
pub(super) fn taken_up(snapshot: &dyn Snapshot, position: &Position) -> Option<Tree> {
    let kept = |(level, _): (u32, u64)| position.edge.get(usize::try_from(level).ok()?).cloned();
    let tree = Tree::load(position.size, kept).filter(|tree| tree.root() == position.root)?;
    (tiles_root(snapshot, position.size) == position.tiles_root).then_some(tree)
}

/// The root that the tiles give, unless they are missing or short.
fn tiles_root(snapshot: &dyn Snapshot, size: u64) -> Option<Hash> {
    if size == 0 {
        return None;
    }
    snapshot.subtree_roots(&[merkle::Range { start: 0, end: size }])?.first().copied()
}

/// Goes through the ledger from where the position stands.
pub(super) fn verify(work: &mut Work<'_>, tick: Tick<'_>) -> Result<ControlFlow<()>, StoreError> {
    let snapshot = work.snapshot;
    let tree = taken_up(snapshot, &work.position).unwrap_or_default();
    let newest = snapshot.last_checkpoint(i64::MAX)?.and_then(|row| judge(&row, snapshot.log(), work.trust).signed);
    let checkpoint = snapshot.next_checkpoint(work.position.checkpoint)?;
    let total = snapshot.size()?;
    let mut walk = Walk { work, tree, tile: None, newest, checkpoint };
    walk.at_size()?; // what is signed of the empty tree
    let end = snapshot.transitions(walk.work.position.after, &mut |key, row| {
        walk.transition(key, &row)?;
        let done = walk.tree.size();
        walk.saved()?;
        Ok(tick(Progress { what: "leaves", done, total: total.max(done) }))
    })?;
    walk.keep_tree();
    Ok(end)
}

struct Walk<'a, 'w> {
    work: &'a mut Work<'w>,
    tree: Tree,
    /// The stored tile of the last leaf: number, and hashes unless it is missing.
    tile: Option<(u64, Option<Vec<Hash>>)>,
    /// The newest checkpoint, when it counts.
    newest: Option<Checkpoint>,
    /// The next stored checkpoint to compare.
    checkpoint: Option<CheckpointRow>,
}

impl Walk<'_, '_> {
    fn transition(&mut self, key: i64, row: &TransitionRow) -> Result<(), StoreError> {
        let place = |column: &str| format!("transitions.{column}[first_leaf={key}]");
        let next = self.tree.size();
        let Ok(first) = u64::try_from(key) else {
            let finding = Finding::new(Code::RowChanged, "", place("first_leaf"));
            self.work.find(finding.differs(next, key))?;
            return self.finish(key, row);
        };
        if first > next {
            self.fill(first)?;
        } else if first < next {
            let finding = Finding::new(Code::RowChanged, "", place("first_leaf or event_count"));
            self.work.find(finding.differs(format!("leaves from {next} on"), format!("leaves from {first} on")))?;
        }
        for (index, line) in (first..).zip(row.events.split('\n')) {
            if index > self.tree.size() {
                let finding = Finding::new(Code::RowChanged, "", place("first_leaf"));
                self.work.find(finding.differs(format!("at most {}", self.tree.size()), index))?;
                break;
            }
            if index == self.tree.size() {
                let believed = self.believe(index, leaf(line.as_bytes()), key)?;
                self.push(believed)?;
            }
        }
        self.finish(key, row)
    }

    fn finish(&mut self, key: i64, row: &TransitionRow) -> Result<(), StoreError> {
        self.compare_tiles()?;
        if !row.stream.starts_with("run/") {
            streams::transition(self.work, row)?;
        } else if !is_id(&row.tenant) {
            let finding = Finding::new(Code::RowChanged, "", format!("transitions.tenant_id[first_leaf={key}]"));
            self.work.find(finding.differs("a tenant", &row.tenant))?;
        }
        self.work.position.after = key;
        self.work.position.size = self.tree.size();
        self.work.position.counts.transitions += 1;
        Ok(())
    }

    fn saved(&mut self) -> Result<(), StoreError> {
        if self.work.unsaved + 1 >= super::SAVE_EVERY {
            self.keep_tree();
        }
        self.work.step()
    }

    /// Puts the tree into the position: too much for every row, so only before it is saved.
    fn keep_tree(&mut self) {
        let position = &mut self.work.position;
        position.root = self.tree.root();
        position.edge = self.tree.edge().to_vec();
        position.tiles_root = tiles_root(self.work.snapshot, position.size);
    }

    /// Goes on over leaves that no row holds, as far as tiles have them. An archive or a tombstone explains those that it
    /// names; whether they are its own is looked at with it.
    fn fill(&mut self, until: u64) -> Result<(), StoreError> {
        let mut missing: Option<(u64, u64)> = None;
        while self.tree.size() < until {
            let next = self.tree.size();
            let explained = self.work.state.absent(next)?;
            match explained {
                Some(false) => self.work.position.counts.archived_leaves += 1,
                Some(true) => self.work.position.counts.purged_leaves += 1,
                None => missing = Some(missing.map_or((next, next), |(first, _)| (first, next))),
            }
            if explained.is_some() {
                self.report_missing(missing.take())?;
            }
            let Some(hash) = self.stored(next)? else {
                missing = Some((missing.map_or(next, |(first, _)| first), until - 1));
                break;
            };
            self.push(hash)?;
        }
        self.report_missing(missing)
    }

    fn report_missing(&mut self, missing: Option<(u64, u64)>) -> Result<(), StoreError> {
        let Some((first, last)) = missing else { return Ok(()) };
        let finding = Finding::new(Code::RowMissing, "", format!("transitions[first_leaf={first}]"));
        self.work.find(finding.differs(format!("rows that hold the leaves from {first} to {last}"), "none"))
    }

    /// Which hash was signed as this leaf: that of the row or that of the tile.
    fn believe(&mut self, index: u64, of_row: Hash, key: i64) -> Result<Hash, StoreError> {
        let of_tile = match self.stored(index)? {
            Some(hash) if hash != of_row => hash,
            Some(_) | None => return Ok(of_row),
        };
        let row_was_signed = self.newest.as_ref().is_some_and(|signed| {
            let hashes = merkle::inclusion_ranges(index, signed.size)
                .and_then(|ranges| self.work.snapshot.subtree_roots(&ranges))
                .unwrap_or_default();
            merkle::root_from_inclusion(&of_row, index, signed.size, &hashes) == Some(signed.root)
        });
        let (place, expected, got) = if row_was_signed {
            (format!("ledger_tiles.hashes[leaf {index}]"), of_row, of_tile)
        } else {
            (format!("transitions.events or first_leaf[first_leaf={key}, leaf {index}]"), of_tile, of_row)
        };
        self.work.find(Finding::new(Code::RowChanged, "", place).differs(expected, got))?;
        Ok(expected)
    }

    /// The leaf hash that the tiles have. A missing, unreadable or short tile is found once.
    fn stored(&mut self, index: u64) -> Result<Option<Hash>, StoreError> {
        let number = index / WIDTH;
        if self.tile.as_ref().is_none_or(|(tile, _)| *tile != number) {
            let hashes = match self.work.snapshot.tile(0, number)? {
                StoredTile::Hashes(hashes) => Some(hashes),
                other @ (StoredTile::Missing | StoredTile::Unreadable) => {
                    self.work.find(unreadable(&other, 0, number))?;
                    None
                }
            };
            self.tile = Some((number, hashes));
        }
        let Some((_, tile)) = &mut self.tile else { return Ok(None) };
        let Some(hashes) = tile else { return Ok(None) };
        let at = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
        if let Some(hash) = hashes.get(at) {
            return Ok(Some(*hash));
        }
        let finding = Finding::new(Code::RowChanged, "", format!("ledger_tiles.hashes[level=0, tile={number}]"));
        let finding = finding.differs(format!("leaf {index}"), format!("{} hashes", hashes.len()));
        *tile = None;
        self.work.find(finding)?;
        Ok(None)
    }

    fn push(&mut self, hash: Hash) -> Result<(), StoreError> {
        self.tree.push(hash);
        self.work.position.counts.leaves += 1;
        self.at_size()
    }

    /// Compares what is signed, or known from elsewhere, at the size that the tree has now.
    fn at_size(&mut self) -> Result<(), StoreError> {
        let size = self.tree.size();
        let reached = |row: &CheckpointRow| i64::try_from(size).is_ok_and(|size| row.size <= size);
        while let Some(row) = self.checkpoint.take_if(|row| reached(row)) {
            self.compare_checkpoint(&row)?;
            self.work.position.checkpoint = row.size;
            self.checkpoint = self.work.snapshot.next_checkpoint(row.size)?;
        }
        let known: Vec<Checkpoint> = self.work.heads.iter().filter(|head| head.size == size).cloned().collect();
        for head in known {
            let root = self.tree.root();
            self.work.find_all(compare_head(&head, root))?;
        }
        Ok(())
    }

    fn compare_checkpoint(&mut self, row: &CheckpointRow) -> Result<(), StoreError> {
        let Judged { findings, said, signed } = judge(row, self.work.snapshot.log(), self.work.trust);
        self.work.find_all(findings)?;
        self.work.position.counts.checkpoints += 1;
        let (size, root) = (self.tree.size(), self.tree.root());
        let Some(said) = said.filter(|said| said.size == size) else { return Ok(()) };
        let fits = said.root == root;
        if signed.is_some() {
            if fits {
                self.work.position.signed = size;
            } else if self.work.position.disagrees.is_none() {
                self.work.position.disagrees = Some((size, said.root, root));
            }
            return Ok(());
        }
        if fits {
            return Ok(());
        }
        let finding = Finding::new(Code::RowChanged, "", format!("checkpoints.note[size={}]", row.size));
        self.work.find(finding.differs(format!("root {root}"), format!("root {}", said.root)))
    }

    /// Full tiles above the leaves, as they become full.
    fn compare_tiles(&mut self) -> Result<(), StoreError> {
        let full: BTreeMap<_, _> = self.tree.take_dirty();
        for ((level, number), hashes) in full.into_iter().filter(|((level, _), _)| *level > 0) {
            // A tile that is not full yet only grows: what is in it already can be compared.
            self.work.find_all(compare_tile(self.work.snapshot, level, number, &hashes)?)?;
        }
        Ok(())
    }
}

fn unreadable(tile: &StoredTile, level: u32, number: u64) -> Finding {
    match tile {
        StoredTile::Missing => {
            Finding::new(Code::RowMissing, "", format!("ledger_tiles[level={level}, tile={number}]"))
                .differs("a row", "none")
        }
        StoredTile::Unreadable | StoredTile::Hashes(_) => {
            Finding::new(Code::RowChanged, "", format!("ledger_tiles.hashes[level={level}, tile={number}]"))
                .differs("hashes of 32 bytes", "something else")
        }
    }
}

fn compare_tile(
    snapshot: &dyn Snapshot,
    level: u32,
    number: u64,
    expected: &[Hash],
) -> Result<Option<Finding>, StoreError> {
    let stored = snapshot.tile(level, number)?;
    let StoredTile::Hashes(hashes) = &stored else { return Ok(Some(unreadable(&stored, level, number))) };
    let differs = expected.iter().enumerate().find(|(at, hash)| hashes.get(*at) != Some(*hash));
    Ok(differs.map(|(at, hash)| {
        let place = format!("ledger_tiles.hashes[level={level}, tile={number}, hash {at}]");
        let got = hashes.get(at).map_or("none".to_owned(), Hash::hex);
        Finding::new(Code::RowChanged, "", place).differs(hash, got)
    }))
}
