//! What a random plan says, in the model's own words, and the JSON and CEL that say the same to the engine.

use std::collections::BTreeMap;

use runproof_engine::skill::EffectClass;
use serde_json::{Map, Value, json};

/// A plan with the inputs that are given with its run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) max_parallel: Option<usize>,
    pub(crate) inputs: BTreeMap<&'static str, Value>,
    pub(crate) steps: Vec<Step>,
}

/// A step. Other steps are meant by their position in the plan.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) id: String,
    /// Absent: the step before it.
    pub(crate) needs: Option<Vec<usize>>,
    pub(crate) when: Option<Condition>,
    pub(crate) foreach: Option<(Source, Option<usize>)>,
    pub(crate) effect: EffectClass,
    pub(crate) with: Vec<Source>,
    pub(crate) max_attempts: u32,
    pub(crate) delay_ms: u64,
    pub(crate) on_error: OnError,
    pub(crate) on_unknown: OnUnknown,
    pub(crate) has_key: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OnError {
    Abort,
    Continue,
    /// Another call of the same skill with these parameters.
    Fallback(Vec<Source>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum OnUnknown {
    Hold,
    Retry,
    AssumeDone,
    Fail,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Literal(Value),
    Input(&'static str),
    /// An expression: a whole number given as input, and so much.
    InputPlus(&'static str, i64),
    Output(usize),
    /// The member `n` of an output.
    Member(usize),
    /// The member `list` of an output.
    List(usize),
    /// The output under its other name.
    Key(usize),
    Status(usize),
    /// The status inside a longer text.
    Text(usize),
    Item,
    ItemIndex,
}

/// A condition in `when`.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Always(bool),
    StatusIs(usize, &'static str),
    /// The input `n` is more.
    InputOver(i64),
    HasOutput(usize),
    /// The output has a member `n`.
    HasMember(usize),
    /// The member `n` of the output is more.
    MemberOver(usize, i64),
    /// A value that is neither true nor false.
    NoBoolean,
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

impl Plan {
    /// The plan as the engine reads it.
    pub(crate) fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(|step| self.step_json(step)).collect();
        let mut plan = json!({"schema": "runproof.plan/v1", "steps": steps});
        if let Some(most) = self.max_parallel {
            plan["max_parallel"] = json!(most);
        }
        for (name, value) in &self.inputs {
            plan["inputs"][*name] =
                if value.is_array() { json!({"type": "list", "default": value}) } else { json!({"type": "integer"}) };
        }
        plan
    }

    /// What must be done before a step, by position.
    pub(crate) fn needs(&self, place: usize) -> Vec<usize> {
        self.steps[place].needs.clone().unwrap_or_else(|| place.checked_sub(1).into_iter().collect())
    }

    /// The inputs that are given with the run: those without a default.
    pub(crate) fn given(&self) -> Option<Value> {
        let given = self.inputs.iter().filter(|(_, value)| !value.is_array());
        let given: Map<String, Value> = given.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }

    fn step_json(&self, step: &Step) -> Value {
        let with = |sources: &[Source]| json!({"values": sources.iter().map(|source| self.template(source)).collect::<Vec<_>>()});
        let mut json = json!({
            "id": step.id,
            "skill": step.effect.word(),
            "with": with(&step.with),
            "retry": {"max_attempts": step.max_attempts, "initial_delay_ms": step.delay_ms},
        });
        if let Some(needs) = &step.needs {
            json["needs"] = needs.iter().map(|place| self.steps[*place].id.clone()).collect();
        }
        if let Some(when) = &step.when {
            json["when"] = json!(self.condition(when));
        }
        match &step.foreach {
            Some((items, None)) => json["foreach"] = self.template(items),
            Some((items, Some(most))) => {
                json["foreach"] = json!({"items": self.template(items), "concurrency": most});
            }
            None => {}
        }
        match &step.on_error {
            OnError::Abort => {}
            OnError::Continue => json["on_error"] = json!("continue"),
            OnError::Fallback(sources) => {
                json["on_error"] = json!("fallback");
                json["fallback"] = json!({"skill": step.effect.word(), "with": with(sources)});
            }
        }
        match step.on_unknown {
            OnUnknown::Hold => {}
            OnUnknown::Retry => json["on_unknown"] = json!("retry"),
            OnUnknown::AssumeDone => json["on_unknown"] = json!("assume_done"),
            OnUnknown::Fail => json["on_unknown"] = json!("fail"),
        }
        if step.has_key {
            json["output_key"] = json!(format!("of_{}", step.id));
        }
        json
    }

    fn template(&self, source: &Source) -> Value {
        let id = |place: &usize| &self.steps[*place].id;
        let inner = match source {
            Source::Literal(value) => return value.clone(),
            Source::Text(place) => return json!(format!("it was {{{{ steps.{}.status }}}}.", id(place))),
            Source::Input(name) => format!("inputs.{name}"),
            Source::InputPlus(name, more) => format!("inputs.{name} + {more}"),
            Source::Output(place) => format!("steps.{}.output", id(place)),
            Source::Member(place) => format!("steps.{}.output.n", id(place)),
            Source::List(place) => format!("steps.{}.output.list", id(place)),
            Source::Key(place) => format!("outputs.of_{}", id(place)),
            Source::Status(place) => format!("steps.{}.status", id(place)),
            Source::Item => "item".to_owned(),
            Source::ItemIndex => "item_index".to_owned(),
        };
        json!(format!("{{{{ {inner} }}}}"))
    }

    fn condition(&self, condition: &Condition) -> String {
        let id = |place: &usize| &self.steps[*place].id;
        match condition {
            Condition::Always(always) => always.to_string(),
            Condition::StatusIs(place, status) => format!("steps.{}.status == \"{status}\"", id(place)),
            Condition::InputOver(than) => format!("inputs.n > {than}"),
            Condition::HasOutput(place) => format!("has(steps.{}.output)", id(place)),
            Condition::HasMember(place) => format!("has(steps.{}.output.n)", id(place)),
            Condition::MemberOver(place, than) => format!("steps.{}.output.n > {than}", id(place)),
            Condition::NoBoolean => "inputs.n".to_owned(),
            Condition::Not(inner) => format!("!({})", self.condition(inner)),
            Condition::And(one, other) => format!("({}) && ({})", self.condition(one), self.condition(other)),
            Condition::Or(one, other) => format!("({}) || ({})", self.condition(one), self.condition(other)),
        }
    }
}
