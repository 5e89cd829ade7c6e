//! Reads one step.

use serde_json::{Map, Value};

use super::reader::{Reader, is_name};
use super::{Foreach, MAX_ELEMENTS, MAX_PARALLEL, MAX_TIMEOUT_MS, OnError, OnUnknown, Retry, Step};
use crate::expression::Expression;

const KNOWN: &[&str] = &[
    "id",
    "skill",
    "with",
    "needs",
    "when",
    "foreach",
    "retry",
    "timeout_ms",
    "on_error",
    "fallback",
    "on_unknown",
    "output_key",
    "description",
];
/// Fields of later versions, which are refused by name so that nobody thinks they work.
const LATER: &[&str] = &["depends_on", "condition", "repeat", "approval", "budget", "compensate", "output_schema"];
const LATER_RETRY: &[&str] = &["strategy", "jitter", "retryable_errors", "max_elapsed_ms"];

/// A step as far as it could be read. What it needs is known once all steps are.
pub(super) struct Draft<'a> {
    /// Its JSON path.
    pub(super) path: String,
    /// As it is written.
    pub(super) raw: &'a Value,
    /// Its id, if it has one.
    pub(super) id: Option<String>,
    /// The step; `None` for what is no object.
    pub(super) step: Option<Step>,
}

/// Reads one step.
pub(super) fn read<'a>(reader: &mut Reader, raw: &'a Value, path: String) -> Draft<'a> {
    let Some(members) = raw.as_object() else {
        reader.find("plan.type", &path, "a step is a JSON object", "{\"id\": \"…\", \"skill\": \"…\"}");
        return Draft { path, raw, id: None, step: None };
    };
    reader.fields(members, &path, KNOWN, LATER);
    reader.prose(members, &path, "description");
    let id = reader.text(members, &path, "id");
    if let Some(id) = &id
        && !runproof_proof::event::is_id(id)
    {
        let message = format!("`{}` is not an id", runproof_proof::finding::printable(id));
        reader.find("plan.id", format!("{path}.id"), message, "1 to 64 of A-Z a-z 0-9 _ . : -");
    }
    let skill = reader.text(members, &path, "skill");
    let step = Step {
        id: id.clone().unwrap_or_default(),
        needs: Vec::new(),
        skill: skill.unwrap_or_default(),
        with: with(reader, members.get("with"), &format!("{path}.with")),
        when: when(reader, members.get("when"), &path),
        foreach: foreach(reader, members.get("foreach"), &format!("{path}.foreach")),
        retry: retry(reader, members.get("retry"), &format!("{path}.retry")),
        timeout_ms: reader.number(members, &path, "timeout_ms", 1, MAX_TIMEOUT_MS),
        on_error: on_error(reader, members, &path),
        on_unknown: on_unknown(reader, members.get("on_unknown"), &path),
        output_key: output_key(reader, members.get("output_key"), &path),
    };
    Draft { path, raw, id, step: Some(step) }
}

fn with(reader: &mut Reader, value: Option<&Value>, path: &str) -> Value {
    match value {
        None => Value::Object(Map::new()),
        Some(Value::Object(members)) => Value::Object(members.clone()),
        Some(_) => {
            reader.find("plan.type", path, "`with` is a JSON object", "{\"name\": value}");
            Value::Object(Map::new())
        }
    }
}

fn when(reader: &mut Reader, value: Option<&Value>, path: &str) -> Option<Expression> {
    let place = format!("{path}.when");
    let Some(text) = value?.as_str() else {
        reader.find("plan.type", place, "`when` is an expression, as a string", "steps.a.status == 'success'");
        return None;
    };
    match Expression::parse(text) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let hint = if text.contains("{{") { "write it without {{ and }}" } else { "steps.a.output.status == 200" };
            reader.find("plan.expression", place, error.to_string(), hint);
            None
        }
    }
}

fn foreach(reader: &mut Reader, value: Option<&Value>, path: &str) -> Option<Foreach> {
    let value = value?;
    let Value::Object(members) = value else {
        return items(reader, value, path).map(|items| Foreach { items, concurrency: None });
    };
    reader.fields(members, path, &["items", "concurrency"], &[]);
    let concurrency = reader.number(members, path, "concurrency", 1, u64::from(MAX_PARALLEL));
    let Some(list) = members.get("items") else {
        reader.find("plan.foreach", path, "`items` is missing", "add \"items\": \"{{ steps.a.output }}\"");
        return None;
    };
    let items = items(reader, list, &format!("{path}.items"))?;
    Some(Foreach { items, concurrency: concurrency.and_then(|number| u32::try_from(number).ok()) })
}

