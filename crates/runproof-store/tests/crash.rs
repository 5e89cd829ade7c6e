//! The crash matrix: every durable write of a run fails once, before it or after it, for every class of effect and every
//! store. Everything in memory is dropped, another process goes on, and effects are counted outside of both.
//!
//! A story on Postgres takes about a hundred times as long as one in memory. So Postgres itself gets every class with
//! steps in a line, and the pooler a sample: the two classes whose outcome the store decides with, steps side by side.
//! Two crashes in one story are told in memory alone. Faults that only a network has are in `postgres/faults.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use runproof_engine::admission::admit;
use runproof_engine::decide::Command;
use runproof_engine::ports::{Claimed, Journal, StoreError};
use runproof_engine::run::{CallId, Item, Run, RunStatus, WaitReason};
use runproof_engine::skill::{
    Attempt, AttemptResult, Dispatch, EffectClass, ErrorCategory, Failure, Guard, Manifest, ParamFinding, Probe, Skill,
    Write,
};
use runproof_proof::event::{AttemptOutcome, Body, EndStatus, Resolution, Then, Via};
use runproof_proof::finding::Verdict;
use runproof_store::faults::{Fault, FaultPlan, Faulty};
use runproof_store::{CommandError, Store};
use serde_json::{Value, json};

use crate::doubles::{FakeClock, START, Seeds, block_on, failure, manifest, operator};
use crate::on_postgres::OnPostgres;
use crate::support::*;

/// How the steps of a story hang together.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// One after another.
    Line,
    /// Two side by side, and a list of two elements after the first.
    Graph,
}

impl Shape {
    /// The calls that a run makes if everything goes well.
    fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Line => &["a", "b", "c"],
            Self::Graph => &["a", "b", "c#0", "c#1"],
        }
    }

    /// The plan. A step that a person settled has no output, so nothing refers to what may need a person.
    fn plan(self, effect: EffectClass) -> Value {
        let refer = |path: &str| (effect != EffectClass::Unsafe).then(|| format!("{{{{ {path} }}}}"));
        let step = |id: &str, previous: Option<String>, more: Value| {
            let mut step =
                json!({"id": id, "skill": "act", "with": {"previous": previous}, "retry": {"max_attempts": 2}});
            step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            step
        };
        crate::support::plan(match self {
            Self::Line => json!([
                step("a", None, json!({})),
                step("b", refer("steps.a.output.step"), json!({})),
                step("c", refer("steps.b.output.step"), json!({})),
            ]),
            Self::Graph => json!([
                step("a", None, json!({"needs": []})),
                step("b", None, json!({"needs": []})),
                step("c", refer("steps.a.output.step"), json!({"needs": ["a"], "foreach": ["x", "y"]})),
            ]),
        })
    }
}

/// What happened outside: nothing of it is lost when a process dies.
#[derive(Default)]
struct World {
    /// Calls that arrived, by step and item: the key and the attempt of each.
    calls: BTreeMap<String, Vec<(String, u32)>>,
    /// How often each effect happened, by key.
    effects: BTreeMap<String, u32>,
}

/// A call as people write it.
fn name(step_id: &str, item: Option<&str>) -> String {
    CallId { step_id: step_id.to_owned(), item: Item::parse(item).unwrap() }.to_string()
}

/// A skill of one class, at the edge of the world.
struct Actor {
    manifest: Manifest,
    world: Arc<Mutex<World>>,
}

#[async_trait]
impl Skill for Actor {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn effect(&self, _params: &Value) -> EffectClass {
        self.manifest.effects[0]
    }

    fn check(&self, _params: &Value) -> Vec<ParamFinding> {
        Vec::new()
    }

