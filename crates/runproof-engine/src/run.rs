//! `Run = fold(events)`: what a run is, from nothing but its events.
//!
//! [`Run::apply`] is total: any event in any order gives a new state or a typed refusal. Values of the world are kept
//! when the payload shows them, and are never needed to know where the run stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use runproof_proof::event::{
    Actor, AttemptOutcome, Body, EffectClass, EndStatus, ErrorCategory, Event, Resolution, RunCreated, RunSealed,
    StepIntended, StepReturned, StepSettled, StepStatus, Stream, Then,
};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Frontier;
use serde_json::Value;

use crate::plan::{self, Plan};

/// Values of one event, by field.
pub type Values = BTreeMap<String, Value>;

/// A run, as its events tell it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Run id.
    pub id: String,
    /// Tenant.
    pub tenant: String,
    /// Origin of the log.
    pub log: String,
    /// Header.
    pub header: Option<Arc<RunCreated>>,
    /// When it was created, in microseconds.
    pub created_at: u64,
    /// What it is for, if shown.
    pub goal: Option<Arc<Value>>,
    /// Plan as JSON, if shown.
    pub plan_json: Option<Arc<Value>>,
    /// Plan, if shown and valid.
    pub plan: Option<Arc<Plan>>,
    /// Digest of the plan.
    pub plan_digest: Option<Hash>,
    /// Claims so far.
    pub epoch: u64,
    /// When it was first claimed.
    pub started_at: Option<u64>,
    /// Step that is being worked on.
    pub current: Option<Current>,
    /// Steps that settled. Shared, because every decision works on a copy of the run.
    pub steps: Vec<Arc<Settled>>,
    /// Outputs of steps that succeeded, by step id. Shared for the same reason.
    pub outputs: Arc<BTreeMap<String, Arc<Value>>>,
    /// Whether an operator paused it, and since when.
    pub paused_at: Option<u64>,
    /// Who asked for it to be cancelled.
    pub cancel: Option<Actor>,
    /// The seal and when it was set.
    pub seal: Option<(RunSealed, u64)>,
    /// Text for people, of a run that did not succeed.
    pub error: Option<Arc<Value>>,
    /// Seq of the next event.
    pub next_seq: u64,
    /// Leaf hash of the last event.
    pub head: Hash,
    /// Time of the last event.
    pub last_at: u64,
    /// Tree over the events.
    pub frontier: Frontier,
    /// Sums so far.
    pub sums: Sums,
}

/// Sums over a run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Intents.
    pub attempts: u64,
    /// Cost of all attempts, in microcents.
    pub cost_microcents: u64,
    /// Attempts that a person resolved.
    pub resolved: u64,
    /// Steps that ended unknown.
    pub unknown: u64,
}

/// The step that is being worked on.
#[derive(Clone, Debug)]
pub struct Current {
    /// The last intent.
    pub intent: StepIntended,
    /// When the intent was recorded.
    pub intended_at: u64,
    /// Its parameters, if shown.
    pub params: Option<Arc<Value>>,
    /// The last outcome; `None` while the attempt is open.
    pub returned: Option<StepReturned>,
    /// When the outcome was recorded.
    pub returned_at: u64,
    /// The last output, if shown.
    pub output: Option<Arc<Value>>,
    /// What a person said.
    pub resolution: Option<Resolution>,
    /// Outcomes that count against `max_attempts`.
    pub failures: u32,
    /// Attempts that were found without an outcome.
    pub interruptions: u32,
    /// Cost of all attempts, in microcents.
    pub cost_microcents: u64,
    /// Time of all attempts, in microseconds.
    pub duration_us: u64,
}

/// A step that settled.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The event.
    pub step: StepSettled,
    /// When.
    pub at: u64,
    /// Version of the skill, if there was an attempt.
    pub skill_version: Option<String>,
    /// Idempotency key, if there was an attempt.
    pub idempotency_key: Option<String>,
    /// Text for people, if shown.
    pub error: Option<Arc<Value>>,
}

