//! What the planner made, and what a run without a plan comes to.

use runproof_proof::event::{Body, EndReason, EndStatus, Event};
use runproof_proof::finding::{Code, Finding};
use runproof_proof::hash::Hash;
use serde_json::Value;

use super::{Recorded, Replayer};
use crate::decide::advance;
use crate::draft::Draft;
use crate::run::Values;
use crate::{admission, plan, planner};

impl Replayer {
    pub(super) fn judge_plan(&mut self, event: &Event, values: &Values) {
        let (Body::RunPlanned(body), Some(plan)) = (&event.body, values.get("plan")) else {
            self.replay.skipped += 1;
            return;
        };
        self.replay.decisions += 1;
        let find = |code, path: &str| Finding::new(code, &self.run.id, path).at(event.seq);
        match plan::parse(plan) {
            Err(findings) => {
                let got: Vec<String> =
                    findings.iter().map(|finding| format!("{} {}", finding.path, finding.code)).collect();
                self.replay
                    .findings
                    .push(find(Code::ReplayPlan, "payload.plan").differs("a valid plan", got.join(", ")));
            }
            Ok(parsed) => {
                if parsed.steps.len() as u64 != body.step_count {
                    self.replay
                        .findings
                        .push(find(Code::ReplayPlan, "$.body.step_count").differs(parsed.steps.len(), body.step_count));
                }
                let made = self.planner_made();
                let digest = plan::digest(plan).map_err(|error| error.problem.to_owned());
                let wrong = [Some(digest), made].into_iter().flatten().find(|made| *made != Ok(body.plan_digest));
                if let Some(expected) = wrong {
                    self.replay.findings.push(
                        find(Code::ReplayPlan, "$.body.plan_digest").differs(made_of(&expected), body.plan_digest),
                    );
                }
                let inputs = values.get("inputs");
                let shown = body.inputs.is_none() || inputs.is_some();
                if shown && !plan::inputs::fit(&parsed.inputs, inputs) {
                    self.replay.findings.push(
                        find(Code::ReplayPlan, "payload.inputs").differs("what the plan declares", "other inputs"),
                    );
                }
            }
        }
    }

    /// Digest of the plan that the planner must have made, or why it makes none; `None` if nobody can say.
    fn planner_made(&self) -> Option<Result<Hash, String>> {
        let header = self.run.header.as_ref()?;
        if let Some(given) = header.plan_digest {
            return Some(Ok(given));
        }
        match (header.planner.name.as_str(), header.planner.version.as_str()) {
            planner::STATIC => Some(Err("none was given".to_owned())),
            planner::STUB => Some(admission::stub(self.run.goal.as_ref()?.as_str()?).map(|plan| plan.digest)),
            _ => None,
        }
    }

    /// A run without a plan ends when it is cancelled, or because its planner failed: why, is a fact.
    pub(super) fn judge_end_without_plan(&mut self, ahead: &[(&Event, Values)]) {
        let (event, values) = &ahead[0];
        let mut draft = Draft::new(self.run.clone(), event.at, [0; 32]);
        let decided = if self.run.cancel.is_some() {
            advance::advance_once(&mut draft, &Recorded(ahead)).map(drop)
        } else if let Some(made @ Ok(_)) = self.planner_made() {
            return self.differs(event, format!("the plan {}", made_of(&made)));
        } else {
            let error = values.get("error").and_then(Value::as_str).unwrap_or_default().to_owned();
            advance::seal(&mut draft, EndStatus::Failed, EndReason::PlannerFailed, Some(error)).map(drop)
        };
        match decided {
            Ok(()) => self.compare(&draft, ahead),
            Err(error) => self.differs(event, error),
        }
    }
}

fn made_of(plan: &Result<Hash, String>) -> String {
    match plan {
        Ok(digest) => digest.hex(),
        Err(problem) => format!("no plan: {problem}"),
    }
}
