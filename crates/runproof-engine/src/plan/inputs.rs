//! What has to be given with a run: what a plan declares, and what somebody gives.

use std::collections::BTreeMap;

use runproof_proof::canonical;
use runproof_proof::finding::printable;
use serde_json::{Map, Value, json};

use super::reader::{Reader, is_name};
use super::{Input, InputKind, MAX_PLAN, PlanFinding};
use crate::{redact, reference};

/// Reads what a plan declares.
pub(super) fn read(reader: &mut Reader, value: Option<&Value>) -> BTreeMap<String, Input> {
    let mut out = BTreeMap::new();
    let Some(value) = value else { return out };
    let Some(declared) = value.as_object() else {
        let hint = "{\"city\": {\"type\": \"text\"}}";
        reader.find("plan.inputs", "$.inputs", "`inputs` is an object of declarations", hint);
        return out;
    };
    for (name, declaration) in declared {
        let path = format!("$.inputs.{}", printable(name));
        if !is_name(name) {
            let hint = "a letter or _, then up to 63 letters, digits and _";
            reader.find("plan.inputs", &path, "not a name", hint);
        }
        if let Some(input) = declaration_of(reader, declaration, name, &path) {
            out.insert(name.clone(), input);
        }
    }
    out
}

fn declaration_of(reader: &mut Reader, declaration: &Value, name: &str, path: &str) -> Option<Input> {
    let words: Vec<&str> = InputKind::ALL.iter().map(|kind| kind.word()).collect();
    let words = words.join(", ");
    let Some(members) = declaration.as_object() else {
        reader.find("plan.inputs", path, "an input is a JSON object", "{\"type\": \"text\"}");
        return None;
    };
    reader.fields(members, path, &["type", "default", "description"], &[]);
    reader.prose(members, path, "description");
    let kind = members.get("type").and_then(Value::as_str).and_then(InputKind::parse);
    let Some(kind) = kind else {
        let message = if members.contains_key("type") { "unknown type" } else { "`type` is missing" };
        reader.find("plan.inputs", format!("{path}.type"), message, words);
        return None;
    };
    let default = members.get("default").cloned();
    if let Some(value) = &default {
        let place = format!("{path}.default");
        if !fits(kind, value) {
            reader.find("plan.inputs", &place, format!("the default is no {kind}"), "give one of the input's type");
        } else if let Some((message, hint)) = forbidden(name, value) {
            reader.find("plan.inputs", place, message, hint);
        }
    }
    Some(Input { kind, default })
}

/// Whether a value is of a type.
fn fits(kind: InputKind, value: &Value) -> bool {
    match kind {
        InputKind::Text => value.is_string(),
        InputKind::Integer => value.is_i64() || value.is_u64(),
        InputKind::Boolean => value.is_boolean(),
        InputKind::List => value.is_array(),
        InputKind::Object => value.is_object(),
        InputKind::Any => true,
    }
}

/// How to give a value of a type.
fn form(name: &str, kind: InputKind) -> String {
    match kind {
        InputKind::Text => format!("--input {name}=TEXT; in a file, a string in quotes"),
        InputKind::Integer => format!("a whole number, such as --input {name}=3"),
        InputKind::Boolean => format!("--input {name}=true or --input {name}=false"),
        InputKind::List => format!("JSON, such as --input '{name}=[1, 2]', or --input {name}=@FILE"),
        InputKind::Object => format!("JSON, such as --input '{name}={{\"a\": 1}}', or --input {name}=@FILE"),
        InputKind::Any => format!("--input {name}=VALUE, where JSON is read as JSON, or --input {name}=@FILE"),
    }
}

/// Why a value cannot be an input, with a hint. Messages never repeat it.
fn forbidden(name: &str, value: &Value) -> Option<(String, &'static str)> {
    if let Err(error) = canonical::to_bytes(value) {
        let message = format!("it cannot be recorded: {}", error.problem);
        return Some((message, "whole numbers up to 2^53 - 1, no U+0000, at most 64 levels"));
    }
    if redact::secret_names(value).map_or(true, |names| !names.is_empty()) {
        return Some(("it names a secret".to_owned(), "only `with` in the plan can name a secret"));
    }
    let literal = redact::literal_secrets(&json!({ name: value })).into_iter().next()?;
    let hint = "use secret://NAME in the plan and set RUNPROOF_SECRET_NAME where the worker runs";
    Some((format!("a literal {}", literal.kind), hint))
}