/// Where a run stands: the vocabulary of `runs.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// Nobody works on it yet.
    Queued,
    /// A worker has it.
    Running,
    /// Waiting for the time of the next attempt.
    Retry,
    /// Waiting for an approval.
    PendingApproval,
    /// Waiting for somebody, see [`WaitReason`].
    Waiting,
    /// Over.
    Ended(EndStatus),
}

impl RunStatus {
    /// The word in `runs.status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retry => "retry",
            Self::PendingApproval => "pending_approval",
            Self::Waiting => "waiting",
            Self::Ended(end) => end.word(),
        }
    }
}

/// Why a run does not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// The next attempt is due at this time.
    RetryAt(u64),
    /// A person has to say what came of this step.
    Resolution(String),
    /// An operator paused it.
    Paused,
}

/// Why an event cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Another stream, tenant, or position.
    #[error("event {seq} of `{stream}` does not follow run `{run}` at {next_seq}")]
    Identity {
        /// Run.
        run: String,
        /// Stream of the event.
        stream: String,
        /// Seq of the event.
        seq: u64,
        /// Seq that would follow.
        next_seq: u64,
    },
    /// The kind cannot stand here.
    #[error("`{kind}` cannot follow at {seq}: {problem}")]
    Order {
        /// Kind.
        kind: &'static str,
        /// Seq.
        seq: u64,
        /// Why not.
        problem: &'static str,
    },
}

