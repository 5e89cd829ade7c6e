//! References in parameter templates: `{{ steps.fetch.output.items[0].id }}`.
//!
//! Finds and parses them at admission, and puts values in their place before a step. It does not know where values come
//! from (the caller looks them up). What is no path is an [expression](crate::expression), which is parsed and
//! evaluated there.
//!
//! ```text
//! reference = "{{" ( path | expression ) "}}"
//! path      = text | value { member }
//! text      = "goal" | "run.id" | "run.tenant" | "run.agent" | "item_index" | step ".status"
//! value     = step ".output" | "outputs." name | "inputs" | "item"
//! step      = "steps." name | "steps[" string "]"
//! member    = "." name | "[" integer "]" | "[" string "]"
//! name      = letters, digits, "_" and "-"
//! string    = a JSON string
//! ```
//! A negative integer counts from the end of a list. `\{{` writes `{{`. Object names are never templates.

mod parse;
mod resolve;

use std::fmt;

use serde_json::Value;

use crate::expression::ExpressionError;
use crate::redact::{Walk, shown};
use parse::{Part, parts};

pub use resolve::resolve;

pub(crate) use parse::is_step_id;
pub(crate) use resolve::{DeadEnd, follow, json_length, names_secret};

/// Longest path between the braces, in characters.
const MAX_REFERENCE: usize = 512;

/// Longest reference or expression that an error shows, in characters: all of it.
const MAX_SHOWN: usize = 1024;

/// Largest result of [`resolve()`], in bytes of JSON text.
pub const MAX_RESOLVED: usize = 1024 * 1024;

/// Most member names that an error lists.
const MAX_LISTED: usize = 10;

/// A parsed reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// What it starts from.
    pub root: Root,
    /// The way from there to the value.
    pub path: Vec<Segment>,
    /// As it is written between the braces, without the blanks around it.
    pub text: String,
}

/// What a reference starts from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// The output of the step with this id.
    Step(String),
    /// The status of the step with this id: `success`, `failure` or `skipped`.
    StepStatus(String),
    /// The output of the step with this `output_key`.
    Output(String),
    /// The inputs of the run, as an object.
    Inputs,
    /// The element of the list.
    Item,
    /// Its position in the list, from 0.
    ItemIndex,
    /// The goal of the run.
    Goal,
    /// The id of the run.
    RunId,
    /// The tenant that the run belongs to.
    Tenant,
    /// The agent that the run belongs to.
    Agent,
}

/// One step of the way into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A member of an object.
    Name(String),
    /// An item of a list, counted from its end if negative.
    Index(i64),
}

/// A reference that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` at `{path}` is not {}: {fault}", .fault.meant())]
pub struct ReferenceError {
    /// JSON path of the string that holds it.
    pub path: String,
    /// What was found, braces included; redacted and cut.
    pub text: String,
    /// What is wrong with it.
    pub fault: ReferenceFault,
}

/// What is wrong with a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceFault {
    /// `{{` without `}}`.
    #[error("`{{{{` is never closed; write `\\{{{{` for two braces")]
    Unclosed,
    /// Nothing between the braces.
    #[error("it is empty")]
    Empty,
    /// More than 512 characters between the braces.
    #[error("it has {characters} characters, more than {MAX_REFERENCE}")]
    TooLong {
        /// How many.
        characters: usize,
    },
    /// Does not begin with anything that can be referred to.
    #[error(
        "it must begin with `steps.<id>.output`, `steps.<id>.status`, `outputs.<key>`, `inputs`, `item`, `item_index`, \
         `goal`, `run.id`, `run.tenant` or `run.agent`"
    )]
    UnknownRoot,
    /// The step id is missing or cannot be one.
    #[error("the step id must be letters, digits, `_` or `-`, at most 64; write others as `steps[\"a.b\"]`")]
    BadStepId,
    /// A step is named and neither its output nor its status.
    #[error("`.output` or `.status` must follow the step id")]
    NotOutput,
    /// `outputs` without a key.
    #[error("the `output_key` of a step must follow `outputs.`")]
    NoKey,
    /// `.` is not followed by a name.
    #[error("a name of letters, digits, `_` or `-` must follow `.`; write others as `[\"any name\"]`")]
    BadName,
    /// `[` is not followed by an integer or a JSON string and `]`.
    #[error("`[…]` must hold an integer or a JSON string")]
    BadIndex,
    /// Something follows that is not part of a path.
    #[error("unexpected `{rest}`")]
    Trailing {
        /// What follows, redacted and cut.
        rest: String,
    },
    /// It is written as an expression and is none.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
}

impl ReferenceFault {
    /// What the text was meant to be.
    fn meant(&self) -> &'static str {
        if matches!(self, Self::Expression(_)) { "an expression" } else { "a reference" }
    }
}

