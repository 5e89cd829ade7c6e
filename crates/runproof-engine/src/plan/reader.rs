//! Gathers findings while a plan is read, and reads the fields that are alike everywhere.

use runproof_proof::finding::printable;
use serde_json::{Map, Value};

use super::PlanFinding;

/// Findings so far, and which step is being read.
#[derive(Default)]
pub(super) struct Reader {
    found: Vec<(usize, PlanFinding)>,
    at: usize,
}

impl Reader {
    /// What is found from here on is about this step; `None`: about the plan.
    pub(super) fn at_step(&mut self, position: Option<usize>) {
        self.at = position.map_or(0, |position| position + 1);
    }

    pub(super) fn find(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.found.push((self.at, PlanFinding::error(code, path, message, hint)));
    }

    /// Everything that was found: about the plan, then step by step.
    pub(super) fn finish(mut self) -> Vec<PlanFinding> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(_, finding)| finding).collect()
    }

    /// A text of 1 to 64 characters that has to be there.
    pub(super) fn text(&mut self, members: &Map<String, Value>, path: &str, name: &str) -> Option<String> {
        let place = format!("{path}.{name}");
        match members.get(name) {
            Some(Value::String(text)) if !text.is_empty() && text.len() <= 64 => return Some(text.clone()),
            Some(Value::String(_)) => {
                self.find(
                    "plan.value",
                    place,
                    format!("`{name}` has 1 to 64 characters"),
                    "write a name of that length",
                );
            }
            Some(_) => self.find("plan.type", place, format!("`{name}` is a string"), "put it in quotes"),
            None => self.find("plan.missing", place, format!("`{name}` is missing"), format!("add \"{name}\": \"…\"")),
        }
        None
    }

    /// A text for people that may be there.
    pub(super) fn prose(&mut self, members: &Map<String, Value>, path: &str, name: &str) {
        if members.get(name).is_some_and(|value| !value.is_string()) {
            self.find("plan.type", format!("{path}.{name}"), format!("`{name}` is a string"), "put it in quotes");
        }
    }

    /// A whole number that may be there.
    pub(super) fn number(
        &mut self,
        members: &Map<String, Value>,
        path: &str,
        name: &str,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        let value = members.get(name)?;
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let message = format!("`{name}` is an integer from {least} to {most}");
            self.find("plan.value", format!("{path}.{name}"), message, "choose a number in that range");
        }
        number
    }

    /// Refuses every field that is not known here.
    pub(super) fn fields(&mut self, members: &Map<String, Value>, path: &str, known: &[&str], later: &[&str]) {
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            let place = format!("{path}.{}", printable(name));
            if later.contains(&name.as_str()) {
                let message = format!("`{name}` is not supported by this version");
                self.find("plan.unsupported", place, message, "remove it: nothing in a plan is ignored");
            } else {
                self.find("plan.unknown_field", place, "unknown field", format!("known here: {}", known.join(", ")));
            }
        }
    }
}

/// Whether a text can name an input or an output: `[A-Za-z_][A-Za-z0-9_]{0,63}`.
pub(super) fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
