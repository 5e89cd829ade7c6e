//! The report of a verification: one JSON object for programs, one page for people.
//!
//! Says what was checked, what was not, and what a proof cannot show. Text from the file is escaped before it is shown.

mod text;

use serde::Serialize;

pub use text::Style;

use crate::event::{Event, EvidenceClass};
use crate::finding::{Finding, Verdict, counted};
use crate::hash::{Hash, sha256};
use crate::structure::Walk;
use crate::trust::Trust;

/// The checks, in the order in which they are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The container is spelled the one allowed way.
    Bytes,
    /// Events follow each other.
    Chain,
    /// Intents, outcomes and sums fit.
    Structure,
    /// Values match commitments.
    Payload,
    /// Decisions and inputs follow.
    Replay,
    /// The seal covers the events.
    Seal,
    /// The seal is in the log.
    Inclusion,
    /// The log signed it.
    Checkpoint,
    /// It agrees with heads that the verifier knows.
    Heads,
    /// Rows equal what the events say.
    Rows,
}

impl Check {
    /// Every check.
    pub const ALL: &'static [Self] = &[
        Self::Bytes,
        Self::Chain,
        Self::Structure,
        Self::Payload,
        Self::Replay,
        Self::Seal,
        Self::Inclusion,
        Self::Checkpoint,
        Self::Heads,
        Self::Rows,
    ];

    /// Name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Chain => "chain",
            Self::Structure => "structure",
            Self::Payload => "payload",
            Self::Replay => "replay",
            Self::Seal => "seal",
            Self::Inclusion => "inclusion",
            Self::Checkpoint => "checkpoint",
            Self::Heads => "heads",
            Self::Rows => "rows",
        }
    }

    /// What a passed check proves.
    pub fn proves(self) -> &'static str {
        match self {
            Self::Bytes => "the file is complete and spelled the one way that the format allows",
            Self::Chain => "the events are of one run, in order, and each names the one before it by hash",
            Self::Structure => "every intent has its outcome, and every sum equals its parts",
            Self::Payload => "the values shown are the values that were recorded",
            Self::Replay => "every input and decision follows from the plan and the recorded outcomes",
            Self::Seal => "the run is over, and its seal counts and hashes exactly these events",
            Self::Inclusion => "the last event of the run is a leaf of the log",
            Self::Checkpoint => "the log's key signed a state of the log that has this leaf",
            Self::Heads => "the log did not go back behind, or fork from, a head that you know",
            Self::Rows => "every column of every row equals what the events say",
        }
    }

    /// What a passed check does not prove.
    pub fn does_not_prove(self) -> &'static str {
        match self {
            Self::Bytes => "who wrote it",
            Self::Chain => "that no later event exists",
            Self::Structure => "that the outcomes are true",
            Self::Payload => "anything about values that are withheld",
            Self::Replay => "decisions whose values are withheld",
            Self::Seal => "when it was made, beyond what the log shows",
            Self::Inclusion => "that the log shows everybody the same",
            Self::Checkpoint => "that the operator signed only one history; a witness or a known head shows that",
            Self::Heads => "anything about heads that you do not know",
            Self::Rows => "anything about rows of other runs",
        }
    }
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Name.
    pub check: &'static str,
    /// `passed`, `failed` or `not_checked`.
    pub result: &'static str,
    /// What a pass proves.
    pub proves: &'static str,
    /// What a pass does not prove.
    pub does_not_prove: &'static str,
}

/// One event in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRow {
    /// Position.
    pub seq: u64,
    /// Microseconds since 1970.
    pub at: u64,
    /// Kind.
    pub kind: &'static str,
    /// Leaf hash.
    pub leaf_hash: Hash,
    /// Parts of values that are shown.
    pub shown: u64,
    /// Parts that are withheld, erased ones included.
    pub withheld: u64,
    /// Withheld parts that an erasure record explains.
    pub erased: u64,
    /// Whether no finding names this event.
    pub ok: bool,
}

