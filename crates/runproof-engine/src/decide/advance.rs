//! Goes on as far as it can without the world: settles, seals, and intends the next attempt.

use std::borrow::Cow;
use std::time::Duration;

use runproof_proof::event::{
    AttemptOutcome, EndReason, EndStatus, ErrorCategory, Resolution, RunSealed, StepIntended, StepSettled, StepStatus,
    Then, Totals,
};
use runproof_proof::hash::tagged;
use serde_json::Value;

use super::{Facts, Next, Refusal, SkillFacts, recordable};
use crate::draft::Draft;
use crate::gate::{Verdict, judge};
use crate::plan::{OnError, OnUnknown, Plan, Step};
use crate::reference::{self, ResolveError, Root};
use crate::run::{Run, WaitReason};
use crate::skill::Call;

/// The `item` of a fallback.
pub(super) const FALLBACK: &str = "fallback";
/// Category of a step that did what it should.
const EXECUTION: &str = "execution";

/// Where a run goes on in its plan.
enum Position {
    Step(usize, bool),
    Completed,
    Failed(String),
}

pub(super) fn advance(draft: &mut Draft, facts: &dyn Facts) -> Result<Next, Refusal> {
    loop {
        if let Some(next) = advance_once(draft, facts)? {
            return Ok(next);
        }
    }
}

/// One move: writes the events of one decision, or says what has to happen first.
pub(crate) fn advance_once(draft: &mut Draft, facts: &dyn Facts) -> Result<Option<Next>, Refusal> {
    if let Some((seal, _)) = &draft.run.seal {
        return Ok(Some(Next::Ended(seal.status)));
    }
    if draft.run.open().is_some() {
        return Ok(Some(Next::Recover));
    }
    if draft.run.cancel.is_some() {
        return cancel(draft).map(Some);
    }
    if let Some((WaitReason::Paused, _)) = draft.run.wait_since() {
        return Ok(Some(Next::Wait(WaitReason::Paused)));
    }
    let Some(plan) = draft.run.plan.clone() else { return Ok(Some(Next::NeedsPlan)) };
    if draft.run.current.is_some() {
        return go_on(draft, &plan, facts);
    }
    match position(&draft.run, &plan) {
        Position::Step(index, fallback) => intend(draft, &plan, index, fallback, 1, facts),
        Position::Completed => seal(draft, EndStatus::Succeeded, EndReason::PlanCompleted, None).map(Some),
        Position::Failed(error) => seal(draft, EndStatus::Failed, EndReason::StepFailed, Some(error)).map(Some),
    }
}

/// Continues with the step that has been tried.
fn go_on(draft: &mut Draft, plan: &Plan, facts: &dyn Facts) -> Result<Option<Next>, Refusal> {
    let Some(current) = &draft.run.current else { return Ok(None) };
    let Some(returned) = &current.returned else { return Ok(Some(Next::Recover)) };
    match returned.then {
        Then::Retry => {
            let due = returned.retry_at.unwrap_or(draft.at);
            if draft.at < due {
                return Ok(Some(Next::Sleep(due)));
            }
            let (index, attempt) = (current.intent.plan_index as usize, current.intent.attempt + 1);
            let fallback = current.intent.item.is_some();
            intend(draft, plan, index, fallback, attempt, facts)
        }
        Then::Hold if current.resolution.is_none() => {
            Ok(Some(Next::Wait(WaitReason::Resolution(current.intent.step_id.clone()))))
        }
        Then::Hold | Then::Settle => {
            let on_unknown = plan.steps.get(current.intent.plan_index as usize).map(|step| step.on_unknown);
            let status = settled_status(draft, on_unknown);
            settle(draft, status)?;
            Ok(None)
        }
    }
}

/// How the current step ends, from its last outcome, the plan and what a person said.
fn settled_status(draft: &Draft, on_unknown: Option<OnUnknown>) -> StepStatus {
    let Some(current) = &draft.run.current else { return StepStatus::Unknown };
    match (current.outcome(), current.resolution) {
        (Some(AttemptOutcome::Done), _) | (_, Some(Resolution::Done)) => StepStatus::Success,
        (Some(AttemptOutcome::Failed | AttemptOutcome::NotDone), _) | (_, Some(Resolution::NotDone)) => {
            StepStatus::Failure
        }
        (Some(AttemptOutcome::Unknown), None) if on_unknown == Some(OnUnknown::AssumeDone) => StepStatus::Success,
        (Some(AttemptOutcome::Unknown), None) => StepStatus::Failure,
        (None, None) => StepStatus::Unknown,
    }
}

