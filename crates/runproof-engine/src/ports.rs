//! What the engine needs from outside: small contracts, implemented at the edge and in `runproof-store`.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use runproof_proof::hash::Hash;

use crate::draft::Line;
use crate::projection::RowChanges;
use crate::run::Run;
use crate::skill::Write;

/// A future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Time.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970.
    fn now(&self) -> u64;
    /// Ends when that many microseconds have passed.
    fn sleep(&self, microseconds: u64) -> BoxFuture<'_, ()>;
}

/// Randomness.
pub trait Entropy: Send + Sync {
    /// 32 bytes that nobody can guess.
    fn seed(&self) -> [u8; 32];
}

/// Secrets, by name.
pub trait Secrets: Send + Sync {
    /// The value of `secret://name`, if there is one.
    fn get(&self, tenant: &str, name: &str) -> Option<zeroize::Zeroizing<String>>;
}

/// Who may write to a run: the worker that holds the newest claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Worker.
    pub owner: String,
    /// Epoch of its claim.
    pub epoch: u64,
}

/// What becomes of the claim with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Kept.
    Keep,
    /// Given back; somebody may take the run from this time on, in microseconds.
    Release(u64),
    /// Given back; nobody takes the run before somebody acts.
    Park,
    /// The run is over.
    End,
}

/// Events of one run that commit together, with everything that follows from them.
#[derive(Clone, Debug)]
pub struct Append {
    /// Tenant.
    pub tenant: String,
    /// Run.
    pub run_id: String,
    /// Who writes.
    pub fence: Fence,
    /// Seq of the first event.
    pub expected_seq: u64,
    /// Leaf hash of the event before it.
    pub expected_head: Hash,
    /// The events.
    pub lines: Arc<[Line]>,
    /// Rows that change.
    pub rows: RowChanges,
    /// Writes of a transactional skill, in order. There are none without the outcome among the events.
    pub writes: Vec<Write>,
    /// What becomes of the claim.
    pub claim: Claim,
}

/// A run that a worker took.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The run as stored.
    pub run: Run,
    /// The claim.
    pub fence: Fence,
}

/// What a claim brought.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Runs that were taken.
    pub taken: Vec<Claimed>,
    /// Runs that were due and could not be read. They were given back for [`UNREADABLE_FOR`].
    pub unreadable: Vec<Unreadable>,
}

/// A run that was due and cannot be read here: it is damaged, or a newer version wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Tenant.
    pub tenant: String,
    /// Run.
    pub run_id: String,
    /// Why.
    pub problem: StoreError,
}

/// How long nobody is offered a run again that could not be read, in microseconds.
pub const UNREADABLE_FOR: u64 = 60_000_000;

/// Why the store did not do it. The variants answer the only question of the driver: may it have happened?
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote, or holds the claim: forget the run.
    #[error("run `{0}` was written or claimed by somebody else")]
    Conflict(String),
    /// A guard failed: nothing was written. Whoever made the write has to read the key again.
    #[error("key `{key}` was written by somebody else; nothing was written, read it again")]
    Stale {
        /// Key of the write.
        key: String,
    },
    /// Nothing was written; the same may work later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It may have been written: forget the run and load it again.
    #[error("the store did not say whether it wrote: {0}")]
    OutcomeUnknown(String),
    /// What is stored cannot be right.
    #[error("the store is damaged at {at}: {problem}")]
    Corrupt {
        /// Table and key.
        at: String,
        /// What is wrong.
        problem: String,
    },
}

/// Where runs are kept.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends if the run is still at the expected head and the fence holds; otherwise nothing is written.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn append(&self, append: Append) -> Result<(), StoreError>;

    /// Takes up to `limit` runs that are due and that nobody holds. Between tenants, whoever has fewest runs going comes
    /// first, then the longest due; in one tenant the highest priority, then the longest due. No limit on runs that are
    /// going is passed. Runs with events that only a newer version knows are left alone, and a run that cannot be read
    /// takes no other with it.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was taken.
    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError>;

    /// Takes one run that nobody holds, due or not, whatever the limits say: somebody asks for this one. `None` when
    /// somebody holds it or it is over.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError>;
}

/// Whether this process may still begin what it cannot take back.
///
/// A process that could lose its runs to another one without noticing holds a lease on them. The driver asks right
/// before it calls a skill or asks a receiver; what it may not begin, it does not send.
pub trait Lease: Send + Sync {
    /// Whether the lease lasts long enough to begin something now.
    fn may_begin(&self) -> bool;
}

/// The lease of a process that nobody takes runs from while it lives: the only engine of its store.
pub struct Always;

impl Lease for Always {
    fn may_begin(&self) -> bool {
        true
    }
}

/// A value of a tenant's key-value space, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// JSON bytes.
    pub value: Vec<u8>,
    /// Leaf index of the transition that wrote it: grows with every write, and is never used twice.
    pub version: u64,
    /// From this time on it counts as absent, in microseconds; `None`: never. It may still be stored.
    pub expires_at: Option<u64>,
}

/// The tenant's key-value space, for reading. A skill writes with [`Write`], guarded by the version that it read.
#[async_trait]
pub trait KeyValues: Send + Sync {
    /// What is stored under a key and durable, expired or not. `None` when the tenant has no such key.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn read(&self, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError>;
}

/// Told of every write, for progress.
pub trait Observer: Send + Sync {
    /// These events of the run are durable.
    fn committed(&self, run: &Run, lines: &[Line]);
}

/// An observer that does not look.
pub struct Blind;

impl Observer for Blind {
    fn committed(&self, _run: &Run, _lines: &[Line]) {}
}
