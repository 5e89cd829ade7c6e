//! The Postgres store: any number of processes on one database, directly or through a pooler in transaction mode.
//!
//! How it keeps what one writer keeps in the embedded store: docs/design/0015.

mod append;
mod claim;
mod connect;
mod evidence;
mod held;
mod log;
pub mod migrate;
mod open;
mod places;
pub mod protections;
mod read;
mod retention;
pub mod sequencer;
mod session;
mod signing;
mod snapshot;
mod start;
mod tenant;
mod turns;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Pool;
use runproof_engine::admission::Admitted;
use runproof_engine::draft::Line;
use runproof_engine::ports::{Append, Claim, Claimed, Claims, Fence, Journal, KeyValues, StoreError, Stored};
use runproof_engine::run::Run;
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::{
    AgentRow, CommandError, Evidence, HoldRow, KeptRun, LeaseTerms, LimitRow, Opened, Reaped, Request, Retention,
    RunListing, Snapshot, Stamp, Store, TenantChange, WorkerAbout, WorkerRow,
};

use connect::connection;

pub use connect::Address;
pub use start::{OpenError, acknowledge_rollback, check_protections, create, create_ledger, missing, status};

/// Types of the columns of `runs`, in the order of the projection: `t` is text, `i` an integer.
const RUN: &str = "ttitttttttttttttittittttiittt";
/// The same of `aos_traces`.
const TRACE: &str = "tttttttttittt";
/// The same of `run_seals`.
const SEAL: &str = "ttttiittiiiiit";

/// Lanes that commit appends at the same time.
const LANES: usize = 2;

/// How long a worker's claims hold. A run goes on within `lasts` and two seconds of the death of its worker.
const TERMS: LeaseTerms = LeaseTerms {
    lasts: Duration::from_secs(10),
    renew_every: Duration::from_millis(2500),
    margin: Duration::from_secs(2),
};

/// What the tasks of a store share.
struct Shared {
    pool: Pool,
    log: String,
    held: held::Held,
    terms: LeaseTerms,
    /// Tenant that the last claim ended with: the next one begins after it.
    cursor: Mutex<String>,
    /// Told when something was committed: there is something to place.
    committed: Notify,
    /// Told when a run was sealed: its checkpoint is wanted soon.
    sealed: Notify,
    turns: turns::Turns,
    transactions: AtomicU64,
    jobs: AtomicU64,
}

impl Shared {
    fn committed(&self, sealed: bool) {
        self.committed.notify_one();
        if sealed {
            self.sealed.notify_one();
        }
    }

    fn count(&self, jobs: usize) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.jobs.fetch_add(jobs as u64, Ordering::Relaxed);
    }
}

/// Events and payloads of a transition, one a line.
fn texts(lines: &[Line]) -> (String, String) {
    let join = |of: fn(&Line) -> &[u8]| {
        let lines: Vec<&[u8]> = lines.iter().map(of).collect();
        String::from_utf8_lossy(&lines.join(&b'\n')).into_owned()
    };
    (join(|line| &line.bytes), join(|line| line.payload.as_deref().unwrap_or_default()))
}

/// The Postgres store.
pub struct PgStore {
    shared: Arc<Shared>,
    address: Address,
    runtime: Handle,
    appends: mpsc::UnboundedSender<append::Job>,
    openings: mpsc::UnboundedSender<open::Job>,
    signing: Option<signing::Signing>,
    protections: protections::Protections,
}

