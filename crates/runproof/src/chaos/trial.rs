//! A whole trial: sets up, opens runs while things break, lets everything come to an end, and judges.

mod load;
mod place;
mod storm;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::judge::{Seen, judge};
use super::receiver::Receiver;
use super::report::Report;
use super::scenario::{Scenario, Size};
use super::workers::Fleet;
use super::{failed, lock};
use crate::error::AppError;
use crate::output::Output;

use load::Load;
use place::Place;
use storm::Storm;

/// For so long nothing may change once the faults are over, before what is not over counts as lost: several times a lease
/// and the longest delay of a retry.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often things are looked at.
const TICK: Duration = Duration::from_millis(20);
/// How often people are told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Which database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// A Postgres of the trial's own, with programs from this folder, or from where they are found.
    Own(Option<PathBuf>),
    /// An empty Postgres database of the user's.
    Given(String),
    /// The embedded store.
    Sqlite,
}

/// Whether PgBouncer stands in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pooler {
    /// If it is found.
    Auto,
    /// It has to be there.
    On,
    /// No.
    Off,
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of plans and faults.
    pub seed: u64,
    /// Runs.
    pub runs: u32,
    /// Worker processes.
    pub workers: u32,
    /// Most runs of a worker at once.
    pub concurrency: u32,
    /// How long runs are opened and faults injected.
    pub lasts: Duration,
    /// Which database.
    pub store: StoreChoice,
    /// Whether PgBouncer stands in between.
    pub pooler: Pooler,
    /// The program that is tried: each worker is a process of it.
    pub program: PathBuf,
    /// An empty folder for everything that the trial leaves behind.
    pub folder: PathBuf,
}

/// What the parts of a trial tell each other.
#[derive(Default)]
struct Shared {
    /// Ids of the runs whose opening was confirmed, by number.
    opened: Mutex<std::collections::BTreeMap<u32, String>>,
    /// Whether a worker stands still, or has only just gone on.
    may_surprise: AtomicBool,
    /// Answers that a person gave.
    resolved: AtomicU64,
    /// How the runs stood when they were last looked at: over, and waiting for a person.
    stand: Mutex<(u64, u64)>,
}

/// Carries out a trial.
///
/// # Errors
/// [`AppError`] when it cannot be set up or judged. A promise that was broken is no error: the report says so.
pub async fn carry_out(options: &Options, output: Output) -> Result<Report, AppError> {
    let receiver = Arc::new(Receiver::start(options.seed).await?);
    let mut place = Place::prepare(options, receiver.address(), output).await?;
    let size = Size {
        runs: options.runs,
        workers: place.workers(options.workers),
        lasts: options.lasts,
        lease: place.lease,
        servers: place.servers.is_some(),
        pooler: place.has_pooler(),
    };
    let scenario = Scenario::new(options.seed, &size);
    output.note(&format!(
        "seed {}: {} runs, {} faults in {} s, on {}",
        options.seed,
        scenario.runs.len(),
        scenario.faults.len(),
        options.lasts.as_secs(),
        place.description
    ));
    let shared = Arc::new(Shared::default());
    let load = Load::begin(&place, &scenario, &receiver, &shared).await?;
    let logs = options.folder.join("logs");
    std::fs::create_dir_all(&logs).map_err(|error| failed(format!("cannot create `{}`: {error}", logs.display())))?;
    let fleet = Fleet::start(place.through_proxy.clone(), &logs, size.workers, options.concurrency)?;
    let started = Instant::now();
    let store = if place.lease.is_some() { Some(place.direct.reader().await?) } else { None };
    let mut storm = Storm::new(fleet, place.servers.take(), store, &scenario.faults);
    await_end(&mut storm, &place, &shared, &scenario, output).await?;
    let took = started.elapsed();
    output.note(&format!("{} s: stopping the workers, and judging", took.as_secs()));
    load.end().await?;
    let stubborn = tokio::task::block_in_place(|| storm.fleet.stop())?;
    let seen = verdict::look(&place, &scenario, &receiver, &shared, &storm.fleet).await?;
    let mut faults = storm.injected();
    faults.extend(place.proxy.iter().flat_map(|proxy| proxy.happened()).map(|(what, count)| (what.to_owned(), count)));
    faults.extend(receiver.faults().into_iter().map(|(what, count)| (what.to_owned(), count)));
    if stubborn > 0 {
        faults.insert("worker did not stop when asked to".to_owned(), stubborn);
    }
    let Seen { tallies, ledger, .. } = &seen.seen;
    Ok(Report {
        seed: options.seed,
        runs: options.runs,
        opened: lock(&shared.opened).len() as u64,
        workers: size.workers,
        concurrency: options.concurrency,
        store: place.description.clone(),
        left_out: place.left_out.clone(),
        storm: options.lasts,
        took,
        faults,
        effects: tallies.values().map(|tally| tally.effects.len() as u64).sum(),
        requests: tallies.values().map(|tally| tally.arrivals).sum(),
        gave_up: storm.fleet.gave_up,
        resolved: shared.resolved.load(Ordering::SeqCst),
        leaves: seen.leaves,
        ledger: *ledger,
        lease: place.lease,
        judgement: judge(&seen.seen),
    })
}

/// Injects faults until they are over, and waits until every run is over too, or nothing changes any more.
async fn await_end(
    storm: &mut Storm,
    place: &Place,
    shared: &Shared,
    scenario: &Scenario,
    output: Output,
) -> Result<(), AppError> {
    let started = Instant::now();
    let (mut told, mut last, mut changed) = (Instant::now(), (0, 0, 0), Instant::now());
    loop {
        tokio::time::sleep(TICK).await;
        let stormy = storm.turn(started.elapsed(), place.proxy.as_ref()).await?;
        shared.may_surprise.store(storm.fleet.may_surprise(), Ordering::SeqCst);
        let (over, waiting) = *lock(&shared.stand);
        let opened = lock(&shared.opened).len() as u64;
        if stormy || (opened, over, waiting) != last {
            (last, changed) = ((opened, over, waiting), Instant::now());
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            output.note(&format!(
                "{:>4} s  opened {opened}, over {over}, waiting {waiting}, {} faults to come",
                started.elapsed().as_secs(),
                storm.to_come()
            ));
        }
        let done = opened == scenario.runs.len() as u64 && over == opened;
        if !stormy && (done || changed.elapsed() > PATIENCE) {
            return Ok(());
        }
    }
}

/// Makes the folder of a trial, which has to be new or empty.
///
/// # Errors
/// [`AppError`] when it cannot be made, or something is in it.
pub fn make_folder(folder: &Path) -> Result<(), AppError> {
    let cannot = |error: std::io::Error| failed(format!("cannot use `{}`: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(cannot)?;
    if std::fs::read_dir(folder).map_err(cannot)?.next().is_some() {
        return Err(failed(format!("`{}` is not empty", folder.display())).hint("name a new folder"));
    }
    Ok(())
}
