//! The worker: takes due runs, drives them, answers requests, and stops without losing anything.
//!
//! Decides nothing about a run; that is the engine's. Where the store has leases, it also frees the runs of workers that
//! are gone, and gives committed events their place.

pub mod member;
pub mod pace;
pub(crate) mod stop;
mod upkeep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use runproof_engine::driver::Left;
use runproof_engine::ports::{Claims, UNREADABLE_FOR, Unreadable};
use runproof_engine::run::Run;
use runproof_proof::finding::counted;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::engine::Engine;
use crate::error::{AppError, Code};
use crate::output::Output;
use crate::runtime;
use member::LAST_WORD;
use pace::Pace;
use stop::Stops;

/// Shortest pause before an idle worker looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Longest such pause where a look is a read of a local file, and where it goes over a network.
const LONGEST_HERE: Duration = Duration::from_millis(100);
const LONGEST_AWAY: Duration = Duration::from_secs(1);

/// How a worker works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most runs at once.
    pub concurrency: usize,
    /// Stop when every run is over or waits for somebody.
    pub drain: bool,
    /// How long what is under way may go on once somebody wants the worker to stop.
    pub drain_timeout: Duration,
}

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    /// Nothing new is taken; what is under way goes on until then.
    Finishing(Instant),
    /// No step begins any more.
    Releasing,
}

/// Works until somebody wants it to stop, or everything is done. Answers how many runs it drove.
///
/// # Errors
/// [`AppError`]: the embedded store failed, or somebody wanted it to stop at once. What is recorded is whole.
pub async fn work(engine: Arc<Engine>, options: Options, output: Output) -> Result<u64, AppError> {
    engine.member.join(u32::try_from(options.concurrency).unwrap_or(u32::MAX)).await?;
    output.note(&format!("registered as {}", engine.member.name()));
    let freed = Arc::new(Notify::new());
    let mut upkeep = upkeep::start(&engine, output, &freed);
    let longest = if engine.store.lease().is_some() { LONGEST_AWAY } else { LONGEST_HERE };
    let mut work = Work {
        engine: Arc::clone(&engine),
        options,
        output,
        tasks: JoinSet::new(),
        driven: 0,
        phase: Phase::Working,
        pace: Pace::new(LOOK_AGAIN, longest),
        named: BTreeSet::new(),
        unreadable_until: u64::MAX >> 1,
        freed,
    };
    let ended = work.run().await;
    work.tasks.shutdown().await;
    upkeep.shutdown().await;
    // Whatever is still held is given back; where nobody answers, the lease ends by itself.
    match timeout(LAST_WORD, engine.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => output.error(&error),
        Err(_) => output.note("the store does not answer; what was held is free when the lease ends"),
    }
    ended.map(|()| work.driven)
}

type Driven = Result<(Run, Left), AppError>;

struct Work {
    engine: Arc<Engine>,
    options: Options,
    output: Output,
    tasks: JoinSet<Driven>,
    driven: u64,
    phase: Phase,
    pace: Pace,
    /// Runs that could not be read, and that people were told of.
    named: BTreeSet<(String, String)>,
    /// When the first of them comes again, in microseconds; without any, never.
    unreadable_until: u64,
    /// Told when runs of workers that are gone are free again.
    freed: Arc<Notify>,
}

