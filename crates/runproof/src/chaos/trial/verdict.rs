//! Looks at everything once the workers are gone.

use std::ops::ControlFlow;
use std::sync::Arc;

use runproof_proof::finding::Verdict;
use runproof_proof::trust::Trust;
use runproof_store::Store;
use runproof_store::sqlite::VerifyState;
use tokio::task::JoinSet;

use super::super::history::{Recorded, counters, read};
use super::super::judge::Seen;
use super::super::receiver::Receiver;
use super::super::scenario::{PlannedRun, Scenario};
use super::super::workers::Fleet;
use super::super::{failed, lock};
use super::Shared;
use super::place::Place;
use crate::error::AppError;
use crate::ledger::{Outcome, verify};
use crate::output::Output;

/// Runs that are read at the same time.
const AT_ONCE: usize = 4;
const QUIET: Output = Output { json: true, verbose: false };

/// What was seen, and how large the ledger is.
pub(super) struct Look {
    pub(super) seen: Seen,
    pub(super) leaves: u64,
}

pub(super) async fn look(
    place: &Place,
    scenario: &Scenario,
    receiver: &Receiver,
    shared: &Shared,
    fleet: &Fleet,
) -> Result<Look, AppError> {
    sign_everything(place).await?;
    let store = place.direct.reader().await?;
    let opened = lock(&shared.opened).clone();
    let planned: Vec<PlannedRun> =
        scenario.runs.iter().filter(|run| opened.contains_key(&run.number)).cloned().collect();
    let mut reading: JoinSet<Result<Recorded, AppError>> = JoinSet::new();
    let mut runs = Vec::new();
    for run in &planned {
        while reading.len() >= AT_ONCE {
            runs.extend(next(&mut reading).await?);
        }
        let (store, trust) = (Arc::clone(&store), place.trust.clone());
        let (number, tenant, run_id) = (run.number, run.tenant.clone(), opened[&run.number].clone());
        reading.spawn(async move { Ok(read(store.as_ref(), number, &tenant, &run_id, &trust).await?) });
    }
    while !reading.is_empty() {
        runs.extend(next(&mut reading).await?);
    }
    runs.sort_by_key(|run| run.number);
    let listed = store.list_runs(None, usize::from(u16::MAX)).await?;
    let is_known = |run_id: &str| runs.iter().any(|run| run.run_id == run_id);
    let strangers = listed.into_iter().map(|run| run.run_id).filter(|run_id| !is_known(run_id)).collect();
    let (ledger, leaves) = tokio::task::block_in_place(|| whole_ledger(store.as_ref(), &place.trust))?;
    let seen = Seen {
        planned,
        runs,
        strangers,
        tallies: receiver.tallies(),
        counters: counters(store.as_ref(), u32::try_from(scenario.runs.len()).unwrap_or(u32::MAX)).await?,
        ledger: Some(ledger),
        killed: fleet.killed.clone(),
        woken: fleet.woken.clone(),
    };
    Ok(Look { seen, leaves })
}

async fn next(reading: &mut JoinSet<Result<Recorded, AppError>>) -> Result<Option<Recorded>, AppError> {
    match reading.join_next().await {
        None => Ok(None),
        Some(Ok(read)) => read.map(Some),
        Some(Err(error)) => Err(failed(format!("reading a run: {error}"))),
    }
}

/// Places and signs what the workers had no time for any more.
async fn sign_everything(place: &Place) -> Result<(), AppError> {
    let busy = || failed("another process is the engine of the trial's database");
    let engine = place.direct.engine(QUIET).await?.ok_or_else(busy)?;
    while engine.store.sequence().await? {}
    Ok(())
}

fn whole_ledger(store: &dyn Store, trust: &Trust) -> Result<(Verdict, u64), AppError> {
    let snapshot = store.snapshot()?;
    let state = VerifyState::open(None).map_err(|error| failed(error.to_string()))?;
    let leaves = snapshot.size()?;
    match verify(snapshot.as_ref(), &state, trust, false, &mut |_| ControlFlow::Continue(()))? {
        Outcome::Done(report) => Ok((report.verdict(), leaves)),
        Outcome::Interrupted { leaves } => Err(failed(format!("the verification stopped at leaf {leaves}"))),
    }
}
