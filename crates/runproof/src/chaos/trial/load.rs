//! What people do meanwhile: they open runs, look how they stand, and say what came of attempts that nobody knows of.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runproof_engine::admission::{RunRequest, USUAL_PRIORITY};
use runproof_proof::event::EffectClass;
use runproof_store::RunListing;
use tokio::task::{JoinHandle, JoinSet};

use super::super::receiver::Receiver;
use super::super::scenario::{AGENT, PlannedRun, Scenario, step_id};
use super::super::workers::Surroundings;
use super::super::{failed, lock};
use super::Shared;
use super::place::Place;
use crate::app::{App, local_actor};
use crate::engine::Engine;
use crate::error::{AppError, Kind};
use crate::output::Output;
use crate::runtime;

/// How often they look.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a person waits before answering: what was sent has arrived by then.
const THINKS_FOR: Duration = Duration::from_secs(1);
/// Answers that are given at the same time.
const AT_ONCE: usize = 4;
/// How often an opening is tried. It lasts longer than any outage of a trial.
const OPENINGS: u32 = 600;
const QUIET: Output = Output { json: true, verbose: false };

/// The tasks that do it.
pub(super) struct Load {
    opener: JoinHandle<Result<(), AppError>>,
    looker: JoinHandle<()>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.opener.abort();
        self.looker.abort();
    }
}

impl Load {
    pub(super) async fn begin(
        place: &Place,
        scenario: &Scenario,
        receiver: &Arc<Receiver>,
        shared: &Arc<Shared>,
    ) -> Result<Self, AppError> {
        let busy = || failed("another process is the engine of the trial's database");
        let engine = Arc::new(place.opener.engine(QUIET).await?.ok_or_else(busy)?);
        let runs = scenario.runs.clone();
        let address = receiver.address();
        let opener = if place.lease.is_some() {
            tokio::spawn(open_all(engine, runs, address, Arc::clone(shared), true))
        } else {
            // One process is the engine: all are opened before it starts.
            open_all(engine, runs, address, Arc::clone(shared), false).await?;
            tokio::spawn(async { Ok(()) })
        };
        let looker = Looker {
            app: place.direct.clone(),
            surroundings: place.through_proxy.clone(),
            planned: scenario.runs.iter().map(|run| (run.number, run.clone())).collect(),
            receiver: Arc::clone(receiver),
            shared: Arc::clone(shared),
        };
        Ok(Self { opener, looker: tokio::spawn(looker.look()) })
    }

    /// Ends both. What was never opened is an error: nothing can be said about it.
    pub(super) async fn end(mut self) -> Result<(), AppError> {
        self.looker.abort();
        if !self.opener.is_finished() {
            return Err(failed("runs could not be opened to the end"));
        }
        (&mut self.opener).await.map_err(|error| failed(format!("opening runs: {error}")))?
    }
}

async fn open_all(
    engine: Arc<Engine>,
    runs: Vec<PlannedRun>,
    receiver: std::net::SocketAddr,
    shared: Arc<Shared>,
    in_time: bool,
) -> Result<(), AppError> {
    let started = Instant::now();
    let mut openings: JoinSet<Result<(), AppError>> = JoinSet::new();
    for run in runs {
        if in_time {
            tokio::time::sleep(run.at.saturating_sub(started.elapsed())).await;
        }
        let (engine, shared) = (Arc::clone(&engine), Arc::clone(&shared));
        openings.spawn(async move {
            let run_id = open(&engine, &run, receiver).await?;
            lock(&shared.opened).insert(run.number, run_id);
            Ok(())
        });
    }
    while let Some(ended) = openings.join_next().await {
        ended.map_err(|error| failed(format!("opening a run: {error}")))??;
    }
    Ok(())
}