    async fn invoke(&self, dispatch: &Dispatch) -> Attempt {
        let call = dispatch.call();
        let mut world = self.world.lock().unwrap();
        let name = name(&call.step_id, call.item.as_deref());
        let calls = world.calls.entry(name.clone()).or_default();
        calls.push((call.idempotency_key.clone(), call.attempt));
        if call.step_id == "b" && calls.len() == 1 {
            // Once in every story a receiver turns the call away and asks to come back later.
            let failure = Failure {
                retry_after: Some(Duration::from_secs(60)),
                ..failure("busy", ErrorCategory::RateLimit, true)
            };
            return Attempt { result: AttemptResult::NotDone(failure), cost_microcents: 3, writes: Vec::new() };
        }
        let mut writes = Vec::new();
        match self.manifest.effects[0] {
            EffectClass::Pure | EffectClass::Read => {}
            EffectClass::Transactional => {
                writes.push(Write::Put { key: name, value: b"true".to_vec(), expires_at: None, guard: Guard::Any });
            }
            EffectClass::Idempotent => {
                world.effects.entry(call.idempotency_key.clone()).or_insert(1); // the receiver knows the key
            }
            EffectClass::Probeable | EffectClass::Unsafe => {
                *world.effects.entry(call.idempotency_key.clone()).or_default() += 1;
            }
        }
        let output = json!({"step": call.step_id, "previous": dispatch.params().get("previous")});
        Attempt { result: AttemptResult::Done { output }, cost_microcents: 7, writes }
    }

    async fn probe(&self, dispatch: &Dispatch) -> Probe {
        match self.world.lock().unwrap().effects.get(&dispatch.call().idempotency_key) {
            Some(_) => Probe::Done { output: json!({"step": dispatch.call().step_id, "previous": "asked"}) },
            None => Probe::NotDone,
        }
    }
}

/// One run of three steps through any number of processes.
struct Story {
    subject: Box<dyn Subject>,
    effect: EffectClass,
    shape: Shape,
    world: Arc<Mutex<World>>,
    clock: Arc<FakeClock>,
    seeds: Arc<Seeds>,
}

impl Story {
    fn begin(begin: fn() -> Box<dyn Subject>, shape: Shape, effect: EffectClass) -> Self {
        let subject = begin();
        populate(subject.store().as_ref());
        Self { subject, effect, shape, world: Arc::default(), clock: FakeClock::new(), seeds: Arc::default() }
    }

    /// A process lives until the run is over or the store fails it.
    fn live(&self, plan: &Arc<FaultPlan>) -> Result<(), StoreError> {
        let store: Arc<dyn Store> = Arc::new(Faulty::new(self.subject.store(), Arc::clone(plan)));
        let actor = Actor { manifest: manifest("act", self.effect), world: Arc::clone(&self.world) };
        let process =
            Process::new(Arc::clone(&store) as Arc<dyn Journal>, vec![Arc::new(actor)], &self.clock, &self.seeds);
        // Whoever wants the run asks again after a crash; the key makes it the same run.
        let mut asked = request(TENANT, "r_1", Some(self.shape.plan(self.effect)));
        asked.idempotency_key = Some("asked-once".to_owned());
        let opened = block_on(store.open_run(admit(asked).unwrap(), Some(WORKER.to_owned()), stamp(START)));
        let opened = opened.map_err(|error| {
            let CommandError::Store(error) = error else { panic!("{error}") };
            error
        })?;
        if let Some(fence) = opened.fence {
            process.drive(Claimed { run: opened.run, fence })?;
        }
        loop {
            for claimed in block_on(store.claim(WORKER, u64::MAX >> 1, 16))?.taken {
                process.drive(claimed)?;
            }
            let run = load(store.as_ref(), TENANT, "r_1");
            match run.wait_since() {
                Some((WaitReason::Resolution(call), _)) => self.resolve(&process, &run, call)?,
                Some((WaitReason::RetryAt(_) | WaitReason::Paused, _)) => {}
                None if matches!(run.status(), RunStatus::Ended(_)) => return Ok(()),
                None => {}
            }
        }
    }

    /// Somebody looks at the world and says what came of the step.
    fn resolve(&self, process: &Process, run: &Run, call: CallId) -> Result<(), StoreError> {
        let key = &run.held(&call).unwrap().intent.idempotency_key;
        let happened = self.world.lock().unwrap().effects.contains_key(key);
        let resolution = if happened { Resolution::Done } else { Resolution::NotDone };
        let command = Command::Resolve { call, resolution, actor: operator(), reason: "asked the receiver".to_owned() };
        process.apply(TENANT, "r_1", command)?.expect("the run waits for a resolution");
        Ok(())
    }

