//! The calls of a run's steps: which one it is, what is under way, what came of those that settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runproof_proof::event::{
    AttemptOutcome, EffectClass, ErrorCategory, Resolution, StepIntended, StepReturned, StepSettled, StepStatus, Then,
};
use serde_json::Value;

/// Which call of a step. Ordered as a plan begins them: elements by position, a fallback right after its call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Position in the list of a `foreach`, from 0.
    pub element: Option<u32>,
    /// The fallback of that call.
    pub fallback: bool,
}

impl Item {
    /// The step's own call.
    pub const OWN: Self = Self { element: None, fallback: false };

    /// Reads an item as events write it (`docs/spec/events.md`, "item").
    pub fn parse(text: Option<&str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::OWN) };
        if text == "fallback" {
            return Some(Self { element: None, fallback: true });
        }
        let (digits, fallback) = text.strip_suffix(".fallback").map_or((text, false), |digits| (digits, true));
        let element: u32 = digits.parse().ok()?;
        (element.to_string() == digits).then_some(Self { element: Some(element), fallback })
    }

    /// As events write it.
    pub fn text(self) -> Option<String> {
        match (self.element, self.fallback) {
            (None, false) => None,
            (None, true) => Some("fallback".to_owned()),
            (Some(element), false) => Some(element.to_string()),
            (Some(element), true) => Some(format!("{element}.fallback")),
        }
    }

    /// The fallback of this call.
    pub fn to_fallback(self) -> Self {
        Self { fallback: true, ..self }
    }
}

/// A call: a step and an item of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallId {
    /// Step id.
    pub step_id: String,
    /// Which call of the step.
    pub item: Item,
}

impl CallId {
    /// Reads `STEP` or `STEP#ITEM`, as people write it.
    pub fn parse(text: &str) -> Option<Self> {
        let (step_id, item) = text.split_once('#').map_or((text, None), |(step_id, item)| (step_id, Some(item)));
        Some(Self { step_id: step_id.to_owned(), item: Item::parse(item)? })
    }
}

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.item.text() {
            None => f.write_str(&self.step_id),
            Some(item) => write!(f, "{}#{item}", self.step_id),
        }
    }
}

/// A call that has an intent and has not settled.
#[derive(Clone, Debug)]
pub struct ActiveCall {
    /// Which call of the step.
    pub item: Item,
    /// The last intent.
    pub intent: StepIntended,
    /// When the intent was recorded.
    pub intended_at: u64,
    /// Its parameters, if shown.
    pub params: Option<Arc<Value>>,
    /// The last outcome; `None` while the attempt is open.
    pub returned: Option<StepReturned>,
    /// When the outcome was recorded.
    pub returned_at: u64,
    /// The last output, if shown.
    pub output: Option<Arc<Value>>,
    /// What a person said.
    pub resolution: Option<Resolution>,
    /// Outcomes that count against `max_attempts`.
    pub failures: u32,
    /// Attempts that were found without an outcome.
    pub interruptions: u32,
    /// Cost of all attempts, in microcents.
    pub cost_microcents: u64,
    /// Time of all attempts, in microseconds.
    pub duration_us: u64,
}

impl ActiveCall {
    pub(super) fn new(item: Item, intent: StepIntended, at: u64, params: Option<Arc<Value>>) -> Self {
        Self {
            item,
            intent,
            intended_at: at,
            params,
            returned: None,
            returned_at: at,
            output: None,
            resolution: None,
            failures: 0,
            interruptions: 0,
            cost_microcents: 0,
            duration_us: 0,
        }
    }

    /// Another attempt of the same call.
    pub(super) fn again(&mut self, intent: StepIntended, at: u64, params: Option<Arc<Value>>) {
        self.intent = intent;
        self.intended_at = at;
        self.params = params;
        self.returned = None;
        self.resolution = None;
    }

    /// Takes in what came of the attempt.
    pub(super) fn record(&mut self, body: &StepReturned, at: u64, output: Option<Arc<Value>>) {
        self.cost_microcents = super::sum(self.cost_microcents, body.cost_microcents);
        self.duration_us = super::sum(self.duration_us, body.duration_us);
        match (body.outcome, body.category) {
            (AttemptOutcome::Done, _) => {}
            (_, Some(ErrorCategory::Interrupted)) => self.interruptions += 1,
            (_, _) => self.failures += 1,
        }
        self.returned = Some(body.clone());
        self.returned_at = at;
        self.output = output;
    }

