//! The store as the edge sees it: runs and tenants, the ledger, requests between processes, workers and limits.

use std::time::Duration;

use async_trait::async_trait;
use runproof_engine::admission::Admitted;
use runproof_engine::ports::{Fence, Journal, KeyValues, StoreError};
use runproof_engine::run::Run;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;
use serde::Serialize;

use crate::{
    AgentRow, CommandError, Evidence, HoldRow, KeptRun, Opened, Retention, RunListing, Snapshot, Stamp, TenantChange,
};

/// What a worker says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerAbout {
    /// Version of the program.
    pub version: String,
    /// Name of the machine.
    pub host: String,
    /// Most runs that it drives at once.
    pub concurrency: u32,
}

/// A worker in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerRow {
    /// Name in claims.
    pub id: String,
    /// Version of the program.
    pub version: String,
    /// Name of the machine.
    pub host: String,
    /// Most runs that it drives at once.
    pub concurrency: u32,
    /// When it registered.
    pub started_at: String,
    /// Until when its claims hold, by the clock of the database; `None` where the engine lock is the lease.
    pub lease_until: Option<String>,
    /// `live`, `lapsed` or `dead`.
    pub state: &'static str,
    /// Runs that it holds.
    pub running: u64,
}

/// How long a worker's claims hold without a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// From one heartbeat on.
    pub lasts: Duration,
    /// How often a heartbeat is sent.
    pub renew_every: Duration,
    /// With less than this left, no effect begins.
    pub margin: Duration,
}

/// What was freed of workers that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Workers.
    pub workers: u64,
    /// Runs that somebody may take now.
    pub runs: u64,
}

/// A command that another process has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number.
    pub id: i64,
    /// Tenant column.
    pub tenant: String,
    /// The command, as text.
    pub body: String,
}

/// The most runs that may be going at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitRow {
    /// Tenant.
    pub tenant_id: String,
    /// Agent; `None`: all runs of the tenant.
    pub agent_id: Option<String>,
    /// Most runs that workers hold at once.
    pub max_running: u32,
    /// Runs that are held now.
    pub running: u64,
}

/// Where runs are kept, as the edge sees it.
#[async_trait]
pub trait Store: Journal + KeyValues {
    /// Opens an admitted run, or finds the one that its idempotency key made. Claims it when `owner` is given.
    ///
    /// # Errors
    /// [`CommandError`]; nothing is written.
    async fn open_run(&self, admitted: Admitted, owner: Option<String>, stamp: Stamp) -> Result<Opened, CommandError>;

    /// Changes a tenant.
    ///
    /// # Errors
    /// [`CommandError`]; nothing is written.
    async fn change_tenant(&self, tenant: &str, change: TenantChange, stamp: Stamp) -> Result<(), CommandError>;

    /// Makes one step of a run towards its tombstone, in one transaction.
    ///
    /// # Errors
    /// [`CommandError`]; nothing is written. [`StoreError::Conflict`]: a value was erased since the bundle was built.
    async fn retain(&self, tenant: &str, step: Retention, stamp: Stamp) -> Result<(), CommandError>;

    /// Runs of a tenant that have rows and were over before that time (RFC 3339 as in `completed_at`), oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn over_before(&self, tenant: &str, time: &str, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Archived and purged runs, by tenant and number; all tenants when none is given.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_kept(&self, tenant: Option<&str>) -> Result<Vec<KeptRun>, StoreError>;

    /// Holds of a tenant, the lifted ones too, in the order in which they were placed.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_holds(&self, tenant: &str) -> Result<Vec<HoldRow>, StoreError>;

    /// The run, from its events or its archive. `None` when the tenant has no such run, or no longer.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_run(&self, tenant: &str, run_id: &str) -> Result<Option<Run>, StoreError>;

    /// Everything about one run.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn evidence(&self, tenant: &str, run_id: &str) -> Result<Evidence, StoreError>;

    /// Roots of subtrees of the ledger, in order; each range is one that a proof calls for.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a tile is missing.
    async fn subtree_roots(&self, ranges: Vec<Range>) -> Result<Vec<Hash>, StoreError>;