impl PgStore {
    /// Starts the tasks of a store. Whatever it does is done on `runtime`, to its end, even if nobody waits any more.
    fn start(
        address: &Address,
        pool: Pool,
        log: String,
        runtime: Handle,
        sequencer: Option<sequencer::Sequencer>,
        protections: protections::Protections,
    ) -> Self {
        let shared = Arc::new(Shared {
            pool,
            log,
            held: held::Held::default(),
            terms: TERMS,
            cursor: Mutex::default(),
            committed: Notify::new(),
            sealed: Notify::new(),
            turns: turns::Turns::default(),
            transactions: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
        });
        let (appends, queue) = mpsc::unbounded_channel();
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        for _ in 0..LANES {
            runtime.spawn(append::lane(Arc::clone(&shared), Arc::clone(&queue)));
        }
        let (openings, queue) = mpsc::unbounded_channel();
        runtime.spawn(open::lane(Arc::clone(&shared), queue));
        let signing = sequencer.map(|sequencer| Arc::new(tokio::sync::Mutex::new(sequencer)));
        if let Some(signing) = &signing {
            runtime.spawn(signing::keep_passing(Arc::downgrade(&shared), Arc::clone(signing)));
        }
        let address = address.clone();
        Self { shared, address, runtime, appends, openings, signing, protections }
    }

    /// What the database refuses by itself, and what of that does not hold against this connection. Nothing when the store
    /// was opened for reading.
    pub fn protections(&self) -> &protections::Protections {
        &self.protections
    }

    /// Whether this process gives leaves their places.
    pub fn signs(&self) -> bool {
        self.signing.is_some()
    }

    /// Whether this role sees the rows of all tenants: the owner and an auditor do. Under another role, a question about
    /// all tenants would be answered as if there were none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sees_all_tenants(&self) -> Result<bool, StoreError> {
        self.spawn(|shared| async move { read::sees_all_tenants(&*connection(&shared.pool).await?).await }).get().await
    }

    /// Does something on the store's runtime, to its end.
    fn spawn<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Ended<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        Ended(self.runtime.spawn(work(Arc::clone(&self.shared))))
    }

    /// Transactions that were committed, and what was asked for in them.
    pub fn commits(&self) -> (u64, u64) {
        (self.shared.transactions.load(Ordering::Relaxed), self.shared.jobs.load(Ordering::Relaxed))
    }
}

/// The end of something that was spawned.
struct Ended<T, E>(JoinHandle<Result<T, E>>);

impl<T, E: From<StoreError>> Ended<T, E> {
    async fn get(self) -> Result<T, E> {
        let gone = || E::from(StoreError::OutcomeUnknown("the store was closed".to_owned()));
        self.0.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> StoreError {
    StoreError::OutcomeUnknown("the store was closed".to_owned())
}

#[async_trait]
impl Journal for PgStore {
    async fn append(&self, append: Append) -> Result<(), StoreError> {
        let (tenant, run_id, epoch) = (append.tenant.clone(), append.run_id.clone(), append.fence.epoch);
        let kept = append.claim == Claim::Keep;
        let (job, answer) = append::job(append);
        self.appends.send(job).map_err(|_| gone())?;
        let result = answer.await.map_err(|_| gone())?;
        if matches!(result, Err(StoreError::Conflict(_))) || (result.is_ok() && !kept) {
            self.shared.held.remove(&tenant, &run_id, epoch);
        }
        result
    }

    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
        let owner = owner.to_owned();
        self.spawn(|shared| async move { claim::claim(&shared, &owner, now, limit).await }).get().await
    }

    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
        let (owner, tenant, run_id) = (owner.to_owned(), tenant.to_owned(), run_id.to_owned());
        self.spawn(|shared| async move { claim::claim_run(&shared, &owner, &tenant, &run_id).await }).get().await
    }
}

#[async_trait]
impl KeyValues for PgStore {
    async fn read(&self, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError> {
        let (tenant, key) = (tenant.to_owned(), key.to_owned());
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            read::value(&client, &tenant, &key).await
        })
        .get()
        .await
    }
}

