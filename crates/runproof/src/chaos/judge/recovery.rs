//! How long the runs of a worker that was killed wait for the next one.

use std::time::Duration;

use runproof_engine::run::RunStatus;
use runproof_proof::event::Body;

use super::super::history::Recorded;
use super::super::workers::Killed;
use super::fold;

/// Times from the kill of a run's owner to the next claim that the run tells of, shortest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    once: Vec<Duration>,
    again: Vec<Duration>,
}

impl Recovery {
    /// Runs that lost their owner, and went on with the very next worker that claimed them.
    pub fn count(&self) -> u64 {
        self.once.len() as u64
    }

    /// The time below which so many of a hundred of these are. `None`: there are none.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.once.len().checked_sub(1)?;
        self.once.get((self.once.len() * percent).div_ceil(100).saturating_sub(1).min(last)).copied()
    }

    /// How many of these took longer than that.
    pub fn over(&self, bound: Duration) -> u64 {
        self.once.iter().filter(|time| **time > bound).count() as u64
    }

    /// Runs that the next worker claimed and lost as well, before it wrote anything: they waited for more leases than
    /// one. The epochs tell: a run that is freed and claimed is two epochs further.
    pub fn lost_again(&self) -> u64 {
        self.again.len() as u64
    }

    /// The longest time of these.
    pub fn longest_again(&self) -> Option<Duration> {
        self.again.last().copied()
    }
}

/// Measures from the record: who claimed a run, and when.
pub(super) fn measure(runs: &[Recorded], killed: &[Killed]) -> Recovery {
    let mut recovery = Recovery::default();
    for (time, epochs) in killed.iter().flat_map(|kill| runs.iter().filter_map(|run| waited(run, kill))) {
        let times = if epochs > 2 { &mut recovery.again } else { &mut recovery.once };
        times.push(time);
    }
    recovery.once.sort();
    recovery.again.sort();
    recovery
}

/// How long a run waited after the kill, if the worker that was killed was driving it, and how many epochs later it went
/// on.
fn waited(run: &Recorded, kill: &Killed) -> Option<(Duration, u64)> {
    let claims = run.events.iter().filter_map(|event| {
        let Body::RunClaimed(body) = &event.body else { return None };
        Some((event.at, body.epoch, body.worker.as_str()))
    });
    let (before, after): (Vec<_>, Vec<_>) = claims.partition(|(at, ..)| *at <= kill.at);
    let (_, epoch, owner) = before.last()?;
    if !kill.names.iter().any(|name| name == owner) || fold(run, kill.at)?.status() != RunStatus::Running {
        return None;
    }
    let (at, next, _) = after.first()?;
    Some((Duration::from_micros(at - kill.at), next.saturating_sub(*epoch)))
}
