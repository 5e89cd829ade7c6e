//! Goes on as far as it can without the world: the moves of `docs/spec/plan.md`, "What happens next".

use runproof_proof::event::{
    AttemptOutcome, EffectClass, EndReason, EndStatus, ErrorCategory, Resolution, RunSealed, StepSettled, StepStatus,
    Then, Totals,
};
use serde_json::Value;

use super::begin::{self, Start};
use super::progress;
use super::{Facts, Next, Refusal};
use crate::draft::Draft;
use crate::gate;
use crate::plan::{OnUnknown, Plan};
use crate::run::{ActiveCall, CallId, WaitReason};

/// Category of a step that did what it should.
const EXECUTION: &str = "execution";
/// A run with this many events is ended, so that it never exceeds the 100,000 of the specification.
const MAX_EVENTS: u64 = 99_000;
/// A run whose lines have this many bytes is ended, so that its bundle never exceeds the 256 MiB of the specification:
/// 64 calls under way may still have a megabyte each to say.
const MAX_BYTES: u64 = 160 * 1024 * 1024;

/// Why a run is to end before its plan is through.
enum End {
    Cancelled,
    Halted(String),
    TimedOut,
    Broken(String),
    TooLong,
}

pub(super) fn advance(draft: &mut Draft, facts: &dyn Facts) -> Result<Next, Refusal> {
    loop {
        if let Some(next) = advance_once(draft, facts)? {
            return Ok(next);
        }
    }
}

/// One move: writes the events of one decision and answers nothing, or says what has to happen first.
pub(crate) fn advance_once(draft: &mut Draft, facts: &dyn Facts) -> Result<Option<Next>, Refusal> {
    if let Some((seal, _)) = &draft.run.seal {
        return Ok(Some(Next::Ended(seal.status)));
    }
    let Some(plan) = draft.run.plan.clone() else {
        if draft.run.cancel.is_some() {
            return end(draft, End::Cancelled);
        }
        return Ok(Some(Next::NeedsPlan));
    };
    if let Some(why) = ending(draft, &plan) {
        return end(draft, why);
    }
    if settle_one(draft, &plan)? {
        return Ok(None);
    }
    if draft.run.paused.is_none() {
        let due = draft.run.active.iter().find(|call| call.retry_at().is_some_and(|due| due <= draft.at)).cloned();
        if let Some(call) = due {
            begin::attempt(draft, &plan, &Start::again(&call), facts)?;
            return Ok(None);
        }
        if begin::step(draft, &plan, facts)? {
            return Ok(None);
        }
    }
    if (0..plan.steps.len()).all(|index| progress::status(&draft.run, &plan, index).is_some()) {
        return seal(draft, EndStatus::Succeeded, EndReason::PlanCompleted, None).map(Some);
    }
    waits(draft).map(Some)
}

/// What a run waits for that has nothing to decide.
fn waits(draft: &Draft) -> Result<Next, Refusal> {
    let run = &draft.run;
    let deadline = run.deadline().filter(|deadline| *deadline > draft.at);
    let retry = run.active.iter().filter_map(|call| call.retry_at()).min().filter(|_| run.paused.is_none());
    let wake = [deadline, retry].into_iter().flatten().min();
    if run.open().next().is_some() {
        return Ok(Next::Open(wake));
    }
    match (run.wait_since(), wake) {
        (Some((WaitReason::RetryAt(_), _)), Some(at)) => Ok(Next::Sleep(at)),
        (Some((reason, _)), _) => Ok(Next::Wait(reason, deadline)),
        (None, _) => Err(Refusal::Stuck(run.id.clone())),
    }
}

/// Whether the run is to end, and why. The first reason counts.
fn ending(draft: &Draft, plan: &Plan) -> Option<End> {
    let run = &draft.run;
    if run.cancel.is_some() {
        return Some(End::Cancelled);
    }
    if let Some(header) = run.header.as_ref().filter(|header| !gate::knows(&header.policy_set)) {
        return Some(End::Halted(format!("policy set `{}` cannot be evaluated by this version", header.policy_set)));
    }
    if run.deadline().is_some_and(|deadline| draft.at >= deadline) {
        return Some(End::TimedOut);
    }
    let broken = run.failures.iter().map(|place| &run.steps[*place]).find(|failed| progress::breaks(plan, failed));
    if let Some(failed) = broken {
        let step = &failed.step;
        let (call, code) = (CallId { step_id: step.step_id.clone(), item: failed.item }, step.code.as_deref());
        return Some(End::Broken(format!("step `{call}` ({}) failed: {}", step.skill, code.unwrap_or(&step.category))));
    }
    (run.next_seq >= MAX_EVENTS || run.bytes >= MAX_BYTES).then_some(End::TooLong)
}

