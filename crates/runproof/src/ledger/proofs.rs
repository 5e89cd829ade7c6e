//! Proofs about the ledger that others can check: that it holds an event, and that it grew from an older state.
//!
//! Files are those of C2SP tlog-proof and of the consistency line of a bundle (`docs/spec/ledger.md`).

use runproof_engine::ports::StoreError;
use runproof_engine::projection::Cell;
use runproof_proof::bundle::{Anchor, Consistency};
use runproof_proof::checkpoint::{Checkpoint, InclusionProof};
use runproof_proof::event::Event;
use runproof_proof::finding::{Code, Finding};
use runproof_proof::hash::{Hash, leaf};
use runproof_proof::merkle::{self, Range};
use runproof_proof::note::{Note, NoteError};
use runproof_proof::trust::Trust;
use runproof_proof::verify::signatures;
use runproof_store::Snapshot;

use super::report::Findings;

/// An event with the proof that the ledger holds it.
#[derive(Clone, Debug)]
pub struct Included {
    /// The file.
    pub proof: InclusionProof,
    /// Leaf hash of the event.
    pub leaf: Hash,
    /// The event.
    pub event: Event,
    /// Its bytes.
    pub bytes: String,
    /// What is wrong with the proof: damaged tiles give one that leads nowhere.
    pub findings: Findings,
}

/// What came of asking for a proof.
#[derive(Clone, Debug)]
pub enum Asked {
    /// The proof.
    Made(Box<Included>),
    /// The tenant has no such run, or the run has no such event.
    NoEvent,
    /// No stored checkpoint covers the event yet.
    Unsigned,
}

/// Proves that the ledger holds an event of a run: the last one, or that with this seq. Against the newest checkpoint.
///
/// # Errors
/// [`StoreError`].
pub fn inclusion(snapshot: &dyn Snapshot, tenant: &str, run_id: &str, seq: Option<u64>) -> Result<Asked, StoreError> {
    let evidence = snapshot.evidence(tenant, run_id, &[])?;
    let lines = evidence.transitions.iter().flat_map(|row| {
        let places = (0..).map(|offset: u64| row.first_leaf.map(|first| first.saturating_add(offset)));
        places.zip(row.events.split('\n'))
    });
    let mut events = lines.filter_map(|(index, line)| Some((index, line, Event::decode(line.as_bytes()).ok()?)));
    let found = match seq {
        Some(seq) => events.find(|(_, _, event)| event.seq == seq),
        None => events.last(),
    };
    let Some((index, line, event)) = found else { return Ok(Asked::NoEvent) };
    let Some(index) = index else { return Ok(Asked::Unsigned) }; // it has no place yet
    let Some((note, _, checkpoint)) = newest(snapshot)? else { return Ok(Asked::Unsigned) };
    let Some(ranges) = merkle::inclusion_ranges(index, checkpoint.size) else { return Ok(Asked::Unsigned) };
    let hashes = snapshot.subtree_roots(&ranges).unwrap_or_default();
    let leaf = leaf(line.as_bytes());
    let mut findings = Findings::default();
    if let Some(finding) = compare_inclusion(&leaf, index, &hashes, &checkpoint) {
        findings.add(Finding { run_id: run_id.to_owned(), ..finding.at(event.seq) });
    }
    let proof = InclusionProof { index, hashes, note };
    Ok(Asked::Made(Box::new(Included { proof, leaf, event, bytes: line.to_owned(), findings })))
}

/// The newest stored checkpoint that can be read: text, note, and what it says.
///
/// # Errors
/// [`StoreError`].
pub fn newest(snapshot: &dyn Snapshot) -> Result<Option<(String, Note, Checkpoint)>, StoreError> {
    let Some(row) = snapshot.last_checkpoint(i64::MAX)? else { return Ok(None) };
    let Cell::Text(text) = row.note else { return Ok(None) };
    Ok(read_checkpoint(text.as_bytes()).ok().map(|(note, checkpoint)| (text, note, checkpoint)))
}

/// Reads a signed checkpoint.
///
/// # Errors
/// [`NoteError`].
pub fn read_checkpoint(bytes: &[u8]) -> Result<(Note, Checkpoint), NoteError> {
    let note = Note::parse(bytes)?;
    let checkpoint = Checkpoint::parse(&note.text)?;
    Ok((note, checkpoint))
}

fn compare_inclusion(leaf: &Hash, index: u64, hashes: &[Hash], checkpoint: &Checkpoint) -> Option<Finding> {
    let got = merkle::root_from_inclusion(leaf, index, checkpoint.size, hashes);
    let shown = got.map_or("a proof of the wrong length".to_owned(), |root| root.hex());
    let finding = Finding::new(Code::InclusionProof, "", "tlog-proof").differs(checkpoint.root, shown);
    (got != Some(checkpoint.root)).then_some(finding)
}

