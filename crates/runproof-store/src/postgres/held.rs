//! What this process has claimed: where requests have to be looked for, and what a lost answer to a claim brought.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Claims by tenant and run, with their worker.
#[derive(Default)]
pub(super) struct Held {
    runs: Mutex<BTreeMap<(String, String), String>>,
    in_doubt: AtomicBool,
}

impl Held {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<(String, String), String>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, worker: &str, tenant: &str, run_id: &str) {
        self.runs().insert((tenant.to_owned(), run_id.to_owned()), worker.to_owned());
    }

    pub(super) fn remove(&self, tenant: &str, run_id: &str) {
        self.runs().remove(&(tenant.to_owned(), run_id.to_owned()));
    }

    pub(super) fn has(&self, worker: &str, tenant: &str, run_id: &str) -> bool {
        self.runs().get(&(tenant.to_owned(), run_id.to_owned())).is_some_and(|holder| holder == worker)
    }

    /// Tenants of what a worker holds.
    pub(super) fn tenants(&self, worker: &str) -> Vec<String> {
        let runs = self.runs();
        let mut tenants: Vec<String> =
            runs.iter().filter(|(_, holder)| *holder == worker).map(|((tenant, _), _)| tenant.clone()).collect();
        tenants.dedup();
        tenants
    }

    /// The answer to a claim was lost.
    pub(super) fn doubt(&self) {
        self.in_doubt.store(true, Ordering::SeqCst);
    }

    /// Everything that this process has is known again.
    pub(super) fn believe(&self) {
        self.in_doubt.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_sure(&self) -> bool {
        !self.in_doubt.load(Ordering::SeqCst)
    }
}
