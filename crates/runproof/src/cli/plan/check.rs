//! `plan check`: every finding about a plan, and the most that it can do.

use std::path::PathBuf;

use clap::Args;
use runproof_engine::plan::{self, Estimate, PlanFinding, Severity};
use runproof_proof::event::MAX_RUN_EVENTS;
use runproof_proof::finding::counted;
use serde_json::json;

use super::{read, skills};
use crate::cli::inputs::Inputs;
use crate::error::AppError;
use crate::output::{Output, harmless};

/// Says everything that is wrong with a plan, and what it can do at most. Nothing is run or written.
#[derive(Args)]
pub(in crate::cli) struct Check {
    /// Plan as a JSON or YAML file; `-` reads stdin
    file: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
}

/// What is known about a plan.
struct Judged {
    converted: bool,
    plan: Option<plan::Plan>,
    findings: Vec<PlanFinding>,
    estimate: Option<Estimate>,
}

impl Check {
    pub(super) fn run(self, output: Output) -> Result<u8, AppError> {
        let judged = self.judge()?;
        let refused = judged.findings.iter().any(|finding| finding.severity == Severity::Error);
        let levels = judged.levels();
        let value = json!({
            "valid": !refused,
            "converted": judged.converted,
            "findings": judged.findings,
            "estimate": judged.estimate,
            "levels": levels,
        });
        output.print(&value, || judged.text(refused, &levels));
        Ok(if refused { 7 } else { 0 })
    }

    fn judge(&self) -> Result<Judged, AppError> {
        let mut value = read(&self.file)?;
        let converted = plan::legacy::is_legacy(&value);
        if converted {
            match plan::legacy::convert(&value) {
                Ok(plan) => value = plan,
                Err(findings) => return Ok(Judged { converted: false, plan: None, findings, estimate: None }),
            }
        }
        let (plan, mut findings) = plan::check(&value);
        let Some(plan) = plan else { return Ok(Judged { converted, plan: None, findings, estimate: None }) };
        let skills = skills()?;
        findings.extend(plan::check_skills(&plan, &skills));
        if let Some(given) = self.inputs.read(&plan.inputs)?
            && let Err(more) = plan::inputs::bind(&plan.inputs, Some(&given))
        {
            findings.extend(more);
        }
        let estimate = plan::estimate(&plan, &skills);
        findings.extend(estimate.warning());
        Ok(Judged { converted, plan: Some(plan), findings, estimate: Some(estimate) })
    }
}

impl Judged {
    /// Ids of the steps, level by level.
    fn levels(&self) -> Vec<Vec<&str>> {
        let Some(plan) = &self.plan else { return Vec::new() };
        let ids = |level: Vec<usize>| level.into_iter().map(|position| plan.steps[position].id.as_str()).collect();
        plan::levels(plan).into_iter().map(ids).collect()
    }

    fn text(&self, refused: bool, levels: &[Vec<&str>]) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            let (path, message) = (harmless(&finding.path), harmless(&finding.message));
            out.push_str(&format!("{}: {path}  {message}  [{}]\n", finding.severity, finding.code));
            out.push_str(&format!("    hint: {}\n", harmless(&finding.hint)));
        }
        let warnings = self.findings.iter().filter(|finding| finding.severity == Severity::Warning).count();
        let errors = self.findings.len() - warnings;
        let found = (counted(errors as u64, "error", "errors"), counted(warnings as u64, "warning", "warnings"));
        out.push_str(&format!("{}: {}, {}\n", if refused { "refused" } else { "valid" }, found.0, found.1));
        if self.converted {
            out.push_str("one of the first system, converted: runproof plan convert shows what would be recorded\n");
        }
        if let Some(estimate) = self.estimate.as_ref().filter(|_| !refused) {
            out.push_str(&most(estimate));
            for (number, level) in levels.iter().enumerate() {
                let title = if number == 0 { "order" } else { "" };
                out.push_str(&format!("{title:<9} {}. {}\n", number + 1, level.join(", ")));
            }
        }
        out
    }
}

/// The most that a plan can do.
fn most(estimate: &Estimate) -> String {
    let Estimate { steps, calls, attempts, events, cost_microcents, unknown_cost } = estimate;
    let cents = *cost_microcents as f64 / 1_000_000.0;
    let unknown = match unknown_cost.len() {
        0 => String::new(),
        _ => {
            let names: Vec<String> = unknown_cost.iter().map(|name| harmless(name)).collect();
            format!(", and what these cost: {}", names.join(", "))
        }
    };
    format!(
        "steps     {steps}\n\
         calls     at most {calls}\n\
         attempts  at most {attempts}\n\
         events    at most {events} of {MAX_RUN_EVENTS}, if nothing interrupts the run\n\
         cost      at most {cents:.4} cents ({cost_microcents} microcents){unknown}\n"
    )
}