    /// Lives through the faults, one process for each, and then without one. Answers whether every fault happened.
    fn tell(&mut self, faults: &[(u64, Fault)]) -> bool {
        let mut fired = true;
        for (nth, fault) in faults {
            let plan = FaultPlan::new(*nth, *fault);
            let lived = self.live(&plan);
            assert_eq!(lived.is_err(), plan.fired(), "only the fault ends a process: {lived:?}");
            fired &= plan.fired();
            self.subject.restart();
        }
        self.live(&FaultPlan::new(0, Fault::Before)).unwrap();
        fired
    }

    /// Whatever happened, this holds. Answers how many attempts were found without an outcome.
    fn judge(&self) -> usize {
        let store = self.subject.store();
        let run = load(store.as_ref(), TENANT, "r_1");
        let events = placed(&evidence(store.as_ref(), TENANT, "r_1").transitions);
        let (mut intents, mut found, mut refuted) = (BTreeSet::new(), 0, false);
        for event in events.iter().map(|placed| &placed.entry.event) {
            #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns attempts is judged here")]
            match &event.body {
                Body::StepIntended(body) => {
                    assert!(intents.insert((body.step_id.clone(), body.item.clone(), body.attempt)));
                }
                Body::StepReturned(body) => {
                    let call = (body.step_id.clone(), body.item.clone(), body.attempt);
                    assert!(intents.remove(&call), "an outcome of one intent");
                    if body.via != Via::Call {
                        found += 1;
                    }
                    if body.via == Via::Recovery {
                        assert_eq!(body.outcome, AttemptOutcome::Unknown, "nobody knows");
                        assert_eq!(
                            body.then == Then::Hold,
                            self.effect == EffectClass::Unsafe,
                            "only the unsafe wait for a person"
                        );
                    }
                }
                Body::StepResolved(body) => refuted |= body.resolution == Resolution::NotDone,
                _ => {}
            }
        }
        assert!(intents.is_empty(), "every intent has an outcome: {intents:?}");
        let expected = if refuted { EndStatus::Failed } else { EndStatus::Succeeded };
        assert_eq!(run.status(), RunStatus::Ended(expected));
        self.judge_world(refuted);
        self.subject.keeper().wait_for(events.last().unwrap().index + 1);
        assert_verdict(&prove(self.subject.as_ref(), TENANT, "r_1"), Verdict::Verified);
        audit_ledger(self.subject.as_ref());
        found
    }

    /// What may have happened to the world.
    fn judge_world(&self, refuted: bool) {
        let world = self.world.lock().unwrap();
        for (step, calls) in &world.calls {
            assert!(calls.iter().all(|(key, _)| *key == calls[0].0), "one key for all attempts of `{step}`: {calls:?}");
        }
        let keys: BTreeSet<&String> = world.calls.values().map(|calls| &calls[0].0).collect();
        assert_eq!(keys.len(), world.calls.len(), "every step has its own key");
        match self.effect {
            EffectClass::Pure | EffectClass::Read => assert!(world.effects.is_empty()),
            EffectClass::Transactional => {
                for call in self.shape.calls() {
                    let stored = block_on(self.subject.key_values().read(TENANT, call)).unwrap().unwrap();
                    let at = returned_at(self.subject.store().as_ref(), TENANT, "r_1", call);
                    assert_eq!(Some(stored.version), at, "`{call}` was written with its outcome, and never again");
                }
            }
            EffectClass::Idempotent | EffectClass::Probeable => {
                assert_eq!(world.effects.len(), self.shape.calls().len(), "every effect happened");
                assert!(world.effects.values().all(|times| *times == 1), "each effect happened once");
            }
            EffectClass::Unsafe => {
                assert!(
                    world.effects.values().all(|times| *times == 1),
                    "no effect happened twice: {:?}",
                    world.effects
                );
                assert!(
                    refuted || world.effects.len() == self.shape.calls().len(),
                    "what is on record as done was done"
                );
                for (step, calls) in &world.calls {
                    let most = if step == "b" { 2 } else { 1 }; // it was turned away once, and knew it
                    assert!(calls.len() <= most, "`{step}` was called {} times", calls.len());
                }
            }
        }
    }
}