/// Opens a run, as often as it takes to be told that it is: the key makes one run of all tries.
async fn open(engine: &Engine, run: &PlannedRun, receiver: std::net::SocketAddr) -> Result<String, AppError> {
    let request = RunRequest {
        run_id: runtime::new_id(),
        tenant: run.tenant.clone(),
        agent: AGENT.to_owned(),
        goal: format!("chaos {}", run.number),
        plan: Some(run.plan(receiver)),
        inputs: None,
        origin_system_id: "chaos".to_owned(),
        actor: local_actor(),
        synthetic_scenario_id: Some("chaos".to_owned()),
        idempotency_key: Some(format!("chaos-{}", run.number)),
        priority: USUAL_PRIORITY,
    };
    let mut tries = 0;
    loop {
        match engine.open(request.clone(), false).await {
            Ok((run, _, _)) => return Ok(run.id),
            Err(error) if error.kind == Kind::Store && tries < OPENINGS => tries += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Run and step.
type Call = (String, String);

/// The call for which a run waits for a person.
fn held(run: &RunListing) -> Option<Call> {
    let waits = run.wait_reason.as_deref() == Some("resolution");
    Some((run.run_id.clone(), run.wait_ref.clone().filter(|_| waits)?))
}

struct Looker {
    app: App,
    surroundings: Surroundings,
    planned: BTreeMap<u32, PlannedRun>,
    receiver: Arc<Receiver>,
    shared: Arc<Shared>,
}

impl Looker {
    async fn look(self) {
        let this = Arc::new(self);
        // By run and step: since when it waits.
        let mut waiting: BTreeMap<Call, Instant> = BTreeMap::new();
        let mut answering: BTreeSet<Call> = BTreeSet::new();
        let mut answers: JoinSet<Call> = JoinSet::new();
        let mut store = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            while let Some(Ok(call)) = answers.try_join_next() {
                answering.remove(&call);
            }
            if store.is_none() {
                store = this.app.reader().await.ok();
            }
            // A database that is down now is looked at again: the trial ends when nothing changes for long.
            let Some(reader) = &store else { continue };
            let Ok(runs) = reader.list_runs(None, this.planned.len() * 2 + 100).await else { continue };
            let held: BTreeSet<Call> = runs.iter().filter_map(held).collect();
            let over = runs.iter().filter(|run| run.completed_at.is_some()).count() as u64;
            *lock(&this.shared.stand) = (over, held.len() as u64);
            waiting.retain(|call, _| held.contains(call));
            for call in held {
                let since = waiting.entry(call.clone()).or_insert_with(Instant::now);
                let waits = since.elapsed() < THINKS_FOR || this.shared.may_surprise.load(Ordering::SeqCst);
                if waits || answers.len() >= AT_ONCE || answering.contains(&call) {
                    continue;
                }
                answering.insert(call.clone());
                let this = Arc::clone(&this);
                answers.spawn_blocking(move || this.answer(call));
            }
        }
    }

    /// Says what came of a call: what the receiver knows of it.
    fn answer(&self, call: Call) -> Call {
        let (run_id, step) = &call;
        if let Some(happened) = self.happened(run_id, step) {
            self.resolve(run_id, step, happened);
        }
        call
    }

    /// Whether a call took effect. `None`: nobody has opened such a run.
    fn happened(&self, run_id: &str, step: &str) -> Option<bool> {
        let opened = lock(&self.shared.opened);
        let (number, _) = opened.iter().find(|(_, id)| *id == run_id)?;
        let planned = self.planned.get(number)?;
        let (_, planned) = planned.steps.iter().enumerate().find(|(place, _)| step_id(*place) == step)?;
        // What is not called over the network took no effect there.
        let class: EffectClass = planned.class;
        Some(self.receiver.took_effect(&format!("{}/{number}/{step}", class.word())))
    }

    /// By the command that a person uses. One that fails is given again, as long as the run waits.
    fn resolve(&self, run_id: &str, step: &str, happened: bool) {
        let word = if happened { "done" } else { "not-done" };
        let arguments = ["resolve", run_id, step, word, "--reason", "looked at the receiver", "--json"];
        let mut command = self.surroundings.command(&arguments);
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if ended.is_ok_and(|status| status.success()) {
            self.shared.resolved.fetch_add(1, Ordering::SeqCst);
        }
    }
}
