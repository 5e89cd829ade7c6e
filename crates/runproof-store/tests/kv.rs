//! `kv_store` over the stores: each write happens once for every step that succeeded, whatever crashes and whoever else
//! writes; and a model says what the operations mean.

mod contention;
mod crash;
mod model;

use std::sync::Arc;

use runproof_engine::ports::{Journal, KeyValues};
use runproof_engine::run::Run;
use runproof_engine::skill::Skill;
use runproof_skills::registry::{Options, Ports, builtin};
use serde_json::{Value, json};

use crate::doubles::{FakeClock, Seeds, block_on};
use crate::support::*;

/// A process whose only skill is the real one, over the real store.
fn process(
    journal: Arc<dyn Journal>,
    values: Arc<dyn KeyValues>,
    clock: &Arc<FakeClock>,
    seeds: &Arc<Seeds>,
) -> Process {
    let ports = Ports { key_values: values, clock: Arc::clone(clock) as _ };
    let skills = builtin(&Options::default(), &ports).unwrap();
    let skill: Arc<dyn Skill> = Arc::clone(skills.get("kv_store").unwrap());
    Process::new(journal, vec![skill], clock, seeds)
}

fn step(id: &str, with: Value) -> Value {
    json!({"id": id, "skill": "kv_store", "with": with})
}

fn incr(id: &str) -> Value {
    step(id, json!({"operation": "incr", "key": "n"}))
}

/// The number that is stored, as the engine's readers see it.
fn stored_number(values: &dyn KeyValues) -> Option<i64> {
    let stored = block_on(values.read(TENANT, "default:n")).unwrap()?;
    Some(serde_json::from_slice(&stored.value).unwrap())
}

/// What a step answered.
fn output(run: &Run, step: &str) -> Value {
    run.output(step).unwrap_or_else(|| panic!("`{step}` has no output: {:#?}", run.steps)).clone()
}
