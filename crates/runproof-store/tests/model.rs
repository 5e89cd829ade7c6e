//! Random plans through random crashes, against a reference interpreter that knows nothing but the specification.
//!
//! What a plan comes to is the engine's, and tried in memory hundreds of times. The other stores get as many plans as
//! find a store that loses or repeats something: 24 on disk, 40 on Postgres and 40 through the pooler.

mod calls;
mod generator;
mod interpreter;
mod plan;
mod time;
mod values;
mod walk;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use runproof_engine::admission::admit;
use runproof_engine::decide::Command;
use runproof_engine::driver::{DriveError, Driver, Left};
use runproof_engine::ports::{Always, Blind, Claimed, Clock as _, Journal, StoreError};
use runproof_engine::replay;
use runproof_engine::run::{self, Item, RunStatus, WaitReason};
use runproof_engine::skill::{EffectClass, Skills};
use runproof_proof::bundle::Bundle;
use runproof_proof::event::{AttemptOutcome, Body, EndStatus, Resolution};
use runproof_proof::finding::Verdict;
use runproof_proof::verify::examine;
use runproof_store::faults::{Fault, FaultPlan, Faulty};
use runproof_store::{CommandError, Store};
use serde_json::to_string_pretty;

use self::calls::CallId;
use self::generator::{Shape, story};
use self::interpreter::{Interpreter, Row};
use self::plan::{OnUnknown, Plan};
use self::time::{Instant, Time};
use self::walk::{Story, foretell, read};
use self::world::{Name, Receiver, Script, World, written};
use crate::doubles::{FakeClock, Seeds, Vault, block_on, operator};
use crate::on_postgres::OnPostgres;
use crate::support::*;

/// A plan, its world, the writes that fail: one for each process, and the calls during which somebody pauses the run.
#[derive(Clone)]
struct Case {
    plan: Plan,
    script: Script,
    faults: Vec<(u64, Fault)>,
    pauses: BTreeSet<u32>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the plan\n{}", to_string_pretty(&self.plan.to_json()).expect("it is JSON"))?;
        let is_called = |(id, item): &&Name| {
            let step = self.plan.steps.iter().find(|step| step.id == *id).expect("a step of the plan");
            let element = item.as_ref().is_some_and(|item| item != "fallback");
            let fallback = item.as_ref().is_some_and(|item| item.ends_with("fallback"));
            element == step.foreach.is_some() && (!fallback || matches!(step.on_error, plan::OnError::Fallback(_)))
        };
        for (name, answers) in self.script.iter().filter(|(name, _)| is_called(name)) {
            writeln!(f, "{name:?} answers {answers:?}")?;
        }
        write!(f, "writes that fail: {:?}; paused during calls {:?}", self.faults, self.pauses)
    }
}

fn case(shape: Shape, crashes: usize) -> impl Strategy<Value = Case> {
    let fault = prop::sample::select(vec![Fault::Before, Fault::After]);
    let faults = vec((1u64..16, fault), crashes.min(1)..=crashes);
    let pauses = btree_set(1u32..12, 0..3);
    let case = |((plan, script), faults, pauses)| Case { plan, script, faults, pauses };
    (story(shape), faults, pauses).prop_map(case)
}

/// Proof bundles of random plans that went through random crashes.
pub(crate) fn bundles() -> impl Strategy<Value = Bundle> {
    case(Shape::Graph, 3).prop_map(|case| {
        let mut life = Life::new(&case, InMemory::begin);
        life.tell();
        bundle(life.subject.store().as_ref(), TENANT, "r_1")
    })
}

/// One run of a random plan through any number of processes.
struct Life<'a> {
    case: &'a Case,
    subject: Box<dyn Subject>,
    world: Arc<Mutex<World>>,
    time: Arc<Time>,
    seeds: Arc<Seeds>,
}

impl<'a> Life<'a> {
    fn new(case: &'a Case, begin: fn() -> Box<dyn Subject>) -> Self {
        let subject = begin();
        populate(subject.store().as_ref());
        let world = World { script: case.script.clone(), pauses: case.pauses.clone(), ..World::default() };
        Self { case, subject, world: Arc::new(Mutex::new(world)), time: Time::new(), seeds: Arc::default() }
    }

