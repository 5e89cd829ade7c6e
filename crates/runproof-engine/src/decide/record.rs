//! Records what came of an attempt, and decides what is done about it.

use runproof_proof::canonical;
use runproof_proof::event::{AttemptOutcome, EffectClass, ErrorCategory, EvidenceClass, StepReturned, Then, Via};
use runproof_proof::hash::sha256;
use serde_json::Value;

use super::advance::repeats_safely;
use super::{Refusal, recordable};
use crate::draft::Draft;
use crate::plan::{OnUnknown, Retry};
use crate::run::{ActiveCall, CallId};

/// Most attempts of one step that may be found without an outcome before a person is asked.
const MAX_INTERRUPTIONS: u32 = 20;
/// Largest canonical output of a step.
pub(crate) const MAX_OUTPUT: usize = 1024 * 1024;

/// Longest error text that is recorded, in bytes.
const MAX_ERROR: usize = 64 * 1024;

/// What is known of the open attempt, with secrets and private values already removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What is known about the effect.
    pub outcome: AttemptOutcome,
    /// How it came to be known.
    pub via: Via,
    /// What came back.
    pub output: Option<Value>,
    /// Kind of failure.
    pub category: Option<ErrorCategory>,
    /// Error code.
    pub code: Option<String>,
    /// Text for people.
    pub error: Option<String>,
    /// Whether trying again can help.
    pub retryable: bool,
    /// The receiver's wish how long to wait, in microseconds.
    pub retry_after_us: Option<u64>,
    /// Cost, in microcents.
    pub cost_microcents: u64,
    /// From dispatch to answer, in microseconds.
    pub duration_us: u64,
}

impl Outcome {
    /// An attempt that was found without an outcome.
    pub fn interrupted() -> Self {
        Self {
            outcome: AttemptOutcome::Unknown,
            via: Via::Recovery,
            output: None,
            category: Some(ErrorCategory::Interrupted),
            code: Some("engine.interrupted".to_owned()),
            error: Some("the process ended before the outcome was recorded".to_owned()),
            retryable: true,
            retry_after_us: None,
            cost_microcents: 0,
            duration_us: 0,
        }
    }

    /// Replaces an output that cannot be recorded by a failure that says so: the effect happened, its answer is lost.
    /// Error text is for people: what of it cannot be recorded is replaced or cut.
    pub(crate) fn recordable(mut self) -> Self {
        self.cost_microcents = recordable(self.cost_microcents);
        self.duration_us = recordable(self.duration_us);
        self.retry_after_us = self.retry_after_us.map(recordable);
        if let Some(error) = &mut self.error {
            *error = error.replace('\0', "\u{fffd}");
            error.truncate(error.floor_char_boundary(MAX_ERROR));
        }
        let Some(output) = &self.output else { return self };
        let problem = match canonical::to_bytes(output) {
            Ok(bytes) if bytes.len() <= MAX_OUTPUT => return self,
            Ok(bytes) => format!("the output has {} bytes, at most {MAX_OUTPUT} can be recorded", bytes.len()),
            Err(error) => format!("the output cannot be recorded: {}", error.problem),
        };
        self.output = None;
        self.outcome = AttemptOutcome::Failed;
        self.category = Some(ErrorCategory::Internal);
        self.code = Some("engine.output_unrecordable".to_owned());
        self.error = Some(problem);
        self.retryable = false;
        self
    }
}

pub(crate) fn record(draft: &mut Draft, id: &CallId, outcome: Outcome) -> Result<(), Refusal> {
    let outcome = outcome.recordable();
    let Some(current) = draft.run.open().find(|call| call.is(&id.step_id, id.item)) else {
        return Err(Refusal::NothingOpen { run: draft.run.id.clone(), call: id.to_string() });
    };
    let step = draft.run.plan.as_ref().and_then(|plan| plan.steps.get(current.intent.plan_index as usize));
    let retry = step.map(|step| step.retry).unwrap_or_default();
    let on_unknown = step.map_or(OnUnknown::Hold, |step| step.on_unknown);
    let (then, retry_at) = follow(current, &outcome, retry, on_unknown, draft.at);
    let (attempt, item, step_id) =
        (current.intent.attempt, current.intent.item.clone(), current.intent.step_id.clone());
    let error = outcome.error.map(Value::String);
    draft.push(|c| {
        Ok(StepReturned {
            attempt,
            category: outcome.category,
            code: outcome.code,
            cost_microcents: outcome.cost_microcents,
            duration_us: outcome.duration_us,
            error: c.commit_some("error", error.as_ref())?,
            evidence: EvidenceClass::Executed,
            item,
            output: c.commit_some("output", outcome.output.as_ref())?,
            outcome: outcome.outcome,
            retry_after_us: outcome.retry_after_us,
            retry_at,
            retryable: outcome.retryable,
            step_id,
            then,
            via: outcome.via,
        })
    })?;
    Ok(())
}

/// What is done about an outcome.
fn follow(
    current: &ActiveCall,
    outcome: &Outcome,
    retry: Retry,
    on_unknown: OnUnknown,
    at: u64,
) -> (Then, Option<u64>) {
    let failures = current.failures + 1;
    let later = || {
        let at = at.saturating_add(delay_us(&current.intent.idempotency_key, failures, retry, outcome.retry_after_us));
        (Then::Retry, Some(recordable(at)))
    };
    let attempts_left = failures < retry.max_attempts;
    let interrupted = outcome.category == Some(ErrorCategory::Interrupted);
    match outcome.outcome {
        AttemptOutcome::Done => (Then::Settle, None),
        // The process failed and not the call: another attempt as soon as may be, and none is used up.
        AttemptOutcome::NotDone if interrupted && current.interruptions < MAX_INTERRUPTIONS => {
            (Then::Retry, Some(recordable(at.saturating_add(outcome.retry_after_us.unwrap_or(0)))))
        }
        AttemptOutcome::NotDone | AttemptOutcome::Failed if outcome.retryable && attempts_left => later(),
        AttemptOutcome::NotDone | AttemptOutcome::Failed => (Then::Settle, None),
        AttemptOutcome::Unknown => {
            let repeat = repeats_safely(current.effect()) || current.effect() == EffectClass::Idempotent;
            let repeat = repeat || on_unknown == OnUnknown::Retry;
            match (repeat, interrupted) {
                (true, true) if current.interruptions < MAX_INTERRUPTIONS => (Then::Retry, Some(at)),
                (true, false) if attempts_left => later(),
                _ if repeats_safely(current.effect()) => (Then::Settle, None),
                _ if matches!(on_unknown, OnUnknown::AssumeDone | OnUnknown::Fail) => (Then::Settle, None),
                _ => (Then::Hold, None),
            }
        }
    }
}

/// Delay before the next attempt: doubles from the initial one up to the longest, of which at least half. The jitter is
/// the hash of key and count, so that a verifier gets the same number.
fn delay_us(key: &str, failures: u32, retry: Retry, retry_after_us: Option<u64>) -> u64 {
    let doubled = retry.initial_delay_ms.saturating_mul(1u64 << failures.saturating_sub(1).min(32));
    let full = doubled.min(retry.max_delay_ms).saturating_mul(1000);
    let hash = sha256(format!("{key}:{failures}").as_bytes());
    let jitter = u64::from_be_bytes(hash.0[..8].try_into().unwrap_or_default()) % (full / 2 + 1);
    (full - jitter).max(retry_after_us.unwrap_or(0))
}
