//! What is allowed and may not do what its author thinks.

use std::collections::BTreeSet;

use serde_json::Value;

use super::uses::{self, Place, Use};
use super::{OnError, Plan, PlanFinding, Step};
use crate::reference::Root;
use crate::skill::Skills;

/// Warnings about a valid plan; `value` is its document.
pub(super) fn warnings(plan: &Plan, value: &Value) -> Vec<PlanFinding> {
    let mut out = Vec::new();
    let mut used = BTreeSet::new();
    for (position, step) in plan.steps.iter().enumerate() {
        let uses = uses::of(step, &value["steps"][position], &format!("$.steps[{position}]"));
        maybe_absent(&mut out, plan, &uses.all);
        used.extend(uses.all.into_iter().map(|one| match uses::input_name(&one.reference) {
            Some(name) if one.reference.root == Root::Inputs => (Root::Inputs, Some(name.to_owned())),
            Some(_) | None => (one.reference.root, None),
        }));
    }
    let all_inputs = used.contains(&(Root::Inputs, None));
    for name in plan.inputs.keys() {
        if !all_inputs && !used.contains(&(Root::Inputs, Some(name.clone()))) {
            let message = format!("nothing refers to inputs.{name}");
            let path = format!("$.inputs.{name}");
            out.push(PlanFinding::warning("plan.unused", path, message, "remove it, or check the spelling elsewhere"));
        }
    }
    out
}

/// The step that a reference names.
fn source<'a>(plan: &'a Plan, root: &Root) -> Option<&'a Step> {
    match root {
        Root::Step(id) | Root::StepStatus(id) => plan.steps.iter().find(|step| step.id == *id),
        Root::Output(key) => plan.steps.iter().find(|step| step.output_key.as_ref() == Some(key)),
        Root::Inputs | Root::Item | Root::ItemIndex | Root::Goal | Root::RunId | Root::Tenant | Root::Agent => None,
    }
}

/// Templates that name an output which may not be there, in a step whose `when` does not look at that step.
fn maybe_absent(out: &mut Vec<PlanFinding>, plan: &Plan, uses: &[Use]) {
    let guarded: BTreeSet<&str> = uses
        .iter()
        .filter(|one| one.place == Place::When)
        .filter_map(|one| source(plan, &one.reference.root).map(|step| step.id.as_str()))
        .collect();
    for one in uses {
        // A status is always there.
        if one.place == Place::When || matches!(one.reference.root, Root::StepStatus(_)) {
            continue;
        }
        let Some(step) = source(plan, &one.reference.root).filter(|step| !guarded.contains(step.id.as_str())) else {
            continue;
        };
        let why = if step.when.is_some() {
            "may be skipped"
        } else if step.on_error == OnError::Continue && step.foreach.is_none() {
            "may have failed"
        } else {
            continue;
        };
        let message = format!("step `{}` {why}; then this has no value and the step fails", step.id);
        let hint = format!("add \"when\": \"{}.status == 'success'\"", named(&step.id));
        out.push(PlanFinding::warning("plan.maybe_absent", &one.path, message, hint));
    }
}

/// A step as an expression names it.
fn named(id: &str) -> String {
    let plain = !id.starts_with(|c: char| c.is_ascii_digit()) && !id.contains(['.', ':', '-']);
    if plain { format!("steps.{id}") } else { format!("steps['{id}']") }
}

/// Warns about calls that will fail here: unknown skills, and parameters that do not fit as far as they are known.
/// Only warns, because a plan may run elsewhere, and an unknown skill fails on the record.
pub fn check_skills(plan: &Plan, skills: &Skills) -> Vec<PlanFinding> {
    let mut out = Vec::new();
    for (position, step) in plan.steps.iter().enumerate() {
        let path = format!("$.steps[{position}]");
        check_call(&mut out, skills, &step.skill, &step.with, &path);
        if let OnError::Fallback { skill, with } = &step.on_error {
            check_call(&mut out, skills, skill, with, &format!("{path}.fallback"));
        }
    }
    out
}

fn check_call(out: &mut Vec<PlanFinding>, skills: &Skills, name: &str, with: &Value, path: &str) {
    let Some(skill) = skills.get(name) else {
        let shown = runproof_proof::finding::printable(name);
        let message = format!("there is no skill `{shown}` here; the step would fail");
        out.push(PlanFinding::warning("plan.unknown_skill", format!("{path}.skill"), message, "runproof list-skills"));
        return;
    };
    for finding in skill.check(with) {
        let dot = if finding.path.is_empty() || finding.path.starts_with('[') { "" } else { "." };
        let place = format!("{path}.with{dot}{}", finding.path);
        let hint = format!("see the parameters of `{name}`: runproof list-skills --json");
        out.push(PlanFinding::warning("plan.params", place, finding.message, hint));
    }
}