/// A reference that has no usable value. `reference` is its text, `path` the JSON path of the string that holds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReferenceError),
    /// Its root has no value yet: the step has not run, or has no output.
    #[error("`{{{{ {reference} }}}}` at `{path}` has no value: nothing is known of `{root}`")]
    Unknown {
        /// Text of the reference.
        reference: String,
        /// JSON path of the string.
        path: String,
        /// What has no value.
        root: Root,
    },
    /// The way ends before the value.
    #[error("`{{{{ {reference} }}}}` at `{path}` has no value: there is no `{segment}`, only {available}")]
    Missing {
        /// Text of the reference.
        reference: String,
        /// JSON path of the string.
        path: String,
        /// The first segment that leads nowhere.
        segment: Segment,
        /// What is there instead.
        available: Available,
    },
    /// A list, object or null was put inside a longer string.
    #[error("`{{{{ {reference} }}}}` at `{path}` is {found} and cannot stand inside a longer string")]
    NotText {
        /// Text of the reference.
        reference: String,
        /// JSON path of the string.
        path: String,
        /// What the value is, such as `a list`.
        found: &'static str,
    },
    /// The value was redacted, so it is not the value that the plan meant.
    #[error(
        "`{{{{ {reference} }}}}` at `{path}` was redacted: a secret cannot travel through an output, use `secret://`"
    )]
    Redacted {
        /// Text of the reference.
        reference: String,
        /// JSON path of the string.
        path: String,
    },
    /// The value would make or change a reference to a secret. Only a plan may name a secret: an answer from outside
    /// that could would have secrets sent wherever the next step goes.
    #[error(
        "`{{{{ {reference} }}}}` at `{path}` would bring in a `secret://` reference: only the plan may name a secret"
    )]
    NamesSecret {
        /// Text of the reference, or of the last one in the string.
        reference: String,
        /// JSON path of the string.
        path: String,
    },
    /// An expression has no value.
    #[error("`{expression}` at `{path}` has no value: {problem}")]
    Expression {
        /// The expression, redacted and cut.
        expression: String,
        /// JSON path of the string.
        path: String,
        /// Why not.
        problem: String,
    },
    /// The result is larger than [`MAX_RESOLVED`].
    #[error("the resolved parameters are larger than {MAX_RESOLVED} bytes at `{path}`")]
    TooLarge {
        /// JSON path of the string at which the limit was passed; `$` when the template itself is too large.
        path: String,
    },
}

/// What a reference could have found where it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Available {
    /// An object with these members, at most 10 of them, and how many more.
    Names(Vec<String>, usize),
    /// A list of this length.
    Items(usize),
    /// A value that nothing leads into, such as `a string`.
    Scalar(&'static str),
}

/// All references in `value`, each with the JSON path of the string that holds it, in document order; those inside an
/// expression too.
///
/// # Errors
/// [`ReferenceError`] for the first one that cannot be read.
pub fn references(value: &Value) -> Result<Vec<(String, Reference)>, ReferenceError> {
    let mut found = Vec::new();
    let mut walk = Walk::new(value);
    while let Some(place) = walk.next_place() {
        let Value::String(text) = place.value else {
            continue;
        };
        if !text.contains("{{") {
            continue;
        }
        let path = walk.path(&place);
        for part in parts(text, &path)? {
            match part {
                Part::Text(_) => {}
                Part::Reference(reference) => found.push((path.clone(), reference)),
                Part::Expression(expression) => {
                    found.extend(expression.references().iter().map(|reference| (path.clone(), reference.clone())));
                }
            }
        }
    }
    Ok(found)
}

/// The references that stand inside a longer text, where only text, numbers and booleans can. Nothing of a text that
/// cannot be read.
pub(crate) fn embedded(text: &str) -> Vec<Reference> {
    let parts = parts(text, "$").unwrap_or_default();
    let longer = parts.len() > 1;
    let reference = |part| match part {
        Part::Reference(reference) if longer => Some(reference),
        Part::Reference(_) | Part::Text(_) | Part::Expression(_) => None,
    };
    parts.into_iter().filter_map(reference).collect()
}

impl Reference {
    /// A reference that nobody has written in this form, with the text that says the same.
    pub(crate) fn new(root: Root, path: Vec<Segment>) -> Self {
        let mut text = root.to_string();
        for segment in &path {
            match segment {
                Segment::Name(name) if parse::is_name(name) => text.extend([".", name]),
                Segment::Name(name) => text.push_str(&format!("[{}]", Value::from(name.as_str()))),
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        Self { root, path, text }
    }
}

impl Root {
    /// Whether a path can lead into it: it can be an object or a list.
    pub(crate) fn has_members(&self) -> bool {
        match self {
            Self::Step(_) | Self::Output(_) | Self::Inputs | Self::Item => true,
            Self::StepStatus(_) | Self::ItemIndex | Self::Goal | Self::RunId | Self::Tenant | Self::Agent => false,
        }
    }
}

impl Available {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Object(members) => {
                let names: Vec<String> =
                    members.keys().take(MAX_LISTED).map(|name| shown(name, 64).into_owned()).collect();
                let more = members.len() - names.len();
                Self::Names(names, more)
            }
            Value::Array(items) => Self::Items(items.len()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Self::Scalar(kind(value)),
        }
    }
}

impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names(names, _) if names.is_empty() => f.write_str("an object without members"),
            Self::Names(names, more) => {
                write!(f, "`{}`", names.join("`, `"))?;
                if *more > 0 { write!(f, " and {more} more") } else { Ok(()) }
            }
            Self::Items(count) => write!(f, "a list of length {count}"),
            Self::Scalar(kind) => f.write_str(kind),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(id) if id.contains(['.', ':']) => write!(f, "steps[\"{id}\"].output"),
            Self::Step(id) => write!(f, "steps.{id}.output"),
            Self::StepStatus(id) if id.contains(['.', ':']) => write!(f, "steps[\"{id}\"].status"),
            Self::StepStatus(id) => write!(f, "steps.{id}.status"),
            Self::Output(key) => write!(f, "outputs.{key}"),
            Self::Inputs => f.write_str("inputs"),
            Self::Item => f.write_str("item"),
            Self::ItemIndex => f.write_str("item_index"),
            Self::Goal => f.write_str("goal"),
            Self::RunId => f.write_str("run.id"),
            Self::Tenant => f.write_str("run.tenant"),
            Self::Agent => f.write_str("run.agent"),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&shown(name, 64)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
