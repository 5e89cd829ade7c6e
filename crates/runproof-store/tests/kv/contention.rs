//! Many runs write one key at the same moment, and one that is overtaken again and again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use runproof_engine::driver::Left;
use runproof_engine::ports::{Append, Claimed, Claims, Clock as _, Journal, KeyValues, StoreError};
use runproof_engine::run::Run;
use runproof_proof::event::{AttemptOutcome, Body, EndStatus, StepStatus};
use runproof_proof::finding::Verdict;
use runproof_store::Store;
use serde_json::{Value, json};

use super::{incr, output, process, stored_number};
use crate::doubles::{Cancel, FakeClock, Seeds};
use crate::on_postgres::OnPostgres;
use crate::support::*;

const STEPS: i64 = 5;

/// So many runs count the same key at once.
fn many_count(subject: &dyn Subject, runs_at_once: i64) {
    let store = subject.store();
    populate(store.as_ref());
    let steps: Vec<Value> = (0..STEPS).map(|number| incr(&format!("s_{number}"))).collect();
    let opened: Vec<Claimed> = (0..runs_at_once)
        .map(|run| claimed(open(store.as_ref(), TENANT, &format!("r_{run}"), plan(json!(steps)))))
        .collect();
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let threads: Vec<_> = opened
            .into_iter()
            .map(|claimed| {
                let process =
                    process(Arc::clone(&store) as _, subject.key_values(), &FakeClock::new(), &Arc::default());
                scope.spawn(move || process.drive(claimed).unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().0).collect()
    });
    let mut seen = BTreeSet::new();
    for run in &runs {
        let mut last = 0;
        for step in 0..STEPS {
            let value = output(run, &format!("s_{step}"))["value"].as_i64().unwrap();
            assert!(value > last, "a run sees its own steps in order");
            assert!(seen.insert(value), "two steps were told {value}");
            last = value;
        }
    }
    assert_eq!(seen, (1..=runs_at_once * STEPS).collect());
    assert_eq!(stored_number(subject.key_values().as_ref()), Some(runs_at_once * STEPS));
    audit_ledger(subject);
    assert_verdict(&prove(subject, TENANT, "r_0"), Verdict::Verified);
}

#[test]
fn in_memory_sixty_four_runs_count_to_three_hundred_and_twenty() {
    many_count(InMemory::begin().as_ref(), 64);
}

#[test]
fn on_disk_sixty_four_runs_count_to_three_hundred_and_twenty() {
    many_count(OnDisk::begin().as_ref(), 64);
}

/// Of those that try at the same moment one writes: fewer runs, because each loser costs a round trip.
#[test]
fn on_postgres_sixteen_runs_count_to_eighty() {
    many_count(OnPostgres::direct().as_ref(), 16);
}

#[test]
fn through_the_pooler_sixteen_runs_count_to_eighty() {
    many_count(OnPostgres::pooled().as_ref(), 16);
}

/// A journal in which somebody else always writes a moment before: another run counts the same key.
struct Overtaken {
    store: Arc<dyn Store>,
    values: Arc<dyn KeyValues>,
    /// How often somebody is faster.
    times: u32,
    overtaken: AtomicU32,
    /// How much time passes with it, in microseconds.
    takes: u64,
    clock: Arc<FakeClock>,
    cancel: Arc<Cancel>,
    /// At which time somebody asks for the run to be cancelled; 0: never.
    cancel_at: u32,
    seeds: Arc<Seeds>,
}

#[async_trait]
impl Journal for Overtaken {
    async fn append(&self, append: Append) -> Result<(), StoreError> {
        let time = self.overtaken.load(Ordering::SeqCst) + 1;
        if !append.writes.is_empty() && time <= self.times {
            self.overtaken.store(time, Ordering::SeqCst);
            let other = open(self.store.as_ref(), TENANT, &format!("faster_{time}"), plan(json!([incr("s")])));
            let process = process(Arc::clone(&self.store) as _, Arc::clone(&self.values), &self.clock, &self.seeds);
            process.drive(claimed(other)).unwrap();
            self.clock.move_to(self.clock.now() + self.takes);
            if time == self.cancel_at {
                self.cancel.ask();
            }
        }
        self.store.append(append).await
    }

    async fn claim(&self, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
        self.store.claim(owner, now, limit).await
    }

    async fn claim_run(&self, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
        self.store.claim_run(owner, tenant, run_id).await
    }
}

