//! `verify(bundle, trust)`: the entry point. Bytes and a trust file in, a report out.
//!
//! Runs every check that can be run and reports them all; the worst finding gives the verdict. Decisions are re-run by
//! `replay` in `runproof-engine`, whose findings are added to the same report.

use std::collections::BTreeSet;

use crate::bundle::{Anchor, Bundle, BundleError, Consistency, Entry, Record};
use crate::checkpoint::Checkpoint;
use crate::event::{Body, Event, Stream};
use crate::finding::{Code, Finding};
use crate::hash::Hash;
use crate::merkle;
use crate::payload::Opened;
use crate::report::{AnchorReport, Check, EventRow, Report};
use crate::structure;
use crate::trust::Trust;

/// Verifies the bytes of a bundle.
pub fn verify(bytes: &[u8], trust: &Trust) -> Report {
    match Bundle::parse(bytes) {
        Ok(bundle) => examine(&bundle, trust),
        Err(BundleError::Unsupported(problem)) => unreadable(trust, Code::BundleUnsupported, "line 1", problem),
        Err(BundleError::Malformed { line, problem }) => {
            unreadable(trust, Code::BundleMalformed, &format!("line {line}"), problem)
        }
    }
}

fn unreadable(trust: &Trust, code: Code, place: &str, problem: String) -> Report {
    let mut report = Report::new("", "", trust);
    report.find(Check::Bytes, [Finding::new(code, "", place).differs("a proof bundle", problem)]);
    report
}

/// Verifies a parsed bundle.
pub fn examine(bundle: &Bundle, trust: &Trust) -> Report {
    let header = &bundle.header;
    let mut report = Report::new(&header.tenant, &header.run_id, trust);
    report.events = bundle.entries.iter().map(|entry| EventRow::new(&entry.event, entry.leaf)).collect();
    report.find(Check::Bytes, []);
    report.find(Check::Chain, chain(bundle));
    let events: Vec<&Event> = bundle.entries.iter().map(|entry| &entry.event).collect();
    let leaves: Vec<Hash> = bundle.entries.iter().map(|entry| entry.leaf).collect();
    let walk = structure::walk(&header.run_id, &events, &leaves);
    report.find(Check::Structure, walk.findings.iter().filter(|finding| !is_seal(finding)).cloned());
    report.find(Check::Seal, walk.findings.iter().filter(|finding| is_seal(finding)).cloned());
    report.take_walk(&walk, bundle.entries.len() as u64);
    payloads(bundle, &mut report);
    if walk.seal.is_none() {
        let code = if walk.step_count == 0 { Code::RunNoSteps } else { Code::RunOpen };
        report.find(Check::Seal, [Finding::new(code, &header.run_id, "run.sealed").differs("a seal", "none")]);
    }
    match &bundle.anchor {
        Some(anchor) => anchored(bundle, anchor, trust, &mut report),
        None => {
            let finding = Finding::new(Code::CheckpointMissing, &header.run_id, "tlog-proof");
            report.find(Check::Checkpoint, [finding.differs("a signed checkpoint", "none")]);
            if !bundle.records.is_empty() {
                let finding = Finding::new(Code::InclusionRecord, &header.run_id, "records");
                report.find(Check::Inclusion, [finding.differs("a checkpoint that covers them", "none")]);
            }
        }
    }
    report
}

fn is_seal(finding: &Finding) -> bool {
    finding.layer == crate::finding::Layer::Seal
}

/// Order, links and identity of the events.
fn chain(bundle: &Bundle) -> Vec<Finding> {
    let header = &bundle.header;
    let stream = Stream::Run(header.run_id.clone());
    let mut findings = Vec::new();
    let (mut prev, mut at) = (Hash::ZERO, 0);
    for (seq, Entry { event, leaf, .. }) in (0u64..).zip(&bundle.entries) {
        let find = |code, path: &str| Finding::new(code, &header.run_id, format!("$.{path}")).at(seq);
        if event.seq != seq {
            findings.push(find(Code::ChainLink, "seq").differs(seq, event.seq));
        }
        if event.prev != prev {
            findings.push(find(Code::ChainLink, "prev").differs(prev, event.prev));
        }
        if event.at < at {
            findings.push(find(Code::ChainTime, "at").differs(format!("at least {at}"), event.at));
        }
        if event.log != header.log {
            findings.push(find(Code::ChainIdentity, "log").differs(&header.log, &event.log));
        }
        if event.stream != stream {
            findings.push(find(Code::ChainIdentity, "stream").differs(stream.name(), event.stream.name()));
        }
        if event.tenant.as_deref() != Some(header.tenant.as_str()) {
            let got = event.tenant.as_deref().unwrap_or("none");
            findings.push(find(Code::ChainIdentity, "tenant").differs(&header.tenant, got));
        }
        (prev, at) = (*leaf, event.at.max(at));
    }
    findings
}

