//! Signed heads: what a row of `checkpoints` is worth, and whether the tree leads to a head that is known.

use runproof_engine::projection::Cell;
use runproof_proof::bundle::Anchor;
use runproof_proof::checkpoint::{Checkpoint, InclusionProof};
use runproof_proof::finding::{Code, Finding};
use runproof_proof::hash::Hash;
use runproof_proof::note::Note;
use runproof_proof::trust::Trust;
use runproof_proof::verify::signatures;
use runproof_store::CheckpointRow;

/// Whether the tree has the root that a known head says.
pub(super) fn compare_head(head: &Checkpoint, root: Hash) -> Option<Finding> {
    let size = head.size;
    let finding = Finding::new(Code::HeadForked, "", "checkpoints.size");
    (head.root != root)
        .then(|| finding.differs(format!("{} at {size} leaves", head.root), format!("{root} at {size} leaves")))
}

/// What a row of `checkpoints` is worth.
pub(super) struct Judged {
    pub(super) findings: Vec<Finding>,
    /// What its note says, when it can be read.
    pub(super) said: Option<Checkpoint>,
    /// The same, when it counts.
    pub(super) signed: Option<Checkpoint>,
}

/// Judges a row by itself; the tree is compared elsewhere.
pub(super) fn judge(row: &CheckpointRow, log: &str, trust: &Trust) -> Judged {
    let find = |code, column: &str| Finding::new(code, "", format!("checkpoints.{column}[size={}]", row.size));
    let readable = |text: &String| {
        let note = Note::parse(text.as_bytes()).ok()?;
        let checkpoint = Checkpoint::parse(&note.text).ok()?;
        Some((note, checkpoint))
    };
    let text = match &row.note {
        Cell::Text(text) => text.clone(),
        Cell::Null | Cell::Int(_) => String::new(),
    };
    let Some((note, checkpoint)) = readable(&text) else {
        let finding = find(Code::RowChanged, "note").differs("a signed checkpoint", &row.note);
        return Judged { findings: vec![finding], said: None, signed: None };
    };
    let mut findings = Vec::new();
    if checkpoint.origin != log {
        findings.push(find(Code::CheckpointOrigin, "note").differs(log, &checkpoint.origin));
    }
    if i64::try_from(checkpoint.size) != Ok(row.size) {
        findings.push(find(Code::RowChanged, "size").differs(checkpoint.size, row.size));
    }
    if row.root != Cell::Text(checkpoint.root.hex()) {
        findings.push(find(Code::RowChanged, "root").differs(checkpoint.root, &row.root));
    }
    let proof = InclusionProof { index: 0, hashes: Vec::new(), note: text };
    let anchor = Anchor { proof, note, checkpoint: checkpoint.clone() };
    let counts = if trust.keys.is_empty() {
        false // said once for all of them
    } else {
        let judged = signatures("", &anchor, trust);
        let counts = judged.is_empty() && checkpoint.origin == log;
        findings.extend(
            judged
                .into_iter()
                .map(|finding| Finding { place: format!("checkpoints.note[size={}]", row.size), ..finding }),
        );
        counts
    };
    Judged { findings, signed: counts.then(|| checkpoint.clone()), said: Some(checkpoint) }
}
