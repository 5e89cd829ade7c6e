//! What a trial has shown, for people and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use runproof_proof::finding::{Verdict, counted};
use serde_json::{Value, json};

use super::judge::{Judgement, Promise};

/// How many breaches are shown to people.
const SHOWN: usize = 20;

/// A trial and what came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Runs that were to be opened.
    pub runs: u32,
    /// Runs whose opening was confirmed.
    pub opened: u64,
    /// Workers.
    pub workers: u32,
    /// Most runs of a worker at once.
    pub concurrency: u32,
    /// What the database was.
    pub store: String,
    /// What was not injected, and why.
    pub left_out: Vec<String>,
    /// How long runs were opened and faults injected.
    pub storm: Duration,
    /// How long it took until every run was over, faults included.
    pub took: Duration,
    /// Faults that happened, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Effects that the receiver counted.
    pub effects: u64,
    /// Requests that reached the receiver.
    pub requests: u64,
    /// Workers that ended by themselves, and were started again.
    pub gave_up: u64,
    /// Times at which a person said what had come of an attempt.
    pub resolved: u64,
    /// Leaves of the ledger.
    pub leaves: u64,
    /// Verdict over the whole ledger.
    pub ledger: Option<Verdict>,
    /// How long a lease is; `None`: the engine's lock is the lease.
    pub lease: Option<Duration>,
    /// What was judged.
    pub judgement: Judgement,
}

impl Report {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.judgement.breaches.is_empty()
    }

    /// How long a run may wait after its worker was killed.
    fn bound(&self) -> Option<Duration> {
        self.lease.map(|lease| lease + Duration::from_secs(2))
    }

    /// The object that `--json` prints.
    pub fn to_json(&self) -> Value {
        let judgement = &self.judgement;
        let promises: serde_json::Map<String, Value> =
            Promise::ALL.iter().map(|promise| (promise.word().to_owned(), judgement.count(*promise).into())).collect();
        let breaches = judgement
            .breaches
            .iter()
            .map(|breach| json!({ "promise": breach.promise.word(), "run_id": breach.run_id, "what": breach.what }));
        let recovery = &judgement.recovery;
        let milliseconds = |percent| recovery.percentile(percent).map(whole_ms);
        let bound = self.bound();
        json!({
            "seed": self.seed, "clean": self.is_clean(), "store": self.store, "left_out": self.left_out,
            "workers": self.workers, "concurrency": self.concurrency,
            "storm_ms": whole_ms(self.storm), "took_ms": whole_ms(self.took),
            "runs": { "planned": self.runs, "opened": self.opened, "by_status": judgement.statuses },
            "unknown": { "by_effect_class": judgement.unknown, "resolved": self.resolved },
            "interrupted_attempts": judgement.interrupted,
            "late_effects_of_frozen_workers": judgement.late,
            "receiver": { "requests": self.requests, "effects": self.effects },
            "faults": self.faults, "workers_that_gave_up": self.gave_up,
            "promises_broken": promises, "breaches": breaches.collect::<Vec<_>>(),
            "ledger": { "leaves": self.leaves, "verdict": self.ledger, "run_events": judgement.events },
            "recovery": {
                "runs": recovery.count(), "p50_ms": milliseconds(50), "p99_ms": milliseconds(99), "max_ms": milliseconds(100),
                "bound_ms": bound.map(whole_ms), "over_bound": bound.map(|bound| recovery.over(bound)),
                "lost_again": recovery.lost_again(), "lost_again_max_ms": recovery.longest_again().map(whole_ms),
            },
        })
    }

    /// The page for people.
    pub fn to_text(&self) -> String {
        let left_out: String = self.left_out.iter().map(|what| format!("not injected: {what}\n")).collect();
        let promises = Promise::ALL.iter().map(|promise| (promise.meaning(), self.judgement.count(*promise)));
        format!(
            "seed {}: {}, {} of {} runs each, {}\n{left_out}faults for {}, everything over after {}\n\n\
             FAULTS\n{}\nRUNS\n{}\nPROMISES BROKEN\n{}\nRECOVERY AFTER KILL -9\n  {}\n\n\
             LEDGER\n  {}, {}, {} of them of runs\n\n{}",
            self.seed,
            counted(u64::from(self.runs), "run", "runs"),
            counted(u64::from(self.workers), "worker", "workers"),
            self.concurrency,
            self.store,
            seconds(self.storm),
            seconds(self.took),
            lines(
                self.faults
                    .iter()
                    .map(|(what, count)| (what.as_str(), *count))
                    .chain([("workers that gave up", self.gave_up)])
            ),
            self.what_became(),
            lines(promises),
            self.recovery(),
            self.ledger.map_or("not verified", Verdict::word),
            counted(self.leaves, "leaf", "leaves"),
            self.judgement.events,
            self.conclusion()
        )
    }

    fn what_became(&self) -> String {
        let judgement = &self.judgement;
        let asked: Vec<(String, u64)> =
            judgement.unknown.iter().map(|(class, count)| (format!("asked a person: {class}"), *count)).collect();
        let statuses = judgement.statuses.iter().map(|(status, count)| (*status, *count));
        let rest = [
            ("answered by a person", self.resolved),
            ("requests at the receiver", self.requests),
            ("effects at the receiver", self.effects),
            ("late effects of frozen workers", judgement.late),
        ];
        let asked = asked.iter().map(|(what, count)| (what.as_str(), *count));
        let first = [("opened", self.opened)].into_iter().chain(statuses);
        lines(first.chain([("attempts of unknown outcome", judgement.interrupted)]).chain(asked).chain(rest))
    }

    fn recovery(&self) -> String {
        let recovery = &self.judgement.recovery;
        let at = |percent| recovery.percentile(percent).map_or_else(|| "-".to_owned(), seconds);
        let runs = counted(recovery.count(), "run", "runs");
        let bound = self
            .bound()
            .map_or_else(String::new, |bound| format!("; bound {}, {} over it", seconds(bound), recovery.over(bound)));
        let again = recovery.longest_again().map_or_else(String::new, |longest| {
            let runs = counted(recovery.lost_again(), "run", "runs");
            format!("\n  {runs} lost the next worker too, before it wrote anything; max {}", seconds(longest))
        });
        format!("{runs} lost their worker; p50 {}, p99 {}, max {}{bound}{again}", at(50), at(99), at(100))
    }

    fn conclusion(&self) -> String {
        if self.is_clean() {
            return "Every promise was kept.\n".to_owned();
        }
        let breaches = &self.judgement.breaches;
        let shown = breaches.iter().take(SHOWN).map(|breach| {
            let run = if breach.run_id.is_empty() { String::new() } else { format!("run {}  ", breach.run_id) };
            format!("  {:<28}{run}{}\n", breach.promise.meaning(), breach.what)
        });
        let more = breaches.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!("  and {more} more: --json\n") } else { String::new() };
        let broken = counted(breaches.len() as u64, "promise was broken", "promises were broken");
        format!("{broken}:\n{}{more}", shown.collect::<String>())
    }
}

/// Names and numbers, one a line.
fn lines<'a>(all: impl Iterator<Item = (&'a str, u64)>) -> String {
    all.map(|(name, count)| format!("  {name:<36}{count:>8}\n")).collect()
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(duration: Duration) -> String {
    format!("{}.{} s", duration.as_secs(), duration.subsec_millis() / 100)
}
