//! The ledger's tree as hash tiles of up to 256 hashes (<https://c2sp.org/tlog-tiles>), growing at the right edge.
//!
//! Level 0 holds leaf hashes; each full tile gives one hash to the level above. Only the last tile of a level changes.

use std::collections::{BTreeMap, BTreeSet};

use runproof_proof::hash::Hash;
use runproof_proof::merkle::{self, Range};

/// Hashes in a full tile.
const WIDTH: u64 = 256;
/// Level and number of a tile.
pub(crate) type TileId = (u32, u64);

/// The right edge of the tree: the last tile of every level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    edge: Vec<Vec<Hash>>,
    /// Tiles that became full since they were last taken.
    full: BTreeMap<TileId, Vec<Hash>>,
    /// Levels whose last tile has grown since.
    grown: usize,
}

impl Tree {
    /// A tree of `size` leaves whose last tiles `read` supplies. `None` when a tile is missing or has another width.
    pub fn load(size: u64, mut read: impl FnMut(TileId) -> Option<Vec<Hash>>) -> Option<Self> {
        let mut tree = Self { size, ..Self::default() };
        let (mut level, mut count) = (0, size);
        while count > 0 {
            let width = count % WIDTH;
            let hashes = if width == 0 { Vec::new() } else { read((level, count / WIDTH))? };
            if hashes.len() as u64 != width {
                return None;
            }
            tree.edge.push(hashes);
            count /= WIDTH;
            level += 1;
        }
        Some(tree)
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The last tile of every level: with the size, all that is needed to [`Tree::load`] it again.
    pub fn edge(&self) -> &[Vec<Hash>] {
        &self.edge
    }

    /// Adds a leaf hash and returns its index.
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.size;
        self.size += 1;
        let (mut level, mut hash) = (0usize, leaf);
        loop {
            if self.edge.len() == level {
                self.edge.push(Vec::new());
            }
            self.edge[level].push(hash);
            let count = self.size >> (8 * level);
            let tile = (level_number(level), (count - 1) / WIDTH);
            self.grown = self.grown.max(level + 1);
            if (self.edge[level].len() as u64) < WIDTH {
                return index;
            }
            let full = std::mem::take(&mut self.edge[level]);
            hash = merkle::root(&full);
            self.full.insert(tile, full);
            level += 1;
        }
    }

    /// Tiles that changed since the last call.
    pub fn take_dirty(&mut self) -> BTreeMap<TileId, Vec<Hash>> {
        let mut dirty = std::mem::take(&mut self.full);
        for (level, hashes) in self.edge.iter().enumerate().take(std::mem::take(&mut self.grown)) {
            if !hashes.is_empty() {
                let tile = (self.size >> (8 * level)) / WIDTH;
                dirty.insert((level_number(level), tile), hashes.clone());
            }
        }
        dirty
    }

    /// Root over all leaves.
    pub fn root(&self) -> Hash {
        let mut below: Option<Hash> = None;
        for hashes in &self.edge {
            if hashes.is_empty() && below.is_none() {
                continue;
            }
            let all: Vec<Hash> = hashes.iter().copied().chain(below).collect();
            below = Some(merkle::root(&all));
        }
        below.unwrap_or_else(|| merkle::root(&[]))
    }
}

fn level_number(level: usize) -> u32 {
    u32::try_from(level).unwrap_or(u32::MAX)
}

/// Root of the subtree over a range of leaves, from tiles. The range is one that a proof calls for: it begins at a
/// multiple of its size rounded up to a power of two.
pub(crate) fn subtree_root(range: Range, read: &mut dyn FnMut(TileId) -> Option<Vec<Hash>>) -> Option<Hash> {
    let (mut level, mut start, mut end) = (0u32, range.start, range.end);
    // Climb while both ends lie on tile borders.
    while start.is_multiple_of(WIDTH) && end.is_multiple_of(WIDTH) && end > start {
        level += 1;
        start /= WIDTH;
        end /= WIDTH;
    }
    range_root(level, start, end, read)
}

