//! What this process has claimed: where requests have to be looked for, and what a lost answer to a claim brought.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after a lost answer a claim may still come to pass: the server goes on with a statement whose sender is gone.
const DOUBT: Duration = Duration::from_secs(60);

/// Claims by tenant and run, with their worker and epoch.
#[derive(Default)]
pub(super) struct Held {
    runs: Mutex<BTreeMap<(String, String), (String, u64)>>,
    lost_at: Mutex<Option<Instant>>,
}

impl Held {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<(String, String), (String, u64)>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, worker: &str, tenant: &str, run_id: &str, epoch: u64) {
        self.runs().insert((tenant.to_owned(), run_id.to_owned()), (worker.to_owned(), epoch));
    }

    /// The claim of this epoch is over. A later one of the same run stays.
    pub(super) fn remove(&self, tenant: &str, run_id: &str, epoch: u64) {
        let (mut runs, key) = (self.runs(), (tenant.to_owned(), run_id.to_owned()));
        if runs.get(&key).is_some_and(|(_, held)| *held == epoch) {
            runs.remove(&key);
        }
    }

    pub(super) fn has(&self, worker: &str, tenant: &str, run_id: &str, epoch: u64) -> bool {
        let runs = self.runs();
        let held = runs.get(&(tenant.to_owned(), run_id.to_owned()));
        held.is_some_and(|(holder, held)| holder == worker && *held == epoch)
    }

    /// Tenants of what a worker holds.
    pub(super) fn tenants(&self, worker: &str) -> Vec<String> {
        let runs = self.runs();
        let mut tenants: Vec<String> =
            runs.iter().filter(|(_, (holder, _))| holder == worker).map(|((tenant, _), _)| tenant.clone()).collect();
        tenants.dedup();
        tenants
    }

    fn lost_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lost_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may be claimed, now or in a while, that nobody here works on.
    pub(super) fn doubt(&self) {
        *self.lost_at() = Some(Instant::now());
    }

    /// Whether everything that is claimed for this process is known here.
    pub(super) fn is_sure(&self) -> bool {
        self.lost_at().is_none_or(|lost| lost.elapsed() > DOUBT)
    }
}