    /// The step and item.
    pub fn id(&self) -> CallId {
        CallId { step_id: self.intent.step_id.clone(), item: self.item }
    }

    /// Whether it is this call.
    pub fn is(&self, step_id: &str, item: Item) -> bool {
        self.intent.step_id == step_id && self.item == item
    }

    /// Whether an attempt has no outcome yet.
    pub fn is_open(&self) -> bool {
        self.returned.is_none()
    }

    /// Whether a person has to say what came of it.
    pub fn is_held(&self) -> bool {
        self.returned.as_ref().is_some_and(|returned| returned.then == Then::Hold) && self.resolution.is_none()
    }

    /// When the next attempt is due, if one is planned.
    pub fn retry_at(&self) -> Option<u64> {
        let returned = self.returned.as_ref().filter(|returned| returned.then == Then::Retry)?;
        Some(returned.retry_at.unwrap_or(self.returned_at))
    }

    /// Outcome of the last attempt.
    pub fn outcome(&self) -> Option<AttemptOutcome> {
        self.returned.as_ref().map(|returned| returned.outcome)
    }

    /// Effect class of the last attempt.
    pub fn effect(&self) -> EffectClass {
        self.intent.effect
    }
}

/// A call that settled.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The event.
    pub step: StepSettled,
    /// Which call of the step.
    pub item: Item,
    /// When.
    pub at: u64,
    /// Version of the skill, if there was an attempt.
    pub skill_version: Option<String>,
    /// Idempotency key, if there was an attempt.
    pub idempotency_key: Option<String>,
    /// Text for people, if shown.
    pub error: Option<Arc<Value>>,
}

/// How far a step of the plan is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The list of a `foreach`.
    pub expansion: Option<Expansion>,
    /// How its calls settled.
    pub calls: BTreeMap<Item, StepStatus>,
    /// The step's output, once there is one. A success without a shown output is `null`.
    pub output: Option<Arc<Value>>,
}

/// The list of a `foreach`, and how far it is.
#[derive(Clone, Debug)]
pub struct Expansion {
    /// Number of elements.
    pub count: u32,
    /// The elements, if shown.
    pub items: Option<Arc<Value>>,
    /// Elements that have begun; they begin in order.
    pub begun: u32,
    /// Elements whose call or fallback succeeded.
    pub succeeded: u32,
    /// Elements whose own call failed and whose fallback has not begun.
    pub failed: BTreeSet<u32>,
    /// Elements whose fallback failed.
    pub fallback_failed: u32,
    /// Outputs by element, until the step itself has its list.
    outputs: BTreeMap<u32, Arc<Value>>,
}

impl Progress {
    pub(super) fn expand(&mut self, count: u32, items: Option<Arc<Value>>) {
        self.expansion = Some(Expansion {
            count,
            items,
            begun: 0,
            succeeded: 0,
            failed: BTreeSet::new(),
            fallback_failed: 0,
            outputs: BTreeMap::new(),
        });
    }

    /// A call begins.
    pub(super) fn begin(&mut self, item: Item) {
        if let (Some(expansion), Some(element)) = (&mut self.expansion, item.element) {
            if item.fallback {
                expansion.failed.remove(&element);
            } else {
                expansion.begun = expansion.begun.max(element + 1);
            }
        }
    }

    /// A call settles.
    pub(super) fn settle(&mut self, item: Item, status: StepStatus, output: Option<Arc<Value>>) {
        self.begin(item);
        self.calls.insert(item, status);
        let success = status == StepStatus::Success;
        match (&mut self.expansion, item.element) {
            (Some(expansion), Some(element)) => {
                if success {
                    expansion.succeeded += 1;
                    expansion.outputs.insert(element, output.unwrap_or_default());
                } else if item.fallback {
                    expansion.fallback_failed += 1;
                } else {
                    expansion.failed.insert(element);
                }
            }
            (Some(expansion), None) => {
                let outputs = std::mem::take(&mut expansion.outputs);
                let of = |element| outputs.get(&element).map_or(Value::Null, |output| (**output).clone());
                self.output = Some(Arc::new(Value::Array((0..expansion.count).map(of).collect())));
            }
            (None, _) if success => self.output = Some(output.unwrap_or_default()),
            (None, _) => {}
        }
    }
}