    /// What is on record.
    fn story(&self) -> Story {
        read(
            &self.case.plan,
            &self.case.script,
            &placed(&evidence(self.subject.store().as_ref(), TENANT, "r_1").transitions),
        )
    }

    /// Lives through the faults, one process for each, and then without one.
    fn tell(&mut self) {
        for (nth, fault) in &self.case.faults {
            let plan = FaultPlan::new(*nth, *fault);
            let lived = self.live(&plan);
            assert_eq!(lived.is_err(), plan.fired(), "only the fault ends a process: {lived:?}");
            self.subject.restart();
            self.world.lock().unwrap().heard = self.story().heard;
        }
        self.live(&FaultPlan::new(0, Fault::Before)).unwrap();
    }

    /// A process lives until the run is over or the store fails it.
    fn live(&self, plan: &Arc<FaultPlan>) -> Result<(), StoreError> {
        let store: Arc<dyn Store> = Arc::new(Faulty::new(self.subject.store(), Arc::clone(plan)));
        let mut skills = Skills::default();
        for skill in Receiver::all(&self.world, &self.time) {
            skills.register(skill).unwrap();
        }
        let driver = Driver {
            journal: Arc::new(Instant { store: Arc::clone(&store), time: Arc::clone(&self.time) }),
            skills,
            clock: Arc::clone(&self.time) as _,
            entropy: Arc::clone(&self.seeds) as _,
            secrets: Arc::new(Vault::default()),
            lease: Arc::new(Always),
            observer: Arc::new(Blind),
        };
        let mut asked = request(TENANT, "r_1", Some(self.case.plan.to_json()));
        asked.inputs = self.case.plan.given();
        asked.idempotency_key = Some("asked-once".to_owned());
        let opening = store.open_run(admit(asked).unwrap(), Some(WORKER.to_owned()), stamp(self.time.now()));
        let opened = self.time.run(opening).map_err(|error| {
            let CommandError::Store(error) = error else { panic!("{error}") };
            error
        })?;
        let watcher = Arc::clone(&self.world.lock().unwrap().watcher);
        let mut due: Vec<Claimed> = opened.fence.map(|fence| Claimed { run: opened.run, fence }).into_iter().collect();
        loop {
            for claimed in due {
                let driven = self.time.run(driver.drive(claimed, watcher.as_ref()));
                watcher.let_go();
                let (_, left) = driven.map_err(|error| match error {
                    DriveError::Store(error) => error,
                    other @ (DriveError::Refusal(_) | DriveError::NoPlan(_)) => panic!("{other}"),
                })?;
                match left {
                    Left::Ended(_) => return Ok(()),
                    Left::Until(at) => self.time.move_to(at),
                    Left::Waiting(WaitReason::Resolution(_) | WaitReason::Paused) => {}
                    Left::Waiting(other @ WaitReason::RetryAt(_)) => panic!("nobody has to act: {other:?}"),
                }
            }
            for call in self.story().held {
                self.resolve(&store, call)?;
            }
            let run = load(store.as_ref(), TENANT, "r_1");
            if let RunStatus::Ended(_) = run.status() {
                return Ok(());
            }
            due = self.time.run(store.claim(WORKER, u64::MAX >> 1, 16))?.taken;
            if due.is_empty() && run.paused.is_some() {
                self.say(&store, Command::Resume { actor: operator(), reason: None })?;
            }
        }
    }

    /// Somebody looks at the world and says what came of a call.
    fn resolve(&self, store: &Arc<dyn Store>, call: CallId) -> Result<(), StoreError> {
        let (step_id, item) = (self.case.plan.steps[call.step].id.clone(), call.item());
        let happened = self.world.lock().unwrap().effects.get(&(step_id.clone(), item.clone())) > Some(&0);
        let resolution = if happened { Resolution::Done } else { Resolution::NotDone };
        let call = run::CallId { step_id, item: Item::parse(item.as_deref()).unwrap() };
        let command = Command::Resolve { call, resolution, actor: operator(), reason: "asked the receiver".to_owned() };
        self.say(store, command)
    }

    fn say(&self, store: &Arc<dyn Store>, command: Command) -> Result<(), StoreError> {
        let clock = FakeClock::new();
        clock.move_to(self.time.now());
        let process = Process::new(Arc::clone(store) as Arc<dyn Journal>, Vec::new(), &clock, &self.seeds);
        process.apply(TENANT, "r_1", command)?.expect("the run waits for it");
        Ok(())
    }

