//! The world of a random plan: time that passes only when nothing else can happen, and skills that answer by a script.
//!
//! An answer is a function of the call and of how many answers for it are on record: what a crash lost is said again.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use async_trait::async_trait;
use runproof_engine::ports::{BoxFuture, Clock};
use runproof_engine::skill::{
    Attempt, AttemptResult, Dispatch, EffectClass, ErrorCategory, Manifest, ParamFinding, Probe, Skill, Write,
};
use serde_json::{Value, json};

use super::interpreter::{Heard, Trouble};
use crate::doubles::{START, failure, manifest};

/// Microcents that an attempt costs.
pub(crate) const COST: u64 = 7;

/// What a receiver does with a call, and how long it takes: so many milliseconds before the effect and after it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) before_ms: u64,
    pub(crate) after_ms: u64,
    pub(crate) says: Says,
}

#[derive(Clone, Debug)]
pub(crate) enum Says {
    Done(Value),
    Failed {
        retryable: bool,
    },
    NotDone {
        retryable: bool,
    },
    /// Nothing, whether it happened or not.
    Nothing {
        happened: bool,
    },
}

/// A step and an item.
pub(crate) type Name = (String, Option<String>);

/// The answers for every call, in order; the last one is repeated.
pub(crate) type Script = BTreeMap<Name, Vec<Answer>>;

#[derive(Default)]
pub(crate) struct World {
    pub(crate) script: Script,
    /// Answers on record, by call.
    pub(crate) heard: BTreeMap<Name, usize>,
    /// How often each effect happened.
    pub(crate) effects: BTreeMap<Name, u32>,
    /// Keys that arrived with each call.
    pub(crate) keys: BTreeMap<Name, BTreeSet<String>>,
}

impl Says {
    fn failure(&self) -> (&'static str, ErrorCategory, bool) {
        match self {
            Self::Done(_) => unreachable!("it is no failure"),
            Self::Failed { retryable: true } => ("busy", ErrorCategory::Server, true),
            Self::Failed { retryable: false } => ("wrong", ErrorCategory::Client, false),
            Self::NotDone { retryable } => ("away", ErrorCategory::RateLimit, *retryable),
            Self::Nothing { .. } => ("reset", ErrorCategory::Network, true),
        }
    }

    /// What the engine hears when it is not interrupted.
    pub(crate) fn heard(&self) -> Heard {
        if let Self::Done(output) = self {
            return Heard::Done(output.clone());
        }
        let (code, category, retryable) = self.failure();
        let trouble = Trouble { category: category.word().to_owned(), code: code.to_owned(), retryable };
        if let Self::Nothing { .. } = self { Heard::Unknown(trouble) } else { Heard::Failed(trouble) }
    }

    fn result(&self) -> AttemptResult {
        if let Self::Done(output) = self {
            return AttemptResult::Done { output: output.clone() };
        }
        let (code, category, retryable) = self.failure();
        let failure = failure(code, category, retryable);
        match self {
            Self::Failed { .. } => AttemptResult::Failed(failure),
            Self::NotDone { .. } => AttemptResult::NotDone(failure),
            Self::Nothing { .. } | Self::Done(_) => AttemptResult::Unknown(failure),
        }
    }

    /// Whether the effect happens with this answer.
    pub(crate) fn has_effect(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Nothing { happened: true })
    }
}

impl World {
    /// The answer for a call of which so many answers are on record.
    pub(crate) fn answer<'a>(script: &'a Script, name: &Name, heard: usize) -> &'a Answer {
        let answers = &script[name];
        &answers[heard.min(answers.len() - 1)]
    }
}

/// The skill of one class of effects. It bears the name of the class.
pub(crate) struct Receiver {
    pub(crate) manifest: Manifest,
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) clock: Arc<Time>,
}

impl Receiver {
    pub(crate) fn all(world: &Arc<Mutex<World>>, clock: &Arc<Time>) -> Vec<Arc<dyn Skill>> {
        let receiver = |effect: &EffectClass| {
            let manifest = manifest(effect.word(), *effect);
            Arc::new(Self { manifest, world: Arc::clone(world), clock: Arc::clone(clock) }) as Arc<dyn Skill>
        };
        EffectClass::ALL.iter().map(receiver).collect()
    }
}

