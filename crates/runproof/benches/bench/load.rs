//! Durable runs of five steps, as many at a time as asked for, through the path that a worker takes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runproof::engine::Engine;
use runproof_engine::draft::Line;
use runproof_engine::driver::Left;
use runproof_engine::ports::Observer;
use runproof_engine::run::Run;
use runproof_proof::event::EndStatus;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::world::{STEPS, World, plan, request};
use crate::{Outcome, system};

/// What one round of load did.
#[derive(Default)]
pub(crate) struct Load {
    /// Runs that were sealed.
    pub(crate) runs: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// From opening to the durable seal, of every run.
    pub(crate) run_times: Vec<Duration>,
    /// From one durable transition of a run to the next, of every step.
    pub(crate) step_times: Vec<Duration>,
    /// Processor time.
    pub(crate) cpu: Duration,
    /// Jobs that the writer committed, and the transactions that held them.
    pub(crate) jobs: u64,
    /// Transactions.
    pub(crate) commits: u64,
    /// Bytes handed to the disk.
    pub(crate) written: u64,
    /// Bytes by which the database grew.
    pub(crate) kept: u64,
    /// Resident memory after a quarter of the time and at the end, in megabytes.
    pub(crate) resident: (f64, f64),
}

impl Load {
    /// Adds another round of the same load.
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.elapsed += other.elapsed;
        self.run_times.extend(other.run_times);
        self.step_times.extend(other.step_times);
        self.cpu += other.cpu;
        self.jobs += other.jobs;
        self.commits += other.commits;
        self.written += other.written;
        self.kept += other.kept;
        self.resident = other.resident;
    }

    /// Steps that settled.
    pub(crate) fn steps(&self) -> f64 {
        self.runs as f64 * STEPS as f64
    }

    /// Jobs that shared a transaction.
    pub(crate) fn batch(&self) -> f64 {
        self.jobs as f64 / self.commits as f64
    }
}

/// Notes when each run last became durable.
#[derive(Default)]
pub(crate) struct Pulse {
    last: Mutex<HashMap<String, Instant>>,
    times: Mutex<Vec<Duration>>,
}

impl Pulse {
    /// The times between durable transitions that were noted since this was asked last.
    pub(crate) fn take(&self) -> Outcome<Vec<Duration>> {
        Ok(std::mem::take(&mut *self.times.lock().map_err(|_| "an observer panicked")?))
    }
}

impl Observer for Pulse {
    fn committed(&self, run: &Run, _lines: &[Line]) {
        let now = Instant::now();
        let (Ok(mut last), Ok(mut times)) = (self.last.lock(), self.times.lock()) else { return };
        let before = if run.seal.is_some() { last.remove(&run.id) } else { last.insert(run.id.clone(), now) };
        times.extend(before.map(|before| now - before));
    }
}

/// Tasks that each open a run and drive it to its seal, one after the other. They answer how long each took.
pub(crate) type Tasks = JoinSet<Outcome<Vec<Duration>>>;

/// Keeps `concurrency` runs going for that time.
pub(crate) fn begin(engine: &Arc<Engine>, concurrency: usize, time: Duration) -> Tasks {
    let started = Instant::now();
    let mut tasks = Tasks::new();
    for _ in 0..concurrency {
        let engine = Arc::clone(engine);
        tasks.spawn(async move {
            let mut times = Vec::new();
            while started.elapsed() < time {
                times.push(one_run(&engine).await?);
            }
            Ok(times)
        });
    }
    tasks
}

/// Opens a run and drives it to its seal. Answers how long that took.
pub(crate) async fn one_run(engine: &Engine) -> Outcome<Duration> {
    let begun = Instant::now();
    let (_, claimed, _) = engine.open(request(plan()), true).await?;
    let (_, left) = engine.drive_once(claimed.ok_or("a new run is claimed")?).await?;
    if left != Left::Ended(EndStatus::Succeeded) {
        return Err(format!("a run did not succeed: {left:?}").into());
    }
    Ok(begun.elapsed())
}

/// Waits for the last run of each.
pub(crate) async fn end(mut tasks: Tasks) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    Ok(times)
}

/// Keeps `concurrency` runs going for that time. Answers the folder too: its database holds what was written.
pub(crate) async fn load(parent: &Path, concurrency: usize, time: Duration) -> Outcome<(Load, TempDir)> {
    let pulse = Arc::new(Pulse::default());
    let world = World::new(parent, Arc::clone(&pulse) as Arc<dyn Observer>).await?;
    let size = world.path.metadata()?.len();
    let (cpu, written, before) = (system::cpu(), system::written(), world.store.commits());
    let started = Instant::now();
    let tasks = begin(&world.engine, concurrency, time);
    tokio::time::sleep(time / 4).await;
    let early = system::resident();
    let mut load = Load { run_times: end(tasks).await?, ..Load::default() };
    let after = world.store.commits();
    load.elapsed = started.elapsed();
    load.runs = load.run_times.len() as u64;
    load.cpu = system::cpu() - cpu;
    load.written = system::written() - written;
    load.jobs = after.jobs - before.jobs;
    load.commits = after.transactions - before.transactions;
    load.resident = (early, system::resident());
    load.step_times = pulse.take()?;
    let database = world.path.clone();
    let folder = world.close();
    load.kept = database.metadata()?.len() - size;
    Ok((load, folder))
}
