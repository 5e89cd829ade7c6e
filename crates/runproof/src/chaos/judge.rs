//! Compares what is recorded with what happened. Pure: everything that it looks at is an argument.

mod epochs;
mod recovery;

use std::collections::BTreeMap;
use std::time::Duration;

use runproof_engine::run::{Run, RunStatus, Values};
use runproof_proof::event::{Body, EffectClass, StepStatus, Then};
use runproof_proof::finding::Verdict;
use runproof_proof::hash::leaf;

use super::history::Recorded;
use super::receiver::{Tallies, Tally};
use super::scenario::{PlannedRun, step_id};
use super::workers::Killed;

pub use recovery::Recovery;

/// How long after a frozen worker went on a call of its can still arrive.
const AFTER_WAKING: Duration = Duration::from_secs(2);

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The runs that were opened, as planned.
    pub planned: Vec<PlannedRun>,
    /// What is recorded of them.
    pub runs: Vec<Recorded>,
    /// Runs in the database that nobody opened.
    pub strangers: Vec<String>,
    /// What the receiver counted.
    pub tallies: Tallies,
    /// The counters, by tenant and number.
    pub counters: BTreeMap<(String, u64), u64>,
    /// Verdict over the whole ledger.
    pub ledger: Option<Verdict>,
    /// Workers that were killed.
    pub killed: Vec<Killed>,
    /// When a frozen worker went on, in microseconds since 1970.
    pub woken: Vec<u64>,
}

/// A promise that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// A run that was opened is over, or waits for a person.
    NothingLost,
    /// An effect that must not be repeated happens once at most.
    NothingRepeated,
    /// A receiver that can be asked is asked, and the call made once.
    ProbedNotRepeated,
    /// All attempts of a step carry one key.
    KeysKept,
    /// A counter is moved once by each step that says so.
    CountersRight,
    /// Every run is proved, and so is the ledger.
    ChainsWhole,
    /// Nobody writes under a claim that another one has overtaken.
    NothingStale,
    /// What is recorded as done was done, and what was done is not recorded as not done.
    RecordTrue,
    /// Before anything happens, there is a record that it is going to.
    IntentFirst,
    /// A person is asked only about what cannot be known.
    UnknownRightly,
}

impl Promise {
    /// Every promise.
    pub const ALL: &'static [Self] = &[
        Self::NothingLost,
        Self::NothingRepeated,
        Self::ProbedNotRepeated,
        Self::KeysKept,
        Self::CountersRight,
        Self::ChainsWhole,
        Self::NothingStale,
        Self::RecordTrue,
        Self::IntentFirst,
        Self::UnknownRightly,
    ];

    /// Name in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::NothingLost => "lost",
            Self::NothingRepeated => "unsafe_repeated",
            Self::ProbedNotRepeated => "probeable_repeated",
            Self::KeysKept => "idempotent_repeated",
            Self::CountersRight => "counters_wrong",
            Self::ChainsWhole => "chain_breaks",
            Self::NothingStale => "stale_writes",
            Self::RecordTrue => "untrue_records",
            Self::IntentFirst => "effects_without_intent",
            Self::UnknownRightly => "unknown_without_reason",
        }
    }

    /// What a count above 0 means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::NothingLost => "runs lost",
            Self::NothingRepeated => "unsafe effects repeated",
            Self::ProbedNotRepeated => "probeable effects repeated",
            Self::KeysKept => "idempotent effects repeated",
            Self::CountersRight => "counters that differ",
            Self::ChainsWhole => "chain breaks",
            Self::NothingStale => "stale writes",
            Self::RecordTrue => "outcomes recorded wrongly",
            Self::IntentFirst => "effects without an intent",
            Self::UnknownRightly => "unknown without a reason",
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// Which.
    pub promise: Promise,
    /// Run id; empty where it is about no single run.
    pub run_id: String,
    /// What is wrong.
    pub what: String,
}

/// What came of it all.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Runs by status.
    pub statuses: BTreeMap<&'static str, u64>,
    /// Attempts whose outcome a person had to say, by effect class.
    pub unknown: BTreeMap<&'static str, u64>,
    /// Attempts that were interrupted, or whose outcome was lost, and that were tried again or asked about.
    pub interrupted: u64,
    /// Effects of a probeable call that a frozen worker sent after it had been given up: nobody but the receiver can
    /// refuse those.
    pub late: u64,
    /// Events in all runs.
    pub events: u64,
    /// How long runs of a killed worker waited for the next one.
    pub recovery: Recovery,
    /// What is wrong.
    pub breaches: Vec<Breach>,
}

