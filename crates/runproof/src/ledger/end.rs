//! What only the end of the ledger shows: what is beyond it, what is not signed, and heads that it should have.

use runproof_engine::ports::StoreError;
use runproof_proof::finding::{Code, Finding};
use runproof_proof::merkle;
use runproof_proof::report::MAX_FINDINGS;
use runproof_store::StoredTile;

use super::Work;
use super::checkpoints::{Judged, compare_head, judge};
use super::leaves::WIDTH;

/// Everything that is found at the end.
pub(super) fn findings(work: &Work<'_>) -> Result<Vec<Finding>, StoreError> {
    let mut findings = tail(work)?;
    let position = &work.position;
    if let Some((size, said, root)) = position.disagrees {
        // Two histories are signed only when a later signed checkpoint fits the tree that is here.
        let finding = if position.signed >= size {
            Finding::new(Code::HeadForked, "", format!("checkpoints.root[size={size}]"))
        } else {
            let from = position.signed;
            Finding::new(Code::RowChanged, "", format!("transitions and ledger_tiles[leaves {from} to {}]", size - 1))
        };
        findings.push(finding.differs(format!("root {said}, as it was signed"), format!("root {root}")));
    }
    for head in &work.heads {
        let (known, size) = (head.size, position.size);
        if known > size {
            let finding = Finding::new(Code::HeadOlder, "", "checkpoints.size");
            findings.push(finding.differs(format!("at least {known} leaves"), format!("{size} leaves")));
            continue;
        }
        let key = i64::try_from(known).unwrap_or(i64::MAX);
        if work.snapshot.last_checkpoint(key)?.is_none_or(|row| row.size != key) {
            let finding = Finding::new(Code::RowMissing, "", format!("checkpoints[size={known}]"));
            findings.push(finding.differs("a row", "none"));
        }
        // Leaves that were done before were not gone through again: their root was checked, and tiles lead to it.
        if known < work.began {
            let range = merkle::Range { start: 0, end: known };
            let root = if known == 0 { Some(vec![merkle::root(&[])]) } else { work.snapshot.subtree_roots(&[range]) };
            match root.as_deref() {
                Some([root]) => findings.extend(compare_head(head, *root)),
                _ => findings.push(
                    Finding::new(Code::RowChanged, "", "ledger_tiles.hashes")
                        .differs(format!("the root of {known} leaves"), "missing or short tiles"),
                ),
            }
        }
    }
    if !work.trust.keys.is_empty() && position.signed < position.size && position.disagrees.is_none() {
        let finding = Finding::new(Code::CheckpointMissing, "", "checkpoints.size");
        findings.push(finding.differs(format!("{} leaves", position.size), format!("{} leaves", position.signed)));
    }
    Ok(findings)
}

/// Rows of `ledger_tiles` and `checkpoints` that speak of leaves that no row holds.
fn tail(work: &Work<'_>) -> Result<Vec<Finding>, StoreError> {
    let size = work.position.size;
    let mut findings = Vec::new();
    let mut leaves = size;
    let mut extra = Vec::new();
    work.snapshot.tiles(&mut |level, tile| {
        let count = u32::try_from(level).ok().filter(|level| *level < 8).map_or(0, |level| size >> (8 * level));
        if u64::try_from(tile).is_ok_and(|tile| tile < count.div_ceil(WIDTH)) {
            return;
        }
        if extra.len() < MAX_FINDINGS {
            extra.push((level, tile));
        }
    })?;
    for level in 0..8u32 {
        let count = size >> (8 * level);
        if count.is_multiple_of(WIDTH) {
            continue;
        }
        if let StoredTile::Hashes(hashes) = work.snapshot.tile(level, count / WIDTH)?
            && hashes.len() as u64 > count % WIDTH
        {
            let end = (count - count % WIDTH + hashes.len() as u64) << (8 * level);
            leaves = leaves.max(end);
        }
    }
    for (level, tile) in &extra {
        if *level == 0
            && let Ok(tile) = u64::try_from(*tile)
            && let StoredTile::Hashes(hashes) = work.snapshot.tile(0, tile)?
        {
            leaves = leaves.max(tile.saturating_mul(WIDTH).saturating_add(hashes.len() as u64));
        }
        let finding = Finding::new(Code::RowExtra, "", format!("ledger_tiles[level={level}, tile={tile}]"));
        findings.push(finding.differs("no row", "a row"));
    }
    let mut after = i64::try_from(size).unwrap_or(i64::MAX);
    while let Some(row) = work.snapshot.next_checkpoint(after)? {
        let Judged { findings: found, signed, .. } = judge(&row, work.snapshot.log(), work.trust);
        leaves = leaves.max(signed.map_or(0, |signed| signed.size));
        findings.extend(found);
        if findings.len() > MAX_FINDINGS {
            break;
        }
        after = row.size;
    }
    if leaves > size {
        let finding = Finding::new(Code::RowMissing, "", format!("transitions[first_leaf={size}]"));
        findings.insert(0, finding.differs(format!("rows that hold the leaves up to {}", leaves - 1), "none"));
    }
    Ok(findings)
}
