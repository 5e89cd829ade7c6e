//! The ledger: every leaf in its place, every head signed, every head leading to the next.

use std::sync::Arc;

use runproof_engine::draft::Draft;
use runproof_engine::ports::{Append, Claim, Claimed, StoreError};
use runproof_engine::projection::RowChanges;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::event::{GapKind, GapRecorded};
use runproof_proof::finding::Verdict;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::{self, Range};
use runproof_store::Store;
use serde_json::json;

use crate::doubles::{START, block_on};
use crate::support::*;

/// Appends events that mean nothing to the run; answers the number of leaves afterwards.
pub(crate) fn grow(store: &dyn Store, claimed: &mut Claimed, events: u64) {
    let run = claimed.run.clone();
    let (expected_seq, expected_head) = (run.next_seq, run.head);
    let mut draft = Draft::new(run, START, [3; 32]);
    for count in 0..events {
        draft.push(|_| Ok(GapRecorded { count: Some(count), gap: GapKind::OverQuota })).unwrap();
    }
    let append = Append {
        tenant: claimed.run.tenant.clone(),
        run_id: claimed.run.id.clone(),
        fence: claimed.fence.clone(),
        expected_seq,
        expected_head,
        lines: draft.lines.into(),
        rows: RowChanges::default(),
        writes: Vec::new(),
        claim: Claim::Keep,
    };
    block_on(store.append(append)).unwrap();
    claimed.run = draft.run;
}

/// A ledger that grew in steps of all sizes, with the head after each and every leaf.
fn grown(subject: &dyn Subject) -> (Arc<dyn Store>, Vec<Checkpoint>, Vec<Hash>) {
    let store = subject.store();
    let steps = plan(json!([{"id": "pay", "skill": "pay"}]));
    let mut run = claimed(open(store.as_ref(), TENANT, "r_1", steps));
    let mut size = placed(&evidence(store.as_ref(), TENANT, "r_1").transitions).last().unwrap().index + 1;
    let mut heads = Vec::new();
    for events in [1, 1, 2, 3, 7, 30, 64, 130, 5, 1, 2, 256, 512, 15, 1, 1, 400, 70] {
        grow(store.as_ref(), &mut run, events);
        size += events;
        heads.push(subject.keeper().wait_for(size));
        assert_eq!(heads.last().unwrap().size, size, "the head after a write is over exactly what was written");
    }
    let singles = (0..size).map(|index| Range { start: index, end: index + 1 }).collect();
    let leaves = roots(store.as_ref(), Some(singles));
    (store, heads, leaves)
}

pub(crate) fn the_checkpoint_covers_the_seal(subject: &mut dyn Subject) {
    let store = subject.store();
    for run_id in ["r_1", "r_2"] {
        driven(&store, TENANT, run_id, mixed_plan());
        let last = placed(&evidence(store.as_ref(), TENANT, run_id).transitions).last().unwrap().index;
        let head = subject.keeper().wait_for(last + 1);
        assert!(head.size > last);
        assert_verdict(&prove(subject, TENANT, run_id), Verdict::Verified);
    }
}

pub(crate) fn every_leaf_is_proved_against_every_head(subject: &mut dyn Subject) {
    let (store, heads, leaves) = grown(subject);
    for head in &heads {
        assert_eq!(head.root, merkle::root(&leaves[..head.size as usize]));
        let indexes = [0, 1, head.size / 3, head.size / 2, 255, 256, 257, 511, 512, 1023, 1024, head.size - 1];
        for index in indexes.into_iter().filter(|index| *index < head.size) {
            let proof = roots(store.as_ref(), merkle::inclusion_ranges(index, head.size));
            let root = merkle::root_from_inclusion(&leaves[index as usize], index, head.size, &proof);
            assert_eq!(root, Some(head.root), "leaf {index} of {}", head.size);
        }
    }
    let last = heads.last().unwrap();
    let every: Vec<u64> = (0..last.size).collect();
    for index in every {
        let proof = roots(store.as_ref(), merkle::inclusion_ranges(index, last.size));
        assert_eq!(merkle::root_from_inclusion(&leaves[index as usize], index, last.size, &proof), Some(last.root));
    }
}

pub(crate) fn every_head_leads_to_every_later_head(subject: &mut dyn Subject) {
    let (store, heads, leaves) = grown(subject);
    for (place, old) in heads.iter().enumerate() {
        for new in &heads[place..] {
            let proof = if old.size == new.size {
                Vec::new()
            } else {
                roots(store.as_ref(), merkle::consistency_ranges(old.size, new.size))
            };
            assert!(
                merkle::verify_consistency(old.size, &old.root, new.size, &new.root, &proof),
                "{} to {}",
                old.size,
                new.size
            );
        }
    }
    let last = heads.last().unwrap();
    for size in 1..last.size {
        let proof = roots(store.as_ref(), merkle::consistency_ranges(size, last.size));
        let root = merkle::root(&leaves[..size as usize]);
        assert!(merkle::verify_consistency(size, &root, last.size, &last.root, &proof), "{size} to {}", last.size);
    }
}

pub(crate) fn a_missing_leaf_is_an_error_and_not_a_guess(subject: &mut dyn Subject) {
    let store = subject.store();
    let size = placed(&evidence(store.as_ref(), OTHER, "none").tenant_transitions).last().unwrap().index + 1;
    for range in [
        Range { start: size, end: size + 1 },
        Range { start: 0, end: size + 1 },
        Range { start: 1 << 40, end: (1 << 40) + 1 },
    ] {
        let found = block_on(store.subtree_roots(vec![Range { start: 0, end: 1 }, range]));
        assert!(matches!(found, Err(StoreError::Corrupt { .. })), "{range:?}: {found:?}");
    }
}
