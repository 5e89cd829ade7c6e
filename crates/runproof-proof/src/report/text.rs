//! The report as a page for people.

use std::fmt::Write as _;

use super::Report;
use crate::finding::{Finding, Verdict, counted};

/// How the page is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
    /// A row for every event.
    pub events: bool,
    /// For each check, what it proves and what it does not.
    pub explain: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn verdict(self, verdict: Verdict) -> String {
        let code = match verdict {
            Verdict::Verified => "1;32",
            Verdict::Open | Verdict::Unanchored | Verdict::Unpinned | Verdict::Incomplete | Verdict::Unsupported => {
                "1;33"
            }
            Verdict::KeyInvalid | Verdict::RolledBack | Verdict::Forked | Verdict::Tampered | Verdict::Malformed => {
                "1;31"
            }
        };
        self.paint(code, verdict.word())
    }
}

impl Report {
    /// The page.
    pub fn to_text(&self, style: Style) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        self.write(&mut out, style).ok();
        out
    }

    fn write(&self, out: &mut String, style: Style) -> std::fmt::Result {
        let verdict = self.verdict();
        writeln!(out, "{}  {}", style.verdict(verdict), verdict.meaning())?;
        if !self.run_id.is_empty() {
            writeln!(out)?;
            let status = self.run_status.unwrap_or("not over");
            let reason = self.run_reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            writeln!(out, "  run       {} of tenant {}", printable(&self.run_id), printable(&self.tenant_id))?;
            writeln!(out, "  ended     {status}{reason}")?;
            writeln!(
                out,
                "  recorded  {}, {}, evidence: {}",
                counted(self.events.len() as u64, "event", "events"),
                counted(self.step_count, "step", "steps"),
                self.evidence
            )?;
            if let Some(root) = &self.root_hash {
                writeln!(out, "  root      {root}")?;
            }
            match (&self.anchor.origin, self.anchor.leaf_index, self.anchor.tree_size) {
                (Some(origin), Some(leaf), Some(size)) => {
                    writeln!(out, "  anchor    {}: leaf {leaf} of {size} in {}", self.anchor.level, printable(origin))?;
                }
                _ => writeln!(out, "  anchor    none")?,
            }
            writeln!(out, "  trust     {}", printable(&self.trust))?;
        }
        self.write_checks(out, style)?;
        if style.events {
            self.write_events(out, style)?;
        }
        for finding in &self.findings {
            write_finding(out, style, finding)?;
        }
        writeln!(out, "\nThis does not show")?;
        for item in self.does_not_show() {
            writeln!(out, "  - {item}")?;
        }
        Ok(())
    }

    fn write_checks(&self, out: &mut String, style: Style) -> std::fmt::Result {
        writeln!(out, "\nChecks")?;
        for check in self.checks() {
            let result = match check.result {
                "passed" => style.paint("32", "passed     "),
                "failed" => style.paint("31", "failed     "),
                _ => "not checked".to_owned(),
            };
            writeln!(out, "  {:<11} {result} {}", check.check, check.proves)?;
            if style.explain {
                writeln!(out, "  {:<11} {:<11} does not prove: {}", "", "", check.does_not_prove)?;
            }
        }
        Ok(())
    }

    fn write_events(&self, out: &mut String, style: Style) -> std::fmt::Result {
        writeln!(out, "\nEvents")?;
        for row in &self.events {
            let mark = if row.ok { style.paint("32", "ok ") } else { style.paint("31", "BAD") };
            let hash = &row.leaf_hash.hex()[..16];
            let values = match (row.shown, row.withheld) {
                (0, 0) => String::new(),
                (shown, 0) => format!("{} shown", counted(shown, "value", "values")),
                (shown, withheld) => {
                    let shown = counted(shown, "value", "values");
                    format!("{shown} shown, {withheld} withheld, {} of them erased", row.erased)
                }
            };
            writeln!(out, "  {:>5} {mark} {:<22} {hash}  {values}", row.seq, row.kind)?;
        }
        Ok(())
    }
}

fn write_finding(out: &mut String, style: Style, finding: &Finding) -> std::fmt::Result {
    let seq = finding.seq.map(|seq| format!(", event {seq}")).unwrap_or_default();
    writeln!(out, "\n{} {}", style.paint("1;31", "Finding"), style.paint("1", finding.code.word()))?;
    writeln!(out, "  place     {}{seq}", style.paint("1", &finding.place))?;
    if !finding.expected.is_empty() || !finding.got.is_empty() {
        writeln!(out, "  expected  {}", finding.expected)?;
        writeln!(out, "  got       {}", style.paint("31", &finding.got))?;
    }
    writeln!(out, "  means     {}", finding.meaning)?;
    writeln!(out, "  next      {}", finding.next_step)
}

fn printable(text: &str) -> String {
    crate::finding::printable(text)
}
