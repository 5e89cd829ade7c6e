//! Converts `condition` of the first system to an expression.

use std::collections::BTreeSet;

use runproof_proof::finding::printable;
use serde_json::Value;

use super::{Converter, id_of};

/// Words that an expression does not take for names.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

impl Converter {
    /// The expression for `{step_id, field, operator, value}`.
    pub(super) fn condition(&mut self, condition: &Value, path: &str, named: &mut BTreeSet<String>) -> Option<String> {
        let Some(members) = condition.as_object() else {
            self.find(path, "a condition is a JSON object", "{\"step_id\", \"field\", \"operator\", \"value\"}");
            return None;
        };
        for name in members.keys().filter(|name| !["step_id", "field", "operator", "value"].contains(&name.as_str())) {
            self.find(format!("{path}.{}", printable(name)), "no field of a condition", "remove it");
        }
        let id = members.get("step_id").and_then(id_of);
        let field = members.get("field").and_then(Value::as_str).filter(|field| !field.is_empty());
        let operator = members.get("operator").and_then(Value::as_str);
        let (Some(id), Some(field), Some(operator)) = (id, field, operator) else {
            self.find(path, "step_id, field or operator is missing", "a condition names all three");
            return None;
        };
        let (parents, last) = field.rsplit_once('.').map_or((None, field), |(parents, last)| (Some(parents), last));
        let mut parent = format!("steps{}.output", member(&id));
        parent.extend(parents.into_iter().flat_map(|parents| parents.split('.')).map(member));
        let value = format!("{parent}{}", member(last));
        named.insert(id);
        let given = members.get("value");
        let expression = match operator {
            "exists" => Some(format!("{} in {parent}", Value::from(last))),
            "not_exists" => Some(format!("!({} in {parent})", Value::from(last))),
            "eq" => literal(given, false).map(|literal| format!("{value} == {literal}")),
            "ne" => literal(given, false).map(|literal| format!("{value} != {literal}")),
            "gt" => literal(given, true).map(|literal| format!("{value} > {literal}")),
            "lt" => literal(given, true).map(|literal| format!("{value} < {literal}")),
            // An expression cannot ask for the type of a value: a text is looked for in a text, and where there is a
            // list instead the step fails on the record.
            "contains" if given.is_some_and(Value::is_string) => {
                literal(given, false).map(|text| format!("{value}.contains({text})"))
            }
            "contains" => literal(given, false).map(|literal| format!("{literal} in {value}")),
            "matches" => {
                let hint = "write `when` with an expression, in a plan of runproof.plan/v1";
                self.find(format!("{path}.operator"), "`matches` cannot be converted exactly", hint);
                return None;
            }
            _ => {
                let hint = "eq, ne, gt, lt, exists, not_exists or contains";
                self.find(format!("{path}.operator"), "unknown operator", hint);
                return None;
            }
        };
        if expression.is_none() {
            let hint = "a text, a whole number, true, false or null; gt and lt compare texts and numbers";
            self.find(format!("{path}.value"), "this value cannot be compared exactly", hint);
        }
        expression
    }
}

/// The way to a member, in an expression.
fn member(name: &str) -> String {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let plain = first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain && !RESERVED.contains(&name) { format!(".{name}") } else { format!("[{}]", Value::from(name)) }
}

/// A value as an expression writes it. JSON's texts and whole numbers are written the same.
fn literal(value: Option<&Value>, ordered: bool) -> Option<String> {
    match value? {
        Value::String(text) => Some(Value::from(text.as_str()).to_string()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Null if !ordered => Some("null".to_owned()),
        Value::Bool(value) if !ordered => Some(value.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
