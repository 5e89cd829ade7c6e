//! `Run = fold(events)`: what a run is, from nothing but its events.
//!
//! [`Run::apply`] is total: any event in any order gives a new state or a typed refusal. Values of the world are kept
//! when the payload shows them, and are never needed to know where the run stands.

mod apply;
mod call;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runproof_proof::event::{Actor, EndStatus, RunCreated, RunSealed};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Frontier;
use serde_json::Value;

use crate::plan::{Plan, Prepared};

pub use call::{ActiveCall, CallId, Expansion, Item, Progress, Settled};

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
    /// A plan that whoever decides has read already, by its digest.
    offered: Option<(Hash, Arc<Plan>)>,
    /// Digest of the plan.
    pub plan_digest: Option<Hash>,
    /// Claims so far.
    pub epoch: u64,
    /// When it was first claimed.
    pub started_at: Option<u64>,
    /// Values of the plan's inputs, if there are any and they are shown.
    pub inputs: Option<Arc<Value>>,
    /// Calls under way, in the order of the plan. Shared, because every decision works on a copy of the run.
    pub active: Vec<Arc<ActiveCall>>,
    /// How far the steps are, by place in the plan; a step of which nothing has settled is absent.
    pub progress: BTreeMap<u32, Arc<Progress>>,
    /// Calls that settled, in order.
    pub steps: Vec<Arc<Settled>>,
    /// Places in `steps` of those that failed.
    pub failures: Vec<usize>,
    /// Who paused it, if it is, and since when.
    pub paused: Option<(Actor, u64)>,
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
    /// Bytes of its lines so far, as a bundle holds them. Counted by whoever has the lines, not by the fold.
    pub bytes: u64,
    /// Conditions that were found true.
    pub(crate) holding: Holding,
}

/// Places of steps that are ready and whose condition was found true: all that it names is done, so it stays true, and
/// is not evaluated again for each decision while no place is free. Not part of what a run is.
#[derive(Clone, Default)]
pub(crate) struct Holding(BTreeSet<usize>);

impl Holding {
    pub(crate) fn knows(&self, index: usize) -> bool {
        self.0.contains(&index)
    }

    pub(crate) fn note(&mut self, index: usize) {
        self.0.insert(index);
    }
}

impl std::fmt::Debug for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holding")
    }
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
    /// A person has to say what came of this call.
    Resolution(CallId),
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
            offered: None,
            plan_digest: None,
            epoch: 0,
            started_at: None,
            inputs: None,
            active: Vec::new(),
            progress: BTreeMap::new(),
            steps: Vec::new(),
            failures: Vec::new(),
            paused: None,
            cancel: None,
            seal: None,
            error: None,
            next_seq: 0,
            head: Hash::ZERO,
            last_at: 0,
            frontier: Frontier::default(),
            sums: Sums::default(),
            bytes: 0,
            holding: Holding::default(),
        }
    }

    /// Counts the lines of an event that was applied: its own, and that of its payload.
    pub fn count(&mut self, event: usize, payload: Option<usize>) {
        let lines = event + 1 + payload.map_or(0, |payload| payload + 1);
        self.bytes = self.bytes.saturating_add(lines as u64);
    }

    /// Spares the next `run.planned` from reading a plan that was read before.
    pub(crate) fn offer(&mut self, plan: &Prepared) {
        self.offered = Some((plan.digest, Arc::clone(&plan.plan)));
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

    /// Why the run does not move, with the time since when. While an attempt is under way, it moves.
    pub fn wait_since(&self) -> Option<(WaitReason, u64)> {
        if self.seal.is_some() || self.open().next().is_some() {
            return None;
        }
        if let Some((_, since)) = &self.paused {
            return Some((WaitReason::Paused, *since));
        }
        let retry = self.active.iter().filter_map(|call| Some((call.retry_at()?, call.returned_at))).min();
        if let Some((at, since)) = retry {
            return Some((WaitReason::RetryAt(at), since));
        }
        let held = self.active.iter().find(|call| call.is_held())?;
        Some((WaitReason::Resolution(held.id()), held.returned_at))
    }

    fn wait(&self) -> Option<WaitReason> {
        self.wait_since().map(|(reason, _)| reason)
    }

    /// When the run's own timeout passes, in microseconds.
    pub fn deadline(&self) -> Option<u64> {
        let timeout = self.plan.as_ref()?.timeout_ms?.saturating_mul(1000);
        Some(crate::decide::recordable(self.started_at?.saturating_add(timeout)))
    }

    /// The attempts that have an intent and no outcome, in the order of the plan.
    pub fn open(&self) -> impl Iterator<Item = &Arc<ActiveCall>> {
        self.active.iter().filter(|call| call.is_open())
    }

    /// The output of a step, once it has one that is shown.
    pub fn output(&self, step_id: &str) -> Option<&Value> {
        let index = self.plan.as_ref()?.steps.iter().position(|step| step.id == step_id)?;
        self.progress.get(&u32::try_from(index).ok()?)?.output.as_deref()
    }

    /// The call of that name that is held for a person.
    pub fn held(&self, id: &CallId) -> Option<&ActiveCall> {
        self.active.iter().map(Arc::as_ref).find(|call| call.is_held() && call.is(&id.step_id, id.item))
    }
}

/// A sum that stays within what an event can hold.
fn sum(one: u64, other: u64) -> u64 {
    crate::decide::recordable(one.saturating_add(other))
}
