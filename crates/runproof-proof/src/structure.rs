//! What may follow what in a run, and whether its sums are the sums of its parts.
//!
//! Needs no values, so it also judges bundles in which everything is withheld. What the engine should have decided is
//! not judged here but by `replay` in `runproof-engine`.

mod planned;

use std::collections::BTreeMap;

use crate::event::{
    AttemptOutcome, Body, EffectClass, ErrorCategory, Event, EvidenceClass, Resolution, RunSealed, StepSettled,
    StepStatus,
};
use crate::finding::{Code, Finding};
use crate::hash::Hash;
use crate::merkle::Frontier;
use planned::Planned;

/// What a walk over a run's events gathered.
#[derive(Clone, Debug)]
pub struct Walk {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Steps that settled.
    pub step_count: u64,
    /// The seal, if there is one.
    pub seal: Option<RunSealed>,
    /// RFC 6962 root over the events before the seal, or over all when there is none.
    pub root: Hash,
    /// Weakest class of evidence of any outcome.
    pub weakest: EvidenceClass,
    /// Attempts that a person resolved.
    pub resolved: u64,
    /// `(step_index, skill, status)` in order: input of the first system's digest.
    pub steps: Vec<(u64, String, StepStatus)>,
}

#[derive(Default)]
struct Step {
    intended: u32,
    open: bool,
    /// The last attempt could leave an effect behind.
    lasting: bool,
    last: Option<AttemptOutcome>,
    resolution: Option<Resolution>,
    settled: bool,
    cost: u64,
    duration: u64,
}

struct Walker<'a> {
    run_id: &'a str,
    steps: BTreeMap<(&'a str, Option<&'a str>), Step>,
    created_at: u64,
    unknown: u64,
    planned: Planned<'a>,
    walk: Walk,
}

/// Walks the events of a run in order. `leaves` are their leaf hashes.
pub fn walk<'a>(run_id: &'a str, events: &[&'a Event], leaves: &[Hash]) -> Walk {
    let walk = Walk {
        findings: Vec::new(),
        step_count: 0,
        seal: None,
        root: Hash::ZERO,
        weakest: EvidenceClass::Executed,
        resolved: 0,
        steps: Vec::new(),
    };
    let created_at = events.first().map_or(0, |event| event.at);
    let mut walker =
        Walker { run_id, steps: BTreeMap::new(), created_at, unknown: 0, planned: Planned::default(), walk };
    let mut frontier = Frontier::default();
    for (event, leaf) in events.iter().zip(leaves) {
        if walker.walk.seal.is_some() {
            walker.find(Code::StructureAfterSeal, event, "kind", "the end", event.body.kind());
        } else {
            if matches!(event.body, Body::RunSealed(_)) {
                walker.walk.root = frontier.root();
            }
            walker.step(event);
            if walker.walk.seal.is_none() {
                frontier.push(*leaf);
            }
        }
    }
    if walker.walk.seal.is_none() && frontier.size() > 0 {
        walker.walk.root = frontier.root();
    }
    walker.walk
}

