//! Columns that no event spells out and that follow from all of them: places in the ledger, payload lines, hash tiles,
//! the checkpoint, and rows of the journal that are gone.

use runproof_engine::audit::RawRow;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::Cell;
use runproof_proof::bundle::Anchor;
use runproof_proof::checkpoint::{Checkpoint, InclusionProof};
use runproof_proof::event::{Body, Event};
use runproof_proof::finding::{Code, Finding};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::{self, Range};
use runproof_proof::note::Note;
use runproof_proof::payload::PayloadLine;
use runproof_proof::trust::Trust;
use runproof_proof::verify::signatures;
use runproof_store::{Evidence, Store, TransitionRow};

use super::{Placed, inclusion};

/// Rows that are gone before the one that begins at `first`, or are there twice.
pub(super) fn gap(run_id: &str, stream: &str, expected: u64, first: u64) -> Finding {
    if first > expected {
        return missing(run_id, stream, expected);
    }
    Finding::new(Code::RowExtra, run_id, place(stream, first)).differs("no row", "a row")
}

/// Whether an erasure is spoken of elsewhere that no record of the tenant's stream tells.
pub(super) fn lacks_record(evidence: &Evidence, ours: &[Placed], tenant: &str, payloads: &[Finding]) -> bool {
    let records = ours.iter().filter(|placed| matches!(placed.entry.event.body, Body::TenantValueErased(_))).count();
    if evidence.transitions.is_empty() {
        return payloads.iter().any(|finding| finding.code == Code::PayloadErased); // the rows went with the run
    }
    let rows = evidence.rows.get("erasures").map_or(0, |rows| rows.iter().filter(|row| is_of(row, tenant)).count());
    rows > records || payloads.iter().any(|finding| finding.code == Code::PayloadErased)
}

fn is_of(row: &RawRow, tenant: &str) -> bool {
    row.get("tenant_id") == Some(&Cell::Text(tenant.to_owned()))
}

/// The rows that end the run, when others say that it is over.
pub(super) fn missing_end(evidence: &Evidence, placed: &[Placed], tenant: &str, run_id: &str) -> Option<Finding> {
    let over = evidence.rows.get("run_seals").is_some_and(|rows| rows.iter().any(|row| is_of(row, tenant)));
    let ends = placed.iter().any(|placed| matches!(placed.entry.event.body, Body::RunSealed(_)));
    (over && !ends).then(|| missing(run_id, &format!("run/{run_id}"), placed.len() as u64))
}

fn missing(run_id: &str, stream: &str, seq: u64) -> Finding {
    Finding::new(Code::RowMissing, run_id, place(stream, seq)).differs("a row", "none")
}

fn place(stream: &str, seq: u64) -> String {
    format!("transitions[stream={stream}, first_seq={seq}]")
}

/// The columns that say which leaf the first event of a row is.
pub(super) fn of_place(row: &TransitionRow) -> String {
    match row.arrival {
        Some(_) => format!("leaves.first_leaf or transitions.events[{}]", row.key()),
        None => format!("transitions.first_leaf or events[{}]", row.key()),
    }
}

/// Seq of the last transition of a stream that has a place.
pub(super) fn last_placed(rows: &[TransitionRow]) -> Option<u64> {
    rows.iter().filter(|row| row.first_leaf.is_some()).map(|row| row.first_seq).max()
}

/// Where places are given out after the commit: the row of a place names the transition that it is for. Every transition
/// that is settled has one, and so has every transition before one of its stream that has. `last` is the last of these,
/// where the rows are not the whole stream.
pub(super) fn places(run_id: &str, rows: &[TransitionRow], settled_id: Option<i64>, last: Option<u64>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let last = last.or_else(|| last_placed(rows));
    for row in rows {
        let Some((id, of_place)) = row.arrival else { continue };
        if let Some(of_place) = of_place.filter(|of_place| *of_place != id) {
            let place = format!("leaves.transition_id or transitions.id[{}]", row.key());
            findings.push(Finding::new(Code::RowChanged, run_id, place).at(row.first_seq).differs(id, of_place));
        }
        let has_to = settled_id.is_some_and(|settled| id <= settled) || last.is_some_and(|last| row.first_seq < last);
        if row.first_leaf.is_none() && has_to {
            let place = format!("leaves[{}]", row.key());
            findings.push(Finding::new(Code::RowMissing, run_id, place).at(row.first_seq).differs("a row", "none"));
        }
    }
    findings
}

