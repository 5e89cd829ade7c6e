//! The most that a plan can do: calls, attempts, events, cost.

use std::collections::BTreeSet;

use runproof_proof::event::MAX_RUN_EVENTS;
use serde::Serialize;

use super::{MAX_ELEMENTS, OnError, Plan, PlanFinding};
use crate::skill::{CostModel, Skills};

/// The worst case of a plan in which nobody is asked, nothing is interrupted and no receiver is probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Steps.
    pub steps: usize,
    /// Calls: one for each step, element and fallback.
    pub calls: u64,
    /// Attempts of all calls.
    pub attempts: u64,
    /// Events of the run.
    pub events: u64,
    /// What all attempts cost, in microcents.
    pub cost_microcents: u64,
    /// Skills whose cost is not known here.
    pub unknown_cost: BTreeSet<String>,
}

/// Events that every run has: created, planned, claimed once, sealed.
const EVENTS_OF_A_RUN: u64 = 4;

impl Estimate {
    /// A warning when a run of the plan could become longer than a run may be.
    pub fn warning(&self) -> Option<PlanFinding> {
        let message = format!("it could have {} events, and a run ends at {MAX_RUN_EVENTS}", self.events);
        let hint = "shorter lists, fewer attempts, or several runs";
        (self.events > MAX_RUN_EVENTS).then(|| PlanFinding::warning("plan.worst_case", "$", message, hint))
    }
}

/// The worst case of a plan. A list that is not written in the plan counts as 1,000 elements.
pub fn estimate(plan: &Plan, skills: &Skills) -> Estimate {
    let mut out = Estimate {
        steps: plan.steps.len(),
        calls: 0,
        attempts: 0,
        events: EVENTS_OF_A_RUN,
        cost_microcents: 0,
        unknown_cost: BTreeSet::new(),
    };
    for step in &plan.steps {
        let elements = step.foreach.as_ref().map(|foreach| foreach.items.as_array().map_or(MAX_ELEMENTS, Vec::len));
        // The list is recorded, and the step settles as a whole beside its elements.
        out.events += if elements.is_some() { 2 } else { 0 };
        let elements = elements.unwrap_or(1) as u64;
        let attempts = elements * u64::from(step.retry.max_attempts);
        let mut add = |skill: &str| {
            out.calls += elements;
            out.attempts += attempts;
            // An intent and an outcome for each attempt, a claim after each wait, a settlement for each call.
            out.events += 2 * attempts + (attempts - elements) + elements;
            match skills.get(skill).map(|skill| skill.manifest().cost) {
                Some(CostModel::Free) => {}
                Some(CostModel::PerAttempt(cost) | CostModel::Metered(cost)) => {
                    out.cost_microcents = out.cost_microcents.saturating_add(attempts.saturating_mul(cost));
                }
                None => {
                    out.unknown_cost.insert(skill.to_owned());
                }
            }
        };
        add(&step.skill);
        if let OnError::Fallback { skill, .. } = &step.on_error {
            add(skill);
        }
    }
    out
}