impl<'a> Walker<'a> {
    fn find(&mut self, code: Code, event: &Event, path: &str, expected: impl ToString, got: impl ToString) {
        let place = format!("$.{path}");
        self.walk.findings.push(Finding::new(code, self.run_id, place).at(event.seq).differs(expected, got));
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of event; the table is read top to bottom")]
    fn step(&mut self, event: &'a Event) {
        let first = matches!(event.body, Body::RunCreated(_));
        if first != (event.seq == 0) {
            let expected = if event.seq == 0 { "run.created" } else { "any later event" };
            self.find(Code::StructureFirst, event, "kind", expected, event.body.kind());
        }
        match &event.body {
            Body::RunCreated(body) => {
                if body.run_id != self.run_id {
                    self.find(Code::StructureFirst, event, "body.run_id", self.run_id, &body.run_id);
                }
            }
            Body::StepIntended(body) => {
                let step = self.steps.entry((body.step_id.as_str(), body.item.as_deref())).or_default();
                let expected = u64::from(step.intended) + 1;
                let allowed = !step.open && !step.settled && u64::from(body.attempt) == expected;
                step.intended = body.attempt;
                step.open = true;
                step.lasting =
                    !matches!(body.effect, EffectClass::Pure | EffectClass::Read | EffectClass::Transactional);
                step.resolution = None;
                if !allowed {
                    self.find(Code::StructureOrder, event, "body.attempt", expected, body.attempt);
                }
                self.planned.intend(body);
            }
            Body::StepReturned(body) => {
                self.walk.weakest = self.walk.weakest.max(body.evidence);
                let step = self.steps.entry((body.step_id.as_str(), body.item.as_deref())).or_default();
                let allowed = step.open && body.attempt == step.intended;
                let expected = step.intended;
                step.open = false;
                step.last = Some(body.outcome);
                step.cost = step.cost.saturating_add(body.cost_microcents);
                step.duration = step.duration.saturating_add(body.duration_us);
                if !allowed {
                    self.find(
                        Code::StructureOrder,
                        event,
                        "body.attempt",
                        format!("open attempt {expected}"),
                        body.attempt,
                    );
                }
            }
            Body::StepResolved(body) => {
                self.walk.resolved += 1;
                let step = self.steps.entry((body.step_id.as_str(), body.item.as_deref())).or_default();
                let unknown = step.last == Some(AttemptOutcome::Unknown) && step.resolution.is_none();
                let allowed = unknown && !step.open && !step.settled && body.attempt == step.intended;
                step.resolution = Some(body.resolution);
                if !allowed {
                    self.find(
                        Code::StructureOrder,
                        event,
                        "body.step_id",
                        "a step whose outcome is unknown",
                        &body.step_id,
                    );
                }
            }
            Body::StepSettled(body) => self.settle(event, body),
            Body::GapRecorded(body) => self.find(Code::GapRecorded, event, "body.gap", "none", body.gap),
            Body::RunSealed(body) => self.seal(event, body),
            Body::RunPlanned(body) => self.planned.plan(body),
            Body::StepExpanded(body) => self.planned.expand(body),
            Body::RunCancelRequested(_) => self.planned.cancel_requested = true,
            Body::RunPaused(_) => self.planned.pause(),
            Body::RunResumed(_) => self.planned.resume(),
            Body::RunClaimed(_)
            | Body::PolicyChecked(_)
            | Body::ApprovalRequested(_)
            | Body::ApprovalDecided(_)
            | Body::ApprovalExpired(_)
            | Body::BudgetExhausted(_)
            | Body::BudgetGranted(_)
            | Body::IncidentRecorded(_)
            | Body::UsageRecorded(_)
            | Body::EvidenceSummarized(_) => {}
            Body::TenantCreated(_)
            | Body::TenantAgentCreated(_)
            | Body::TenantRunOpened(_)
            | Body::TenantRunArchived(_)
            | Body::TenantRunPurged(_)
            | Body::TenantHoldPlaced(_)
            | Body::TenantHoldLifted(_)
            | Body::TenantValueErased(_)
            | Body::TenantValueRevealed(_)
            | Body::TenantBundleExported(_)
            | Body::TenantPolicySetActivated(_)
            | Body::TenantBudgetSet(_)
            | Body::TenantKillSwitchSet(_)
            | Body::LogCreated(_)
            | Body::LogKeyAdded(_)
            | Body::LogKeyRetired(_)
            | Body::LogKeyRevoked(_)
            | Body::LogRollbackAcknowledged(_)
            | Body::LogClosed(_) => {
                self.find(Code::StructureOrder, event, "kind", "an event of a run", event.body.kind());
            }
        }
        for broken in std::mem::take(&mut self.planned.broken) {
            self.find(Code::StructureOrder, event, broken.path, broken.expected, broken.got);
        }
    }

    fn settle(&mut self, event: &'a Event, body: &'a StepSettled) {
        let index = self.walk.step_count;
        self.walk.step_count += 1;
        self.walk.steps.push((body.step_index, body.skill.clone(), body.status));
        let step = self.steps.entry((body.step_id.as_str(), body.item.as_deref())).or_default();
        let allowed = !step.open && !step.settled;
        let sums = [
            ("body.attempts", u64::from(step.intended), u64::from(body.attempts)),
            ("body.cost_microcents", step.cost, body.cost_microcents),
            ("body.duration_us", step.duration, body.duration_us),
            ("body.step_index", index, body.step_index),
        ];
        let known = match (step.last, step.resolution) {
            (Some(AttemptOutcome::Done), _) | (_, Some(Resolution::Done)) => Some(StepStatus::Success),
            (Some(AttemptOutcome::NotDone | AttemptOutcome::Failed), _) | (_, Some(Resolution::NotDone)) => {
                Some(StepStatus::Failure)
            }
            (Some(AttemptOutcome::Unknown), None) | (None, None) => None,
        };
        // The plan let the run go on without anybody knowing whether the effect happened: that stays said.
        let ambiguous = step.lasting && step.last == Some(AttemptOutcome::Unknown) && step.resolution.is_none();
        step.settled = true;
        if !allowed {
            self.find(Code::StructureOrder, event, "body.step_id", "a step that can settle", &body.step_id);
        }
        for (path, expected, got) in sums {
            if expected != got {
                self.find(Code::StructureTotals, event, path, expected, got);
            }
        }
        // An unknown attempt that the plan lets pass (`on_unknown`) settles without a person; replay judges that.
        if let Some(known) = known
            && known != body.status
        {
            self.find(Code::StructureOrder, event, "body.status", known, body.status);
        }
        if body.status == StepStatus::Unknown {
            self.unknown += 1;
        }
        if body.status == StepStatus::Unknown || ambiguous {
            self.find(Code::OutcomeUnknown, event, "body.status", "an outcome that somebody knows", body.status);
        }
        let category = body.category.as_str();
        if !matches!(category, "execution" | "skipped") && ErrorCategory::parse(category).is_none() {
            self.find(
                Code::StructureOrder,
                event,
                "body.category",
                "execution, skipped or a kind of failure",
                category,
            );
        }
        self.planned.settle(body);
    }

    fn seal(&mut self, event: &Event, body: &RunSealed) {
        let open: Vec<String> = self
            .steps
            .iter()
            .filter(|(_, step)| step.open)
            .map(|((id, _), step)| format!("{id} attempt {}", step.intended))
            .collect();
        for intent in open {
            self.find(Code::OutcomeMissing, event, "body", format!("an outcome of {intent}"), "none");
        }
        let attempts = self.steps.values().map(|step| u64::from(step.intended)).sum();
        let cost = self.steps.values().fold(0u64, |sum, step| sum.saturating_add(step.cost));
        let counts = [
            (Code::SealCount, "body.event_count", event.seq, body.event_count),
            (Code::SealCount, "body.step_count", self.walk.step_count, body.step_count),
            (Code::SealTotals, "body.totals.attempts", attempts, body.totals.attempts),
            (Code::SealTotals, "body.totals.cost_microcents", cost, body.totals.cost_microcents),
            (
                Code::SealTotals,
                "body.totals.duration_us",
                event.at.saturating_sub(self.created_at),
                body.totals.duration_us,
            ),
            (Code::SealTotals, "body.totals.resolved", self.walk.resolved, body.totals.resolved),
            (Code::SealTotals, "body.totals.unknown", self.unknown, body.totals.unknown),
        ];
        for (code, path, expected, got) in counts {
            if expected != got {
                self.find(code, event, path, expected, got);
            }
        }
        if self.walk.root != body.run_root {
            self.find(Code::SealRoot, event, "body.run_root", self.walk.root, body.run_root);
        }
        self.planned.seal(body);
        self.walk.seal = Some(body.clone());
    }
}