#[async_trait]
impl Store for PgStore {
    async fn open_run(&self, admitted: Admitted, owner: Option<String>, stamp: Stamp) -> Result<Opened, CommandError> {
        let (job, answer) = open::job(admitted, owner, stamp);
        self.openings.send(job).map_err(|_| gone())?;
        let opened = answer.await.map_err(|_| gone())??;
        if let Some(fence) = &opened.fence {
            self.shared.held.add(&fence.owner, &opened.run.tenant, &opened.run.id, fence.epoch);
        }
        Ok(opened)
    }

    async fn change_tenant(&self, tenant: &str, change: TenantChange, stamp: Stamp) -> Result<(), CommandError> {
        let tenant = tenant.to_owned();
        self.spawn(|shared| async move { tenant::change(&shared, &tenant, &change, &stamp).await }).get().await
    }

    async fn retain(&self, tenant: &str, step: Retention, stamp: Stamp) -> Result<(), CommandError> {
        let tenant = tenant.to_owned();
        self.spawn(|shared| async move { tenant::retain(&shared, &tenant, &step, &stamp).await }).get().await
    }

    async fn over_before(&self, tenant: &str, time: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let (tenant, time) = (tenant.to_owned(), time.to_owned());
        self.spawn(|shared| async move {
            retention::over_before(&*connection(&shared.pool).await?, &tenant, &time, limit).await
        })
        .get()
        .await
    }

    async fn list_kept(&self, tenant: Option<&str>) -> Result<Vec<KeptRun>, StoreError> {
        let tenant = tenant.map(str::to_owned);
        self.spawn(
            |shared| async move { retention::list_kept(&*connection(&shared.pool).await?, tenant.as_deref()).await },
        )
        .get()
        .await
    }

    async fn list_holds(&self, tenant: &str) -> Result<Vec<HoldRow>, StoreError> {
        let tenant = tenant.to_owned();
        self.spawn(|shared| async move { retention::list_holds(&*connection(&shared.pool).await?, &tenant).await })
            .get()
            .await
    }

