//! What is recorded of the runs of a trial, read through the store as everybody reads it.

use std::collections::BTreeMap;

use runproof_engine::ports::StoreError;
use runproof_proof::event::Event;
use runproof_proof::finding::Verdict;
use runproof_proof::trust::Trust;
use runproof_store::Store;

use super::failed;
use super::scenario::{COUNTERS, counter_key, tenants};
use crate::error::AppError;
use crate::prove::prove;

/// One run of the trial, as it is recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its number in the scenario.
    pub number: u32,
    /// Tenant.
    pub tenant: String,
    /// Run id.
    pub run_id: String,
    /// Origin of the log.
    pub log: String,
    /// Its events, in order, as far as they can be read.
    pub events: Vec<Event>,
    /// What its proof says, against a key that was kept outside; with the decisive finding where it is not VERIFIED.
    pub verdict: Option<(Verdict, String)>,
}

/// Reads a run and proves it. A run of which there is nothing has no events and no verdict.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub async fn read(
    store: &dyn Store,
    number: u32,
    tenant: &str,
    run_id: &str,
    trust: &Trust,
) -> Result<Recorded, StoreError> {
    let evidence = store.evidence(tenant, run_id).await?;
    let lines = evidence.transitions.iter().flat_map(|row| row.events.split('\n'));
    // What cannot be decoded is named by the proof.
    let events = lines.filter_map(|line| Event::decode(line.as_bytes()).ok()).collect();
    let proof = prove(store, tenant, run_id, trust, None).await?;
    let verdict = proof.map(|proof| {
        let why = proof.report.decisive();
        let why = why.map_or_else(String::new, |finding| format!("{} at {}", finding.code.word(), finding.place));
        (proof.report.verdict(), why)
    });
    let log = evidence.log;
    Ok(Recorded { number, tenant: tenant.to_owned(), run_id: run_id.to_owned(), log, events, verdict })
}

/// The counters of the transactional steps, by tenant and number. One that nobody has written is 0.
///
/// # Errors
/// [`AppError`] when the store cannot be read, or holds no number there.
pub async fn counters(store: &dyn Store, runs: u32) -> Result<BTreeMap<(String, u64), u64>, AppError> {
    let mut counters = BTreeMap::new();
    for tenant in tenants(runs) {
        for counter in 0..COUNTERS {
            let key = format!("default:{}", counter_key(counter));
            let count = match store.read(&tenant, &key).await? {
                None => 0,
                Some(stored) => serde_json::from_slice(&stored.value)
                    .map_err(|error| failed(format!("the value of `{key}` is no count: {error}")))?,
            };
            counters.insert((tenant.clone(), counter), count);
        }
    }
    Ok(counters)
}