/// Brings a run to its end: nothing is begun, what is under way is waited for, the rest settles.
fn end(draft: &mut Draft, why: End) -> Result<Option<Next>, Refusal> {
    let broken = matches!(why, End::Broken(_));
    let ready = |call: &ActiveCall| !(call.is_open() || broken && call.is_held());
    if let Some(call) = draft.run.active.iter().find(|call| ready(call)).cloned() {
        let unknown = call.outcome() == Some(AttemptOutcome::Unknown) && call.resolution.is_none();
        let unsafe_to_say = unknown && !repeats_safely(call.effect());
        let status = if unsafe_to_say { StepStatus::Unknown } else { settled_status(&call, None) };
        settle(draft, &call, status)?;
        return Ok(None);
    }
    if !draft.run.active.is_empty() {
        return waits(draft).map(Some);
    }
    let (status, reason, error) = match why {
        End::Cancelled => (EndStatus::Cancelled, EndReason::CancelRequested, None),
        End::Halted(error) => (EndStatus::Halted, EndReason::GateFailed, Some(error)),
        End::TimedOut => (EndStatus::Failed, EndReason::RunTimeout, Some("the run's timeout passed".to_owned())),
        End::Broken(error) => (EndStatus::Failed, EndReason::StepFailed, Some(error)),
        End::TooLong => (
            EndStatus::Failed,
            EndReason::LimitReached,
            Some(format!("the run has {MAX_EVENTS} events or {MAX_BYTES} bytes")),
        ),
    };
    seal(draft, status, reason, error).map(Some)
}

/// Settles the first call that is to settle, or the first list whose elements all have.
fn settle_one(draft: &mut Draft, plan: &Plan) -> Result<bool, Refusal> {
    let to_settle = |call: &ActiveCall| match call.returned.as_ref().map(|returned| returned.then) {
        Some(Then::Settle) => true,
        Some(Then::Hold) => call.resolution.is_some(),
        Some(Then::Retry) | None => false,
    };
    let call = draft.run.active.iter().find(|call| to_settle(call)).cloned();
    let list = draft.run.progress.keys().find_map(|index| progress::completed_list(&draft.run, plan, *index));
    match (call, list) {
        (Some(call), list) if list.as_ref().is_none_or(|list| call.intent.plan_index <= list.plan_index) => {
            let on_unknown = plan.steps.get(call.intent.plan_index as usize).map(|step| step.on_unknown);
            settle(draft, &call, settled_status(&call, on_unknown))?;
            Ok(true)
        }
        (_, Some(mut body)) => {
            body.step_index = draft.run.steps.len() as u64;
            draft.push(|_| Ok(body))?;
            Ok(true)
        }
        (_, None) => Ok(false),
    }
}

/// How a call ends, from its last outcome, the plan and what a person said.
fn settled_status(call: &ActiveCall, on_unknown: Option<OnUnknown>) -> StepStatus {
    match (call.outcome(), call.resolution) {
        (Some(AttemptOutcome::Done), _) | (_, Some(Resolution::Done)) => StepStatus::Success,
        (Some(AttemptOutcome::Failed | AttemptOutcome::NotDone), _) | (_, Some(Resolution::NotDone)) => {
            StepStatus::Failure
        }
        (Some(AttemptOutcome::Unknown), None) if on_unknown == Some(OnUnknown::AssumeDone) => StepStatus::Success,
        (Some(AttemptOutcome::Unknown), None) => StepStatus::Failure,
        (None, None) => StepStatus::Unknown,
    }
}

/// Writes the call's final word.
pub(super) fn settle(draft: &mut Draft, call: &ActiveCall, status: StepStatus) -> Result<(), Refusal> {
    let returned = call.returned.as_ref();
    let category = match (status, call.resolution) {
        (_, Some(_)) => ErrorCategory::Resolved.word(),
        (StepStatus::Success, None) => EXECUTION,
        (StepStatus::Failure | StepStatus::Skipped | StepStatus::Unknown, None) => {
            returned.and_then(|returned| returned.category).unwrap_or(ErrorCategory::Internal).word()
        }
    };
    let intent = &call.intent;
    let body = StepSettled {
        attempts: intent.attempt,
        category: category.to_owned(),
        code: returned.and_then(|returned| returned.code.clone()),
        cost_microcents: call.cost_microcents,
        duration_us: call.duration_us,
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

/// Whether doing it again is harmless, so that not knowing is no loss.
pub(super) fn repeats_safely(effect: EffectClass) -> bool {
    match effect {
        EffectClass::Pure | EffectClass::Read | EffectClass::Transactional => true,
        EffectClass::Idempotent | EffectClass::Probeable | EffectClass::Unsafe => false,
    }
}

/// Writes the last event of the run.
pub(crate) fn seal(
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
