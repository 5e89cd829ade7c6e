//! Reads the parameters of a skill strictly and reports every finding at once.
//!
//! One reading serves both moments: when a plan is checked, strings may still hold `{{…}}` or `secret://`; when a call
//! is made, they are plain text. Findings never quote a value, because a value may be a secret.

use runproof_engine::skill::ParamFinding;
use serde_json::{Map, Value};

use crate::strict_json::nests_at_most;

/// When parameters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In a plan: a string that holds a reference or a secret name stands for a value that is not known yet.
    Planned,
    /// In a call: every string means itself.
    Resolved,
}

/// Reads the members of one parameters object. Ask for every known member, then [`Reader::finish`].
pub(crate) struct Reader<'a> {
    members: Option<&'a Map<String, Value>>,
    stage: Stage,
    known: Vec<&'static str>,
    findings: Vec<ParamFinding>,
}

impl<'a> Reader<'a> {
    /// Starts reading; parameters that are not an object are the first finding.
    pub(crate) fn new(params: &'a Value, stage: Stage) -> Self {
        let mut reader = Self { members: params.as_object(), stage, known: Vec::new(), findings: Vec::new() };
        if reader.members.is_none() {
            reader.find("", "parameters must be an object");
        }
        reader
    }

    /// Records a finding about a path.
    pub(crate) fn find(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.findings.push(ParamFinding { path: path.into(), message: message.into() });
    }

    /// Finds parameters that nest too deeply or are too large as JSON; `true` when they are neither. Depth comes first,
    /// because writing a value out descends into it.
    pub(crate) fn within(&mut self, params: &Value, max_depth: usize, max_bytes: usize) -> bool {
        if !nests_at_most(params, max_depth) {
            self.find("", format!("parameters nest deeper than {max_depth} levels"));
            return false;
        }
        let fits = size(params) <= max_bytes;
        if !fits {
            self.find("", format!("parameters are larger than {max_bytes} bytes"));
        }
        fits
    }

    /// Whether the member is there, open or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.is_some_and(|members| members.contains_key(name))
    }

    /// Whether the value stands for one that is not known yet.
    pub(crate) fn is_open(&self, value: &Value) -> bool {
        self.stage == Stage::Planned && value.as_str().is_some_and(holds_placeholder)
    }

    /// The member's value of any type, when it is there.
    pub(crate) fn any(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.members?.get(name)
    }

    /// Says that a member is needed, when it is not there.
    pub(crate) fn need(&mut self, name: &'static str) {
        if self.members.is_some() && !self.has(name) {
            self.find(name, "is missing");
        }
    }

    /// The member as a string; `None` when absent, open or wrong.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.typed(name, "a string", Value::as_str)
    }

    /// The member as a boolean.
    pub(crate) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// The member as an integer in a range.
    pub(crate) fn integer(&mut self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        self.typed(name, &expected, |value| value.as_u64().filter(|number| range.contains(number)))
    }

    /// The member as one of a few words.
    pub(crate) fn word<T: Clone>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let list: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let expected = format!("one of {}", list.join(", "));
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
        self.typed(name, &expected, |value| value.as_str().and_then(find))
    }

    /// The member as an object.
    pub(crate) fn object(&mut self, name: &'static str) -> Option<&'a Map<String, Value>> {
        self.typed(name, "an object", Value::as_object)
    }

    /// The member as a list.
    pub(crate) fn list(&mut self, name: &'static str) -> Option<&'a Vec<Value>> {
        self.typed(name, "a list", Value::as_array)
    }

    fn typed<T>(&mut self, name: &'static str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.any(name)?;
        if self.is_open(value) {
            return None;
        }
        let found = read(value);
        if found.is_none() {
            self.find(name, format!("must be {expected}"));
        }
        found
    }

    /// Every finding, with one for each member that nobody asked for: what a plan says is never ignored.
    pub(crate) fn finish(mut self) -> Vec<ParamFinding> {
        for name in self.members.into_iter().flat_map(Map::keys) {
            if !self.known.contains(&name.as_str()) {
                let message = "is not a parameter of this skill".to_owned();
                self.findings.push(ParamFinding { path: name.clone(), message });
            }
        }
        self.findings
    }
}

/// The findings as one message, written as admission writes them.
pub(crate) fn sentence(findings: &[ParamFinding]) -> String {
    let write = |finding: &ParamFinding| match finding.path.as_str() {
        "" => finding.message.clone(),
        path => format!("`{path}`: {}", finding.message),
    };
    findings.iter().map(write).collect::<Vec<_>>().join("; ")
}

/// Length of a value as JSON.
pub(crate) fn size(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

fn holds_placeholder(text: &str) -> bool {
    text.contains("{{") || text.contains("secret://")
}
