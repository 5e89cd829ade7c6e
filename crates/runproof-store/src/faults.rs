//! For tests: a store that fails at one chosen write, before it or after it.
//!
//! Both faults matter. *Before* is a lost connection: nothing was written. *After* is a lost reply: everything was
//! written and nobody was told. Writes are counted over everything that shares a [`FaultPlan`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use runproof_engine::admission::Admitted;
use runproof_engine::ports::{Append, Claimed, Claims, Fence, Journal, KeyValues, StoreError, Stored};
use runproof_engine::run::Run;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;

use crate::{
    AgentRow, CommandError, Evidence, HoldRow, KeptRun, LeaseTerms, LimitRow, Opened, Reaped, Request, Retention,
    RunListing, Snapshot, Stamp, Store, TenantChange, WorkerAbout, WorkerRow,
};

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written: [`StoreError::Unavailable`].
    Before,
    /// It is written, and the reply is lost: [`StoreError::OutcomeUnknown`].
    After,
}

/// Which write fails, and how many there were.
#[derive(Debug)]
pub struct FaultPlan {
    nth: u64,
    fault: Fault,
    writes: AtomicU64,
}

impl FaultPlan {
    /// The `nth` write fails, counted from 1; 0: none does.
    pub fn new(nth: u64, fault: Fault) -> Arc<Self> {
        Arc::new(Self { nth, fault, writes: AtomicU64::new(0) })
    }

    /// Writes so far, the failed one included. A claim counts whether it finds a run or not.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Whether the fault has happened.
    pub fn fired(&self) -> bool {
        self.nth > 0 && self.writes() >= self.nth
    }

    fn next(&self) -> Option<Fault> {
        let write = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        (write == self.nth).then_some(self.fault)
    }
}

/// A store with a plan of faults in front of it.
pub struct Faulty<S> {
    inner: S,
    plan: Arc<FaultPlan>,
}

impl<S> Faulty<S> {
    /// Puts the plan in front of the store.
    pub fn new(inner: S, plan: Arc<FaultPlan>) -> Self {
        Self { inner, plan }
    }

    async fn write<T, E: From<StoreError>>(&self, write: impl Future<Output = Result<T, E>> + Send) -> Result<T, E> {
        match self.plan.next() {
            None => write.await,
            Some(Fault::Before) => Err(E::from(StoreError::Unavailable("a fault before the write".to_owned()))),
            Some(Fault::After) => {
                write.await?;
                Err(E::from(StoreError::OutcomeUnknown("a fault after the write".to_owned())))
            }
        }
    }
}

#[async_trait]
impl<S: std::ops::Deref<Target: Store> + Send + Sync> Journal for Faulty<S> {
    async fn append(&self, append: Append) -> Result<(), StoreError> {
        self.write(self.inner.append(append)).await
    }

    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
        self.write(self.inner.claim(owner, now, limit)).await
    }

    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
        self.write(self.inner.claim_run(owner, tenant, run_id)).await
    }
}

#[async_trait]
impl<S: std::ops::Deref<Target: Store> + Send + Sync> KeyValues for Faulty<S> {
    async fn read(&self, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError> {
        self.inner.read(tenant, key).await
    }
}

#[async_trait]
impl<S: std::ops::Deref<Target: Store> + Send + Sync> Store for Faulty<S> {
    async fn open_run(&self, admitted: Admitted, owner: Option<String>, stamp: Stamp) -> Result<Opened, CommandError> {
        self.write(self.inner.open_run(admitted, owner, stamp)).await
    }

    async fn change_tenant(&self, tenant: &str, change: TenantChange, stamp: Stamp) -> Result<(), CommandError> {
        self.write(self.inner.change_tenant(tenant, change, stamp)).await
    }

    async fn retain(&self, tenant: &str, step: Retention, stamp: Stamp) -> Result<(), CommandError> {
        self.write(self.inner.retain(tenant, step, stamp)).await
    }

    async fn over_before(&self, tenant: &str, time: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.inner.over_before(tenant, time, limit).await
    }