/// Tiles that [`subtree_root`] reads for these ranges.
pub(crate) fn tiles_of(ranges: &[Range]) -> BTreeSet<TileId> {
    let mut tiles = BTreeSet::new();
    for range in ranges {
        // Which tiles are read does not depend on what is in them.
        subtree_root(*range, &mut |id| {
            tiles.insert(id);
            Some(vec![Hash::ZERO; WIDTH as usize])
        });
    }
    tiles
}

/// Tiles that [`Tree::load`] reads for a tree of that size, each with its width.
pub(crate) fn edge_of(size: u64) -> BTreeMap<TileId, usize> {
    let mut edge = BTreeMap::new();
    Tree::load(size, |(level, tile)| {
        let width = ((size >> (8 * level)) % WIDTH) as usize;
        edge.insert((level, tile), width);
        Some(vec![Hash::ZERO; width])
    });
    edge
}

/// Root over `[start, end)` of one level; the last entry may stand for an incomplete subtree below.
fn range_root(level: u32, start: u64, end: u64, read: &mut dyn FnMut(TileId) -> Option<Vec<Hash>>) -> Option<Hash> {
    if end - start <= WIDTH && start / WIDTH == (end - 1) / WIDTH {
        let tile = read((level, start / WIDTH))?;
        let hashes = tile.get((start % WIDTH) as usize..=((end - 1) % WIDTH) as usize)?;
        return Some(merkle::root(hashes));
    }
    // Split as RFC 6962 does: at the largest power of two below the length.
    let half = 1u64 << (63 - (end - start - 1).leading_zeros());
    let climb = |level: u32, start: u64, end: u64, read: &mut dyn FnMut(TileId) -> Option<Vec<Hash>>| {
        let (mut level, mut start, mut end) = (level, start, end);
        while end - start >= WIDTH && start.is_multiple_of(WIDTH) && end.is_multiple_of(WIDTH) {
            level += 1;
            start /= WIDTH;
            end /= WIDTH;
        }
        range_root(level, start, end, read)
    };
    let left = climb(level, start, start + half, read)?;
    let right = climb(level, start + half, end, read)?;
    Some(runproof_proof::hash::node(&left, &right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runproof_proof::hash::leaf;

    #[test]
    fn tiles_give_the_same_roots_as_the_whole_tree() {
        let leaves: Vec<Hash> = (0..70_000u32).map(|n| leaf(&n.to_be_bytes())).collect();
        let mut tree = Tree::default();
        let mut tiles: BTreeMap<TileId, Vec<Hash>> = BTreeMap::new();
        for (count, hash) in leaves.iter().enumerate() {
            assert_eq!(tree.push(*hash), count as u64);
            tiles.extend(tree.take_dirty());
            let size = count + 1;
            if [1, 2, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 69_999].contains(&size) {
                assert_eq!(tree.root(), merkle::root(&leaves[..size]), "root at {size}");
                let loaded = Tree::load(size as u64, |id| tiles.get(&id).map(|tile| tile[..tile.len()].to_vec()));
                assert_eq!(loaded.map(|tree| tree.root()), Some(tree.root()), "loaded at {size}");
                for index in [0, size / 3, size - 1] {
                    let ranges = merkle::inclusion_ranges(index as u64, size as u64).unwrap();
                    let proof: Vec<Hash> = ranges
                        .into_iter()
                        .map(|range| {
                            let read = tiles_of(&[range]);
                            subtree_root(range, &mut |id| {
                                assert!(read.contains(&id), "tile {id:?} of {range:?}");
                                tiles.get(&id).cloned()
                            })
                            .unwrap()
                        })
                        .collect();
                    let root = merkle::root_from_inclusion(&leaves[index], index as u64, size as u64, &proof);
                    assert_eq!(root, Some(tree.root()), "leaf {index} of {size}");
                }
            }
        }
    }
}