    /// Whatever happened, this holds.
    fn judge(&self) {
        let store = self.subject.store();
        let run = load(store.as_ref(), TENANT, "r_1");
        let story = self.story();
        let expected = if story.broke { EndStatus::Failed } else { EndStatus::Succeeded };
        assert_eq!(run.status(), RunStatus::Ended(expected));
        judge_rows(self.case, &story);
        self.judge_world(&story);
        let events = evidence(store.as_ref(), TENANT, "r_1").transitions;
        self.subject.keeper().wait_for(placed(&events).last().unwrap().index + 1);
        let bytes = bundle(store.as_ref(), TENANT, "r_1").encode().unwrap();
        let bundle = Bundle::parse(&bytes).unwrap();
        let mut report = examine(&bundle, &self.subject.keeper().trust());
        let replayed = replay::check(&bundle, &mut report);
        assert!(replayed.findings.is_empty() && replayed.skipped == 0, "{replayed:#?}");
        assert_verdict(&report, if story.doubts == 0 { Verdict::Verified } else { Verdict::Incomplete });
        audit_ledger(self.subject.as_ref());
    }

    /// First leaf of the transition that says that a call was done: the version of what it wrote.
    fn done_at(&self, (step_id, item): &Name) -> Option<u64> {
        let says_so = |placed: &Placed| {
            matches!(&placed.entry.event.body, Body::StepReturned(body)
                if body.step_id == *step_id && body.item == *item && body.outcome == AttemptOutcome::Done)
        };
        let transitions = evidence(self.subject.store().as_ref(), TENANT, "r_1").transitions;
        let row = transitions.iter().find(|row| placed(std::slice::from_ref(row)).iter().any(says_so));
        row.map(version_of)
    }

    /// What may have happened to the world.
    fn judge_world(&self, story: &Story) {
        let world = self.world.lock().unwrap();
        assert!(
            world.keys.values().all(|keys| keys.len() == 1),
            "one key for all attempts of a call: {:?}",
            world.keys
        );
        let keys: BTreeSet<&String> = world.keys.values().flatten().collect();
        assert_eq!(keys.len(), world.keys.len(), "every call has its own key");
        for (name, times) in &world.effects {
            let step = self.case.plan.steps.iter().find(|step| step.id == name.0).expect("a step of the plan");
            // With `retry`, the plan's author takes the risk of a second effect.
            assert!(*times <= 1 || step.on_unknown == OnUnknown::Retry, "{name:?} took effect {times} times");
        }
        for row in story.rows.iter().filter(|row| row.attempts > 0) {
            let name = (row.step_id.clone(), row.item.clone());
            let done = row.status == "success";
            let times = world.effects.get(&name).copied().unwrap_or_default();
            match self.case.plan.steps[row.plan_index].effect {
                EffectClass::Transactional => {
                    let stored = block_on(self.subject.key_values().read(TENANT, &written(&name))).unwrap();
                    let written = stored.map(|stored| stored.version);
                    let expected = self.done_at(&name).filter(|_| done);
                    assert_eq!(written, expected, "{name:?} was written with its outcome, and never again");
                }
                EffectClass::Idempotent | EffectClass::Probeable | EffectClass::Unsafe if done && story.doubts == 0 => {
                    assert!(times > 0, "what is on record as done was done: {name:?}");
                }
                EffectClass::Pure
                | EffectClass::Read
                | EffectClass::Idempotent
                | EffectClass::Probeable
                | EffectClass::Unsafe => {}
            }
        }
    }
}

