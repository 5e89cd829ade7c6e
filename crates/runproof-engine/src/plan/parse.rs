//! Reads a plan and gathers every finding at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    DEFAULT_PARALLEL, MAX_PLAN, MAX_STEPS, MAX_TIMEOUT_MS, OnError, OnUnknown, Plan, PlanFinding, Retry, SCHEMA, Step,
};
use crate::redact;
use crate::reference::{self, Root};
use runproof_proof::canonical;

/// Fields of later versions, which are refused by name so that nobody thinks they work.
const LATER_PLAN: &[&str] =
    &["inputs", "outputs", "timeout_ms", "budget", "context", "default_retry_policy", "default_on_error"];
const LATER_STEP: &[&str] = &[
    "needs",
    "depends_on",
    "when",
    "condition",
    "foreach",
    "repeat",
    "output_key",
    "approval",
    "budget",
    "compensate",
    "output_schema",
];

/// Reads a plan.
///
/// # Errors
/// Every finding, in the order of the document.
pub fn parse(value: &Value) -> Result<Plan, Vec<PlanFinding>> {
    let mut reader = Reader { findings: Vec::new() };
    let plan = reader.plan(value);
    match plan {
        Some(plan) if reader.findings.is_empty() => Ok(plan),
        Some(_) | None => Err(reader.findings),
    }
}

struct Reader {
    findings: Vec<PlanFinding>,
}

impl Reader {
    fn find(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.findings.push(PlanFinding { code, path: path.into(), message: message.into(), hint: hint.into() });
    }

    fn plan(&mut self, value: &Value) -> Option<Plan> {
        let Some(members) = value.as_object() else {
            self.find(
                "plan.type",
                "$",
                "a plan is a JSON object",
                format!("begin with {{\"schema\": \"{SCHEMA}\", \"steps\": […]}}"),
            );
            return None;
        };
        match canonical::to_bytes(value) {
            Err(error) => self.find(
                "plan.value",
                "$",
                format!("the plan cannot be recorded: {}", error.problem),
                "write numbers with a fraction as strings",
            ),
            Ok(bytes) if bytes.len() > MAX_PLAN => self.find(
                "plan.limit",
                "$",
                format!("the plan has {} bytes, at most {MAX_PLAN} are allowed", bytes.len()),
                "pass large data by reference",
            ),
            Ok(_) => {}
        }
        self.fields(members, "$", &["schema", "name", "description", "steps"], LATER_PLAN);
        match members.get("schema").map(Value::as_str) {
            Some(Some(SCHEMA)) => {}
            Some(_) => {
                self.find("plan.schema", "$.schema", "unknown plan schema", format!("this version reads `{SCHEMA}`"));
            }
            None => {
                self.find("plan.missing", "$.schema", "`schema` is missing", format!("add \"schema\": \"{SCHEMA}\""));
            }
        }
        for name in ["name", "description"] {
            if members.get(name).is_some_and(|value| !value.is_string()) {
                self.find("plan.type", format!("$.{name}"), format!("`{name}` is a string"), "");
            }
        }
        for secret in redact::literal_secrets(value) {
            self.find(
                "plan.literal_secret",
                secret.path,
                format!("a literal {}", secret.kind),
                "use secret://NAME and set RUNPROOF_SECRET_NAME where the worker runs",
            );
        }
        if let Err(error) = redact::secret_names(value) {
            self.find(
                "plan.secret_reference",
                "$",
                error.to_string(),
                "secret://NAME with NAME in capitals, digits and underscores",
            );
        }
        let steps = self.steps(members.get("steps").and_then(Value::as_array), members)?;
        Some(Plan { steps, timeout_ms: None, max_parallel: DEFAULT_PARALLEL, inputs: BTreeMap::new() })
    }

