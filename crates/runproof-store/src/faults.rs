//! For tests: a store that fails at one chosen write, before it or after it.
//!
//! Both faults matter. *Before* is a lost connection: nothing was written. *After* is a lost reply: everything was
//! written and nobody was told. Writes are counted over everything that shares a [`FaultPlan`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use runproof_engine::admission::Admitted;
use runproof_engine::ports::{Append, Claimed, Journal, StoreError};
use runproof_engine::run::Run;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;

use crate::{AgentRow, CommandError, Evidence, Opened, RunListing, Stamp, Store, TenantChange};

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

    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        self.write(self.inner.claim(owner, now, limit)).await
    }

    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
        self.write(self.inner.claim_run(owner, tenant, run_id)).await
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
}