impl EventRow {
    /// A row without values.
    pub fn new(event: &Event, leaf_hash: Hash) -> Self {
        let kind = event.body.kind();
        Self { seq: event.seq, at: event.at, kind, leaf_hash, shown: 0, withheld: 0, erased: 0, ok: true }
    }
}

/// Where the run stands in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AnchorReport {
    /// `none`, `checkpoint`, `witnessed` or `timestamped`.
    pub level: &'static str,
    /// Name of the log.
    pub origin: Option<String>,
    /// Leaves in the checkpoint.
    pub tree_size: Option<u64>,
    /// Index of the run's last event.
    pub leaf_index: Option<u64>,
    /// Root of the checkpoint.
    pub root: Option<Hash>,
}

/// Everything that a verification found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Tenant.
    pub tenant_id: String,
    /// Run.
    pub run_id: String,
    /// `succeeded`, `failed`, … of a sealed run.
    pub run_status: Option<&'static str>,
    /// Why a sealed run ended.
    pub run_reason: Option<&'static str>,
    /// Findings.
    pub findings: Vec<Finding>,
    /// One row per event.
    pub events: Vec<EventRow>,
    /// Where the run stands in the log.
    pub anchor: AnchorReport,
    /// Where the keys came from.
    pub trust: String,
    /// Settled steps.
    pub step_count: u64,
    /// Traces: 1, or 0 when there is none.
    pub trace_count: u64,
    /// Root over the run's events.
    pub root_hash: Option<Hash>,
    /// Digest of the first system.
    pub legacy_root_hash: Option<Hash>,
    /// Weakest evidence of any step.
    pub evidence: EvidenceClass,
    /// Attempts that a person resolved.
    pub resolved: u64,
    /// Findings beyond [`MAX_FINDINGS`], counted only.
    pub omitted: u64,
    done: Vec<(Check, bool)>,
}

/// Most findings that a report lists.
pub const MAX_FINDINGS: usize = 1000;

/// The digest of the first system: SHA-256 over the run id followed by `{index}:{skill}:{status}` of each step, with
/// nothing in between. Kept so that people who hold an old report can check the number in it; it proves nothing.
pub fn legacy_root<'a>(run_id: &str, steps: impl Iterator<Item = (u64, &'a str, &'a str)>) -> Hash {
    let steps = steps.map(|(index, skill, status)| format!("{index}:{skill}:{status}"));
    sha256(std::iter::once(run_id.to_owned()).chain(steps).collect::<String>().as_bytes())
}

impl Report {
    /// An empty report about a run.
    pub fn new(tenant_id: &str, run_id: &str, trust: &Trust) -> Self {
        Self {
            tenant_id: tenant_id.to_owned(),
            run_id: run_id.to_owned(),
            run_status: None,
            run_reason: None,
            findings: Vec::new(),
            events: Vec::new(),
            anchor: AnchorReport { level: "none", ..AnchorReport::default() },
            trust: if trust.keys.is_empty() { "none".to_owned() } else { trust.source.clone() },
            step_count: 0,
            trace_count: 0,
            root_hash: None,
            legacy_root_hash: None,
            evidence: EvidenceClass::Executed,
            resolved: 0,
            omitted: 0,
            done: Vec::new(),
        }
    }

    /// Records that a check was made, with what it found.
    pub fn find(&mut self, check: Check, findings: impl IntoIterator<Item = Finding>) {
        let mut passed = true;
        for finding in findings {
            passed = false;
            if let Some(row) = finding.seq.and_then(|seq| self.events.get_mut(seq as usize)) {
                row.ok = false;
            }
            // A hostile file may give millions: beyond the limit they are counted, and kept only if they are worse.
            let worst = self.findings.iter().rev().take(1).map(|finding| finding.code.verdict()).max();
            if self.findings.len() < MAX_FINDINGS || worst < Some(finding.code.verdict()) {
                self.findings.push(finding);
            } else {
                self.omitted += 1;
            }
        }
        match self.done.iter_mut().find(|(done, _)| *done == check) {
            Some((_, result)) => *result &= passed,
            None => self.done.push((check, passed)),
        }
    }