/// Writes the step's final word.
fn settle(draft: &mut Draft, status: StepStatus) -> Result<(), Refusal> {
    let Some(current) = &draft.run.current else { return Ok(()) };
    let returned = current.returned.as_ref();
    let category = match (status, current.resolution) {
        (_, Some(_)) => ErrorCategory::Resolved.word(),
        (StepStatus::Success, None) => EXECUTION,
        (StepStatus::Failure | StepStatus::Skipped | StepStatus::Unknown, None) => {
            returned.and_then(|returned| returned.category).unwrap_or(ErrorCategory::Internal).word()
        }
    };
    let intent = &current.intent;
    let body = StepSettled {
        attempts: intent.attempt,
        category: category.to_owned(),
        code: returned.and_then(|returned| returned.code.clone()),
        cost_microcents: current.cost_microcents,
        duration_us: current.duration_us,
        error: None,
        item: intent.item.clone(),
        plan_index: intent.plan_index,
        skill: intent.skill.clone(),
        status,
        step_id: intent.step_id.clone(),
        step_index: draft.run.steps.len() as u64,
    };
    Ok(draft.push(|_| Ok(body))?)
}

/// Ends a run that somebody wants cancelled. What nobody knows stays unknown, on the record.
fn cancel(draft: &mut Draft) -> Result<Next, Refusal> {
    if let Some(current) = &draft.run.current {
        let unknown = current.outcome() == Some(AttemptOutcome::Unknown) && current.resolution.is_none();
        let unsafe_to_say = unknown && !repeats_safely(current.effect());
        let status = if unsafe_to_say { StepStatus::Unknown } else { settled_status(draft, None) };
        settle(draft, status)?;
    }
    seal(draft, EndStatus::Cancelled, EndReason::CancelRequested, None)
}

/// Whether doing it again is harmless, so that not knowing is no loss.
pub(super) fn repeats_safely(effect: runproof_proof::event::EffectClass) -> bool {
    use runproof_proof::event::EffectClass as E;
    match effect {
        E::Pure | E::Read | E::Transactional => true,
        E::Idempotent | E::Probeable | E::Unsafe => false,
    }
}

fn position(run: &Run, plan: &Plan) -> Position {
    let Some(last) = run.steps.last().map(|settled| &settled.step) else { return Position::Step(0, false) };
    let index = last.plan_index as usize;
    let after = if index + 1 < plan.steps.len() { Position::Step(index + 1, false) } else { Position::Completed };
    if matches!(last.status, StepStatus::Success | StepStatus::Skipped) {
        return after;
    }
    let failed = || {
        let code = last.code.as_deref().unwrap_or(&last.category);
        Position::Failed(format!("step `{}` ({}) failed: {code}", last.step_id, last.skill))
    };
    match plan.steps.get(index).map(|step| &step.on_error) {
        Some(OnError::Continue) => after,
        Some(OnError::Fallback { .. }) if last.item.is_none() => Position::Step(index, true),
        Some(OnError::Fallback { .. } | OnError::Abort) | None => failed(),
    }
}

/// Writes the intent of an attempt, or settles the step when it cannot even be tried.
fn intend(
    draft: &mut Draft,
    plan: &Plan,
    index: usize,
    fallback: bool,
    attempt: u32,
    facts: &dyn Facts,
) -> Result<Option<Next>, Refusal> {
    let Some((step, skill, with)) = plan.call(index, fallback) else {
        return seal(draft, EndStatus::Failed, EndReason::StepFailed, Some("the plan has no such step".to_owned()))
            .map(Some);
    };
    let refuse =
        |draft: &mut Draft, category, code, error| give_up(draft, step, skill, index, fallback, category, code, error);
    let params = match reference::resolve(with, &|root| lookup(&draft.run, root)) {
        Ok(params) => params,
        Err(error) => {
            let code = match error {
                ResolveError::Redacted { .. } => "reference.redacted",
                ResolveError::NamesSecret { .. } => "reference.names_secret",
                ResolveError::Expression { .. } => "expression.failed",
                ResolveError::Unreadable(_)
                | ResolveError::Unknown { .. }
                | ResolveError::Missing { .. }
                | ResolveError::NotText { .. }
                | ResolveError::TooLarge { .. } => "reference.unresolved",
            };
            return refuse(draft, ErrorCategory::Reference, code, error.to_string());
        }
    };
    // What a reference brings in can nest deeper than a value may that is recorded.
    if let Err(error) = runproof_proof::canonical::to_bytes(&params) {
        let error = format!("the parameters cannot be recorded: {}", error.problem);
        return refuse(draft, ErrorCategory::Validation, "params.unrecordable", error);
    }
    let (version, effect, default_timeout, max_timeout, cost_limit_microcents) = match facts.skill(skill, &params) {
        SkillFacts::NotFound => {
            return refuse(draft, ErrorCategory::NotFound, "skill.not_found", format!("Skill not found: {skill}"));
        }
        SkillFacts::Invalid(error) => return refuse(draft, ErrorCategory::Validation, "params.invalid", error),
        SkillFacts::Known { version, effect, default_timeout, max_timeout, cost_limit_microcents } => {
            (version, effect, default_timeout, max_timeout, cost_limit_microcents)
        }
    };
    let item = fallback.then(|| FALLBACK.to_owned());
    let call = Call {
        tenant: draft.run.tenant.clone(),
        run_id: draft.run.id.clone(),
        step_id: step.id.clone(),
        item: item.clone(),
        attempt,
        skill: skill.to_owned(),
        idempotency_key: idempotency_key(&draft.run.tenant, &draft.run.id, &step.id, item.as_deref(), skill),
        timeout: step.timeout_ms.map_or(default_timeout, Duration::from_millis).min(max_timeout),
        params,
    };
    let policy_set = draft.run.header.as_ref().map(|header| header.policy_set.clone()).unwrap_or_default();
    let (authorized, gate) = match judge(&policy_set, call) {
        Verdict::Allowed(authorized, gate) => (authorized, gate),
        Verdict::Refused(_) => {
            return refuse(draft, ErrorCategory::Policy, "policy.blocked", "a policy refused the call".to_owned());
        }
        Verdict::Halted(_) => {
            let error = format!("policy set `{policy_set}` cannot be evaluated by this version");
            if draft.run.current.is_some() {
                settle(draft, StepStatus::Failure)?;
            }
            return seal(draft, EndStatus::Halted, EndReason::GateFailed, Some(error)).map(Some);
        }
    };
    let call = authorized.get().clone();
    draft.push(|c| {
        Ok(StepIntended {
            attempt,
            cost_limit_microcents: recordable(cost_limit_microcents),
            effect,
            gate,
            idempotency_key: call.idempotency_key,
            item,
            params: c.commit("params", &call.params)?,
            plan_index: u32::try_from(index).unwrap_or(u32::MAX),
            skill: call.skill,
            skill_version: version,
            step_id: call.step_id,
            timeout_us: recordable(u64::try_from(call.timeout.as_micros()).unwrap_or(u64::MAX)),
        })
    })?;
    Ok(Some(Next::Invoke(Box::new(authorized), effect)))
}

