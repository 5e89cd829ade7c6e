//! How far the steps of a plan are: what is done, what is ready, what a failure means for the run.

use std::borrow::Cow;

use runproof_proof::event::{StepSettled, StepStatus};
use serde_json::Value;

use crate::plan::{OnError, Plan};
use crate::reference::Root;
use crate::run::{Expansion, Item, Progress, Run, Settled};

/// How a step ended, once it is done.
pub(super) fn status(run: &Run, plan: &Plan, index: usize) -> Option<StepStatus> {
    let progress = run.progress.get(&u32::try_from(index).ok()?)?;
    let own = *progress.calls.get(&Item::OWN)?;
    let has_fallback = plan.steps.get(index).is_some_and(|step| {
        matches!(step.on_error, OnError::Fallback { .. }) && step.foreach.is_none() && own == StepStatus::Failure
    });
    if has_fallback { progress.calls.get(&Item::OWN.to_fallback()).copied() } else { Some(own) }
}

/// Whether something of the step may begin, or go on, now.
pub(crate) fn is_under_way(run: &Run, plan: &Plan, index: usize) -> bool {
    is_ready(run, plan, index) && status(run, plan, index).is_none()
}

/// Whether all that a step needs is done.
pub(super) fn is_ready(run: &Run, plan: &Plan, index: usize) -> bool {
    plan.steps.get(index).is_some_and(|step| step.needs.iter().all(|needed| status(run, plan, *needed).is_some()))
}

/// Whether this failure ends the run.
pub(super) fn breaks(plan: &Plan, failed: &Settled) -> bool {
    let Some(step) = plan.steps.get(failed.step.plan_index as usize) else { return true };
    match &step.on_error {
        OnError::Abort => true,
        OnError::Continue => false,
        // A list that cannot be had has no call that a fallback could take the place of.
        OnError::Fallback { .. } => failed.item.fallback || (step.foreach.is_some() && failed.item == Item::OWN),
    }
}

/// The settlement of a `foreach` whose elements all have settled for good; `step_index` is not filled in.
pub(super) fn completed_list(run: &Run, plan: &Plan, plan_index: u32) -> Option<StepSettled> {
    let progress = run.progress.get(&plan_index)?;
    let expansion = progress.expansion.as_ref().filter(|_| !progress.calls.contains_key(&Item::OWN))?;
    let step = plan.steps.get(plan_index as usize)?;
    let failed = failed_for_good(expansion, &step.on_error);
    if expansion.succeeded + failed < expansion.count {
        return None;
    }
    let first_failed = (failed > 0).then(|| first_failure(run, progress, plan_index)).flatten();
    Some(StepSettled {
        attempts: 0,
        category: first_failed.map_or("execution", |settled| settled.step.category.as_str()).to_owned(),
        code: first_failed.map(|_| "foreach.items_failed".to_owned()),
        cost_microcents: 0,
        duration_us: 0,
        error: None,
        item: None,
        plan_index,
        skill: step.skill.clone(),
        status: if failed > 0 { StepStatus::Failure } else { StepStatus::Success },
        step_id: step.id.clone(),
        step_index: 0,
    })
}

fn failed_for_good(expansion: &Expansion, on_error: &OnError) -> u32 {
    match on_error {
        OnError::Fallback { .. } => expansion.fallback_failed,
        OnError::Abort | OnError::Continue => u32::try_from(expansion.failed.len()).unwrap_or(u32::MAX),
    }
}

/// The failure of the first element, in the order of the list, that did not succeed in the end.
fn first_failure<'a>(run: &'a Run, progress: &Progress, plan_index: u32) -> Option<&'a Settled> {
    let failed = |item: &Item| progress.calls.get(item).is_some_and(|status| *status != StepStatus::Success);
    let first = progress.calls.keys().find(|item| {
        item.element.is_some() && failed(item) && progress.calls.get(&item.to_fallback()) != Some(&StepStatus::Success)
    })?;
    let of = |place: &usize| run.steps.get(*place).map(AsRef::as_ref);
    run.failures.iter().filter_map(of).find(|settled| settled.step.plan_index == plan_index && settled.item == *first)
}

/// What a reference can name. `place` is the step whose template it stands in, and the element of its list.
pub(super) fn lookup<'a>(
    run: &'a Run,
    plan: &Plan,
    place: (usize, Option<u32>),
    root: &Root,
) -> Option<Cow<'a, Value>> {
    let text = |text: &str| Some(Cow::Owned(Value::String(text.to_owned())));
    let output = |index: usize| {
        let progress = run.progress.get(&u32::try_from(index).ok()?)?;
        progress.output.as_deref().map(Cow::Borrowed)
    };
    let position = |id: &str| plan.steps.iter().position(|step| step.id == id);
    match root {
        Root::Step(id) => output(position(id)?),
        Root::StepStatus(id) => text(status(run, plan, position(id)?)?.word()),
        Root::Output(key) => output(plan.steps.iter().position(|step| step.output_key.as_ref() == Some(key))?),
        Root::Inputs => run.inputs.as_deref().map(Cow::Borrowed),
        Root::Item => {
            let expansion = run.progress.get(&u32::try_from(place.0).ok()?)?.expansion.as_ref()?;
            expansion.items.as_ref()?.get(place.1? as usize).map(Cow::Borrowed)
        }
        Root::ItemIndex => Some(Cow::Owned(Value::from(place.1?))),
        Root::Goal => run.goal.as_deref().map(Cow::Borrowed),
        Root::RunId => text(&run.id),
        Root::Tenant => text(&run.tenant),
        Root::Agent => text(run.header.as_ref().map(|header| header.agent.as_str())?),
    }
}