/// What a text on a command line means for an input: text itself, everything else as JSON. What is not of the input's
/// type stays text, so that [`bind`] says so.
pub fn from_text(inputs: &BTreeMap<String, Input>, name: &str, text: &str) -> Value {
    match inputs.get(name).map(|input| input.kind) {
        Some(InputKind::Text) | None => Value::String(text.to_owned()),
        Some(InputKind::Integer | InputKind::Boolean | InputKind::List | InputKind::Object | InputKind::Any) => {
            super::from_json(text.as_bytes()).unwrap_or_else(|_| Value::String(text.to_owned()))
        }
    }
}

/// Whether recorded inputs are of a plan that declares these: each of them, of its type, and no other.
pub(crate) fn fit(inputs: &BTreeMap<String, Input>, recorded: Option<&Value>) -> bool {
    let Some(recorded) = recorded else { return inputs.is_empty() };
    let Some(members) = recorded.as_object().filter(|members| members.len() == inputs.len()) else { return false };
    !inputs.is_empty()
        && inputs.iter().all(|(name, input)| members.get(name).is_some_and(|value| fits(input.kind, value)))
}

/// What a run gets: what is given, and defaults for the rest. `None` for a plan without inputs.
///
/// # Errors
/// Every finding: `inputs.missing`, `inputs.unknown`, `inputs.type`, `inputs.value`.
pub fn bind(inputs: &BTreeMap<String, Input>, given: Option<&Value>) -> Result<Option<Value>, Vec<PlanFinding>> {
    let empty = Map::new();
    let given = match given {
        None => &empty,
        Some(Value::Object(members)) => members,
        Some(_) => {
            let hint = "{\"name\": value}";
            return Err(vec![PlanFinding::error("inputs.type", "inputs", "the inputs are a JSON object", hint)]);
        }
    };
    let mut findings = Vec::new();
    let mut find = |code, name: &str, message: String, hint: String| {
        findings.push(PlanFinding::error(code, format!("inputs.{}", printable(name)), message, hint));
    };
    for name in given.keys().filter(|name| !inputs.contains_key(*name)) {
        let names: Vec<&str> = inputs.keys().map(String::as_str).collect();
        let hint =
            if names.is_empty() { "the plan has none".to_owned() } else { format!("it has: {}", names.join(", ")) };
        find("inputs.unknown", name, "the plan has no such input".to_owned(), hint);
    }
    let mut bound = Map::new();
    for (name, input) in inputs {
        let Some(value) = given.get(name).or(input.default.as_ref()) else {
            let hint = form(name, input.kind);
            find("inputs.missing", name, "it has to be given".to_owned(), hint);
            continue;
        };
        if !fits(input.kind, value) {
            let message = format!("it has to be of type {}, and this is {}", input.kind, reference::kind(value));
            find("inputs.type", name, message, form(name, input.kind));
        } else if let Some((message, hint)) = forbidden(name, value) {
            find("inputs.value", name, message, hint.to_owned());
        }
        bound.insert(name.clone(), value.clone());
    }
    let bound = Value::Object(bound);
    if !findings.is_empty() {
        return Err(findings);
    }
    let problem = match canonical::to_bytes(&bound) {
        Ok(bytes) if bytes.len() <= MAX_PLAN => None,
        Ok(bytes) => Some(format!("the inputs have {} bytes, at most {MAX_PLAN} are allowed", bytes.len())),
        Err(error) => Some(format!("the inputs cannot be recorded: {}", error.problem)),
    };
    if let Some(message) = problem {
        return Err(vec![PlanFinding::error("inputs.value", "inputs", message, "pass large data by reference")]);
    }
    Ok((!inputs.is_empty()).then_some(bound))
}
