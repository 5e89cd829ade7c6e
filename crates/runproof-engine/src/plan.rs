//! The plan `runproof.plan/v1`: what it may say, and every finding about one that says something else.
//!
//! A plan is honoured or refused as a whole; nothing in it is ignored. What this version cannot do yet is refused as
//! `plan.unsupported`, with its path.

mod estimate;
mod graph;
pub mod inputs;
mod json;
pub mod legacy;
mod parse;
mod read;
mod reader;
mod step;
mod uses;
mod warn;
mod yaml;

use std::collections::BTreeMap;
use std::sync::Arc;

use runproof_proof::canonical::{self, NotCanonical};
use runproof_proof::event::words_enum;
use runproof_proof::hash::{Hash, tagged};
use serde_json::Value;

use crate::expression::Expression;
use crate::reference::{self, Reference};

pub use estimate::{Estimate, estimate};
pub use graph::levels;
pub use json::from_json;
pub use parse::{check, parse};
pub use read::Format;
pub use warn::check_skills;

/// The JSON Schema of a plan (2020-12). It refuses less than [`parse()`]: it knows no graph and no expression.
pub const JSON_SCHEMA: &str = include_str!("../../../docs/spec/plan.schema.json");
/// Value of `schema` in a plan.
pub const SCHEMA: &str = "runproof.plan/v1";
/// Most steps in a plan.
pub const MAX_STEPS: usize = 256;
/// Largest canonical plan, in bytes.
pub const MAX_PLAN: usize = 1024 * 1024;
/// Longest timeout of a step, in milliseconds: one day.
pub const MAX_TIMEOUT_MS: u64 = 86_400_000;
/// Longest timeout of a run, in milliseconds: thirty days.
pub const MAX_RUN_TIMEOUT_MS: u64 = 2_592_000_000;
/// Most calls that may be under way at once in a run.
pub const MAX_PARALLEL: u32 = 64;
/// Calls that may be under way at once when a plan does not say.
pub const DEFAULT_PARALLEL: u32 = 8;
/// Most elements of one `foreach`.
pub const MAX_ELEMENTS: usize = 1_000;

/// A valid plan (`docs/spec/plan.md`).
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Steps in the order of the document; `plan_index` counts them.
    pub steps: Vec<Step>,
    /// Longest time from the first claim to the end, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Most calls that may be under way at once.
    pub max_parallel: u32,
    /// What has to be given with a run, by name.
    pub inputs: BTreeMap<String, Input>,
}

/// A value that has to be given with a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// What it may be.
    pub kind: InputKind,
    /// What it is when it is not given; without one it must be given.
    pub default: Option<Value>,
}

words_enum! {
    /// What an input may be.
    InputKind {
        /// Text.
        Text = "text",
        /// A whole number.
        Integer = "integer",
        /// True or false.
        Boolean = "boolean",
        /// A list.
        List = "list",
        /// An object.
        Object = "object",
        /// Anything.
        Any = "any",
    }
}

/// Makes the call of a step once for each element of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreach {
    /// A template that becomes the list.
    pub items: Value,
    /// Most of its calls that may be under way at once; absent: as many as the plan allows.
    pub concurrency: Option<u32>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Id, unique in the plan.
    pub id: String,
    /// Positions of the steps that must be done first, ascending.
    pub needs: Vec<usize>,
    /// The step is skipped where this is false.
    pub when: Option<Expression>,
    /// Makes the call once for each element of a list.
    pub foreach: Option<Foreach>,
    /// Name of the skill.
    pub skill: String,
    /// Parameters, with references.
    pub with: Value,
    /// When and how often to try again.
    pub retry: Retry,
    /// Timeout of an attempt, in milliseconds; absent: the skill's own.
    pub timeout_ms: Option<u64>,
    /// What follows a failure.
    pub on_error: OnError,
    /// What follows an attempt of which nobody knows whether it took effect.
    pub on_unknown: OnUnknown,
    /// Another name for the output: `outputs.NAME`.
    pub output_key: Option<String>,
}

/// When and how often to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, from 1.
    pub max_attempts: u32,
    /// Delay before the second attempt, in milliseconds; doubles each time.
    pub initial_delay_ms: u64,
    /// Longest delay, in milliseconds.
    pub max_delay_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: 3, initial_delay_ms: 500, max_delay_ms: 30_000 }
    }
}

