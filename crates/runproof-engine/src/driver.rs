//! The one loop: decide, append, perform. Everything that a run does to the world happens here.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use runproof_proof::event::{Actor, AttemptOutcome, EffectClass, EndStatus, ErrorCategory, Via};
use serde_json::Value;

use crate::decide::{Command, Context, Decision, Next, Outcome, Refusal, decide};
use crate::draft::Line;
use crate::gate::Authorized;
use crate::ports::{Append, Claim, Claimed, Clock, Entropy, Fence, Journal, Observer, Secrets, StoreError};
use crate::projection;
use crate::redact::{self, Scrubber};
use crate::run::{Run, WaitReason};
use crate::skill::{Attempt, AttemptResult, Call, Dispatch, Failure, Probe, Skill, Skills, Write};

/// Delays up to this long are waited for without giving the run back, in microseconds.
const INLINE_DELAY: u64 = 1_000_000;
/// Pause between two probes that have to agree, in microseconds.
const PROBE_PAUSE: u64 = 1_000_000;

/// Everything that the loop needs.
pub struct Driver {
    /// Where runs are kept.
    pub journal: Arc<dyn Journal>,
    /// Skills.
    pub skills: Skills,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Told of every write.
    pub observer: Arc<dyn Observer>,
}

/// Tells a driver that somebody wants its run to be cancelled.
pub trait CancelSignal: Send + Sync {
    /// Who asked, and why, once somebody has.
    fn requested(&self) -> Option<(Actor, Option<String>)>;
    /// Ends when somebody asks.
    fn wait(&self) -> crate::ports::BoxFuture<'_, ()>;
}

/// Where a driven run was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is over.
    Ended(EndStatus),
    /// It goes on at this time, in microseconds.
    Until(u64),
    /// It waits for somebody.
    Waiting(WaitReason),
}

/// Why a run could not be driven on.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine refused: a fault of the engine.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The plan cannot be read any more.
    #[error("run `{0}` has no plan that can be read")]
    NoPlan(String),
}

/// What is written with the next append.
#[derive(Default)]
struct Pending {
    lines: Vec<Line>,
    writes: Vec<Write>,
}

impl Driver {
    /// Drives a claimed run until it is over, waits, or is given back.
    ///
    /// # Errors
    /// [`DriveError`]: the run must be forgotten; whoever claims it next goes on from what is stored.
    pub async fn drive(&self, claimed: Claimed, cancel: &dyn CancelSignal) -> Result<(Run, Left), DriveError> {
        let Claimed { mut run, fence } = claimed;
        let mut stored = run.clone();
        let mut pending = Pending::default();
        let mut command = Command::Claim { worker: fence.owner.clone(), epoch: fence.epoch };
        // The call whose outcome is not durable yet, and when it was made.
        let mut open: Option<(Box<Authorized<Call>>, EffectClass, u64)> = None;
        loop {
            let Decision { lines, run: after, next } = self.step(&mut run, command, &mut pending, cancel)?;
            run = after;
            pending.lines.extend(lines);
            if let Next::Invoke(call, EffectClass::Pure) = &next {
                // Nothing outside this process can see a pure call: its intent and outcome commit together.
                let now = self.clock.now();
                command = Command::Record(self.invoke(call, EffectClass::Pure, now, &mut pending.writes, cancel).await);
                continue;
            }
            if matches!(next, Next::NeedsPlan) {
                return Err(DriveError::NoPlan(run.id));
            }
            let (claim, left) = self.claim_after(&next);
            match (self.commit(&stored, &run, &fence, &mut pending, claim).await, &open) {
                (Err(StoreError::Stale { .. }), Some((call, effect, started))) => {
                    // Nothing of it is on record: the attempt is still open, and is made again with what is stored now.
                    run = stored.clone();
                    let outcome = self.invoke_again(call, *effect, *started, &mut pending.writes, cancel).await;
                    command = Command::Record(outcome);
                    continue;
                }
                (committed, _) => committed?,
            }
            // Certain from here on: the intent is durable. A crash before the outcome is found as an open attempt.
            stored = run.clone();
            open = None;
            if let Some(left) = left {
                return Ok((run, left));
            }
            command = match next {
                Next::Invoke(call, effect) => {
                    let now = self.clock.now();
                    let outcome = self.invoke(&call, effect, now, &mut pending.writes, cancel).await;
                    open = Some((call, effect, now));
                    Command::Record(outcome)
                }
                Next::Recover => Command::Record(self.recover(&run).await),
                Next::Sleep(until) => {
                    let delay = until.saturating_sub(self.clock.now());
                    first(self.clock.sleep(delay), cancel.wait()).await;
                    Command::Advance
                }
                Next::Wait(_) | Next::NeedsPlan | Next::Ended(_) => Command::Advance,
            };
        }
    }

    /// Decides on a command; when somebody wants the run to be cancelled, that goes on record first.
    fn step(
        &self,
        run: &mut Run,
        command: Command,
        pending: &mut Pending,
        cancel: &dyn CancelSignal,
    ) -> Result<Decision, Refusal> {
        if let Some((actor, reason)) = cancel.requested().filter(|_| run.cancel.is_none()) {
            let decision = self.decide(run, Command::Cancel { actor, reason })?;
            if decision.run.seal.is_some() {
                return Ok(decision);
            }
            pending.lines.extend(decision.lines);
            *run = decision.run;
        }
        self.decide(run, command)
    }

    fn decide(&self, run: &Run, command: Command) -> Result<Decision, Refusal> {
        let context = Context { now: self.clock.now(), seed: self.entropy.seed(), facts: &self.skills };
        decide(run, command, &context)
    }

