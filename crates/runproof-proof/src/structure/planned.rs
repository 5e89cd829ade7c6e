//! Which calls some plan can have led to, and which end: as far as that shows without the plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{EndReason, EndStatus, RunPlanned, RunSealed, StepExpanded, StepIntended, StepSettled, StepStatus};

/// Most elements of one `foreach`.
const MAX_ELEMENTS: u32 = 1_000;

/// A rule that an event breaks.
pub(super) struct Broken {
    /// Field of the event that breaks it.
    pub(super) path: &'static str,
    pub(super) expected: String,
    pub(super) got: String,
}

/// What the events so far say about the plan.
#[derive(Default)]
pub(super) struct Planned<'a> {
    pub(super) cancel_requested: bool,
    pub(super) broken: Vec<Broken>,
    paused: bool,
    /// `step_count` of the plan.
    step_count: Option<u64>,
    positions: BTreeMap<&'a str, u32>,
    owners: BTreeMap<u32, &'a str>,
    /// Lengths of the lists.
    expanded: BTreeMap<&'a str, u32>,
    /// Steps with a call that began or settled.
    called: BTreeSet<&'a str>,
    /// Calls that settled as failures.
    failed: BTreeSet<(&'a str, Option<&'a str>)>,
}

impl<'a> Planned<'a> {
    pub(super) fn plan(&mut self, body: &RunPlanned) {
        self.rule(self.step_count.is_none(), "kind", "one plan", "another");
        self.step_count.get_or_insert(body.step_count);
    }

    pub(super) fn pause(&mut self) {
        self.rule(!self.paused, "kind", "a run that goes on", "a paused one");
        self.paused = true;
    }

    pub(super) fn resume(&mut self) {
        self.rule(self.paused, "kind", "a paused run", "one that goes on");
        self.paused = false;
    }

    pub(super) fn expand(&mut self, body: &'a StepExpanded) {
        self.place(&body.step_id, body.plan_index);
        self.begins();
        let first = !self.expanded.contains_key(body.step_id.as_str()) && !self.called.contains(body.step_id.as_str());
        self.rule(first, "body.step_id", "a step without a list and without a call", &body.step_id);
        self.rule(body.count <= MAX_ELEMENTS, "body.count", format_args!("at most {MAX_ELEMENTS}"), body.count);
        self.expanded.entry(&body.step_id).or_insert(body.count);
    }

    pub(super) fn intend(&mut self, body: &'a StepIntended) {
        self.place(&body.step_id, body.plan_index);
        self.begins();
        let own = body.item.is_none() && !self.expanded.contains_key(body.step_id.as_str());
        let allowed = own || self.is_item(&body.step_id, body.item.as_deref());
        self.rule(allowed, "body.item", "a call of this step", body.item.as_deref().unwrap_or("none"));
        self.called.insert(&body.step_id);
    }

    pub(super) fn settle(&mut self, body: &'a StepSettled) {
        self.place(&body.step_id, body.plan_index);
        let allowed = body.item.is_none() || self.is_item(&body.step_id, body.item.as_deref());
        self.rule(allowed, "body.item", "a call of this step", body.item.as_deref().unwrap_or("none"));
        let of_list = body.item.is_none() && self.expanded.contains_key(body.step_id.as_str());
        let made = body.attempts > 0 || body.status != StepStatus::Success || of_list;
        if body.attempts == 0 && !of_list {
            self.begins();
        }
        self.rule(made, "body.attempts", "an attempt that succeeded", body.attempts);
        self.called.insert(&body.step_id);
        if body.status == StepStatus::Failure {
            self.failed.insert((&body.step_id, body.item.as_deref()));
        }
    }

    pub(super) fn seal(&mut self, body: &RunSealed) {
        let status = match body.reason {
            EndReason::PlanCompleted => EndStatus::Succeeded,
            EndReason::StepFailed | EndReason::PlannerFailed | EndReason::RunTimeout | EndReason::LimitReached => {
                EndStatus::Failed
            }
            EndReason::GateFailed | EndReason::PolicyHalt | EndReason::BudgetExhausted => EndStatus::Halted,
            EndReason::CancelRequested => EndStatus::Cancelled,
        };
        let reason = body.reason;
        self.rule(body.status == status, "body.reason", format_args!("a reason for {}", body.status), reason);
        match reason {
            EndReason::PlanCompleted => self.rule(self.step_count.is_some(), "body.reason", "a plan", reason),
            EndReason::PlannerFailed => self.rule(self.step_count.is_none(), "body.reason", "no plan", reason),
            EndReason::CancelRequested => {
                self.rule(self.cancel_requested, "body.reason", "a request to cancel", reason);
            }
            EndReason::StepFailed
            | EndReason::RunTimeout
            | EndReason::LimitReached
            | EndReason::GateFailed
            | EndReason::PolicyHalt
            | EndReason::BudgetExhausted => {}
        }
    }

    /// Nothing begins while the run is paused.
    fn begins(&mut self) {
        self.rule(!self.paused, "kind", "nothing that begins while the run is paused", "something that does");
    }

    /// A step stands at one position of a plan that is there, and no other step does.
    fn place(&mut self, step_id: &'a str, plan_index: u32) {
        let Some(step_count) = self.step_count else {
            return self.rule(false, "kind", "a plan before it", "none");
        };
        let position = *self.positions.entry(step_id).or_insert(plan_index);
        self.rule(position == plan_index, "body.plan_index", position, plan_index);
        let owner = *self.owners.entry(plan_index).or_insert(step_id);
        self.rule(owner == step_id, "body.step_id", owner, step_id);
        let inside = u64::from(plan_index) < step_count;
        self.rule(inside, "body.plan_index", format_args!("less than {step_count}"), plan_index);
    }

    /// Whether the item is an element, or a fallback of a call that failed.
    fn is_item(&self, step_id: &str, item: Option<&str>) -> bool {
        let Some(item) = item else { return false };
        let (call, is_fallback) = match item.strip_suffix(".fallback") {
            Some(element) => (Some(element), true),
            None if item == "fallback" => (None, true),
            None => (Some(item), false),
        };
        let fits = match (call, self.expanded.get(step_id)) {
            (None, None) => true,
            (Some(element), Some(count)) => {
                element.parse::<u32>().is_ok_and(|position| position < *count && position.to_string() == element)
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        fits && (!is_fallback || self.failed.contains(&(step_id, call)))
    }

    fn rule(&mut self, holds: bool, path: &'static str, expected: impl ToString, got: impl ToString) {
        if !holds {
            self.broken.push(Broken { path, expected: expected.to_string(), got: got.to_string() });
        }
    }
}