    async fn load_run(&self, tenant: &str, run_id: &str) -> Result<Option<Run>, StoreError> {
        let (tenant, run_id) = (tenant.to_owned(), run_id.to_owned());
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            read::load_run(&client, &shared.log, &tenant, &run_id).await
        })
        .get()
        .await
    }

    async fn evidence(&self, tenant: &str, run_id: &str) -> Result<Evidence, StoreError> {
        let (tenant, run_id) = (tenant.to_owned(), run_id.to_owned());
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            evidence::evidence(&client, &shared.log, &tenant, &run_id).await
        })
        .get()
        .await
    }

    async fn subtree_roots(&self, ranges: Vec<Range>) -> Result<Vec<Hash>, StoreError> {
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            read::subtree_roots(&client, &ranges).await
        })
        .get()
        .await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            read::checkpoint(&client).await
        })
        .get()
        .await
    }

    async fn list_runs(&self, tenant: Option<&str>, limit: usize) -> Result<Vec<RunListing>, StoreError> {
        let tenant = tenant.map(str::to_owned);
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            read::list_runs(&client, tenant.as_deref(), limit).await
        })
        .get()
        .await
    }

    async fn list_agents(&self, tenant: Option<&str>) -> Result<Vec<AgentRow>, StoreError> {
        let tenant = tenant.map(str::to_owned);
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            read::list_agents(&client, tenant.as_deref()).await
        })
        .get()
        .await
    }

    fn log(&self) -> &str {
        &self.shared.log
    }

    fn place(&self) -> String {
        self.address.place()
    }

    async fn ledger_key(&self) -> Result<Option<String>, StoreError> {
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            Ok(read::ledger(&client).await?.map(|(_, vkey)| vkey))
        })
        .get()
        .await
    }

    async fn tree_size(&self) -> Result<u64, StoreError> {
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            read::tree_size(&client).await
        })
        .get()
        .await
    }

    async fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        self.spawn(|shared| async move {
            let client = connection(&shared.pool).await?;
            read::root_at(&client, size).await
        })
        .get()
        .await
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(snapshot::PgSnapshot::begin(&self.address, &self.shared.log)?))
    }

    async fn give_back(&self, tenant: &str, run_id: &str, fence: &Fence, at: u64) -> Result<(), StoreError> {
        let (tenant, run_id, fence) = (tenant.to_owned(), run_id.to_owned(), fence.clone());
        self.spawn(|shared| async move { claim::give_back(&shared, &tenant, &run_id, &fence, at).await }).get().await
    }

    async fn has_due(&self, at: u64) -> Result<bool, StoreError> {
        self.spawn(|shared| async move { worker::has_due(&shared, at).await }).get().await
    }

    async fn leave_request(&self, tenant: &str, run_id: Option<&str>, body: &str) -> Result<i64, StoreError> {
        let (tenant, run_id, body) = (tenant.to_owned(), run_id.map(str::to_owned), body.to_owned());
        self.spawn(|shared| async move { worker::leave_request(&shared, &tenant, run_id.as_deref(), &body).await })
            .get()
            .await
    }

    async fn take_answer(&self, tenant: &str, id: i64) -> Result<Option<String>, StoreError> {
        let tenant = tenant.to_owned();
        self.spawn(|shared| async move { worker::take_answer(&shared, &tenant, id).await }).get().await
    }

    async fn withdraw_request(&self, tenant: &str, id: i64) -> Result<bool, StoreError> {
        let tenant = tenant.to_owned();
        self.spawn(|shared| async move { worker::withdraw_request(&shared, &tenant, id).await }).get().await
    }

    async fn open_requests(&self, worker: &str) -> Result<Vec<Request>, StoreError> {
        let worker = worker.to_owned();
        self.spawn(|shared| async move { worker::open_requests(&shared, &worker).await }).get().await
    }

    async fn answer_request(&self, request: &Request, answer: &str) -> Result<(), StoreError> {
        let (request, answer) = (request.clone(), answer.to_owned());
        self.spawn(|shared| async move { worker::answer_request(&shared, &request, &answer).await }).get().await
    }

    fn lease(&self) -> Option<LeaseTerms> {
        Some(self.shared.terms)
    }

    async fn register_worker(&self, worker: &str, about: &WorkerAbout) -> Result<(), StoreError> {
        let (worker, about) = (worker.to_owned(), about.clone());
        self.spawn(|shared| async move { worker::register(&shared, &worker, &about).await }).get().await
    }

    async fn heartbeat(&self, worker: &str) -> Result<bool, StoreError> {
        let worker = worker.to_owned();
        self.spawn(|shared| async move { worker::heartbeat(&shared, &worker).await }).get().await
    }

    async fn retire_worker(&self, worker: &str) -> Result<(), StoreError> {
        let worker = worker.to_owned();
        self.spawn(|shared| async move { worker::retire(&shared, &worker).await }).get().await
    }

    async fn reap(&self) -> Result<Reaped, StoreError> {
        self.spawn(|shared| async move { worker::reap(&shared).await }).get().await
    }

    async fn list_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.spawn(|shared| async move { worker::list(&shared).await }).get().await
    }

    async fn set_limit(&self, tenant: &str, agent: Option<&str>, max_running: Option<u32>) -> Result<(), CommandError> {
        let (tenant, agent) = (tenant.to_owned(), agent.map(str::to_owned));
        self.spawn(|shared| async move { worker::set_limit(&shared, &tenant, agent.as_deref(), max_running).await })
            .get()
            .await
    }

    async fn limits(&self, tenant: &str) -> Result<Vec<LimitRow>, StoreError> {
        let tenant = tenant.to_owned();
        self.spawn(|shared| async move { worker::limits(&shared, &tenant).await }).get().await
    }

    async fn sequence(&self) -> Result<bool, StoreError> {
        let Some(signing) = self.signing.clone() else { return Ok(false) };
        self.spawn(|shared| async move { signing::pass(&shared, &signing).await }).get().await
    }
}