impl Judgement {
    /// How often a promise was broken.
    pub fn count(&self, promise: Promise) -> u64 {
        self.breaches.iter().filter(|breach| breach.promise == promise).count() as u64
    }

    fn breach(&mut self, promise: Promise, run_id: &str, what: impl Into<String>) {
        self.breaches.push(Breach { promise, run_id: run_id.to_owned(), what: what.into() });
    }
}

/// Judges a trial.
pub fn judge(seen: &Seen) -> Judgement {
    let mut judgement = Judgement { recovery: recovery::measure(&seen.runs, &seen.killed), ..Judgement::default() };
    for planned in &seen.planned {
        match seen.runs.iter().find(|run| run.number == planned.number) {
            Some(run) => of_run(&mut judgement, seen, planned, run),
            None => judgement.breach(Promise::NothingLost, "", format!("run {} was never read", planned.number)),
        }
    }
    for stranger in &seen.strangers {
        judgement.breach(Promise::RecordTrue, stranger, "nobody opened this run");
    }
    counters(&mut judgement, seen);
    effects_without_intent(&mut judgement, seen);
    if seen.ledger != Some(Verdict::Verified) {
        let word = seen.ledger.map_or("nothing", Verdict::word);
        judgement.breach(Promise::ChainsWhole, "", format!("the whole ledger is {word}"));
    }
    judgement.breaches.sort();
    judgement
}

fn of_run(judgement: &mut Judgement, seen: &Seen, planned: &PlannedRun, run: &Recorded) {
    judgement.events += run.events.len() as u64;
    for what in epochs::stale(&run.events) {
        judgement.breach(Promise::NothingStale, &run.run_id, what);
    }
    let status = fold(run, u64::MAX).map(|run| run.status());
    *judgement.statuses.entry(status.map_or("lost", RunStatus::word)).or_default() += 1;
    match (status, &run.verdict) {
        (Some(RunStatus::Ended(_)), Some((Verdict::Verified, _))) | (Some(RunStatus::Waiting), _) => {}
        (Some(RunStatus::Ended(_)), verdict) => {
            let (word, why) =
                verdict.as_ref().map_or(("no proof", ""), |(verdict, why)| (verdict.word(), why.as_str()));
            judgement.breach(Promise::ChainsWhole, &run.run_id, format!("{word}: {why}"));
        }
        (Some(status), _) => {
            let what = format!("still {} in the end, and nobody goes on with it", status.word());
            judgement.breach(Promise::NothingLost, &run.run_id, what);
        }
        (None, _) if run.events.is_empty() => {
            judgement.breach(Promise::NothingLost, &run.run_id, "opened, and nothing is recorded of it");
        }
        (None, _) => judgement.breach(Promise::ChainsWhole, &run.run_id, "its events do not follow each other"),
    }
    unknowns(judgement, run);
    for (place, step) in planned.steps.iter().enumerate() {
        let id = step_id(place);
        let tally = seen.tallies.get(&format!("{}/{}/{id}", step.class.word(), run.number));
        of_step(judgement, run, (&id, step.class), tally.unwrap_or(&Tally::default()), &seen.woken);
    }
}

/// The run as it was at a time.
fn fold(run: &Recorded, until: u64) -> Option<Run> {
    let mut folded = Run::new(&run.log, &run.tenant, &run.run_id);
    for event in run.events.iter().take_while(|event| event.at <= until) {
        folded.apply(event, leaf(&event.encode()), &Values::new()).ok()?;
    }
    (folded.next_seq > 0).then_some(folded)
}

/// Attempts of which nobody knew.
fn unknowns(judgement: &mut Judgement, run: &Recorded) {
    let mut classes: BTreeMap<&str, EffectClass> = BTreeMap::new();
    for event in &run.events {
        if let Body::StepIntended(body) = &event.body {
            classes.insert(&body.step_id, body.effect);
        }
        let Body::StepReturned(body) = &event.body else { continue };
        let Some(class) = classes.get(body.step_id.as_str()) else { continue };
        judgement.interrupted += u64::from(body.outcome == runproof_proof::event::AttemptOutcome::Unknown);
        if body.then != Then::Hold {
            continue;
        }
        *judgement.unknown.entry(class.word()).or_default() += 1;
        let rightly = match class {
            EffectClass::Unsafe | EffectClass::Probeable | EffectClass::Idempotent => true,
            EffectClass::Pure | EffectClass::Read | EffectClass::Transactional => false,
        };
        if !rightly {
            let what = format!("{} is {}, and a person was asked", body.step_id, class.word());
            judgement.breach(Promise::UnknownRightly, &run.run_id, what);
        }
    }
}