    /// The newest checkpoint, as a signed note.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn checkpoint(&self) -> Result<Option<String>, StoreError>;

    /// Newest runs first; all tenants when none is given.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_runs(&self, tenant: Option<&str>, limit: usize) -> Result<Vec<RunListing>, StoreError>;

    /// Agents of a tenant, or of all.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_agents(&self, tenant: Option<&str>) -> Result<Vec<AgentRow>, StoreError>;

    /// Origin of the log.
    fn log(&self) -> &str;

    /// Path, or address without a password, for people.
    fn place(&self) -> String;

    /// Verification key that the ledger was made with. Says nothing about trust.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ledger_key(&self) -> Result<Option<String>, StoreError>;

    /// Number of leaves.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tree_size(&self) -> Result<u64, StoreError>;

    /// The root over the first `size` leaves, as the tiles have it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a tile is missing.
    async fn root_at(&self, size: u64) -> Result<Hash, StoreError>;

    /// Begins to read the state of this moment, on a connection of its own. Its methods block: never call them on a
    /// runtime's own thread without `spawn_blocking` or `block_in_place`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Gives back a claim without writing to the run. Somebody may take it from that time on, in microseconds. Who does
    /// not hold the claim changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn give_back(&self, tenant: &str, run_id: &str, fence: &Fence, at: u64) -> Result<(), StoreError>;

    /// Whether a run that nobody holds, and that this version knows, is due at that time, in microseconds.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn has_due(&self, at: u64) -> Result<bool, StoreError>;

    /// Leaves a command for the process that is the engine, or that holds the run, and returns its number.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was written.
    async fn leave_request(&self, tenant: &str, run_id: Option<&str>, body: &str) -> Result<i64, StoreError>;

    /// The answer to a request, once there is one; reading it removes the request.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn take_answer(&self, tenant: &str, id: i64) -> Result<Option<String>, StoreError>;

    /// Removes a request that has no answer. False: it has one, or is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn withdraw_request(&self, tenant: &str, id: i64) -> Result<bool, StoreError>;

    /// Requests without an answer that this worker has to answer, oldest first: all of them where one process is the
    /// engine, else those about runs that it holds.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn open_requests(&self, worker: &str) -> Result<Vec<Request>, StoreError>;

    /// Answers a request.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn answer_request(&self, request: &Request, answer: &str) -> Result<(), StoreError>;

    /// How long claims hold. `None` where the engine lock is the lease: then a claim holds as long as the process, and
    /// the four methods that follow have nothing to do and say yes, or 0.
    fn lease(&self) -> Option<LeaseTerms>;

    /// Makes a worker known under a new name; its lease begins.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn register_worker(&self, worker: &str, about: &WorkerAbout) -> Result<(), StoreError>;

    /// Renews the lease. False: it has lapsed, for good.
    ///
    /// # Errors
    /// [`StoreError`]: it may have been renewed.
    async fn heartbeat(&self, worker: &str) -> Result<bool, StoreError>;

    /// Ends a worker: its claims are given back, due now.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn retire_worker(&self, worker: &str) -> Result<(), StoreError>;

    /// Frees the runs of workers whose lease is over.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reap(&self) -> Result<Reaped, StoreError>;

    /// Workers that hold runs or are alive, and those that died lately.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_workers(&self) -> Result<Vec<WorkerRow>, StoreError>;

    /// Sets the most runs of a tenant, or of one of its agents, that workers hold at once. `None`: any number.
    ///
    /// # Errors
    /// [`CommandError`]; nothing is written.
    async fn set_limit(&self, tenant: &str, agent: Option<&str>, max_running: Option<u32>) -> Result<(), CommandError>;

    /// The limits of a tenant: the one on all of it first, then by agent.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn limits(&self, tenant: &str) -> Result<Vec<LimitRow>, StoreError>;

    /// Gives what is committed its place in the ledger, and signs. True when something got a place. Where places are
    /// given out with each commit there is nothing to do: false.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn sequence(&self) -> Result<bool, StoreError>;
}
