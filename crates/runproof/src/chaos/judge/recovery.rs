//! How long the runs of a worker that was killed wait for the next one.

use std::time::Duration;

use runproof_engine::run::RunStatus;
use runproof_proof::event::Body;

use super::super::history::Recorded;
use super::super::workers::Killed;
use super::fold;

/// Times from the kill of a run's owner to the next claim of the run, shortest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery(Vec<Duration>);

impl Recovery {
    /// Runs that lost their owner.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The time below which so many of a hundred are. `None`: no run lost its owner.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.0.len().checked_sub(1)?;
        self.0.get((self.0.len() * percent).div_ceil(100).saturating_sub(1).min(last)).copied()
    }

    /// How many took longer than that.
    pub fn over(&self, bound: Duration) -> u64 {
        self.0.iter().filter(|time| **time > bound).count() as u64
    }
}

/// Measures from the record: who claimed a run, and when.
pub(super) fn measure(runs: &[Recorded], killed: &[Killed]) -> Recovery {
    let mut times: Vec<Duration> = Vec::new();
    for kill in killed {
        times.extend(runs.iter().filter_map(|run| waited(run, kill)));
    }
    times.sort();
    Recovery(times)
}

/// How long a run waited after the kill, if the worker that was killed was driving it.
fn waited(run: &Recorded, kill: &Killed) -> Option<Duration> {
    let claims = run.events.iter().filter_map(|event| {
        let Body::RunClaimed(body) = &event.body else { return None };
        Some((event.at, body.worker.as_str()))
    });
    let (before, after): (Vec<_>, Vec<_>) = claims.partition(|(at, _)| *at <= kill.at);
    let (_, owner) = before.last()?;
    if !kill.names.iter().any(|name| name == owner) || fold(run, kill.at)?.status() != RunStatus::Running {
        return None;
    }
    let (next, _) = after.first()?;
    Some(Duration::from_micros(next - kill.at))
}
