//! What a look at the ledger found: one JSON object for programs, one page for people.

use std::fmt::Write as _;

use runproof_proof::finding::{Code, Finding, Verdict};
use runproof_proof::report::MAX_FINDINGS;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Findings that are printed on a page; `--json` lists up to [`MAX_FINDINGS`].
const SHOWN: usize = 20;

/// Findings in the order in which they were made. Beyond the limit they are counted, and kept only if they are worse.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    omitted: u64,
}

impl Findings {
    /// Adds a finding. Answers whether it was kept; one that is there already is not added again.
    pub fn add(&mut self, finding: Finding) -> bool {
        if self.list.contains(&finding) {
            return false;
        }
        let kept = self.list.len() < MAX_FINDINGS || self.worst() < Some(finding.code.verdict());
        if kept {
            self.list.push(finding);
        } else {
            self.omitted += 1;
        }
        kept
    }

    /// The findings.
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// Findings that were only counted.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Counts findings that were not kept.
    pub(super) fn omit(&mut self, count: u64) {
        self.omitted += count;
    }

    fn worst(&self) -> Option<Verdict> {
        self.list.iter().map(|finding| finding.code.verdict()).max()
    }

    /// The worst that any finding gives; without one, VERIFIED.
    pub fn verdict(&self) -> Verdict {
        self.worst().unwrap_or(Verdict::Verified)
    }

    /// What every report about the ledger says in JSON; a report adds what it is about.
    pub fn to_json(&self) -> Value {
        let verdict = self.verdict();
        let decisive = self.list.iter().find(|finding| finding.code.verdict() == verdict);
        json!({
            "verdict": verdict,
            "verification_status": verdict.status(),
            "exit_code": verdict.exit_code(),
            "failure_reason": decisive.map(|finding| finding.meaning),
            "findings": self.list,
            "findings_omitted": self.omitted,
        })
    }

    /// The findings for people, the first of them only.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for finding in self.list.iter().take(SHOWN) {
            let run = if finding.run_id.is_empty() { String::new() } else { format!("  run {}", finding.run_id) };
            let seq = finding.seq.map(|seq| format!("  event {seq}")).unwrap_or_default();
            // Writing to a String cannot fail.
            writeln!(out, "  {}  {}{run}{seq}", finding.code.word(), finding.place).ok();
            writeln!(out, "      {}", finding.meaning).ok();
            writeln!(out, "      expected {}, got {}", finding.expected, finding.got).ok();
        }
        let more = self.list.len().saturating_sub(SHOWN) as u64 + self.omitted;
        if more > 0 {
            writeln!(out, "  and {more} more; --json lists up to {MAX_FINDINGS}").ok();
        }
        out
    }
}

/// A finding as a state file keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    code: String,
    run_id: String,
    seq: Option<u64>,
    place: String,
    expected: String,
    got: String,
}

/// The line of a state file for a finding.
pub(super) fn to_line(finding: &Finding) -> String {
    let Finding { code, run_id, seq, place, expected, got, .. } = finding.clone();
    let kept = Kept { code: code.word().to_owned(), run_id, seq, place, expected, got };
    serde_json::to_string(&kept).expect("strings and numbers always encode")
}

/// The finding of a line; `None` when no version of this program wrote it.
pub(super) fn from_line(line: &str) -> Option<Finding> {
    let kept: Kept = serde_json::from_str(line).ok()?;
    let code = Code::ALL.iter().find(|code| code.word() == kept.code)?;
    let texts = [&kept.run_id, &kept.place, &kept.expected, &kept.got];
    if texts.iter().any(|text| text.chars().any(char::is_control)) {
        return None;
    }
    let Kept { run_id, seq, place, expected, got, .. } = kept;
    // What was escaped and cut once is not escaped and cut again.
    Some(Finding { seq, place, expected, got, ..Finding::new(*code, &run_id, "") })
}