    fn steps(&mut self, steps: Option<&Vec<Value>>, members: &Map<String, Value>) -> Option<Vec<Step>> {
        let Some(steps) = steps else {
            let got = if members.contains_key("steps") { "`steps` is a list" } else { "`steps` is missing" };
            self.find("plan.type", "$.steps", got, "list at least one step");
            return None;
        };
        if steps.is_empty() {
            self.find("plan.no_steps", "$.steps", "a plan needs at least one step", "");
        }
        if steps.len() > MAX_STEPS {
            self.find(
                "plan.limit",
                "$.steps",
                format!("{} steps, at most {MAX_STEPS} are allowed", steps.len()),
                "split the plan",
            );
            return None;
        }
        let mut out: Vec<Step> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let path = format!("$.steps[{index}]");
            let Some(mut step) = self.step(step, &path) else { continue };
            step.needs = index.checked_sub(1).into_iter().collect();
            if out.iter().any(|earlier| earlier.id == step.id) {
                self.find(
                    "plan.duplicate_id",
                    format!("{path}.id"),
                    format!("step id `{}` is used twice", step.id),
                    "ids name steps in references and proofs",
                );
            }
            let earlier: Vec<&str> = out.iter().map(|step| step.id.as_str()).collect();
            self.references(&step.with, &earlier, &format!("{path}.with"));
            if let OnError::Fallback { with, .. } = &step.on_error {
                self.references(with, &earlier, &format!("{path}.fallback.with"));
            }
            out.push(step);
        }
        Some(out)
    }

    fn references(&mut self, with: &Value, earlier: &[&str], path: &str) {
        let found = match reference::references(with) {
            Ok(found) => found,
            Err(error) => {
                return self.find(
                    "plan.reference",
                    path,
                    error.to_string(),
                    "references look like {{steps.fetch.output.id}}",
                );
            }
        };
        for (place, reference) in found {
            if let Root::Step(id) = &reference.root
                && !earlier.contains(&id.as_str())
            {
                let place = format!("{path}{}", place.strip_prefix('$').unwrap_or(&place));
                self.find(
                    "plan.reference",
                    place,
                    format!("`{id}` is not an earlier step"),
                    "a step can only use what came before it",
                );
            }
        }
    }

    fn step(&mut self, value: &Value, path: &str) -> Option<Step> {
        let Some(members) = value.as_object() else {
            self.find("plan.type", path, "a step is a JSON object", "");
            return None;
        };
        let known = ["id", "skill", "with", "retry", "timeout_ms", "on_error", "fallback", "on_unknown", "description"];
        self.fields(members, path, &known, LATER_STEP);
        let id = self.text(members, path, "id");
        if let Some(id) = &id
            && !runproof_proof::event::is_id(id)
        {
            self.find(
                "plan.id",
                format!("{path}.id"),
                format!("`{id}` is not an id"),
                "1 to 64 of A-Z a-z 0-9 _ . : -",
            );
        }
        let skill = self.text(members, path, "skill");
        let with = self.with(members.get("with"), &format!("{path}.with"));
        let retry = self.retry(members.get("retry"), &format!("{path}.retry"));
        let timeout_ms = self.number(members, path, "timeout_ms", 1, MAX_TIMEOUT_MS);
        let on_error = self.on_error(members, path);
        let on_unknown = match members.get("on_unknown") {
            None => OnUnknown::Hold,
            Some(word) => word.as_str().and_then(OnUnknown::parse).unwrap_or_else(|| {
                self.find(
                    "plan.value",
                    format!("{path}.on_unknown"),
                    "unknown word",
                    "hold, retry, assume_done or fail",
                );
                OnUnknown::Hold
            }),
        };
        Some(Step {
            id: id?,
            needs: Vec::new(),
            when: None,
            foreach: None,
            skill: skill?,
            with,
            retry,
            timeout_ms,
            on_error,
            on_unknown,
            output_key: None,
        })
    }

    fn with(&mut self, value: Option<&Value>, path: &str) -> Value {
        match value {
            None => Value::Object(Map::new()),
            Some(Value::Object(members)) => Value::Object(members.clone()),
            Some(_) => {
                self.find("plan.type", path, "`with` is a JSON object", "");
                Value::Object(Map::new())
            }
        }
    }

    fn on_error(&mut self, members: &Map<String, Value>, path: &str) -> OnError {
        let word = members.get("on_error").map_or(Some("abort"), Value::as_str);
        let fallback = members.get("fallback");
        match (word, fallback) {
            (Some("abort"), None) => OnError::Abort,
            (Some("continue"), None) => OnError::Continue,
            (Some("fallback"), Some(Value::Object(inner))) => {
                let path = format!("{path}.fallback");
                self.fields(inner, &path, &["skill", "with"], &[]);
                let skill = self.text(inner, &path, "skill").unwrap_or_default();
                OnError::Fallback { skill, with: self.with(inner.get("with"), &format!("{path}.with")) }
            }
            (Some("fallback"), _) => {
                self.find(
                    "plan.missing",
                    format!("{path}.fallback"),
                    "on_error is `fallback` but there is no fallback object",
                    "add \"fallback\": {\"skill\": …, \"with\": {…}}",
                );
                OnError::Abort
            }
            (Some("abort" | "continue"), Some(_)) => {
                self.find(
                    "plan.value",
                    format!("{path}.fallback"),
                    "a fallback without \"on_error\": \"fallback\"",
                    "set on_error to fallback",
                );
                OnError::Abort
            }
            (_, _) => {
                self.find("plan.value", format!("{path}.on_error"), "unknown word", "abort, continue or fallback");
                OnError::Abort
            }
        }
    }

    fn retry(&mut self, value: Option<&Value>, path: &str) -> Retry {
        let standard = Retry::default();
        let Some(value) = value else { return standard };
        let Some(members) = value.as_object() else {
            self.find("plan.type", path, "`retry` is a JSON object", "{\"max_attempts\": 3}");
            return standard;
        };
        self.fields(
            members,
            path,
            &["max_attempts", "initial_delay_ms", "max_delay_ms"],
            &["strategy", "jitter", "retryable_errors", "max_elapsed_ms"],
        );
        let max_attempts =
            self.number(members, path, "max_attempts", 1, 20).unwrap_or(u64::from(standard.max_attempts));
        let initial_delay_ms =
            self.number(members, path, "initial_delay_ms", 0, 3_600_000).unwrap_or(standard.initial_delay_ms);
        let max_delay_ms = self
            .number(members, path, "max_delay_ms", 0, 86_400_000)
            .unwrap_or(standard.max_delay_ms.max(initial_delay_ms));
        if max_delay_ms < initial_delay_ms {
            self.find("plan.value", format!("{path}.max_delay_ms"), "smaller than initial_delay_ms", "");
        }
        Retry { max_attempts: u32::try_from(max_attempts).unwrap_or(1), initial_delay_ms, max_delay_ms }
    }

    fn text(&mut self, members: &Map<String, Value>, path: &str, name: &str) -> Option<String> {
        match members.get(name) {
            Some(Value::String(text)) if !text.is_empty() && text.len() <= 64 => Some(text.clone()),
            Some(Value::String(_)) => {
                self.find("plan.value", format!("{path}.{name}"), format!("`{name}` has 1 to 64 characters"), "");
                None
            }
            Some(_) => {
                self.find("plan.type", format!("{path}.{name}"), format!("`{name}` is a string"), "");
                None
            }
            None => {
                self.find("plan.missing", format!("{path}.{name}"), format!("`{name}` is missing"), "");
                None
            }
        }
    }

    fn number(&mut self, members: &Map<String, Value>, path: &str, name: &str, least: u64, most: u64) -> Option<u64> {
        let value = members.get(name)?;
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.find(
                "plan.value",
                format!("{path}.{name}"),
                format!("`{name}` is an integer from {least} to {most}"),
                "",
            );
        }
        number
    }

    fn fields(&mut self, members: &Map<String, Value>, path: &str, known: &[&str], later: &[&str]) {
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            let place = format!("{path}.{}", runproof_proof::finding::printable(name));
            if later.contains(&name.as_str()) {
                self.find(
                    "plan.unsupported",
                    place,
                    format!("`{name}` is not supported yet"),
                    "remove it: this version runs steps one after another",
                );
            } else {
                self.find("plan.unknown_field", place, "unknown field", format!("known here: {}", known.join(", ")));
            }
        }
    }
}
