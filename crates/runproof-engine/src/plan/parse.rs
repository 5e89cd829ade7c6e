//! Reads a plan and gathers every finding at once.

use std::collections::{BTreeMap, BTreeSet};

use runproof_proof::canonical;
use serde_json::{Map, Value};

use super::graph::Graph;
use super::reader::Reader;
use super::step::{self, Draft};
use super::{
    DEFAULT_PARALLEL, MAX_PARALLEL, MAX_PLAN, MAX_RUN_TIMEOUT_MS, MAX_STEPS, Plan, PlanFinding, SCHEMA, Step, inputs,
    uses, warn,
};
use crate::redact;

const KNOWN: &[&str] = &["schema", "name", "description", "inputs", "timeout_ms", "max_parallel", "steps"];
/// Fields of later versions, which are refused by name so that nobody thinks they work.
const LATER: &[&str] = &["outputs", "budget", "context", "default_retry_policy", "default_on_error"];

/// Reads a plan.
///
/// # Errors
/// Every finding that refuses it: about the plan, then step by step.
pub fn parse(value: &Value) -> Result<Plan, Vec<PlanFinding>> {
    let mut reader = Reader::default();
    let plan = read(&mut reader, value);
    let findings = reader.finish();
    match plan {
        Some(plan) if findings.is_empty() => Ok(plan),
        Some(_) | None => Err(findings),
    }
}

/// Reads a plan as [`parse()`] does, and warns about a valid one.
pub fn check(value: &Value) -> (Option<Plan>, Vec<PlanFinding>) {
    match parse(value) {
        Ok(plan) => {
            let warnings = warn::warnings(&plan, value);
            (Some(plan), warnings)
        }
        Err(findings) => (None, findings),
    }
}

fn read(reader: &mut Reader, value: &Value) -> Option<Plan> {
    let Some(members) = value.as_object() else {
        let hint = format!("begin with {{\"schema\": \"{SCHEMA}\", \"steps\": […]}}");
        reader.find("plan.type", "$", "a plan is a JSON object", hint);
        return None;
    };
    recordable(reader, value);
    reader.fields(members, "$", KNOWN, LATER);
    match members.get("schema").map(Value::as_str) {
        Some(Some(SCHEMA)) => {}
        Some(_) => {
            reader.find("plan.schema", "$.schema", "unknown plan schema", format!("this version reads `{SCHEMA}`"));
        }
        None => {
            reader.find("plan.missing", "$.schema", "`schema` is missing", format!("add \"schema\": \"{SCHEMA}\""));
        }
    }
    reader.prose(members, "$", "name");
    reader.prose(members, "$", "description");
    secrets(reader, value);
    let inputs = inputs::read(reader, members.get("inputs"));
    let timeout_ms = reader.number(members, "$", "timeout_ms", 1, MAX_RUN_TIMEOUT_MS);
    let max_parallel = reader.number(members, "$", "max_parallel", 1, u64::from(MAX_PARALLEL));
    let max_parallel = max_parallel.and_then(|number| u32::try_from(number).ok()).unwrap_or(DEFAULT_PARALLEL);
    let declared = members.get("inputs").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let declared = declared.map(|name| (name.as_str(), inputs.get(name).map(|input| input.kind)));
    let steps = steps(reader, members, &declared.collect())?;
    Some(Plan { steps, timeout_ms, max_parallel, inputs })
}

/// A plan is recorded, so it needs a canonical form of bearable size.
fn recordable(reader: &mut Reader, value: &Value) {
    match canonical::to_bytes(value) {
        Err(error) => {
            let message = format!("the plan cannot be recorded: {}", error.problem);
            reader.find("plan.value", "$", message, "write numbers with a fraction as strings");
        }
        Ok(bytes) if bytes.len() > MAX_PLAN => {
            let message = format!("the plan has {} bytes, at most {MAX_PLAN} are allowed", bytes.len());
            reader.find("plan.limit", "$", message, "pass large data by reference");
        }
        Ok(_) => {}
    }
}

fn secrets(reader: &mut Reader, value: &Value) {
    for secret in redact::literal_secrets(value) {
        let hint = "use secret://NAME and set RUNPROOF_SECRET_NAME where the worker runs";
        reader.find("plan.literal_secret", secret.path, format!("a literal {}", secret.kind), hint);
    }
    if let Err(error) = redact::secret_names(value) {
        let hint = "secret://NAME with NAME in capitals, digits and underscores";
        reader.find("plan.secret_reference", "$", error.to_string(), hint);
    }
}

fn steps(reader: &mut Reader, members: &Map<String, Value>, inputs: &uses::Declared<'_>) -> Option<Vec<Step>> {
    let list = match members.get("steps") {
        Some(Value::Array(list)) => list,
        Some(_) => {
            reader.find("plan.type", "$.steps", "`steps` is a list", "list at least one step");
            return None;
        }
        None => {
            reader.find("plan.missing", "$.steps", "`steps` is missing", "list at least one step");
            return None;
        }
    };
    if list.is_empty() {
        reader.find("plan.no_steps", "$.steps", "a plan needs at least one step", "list at least one step");
    }
    if list.len() > MAX_STEPS {
        let message = format!("{} steps, at most {MAX_STEPS} are allowed", list.len());
        reader.find("plan.limit", "$.steps", message, "split the plan");
        return None;
    }
    let mut drafts = Vec::with_capacity(list.len());
    for (position, value) in list.iter().enumerate() {
        reader.at_step(Some(position));
        drafts.push(step::read(reader, value, format!("$.steps[{position}]")));
    }
    unique(reader, &drafts);
    let graph = Graph::read(reader, &drafts);
    uses::check(reader, &drafts, &graph, inputs);
    reader.at_step(None);
    let steps = drafts.into_iter().zip(graph.needs).map(|(draft, needs)| Some(Step { needs, ..draft.step? }));
    steps.collect()
}

/// Ids and output keys name steps, so none is given twice.
fn unique(reader: &mut Reader, drafts: &[Draft<'_>]) {
    let mut ids = BTreeSet::new();
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    for (position, draft) in drafts.iter().enumerate() {
        reader.at_step(Some(position));
        if let Some(id) = &draft.id
            && !ids.insert(id)
        {
            let message = format!("step id `{id}` is used twice");
            let place = format!("{}.id", draft.path);
            reader.find("plan.duplicate_id", place, message, "ids name steps in references and proofs");
        }
        if let Some(key) = draft.step.as_ref().and_then(|step| step.output_key.as_deref())
            && let Some(first) = keys.insert(key, &draft.path)
        {
            let message = format!("output_key `{key}` is that of {first} too");
            reader.find("plan.output_key", format!("{}.output_key", draft.path), message, "choose another name");
        }
    }
}
