//! Where journals, projections, queues and the ledger are kept.
//!
//! Each store is native; they share the contract below and a conformance suite, not query code. Nothing here decides
//! what a run does: it stores what the engine decided, atomically, and reads it back.

pub mod faults;
pub mod memory;
pub mod migrate;
pub mod postgres;
pub mod retention;
mod snapshot;
pub mod sqlite;
mod store;
mod tree;
mod turns;

use std::collections::BTreeMap;

use runproof_engine::admission::StreamHead;
use runproof_engine::audit::RawRow;
use runproof_engine::ports::{Claimed, Fence, StoreError};
use runproof_engine::run::Run;
use runproof_proof::checkpoint::Checkpoint;
use runproof_proof::event::{Actor, Body, Event};
use runproof_proof::note::NoteSigner;
use runproof_proof::payload::{Payload, PayloadLine};
use serde::{Deserialize, Serialize};

pub use retention::{ArchiveRow, HoldRow, KeptRun, Leaves, NewArchive, Retention, TombstoneRow};
pub use snapshot::{CheckpointRow, EachRun, EachTransition, RunStream, Snapshot, StoredTile};
pub use store::{LeaseTerms, LimitRow, Reaped, Request, Store, WorkerAbout, WorkerRow};
pub use tree::Tree;

/// A run that was opened, or found again by its idempotency key.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The run as stored.
    pub run: Run,
    /// The claim, when it was opened for somebody and is not over.
    pub fence: Option<Fence>,
    /// It existed before: the idempotency key was used for the same request.
    pub existing: bool,
}

/// Why a command wrote nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such tenant.
    #[error("tenant `{0}` does not exist")]
    NoTenant(String),
    /// The tenant exists already.
    #[error("tenant `{0}` exists already")]
    TenantExists(String),
    /// No such agent in this tenant.
    #[error("agent `{agent}` does not exist in tenant `{tenant}`")]
    NoAgent {
        /// Tenant.
        tenant: String,
        /// Agent.
        agent: String,
    },
    /// The agent exists already.
    #[error("agent `{0}` exists already")]
    AgentExists(String),
    /// The idempotency key was used for something else.
    #[error("idempotency key `{key}` was used for another request, which made run `{run_id}`")]
    KeyReused {
        /// Key.
        key: String,
        /// Run that it made.
        run_id: String,
    },
    /// No such run in this tenant.
    #[error("run `{run_id}` does not exist in tenant `{tenant}`")]
    NoRun {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
    },
    /// No such value in the run.
    #[error("event {seq} of run `{run_id}` has no value `{field}` to erase")]
    NoValue {
        /// Run.
        run_id: String,
        /// Event.
        seq: u64,
        /// Field.
        field: String,
    },
    /// The run is not over: its values are still needed.
    #[error("run `{0}` is not over")]
    RunOpen(String),
    /// The run is archived: what is in an archive does not change.
    #[error("run `{0}` is archived")]
    Archived(String),
    /// The run is not archived, or its rows are still there.
    #[error("run `{0}` is not archived yet")]
    NotArchived(String),
    /// The run was purged: only its tombstone is left.
    #[error("run `{0}` was purged")]
    Purged(String),
    /// A hold is on the run.
    #[error("run `{0}` is under a hold")]
    Held(String),
    /// No hold is on the run.
    #[error("run `{0}` is under no hold")]
    NotHeld(String),
    /// The engine refused.
    #[error("{0}")]
    Refused(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A change to a tenant, recorded in the tenant's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum TenantChange {
    /// Creates the tenant.
    Create,
    /// Creates an agent.
    CreateAgent {
        /// Agent id.
        id: String,
        /// Name for people.
        name: String,
    },
    /// Destroys a value of a run that is over.
    Erase {
        /// Run.
        run_id: String,
        /// Event.
        seq: u64,
        /// Field.
        field: String,
        /// Which part; `None`: all.
        index: Option<u32>,
        /// On what ground.
        reason: String,
    },
    /// Forbids that anything of a run is removed.
    PlaceHold {
        /// Run.
        run_id: String,
        /// Why.
        reason: String,
    },
    /// Allows it again.
    LiftHold {
        /// Run.
        run_id: String,
        /// Why.
        reason: String,
    },
}

/// When, under which salt, and by whom something is written.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Microseconds since 1970.
    pub now: u64,
    /// 32 fresh random bytes.
    pub seed: [u8; 32],
    /// Who.
    pub actor: Actor,
}

/// One stored transition, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionRow {
    /// Leaf index of the first event; `None` when it has no place in the ledger yet.
    pub first_leaf: Option<u64>,
    /// In stores that give out places after the commit: the column `id`, and what the row of its place says of it.
    pub arrival: Option<(i64, Option<i64>)>,
    /// Tenant column.
    pub tenant: String,
    /// Stream column.
    pub stream: String,
    /// Seq of the first event, as the column says.
    pub first_seq: u64,
    /// Number of events, as the column says.
    pub event_count: u64,
    /// Canonical events, one a line.
    pub events: String,
    /// Payload lines, one an event; empty where there is none.
    pub payloads: String,
}

