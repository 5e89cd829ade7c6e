//! What templates and conditions come to, with the errors of the Common Expression Language.

use serde_json::{Value, json};

use super::plan::{Condition, Plan, Source};

/// What the steps that are done have come to.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    plan: &'a Plan,
    done: Vec<Option<(&'static str, Option<Value>)>>,
}

/// An expression without a value.
#[derive(Debug)]
pub(crate) struct NoValue;

impl<'a> Scope<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        Self { plan, done: vec![None; plan.steps.len()] }
    }

    pub(crate) fn done(&mut self, place: usize, status: &'static str, output: Option<Value>) {
        self.done[place] = Some((status, output));
    }

    fn status(&self, place: usize) -> &'static str {
        self.done[place].as_ref().expect("a step that is done").0
    }

    fn output(&self, place: usize) -> Option<&Value> {
        self.done[place].as_ref().expect("a step that is done").1.as_ref()
    }

    /// What a template becomes, for an element of a list if there is one; otherwise the code of the failure.
    pub(crate) fn template(&self, source: &Source, item: Option<(usize, &Value)>) -> Result<Value, &'static str> {
        let value = match source {
            Source::Literal(value) => Some(value.clone()),
            Source::Input(name) => Some(self.plan.inputs[name].clone()),
            Source::InputPlus(name, more) => Some(json!(self.plan.inputs[name].as_i64().unwrap() + more)),
            Source::Output(place) | Source::Key(place) => self.output(*place).cloned(),
            Source::Member(place) => self.output(*place).and_then(|output| output.get("n")).cloned(),
            Source::List(place) => self.output(*place).and_then(|output| output.get("list")).cloned(),
            Source::Status(place) => Some(json!(self.status(*place))),
            Source::Text(place) => Some(json!(format!("it was {}.", self.status(*place)))),
            Source::Item => item.map(|(_, item)| item.clone()),
            Source::ItemIndex => item.map(|(index, _)| json!(index)),
        };
        value.ok_or("reference.unresolved")
    }

    pub(crate) fn condition(&self, condition: &Condition) -> Result<Value, NoValue> {
        match condition {
            Condition::Always(always) => Ok(json!(always)),
            Condition::StatusIs(place, status) => Ok(json!(self.status(*place) == *status)),
            Condition::InputOver(than) => Ok(json!(self.plan.inputs["n"].as_i64().unwrap() > *than)),
            Condition::HasOutput(place) => Ok(json!(self.output(*place).is_some())),
            Condition::HasMember(place) => {
                let members = self.output(*place).and_then(Value::as_object).ok_or(NoValue)?;
                Ok(json!(members.contains_key("n")))
            }
            Condition::MemberOver(place, than) => {
                let member = self.output(*place).and_then(|output| output.get("n")?.as_i64()).ok_or(NoValue)?;
                Ok(json!(member > *than))
            }
            Condition::NoBoolean => Ok(self.plan.inputs["n"].clone()),
            Condition::Not(inner) => Ok(json!(!self.boolean(inner)?)),
            // One side that settles the matter makes up for an error on the other, whichever comes first.
            Condition::And(one, other) => self.either(one, other, false),
            Condition::Or(one, other) => self.either(one, other, true),
        }
    }

    fn boolean(&self, condition: &Condition) -> Result<bool, NoValue> {
        self.condition(condition)?.as_bool().ok_or(NoValue)
    }

    fn either(&self, one: &Condition, other: &Condition, settles: bool) -> Result<Value, NoValue> {
        match (self.boolean(one), self.boolean(other)) {
            (Ok(value), _) | (_, Ok(value)) if value == settles => Ok(json!(settles)),
            (Ok(_), Ok(_)) => Ok(json!(!settles)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}
