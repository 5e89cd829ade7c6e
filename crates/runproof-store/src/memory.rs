//! The reference implementation: what a store promises, said with ordinary maps, and the test double of all above it.
//!
//! It means exactly what the other stores mean (one conformance suite holds all of them to it), keeps nothing beyond
//! the process, and signs right after each commit instead of a moment later.

mod retention;
mod snapshot;
mod state;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use runproof_engine::admission::{Admitted, StreamHead, engine};
use runproof_engine::draft::Committer;
use runproof_engine::ports::{Append, Claimed, Claims, Fence, Journal, KeyValues, StoreError, Stored};
use runproof_engine::run::Run;
use runproof_proof::event::{FORMAT_LEVEL, LogCreated, Stream};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Range;

use crate::{
    AgentRow, CommandError, Evidence, HoldRow, KeptRun, LeaseTerms, LimitRow, Notary, Opened, Reaped, Request,
    Retention, RunListing, Snapshot, Stamp, Store, TenantChange, TransitionRow, Tree, WorkerAbout, WorkerRow,
};
use snapshot::MemorySnapshot;
use state::{Key, Queued, RUN_TABLES, State, of_stream, raw_rows};

/// A store that forgets everything with the process.
pub struct MemoryStore {
    log: String,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store with a ledger of its own.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the ledger's first event cannot be written or signed.
    pub fn new(notary: Box<dyn Notary>, seed: [u8; 32]) -> Result<Self, StoreError> {
        let verifier = notary.signer().verifier();
        let log = verifier.name().to_owned();
        let body = LogCreated { engine: engine(), vkey: verifier.vkey() }.into();
        let line = StreamHead::default()
            .write(&log, Stream::Log, notary.now(), body, Committer::new(&seed, 0))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let mut state = State {
            log: log.clone(),
            notary,
            mute: false,
            tree: Tree::default(),
            tiles: BTreeMap::new(),
            transitions: Vec::new(),
            heads: BTreeMap::new(),
            agents: BTreeMap::new(),
            queue: BTreeMap::new(),
            keys: BTreeMap::new(),
            rows: BTreeMap::new(),
            values: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            tenants: BTreeMap::new(),
            limits: BTreeMap::new(),
            requests: Vec::new(),
            next_request: 1,
            archives: BTreeMap::new(),
            tombstones: BTreeMap::new(),
        };
        state.transition("", &Stream::Log, 0, &[line]);
        state.commit();
        if state.mute {
            return Err(StoreError::Unavailable("the first checkpoint could not be kept".to_owned()));
        }
        Ok(Self { log, state: Mutex::new(state) })
    }

    /// Gives back every claim, as a process does that starts after another one ended.
    pub fn reclaim(&self) {
        for queued in self.state().queue.values_mut().filter(|queued| queued.owner.is_some()) {
            queued.owner = None;
            queued.wake_at.get_or_insert(0);
        }
    }

    /// For tests: as if a version that knows this level had written to a run that is queued.
    pub fn set_format(&self, tenant: &str, run_id: &str, level: u32) {
        if let Some(queued) = self.state().queue.get_mut(&(tenant.to_owned(), run_id.to_owned())) {
            queued.format = level;
        }
    }

    /// For tests: somebody writes to the events of a run.
    pub fn rewrite(&self, tenant: &str, run_id: &str, from: &str, to: &str) {
        let stream = format!("run/{run_id}");
        for row in self.state().transitions.iter_mut().filter(|row| row.tenant == tenant && row.stream == stream) {
            row.events = row.events.replace(from, to);
        }
    }

    /// Every transition, in the order of the ledger.
    pub fn transitions(&self) -> Vec<TransitionRow> {
        self.state().transitions.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made whole before the lock is given back: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for MemoryStore {
    async fn append(&self, append: Append) -> Result<(), StoreError> {
        self.state().append(&append)
    }

    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
        self.state().claim_due(owner, now, limit)
    }

    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
        self.state().claim(owner, &(tenant.to_owned(), run_id.to_owned()))
    }
}