impl TransitionRow {
    /// What names the row: its place, or its position in its stream as long as it has none.
    pub fn key(&self) -> String {
        match self.first_leaf {
            Some(first_leaf) => format!("first_leaf={first_leaf}"),
            None => format!("stream={}, first_seq={}", self.stream, self.first_seq),
        }
    }

    /// Whether it holds the event of that seq.
    pub(crate) fn holds(&self, seq: u64) -> bool {
        (self.first_seq..self.first_seq.saturating_add(self.event_count)).contains(&seq)
    }
}

/// Everything that a store holds about one run, read in one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Origin of the log.
    pub log: String,
    /// Transitions of the run.
    pub transitions: Vec<TransitionRow>,
    /// Transitions of the tenant's stream.
    pub tenant_transitions: Vec<TransitionRow>,
    /// Rows of the projections and of the seal, by table, every column, of any tenant.
    pub rows: BTreeMap<&'static str, Vec<RawRow>>,
    /// Rows that this run shares with others: its tenant, the agents of the tenant, the newest checkpoint.
    pub shared: BTreeMap<&'static str, Vec<RawRow>>,
    /// The newest checkpoint, as a signed note.
    pub checkpoint: Option<String>,
    /// In stores that give out places after the commit: the id up to which every transition has one.
    pub settled_id: Option<i64>,
    /// The archive of the run.
    pub archive: Option<ArchiveRow>,
    /// The tombstone of the run.
    pub tombstone: Option<TombstoneRow>,
}

/// A row of a listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentRow {
    /// Tenant.
    pub tenant_id: String,
    /// Agent id.
    pub id: String,
    /// Name.
    pub name: String,
    /// When it was created.
    pub created_at: String,
}

/// A run in a listing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunListing {
    /// Run id.
    pub run_id: String,
    /// Number within the tenant.
    pub run_no: Option<u64>,
    /// Tenant.
    pub tenant_id: String,
    /// Agent.
    pub agent_id: String,
    /// Status.
    pub status: String,
    /// Why it does not move.
    pub wait_reason: Option<String>,
    /// What it waits for.
    pub wait_ref: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// When it was over.
    pub completed_at: Option<String>,
}

/// Keeps the newest head of the log on another medium than the database, and signs.
pub trait Notary: Send {
    /// The key.
    fn signer(&self) -> &NoteSigner;
    /// Keeps a signed checkpoint, unless one of as many leaves or more is kept; called after it is durable in the store.
    /// `lost` is one that an operator has given up: it is replaced, whatever its size.
    ///
    /// # Errors
    /// Text that says why it could not be kept; the store stops signing.
    fn keep(&self, note: &str, lost: Option<&Checkpoint>) -> Result<(), String>;
    /// The newest checkpoint that was kept.
    fn last(&self) -> Option<Checkpoint>;
    /// Microseconds since 1970.
    fn now(&self) -> u64;
}

/// Folds stored transitions into a run. `None` when there are none.
///
/// # Errors
/// [`StoreError::Corrupt`] names the transition that does not decode or does not follow.
pub fn fold(log: &str, tenant: &str, run_id: &str, transitions: &[TransitionRow]) -> Result<Option<Run>, StoreError> {
    if transitions.is_empty() {
        return Ok(None);
    }
    let mut run = Run::new(log, tenant, run_id);
    for transition in transitions {
        let corrupt =
            |problem: String| StoreError::Corrupt { at: format!("transitions[{}]", transition.key()), problem };
        let mut payloads = transition.payloads.split('\n');
        for line in transition.events.split('\n') {
            let event =
                runproof_proof::event::Event::decode(line.as_bytes()).map_err(|error| corrupt(error.to_string()))?;
            let payload = payloads.next().unwrap_or_default();
            let values = if payload.is_empty() {
                BTreeMap::new()
            } else {
                let opened = PayloadLine::parse(payload.as_bytes()).map_err(corrupt)?;
                opened
                    .open(&event.commitments())
                    .map_err(|wrong| corrupt(format!("payload does not match: {}", wrong[0].path)))?
                    .values
            };
            let leaf = runproof_proof::hash::leaf(line.as_bytes());
            run.apply(&event, leaf, &values).map_err(|error| corrupt(error.to_string()))?;
            run.count(line.len(), (!payload.is_empty()).then_some(payload.len()));
        }
    }
    Ok(Some(run))
}