/// What came of a run that was overtaken.
struct Story {
    subject: Box<dyn Subject>,
    run: Run,
    left: Left,
}

impl Story {
    /// A run counts once, and `times` others are faster, each of which takes `takes` microseconds.
    fn tell(times: u32, takes: u64, cancel_at: u32, max_attempts: u32) -> Self {
        let subject = InMemory::begin();
        populate(subject.store().as_ref());
        let (clock, seeds) = (FakeClock::new(), Arc::new(Seeds::default()));
        let cancel = Arc::new(Cancel::default());
        let journal: Arc<dyn Journal> = Arc::new(Overtaken {
            store: subject.store(),
            values: subject.key_values(),
            times,
            overtaken: AtomicU32::new(0),
            takes,
            clock: Arc::clone(&clock),
            cancel: Arc::clone(&cancel),
            cancel_at,
            seeds: Arc::clone(&seeds),
        });
        let mut process = process(journal, subject.key_values(), &clock, &seeds);
        process.cancel = cancel;
        let mut counts = incr("s");
        counts["retry"] = json!({"max_attempts": max_attempts});
        let opened = open(subject.store().as_ref(), TENANT, "r_1", plan(json!([counts])));
        let (run, left) = process.drive(claimed(opened)).unwrap();
        drop(process);
        assert_same(&run, &load(subject.store().as_ref(), TENANT, "r_1"));
        audit_ledger(subject.as_ref());
        assert_verdict(&prove(subject.as_ref(), TENANT, "r_1"), Verdict::Verified);
        Self { subject, run, left }
    }

    fn number(&self) -> Option<i64> {
        stored_number(self.subject.key_values().as_ref())
    }

    /// The attempts on record: outcome, code and duration in microseconds of each.
    fn attempts(&self) -> Vec<(AttemptOutcome, Option<String>, u64)> {
        let store = self.subject.store();
        let events = placed(&evidence(store.as_ref(), TENANT, "r_1").transitions);
        let returned = events.into_iter().filter_map(|placed| {
            let Body::StepReturned(body) = placed.entry.event.body else { return None };
            Some((body.outcome, body.code, body.duration_us))
        });
        returned.collect()
    }
}

const SECOND: u64 = 1_000_000;

#[test]
fn an_attempt_that_came_too_late_is_made_again_and_nothing_of_it_is_on_record() {
    let story = Story::tell(3, SECOND, 0, 1);
    assert_eq!(story.left, Left::Ended(EndStatus::Succeeded));
    assert_eq!(output(&story.run, "s"), json!({"value": 4}));
    assert_eq!(story.number(), Some(4));
    assert_eq!(story.attempts(), [(AttemptOutcome::Done, None, 3 * SECOND)], "one attempt, from its first call on");
}

#[test]
fn whoever_is_overtaken_until_the_time_is_over_has_written_nothing() {
    let story = Story::tell(u32::MAX, 4 * SECOND, 0, 1);
    assert_eq!(story.left, Left::Ended(EndStatus::Failed));
    let contended = Some("kv.contended".to_owned());
    assert_eq!(story.attempts(), [(AttemptOutcome::NotDone, contended, 12 * SECOND)]);
    assert_eq!(story.run.steps[0].step.status, StepStatus::Failure);
    assert_eq!(story.number(), Some(3), "the others have written");
}

#[test]
fn another_attempt_may_have_more_luck() {
    let story = Story::tell(4, 4 * SECOND, 0, 2);
    assert_eq!(story.left, Left::Ended(EndStatus::Succeeded));
    let outcomes: Vec<AttemptOutcome> = story.attempts().into_iter().map(|(outcome, ..)| outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::NotDone, AttemptOutcome::Done]);
    assert_eq!((output(&story.run, "s"), story.number()), (json!({"value": 5}), Some(5)));
}

#[test]
fn a_run_that_is_cancelled_while_it_is_overtaken_writes_nothing_and_says_so() {
    let story = Story::tell(2, SECOND, 1, 1);
    assert_eq!(story.left, Left::Ended(EndStatus::Cancelled));
    assert_eq!(story.attempts(), [(AttemptOutcome::NotDone, Some("engine.cancelled".to_owned()), SECOND)]);
    assert_eq!(story.run.steps[0].step.status, StepStatus::Failure);
    assert_eq!(story.number(), Some(1), "only the other has written");
}
