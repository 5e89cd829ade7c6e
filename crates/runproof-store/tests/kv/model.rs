//! What the operations mean, said with an ordinary map, and random operations that are held to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use runproof_engine::ports::Clock as _;
use serde_json::{Map, Value, json};

use super::{process, step};
use crate::doubles::{FakeClock, Seeds};
use crate::on_postgres::OnPostgres;
use crate::support::*;

const SECOND: u64 = 1_000_000;
const MOST: i64 = 9_007_199_254_740_991;

/// One call, and how long after the one before it is made.
#[derive(Clone, Debug)]
struct Act {
    tenant: &'static str,
    with: Value,
    after_ms: u64,
}

fn act() -> impl Strategy<Value = Act> {
    let ttl = 1u64..4;
    let value = prop_oneof![
        3 => (-3i64..3).prop_map(|number| json!(number)),
        1 => Just(json!(MOST - 1)),
        1 => Just(json!({"b": [1, null], "a": "text"})),
        1 => Just(Value::Null),
    ];
    let operation = prop_oneof![
        2 => Just(json!({"operation": "get"})),
        1 => Just(json!({"operation": "get", "default": "none"})),
        1 => Just(json!({"operation": "exists"})),
        2 => Just(json!({"operation": "ttl"})),
        1 => Just(json!({"operation": "delete"})),
        3 => (1i64..3, prop_oneof![Just("incr"), Just("decr")])
            .prop_map(|(amount, operation)| json!({"operation": operation, "amount": amount})),
        2 => value.clone().prop_map(|value| json!({"operation": "set", "value": value})),
        2 => (value, ttl.clone()).prop_map(|(value, ttl)| json!({"operation": "set", "value": value, "ttl_seconds": ttl})),
        2 => ttl.prop_map(|ttl| json!({"operation": "expire", "ttl_seconds": ttl})),
    ];
    let place = (
        prop_oneof![3 => Just(TENANT), 1 => Just(OTHER)],
        prop_oneof!["a", "b"],
        prop_oneof![3 => Just(None), 1 => Just(Some("a"))],
    );
    (place, operation, prop_oneof![2 => Just(0), 1 => 1u64..2500, 1 => Just(1000)]).prop_map(
        |((tenant, key, namespace), mut with, after_ms)| {
            with["key"] = json!(key);
            if let Some(namespace) = namespace {
                with["namespace"] = json!(namespace);
            }
            Act { tenant, with, after_ms }
        },
    )
}

/// Values and when they expire, by tenant, namespace and key.
#[derive(Default)]
struct Model(BTreeMap<(String, String, String), (Value, Option<u64>)>);

impl Model {
    /// What the call answers: its output, or the code of its failure.
    fn perform(&mut self, act: &Act, now: u64) -> Result<Value, &'static str> {
        let with = &act.with;
        let text = |name: &str| with[name].as_str().map(str::to_owned);
        let namespace = text("namespace").unwrap_or_else(|| "default".to_owned());
        let slot = (act.tenant.to_owned(), namespace, text("key").unwrap());
        self.0.retain(|_, (_, expires_at)| expires_at.is_none_or(|at| at > now));
        let found = self.0.contains_key(&slot);
        let until = with["ttl_seconds"].as_u64().map(|seconds| now + seconds * SECOND);
        match with["operation"].as_str().unwrap() {
            "get" => {
                let value = self.0.get(&slot).map_or(with["default"].clone(), |(value, _)| value.clone());
                Ok(json!({"found": found, "value": value}))
            }
            "exists" => Ok(json!({"found": found})),
            "ttl" => {
                let until = self.0.get(&slot).and_then(|(_, until)| *until);
                Ok(json!({"found": found, "ttl_seconds": until.map(|until| (until - now).div_ceil(SECOND))}))
            }
            "delete" => Ok(json!({"found": self.0.remove(&slot).is_some()})),
            "set" => {
                self.0.insert(slot, (with["value"].clone(), until));
                Ok(json!({"created": !found}))
            }
            "expire" => {
                if let Some((_, expires_at)) = self.0.get_mut(&slot) {
                    *expires_at = until;
                }
                Ok(json!({"found": found}))
            }
            operation => {
                let (before, until) = self.0.get(&slot).cloned().unwrap_or((json!(0), None));
                let amount = with["amount"].as_i64().unwrap();
                let sum =
                    before.as_i64().ok_or("kv.not_a_number")? + if operation == "incr" { amount } else { -amount };
                if sum.abs() > MOST {
                    return Err("kv.overflow");
                }
                self.0.insert(slot, (json!(sum), until));
                Ok(json!({"value": sum}))
            }
        }
    }
}

fn held_to_the_model(begin: fn() -> Box<dyn Subject>, cases: u32) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let acts = proptest::collection::vec(act(), 1..40);
    let result = runner.run(&acts, |acts| {
        let subject = begin();
        populate(subject.store().as_ref());
        let (clock, seeds) = (FakeClock::new(), Arc::new(Seeds::default()));
        let mut model = Model::default();
        let store = subject.store();
        let process = process(Arc::clone(&store) as _, subject.key_values(), &clock, &seeds);
        for (number, act) in acts.iter().enumerate() {
            clock.move_to(clock.now() + act.after_ms * 1000);
            let mut only = step("s", Value::Object(Map::clone(act.with.as_object().unwrap())));
            only["retry"] = json!({"max_attempts": 1});
            let opened = open(store.as_ref(), act.tenant, &format!("r_{number}"), plan(json!([only])));
            let (run, _) = process.drive(claimed(opened)).unwrap();
            let got = match run.output("s") {
                Some(output) => Ok(output.clone()),
                None => Err(run.steps[0].step.code.clone().unwrap()),
            };
            let expected = model.perform(act, clock.now()).map_err(str::to_owned);
            prop_assert_eq!(got, expected, "{:?} as number {}", act, number);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn in_memory_the_operations_mean_what_a_map_says() {
    held_to_the_model(InMemory::begin, 64);
}

#[test]
fn on_disk_the_operations_mean_what_a_map_says() {
    held_to_the_model(OnDisk::begin, 8);
}

#[test]
fn on_postgres_the_operations_mean_what_a_map_says() {
    held_to_the_model(OnPostgres::direct, 8);
}