impl Run {
    /// A run of which nothing has happened.
    pub fn new(log: &str, tenant: &str, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            log: log.to_owned(),
            header: None,
            created_at: 0,
            goal: None,
            plan_json: None,
            plan: None,
            plan_digest: None,
            epoch: 0,
            started_at: None,
            current: None,
            steps: Vec::new(),
            outputs: Arc::default(),
            paused_at: None,
            cancel: None,
            seal: None,
            error: None,
            next_seq: 0,
            head: Hash::ZERO,
            last_at: 0,
            frontier: Frontier::default(),
            sums: Sums::default(),
        }
    }

    /// Where the run stands.
    pub fn status(&self) -> RunStatus {
        if let Some((seal, _)) = &self.seal {
            return RunStatus::Ended(seal.status);
        }
        match self.wait() {
            Some(WaitReason::RetryAt(_)) => RunStatus::Retry,
            Some(WaitReason::Resolution(_) | WaitReason::Paused) => RunStatus::Waiting,
            None if self.epoch == 0 => RunStatus::Queued,
            None => RunStatus::Running,
        }
    }

    /// Why the run does not move, with the time since when.
    pub fn wait_since(&self) -> Option<(WaitReason, u64)> {
        let reason = self.wait()?;
        let since = match reason {
            WaitReason::Paused => self.paused_at.unwrap_or_default(),
            WaitReason::RetryAt(_) | WaitReason::Resolution(_) => {
                self.current.as_ref().map_or(self.last_at, |current| current.returned_at)
            }
        };
        Some((reason, since))
    }

    fn wait(&self) -> Option<WaitReason> {
        if self.seal.is_some() {
            return None;
        }
        let current = self.current.as_ref();
        let returned = current.and_then(|current| current.returned.as_ref());
        if self.paused_at.is_some() && returned.is_some() == current.is_some() {
            return Some(WaitReason::Paused);
        }
        let (current, returned) = (current?, returned?);
        match returned.then {
            Then::Retry => Some(WaitReason::RetryAt(returned.retry_at.unwrap_or(self.last_at))),
            Then::Hold if current.resolution.is_none() => Some(WaitReason::Resolution(current.intent.step_id.clone())),
            Then::Hold | Then::Settle => None,
        }
    }

    /// The attempt that has an intent and no outcome.
    pub fn open(&self) -> Option<&Current> {
        self.current.as_ref().filter(|current| current.returned.is_none())
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// [`FoldError`] when the event cannot follow; the run is unchanged.
    pub fn apply(&mut self, event: &Event, leaf: Hash, values: &Values) -> Result<(), FoldError> {
        self.check_identity(event)?;
        self.check_order(event)?;
        let value = |field: &str| values.get(field).cloned().map(Arc::new);
        #[expect(clippy::wildcard_enum_match_arm, reason = "later versions record what does not move the run")]
        match &event.body {
            Body::RunCreated(body) => {
                self.header = Some(Arc::new((**body).clone()));
                self.created_at = event.at;
                self.goal = value("goal");
            }
            Body::RunPlanned(body) => {
                self.plan_json = value("plan");
                self.plan = self.plan_json.as_ref().and_then(|json| plan::parse(json).ok()).map(Arc::new);
                self.plan_digest = Some(body.plan_digest);
            }
            Body::RunClaimed(body) => {
                self.epoch = body.epoch;
                self.started_at.get_or_insert(event.at);
            }
            Body::RunPaused(_) => self.paused_at = Some(event.at),
            Body::RunResumed(_) => self.paused_at = None,
            Body::RunCancelRequested(body) => self.cancel = Some(body.actor.clone()),
            Body::StepIntended(body) => self.intend(body, event.at, value("params")),
            Body::StepReturned(body) => self.record(body, event.at, value("output"), value("error")),
            Body::StepResolved(body) => {
                self.sums.resolved += 1;
                if let Some(current) = &mut self.current {
                    current.resolution = Some(body.resolution);
                }
            }
            Body::StepSettled(body) => self.settle(body, event.at, value("error")),
            Body::RunSealed(body) => {
                self.seal = Some(((**body).clone(), event.at));
                self.error = value("error");
            }
            _ => {}
        }
        self.next_seq += 1;
        self.head = leaf;
        self.last_at = event.at;
        self.frontier.push(leaf);
        Ok(())
    }

    fn check_identity(&self, event: &Event) -> Result<(), FoldError> {
        let ours = event.stream == Stream::Run(self.id.clone())
            && event.tenant.as_deref() == Some(self.tenant.as_str())
            && event.seq == self.next_seq
            && event.prev == self.head
            && event.at >= self.last_at;
        if ours {
            return Ok(());
        }
        Err(FoldError::Identity {
            run: self.id.clone(),
            stream: event.stream.name(),
            seq: event.seq,
            next_seq: self.next_seq,
        })
    }

    /// What may follow what. Everything that is not refused here leaves a state that makes sense.
    fn check_order(&self, event: &Event) -> Result<(), FoldError> {
        let refuse = |problem| Err(FoldError::Order { kind: event.body.kind(), seq: event.seq, problem });
        if self.seal.is_some() {
            return refuse("the run is sealed");
        }
        if self.header.is_some() == matches!(event.body, Body::RunCreated(_)) {
            return refuse("a run is created once, first");
        }
        let current = self.current.as_ref();
        #[expect(clippy::wildcard_enum_match_arm, reason = "what is not refused may follow anywhere in a run")]
        match &event.body {
            Body::RunPlanned(_) if self.plan_digest.is_some() => refuse("the run has a plan"),
            Body::RunClaimed(body) if body.epoch <= self.epoch => refuse("the claim is older than the last one"),
            Body::RunPaused(_) if self.paused_at.is_some() => refuse("the run is paused"),
            Body::RunResumed(_) if self.paused_at.is_none() => refuse("the run is not paused"),
            Body::RunCancelRequested(_) if self.cancel.is_some() => refuse("the run is being cancelled"),
            Body::StepIntended(body) => match current {
                _ if self.plan_digest.is_none() => refuse("the run has no plan"),
                None if body.attempt == 1 => Ok(()),
                None => refuse("the first attempt has number 1"),
                Some(current) if current.returned.is_none() => refuse("an attempt is open"),
                Some(current) if current.is(&body.step_id, body.item.as_deref(), body.attempt.wrapping_sub(1)) => {
                    Ok(())
                }
                Some(_) => refuse("another step is being worked on"),
            },
            Body::StepReturned(body) => match current {
                Some(current)
                    if current.returned.is_none() && current.is(&body.step_id, body.item.as_deref(), body.attempt) =>
                {
                    Ok(())
                }
                Some(_) | None => refuse("no such attempt is open"),
            },
            Body::StepResolved(body) => match current {
                Some(current)
                    if current.resolution.is_none()
                        && current.outcome() == Some(AttemptOutcome::Unknown)
                        && current.is(&body.step_id, body.item.as_deref(), body.attempt) =>
                {
                    Ok(())
                }
                Some(_) | None => refuse("no such attempt is unknown"),
            },
            Body::StepSettled(body) => match current {
                None if body.attempts == 0 => Ok(()),
                Some(current)
                    if current.returned.is_some() && current.is(&body.step_id, body.item.as_deref(), body.attempts) =>
                {
                    Ok(())
                }
                Some(_) | None => refuse("the step cannot settle"),
            },
            Body::RunSealed(_) if current.is_some() => refuse("a step is not settled"),
            body if body.kind().starts_with("tenant.") || body.kind().starts_with("log.") => {
                refuse("not an event of a run")
            }
            _ => Ok(()),
        }
    }

    fn intend(&mut self, body: &StepIntended, at: u64, params: Option<Arc<Value>>) {
        self.sums.attempts += 1;
        match &mut self.current {
            Some(current) => {
                current.intent = body.clone();
                current.intended_at = at;
                current.params = params;
                current.returned = None;
                current.resolution = None;
            }
            None => {
                self.current = Some(Current {
                    intent: body.clone(),
                    intended_at: at,
                    params,
                    returned: None,
                    returned_at: at,
                    output: None,
                    resolution: None,
                    failures: 0,
                    interruptions: 0,
                    cost_microcents: 0,
                    duration_us: 0,
                });
            }
        }
    }

    fn record(&mut self, body: &StepReturned, at: u64, output: Option<Arc<Value>>, error: Option<Arc<Value>>) {
        self.sums.cost_microcents = sum(self.sums.cost_microcents, body.cost_microcents);
        self.error = error.or(self.error.take());
        let Some(current) = &mut self.current else { return };
        current.cost_microcents = sum(current.cost_microcents, body.cost_microcents);
        current.duration_us = sum(current.duration_us, body.duration_us);
        match (body.outcome, body.category) {
            (AttemptOutcome::Done, _) => {}
            (_, Some(ErrorCategory::Interrupted)) => current.interruptions += 1,
            (_, _) => current.failures += 1,
        }
        current.returned = Some(body.clone());
        current.returned_at = at;
        current.output = output;
    }

    fn settle(&mut self, body: &StepSettled, at: u64, error: Option<Arc<Value>>) {
        let current = self.current.take();
        if body.status == StepStatus::Unknown {
            self.sums.unknown += 1;
        }
        if body.status == StepStatus::Success {
            let output = current.as_ref().and_then(|current| current.output.clone());
            Arc::make_mut(&mut self.outputs).insert(body.step_id.clone(), output.unwrap_or_default());
        }
        self.error = error.clone().or(self.error.take());
        self.steps.push(Arc::new(Settled {
            step: body.clone(),
            at,
            skill_version: current.as_ref().map(|current| current.intent.skill_version.clone()),
            idempotency_key: current.map(|current| current.intent.idempotency_key),
            error,
        }));
    }
}

/// A sum that stays within what an event can hold.
fn sum(one: u64, other: u64) -> u64 {
    crate::decide::recordable(one.saturating_add(other))
}

impl Current {
    fn is(&self, step_id: &str, item: Option<&str>, attempt: u32) -> bool {
        self.intent.step_id == step_id && self.intent.item.as_deref() == item && self.intent.attempt == attempt
    }

    /// Outcome of the last attempt.
    pub fn outcome(&self) -> Option<AttemptOutcome> {
        self.returned.as_ref().map(|returned| returned.outcome)
    }

    /// Effect class of the last attempt.
    pub fn effect(&self) -> EffectClass {
        self.intent.effect
    }
}