/// The rows are those that the plan comes to without a crash, in whatever order calls were answered.
fn judge_rows(case: &Case, story: &Story) {
    let interrupted = |row: &Row| {
        let call = |(call, _): &(&CallId, &u32)| {
            case.plan.steps[call.step].id == row.step_id && call.item() == row.item && !story.told.contains_key(call)
        };
        story.interrupted.iter().find(call).map_or(0, |(_, times)| *times)
    };
    let uncounted = |row: &Row| Row { attempts: row.attempts - interrupted(row), ..row.clone() };
    let mut rows: Vec<Row> = story.rows.iter().map(uncounted).collect();
    rows.sort();
    let (mut foretold, broke) = foretell(Interpreter::new(&case.plan), &case.script, &story.told);
    foretold.sort();
    assert_eq!(broke, story.broke, "the end is the one that was foretold");
    if !broke {
        assert_eq!(rows, foretold, "the rows are those that were foretold");
        return;
    }
    // Which calls had begun when the run broke depends on time. Every row is one that its call comes to in the end, or
    // one of a call that was cut short: by an attempt that it had left, or by what the plan says about an unknown effect.
    let (whole, _) = foretell(Interpreter::unbreakable(&case.plan), &case.script, &story.told);
    let whole: BTreeMap<_, _> = whole.iter().map(|row| ((row.plan_index, &row.item), row)).collect();
    for row in &rows {
        let comes_to = whole[&(row.plan_index, &row.item)];
        let in_doubt = row.status != "success" && case.plan.steps[row.plan_index].on_unknown == OnUnknown::AssumeDone
            || row.status == "unknown";
        let cut_short = row.attempts < comes_to.attempts || row.attempts == comes_to.attempts && in_doubt;
        assert!(row == comes_to || cut_short, "{row:?} is no beginning of {comes_to:?}");
    }
}

fn check(case: &Case, begin: fn() -> Box<dyn Subject>) {
    let mut life = Life::new(case, begin);
    life.tell();
    life.judge();
}

#[test]
fn random_plans_meet_everything_that_this_is_about() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..250 {
        let case = case(Shape::Graph, 3).new_tree(&mut runner).unwrap().current();
        let mut life = Life::new(&case, InMemory::begin);
        life.tell();
        let story = life.story();
        met.insert(if story.broke { "the run broke" } else { "the run succeeded" }.to_owned());
        met.extend((story.pauses > 1).then(|| "the run was paused, and once more".to_owned()));
        met.extend((story.interrupted.len() > 1).then(|| "several calls were interrupted".to_owned()));
        for row in &story.rows {
            let item = row.item.as_deref().unwrap_or("own").trim_start_matches(|digit: char| digit.is_ascii_digit());
            let item = if item.is_empty() { "element" } else { item.trim_start_matches('.') };
            met.insert(format!("{item} {}", row.status));
            met.insert(format!("{} {}", row.status, row.code.as_deref().unwrap_or(&row.category)));
            met.extend((row.attempts > 1).then(|| format!("{} in the end", row.status)));
            met.extend((row.category == "resolved").then(|| format!("{} as a person said", row.status)));
        }
    }
    let expected = [
        "the run broke",
        "the run succeeded",
        "several calls were interrupted",
        "the run was paused, and once more",
        "own success",
        "own skipped",
        "own failure",
        "element success",
        "element failure",
        "fallback success",
        "fallback failure",
        "success execution",
        "success reset",
        "skipped when.false",
        "failure when.failed",
        "failure foreach.not_a_list",
        "failure foreach.items_failed",
        "failure reference.unresolved",
        "failure busy",
        "failure wrong",
        "failure away",
        "failure reset",
        "failure engine.interrupted",
        "unknown reset",
        "success in the end",
        "failure in the end",
        "success as a person said",
        "failure as a person said",
    ];
    let missed: Vec<_> = expected.iter().filter(|name| !met.contains(**name)).collect();
    assert!(missed.is_empty(), "{missed:?} are not among {met:#?}");
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn steps_in_a_line_come_to_what_the_specification_says_through_crashes(case in case(Shape::Line, 3)) {
        check(&case, InMemory::begin);
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn plans_come_to_what_the_specification_says(case in case(Shape::Graph, 0)) {
        check(&case, InMemory::begin);
    }

    #[test]
    fn plans_come_to_the_same_through_crashes(case in case(Shape::Graph, 3)) {
        check(&case, InMemory::begin);
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn plans_come_to_the_same_through_crashes_on_disk(case in case(Shape::Graph, 3)) {
        check(&case, OnDisk::begin);
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn plans_come_to_the_same_through_crashes_on_postgres(case in case(Shape::Graph, 3)) {
        check(&case, OnPostgres::direct);
    }

    #[test]
    fn plans_come_to_the_same_through_crashes_behind_the_pooler(case in case(Shape::Graph, 3)) {
        check(&case, OnPostgres::pooled);
    }
}