/// The payload lines of a transition once a value is taken out of them.
///
/// # Errors
/// [`CommandError::NoValue`] when the event shows no such value, or no longer.
pub(crate) fn without_value(
    row: &TransitionRow,
    run_id: &str,
    seq: u64,
    field: &str,
    index: Option<u32>,
) -> Result<String, CommandError> {
    let no_value = || CommandError::NoValue { run_id: run_id.to_owned(), seq, field: field.to_owned() };
    let position = usize::try_from(seq.saturating_sub(row.first_seq)).map_err(|_| no_value())?;
    let event = row
        .events
        .split('\n')
        .nth(position)
        .and_then(|line| Event::decode(line.as_bytes()).ok())
        .ok_or_else(no_value)?;
    let commitments = event.commitments();
    let (_, commitment) = commitments.iter().find(|(name, _)| *name == field).ok_or_else(no_value)?;
    let mut payloads: Vec<String> = row.payloads.split('\n').map(str::to_owned).collect();
    let line = payloads.get_mut(position).ok_or_else(no_value)?;
    let payload = Payload::decode(line.as_bytes())
        .map_err(|problem| StoreError::Corrupt { at: "transitions.payloads".to_owned(), problem })?;
    let is_shown = match &payload {
        Payload::Whole { .. } => index.is_none_or(|index| (index as usize) < commitment.macs.len()),
        Payload::Parts(parts) => {
            let shown = parts.get(field).map(Vec::as_slice).unwrap_or_default();
            shown.iter().any(|part| index.is_none_or(|index| index == part.index))
        }
    };
    if !is_shown {
        return Err(no_value());
    }
    let erased = payload.without(field, index).and_then(|payload| payload.encode());
    let erased = erased.map_err(|error| CommandError::Refused(error.to_string()))?;
    *line = String::from_utf8_lossy(&erased).into_owned();
    Ok(payloads.join("\n"))
}

/// The event of a tenant's change, with the head of the stream moved on.
pub(crate) struct TenantEvent {
    pub(crate) line: runproof_engine::draft::Line,
    pub(crate) head: StreamHead,
}

/// Writes the event of a tenant's change.
pub(crate) fn tenant_event(
    log: &str,
    tenant: &str,
    change: &TenantChange,
    head: &StreamHead,
    stamp: &Stamp,
) -> Result<TenantEvent, CommandError> {
    use runproof_proof::event::{
        TenantAgentCreated, TenantCreated, TenantHoldLifted, TenantHoldPlaced, TenantValueErased,
    };
    let mut committer = runproof_engine::draft::Committer::new(&stamp.seed, 0);
    let actor = stamp.actor.clone();
    let mut commit = |field: &str, text: &str| {
        let committed = committer.commit(field, &serde_json::Value::String(text.to_owned()));
        committed.map_err(|error| CommandError::Refused(error.to_string()))
    };
    let body: Body = match change {
        TenantChange::Create => TenantCreated { actor }.into(),
        TenantChange::CreateAgent { id, name } => {
            TenantAgentCreated { actor, agent_id: id.clone(), name: commit("name", name)? }.into()
        }
        TenantChange::Erase { run_id, seq, field, index, reason } => TenantValueErased {
            actor,
            field: field.clone(),
            index: *index,
            reason: commit("reason", reason)?,
            run_id: run_id.clone(),
            seq: *seq,
        }
        .into(),
        TenantChange::PlaceHold { run_id, reason } => {
            TenantHoldPlaced { actor, reason: commit("reason", reason)?, run_id: run_id.clone() }.into()
        }
        TenantChange::LiftHold { run_id, reason } => {
            TenantHoldLifted { actor, reason: commit("reason", reason)?, run_id: run_id.clone() }.into()
        }
    };
    tenant_line(log, tenant, body, committer, head, stamp)
}

/// Writes an event of a tenant's stream.
pub(crate) fn tenant_line(
    log: &str,
    tenant: &str,
    body: Body,
    committer: runproof_engine::draft::Committer,
    head: &StreamHead,
    stamp: &Stamp,
) -> Result<TenantEvent, CommandError> {
    let mut head = head.clone();
    let line = head
        .write(log, runproof_proof::event::Stream::Tenant(tenant.to_owned()), stamp.now, body, committer)
        .map_err(|error| CommandError::Refused(error.to_string()))?;
    Ok(TenantEvent { line, head })
}

/// Writes an event of a tenant's stream that commits to no value.
pub(crate) fn plain_event(
    log: &str,
    tenant: &str,
    body: Body,
    head: &StreamHead,
    stamp: &Stamp,
) -> Result<TenantEvent, CommandError> {
    tenant_line(log, tenant, body, runproof_engine::draft::Committer::new(&stamp.seed, 0), head, stamp)
}

/// A claim on a run that is loaded and not over.
pub(crate) fn claimed(run: Run, owner: &str, epoch: u64) -> Claimed {
    Claimed { run, fence: Fence { owner: owner.to_owned(), epoch } }
}