/// Every write of the story fails once, in both ways. Answers how many attempts were found without an outcome.
fn every_write_fails_once(
    begin: fn() -> Box<dyn Subject>,
    shape: Shape,
    effect: EffectClass,
    least_writes: u64,
) -> usize {
    let mut found = 0;
    for fault in [Fault::Before, Fault::After] {
        for nth in 1.. {
            let mut story = Story::begin(begin, shape, effect);
            let fired = story.tell(&[(nth, fault)]);
            found += story.judge();
            if !fired {
                assert!(nth > least_writes, "the story has only {} writes", nth - 1);
                break;
            }
        }
    }
    found
}

/// Every write fails, and then every write of the process that recovers.
fn every_write_fails_twice(begin: fn() -> Box<dyn Subject>, shape: Shape, effect: EffectClass) {
    for first in [Fault::Before, Fault::After] {
        for second in [Fault::Before, Fault::After] {
            for nth in 1..=9 {
                for then in 1..=9 {
                    let mut story = Story::begin(begin, shape, effect);
                    let fired = story.tell(&[(nth, first), (then, second)]);
                    story.judge();
                    if !fired {
                        break;
                    }
                }
            }
        }
    }
}

macro_rules! matrix {
    ($store:ident, $begin:expr, $shape:expr) => {
        mod $store {
            use super::*;

            #[test]
            fn an_unsafe_effect_never_happens_twice_and_is_never_lost() {
                assert!(every_write_fails_once($begin, $shape, EffectClass::Unsafe, 8) >= 6);
            }

            #[test]
            fn an_idempotent_effect_is_repeated_only_under_its_key() {
                assert!(every_write_fails_once($begin, $shape, EffectClass::Idempotent, 8) >= 6);
            }

            #[test]
            fn a_probeable_effect_is_asked_about_and_happens_once() {
                assert!(every_write_fails_once($begin, $shape, EffectClass::Probeable, 8) >= 6);
            }

            #[test]
            fn a_transactional_write_is_applied_once() {
                assert!(every_write_fails_once($begin, $shape, EffectClass::Transactional, 8) >= 6);
            }

            #[test]
            fn a_read_is_done_again() {
                assert!(every_write_fails_once($begin, $shape, EffectClass::Read, 8) >= 6);
            }

            #[test]
            fn a_pure_step_leaves_no_attempt_without_outcome() {
                assert_eq!(every_write_fails_once($begin, $shape, EffectClass::Pure, 4), 0);
            }
        }
    };
}

matrix!(memory, InMemory::begin, Shape::Line);
matrix!(sqlite, OnDisk::begin, Shape::Line);
matrix!(memory_side_by_side, InMemory::begin, Shape::Graph);
matrix!(sqlite_side_by_side, OnDisk::begin, Shape::Graph);
matrix!(postgres, OnPostgres::direct, Shape::Line);

#[test]
fn through_the_pooler_an_unsafe_effect_never_happens_twice_and_is_never_lost() {
    assert!(every_write_fails_once(OnPostgres::pooled, Shape::Graph, EffectClass::Unsafe, 8) >= 6);
}

#[test]
fn through_the_pooler_a_transactional_write_is_applied_once() {
    assert!(every_write_fails_once(OnPostgres::pooled, Shape::Graph, EffectClass::Transactional, 8) >= 6);
}

#[test]
fn a_crash_during_the_recovery_from_a_crash_is_survived_too() {
    for effect in EffectClass::ALL {
        every_write_fails_twice(InMemory::begin, Shape::Line, *effect);
        every_write_fails_twice(InMemory::begin, Shape::Graph, *effect);
    }
}
