//! Performs one attempt: fills in secrets, calls the skill, cleans what comes back; or finds out what came of an attempt
//! that another process left open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runproof_proof::event::{AttemptOutcome, EffectClass, ErrorCategory, Via};
use serde_json::Value;

use super::signals::{Signals, cancelled, is_cancelled};
use super::{Driver, Landed, Takeoff, either, first};
use crate::decide::Outcome;
use crate::draft::Intended;
use crate::gate::Authorized;
use crate::redact::{self, Scrubber};
use crate::run::{ActiveCall, CallId, Item};
use crate::skill::{Attempt, AttemptResult, Call, Dispatch, Failure, Probe, Skill, Write};

/// Pause between two probes that have to agree, in microseconds.
const PROBE_PAUSE: u64 = 1_000_000;
/// Pause between two looks at a lease that does not last, in microseconds.
const LEASE_PAUSE: u64 = 250_000;
/// When an attempt that the lease did not allow is made again: long enough for the run to be given back, so that a
/// process with a lease may take it.
const LEASE_RETRY: Duration = Duration::from_secs(2);

impl Driver {
    /// Calls the skill and cleans what came back: nothing that the world said leaves here with a secret in it.
    /// `deadline` is the end of the run's own timeout.
    pub(super) async fn invoke(&self, takeoff: Takeoff, deadline: Option<u64>, signals: &dyn Signals) -> Landed {
        let call = takeoff.intended.call.get();
        let item = Item::parse(call.item.as_deref()).unwrap_or_default();
        let id = CallId { step_id: call.step_id.clone(), item };
        let mut writes = Vec::new();
        let outcome = self.attempt(&takeoff, deadline, &mut writes, signals).await;
        Landed { call: id, outcome, writes, takeoff: Some(takeoff) }
    }

    async fn attempt(
        &self,
        Takeoff { intended: Intended { call, effect }, started, again }: &Takeoff,
        deadline: Option<u64>,
        writes: &mut Vec<Write>,
        signals: &dyn Signals,
    ) -> Outcome {
        let (started, effect, now) = (*started, *effect, self.clock.now());
        let not_done = |failure| self.outcome(AttemptResult::NotDone(failure), 0, Via::Call, started, None);
        let over = deadline.is_some_and(|deadline| deadline <= now);
        if over || is_cancelled(signals) {
            let cut = if over { Cut::RunTimeout } else { Cut::Cancelled };
            return not_done(cut.failure());
        }
        let (dispatch, scrubber) = match self.dispatch(call) {
            Ok(ready) => ready,
            Err(failure) => return not_done(failure),
        };
        let Some(skill) = self.skills.get(&call.get().skill) else {
            let message = format!("Skill not found: {}", call.get().skill);
            return not_done(failure("skill.not_found", ErrorCategory::NotFound, message));
        };
        let timeout = u64::try_from(call.get().timeout.as_micros()).unwrap_or(u64::MAX);
        let left = started.saturating_add(timeout).saturating_sub(now);
        if *again && left == 0 {
            let message = "others wrote the same key until the time of the attempt was over".to_owned();
            return not_done(Failure { retryable: true, ..failure("kv.contended", ErrorCategory::Transient, message) });
        }
        // Nobody outside sees a pure call, and nothing waits between this and any other.
        if effect != EffectClass::Pure && !self.lease.may_begin() {
            return not_done(lease_lapsed());
        }
        let most = deadline.map_or(left, |deadline| left.min(deadline.saturating_sub(now)));
        let stop = first(self.clock.sleep(most), cancelled(signals));
        let attempt = match either(skill.invoke(&dispatch), stop).await {
            Some(attempt) => attempt,
            None if is_cancelled(signals) => cut_off(effect, Cut::Cancelled, &skill.manifest().cost),
            None if most < left => cut_off(effect, Cut::RunTimeout, &skill.manifest().cost),
            None => cut_off(effect, Cut::Timeout, &skill.manifest().cost),
        };
        if effect == EffectClass::Probeable && matches!(attempt.result, AttemptResult::Unknown(_)) {
            let probed = self.probe(skill.as_ref(), &dispatch, timeout).await;
            if probed != Probe::Unknown {
                return self.outcome(
                    probe_result(probed),
                    attempt.cost_microcents,
                    Via::Probe,
                    started,
                    scrubber.as_ref(),
                );
            }
        }
        let outcome = self.outcome(attempt.result, attempt.cost_microcents, Via::Call, started, scrubber.as_ref());
        if outcome.outcome == AttemptOutcome::Done {
            writes.extend(attempt.writes.into_iter().map(|write| clean_write(write, scrubber.as_ref())));
        }
        outcome
    }