    /// What becomes of the claim, and where the run is left, if it is.
    fn claim_after(&self, next: &Next) -> (Claim, Option<Left>) {
        match next {
            Next::Invoke(..) | Next::Recover | Next::NeedsPlan => (Claim::Keep, None),
            Next::Sleep(until) if until.saturating_sub(self.clock.now()) <= INLINE_DELAY => (Claim::Keep, None),
            Next::Sleep(until) => (Claim::Release(*until), Some(Left::Until(*until))),
            Next::Wait(reason) => (Claim::Park, Some(Left::Waiting(reason.clone()))),
            Next::Ended(status) => (Claim::End, Some(Left::Ended(*status))),
        }
    }

    async fn commit(
        &self,
        before: &Run,
        after: &Run,
        fence: &Fence,
        pending: &mut Pending,
        claim: Claim,
    ) -> Result<(), StoreError> {
        if pending.lines.is_empty() && claim == Claim::Keep {
            return Ok(());
        }
        let Pending { lines, writes } = std::mem::take(pending);
        let append = Append {
            tenant: after.tenant.clone(),
            run_id: after.id.clone(),
            fence: fence.clone(),
            expected_seq: before.next_seq,
            expected_head: before.head,
            rows: projection::changes(before, after),
            lines: lines.clone(),
            writes,
            claim,
        };
        self.journal.append(append).await?;
        self.observer.committed(after, &lines);
        Ok(())
    }

    /// Makes an attempt again whose writes came too late, unless its time is over.
    async fn invoke_again(
        &self,
        call: &Authorized<Call>,
        effect: EffectClass,
        started: u64,
        writes: &mut Vec<Write>,
        cancel: &dyn CancelSignal,
    ) -> Outcome {
        if self.clock.now().saturating_sub(started) < timeout_us(call) {
            return self.invoke(call, effect, started, writes, cancel).await;
        }
        let message = "others wrote the same key until the time of the attempt was over".to_owned();
        let failure = Failure { retryable: true, ..failure("kv.contended", ErrorCategory::Transient, message) };
        self.outcome(AttemptResult::NotDone(failure), 0, Via::Call, started, None)
    }

    /// Calls the skill and cleans what came back: nothing that the world said leaves here with a secret in it. The
    /// attempt started at this time, in microseconds.
    async fn invoke(
        &self,
        call: &Authorized<Call>,
        effect: EffectClass,
        started: u64,
        writes: &mut Vec<Write>,
        cancel: &dyn CancelSignal,
    ) -> Outcome {
        let (dispatch, scrubber) = match self.dispatch(call) {
            Ok(ready) => ready,
            Err(failure) => return self.outcome(AttemptResult::NotDone(failure), 0, Via::Call, started, None),
        };
        let Some(skill) = self.skills.get(&call.get().skill) else {
            let failure =
                failure("skill.not_found", ErrorCategory::NotFound, format!("Skill not found: {}", call.get().skill));
            return self.outcome(AttemptResult::NotDone(failure), 0, Via::Call, started, None);
        };
        let timeout = timeout_us(call);
        let left = started.saturating_add(timeout).saturating_sub(self.clock.now());
        let stop = first(self.clock.sleep(left), cancel.wait());
        let attempt = match either(skill.invoke(&dispatch), stop).await {
            Some(attempt) => attempt,
            None => cut_off(effect, cancel.requested().is_some(), &skill.manifest().cost),
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
    async fn recover(&self, run: &Run) -> Outcome {
        let Some(current) = run.open() else { return Outcome::interrupted() };
        let intent = &current.intent;
        if intent.effect != EffectClass::Probeable {
            return Outcome::interrupted();
        }
        let call = Call {
            tenant: run.tenant.clone(),
            run_id: run.id.clone(),
            step_id: intent.step_id.clone(),
            item: intent.item.clone(),
            attempt: intent.attempt,
            skill: intent.skill.clone(),
            params: current.params.as_deref().cloned().unwrap_or_default(),
            idempotency_key: intent.idempotency_key.clone(),
            timeout: std::time::Duration::from_micros(intent.timeout_us),
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
        let ask = || either(skill.probe(dispatch), self.clock.sleep(timeout));
        match ask().await {
            Some(Probe::NotDone) => {}
            answer => return answer.unwrap_or(Probe::Unknown),
        }
        self.clock.sleep(PROBE_PAUSE).await;
        ask().await.unwrap_or(Probe::Unknown)
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

fn timeout_us(call: &Authorized<Call>) -> u64 {
    u64::try_from(call.get().timeout.as_micros()).unwrap_or(u64::MAX)
}

fn failure(code: &'static str, category: ErrorCategory, message: String) -> Failure {
    Failure { code, category, retryable: false, message, retry_after: None }
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

/// What is known of a call whose future was dropped: it may have reached the receiver.
fn cut_off(effect: EffectClass, cancelled: bool, cost: &crate::skill::CostModel) -> Attempt {
    let (code, message) = if cancelled {
        ("engine.cancelled", "the run was cancelled while the call was under way")
    } else {
        ("engine.timeout", "the attempt took longer than its timeout")
    };
    let category = if cancelled { ErrorCategory::Interrupted } else { ErrorCategory::Timeout };
    let failure = Failure { retryable: true, ..failure(code, category, message.to_owned()) };
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

/// The value of `future`, or `None` when `stop` ends first. A value that is ready wins.
async fn either<T>(future: impl Future<Output = T>, stop: impl Future<Output = ()>) -> Option<T> {
    let (mut future, mut stop) = (pin!(future), pin!(stop));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => stop.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Ends with the first of two.
async fn first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    either(one, other).await;
}