    /// Takes over what a walk over the events gathered.
    pub fn take_walk(&mut self, walk: &Walk, events: u64) {
        self.step_count = walk.step_count;
        self.trace_count = u64::from(events > 0);
        self.root_hash = Some(walk.root);
        self.evidence = walk.weakest;
        self.resolved = walk.resolved;
        self.run_status = walk.seal.as_ref().map(|seal| seal.status.word());
        self.run_reason = walk.seal.as_ref().map(|seal| seal.reason.word());
        let steps = walk.steps.iter().map(|(index, skill, status)| (*index, skill.as_str(), status.word()));
        self.legacy_root_hash = Some(legacy_root(&self.run_id, steps));
    }

    /// The verdict: the worst that any finding allows.
    pub fn verdict(&self) -> Verdict {
        let worst = self.findings.iter().map(|finding| finding.code.verdict()).max();
        worst.unwrap_or(if self.events.is_empty() { Verdict::Unsupported } else { Verdict::Verified })
    }

    /// The finding that gives the verdict.
    pub fn decisive(&self) -> Option<&Finding> {
        let verdict = self.verdict();
        self.findings.iter().find(|finding| finding.code.verdict() == verdict)
    }

    /// All checks with their results.
    pub fn checks(&self) -> Vec<CheckResult> {
        let result = |check: Check| match self.done.iter().find(|(done, _)| *done == check) {
            Some((_, true)) => "passed",
            Some((_, false)) => "failed",
            None => "not_checked",
        };
        Check::ALL
            .iter()
            .map(|check| CheckResult {
                check: check.word(),
                result: result(*check),
                proves: check.proves(),
                does_not_prove: check.does_not_prove(),
            })
            .collect()
    }

    /// What the passed checks cover.
    pub fn covers(&self) -> Vec<&'static str> {
        self.checks().iter().filter(|check| check.result == "passed").map(|check| check.proves).collect()
    }

    /// What this report cannot show, whatever its verdict.
    pub fn does_not_show(&self) -> Vec<String> {
        let withheld: u64 = self.events.iter().map(|row| row.withheld).sum();
        let erased: u64 = self.events.iter().map(|row| row.erased).sum();
        let mut out = vec![
            "that what a tool answered is true, or that nothing happened outside the engine".to_owned(),
            "that no other run was withheld".to_owned(),
        ];
        if withheld > 0 {
            out.push(format!(
                "{} ({erased} of them erased, with a record)",
                counted(withheld, "withheld value", "withheld values")
            ));
        }
        let checks = self.checks();
        let unchecked = checks.iter().filter(|check| check.result == "not_checked");
        out.extend(unchecked.map(|check| format!("{}: not checked here", check.check)));
        if self.resolved > 0 {
            let outcomes = counted(self.resolved, "outcome", "outcomes");
            out.push(format!("{outcomes} that a person attested, not the engine"));
        }
        out
    }

    /// The JSON object that `proof` and `verify` print.
    pub fn to_json(&self) -> serde_json::Value {
        let verdict = self.verdict();
        let reason = self.decisive().map(|finding| finding.meaning);
        serde_json::json!({
            "run_id": self.run_id,
            "tenant_id": self.tenant_id,
            "integrity_model": if self.events.is_empty() { "NONE" } else { "HASH_CHAIN" },
            "verification_status": verdict.status(),
            "verdict": verdict,
            "exit_code": verdict.exit_code(),
            "failure_reason": reason,
            "run_status": self.run_status,
            "run_reason": self.run_reason,
            "chain_length": self.step_count,
            "root_hash": self.root_hash,
            "legacy_root_hash": self.legacy_root_hash,
            "trace_count": self.trace_count,
            "step_count": self.step_count,
            "event_count": self.events.len(),
            "anchor": self.anchor,
            "evidence": self.evidence,
            "resolved": self.resolved,
            "trust": self.trust,
            "findings": self.findings,
            "findings_omitted": self.omitted,
            "checks": self.checks(),
            "covers": self.covers(),
            "does_not_show": self.does_not_show(),
            "events": self.events,
        })
    }
}