fn name(dispatch: &Dispatch) -> Name {
    (dispatch.call().step_id.clone(), dispatch.call().item.clone())
}

#[async_trait]
impl Skill for Receiver {
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
        let name = name(dispatch);
        let answer = {
            let mut world = self.world.lock().unwrap();
            world.keys.entry(name.clone()).or_default().insert(dispatch.call().idempotency_key.clone());
            let heard = world.heard.get(&name).copied().unwrap_or_default();
            World::answer(&world.script, &name, heard).clone()
        };
        let effect = self.manifest.effects[0];
        self.clock.sleep(answer.before_ms * 1_000).await;
        if answer.says.has_effect() {
            let mut world = self.world.lock().unwrap();
            let times = world.effects.entry(name.clone()).or_default();
            match effect {
                EffectClass::Pure | EffectClass::Read | EffectClass::Transactional => {}
                EffectClass::Idempotent => *times = 1, // the receiver knows the key
                EffectClass::Probeable | EffectClass::Unsafe => *times += 1,
            }
        }
        self.clock.sleep(answer.after_ms * 1_000).await;
        *self.world.lock().unwrap().heard.entry(name.clone()).or_default() += 1;
        let mut writes = Vec::new();
        if effect == EffectClass::Transactional && answer.says.has_effect() {
            writes.push(Write::Put { key: written(&name), value: b"true".to_vec() });
        }
        let result = answer.says.result();
        Attempt { result, cost_microcents: COST, writes }
    }

    async fn probe(&self, dispatch: &Dispatch) -> Probe {
        let (name, world) = (name(dispatch), self.world.lock().unwrap());
        if world.effects.get(&name).is_none_or(|times| *times == 0) {
            return Probe::NotDone;
        }
        let heard = world.heard.get(&name).copied().unwrap_or_default();
        match &World::answer(&world.script, &name, heard).says {
            Says::Done(output) => Probe::Done { output: output.clone() },
            Says::Failed { .. } | Says::NotDone { .. } | Says::Nothing { .. } => Probe::Done { output: json!(null) },
        }
    }
}

/// The key that a transactional call writes.
pub(crate) fn written((step, item): &Name) -> String {
    format!("{step}_{}", item.as_deref().unwrap_or("own"))
}

/// Time that moves on to whatever is due first, and only when nothing else can happen.
pub(crate) struct Time(Mutex<Sleepers>);

struct Sleepers {
    now: u64,
    /// Who is to be woken, by time and then by number.
    waiting: BTreeMap<(u64, u64), Waker>,
    numbers: u64,
}

impl Time {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Sleepers { now: START, waiting: BTreeMap::new(), numbers: 0 })))
    }

    pub(crate) fn move_to(&self, at: u64) {
        let mut sleepers = self.0.lock().unwrap();
        sleepers.now = sleepers.now.max(at);
    }

    /// Runs a future. Time passes when it waits for nothing but time.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let woken = Arc::new(Woken { woken: AtomicBool::new(false), thread: std::thread::current() });
        let waker = Waker::from(Arc::clone(&woken));
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            while !woken.woken.swap(false, Ordering::SeqCst) {
                if !self.wake_next() {
                    std::thread::park(); // for the store, which works on another thread
                }
            }
        }
    }

    fn wake_next(&self) -> bool {
        let mut sleepers = self.0.lock().unwrap();
        let Some(((at, _), waker)) = sleepers.waiting.pop_first() else { return false };
        sleepers.now = sleepers.now.max(at);
        drop(sleepers);
        waker.wake();
        true
    }
}

struct Woken {
    woken: AtomicBool,
    thread: std::thread::Thread,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Clock for Time {
    fn now(&self) -> u64 {
        self.0.lock().unwrap().now
    }

    fn sleep(&self, microseconds: u64) -> BoxFuture<'_, ()> {
        Box::pin(Sleep { time: self, until: self.now() + microseconds, number: None })
    }
}

struct Sleep<'a> {
    time: &'a Time,
    until: u64,
    number: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut sleepers = self.time.0.lock().unwrap();
        if sleepers.now >= self.until {
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or(sleepers.numbers);
        sleepers.numbers = sleepers.numbers.max(number + 1);
        sleepers.waiting.insert((self.until, number), context.waker().clone());
        drop(sleepers);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.time.0.lock().unwrap().waiting.remove(&(self.until, number));
        }
    }
}