impl Work {
    async fn run(&mut self) -> Result<(), AppError> {
        let mut stops = Stops::new();
        loop {
            while let Some(ended) = self.tasks.try_join_next() {
                self.report(ended);
            }
            match self.turn().await {
                Ok(true) => self.pace.reset(),
                Ok(false) if self.is_done().await? => return Ok(()),
                Ok(false) => {}
                // A store that many share comes back, and others work on meanwhile.
                Err(error) if self.engine.store.lease().is_some() => self.output.error(&error),
                Err(error) => return Err(error),
            }
            let deadline = match self.phase {
                Phase::Finishing(until) => Some(until),
                Phase::Working | Phase::Releasing => None,
            };
            let (member, freed) = (Arc::clone(&self.engine.member), Arc::clone(&self.freed));
            tokio::select! {
                () = tokio::time::sleep(self.pace.delay()) => {}
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.report(ended);
                    self.pace.reset();
                }
                () = stops.wanted() => self.stop()?,
                () = until(deadline) => self.release(),
                () = freed.notified() => self.pace.reset(),
                () = member.lapsed() => self.begin_anew().await,
            }
        }
    }

    /// Answers requests and takes due runs. Answers whether there was anything to do.
    async fn turn(&mut self) -> Result<bool, AppError> {
        let mut busy = self.engine.answer_requests().await? > 0;
        let free = self.options.concurrency.saturating_sub(self.tasks.len());
        if free == 0 || self.phase != Phase::Working || !self.engine.store.has_due(runtime::now()).await? {
            return Ok(busy);
        }
        let now = runtime::now();
        let Claims { taken, unreadable } = self.engine.store.claim(&self.engine.member.name(), now, free).await?;
        busy |= !taken.is_empty();
        for claimed in taken {
            let engine = Arc::clone(&self.engine);
            self.driven += 1;
            self.tasks.spawn(async move { engine.drive_once(claimed).await });
        }
        for run in unreadable {
            self.unreadable_until = self.unreadable_until.min(now.saturating_add(UNREADABLE_FOR - 1));
            self.name(run);
        }
        Ok(busy)
    }

    async fn is_done(&self) -> Result<bool, AppError> {
        if !self.tasks.is_empty() || self.phase != Phase::Working {
            return Ok(self.tasks.is_empty());
        }
        if !self.options.drain || self.engine.store.has_due(self.unreadable_until).await? {
            return Ok(false);
        }
        match self.named.len() as u64 {
            0 => Ok(true),
            count => {
                let message = format!("{} cannot be read; the others are done", counted(count, "run", "runs"));
                Err(AppError::new(Code::RunUnreadable, message).hint("runproof proof shows what is damaged"))
            }
        }
    }

    /// Somebody wants the worker to stop; who says it twice wants it at once.
    fn stop(&mut self) -> Result<(), AppError> {
        if self.phase != Phase::Working {
            let left = counted(self.tasks.len() as u64, "run", "runs");
            return Err(AppError::new(Code::WorkerStopped, format!("stopped at once, with {left} under way"))
                .hint("another worker goes on with them; an attempt that was under way is found as unknown"));
        }
        self.phase = Phase::Finishing(Instant::now() + self.options.drain_timeout);
        self.pace.reset();
        self.output.note("stopping: waiting for what is under way");
        Ok(())
    }

    /// The time for finishing is over: runs are given back at their next step.
    fn release(&mut self) {
        self.phase = Phase::Releasing;
        self.engine.member.begin_nothing();
        self.output.note("stopping: giving back what is not done");
    }

    /// The lease is lost: others have the runs, and nothing of what was under way may be recorded here.
    async fn begin_anew(&mut self) {
        let lost = self.tasks.len() as u64;
        self.tasks.shutdown().await;
        self.output.note(&format!("the lease was lost with {}; registering again", counted(lost, "run", "runs")));
        let concurrency = u32::try_from(self.options.concurrency).unwrap_or(u32::MAX);
        if let Err(error) = self.engine.member.join(concurrency).await {
            self.output.error(&error.into());
            self.pace.wait().await;
            return;
        }
        self.output.note(&format!("registered as {}", self.engine.member.name()));
        for command in self.engine.take_promised() {
            let (engine, output) = (Arc::clone(&self.engine), self.output);
            tokio::spawn(async move {
                if let Err(error) = engine.execute(command).await {
                    output.error(&error);
                }
            });
        }
    }

    /// A run that could not be driven on is not lost: its claim is given back, now or at the next start.
    fn report(&mut self, ended: Result<Driven, JoinError>) {
        match ended {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.output.error(&error),
            Err(error) => self.output.error(
                &AppError::new(Code::WorkerTask, format!("a run's task ended without an answer: {error}"))
                    .hint("its run goes on at the next start"),
            ),
        }
    }

    /// Tells people once of a run that cannot be read.
    fn name(&mut self, Unreadable { tenant, run_id, problem }: Unreadable) {
        if self.named.insert((tenant.clone(), run_id.clone())) {
            let message = format!("run `{run_id}` of tenant `{tenant}` cannot be read and is left alone: {problem}");
            self.output.error(&AppError::new(Code::RunUnreadable, message).hint(format!(
                "runproof proof {run_id} --tenant-id {tenant} shows what is damaged; a newer version may know it"
            )));
        }
    }
}

/// Ends at that time; without one, never.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
