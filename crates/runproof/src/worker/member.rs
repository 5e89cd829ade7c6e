//! This process among the workers of a store: its name in claims, and its lease on them.
//!
//! A lease is counted here from when the last heartbeat was *sent*, on a clock that nobody sets: the database counts from
//! when it arrived, which is later.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runproof_engine::ports::{Lease, StoreError};
use runproof_store::{LeaseTerms, Store, WorkerAbout};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::pace::Pace;
use crate::runtime;

/// A process that may hold runs.
pub struct Member {
    store: Arc<dyn Store>,
    state: Mutex<State>,
    /// Held while it registers.
    joining: tokio::sync::Mutex<()>,
    /// Whether the lease, once there was one, is lost.
    lapsed: watch::Sender<bool>,
}

struct State {
    name: String,
    /// When the last heartbeat that was answered was sent; `None`: not registered.
    sent: Option<Instant>,
    /// Nothing that cannot be taken back begins any more.
    leaving: bool,
    keeper: Option<AbortHandle>,
}

fn new_name() -> String {
    format!("worker-{}", runtime::new_id())
}

impl Member {
    /// A process with a name of its own, that has registered nowhere yet.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        let state = State { name: new_name(), sent: None, leaving: false, keeper: None };
        Arc::new(Self {
            store,
            state: Mutex::new(state),
            joining: tokio::sync::Mutex::default(),
            lapsed: watch::Sender::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name in claims.
    pub fn name(&self) -> String {
        self.state().name.clone()
    }

    /// Registers, if the store has leases and this process has none, and keeps the lease from then on. After a lapse the
    /// name is a new one.
    ///
    /// # Errors
    /// [`StoreError`]: it holds no lease.
    pub async fn join(self: &Arc<Self>, concurrency: u32) -> Result<(), StoreError> {
        let Some(terms) = self.store.lease() else { return Ok(()) };
        let _joining = self.joining.lock().await;
        if self.state().sent.is_some() {
            return Ok(());
        }
        let name = new_name();
        let about = WorkerAbout { version: env!("CARGO_PKG_VERSION").to_owned(), host: host(), concurrency };
        let sent = Instant::now();
        self.store.register_worker(&name, &about).await?;
        self.lapsed.send_replace(false);
        let member = Arc::clone(self);
        let keeper = tokio::spawn(async move { member.keep(terms).await }).abort_handle();
        let mut state = self.state();
        (state.name, state.sent, state.keeper) = (name, Some(sent), Some(keeper));
        Ok(())
    }

    /// Renews the lease until it is lost. A heartbeat that fails is sent again soon: as long as the database says nothing,
    /// the lease may hold.
    async fn keep(&self, terms: LeaseTerms) {
        let mut again = Pace::new(terms.renew_every / 8, terms.renew_every);
        let mut wait = terms.renew_every;
        loop {
            tokio::time::sleep(wait).await;
            let sent = Instant::now();
            let name = self.name();
            let heartbeat = self.store.heartbeat(&name);
            // A connection that hangs must not take the lease with it: what is late is asked again.
            wait = match tokio::time::timeout(terms.renew_every, heartbeat).await {
                Ok(Ok(true)) => {
                    self.state().sent = Some(sent);
                    again.reset();
                    terms.renew_every.saturating_sub(sent.elapsed())
                }
                Ok(Ok(false)) => break,
                Ok(Err(_)) | Err(_) => again.delay(),
            };
        }
        self.state().sent = None;
        self.lapsed.send_replace(true);
    }

    /// Ends when the lease is lost: what this process holds belongs to others from now on.
    pub async fn lapsed(&self) {
        let mut lapsed = self.lapsed.subscribe();
        if lapsed.wait_for(|lapsed| *lapsed).await.is_err() {
            std::future::pending::<()>().await; // the sender lives as long as this process is a member
        }
    }

    /// From now on nothing begins that cannot be taken back; what is under way goes on.
    pub fn begin_nothing(&self) {
        self.state().leaving = true;
    }

    /// Gives back everything that this process holds, and registers no more.
    ///
    /// # Errors
    /// [`StoreError`]: the lease ends by itself.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let (name, joined) = {
            let mut state = self.state();
            if let Some(keeper) = state.keeper.take() {
                keeper.abort();
            }
            (state.name.clone(), state.sent.take().is_some())
        };
        if joined { self.store.retire_worker(&name).await } else { Ok(()) }
    }
}

impl Lease for Member {
    fn may_begin(&self) -> bool {
        let state = self.state();
        let lasts = |terms: LeaseTerms| state.sent.is_some_and(|sent| sent.elapsed() + terms.margin < terms.lasts);
        !state.leaving && self.store.lease().is_none_or(lasts)
    }
}

/// Name of this machine, for people.
fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = name.unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(255).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// Time for a last word to a store that may not answer.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(2);