    async fn list_kept(&self, tenant: Option<&str>) -> Result<Vec<KeptRun>, StoreError> {
        self.inner.list_kept(tenant).await
    }

    async fn list_holds(&self, tenant: &str) -> Result<Vec<HoldRow>, StoreError> {
        self.inner.list_holds(tenant).await
    }

    async fn load_run(&self, tenant: &str, run_id: &str) -> Result<Option<Run>, StoreError> {
        self.inner.load_run(tenant, run_id).await
    }

    async fn evidence(&self, tenant: &str, run_id: &str) -> Result<Evidence, StoreError> {
        self.inner.evidence(tenant, run_id).await
    }

    async fn subtree_roots(&self, ranges: Vec<Range>) -> Result<Vec<Hash>, StoreError> {
        self.inner.subtree_roots(ranges).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.inner.checkpoint().await
    }

    async fn list_runs(&self, tenant: Option<&str>, limit: usize) -> Result<Vec<RunListing>, StoreError> {
        self.inner.list_runs(tenant, limit).await
    }

    async fn list_agents(&self, tenant: Option<&str>) -> Result<Vec<AgentRow>, StoreError> {
        self.inner.list_agents(tenant).await
    }

    fn log(&self) -> &str {
        self.inner.log()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    async fn ledger_key(&self) -> Result<Option<String>, StoreError> {
        self.inner.ledger_key().await
    }

    async fn tree_size(&self) -> Result<u64, StoreError> {
        self.inner.tree_size().await
    }

    async fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        self.inner.root_at(size).await
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.inner.snapshot()
    }

    async fn give_back(&self, tenant: &str, run_id: &str, fence: &Fence, at: u64) -> Result<(), StoreError> {
        self.write(self.inner.give_back(tenant, run_id, fence, at)).await
    }

    async fn has_due(&self, at: u64) -> Result<bool, StoreError> {
        self.inner.has_due(at).await
    }

    async fn leave_request(&self, tenant: &str, run_id: Option<&str>, body: &str) -> Result<i64, StoreError> {
        self.write(self.inner.leave_request(tenant, run_id, body)).await
    }

    async fn take_answer(&self, tenant: &str, id: i64) -> Result<Option<String>, StoreError> {
        self.write(self.inner.take_answer(tenant, id)).await
    }

    async fn withdraw_request(&self, tenant: &str, id: i64) -> Result<bool, StoreError> {
        self.write(self.inner.withdraw_request(tenant, id)).await
    }

    async fn open_requests(&self, worker: &str) -> Result<Vec<Request>, StoreError> {
        self.inner.open_requests(worker).await
    }

    async fn answer_request(&self, request: &Request, answer: &str) -> Result<(), StoreError> {
        self.write(self.inner.answer_request(request, answer)).await
    }

    fn lease(&self) -> Option<LeaseTerms> {
        self.inner.lease()
    }

    async fn register_worker(&self, worker: &str, about: &WorkerAbout) -> Result<(), StoreError> {
        self.write(self.inner.register_worker(worker, about)).await
    }

    async fn heartbeat(&self, worker: &str) -> Result<bool, StoreError> {
        self.write(self.inner.heartbeat(worker)).await
    }

    async fn retire_worker(&self, worker: &str) -> Result<(), StoreError> {
        self.write(self.inner.retire_worker(worker)).await
    }

    async fn reap(&self) -> Result<Reaped, StoreError> {
        self.write(self.inner.reap()).await
    }

    async fn list_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.inner.list_workers().await
    }

    async fn set_limit(&self, tenant: &str, agent: Option<&str>, max_running: Option<u32>) -> Result<(), CommandError> {
        self.write(self.inner.set_limit(tenant, agent, max_running)).await
    }

    async fn limits(&self, tenant: &str) -> Result<Vec<LimitRow>, StoreError> {
        self.inner.limits(tenant).await
    }

    async fn sequence(&self) -> Result<bool, StoreError> {
        self.write(self.inner.sequence()).await
    }
}
