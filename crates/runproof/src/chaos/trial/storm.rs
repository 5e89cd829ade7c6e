//! Injects the faults, each when its time has come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runproof_store::Store;
use tokio::task::JoinHandle;

use super::super::proxy::Proxy;
use super::super::scenario::Fault;
use super::super::servers::Servers;
use super::super::workers::Fleet;
use super::super::{failed, lock};
use crate::error::AppError;

/// How long the database may take to say which workers hold runs: it may be down itself.
const ASK_FOR: Duration = Duration::from_millis(100);

/// How long a fault of a worker waits for one that holds runs.
const AIM_FOR: Duration = Duration::from_secs(1);

/// The faults of a trial, and what they are done to.
pub(super) struct Storm {
    pub(super) fleet: Fleet,
    servers: Option<Arc<Mutex<Servers>>>,
    /// Says which workers hold runs, where several may.
    store: Option<Arc<dyn Store>>,
    /// A crash of a server, until it is back.
    crash: Option<JoinHandle<Result<(), AppError>>>,
    /// Last first.
    faults: Vec<(Duration, Fault)>,
    injected: BTreeMap<String, u64>,
    calm: bool,
}

impl Drop for Storm {
    fn drop(&mut self) {
        // A server that is being started again has to be there to be ended.
        if let (Some(_), Some(servers)) = (&self.crash, &self.servers) {
            drop(lock(servers));
        }
    }
}

impl Storm {
    pub(super) fn new(
        fleet: Fleet,
        servers: Option<Servers>,
        store: Option<Arc<dyn Store>>,
        faults: &[(Duration, Fault)],
    ) -> Self {
        let servers = servers.map(|servers| Arc::new(Mutex::new(servers)));
        let faults = faults.iter().rev().copied().collect();
        Self { fleet, servers, store, crash: None, faults, injected: BTreeMap::new(), calm: false }
    }

    /// Faults that are still to come.
    pub(super) fn to_come(&self) -> usize {
        self.faults.len()
    }

    /// What was injected, by kind. Of COMMITs the proxy knows how many were really lost.
    pub(super) fn injected(&self) -> BTreeMap<String, u64> {
        self.injected.clone()
    }

    /// Injects what is due. Answers whether there is more to come, or something is still broken.
    pub(super) async fn turn(&mut self, elapsed: Duration, proxy: Option<&Proxy>) -> Result<bool, AppError> {
        if let Some(crash) = self.crash.take_if(|crash| crash.is_finished()) {
            crash.await.map_err(|error| failed(format!("a server could not be started again: {error}")))??;
        }
        self.fleet.tend()?;
        while let Some((at, fault)) = self.faults.last().copied() {
            let crashes = matches!(fault, Fault::CrashPostgres | Fault::CrashPooler);
            if at > elapsed || (crashes && self.crash.is_some()) {
                break;
            }
            let aimed = self.aimed(fault).await;
            if aimed.is_none() && elapsed < at + AIM_FOR {
                break;
            }
            self.faults.pop();
            let fault = aimed.unwrap_or(fault);
            if self.inject(fault, proxy)? {
                *self.injected.entry(fault.word().to_owned()).or_default() += 1;
            }
        }
        let stormy = !self.faults.is_empty() || self.crash.is_some() || self.fleet.may_surprise();
        if !stormy && !self.calm {
            self.calm = true;
            if let Some(proxy) = proxy {
                proxy.calm();
            }
        }
        Ok(stormy)
    }

    /// A fault of a worker, at one that holds runs; `None` when there is no such worker just now. Any other fault, and
    /// where nobody can say who holds runs, as it is.
    async fn aimed(&self, fault: Fault) -> Option<Fault> {
        let (Fault::Kill { worker } | Fault::Freeze { worker, .. }) = fault else { return Some(fault) };
        let Some(store) = &self.store else { return Some(fault) };
        let workers = tokio::time::timeout(ASK_FOR, store.list_workers()).await.ok()?.ok()?;
        let busy: Vec<String> = workers.into_iter().filter(|row| row.running > 0).map(|row| row.id).collect();
        let worker = self.fleet.aim(worker, &busy)?;
        match fault {
            Fault::Kill { .. } => Some(Fault::Kill { worker }),
            Fault::Freeze { lasts_ms, .. } => Some(Fault::Freeze { worker, lasts_ms }),
            Fault::Cut { .. } | Fault::LoseReply | Fault::LoseCommit | Fault::Slow { .. } => Some(fault),
            Fault::CrashPostgres | Fault::CrashPooler => Some(fault),
        }
    }

    /// Answers whether it happened, as far as that can be known here.
    fn inject(&mut self, fault: Fault, proxy: Option<&Proxy>) -> Result<bool, AppError> {
        match fault {
            Fault::Kill { worker } => return Ok(self.fleet.kill(worker)),
            Fault::Freeze { worker, lasts_ms } => return self.fleet.freeze(worker, Duration::from_millis(lasts_ms)),
            Fault::CrashPostgres => return Ok(self.crash(Servers::crash_postgres)),
            Fault::CrashPooler => return Ok(self.crash(Servers::crash_pooler)),
            Fault::Cut { .. } | Fault::LoseReply | Fault::LoseCommit | Fault::Slow { .. } => {}
        }
        let Some(proxy) = proxy else { return Ok(false) };
        match fault {
            Fault::Cut { pick } => Ok(proxy.cut(pick)),
            Fault::Slow { delay_ms, lasts_ms } => {
                proxy.slow(Duration::from_millis(delay_ms), Duration::from_millis(lasts_ms));
                Ok(true)
            }
            Fault::LoseReply => {
                proxy.lose_reply();
                Ok(false)
            }
            Fault::LoseCommit => {
                proxy.lose_commit();
                Ok(false)
            }
            Fault::Kill { .. } | Fault::Freeze { .. } | Fault::CrashPostgres | Fault::CrashPooler => Ok(false),
        }
    }

    fn crash(&mut self, crash: fn(&mut Servers) -> Result<(), AppError>) -> bool {
        let Some(servers) = self.servers.clone() else { return false };
        self.crash = Some(tokio::task::spawn_blocking(move || crash(&mut lock(&servers))));
        true
    }
}
