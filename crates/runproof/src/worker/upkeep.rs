//! What any worker of a shared store does beside its runs: it frees the runs of workers that are gone, and gives what is
//! committed its place in the ledger. The embedded store needs neither.

use std::sync::Arc;
use std::time::Duration;

use runproof_proof::finding::counted;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::engine::Engine;
use crate::output::Output;

/// How often leases are looked at: a run goes on within two seconds of the lease of its worker, claim included.
const REAP_EVERY: Duration = Duration::from_millis(500);
/// How often what has no place yet is looked at.
const SEQUENCE_EVERY: Duration = Duration::from_secs(1);

/// Begins both, where the store needs them. They end when the set is dropped. `freed` is told of runs that are free again.
pub(super) fn start(engine: &Arc<Engine>, output: Output, freed: &Arc<Notify>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if engine.store.lease().is_some() {
        tasks.spawn(reap(Arc::clone(engine), output, Arc::clone(freed)));
        tasks.spawn(sequence(Arc::clone(engine), output));
    }
    tasks
}

async fn reap(engine: Arc<Engine>, output: Output, freed: Arc<Notify>) {
    let mut ticks = interval(REAP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        match engine.store.reap().await {
            Ok(reaped) if reaped.workers > 0 || reaped.runs > 0 => {
                freed.notify_one();
                let (workers, runs) =
                    (counted(reaped.workers, "worker", "workers"), counted(reaped.runs, "run", "runs"));
                output.note(&format!("{workers} gone, {runs} free again"));
                failing = false;
            }
            Ok(_) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    output.error(&error.into());
                }
            }
        }
    }
}

/// The store gives places by itself, soon after each commit. It is asked here too, so that people are told when that
/// fails.
async fn sequence(engine: Arc<Engine>, output: Output) {
    let mut ticks = interval(SEQUENCE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        match engine.store.sequence().await {
            Ok(_) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    output.error(&error.into());
                }
            }
        }
    }
}