/// Opens every commitment for which the bundle has values.
fn payloads(bundle: &Bundle, report: &mut Report) {
    let run_id = &bundle.header.run_id;
    let mut findings = Vec::new();
    let erased = erased(bundle);
    for (entry, row) in bundle.entries.iter().zip(&mut report.events) {
        let event = &entry.event;
        match entry.payload.as_ref().map(|payload| payload.check(event)) {
            Some(Ok(Opened { shown, withheld, .. })) => {
                row.shown = shown;
                row.withheld = withheld.len() as u64;
                let is_erased = |(field, index): &&(String, u32)| {
                    [None, Some(*index)].iter().any(|index| erased.contains(&(event.seq, field, *index)))
                };
                row.erased = withheld.iter().filter(is_erased).count() as u64;
            }
            Some(Err(mismatches)) => {
                findings.extend(mismatches.into_iter().map(|mismatch| {
                    let place = format!("payload.{}", mismatch.path);
                    Finding::new(Code::PayloadMismatch, run_id, place)
                        .at(event.seq)
                        .differs(mismatch.expected, mismatch.got)
                }));
            }
            None => {}
        }
    }
    report.find(Check::Payload, findings);
}

/// Parts of this run's values that a record says were erased; no index means all parts.
fn erased(bundle: &Bundle) -> BTreeSet<(u64, &str, Option<u32>)> {
    let mut parts = BTreeSet::new();
    for record in &bundle.records {
        if let Body::TenantValueErased(body) = &record.event.body
            && body.run_id == bundle.header.run_id
        {
            parts.insert((body.seq, body.field.as_str(), body.index));
        }
    }
    parts
}

/// Everything that depends on a checkpoint.
fn anchored(bundle: &Bundle, anchor: &Anchor, trust: &Trust, report: &mut Report) {
    let run_id = &bundle.header.run_id;
    let checkpoint = &anchor.checkpoint;
    let mut inclusion = Vec::new();
    if let Some(last) = bundle.entries.last() {
        let got = merkle::root_from_inclusion(&last.leaf, anchor.proof.index, checkpoint.size, &anchor.proof.hashes);
        if got != Some(checkpoint.root) {
            let got = got.map_or("a proof of the wrong length".to_owned(), |root| root.hex());
            let finding = Finding::new(Code::InclusionProof, run_id, "tlog-proof").at(last.event.seq);
            inclusion.push(finding.differs(checkpoint.root.hex(), got));
        }
    }
    for record in &bundle.records {
        inclusion.extend(check_record(bundle, record, checkpoint));
    }
    if let Some(Consistency { since, root, hashes }) = &bundle.consistency
        && !merkle::verify_consistency(*since, root, checkpoint.size, &checkpoint.root, hashes)
    {
        let finding = Finding::new(Code::InclusionConsistency, run_id, "consistency");
        inclusion.push(finding.differs(format!("a proof from {since} to {} leaves", checkpoint.size), "another"));
    }
    report.find(Check::Inclusion, inclusion);
    if checkpoint.origin != bundle.header.log {
        let finding = Finding::new(Code::CheckpointOrigin, run_id, "checkpoint.origin");
        report.find(Check::Checkpoint, [finding.differs(&bundle.header.log, &checkpoint.origin)]);
    }
    let findings = signatures(run_id, anchor, trust);
    let signed = findings.is_empty();
    report.find(Check::Checkpoint, findings);
    // A checkpoint that the log's key did not sign says nothing about what the log did.
    if signed && checkpoint.origin == bundle.header.log && !trust.heads.is_empty() {
        report.find(Check::Heads, heads(bundle, checkpoint, trust));
    }
    report.anchor = AnchorReport {
        level: if signed { "checkpoint" } else { "none" },
        origin: Some(checkpoint.origin.clone()),
        tree_size: Some(checkpoint.size),
        leaf_index: Some(anchor.proof.index),
        root: Some(checkpoint.root),
    };
}