/// One step: what the receiver counted, against what is recorded.
fn of_step(judgement: &mut Judgement, run: &Recorded, (id, class): (&str, EffectClass), tally: &Tally, woken: &[u64]) {
    let effects = tally.effects.len() as u64;
    let times = format!("{id} took effect {effects} times");
    match class {
        EffectClass::Unsafe if effects > 1 => judgement.breach(Promise::NothingRepeated, &run.run_id, times),
        EffectClass::Idempotent if effects > 1 => judgement.breach(Promise::KeysKept, &run.run_id, times),
        EffectClass::Probeable if effects > 1 => {
            let window = u64::try_from(AFTER_WAKING.as_micros()).unwrap_or(u64::MAX);
            let is_late = |at: u64| woken.iter().any(|woken| (*woken..=woken.saturating_add(window)).contains(&at));
            let late = tally.effects[1..].iter().filter(|at| is_late(**at)).count() as u64;
            judgement.late += late;
            if effects - late > 1 {
                judgement.breach(Promise::ProbedNotRepeated, &run.run_id, times);
            }
        }
        EffectClass::Pure | EffectClass::Read | EffectClass::Transactional => {}
        EffectClass::Idempotent | EffectClass::Probeable | EffectClass::Unsafe => {}
    }
    let settled = run.events.iter().find_map(|event| {
        let Body::StepSettled(body) = &event.body else { return None };
        (body.step_id == id).then_some(body.status)
    });
    let reached = match class {
        EffectClass::Pure | EffectClass::Transactional => return,
        EffectClass::Read => tally.arrivals > 0,
        EffectClass::Idempotent | EffectClass::Probeable | EffectClass::Unsafe => effects > 0,
    };
    let matters = matches!(class, EffectClass::Probeable | EffectClass::Unsafe);
    match settled {
        Some(StepStatus::Success) if !reached => {
            judgement.breach(Promise::RecordTrue, &run.run_id, format!("{id} is a success that never happened"));
        }
        Some(StepStatus::Failure | StepStatus::Skipped) if reached && matters => {
            let what = format!("{id} took effect and is recorded as not done");
            judgement.breach(Promise::RecordTrue, &run.run_id, what);
        }
        Some(_) | None => {}
    }
}

fn counters(judgement: &mut Judgement, seen: &Seen) {
    let mut expected: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for run in &seen.runs {
        let Some(planned) = seen.planned.iter().find(|planned| planned.number == run.number) else { continue };
        for event in &run.events {
            let Body::StepSettled(body) = &event.body else { continue };
            let step = planned.steps.get(body.plan_index as usize);
            let Some(step) = step.filter(|step| step.class == EffectClass::Transactional) else { continue };
            let counted = expected.entry((run.tenant.clone(), step.counter)).or_default();
            *counted += u64::from(body.status == StepStatus::Success);
        }
    }
    let mut keys: Vec<&(String, u64)> = expected.keys().chain(seen.counters.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let of = |counters: &BTreeMap<(String, u64), u64>| counters.get(key).copied().unwrap_or(0);
        let (expected, got) = (of(&expected), of(&seen.counters));
        if expected != got {
            let what = format!("counter {} of {} is {got}, and {expected} steps moved it", key.1, key.0);
            judgement.breach(Promise::CountersRight, "", what);
        }
    }
}

/// What reached the receiver has to have an intent in the record of its run.
fn effects_without_intent(judgement: &mut Judgement, seen: &Seen) {
    for (path, tally) in &seen.tallies {
        let mut parts = path.split('/').skip(1);
        let (number, step) = (parts.next().and_then(|number| number.parse::<u32>().ok()), parts.next());
        let run = seen.runs.iter().find(|run| Some(run.number) == number);
        let intended = run.is_some_and(|run| {
            run.events.iter().any(|event| {
                let Body::StepIntended(body) = &event.body else { return false };
                Some(body.step_id.as_str()) == step
            })
        });
        if !intended && tally.arrivals > 0 {
            let run_id = run.map_or("", |run| run.run_id.as_str());
            judgement.breach(Promise::IntentFirst, run_id, format!("`{path}` was called, and no intent says so"));
        }
    }
}

#[cfg(test)]
mod tests;
