//! What is kept of a run whose rows are gone: its archive, which is read as the rows were, and its tombstone.
//!
//! Nothing of either is believed: the leaves that they name are compared with the tiles, their columns with the events of
//! the tenant.

use std::collections::BTreeMap;

use runproof_engine::audit;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::{Row, rfc3339};
use runproof_proof::bundle::{Anchor, Bundle};
use runproof_proof::checkpoint::InclusionProof;
use runproof_proof::event::{Body, Event, RunSealed, Stream};
use runproof_proof::finding::{Code, Finding, Verdict};
use runproof_proof::hash::{Hash, leaf, sha256};
use runproof_proof::merkle::{self, Range};
use runproof_proof::report::{AnchorReport, Check, EventRow, Report};
use runproof_proof::trust::Trust;
use runproof_proof::verify::{examine, signatures};
use runproof_store::retention::hold_row;
use runproof_store::{ArchiveRow, Evidence, Leaves, Store, TombstoneRow};

use super::{Events, Kept, Placed, Proof, Stone, columns, inclusion};

/// Most events of a run: nothing larger is looked up in the tiles.
const MAX_EVENTS: u64 = 100_000;

fn changed(run_id: &str, table: &str, column: &str, expected: impl ToString, got: impl ToString) -> Finding {
    let place = format!("{table}.{column}[run_id={run_id}]");
    Finding::new(Code::RowChanged, run_id, place).differs(expected, got)
}

/// The events of an archive, each with its place.
pub(super) fn read(run_id: &str, archive: &ArchiveRow, trust: &Trust) -> (Vec<Placed>, Vec<Finding>) {
    let differs = |column: &str, expected: &dyn ToString, got: &dyn ToString| {
        changed(run_id, "archives", column, expected.to_string(), got.to_string())
    };
    let mut findings = Vec::new();
    let digest = sha256(&archive.bundle).hex();
    if digest != archive.bundle_digest {
        findings.push(differs("bundle or bundle_digest", &archive.bundle_digest, &digest));
    }
    let bundle = match Bundle::parse(&archive.bundle) {
        Ok(bundle) => bundle,
        Err(error) => {
            findings.push(differs("bundle", &"a proof bundle", &error));
            return (Vec::new(), findings);
        }
    };
    // Events and values are judged anew with today's anchor; the stored one has to have been right in its time.
    let keys = Trust { heads: Vec::new(), ..trust.clone() };
    let of_anchor = |finding: &&Finding| {
        finding.code.verdict() == Verdict::Tampered
            && (finding.code.word().starts_with("inclusion") || finding.code.word().starts_with("checkpoint"))
    };
    for finding in examine(&bundle, &keys).findings.iter().filter(of_anchor) {
        findings.push(differs("bundle", &format!("{}: {}", finding.place, finding.expected), &finding.got));
    }
    if bundle.anchor.is_none() {
        findings.push(differs("bundle", &"an inclusion proof", &"none"));
    }
    let leaves = Leaves::parse(&archive.leaves).filter(|leaves| leaves.count() == bundle.entries.len() as u64);
    if leaves.is_none() {
        let expected = format!("places of {} events", bundle.entries.len());
        findings.push(differs("leaves", &expected, &archive.leaves));
    }
    let mut indexes = leaves.iter().flat_map(Leaves::indexes);
    let place = |entry| Placed {
        entry,
        leaf_index: indexes.next(),
        key: format!("run_id={run_id}"),
        columns: format!("archives.bundle or leaves[run_id={run_id}]"),
        in_archive: true,
    };
    (bundle.entries.into_iter().map(place).collect(), findings)
}

/// The archive beside rows that are still there: it has to hold what they hold.
fn beside(run_id: &str, archive: &ArchiveRow, placed: &[Placed], trust: &Trust) -> Vec<Finding> {
    let (archived, mut findings) = read(run_id, archive, trust);
    let payload = |item: &Placed| item.entry.payload.as_ref().map(|payload| payload.as_bytes().to_vec());
    let same = |(a, b): (&Placed, &Placed)| {
        a.entry.leaf == b.entry.leaf && a.leaf_index == b.leaf_index && payload(a) == payload(b)
    };
    if findings.is_empty() && !(archived.len() == placed.len() && archived.iter().zip(placed).all(same)) {
        findings.push(changed(run_id, "archives", "bundle or leaves", "the events and values of the rows", "others"));
    }
    findings
}

