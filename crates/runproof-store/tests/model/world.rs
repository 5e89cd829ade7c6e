//! The world of a random plan: skills that answer by a script.
//!
//! An answer is a function of the call and of how many answers for it are on record: what a crash lost is said again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use runproof_engine::driver::Wish;
use runproof_engine::ports::Clock as _;
use runproof_engine::skill::{
    Attempt, AttemptResult, Dispatch, EffectClass, ErrorCategory, Guard, Manifest, ParamFinding, Probe, Skill, Write,
};
use serde_json::{Value, json};

use super::calls::{Heard, Trouble};
use super::time::Time;
use crate::doubles::{Cancel, failure, manifest};

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
    /// Calls so far.
    pub(crate) calls: u32,
    /// The calls, by number, at whose beginning somebody pauses the run.
    pub(crate) pauses: BTreeSet<u32>,
    /// Who does.
    pub(crate) watcher: Arc<Cancel>,
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
            world.calls += 1;
            if world.pauses.contains(&world.calls) {
                world.watcher.press(Wish::Pause);
            }
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
            let (key, value) = (written(&name), b"true".to_vec());
            writes.push(Write::Put { key, value, expires_at: None, guard: Guard::Any });
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