/// Every event has to be the leaf that the ledger has at its place.
pub(super) async fn leaves(
    store: &dyn Store,
    run_id: &str,
    placed: &[Placed],
    signed: Option<&Checkpoint>,
) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for item in placed {
        let Some(index) = item.leaf_index else { continue }; // `places` says whether it should have one
        let got = tile(store, Range { start: index, end: index.saturating_add(1) }).await?;
        if got == Some(item.entry.leaf) {
            continue;
        }
        // Where the signed tree has this event at this place, it is the tile that was changed.
        let place = match signed {
            Some(signed) if is_included(store, &item.entry.leaf, index, signed).await? => {
                format!("ledger_tiles.hashes[leaf {index}]")
            }
            Some(_) | None => item.columns.clone(),
        };
        let shown = got.map_or("no such leaf".to_owned(), |hash| hash.hex());
        let (expected, got) =
            if place.starts_with("ledger") { (item.entry.leaf.hex(), shown) } else { (shown, item.entry.leaf.hex()) };
        findings.push(Finding::new(Code::RowChanged, run_id, place).at(item.entry.event.seq).differs(expected, got));
    }
    Ok(findings)
}

async fn tile(store: &dyn Store, range: Range) -> Result<Option<Hash>, StoreError> {
    match store.subtree_roots(vec![range]).await {
        Ok(roots) => Ok(roots.first().copied()),
        Err(StoreError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn is_included(store: &dyn Store, leaf: &Hash, index: u64, signed: &Checkpoint) -> Result<bool, StoreError> {
    if index >= signed.size {
        return Ok(false);
    }
    let hashes = inclusion(store, index, signed.size).await?;
    Ok(merkle::root_from_inclusion(leaf, index, signed.size, &hashes) == Some(signed.root))
}

/// Payload lines have to match the commitments, and to be written as the engine writes them: whole, but for what
/// erasure records take out of them.
pub(super) fn payloads(run_id: &str, placed: &[Placed], ours: &[Placed]) -> Vec<Finding> {
    let tenants = ours.iter().flat_map(|item| payload(run_id, item, &[]));
    placed.iter().flat_map(|item| payload(run_id, item, ours)).chain(tenants).collect()
}

fn payload(run_id: &str, item: &Placed, ours: &[Placed]) -> Vec<Finding> {
    let event = &item.entry.event;
    let Some(payload) = &item.entry.payload else { return Vec::new() };
    let find = |code, expected: String, got: String| {
        let column = if item.in_archive { "archives.bundle" } else { "transitions.payloads" };
        let place = format!("{column}[{}]", item.key);
        Finding::new(code, run_id, place).at(event.seq).differs(expected, got)
    };
    let commitments = event.commitments();
    let opened = match payload.open(&commitments) {
        Ok(opened) => opened,
        Err(wrong) => {
            let paths: Vec<String> = wrong.into_iter().map(|mismatch| mismatch.path).collect();
            return vec![find(
                Code::RowChanged,
                "the values that the event commits to".to_owned(),
                format!("others: {}", paths.join(", ")),
            )];
        }
    };
    let erased: Vec<(String, u32)> = commitments
        .iter()
        .flat_map(|(field, commitment)| (0..commitment.macs.len() as u32).map(|index| ((*field).to_owned(), index)))
        .filter(|(field, index)| ours.iter().any(|record| erases(&record.entry.event, event.seq, field, *index)))
        .collect();
    let name = |parts: Vec<&(String, u32)>| {
        parts.iter().map(|(field, index)| format!("{field}[{index}]")).collect::<Vec<_>>().join(", ")
    };
    let removed: Vec<&(String, u32)> = opened.withheld.iter().filter(|part| !erased.contains(part)).collect();
    let restored: Vec<&(String, u32)> = erased.iter().filter(|part| !opened.withheld.contains(part)).collect();
    let mut findings = Vec::new();
    if !removed.is_empty() {
        findings.push(find(Code::PayloadErased, name(removed), "no value and no erasure record".to_owned()));
    }
    if !restored.is_empty() {
        findings.push(find(Code::RowChanged, "no value: it was erased".to_owned(), name(restored)));
    }
    if findings.is_empty() && !is_written_so(payload, !erased.is_empty()) {
        findings.push(find(
            Code::RowChanged,
            "the payload as it was written".to_owned(),
            "the same values in another form".to_owned(),
        ));
    }
    findings
}

/// Whether the engine writes a payload in this form: whole, or in parts once something was erased.
fn is_written_so(payload: &PayloadLine, is_erased: bool) -> bool {
    payload.is_whole() || is_erased
}

fn erases(record: &Event, seq: u64, field: &str, index: u32) -> bool {
    let Body::TenantValueErased(body) = &record.body else { return false };
    body.seq == seq && body.field == field && body.index.is_none_or(|erased| erased == index)
}

/// A run that no checkpoint covers is compared with the known heads here: the log itself may be an older one.
pub(super) fn rolled_back(evidence: &Evidence, run_id: &str, trust: &Trust) -> Option<Finding> {
    let size = super::checkpoint(evidence).map_or(0, |(_, checkpoint)| checkpoint.size);
    let known = trust.heads.iter().filter(|head| head.origin == evidence.log).map(|head| head.size).max()?;
    let finding = Finding::new(Code::HeadOlder, run_id, "checkpoints.note");
    (known > size).then(|| finding.differs(format!("at least {known} leaves"), format!("{size} leaves")))
}

/// The stored checkpoint has to be readable and signed, and the tiles have to lead to it.
pub(super) async fn ledger(
    store: &dyn Store,
    evidence: &Evidence,
    run_id: &str,
    trust: &Trust,
) -> Result<Vec<Finding>, StoreError> {
    let find =
        |place: &str, expected: &str, got: &str| Finding::new(Code::RowChanged, run_id, place).differs(expected, got);
    let Some(text) = &evidence.checkpoint else { return Ok(Vec::new()) };
    let Some((note, checkpoint)) =
        super::checkpoint(evidence).and_then(|(_, checkpoint)| Some((Note::parse(text.as_bytes()).ok()?, checkpoint)))
    else {
        return Ok(vec![find("checkpoints.note", "a signed checkpoint", text)]);
    };
    if checkpoint.origin != evidence.log {
        return Ok(vec![find("checkpoints.note", &evidence.log, &checkpoint.origin)]);
    }
    let (root, size) = (checkpoint.root, checkpoint.size);
    let proof = InclusionProof { index: 0, hashes: Vec::new(), note: text.clone() };
    let signatures = signatures(run_id, &Anchor { proof, note, checkpoint }, trust);
    // A signature by another key says nothing about the row: it may be the verifier who has the wrong key.
    if let Some(finding) = signatures.iter().find(|finding| finding.code == Code::CheckpointSignature) {
        return Ok(vec![find("checkpoints.note", &finding.expected, &finding.got)]);
    }
    let got = tile(store, Range { start: 0, end: size }).await?;
    if got == Some(root) {
        return Ok(Vec::new());
    }
    let got = got.map_or("a missing or short tile".to_owned(), |root| root.hex());
    Ok(vec![find("ledger_tiles.hashes", &root.hex(), &got)])
}