/// What the tenant's stream says of the steps of a run.
#[derive(Default)]
pub(super) struct Said {
    run_no: Option<u64>,
    archived: Option<(Hash, String)>,
    purged: Option<(Hash, u64, String)>,
    holds: Vec<Row>,
}

impl Said {
    pub(super) fn of(run_id: &str, tenant: &str, ours: &[Placed]) -> Self {
        let mut said = Self::default();
        let mut open: BTreeMap<u64, (String, String)> = BTreeMap::new();
        for item in ours {
            let (event, at) = (&item.entry.event, rfc3339(item.entry.event.at));
            #[expect(clippy::wildcard_enum_match_arm, reason = "other events say nothing of these steps")]
            match &event.body {
                Body::TenantRunOpened(body) => said.run_no = said.run_no.or(Some(body.run_no)),
                Body::TenantRunArchived(body) => said.archived = Some((body.run_root, at)),
                Body::TenantRunPurged(body) => said.purged = Some((body.run_root, body.event_count, at)),
                Body::TenantHoldPlaced(_) => {
                    open.insert(event.seq, (reason(item), at));
                }
                Body::TenantHoldLifted(_) => {
                    for (seq, (reason, placed_at)) in std::mem::take(&mut open) {
                        said.holds.push(hold_row(tenant, run_id, seq, &reason, placed_at, Some(at.clone())));
                    }
                }
                _ => {}
            }
        }
        for (seq, (reason, placed_at)) in open {
            said.holds.push(hold_row(tenant, run_id, seq, &reason, placed_at, None));
        }
        said
    }

    /// Since when the run is archived, as columns show it.
    pub(super) fn archived_at(&self) -> Option<&String> {
        self.archived.as_ref().map(|(_, at)| at)
    }

    /// Rows of `holds`.
    pub(super) fn holds(&self) -> &[Row] {
        &self.holds
    }
}