#[async_trait]
impl KeyValues for MemoryStore {
    async fn read(&self, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError> {
        Ok(self.state().values.get(&(tenant.to_owned(), key.to_owned())).cloned())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn open_run(&self, admitted: Admitted, owner: Option<String>, stamp: Stamp) -> Result<Opened, CommandError> {
        self.state().open_run(&admitted, owner, &stamp)
    }

    async fn change_tenant(&self, tenant: &str, change: TenantChange, stamp: Stamp) -> Result<(), CommandError> {
        self.state().change_tenant(tenant, &change, &stamp)
    }

    async fn retain(&self, tenant: &str, step: Retention, stamp: Stamp) -> Result<(), CommandError> {
        self.state().retain(tenant, &step, &stamp)
    }

    async fn over_before(&self, tenant: &str, time: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        Ok(self.state().over_before(tenant, time, limit))
    }

    async fn list_kept(&self, tenant: Option<&str>) -> Result<Vec<KeptRun>, StoreError> {
        let state = self.state();
        let kept = retention::list_kept(&state.archives, &state.tombstones);
        Ok(kept.into_iter().filter(|run| tenant.is_none_or(|tenant| tenant == run.tenant_id)).collect())
    }

    async fn list_holds(&self, tenant: &str) -> Result<Vec<HoldRow>, StoreError> {
        Ok(self.state().list_holds(tenant))
    }

    async fn load_run(&self, tenant: &str, run_id: &str) -> Result<Option<Run>, StoreError> {
        self.state().load(tenant, run_id)
    }

    async fn evidence(&self, tenant: &str, run_id: &str) -> Result<Evidence, StoreError> {
        let state = self.state();
        let rows = raw_rows(state.rows.get(&(tenant.to_owned(), run_id.to_owned())));
        Ok(Evidence {
            log: state.log.clone(),
            transitions: state.stream(tenant, &format!("run/{run_id}")),
            tenant_transitions: state.stream(tenant, &format!("tenant/{tenant}")),
            rows,
            shared: BTreeMap::new(),
            checkpoint: state.newest(),
            settled_id: None,
            archive: state.archives.get(&(tenant.to_owned(), run_id.to_owned())).cloned(),
            tombstone: state.tombstones.get(&(tenant.to_owned(), run_id.to_owned())).cloned(),
        })
    }

    async fn subtree_roots(&self, ranges: Vec<Range>) -> Result<Vec<Hash>, StoreError> {
        let state = self.state();
        ranges.into_iter().map(|range| state.subtree_root(range)).collect()
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        Ok(self.state().newest())
    }

    async fn list_runs(&self, tenant: Option<&str>, limit: usize) -> Result<Vec<RunListing>, StoreError> {
        let state = self.state();
        let ours = state.rows.keys().filter(|(owner, _)| tenant.is_none_or(|tenant| tenant == owner));
        let mut runs: Vec<RunListing> = ours.filter_map(|key| state.listing(key)).collect();
        runs.sort_by(|a, b| (&b.created_at, &b.run_id).cmp(&(&a.created_at, &a.run_id)));
        runs.truncate(limit);
        Ok(runs)
    }

    async fn list_agents(&self, tenant: Option<&str>) -> Result<Vec<AgentRow>, StoreError> {
        let state = self.state();
        Ok(state
            .agents
            .values()
            .filter(|agent| tenant.is_none_or(|tenant| tenant == agent.tenant_id))
            .cloned()
            .collect())
    }

    fn log(&self) -> &str {
        &self.log
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn ledger_key(&self) -> Result<Option<String>, StoreError> {
        Ok(Some(self.state().notary.signer().verifier().vkey()))
    }

    async fn tree_size(&self) -> Result<u64, StoreError> {
        Ok(self.state().tree.size())
    }

    async fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        if size == 0 {
            return Ok(runproof_proof::merkle::root(&[]));
        }
        self.state().subtree_root(Range { start: 0, end: size })
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(MemorySnapshot::of(&self.state())))
    }

    async fn give_back(&self, tenant: &str, run_id: &str, fence: &Fence, at: u64) -> Result<(), StoreError> {
        if let Some(queued) = self.state().queue.get_mut(&(tenant.to_owned(), run_id.to_owned()))
            && queued.owner.as_ref() == Some(&fence.owner)
            && queued.epoch == fence.epoch
        {
            (queued.owner, queued.wake_at) = (None, Some(at));
        }
        Ok(())
    }

    async fn has_due(&self, at: u64) -> Result<bool, StoreError> {
        let is_due = |queued: &Queued| {
            queued.owner.is_none()
                && queued.wake_at.is_some_and(|wake_at| wake_at <= at)
                && queued.format <= FORMAT_LEVEL
        };
        Ok(self.state().queue.values().any(is_due))
    }

    async fn leave_request(&self, tenant: &str, _run_id: Option<&str>, body: &str) -> Result<i64, StoreError> {
        let mut state = self.state();
        let id = state.next_request;
        state.next_request += 1;
        state.requests.push((Request { id, tenant: tenant.to_owned(), body: body.to_owned() }, None));
        Ok(id)
    }

    async fn take_answer(&self, tenant: &str, id: i64) -> Result<Option<String>, StoreError> {
        let mut state = self.state();
        let is_it = |(request, answer): &mut (Request, Option<String>)| {
            request.id == id && request.tenant == tenant && answer.is_some()
        };
        Ok(state.requests.extract_if(.., is_it).next().and_then(|(_, answer)| answer))
    }

    async fn withdraw_request(&self, tenant: &str, id: i64) -> Result<bool, StoreError> {
        let mut state = self.state();
        let before = state.requests.len();
        state.requests.retain(|(request, answer)| request.id != id || request.tenant != tenant || answer.is_some());
        Ok(state.requests.len() < before)
    }

    async fn open_requests(&self, _worker: &str) -> Result<Vec<Request>, StoreError> {
        let state = self.state();
        let open = state.requests.iter().filter(|(_, answer)| answer.is_none());
        Ok(open.map(|(request, _)| request.clone()).collect())
    }

    async fn answer_request(&self, request: &Request, answer: &str) -> Result<(), StoreError> {
        let mut state = self.state();
        if let Some((_, said)) = state.requests.iter_mut().find(|(open, _)| open.id == request.id) {
            *said = Some(answer.to_owned());
        }
        Ok(())
    }

    fn lease(&self) -> Option<LeaseTerms> {
        None
    }

    async fn register_worker(&self, _worker: &str, _about: &WorkerAbout) -> Result<(), StoreError> {
        Ok(())
    }

    async fn heartbeat(&self, _worker: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn retire_worker(&self, _worker: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn reap(&self) -> Result<Reaped, StoreError> {
        Ok(Reaped::default())
    }

    async fn list_workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn set_limit(&self, tenant: &str, agent: Option<&str>, max_running: Option<u32>) -> Result<(), CommandError> {
        let mut state = self.state();
        if !state.heads.contains_key(tenant) {
            return Err(CommandError::NoTenant(tenant.to_owned()));
        }
        let key = (tenant.to_owned(), agent.unwrap_or_default().to_owned());
        if agent.is_some() && !state.agents.contains_key(&key) {
            return Err(CommandError::NoAgent { tenant: key.0, agent: key.1 });
        }
        match max_running {
            Some(most) => state.limits.insert(key, most),
            None => state.limits.remove(&key),
        };
        Ok(())
    }

    async fn limits(&self, tenant: &str) -> Result<Vec<LimitRow>, StoreError> {
        let state = self.state();
        let ours = state.limits.iter().filter(|((owner, _), _)| owner == tenant);
        let row = |((_, agent), most): (&Key, &u32)| {
            let counts = |((owner, _), queued): &(&Key, &Queued)| {
                owner == tenant && queued.owner.is_some() && (agent.is_empty() || *agent == queued.agent)
            };
            LimitRow {
                tenant_id: tenant.to_owned(),
                agent_id: Some(agent.clone()).filter(|agent| !agent.is_empty()),
                max_running: *most,
                running: state.queue.iter().filter(counts).count() as u64,
            }
        };
        Ok(ours.map(row).collect())
    }

    async fn sequence(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}
