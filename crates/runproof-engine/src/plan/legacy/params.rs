//! Rewrites `{{key.name}}` of the first system to references.

use std::collections::{BTreeMap, BTreeSet};

use runproof_proof::finding::printable;
use serde_json::{Map, Value};

use super::{Converter, id_of};
use crate::reference::Root;

/// What outputs are called: by `output_key`, or else by `step_id`.
pub(super) struct Keys<'a> {
    by_key: BTreeMap<String, Vec<Source<'a>>>,
}

/// The step that gives an output.
struct Source<'a> {
    position: usize,
    id: String,
    output_key: Option<&'a str>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(steps: &'a [Value]) -> Self {
        let mut by_key: BTreeMap<String, Vec<Source<'a>>> = BTreeMap::new();
        for (position, step) in steps.iter().enumerate() {
            let Some(id) = step.get("step_id").and_then(id_of) else { continue };
            let output_key = step.get("output_key").and_then(Value::as_str);
            // A step id that is a number could never be named.
            if output_key.is_none() && !step["step_id"].is_string() {
                continue;
            }
            let key = output_key.map_or_else(|| id.clone(), str::to_owned);
            by_key.entry(key).or_default().push(Source { position, id, output_key });
        }
        Self { by_key }
    }
}

impl Converter {
    /// Parameters with their references rewritten.
    pub(super) fn params(
        &mut self,
        value: &Value,
        path: &str,
        position: usize,
        keys: &Keys<'_>,
        named: &mut BTreeSet<String>,
    ) -> Value {
        match value {
            Value::String(text) if text.contains("{{") => {
                match rewrite(text, position, keys, named) {
                    Ok(text) => return Value::String(text),
                    Err((message, hint)) => self.find(path, message, hint),
                }
                value.clone()
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items.map(|(at, item)| self.params(item, &format!("{path}[{at}]"), position, keys, named)).collect()
            }
            Value::Object(members) => {
                let mut out = Map::new();
                for (name, value) in members {
                    let path = format!("{path}.{}", printable(name));
                    out.insert(name.clone(), self.params(value, &path, position, keys, named));
                }
                Value::Object(out)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
}

/// A text with its references rewritten, or why not.
fn rewrite(
    text: &str,
    position: usize,
    keys: &Keys<'_>,
    named: &mut BTreeSet<String>,
) -> Result<String, (String, &'static str)> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        if rest[..start].ends_with('\\') {
            return Err(("`\\{{` has another meaning now".to_owned(), "write it in a plan of runproof.plan/v1"));
        }
        out.push_str(&rest[..start]);
        let Some(end) = rest[start..].find("}}") else {
            // Never closed, so it was only text.
            out.push_str("\\{{");
            rest = &rest[start + 2..];
            continue;
        };
        let name = rest[start + 2..start + end].trim();
        out.push_str(&reference_to(name, position, keys, named)?);
        rest = &rest[start + end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

fn reference_to(
    name: &str,
    position: usize,
    keys: &Keys<'_>,
    named: &mut BTreeSet<String>,
) -> Result<String, (String, &'static str)> {
    let shown = printable(name);
    let mut words = name.split('.');
    let key = words.next().unwrap_or_default();
    let hint = "name an earlier step by its output_key, or else its step_id: {{key.name}}";
    let sources = keys.by_key.get(key).map(Vec::as_slice).unwrap_or_default();
    let source = match sources {
        [source] if source.position < position => source,
        [_] => return Err((format!("`{{{{{shown}}}}}` names a step that comes later"), hint)),
        [] => return Err((format!("`{{{{{shown}}}}}` names no step"), hint)),
        [..] => return Err((format!("`{{{{{shown}}}}}` names several steps"), "give each its own output_key")),
    };
    let root = match source.output_key {
        Some(key) => Root::Output(key.to_owned()),
        None => Root::Step(source.id.clone()),
    };
    let mut out = format!("{{{{ {root}");
    for word in words {
        let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        out.push_str(&if plain { format!(".{word}") } else { format!("[{}]", Value::from(word)) });
    }
    out.push_str(" }}");
    named.insert(source.id.clone());
    Ok(out)
}