    /// Finds out what can be known of an attempt that another process left without an outcome.
    pub(super) async fn recover(&self, tenant: String, run_id: String, call: Arc<ActiveCall>) -> Landed {
        let outcome = self.ask(tenant, run_id, &call).await;
        Landed { call: call.id(), outcome, writes: Vec::new(), takeoff: None }
    }

    async fn ask(&self, tenant: String, run_id: String, open: &ActiveCall) -> Outcome {
        let intent = &open.intent;
        if intent.effect != EffectClass::Probeable {
            return Outcome::interrupted();
        }
        let call = Call {
            tenant,
            run_id,
            step_id: intent.step_id.clone(),
            item: intent.item.clone(),
            attempt: intent.attempt,
            skill: intent.skill.clone(),
            params: open.params.as_deref().cloned().unwrap_or_default(),
            idempotency_key: intent.idempotency_key.clone(),
            timeout: Duration::from_micros(intent.timeout_us),
        };
        let crate::gate::Verdict::Allowed(call, _) = crate::gate::judge(&intent.gate.policy_set, call) else {
            return Outcome::interrupted();
        };
        let started = self.clock.now();
        let (Ok((dispatch, scrubber)), Some(skill)) = (self.dispatch(&call), self.skills.get(&intent.skill)) else {
            return Outcome::interrupted();
        };
        match self.probe(skill.as_ref(), &dispatch, intent.timeout_us).await {
            Probe::Unknown => Outcome::interrupted(),
            Probe::NotDone => {
                let outcome = self.outcome(probe_result(Probe::NotDone), 0, Via::Probe, started, scrubber.as_ref());
                Outcome { category: Some(ErrorCategory::Interrupted), ..outcome }
            }
            probed @ Probe::Done { .. } => {
                self.outcome(probe_result(probed), 0, Via::Probe, started, scrubber.as_ref())
            }
        }
    }

    /// Asks the receiver, within the time of an attempt. A "no" counts only when it is said twice with a pause between:
    /// the receiver may still be at work on what it got.
    async fn probe(&self, skill: &dyn Skill, dispatch: &Dispatch, timeout: u64) -> Probe {
        let ask = || either(self.probe_once(skill, dispatch), self.clock.sleep(timeout));
        match ask().await {
            Some(Probe::NotDone) => {}
            answer => return answer.unwrap_or(Probe::Unknown),
        }
        self.clock.sleep(PROBE_PAUSE).await;
        ask().await.unwrap_or(Probe::Unknown)
    }

    /// Asks once this process may: what came of the call is as unknown as before while it waits.
    async fn probe_once(&self, skill: &dyn Skill, dispatch: &Dispatch) -> Probe {
        while !self.lease.may_begin() {
            self.clock.sleep(LEASE_PAUSE).await;
        }
        skill.probe(dispatch).await
    }

    /// Fills in secrets.
    fn dispatch(&self, call: &Authorized<Call>) -> Result<(Dispatch, Option<Scrubber>), Failure> {
        let names = redact::secret_names(&call.get().params);
        let names = names.map_err(|error| failure("secret.reference", ErrorCategory::Secret, error.to_string()))?;
        if names.is_empty() {
            return Ok((Dispatch::new(call.clone(), call.get().params.clone()), None));
        }
        let mut values = BTreeMap::new();
        for name in names {
            let value = self.secrets.get(&call.get().tenant, &name);
            let missing = || {
                failure(
                    "secret.missing",
                    ErrorCategory::Secret,
                    format!("secret `{name}` is not set where the worker runs"),
                )
            };
            let value = value.ok_or_else(missing)?;
            values.insert(name, value.to_string());
        }
        let scrubber = Scrubber::new(&values)
            .map_err(|error| failure("secret.short", ErrorCategory::Secret, error.to_string()))?;
        let params = redact::fill_secrets(&call.get().params, &values);
        Ok((Dispatch::new(call.clone(), params), Some(scrubber)))
    }

