//! Converts a plan of the first system (`plan_json`) to `runproof.plan/v1`, or says what in it cannot be honoured.
//!
//! Only what means exactly the same is converted. What merely describes is dropped; everything else is a finding
//! `plan.legacy`. The result is judged like any other plan.

mod condition;
mod params;
mod retry;

use std::collections::BTreeSet;

use runproof_proof::finding::printable;
use serde_json::{Map, Value, json};

use super::{PlanFinding, SCHEMA};
use params::Keys;

/// Whether this is a plan of the first system: no `schema`, and steps with `step_id`.
pub fn is_legacy(value: &Value) -> bool {
    let steps = value.get("steps").and_then(Value::as_array);
    value.get("schema").is_none() && steps.is_some_and(|steps| steps.iter().any(|step| step.get("step_id").is_some()))
}

/// Converts a plan of the first system.
///
/// # Errors
/// Every finding, with paths in the document as it was given.
pub fn convert(value: &Value) -> Result<Value, Vec<PlanFinding>> {
    let mut converter = Converter::default();
    let plan = converter.plan(value);
    if converter.findings.is_empty() { Ok(plan) } else { Err(converter.findings) }
}

#[derive(Default)]
struct Converter {
    findings: Vec<PlanFinding>,
}

/// What a plan says for steps that say nothing themselves.
struct Defaults<'a> {
    retry: Option<Map<String, Value>>,
    on_error: Option<&'a Value>,
}

impl Converter {
    fn find(&mut self, path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(PlanFinding::error("plan.legacy", path, message, hint));
    }

    fn plan(&mut self, value: &Value) -> Value {
        let mut plan = Map::new();
        plan.insert("schema".to_owned(), json!(SCHEMA));
        let empty = Vec::new();
        let steps = value.get("steps").and_then(Value::as_array).unwrap_or(&empty);
        let policy = value.get("default_retry_policy").filter(|policy| !policy.is_null());
        let defaults = Defaults {
            retry: policy.and_then(|policy| self.policy(policy, "$.default_retry_policy")),
            on_error: value.get("default_on_error").filter(|word| !word.is_null()),
        };
        for (name, value) in value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            let path = format!("$.{}", printable(name));
            match name.as_str() {
                "steps" | "default_retry_policy" | "default_on_error" | "plan_id" | "metadata" => {}
                "goal" => {
                    plan.insert("name".to_owned(), value.clone());
                }
                "context" if value.as_object().is_some_and(Map::is_empty) => {}
                "context" => self.find(path, "values in `context` cannot be used", "write them into the params"),
                "status" if is_untouched(value) => {}
                "status" | "current_step_id" | "started_at" | "completed_at" | "duration_seconds" => self.begun(path),
                _ => self.find(path, "no field of the first system's plans", "remove it"),
            }
        }
        let keys = Keys::of(steps);
        let mut out = Vec::with_capacity(steps.len());
        for (position, step) in steps.iter().enumerate() {
            out.push(self.step(step, position, &defaults, &keys));
        }
        plan.insert("steps".to_owned(), Value::Array(out));
        Value::Object(plan)
    }

    fn begun(&mut self, path: String) {
        self.find(path, "says that the plan has begun, and a run does all of it", "remove it to run the whole plan");
    }

    fn step(&mut self, step: &Value, position: usize, defaults: &Defaults<'_>, keys: &Keys<'_>) -> Value {
        let path = format!("$.steps[{position}]");
        let Some(members) = step.as_object() else {
            self.find(path, "a step is a JSON object", "{\"step_id\": \"…\", \"skill\": \"…\"}");
            return Value::Null;
        };
        let mut out = Map::new();
        // Ids of the steps that this one names in params and condition.
        let mut named = BTreeSet::new();
        let mut fallback = Map::new();
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let path = format!("{path}.{}", printable(name));
            let mut set = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
            match name.as_str() {
                "step_id" => set("id", id_of(value).map_or_else(|| value.clone(), Value::String)),
                "skill" | "description" | "output_key" => set(name, value.clone()),
                "params" => set("with", self.params(value, &path, position, keys, &mut named)),
                "condition" => {
                    if let Some(when) = self.condition(value, &path, &mut named) {
                        set("when", json!(when));
                    }
                }
                "fallback_skill" => drop(fallback.insert("skill".to_owned(), value.clone())),
                "fallback_params" => {
                    let with = self.params(value, &path, position, keys, &mut named);
                    fallback.insert("with".to_owned(), with);
                }
                "depends_on" | "on_error" | "retry_policy" | "retry_count" => {}
                "status" if is_untouched(value) => {}
                "attempts" if value.as_u64() == Some(0) => {}
                "status" | "attempts" | "output" | "error_message" => self.begun(path),
                _ => self.find(path, "no field of the first system's steps", "remove it"),
            }
        }
        self.on_error(&mut out, members, defaults, &path);
        if !fallback.is_empty() {
            out.insert("fallback".to_owned(), Value::Object(fallback));
        }
        if let Some(retry) = self.retry(members, defaults.retry.as_ref(), &path) {
            out.insert("retry".to_owned(), retry);
        }
        self.needs(&mut out, members.get("depends_on"), named, &path);
        Value::Object(out)
    }

    fn on_error(
        &mut self,
        out: &mut Map<String, Value>,
        members: &Map<String, Value>,
        defaults: &Defaults<'_>,
        path: &str,
    ) {
        let own = members.get("on_error").filter(|word| !word.is_null());
        match own.or(defaults.on_error).map(|word| word.as_str().unwrap_or_default()) {
            None => {}
            // What was tried again and failed to the end ended the run.
            Some("abort" | "retry") => drop(out.insert("on_error".to_owned(), json!("abort"))),
            Some(word @ ("continue" | "fallback")) => drop(out.insert("on_error".to_owned(), json!(word))),
            Some(_) => self.find(format!("{path}.on_error"), "unknown word", "abort, continue, retry or fallback"),
        }
    }

    /// An empty `depends_on` is what the first system wrote for every step; its runner went through the list in order.
    fn needs(
        &mut self,
        out: &mut Map<String, Value>,
        depends_on: Option<&Value>,
        mut named: BTreeSet<String>,
        path: &str,
    ) {
        let Some(depends_on) = depends_on.filter(|list| !list.is_null()) else { return };
        let Some(list) = depends_on.as_array() else {
            return self.find(format!("{path}.depends_on"), "`depends_on` is a list of step ids", "[\"a\"]");
        };
        if list.is_empty() {
            return;
        }
        let mut needs: Vec<Value> = list.iter().map(|id| id_of(id).map_or_else(|| id.clone(), Value::String)).collect();
        for id in needs.iter().filter_map(Value::as_str) {
            named.remove(id);
        }
        // Whatever stood earlier in the list was done, so a step could use it without depending on it.
        needs.extend(named.into_iter().map(Value::String));
        out.insert("needs".to_owned(), Value::Array(needs));
    }
}

/// Whether a status says that nothing has happened yet.
fn is_untouched(status: &Value) -> bool {
    matches!(status.as_str(), Some("pending" | "draft"))
}

/// The id of a step, which could be a number.
fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