/// What a proof file says.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What was found.
    pub findings: Findings,
    /// Index and checkpoint, when the file can be read.
    pub said: Option<(u64, Checkpoint)>,
}

/// Checks a tlog-proof file for a leaf, without a database.
pub fn check_inclusion(bytes: &[u8], leaf: &Hash, trust: &Trust) -> Checked {
    let mut findings = Findings::default();
    let (proof, note, checkpoint) = match InclusionProof::decode(bytes) {
        Ok(read) => read,
        Err(error) => {
            let finding = Finding::new(Code::BundleMalformed, "", "tlog-proof");
            findings.add(finding.differs("a tlog-proof file", error));
            return Checked { findings, said: None };
        }
    };
    if let Some(finding) = compare_inclusion(leaf, proof.index, &proof.hashes, &checkpoint) {
        findings.add(finding);
    }
    let said = Some((proof.index, checkpoint.clone()));
    let judged = signatures("", &Anchor { proof, note, checkpoint: checkpoint.clone() }, trust);
    let counts = judged.is_empty();
    for finding in judged {
        findings.add(finding);
    }
    for head in trust.heads.iter().filter(|head| counts && head.origin == checkpoint.origin) {
        // The file has no consistency proof: an older head can be compared with `log consistency` only.
        let verdict = if head.size > checkpoint.size {
            Some((Code::HeadOlder, format!("at least {} leaves", head.size), format!("{} leaves", checkpoint.size)))
        } else if head.size < checkpoint.size {
            Some((Code::HeadNotCompared, format!("a proof from {} leaves", head.size), "none".to_owned()))
        } else {
            (head.root != checkpoint.root).then(|| (Code::HeadForked, head.root.hex(), checkpoint.root.hex()))
        };
        if let Some((code, expected, got)) = verdict {
            findings.add(Finding::new(code, "", "checkpoint.size").differs(expected, got));
        }
    }
    Checked { findings, said }
}

/// One of the two states that are compared.
#[derive(Clone, Debug)]
pub struct State {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note, unless only size and root are known.
    pub note: Option<Note>,
}

/// The proof that the tree of `since` leaves is a prefix of that of `size` leaves, from tiles. `None` when tiles are
/// missing or short, or when there are fewer leaves.
pub fn consistency(snapshot: &dyn Snapshot, since: u64, size: u64) -> Option<Consistency> {
    if since == 0 {
        return Some(Consistency { hashes: Vec::new(), root: merkle::root(&[]), since });
    }
    let hashes = snapshot.subtree_roots(&merkle::consistency_ranges(since, size)?)?;
    let roots = snapshot.subtree_roots(&[Range { start: 0, end: since }])?;
    Some(Consistency { hashes, root: *roots.first()?, since })
}

/// Judges whether `new` extends `old`, by this proof.
pub fn check_consistency(old: &State, new: &State, proof: Option<&Consistency>, trust: &Trust) -> Findings {
    let mut findings = Findings::default();
    for (name, state) in [("old", old), ("new", new)] {
        let Some(note) = &state.note else { continue };
        let proof = InclusionProof { index: 0, hashes: Vec::new(), note: String::new() };
        let anchor = Anchor { proof, note: note.clone(), checkpoint: state.checkpoint.clone() };
        for finding in signatures("", &anchor, trust) {
            let place = format!("{name} {}", finding.place);
            findings.add(Finding { place, ..finding });
        }
    }
    let (before, after) = (&old.checkpoint, &new.checkpoint);
    let sizes = format!("{} to {} leaves", before.size, after.size);
    let find = |code, place: &str| Finding::new(code, "", place);
    let leads = |proof: &Consistency| {
        merkle::verify_consistency(before.size, &proof.root, after.size, &after.root, &proof.hashes)
    };
    let finding = if before.origin != after.origin {
        Some(find(Code::CheckpointOrigin, "new checkpoint.origin").differs(&before.origin, &after.origin))
    } else if before.size > after.size {
        let finding = find(Code::HeadOlder, "new checkpoint.size");
        Some(finding.differs(format!("at least {} leaves", before.size), format!("{} leaves", after.size)))
    } else if before.size == after.size {
        (before.root != after.root)
            .then(|| find(Code::HeadForked, "new checkpoint.root").differs(before.root, after.root))
    } else {
        match proof.filter(|proof| proof.since == before.size && leads(proof)) {
            // The proof is sound: whatever root it has is the root of the new log at the old size.
            Some(proof) => (proof.root != before.root)
                .then(|| find(Code::HeadForked, "old checkpoint.root").differs(before.root, proof.root)),
            None => {
                Some(find(Code::InclusionConsistency, "consistency").differs(format!("a proof from {sizes}"), "none"))
            }
        }
    };
    if let Some(finding) = finding {
        findings.add(finding);
    }
    findings
}