    fn outcome(
        &self,
        result: AttemptResult,
        cost_microcents: u64,
        via: Via,
        started: u64,
        scrubber: Option<&Scrubber>,
    ) -> Outcome {
        let clean = |value: Value| {
            redact::redact(scrubber.map_or_else(|| value.clone(), |scrubber| scrubber.scrub(value.clone())))
        };
        let clean_text = |text: &str| {
            let text = scrubber.map_or_else(|| text.to_owned(), |scrubber| scrubber.scrub_text(text));
            redact::redact_text(&text).into_owned()
        };
        let (outcome, output, failure) = match result {
            AttemptResult::Done { output } => (AttemptOutcome::Done, Some(clean(output)), None),
            AttemptResult::NotDone(failure) => (AttemptOutcome::NotDone, None, Some(failure)),
            AttemptResult::Failed(failure) => (AttemptOutcome::Failed, None, Some(failure)),
            AttemptResult::Unknown(failure) => (AttemptOutcome::Unknown, None, Some(failure)),
        };
        Outcome {
            outcome,
            via,
            output,
            category: failure.as_ref().map(|failure| failure.category),
            code: failure.as_ref().map(|failure| failure.code.to_owned()),
            error: failure.as_ref().map(|failure| clean_text(&failure.message)),
            retryable: failure.as_ref().is_some_and(|failure| failure.retryable),
            retry_after_us: failure
                .as_ref()
                .and_then(|failure| failure.retry_after)
                .map(|wait| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
            cost_microcents,
            duration_us: self.clock.now().saturating_sub(started),
        }
        .recordable()
    }
}

/// A write of a skill without secrets and private values: what is stored is held to the same rules as what is recorded.
fn clean_write(write: Write, scrubber: Option<&Scrubber>) -> Write {
    let clean = |text: &str| scrubber.map_or_else(|| text.to_owned(), |scrubber| scrubber.scrub_text(text));
    match write {
        Write::Put { key, value, expires_at, guard } => {
            let value = match serde_json::from_slice::<Value>(&value) {
                Ok(value) => {
                    redact::redact(scrubber.map_or_else(|| value.clone(), |scrubber| scrubber.scrub(value.clone())))
                }
                Err(_) => Value::String(redact::redact_text(&clean(&String::from_utf8_lossy(&value))).into_owned()),
            };
            Write::Put { key: clean(&key), value: value.to_string().into_bytes(), expires_at, guard }
        }
        Write::Delete { key, guard } => Write::Delete { key: clean(&key), guard },
        Write::DeleteExpired { until } => Write::DeleteExpired { until },
    }
}

fn failure(code: &'static str, category: ErrorCategory, message: String) -> Failure {
    Failure { code, category, retryable: false, message, retry_after: None }
}

/// Why a call was not made: no fault of the call, so it uses up none of its attempts.
fn lease_lapsed() -> Failure {
    let message = "this process may have lost its runs: its lease was not renewed in time".to_owned();
    let failure = failure("engine.lease_lapsed", ErrorCategory::Interrupted, message);
    Failure { retryable: true, retry_after: Some(LEASE_RETRY), ..failure }
}

fn probe_result(probe: Probe) -> AttemptResult {
    match probe {
        Probe::Done { output } => AttemptResult::Done { output },
        Probe::NotDone => AttemptResult::NotDone(Failure {
            retryable: true,
            ..failure(
                "probe.not_done",
                ErrorCategory::Transient,
                "the receiver says that it did not take effect".to_owned(),
            )
        }),
        Probe::Unknown => AttemptResult::Unknown(failure(
            "probe.unknown",
            ErrorCategory::Transient,
            "the receiver cannot say".to_owned(),
        )),
    }
}

/// Why a call was not made, or dropped before it answered.
#[derive(Clone, Copy)]
enum Cut {
    Timeout,
    RunTimeout,
    Cancelled,
}

impl Cut {
    fn failure(self) -> Failure {
        let (code, category, message) = match self {
            Self::Cancelled => ("engine.cancelled", ErrorCategory::Interrupted, "the run was cancelled"),
            Self::RunTimeout => ("engine.run_timeout", ErrorCategory::Timeout, "the run's timeout passed"),
            Self::Timeout => ("engine.timeout", ErrorCategory::Timeout, "the attempt took longer than its timeout"),
        };
        Failure { retryable: true, ..failure(code, category, message.to_owned()) }
    }
}

/// What is known of a call whose future was dropped: it may have reached the receiver.
fn cut_off(effect: EffectClass, cut: Cut, cost: &crate::skill::CostModel) -> Attempt {
    let failure = cut.failure();
    let result = match effect {
        EffectClass::Pure | EffectClass::Read | EffectClass::Transactional => AttemptResult::Failed(failure),
        EffectClass::Idempotent | EffectClass::Probeable | EffectClass::Unsafe => AttemptResult::Unknown(failure),
    };
    let cost_microcents = match cost {
        crate::skill::CostModel::Free => 0,
        crate::skill::CostModel::PerAttempt(cost) | crate::skill::CostModel::Metered(cost) => *cost,
    };
    Attempt { result, cost_microcents, writes: Vec::new() }
}