fn reason(item: &Placed) -> String {
    let commitments = item.entry.event.commitments();
    let opened = item.entry.payload.as_ref().and_then(|payload| payload.open(&commitments).ok());
    let value = opened.and_then(|opened| opened.values.get("reason").cloned());
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The rows of `archives` and `tombstones` that the events call for, and their columns.
pub(super) fn rows(evidence: &Evidence, said: &Said, placed: &[Placed], run_id: &str, trust: &Trust) -> Vec<Finding> {
    let mut findings = Vec::new();
    let whether = |table: &str, is_called_for: bool, is_there: bool| {
        let place = format!("{table}[run_id={run_id}]");
        match (is_called_for, is_there) {
            (true, false) => Some(Finding::new(Code::RowMissing, run_id, place).differs("a row", "none")),
            (false, true) => Some(Finding::new(Code::RowExtra, run_id, place).differs("no row", "a row")),
            (true, true) | (false, false) => None,
        }
    };
    findings.extend(whether("archives", said.archived.is_some() && said.purged.is_none(), evidence.archive.is_some()));
    findings.extend(whether("tombstones", said.purged.is_some(), evidence.tombstone.is_some()));
    let run_no = said.run_no.map_or("no number".to_owned(), |number| number.to_string());
    let mut compare = |table: &str, column: &str, expected: String, got: String| {
        if expected != got {
            findings.push(changed(run_id, table, column, expected, got));
        }
    };
    if let (Some(archive), Some((root, at))) = (&evidence.archive, &said.archived) {
        compare("archives", "run_no", run_no.clone(), archive.run_no.to_string());
        compare("archives", "archived_at", at.clone(), archive.archived_at.clone());
        let seal = placed.last().and_then(|item| sealed(&item.entry.event));
        let sealed = seal.map_or("no seal".to_owned(), |seal| seal.run_root.hex());
        compare("archives", "bundle", root.hex(), sealed);
    }
    if let (Some(stone), Some((root, _, at))) = (&evidence.tombstone, &said.purged) {
        compare("tombstones", "run_no", run_no, stone.run_no.to_string());
        compare("tombstones", "purged_at", at.clone(), stone.purged_at.clone());
        compare("tombstones", "run_root", root.hex(), stone.run_root.clone());
    }
    if let Some(archive) = evidence.archive.as_ref().filter(|_| !evidence.transitions.is_empty()) {
        findings.extend(beside(run_id, archive, placed, trust));
    }
    findings
}

fn sealed(event: &Event) -> Option<&RunSealed> {
    let Body::RunSealed(seal) = &event.body else { return None };
    Some(seal)
}

/// Rows of a run of which only an archive or a tombstone is left: holds, and nothing else.
pub(super) fn only_holds(evidence: &Evidence, said: &Said, run_id: &str) -> Vec<Finding> {
    let expected = |table: &str| if table == "holds" { said.holds() } else { &[] };
    let tables = evidence.rows.iter();
    tables.flat_map(|(table, got)| audit::compare(run_id, table, expected(table), got)).collect()
}

/// A tombstone as far as it can be read.
struct Read {
    seal: Event,
    hash: Hash,
    leaves: Leaves,
}

fn read_stone(tenant: &str, log: &str, run_id: &str, stone: &TombstoneRow) -> Result<Read, Box<Finding>> {
    let differs = |column: &str, expected: &str, got: &dyn ToString| {
        Box::new(changed(run_id, "tombstones", column, expected, got.to_string()))
    };
    let seal = Event::decode(stone.seal.as_bytes());
    let seal = seal.map_err(|error| differs("seal", "the event run.sealed", &error))?;
    let is_ours =
        seal.stream == Stream::Run(run_id.to_owned()) && seal.tenant.as_deref() == Some(tenant) && seal.log == log;
    let count = sealed(&seal).filter(|_| is_ours).map(|body| body.event_count + 1);
    let count = count.ok_or_else(|| differs("seal", "the seal of this run", &seal.body.kind()))?;
    let leaves = Leaves::parse(&stone.leaves).filter(|leaves| leaves.count() == count && count <= MAX_EVENTS);
    let leaves = leaves.ok_or_else(|| differs("leaves", &format!("places of {count} events"), &stone.leaves))?;
    Ok(Read { hash: leaf(stone.seal.as_bytes()), seal, leaves })
}

/// Places of a run, as ranges of one leaf.
pub(super) fn singles(leaves: &Leaves) -> Vec<Range> {
    leaves.indexes().map(|index| Range { start: index, end: index + 1 }).collect()
}

/// The leaves that a tombstone names have to be those of the run: the seal is the last, and over the others its root.
fn compare_leaves(run_id: &str, read: &Read, stone: &TombstoneRow, hashes: Option<&[Hash]>) -> Vec<Finding> {
    let Some((last, others)) = hashes.and_then(<[Hash]>::split_last) else {
        return vec![changed(run_id, "ledger_tiles", "hashes", "the leaves of the run", "a missing or short tile")];
    };
    let mut findings = Vec::new();
    if *last != read.hash {
        findings.push(changed(run_id, "tombstones", "seal or leaves", last, read.hash));
    }
    let (root, seal) = (merkle::root(others), sealed(&read.seal).map(|seal| seal.run_root));
    if seal != Some(root) {
        findings.push(changed(run_id, "tombstones", "leaves or seal", seal.unwrap_or(Hash::ZERO), root));
    }
    if stone.run_root != seal.unwrap_or(Hash::ZERO).hex() {
        findings.push(changed(run_id, "tombstones", "run_root", seal.unwrap_or(Hash::ZERO), &stone.run_root));
    }
    findings
}

/// What is wrong with an archive or a tombstone, for a verification of the whole ledger. `hashes` are the leaves that it
/// names, as the tiles have them.
pub(super) fn stone(
    evidence: &Evidence,
    tenant: &str,
    run_id: &str,
    said: &Said,
    hashes: impl FnOnce(&[Range]) -> Option<Vec<Hash>>,
) -> Vec<Finding> {
    let Some(stone) = &evidence.tombstone else { return Vec::new() };
    let mut findings = rows(evidence, said, &[], run_id, &Trust::default());
    findings.extend(only_holds(evidence, said, run_id));
    match read_stone(tenant, &evidence.log, run_id, stone) {
        Ok(read) => {
            let hashes = hashes(&singles(&read.leaves));
            findings.extend(compare_leaves(run_id, &read, stone, hashes.as_deref()));
            findings.extend(compare_count(run_id, &read, said));
        }
        Err(finding) => findings.push(*finding),
    }
    findings
}

fn compare_count(run_id: &str, read: &Read, said: &Said) -> Option<Finding> {
    let (_, count, _) = said.purged.as_ref()?;
    let got = sealed(&read.seal).map_or(0, |seal| seal.event_count);
    (got != *count).then(|| changed(run_id, "tombstones", "seal", format!("{count} events"), format!("{got} events")))
}

/// Proves that a purged run existed: its seal against the signed checkpoint, and its leaves against the seal.
pub(super) async fn prove_stone(
    store: &dyn Store,
    evidence: &Evidence,
    (tenant, run_id): (&str, &str),
    (ours, others): (Events, Events),
    trust: &Trust,
) -> Result<Option<Proof>, StoreError> {
    let Some(stone) = &evidence.tombstone else { return Ok(None) };
    let mut report = Report::new(tenant, run_id, trust);
    let said = Said::of(run_id, tenant, &ours.placed);
    let checkpoint = super::checkpoint(evidence);
    let signed = checkpoint.as_ref().map(|(_, checkpoint)| checkpoint);
    let mut findings = rows(evidence, &said, &[], run_id, trust);
    findings.extend(only_holds(evidence, &said, run_id));
    findings.extend(columns::leaves(store, run_id, &ours.placed, signed).await?);
    findings.extend(columns::payloads(run_id, &ours.placed, &[]));
    findings.extend(ours.findings);
    if said.purged.is_none() {
        // The record of it may be in a row that can no longer be read.
        findings.extend(others.findings);
    }
    findings.extend(columns::ledger(store, evidence, run_id, trust).await?);
    let mut kept = Stone { row: stone.clone(), proof: None };
    match read_stone(tenant, &evidence.log, run_id, stone) {
        Err(finding) => findings.push(*finding),
        Ok(read) => {
            let hashes = match store.subtree_roots(singles(&read.leaves)).await {
                Ok(hashes) => Some(hashes),
                Err(StoreError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            };
            findings.extend(compare_leaves(run_id, &read, stone, hashes.as_deref()));
            findings.extend(compare_count(run_id, &read, &said));
            describe(&mut report, &read);
            kept.proof = anchor(store, &mut report, &read, checkpoint.as_ref(), trust).await?;
        }
    }
    if kept.proof.is_none() {
        let finding = Finding::new(Code::CheckpointMissing, run_id, "tlog-proof");
        report.find(Check::Checkpoint, [finding.differs("a signed checkpoint", "none")]);
    }
    report.find(Check::Heads, columns::rolled_back(evidence, run_id, trust));
    let purged = Finding::new(Code::RunPurged, run_id, "tombstones");
    findings.push(purged.differs("the events of the run", format!("its tombstone, since {}", stone.purged_at)));
    report.find(Check::Rows, findings);
    let leaves = Leaves::parse(&stone.leaves);
    Ok(Some(Proof { report, bundle: None, kept: Kept::Tombstone(Box::new(kept)), leaves }))
}

/// What a seal says of its run.
fn describe(report: &mut Report, read: &Read) {
    let Some(seal) = sealed(&read.seal) else { return };
    report.events = vec![EventRow::new(&read.seal, read.hash)];
    report.run_status = Some(seal.status.word());
    report.run_reason = Some(seal.reason.word());
    report.step_count = seal.step_count;
    report.root_hash = Some(seal.run_root);
}

/// Shows the seal in the signed tree; `None` when no checkpoint covers it.
async fn anchor(
    store: &dyn Store,
    report: &mut Report,
    read: &Read,
    checkpoint: Option<&(String, runproof_proof::checkpoint::Checkpoint)>,
    trust: &Trust,
) -> Result<Option<InclusionProof>, StoreError> {
    let index = read.leaves.last().unwrap_or(u64::MAX);
    let Some((note, checkpoint)) = checkpoint.filter(|(_, checkpoint)| index < checkpoint.size) else {
        return Ok(None);
    };
    let hashes = inclusion(store, index, checkpoint.size).await?;
    let proof = InclusionProof { index, hashes, note: note.clone() };
    let got = merkle::root_from_inclusion(&read.hash, index, checkpoint.size, &proof.hashes);
    let finding = Finding::new(Code::InclusionProof, &report.run_id, "tlog-proof").at(read.seal.seq);
    let got_text = got.map_or("a proof of the wrong length".to_owned(), |root| root.hex());
    report.find(
        Check::Inclusion,
        (got != Some(checkpoint.root)).then(|| finding.differs(checkpoint.root.hex(), got_text)),
    );
    let Ok(anchor) = Anchor::parse(proof.encode().as_bytes()) else { return Ok(None) };
    let found = signatures(&report.run_id, &anchor, trust);
    let counts = found.is_empty() && got == Some(checkpoint.root);
    report.find(Check::Checkpoint, found);
    report.anchor = AnchorReport {
        level: if counts { "checkpoint" } else { "none" },
        origin: Some(checkpoint.origin.clone()),
        tree_size: Some(checkpoint.size),
        leaf_index: Some(index),
        root: Some(checkpoint.root),
    };
    Ok(Some(proof))
}