fn check_record(bundle: &Bundle, record: &Record, checkpoint: &Checkpoint) -> Option<Finding> {
    let run_id = &bundle.header.run_id;
    let place = format!("record {}", record.index);
    let stream = Stream::Tenant(bundle.header.tenant.clone());
    let tenant = record.event.tenant.as_deref();
    if record.event.stream != stream || record.event.log != bundle.header.log || tenant != Some(&bundle.header.tenant) {
        let finding = Finding::new(Code::ChainIdentity, run_id, place);
        return Some(finding.differs(stream.name(), record.event.stream.name()));
    }
    let root = merkle::root_from_inclusion(&record.event.leaf_hash(), record.index, checkpoint.size, &record.hashes);
    if root == Some(checkpoint.root) {
        return None;
    }
    let got = root.map_or("a proof of the wrong length".to_owned(), |root| root.hex());
    Some(Finding::new(Code::InclusionRecord, run_id, place).differs(checkpoint.root.hex(), got))
}

/// Judges the signature lines of the checkpoint against the verifier's keys.
pub fn signatures(run_id: &str, anchor: &Anchor, trust: &Trust) -> Vec<Finding> {
    let place = |what: &str| format!("checkpoint.{what}");
    if trust.keys.is_empty() {
        let finding = Finding::new(Code::CheckpointUnpinned, run_id, place("signature"));
        return vec![finding.differs("a key from outside", "none")];
    }
    let mut findings = Vec::new();
    let mut accepted = false;
    for signature in &anchor.note.signatures {
        let claimed = format!("{} (key {:08x})", signature.name, signature.id);
        let Some(key) = trust.keys.iter().find(|key| key.verifier.claims(signature)) else {
            findings.push(
                Finding::new(Code::CheckpointUnknownSignature, run_id, place("signature"))
                    .differs("a key that you named", claimed),
            );
            continue;
        };
        if !key.verifier.verifies(&anchor.note.text, signature) {
            findings.push(
                Finding::new(Code::CheckpointSignature, run_id, place("signature"))
                    .differs("a valid signature", claimed),
            );
        } else if key.last_size.is_some_and(|last| anchor.checkpoint.size > last) {
            let last = key.last_size.unwrap_or_default();
            let finding = Finding::new(Code::CheckpointKeyRetired, run_id, place("size"));
            findings.push(finding.differs(format!("at most {last}"), anchor.checkpoint.size));
        } else {
            accepted |= key.verifier.name() == anchor.checkpoint.origin;
        }
    }
    if !accepted && findings.iter().all(|finding| finding.code == Code::CheckpointUnknownSignature) {
        let keys: Vec<String> = trust.keys.iter().map(|key| key.verifier.vkey()).collect();
        let got: Vec<String> = anchor.note.signatures.iter().map(|s| format!("{}+{:08x}", s.name, s.id)).collect();
        findings = vec![
            Finding::new(Code::CheckpointKey, run_id, place("signature")).differs(keys.join(", "), got.join(", ")),
        ];
    }
    findings
}

/// Compares the checkpoint with heads that the verifier knows from elsewhere.
fn heads(bundle: &Bundle, checkpoint: &Checkpoint, trust: &Trust) -> Vec<Finding> {
    let known = trust.heads.iter().filter(|head| head.origin == checkpoint.origin);
    known.filter_map(|head| compare_head(bundle, checkpoint, head)).collect()
}

fn compare_head(bundle: &Bundle, checkpoint: &Checkpoint, head: &Checkpoint) -> Option<Finding> {
    let find = |code| Finding::new(code, &bundle.header.run_id, "checkpoint.size");
    let (known, size) = (head.size, checkpoint.size);
    if known > size {
        return Some(find(Code::HeadOlder).differs(format!("at least {known} leaves"), format!("{size} leaves")));
    }
    let since = bundle.consistency.as_ref().filter(|consistency| consistency.since == known);
    let root = match since {
        _ if known == size => checkpoint.root,
        Some(consistency) => consistency.root,
        None => return Some(find(Code::HeadNotCompared).differs(format!("a proof from {known} leaves"), "none")),
    };
    if root == head.root {
        return None;
    }
    Some(
        find(Code::HeadForked).differs(format!("{} at {known} leaves", head.root), format!("{root} at {known} leaves")),
    )
}