/// Settles a step that cannot be tried (again).
#[expect(clippy::too_many_arguments, reason = "the facts of one event; a struct would only repeat its fields")]
fn give_up(
    draft: &mut Draft,
    step: &Step,
    skill: &str,
    index: usize,
    fallback: bool,
    category: ErrorCategory,
    code: &str,
    error: String,
) -> Result<Option<Next>, Refusal> {
    let (attempts, cost_microcents, duration_us) = draft
        .run
        .current
        .as_ref()
        .map_or((0, 0, 0), |current| (current.intent.attempt, current.cost_microcents, current.duration_us));
    let step_index = draft.run.steps.len() as u64;
    let error = Value::String(error);
    draft.push(|c| {
        Ok(StepSettled {
            attempts,
            category: category.word().to_owned(),
            code: Some(code.to_owned()),
            cost_microcents,
            duration_us,
            error: Some(c.commit("error", &error)?),
            item: fallback.then(|| FALLBACK.to_owned()),
            plan_index: u32::try_from(index).unwrap_or(u32::MAX),
            skill: skill.to_owned(),
            status: StepStatus::Failure,
            step_id: step.id.clone(),
            step_index,
        })
    })?;
    Ok(None)
}

/// What a reference can name.
fn lookup<'a>(run: &'a Run, root: &Root) -> Option<Cow<'a, Value>> {
    let text = |text: &str| Some(Cow::Owned(Value::String(text.to_owned())));
    match root {
        Root::Step(id) => run.outputs.get(id).map(|output| Cow::Borrowed(output.as_ref())),
        Root::StepStatus(_) | Root::Output(_) | Root::Inputs | Root::Item | Root::ItemIndex => None,
        Root::Goal => run.goal.as_deref().map(Cow::Borrowed),
        Root::RunId => text(&run.id),
        Root::Tenant => text(&run.tenant),
        Root::Agent => text(run.header.as_ref().map(|header| header.agent.as_str())?),
    }
}

/// The idempotency key of a step: the same for every attempt (`docs/spec/events.md`).
pub(crate) fn idempotency_key(tenant: &str, run_id: &str, step_id: &str, item: Option<&str>, binding: &str) -> String {
    let mut bytes = Vec::new();
    for part in [tenant, run_id, step_id, item.unwrap_or_default(), binding] {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let hash = tagged("runproof.dev/idempotency/v1", &bytes);
    data_encoding::BASE32_NOPAD.encode(&hash.0).to_lowercase()
}

/// Writes the last event of the run.
pub(super) fn seal(
    draft: &mut Draft,
    status: EndStatus,
    reason: EndReason,
    error: Option<String>,
) -> Result<Next, Refusal> {
    let run = &draft.run;
    let error = error.map(Value::String);
    let (event_count, run_root, step_count) = (run.next_seq, run.frontier.root(), run.steps.len() as u64);
    let totals = Totals {
        attempts: run.sums.attempts,
        cost_microcents: run.sums.cost_microcents,
        duration_us: draft.at.saturating_sub(run.created_at),
        resolved: run.sums.resolved,
        unknown: run.sums.unknown,
    };
    draft.push(|c| {
        let error = c.commit_some("error", error.as_ref())?;
        Ok(RunSealed { error, event_count, reason, run_root, status, step_count, totals })
    })?;
    Ok(Next::Ended(status))
}