/// A list, or a text that becomes one.
fn items(reader: &mut Reader, value: &Value, path: &str) -> Option<Value> {
    match value {
        Value::Array(list) if list.len() > MAX_ELEMENTS => {
            let message = format!("{} elements, at most {MAX_ELEMENTS} are allowed", list.len());
            reader.find("plan.foreach", path, message, "split the list over several steps");
        }
        Value::Array(_) => return Some(value.clone()),
        Value::String(text) if text.starts_with("{{") && text.ends_with("}}") => return Some(value.clone()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            let hint = "a list, or a text that is one reference: \"{{ steps.a.output.rows }}\"";
            reader.find("plan.foreach", path, "this can never be a list", hint);
        }
    }
    None
}

fn output_key(reader: &mut Reader, value: Option<&Value>, path: &str) -> Option<String> {
    let key = value?.as_str().filter(|key| is_name(key));
    if key.is_none() {
        let hint = "a letter or _, then up to 63 letters, digits and _";
        reader.find("plan.output_key", format!("{path}.output_key"), "not a name", hint);
    }
    key.map(str::to_owned)
}

fn on_unknown(reader: &mut Reader, value: Option<&Value>, path: &str) -> OnUnknown {
    let Some(value) = value else { return OnUnknown::Hold };
    value.as_str().and_then(OnUnknown::parse).unwrap_or_else(|| {
        reader.find("plan.value", format!("{path}.on_unknown"), "unknown word", "hold, retry, assume_done or fail");
        OnUnknown::Hold
    })
}

fn on_error(reader: &mut Reader, members: &Map<String, Value>, path: &str) -> OnError {
    let word = members.get("on_error").map_or(Some("abort"), Value::as_str);
    match (word, members.get("fallback")) {
        (Some("abort"), None) => return OnError::Abort,
        (Some("continue"), None) => return OnError::Continue,
        (Some("fallback"), Some(Value::Object(inner))) => {
            let path = format!("{path}.fallback");
            reader.fields(inner, &path, &["skill", "with"], &[]);
            let skill = reader.text(inner, &path, "skill").unwrap_or_default();
            return OnError::Fallback { skill, with: with(reader, inner.get("with"), &format!("{path}.with")) };
        }
        (Some("fallback"), _) => reader.find(
            "plan.missing",
            format!("{path}.fallback"),
            "on_error is `fallback` but there is no fallback object",
            "add \"fallback\": {\"skill\": …, \"with\": {…}}",
        ),
        (Some("abort" | "continue"), Some(_)) => reader.find(
            "plan.value",
            format!("{path}.fallback"),
            "a fallback without \"on_error\": \"fallback\"",
            "set on_error to fallback",
        ),
        (_, _) => {
            reader.find("plan.value", format!("{path}.on_error"), "unknown word", "abort, continue or fallback");
        }
    }
    OnError::Abort
}

fn retry(reader: &mut Reader, value: Option<&Value>, path: &str) -> Retry {
    let standard = Retry::default();
    let Some(value) = value else { return standard };
    let Some(members) = value.as_object() else {
        reader.find("plan.type", path, "`retry` is a JSON object", "{\"max_attempts\": 3}");
        return standard;
    };
    reader.fields(members, path, &["max_attempts", "initial_delay_ms", "max_delay_ms"], LATER_RETRY);
    let max_attempts = reader.number(members, path, "max_attempts", 1, 20).unwrap_or(u64::from(standard.max_attempts));
    let initial_delay_ms =
        reader.number(members, path, "initial_delay_ms", 0, 3_600_000).unwrap_or(standard.initial_delay_ms);
    let max_delay_ms = reader
        .number(members, path, "max_delay_ms", 0, 86_400_000)
        .unwrap_or(standard.max_delay_ms.max(initial_delay_ms));
    if max_delay_ms < initial_delay_ms {
        let hint = "at least as long as initial_delay_ms";
        reader.find("plan.value", format!("{path}.max_delay_ms"), "smaller than initial_delay_ms", hint);
    }
    Retry { max_attempts: u32::try_from(max_attempts).unwrap_or(1), initial_delay_ms, max_delay_ms }
}