/// What follows a failed step.
#[derive(Clone, Debug, PartialEq)]
pub enum OnError {
    /// The run fails.
    Abort,
    /// The next step follows.
    Continue,
    /// Another call takes the step's place; if it fails too, the run fails.
    Fallback {
        /// Name of the skill.
        skill: String,
        /// Parameters, with references.
        with: Value,
    },
}

words_enum! {
    /// What follows an attempt of which nobody knows whether it took effect.
    OnUnknown {
        /// Wait for a person.
        Hold = "hold",
        /// Try again: the plan's author takes the risk of a second effect.
        Retry = "retry",
        /// Go on as if it had taken effect.
        AssumeDone = "assume_done",
        /// Settle as a failure.
        Fail = "fail",
    }
}

words_enum! {
    /// Whether a finding refuses the plan.
    Severity {
        /// The plan is refused.
        Error = "error",
        /// The plan is accepted, and may not do what its author thinks.
        Warning = "warning",
    }
}

/// One thing that is wrong with a plan or a request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlanFinding {
    /// Whether it refuses.
    pub severity: Severity,
    /// Stable code: `plan.unsupported`, `plan.missing`, …
    pub code: &'static str,
    /// JSON path, such as `$.steps[2].with.url`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl PlanFinding {
    /// A finding that refuses.
    pub fn error(
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Error, code, path: path.into(), message: message.into(), hint: hint.into() }
    }

    /// A finding that only warns.
    pub fn warning(
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, path, message, hint) }
    }
}

impl Plan {
    /// Everything that its templates and expressions name, with the place of the step.
    pub fn references(&self) -> Vec<(usize, Reference)> {
        let of_step = |(index, step): (usize, &Step)| {
            let fallback = match &step.on_error {
                OnError::Fallback { with, .. } => Some(with),
                OnError::Abort | OnError::Continue => None,
            };
            let items = step.foreach.as_ref().map(|foreach| &foreach.items);
            let templates = [Some(&step.with), fallback, items].into_iter().flatten();
            let named = templates.filter_map(|template| reference::references(template).ok()).flatten();
            let named = named.map(|(_, reference)| reference);
            let when = step.when.iter().flat_map(|when| when.references().iter().cloned());
            named.chain(when).map(move |reference| (index, reference)).collect::<Vec<_>>()
        };
        self.steps.iter().enumerate().flat_map(of_step).collect()
    }

    /// The step at a position, or its fallback when `item` says so.
    pub fn call(&self, plan_index: usize, fallback: bool) -> Option<(&Step, &str, &Value)> {
        let step = self.steps.get(plan_index)?;
        match (&step.on_error, fallback) {
            (OnError::Fallback { skill, with }, true) => Some((step, skill, with)),
            (OnError::Abort | OnError::Continue, true) => None,
            (_, false) => Some((step, &step.skill, &step.with)),
        }
    }
}

/// A valid plan, with the JSON that it was read from and its digest: read once, used wherever the run goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// As it is recorded.
    pub json: Value,
    /// What it says.
    pub plan: Arc<Plan>,
    /// Digest of `json`.
    pub digest: Hash,
}

impl Prepared {
    /// Reads a plan.
    ///
    /// # Errors
    /// Every finding that refuses it.
    pub fn new(json: Value) -> Result<Self, Vec<PlanFinding>> {
        let plan = parse(&json)?;
        Self::of(json, plan)
    }

    /// A plan that was read from this JSON.
    ///
    /// # Errors
    /// The JSON cannot be recorded. [`parse()`] finds that too.
    pub(crate) fn of(json: Value, plan: Plan) -> Result<Self, Vec<PlanFinding>> {
        match digest(&json) {
            Ok(digest) => Ok(Self { json, plan: Arc::new(plan), digest }),
            Err(error) => {
                let message = format!("the plan cannot be recorded: {}", error.problem);
                Err(vec![PlanFinding::error("plan.value", "$", message, "write numbers with a fraction as strings")])
            }
        }
    }
}

/// Digest of a plan: `SHA-256("runproof.dev/plan/v1" || 0x00 || canonical plan)`.
///
/// # Errors
/// The plan has no canonical form.
pub fn digest(plan: &Value) -> Result<Hash, NotCanonical> {
    Ok(tagged("runproof.dev/plan/v1", &canonical::to_bytes(plan)?))
}
