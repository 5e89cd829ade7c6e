//! Goes through the record of a run with the interpreter: what the world said is told to it, and everything else has
//! to be what it says has to happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use runproof_engine::skill::EffectClass;
use runproof_proof::event::{AttemptOutcome, Body, Resolution, StepReturned, StepSettled, Then as Recorded, Via};
use serde_json::{Value, json};

use super::calls::{CallId, Heard, Then, Trouble};
use super::interpreter::{Interpreter, Move, Row};
use super::plan::Plan;
use super::world::{COST, Name, Script, World};
use crate::support::Placed;

/// What the record of a run says.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) rows: Vec<Row>,
    pub(crate) broke: bool,
    pub(crate) doubts: usize,
    pub(crate) attempts: u64,
    pub(crate) pauses: u32,
    /// What came of calls that were found open and could not just be repeated.
    pub(crate) told: BTreeMap<CallId, Vec<Told>>,
    /// Attempts that were found open, by call.
    pub(crate) interrupted: BTreeMap<CallId, u32>,
    /// Answers that were recorded, by call.
    pub(crate) heard: BTreeMap<Name, usize>,
    /// Calls that wait for a person.
    pub(crate) held: Vec<CallId>,
}

/// An outcome or a resolution, as it was recorded.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Heard(Heard, u64),
    Resolved(bool),
}

fn values(placed: &Placed) -> BTreeMap<String, Value> {
    let payload = placed.entry.payload.as_ref();
    payload.map_or_else(BTreeMap::new, |payload| payload.open(&placed.entry.event.commitments()).unwrap().values)
}

fn call_id(plan: &Plan, step_id: &str, item: Option<&str>) -> CallId {
    let step = plan.steps.iter().position(|step| step.id == step_id).expect("a step of the plan");
    let (item, fallback) = match item {
        Some("fallback") => (None, true),
        Some(item) => item.strip_suffix(".fallback").map_or((Some(item), false), |item| (Some(item), true)),
        None => (None, false),
    };
    CallId { step, element: item.map(|item| item.parse().unwrap()), fallback }
}

/// Reads the whole record, or what there is of it.
pub(crate) fn read(plan: &Plan, script: &Script, events: &[Placed]) -> Story {
    let interpreter = Interpreter::new(plan);
    let mut walk = Walk { plan, script, interpreter, story: Story::default(), decided_at: 0, only_recorded: false };
    for placed in events {
        walk.pass(placed);
    }
    walk.end()
}

struct Walk<'a> {
    plan: &'a Plan,
    script: &'a Script,
    interpreter: Interpreter<'a>,
    story: Story,
    /// When something was decided for the last time: then, nothing may be left to do.
    decided_at: u64,
    /// Whether the last event was only recorded: what follows from it is up to whoever takes the run next.
    only_recorded: bool,
}

impl Walk<'_> {
    fn pass(&mut self, placed: &Placed) {
        let (event, seq) = (&placed.entry.event, placed.entry.event.seq);
        let only_recorded = matches!(event.body, Body::StepResolved(_) | Body::RunResumed(_));
        let is_input = only_recorded || matches!(event.body, Body::StepReturned(_) | Body::RunPaused(_));
        if is_input && !self.only_recorded {
            let left = self.interpreter.clone().next(self.decided_at);
            assert_eq!(left, None, "before {seq} something else had to happen");
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "only what concerns steps and the end is judged here")]
        match &event.body {
            Body::RunPaused(_) => {
                self.interpreter.pause(true);
                self.story.pauses += 1;
            }
            Body::RunResumed(_) => self.interpreter.pause(false),
            Body::StepExpanded(body) => {
                let (items, call) = (values(placed)["items"].clone(), call_id(self.plan, &body.step_id, None));
                assert_eq!(items.as_array().unwrap().len(), body.count as usize, "the count at {seq}");
                self.expect(placed, &Move::Expand { step: call.step, items });
            }
            Body::StepIntended(body) => {
                let call = call_id(self.plan, &body.step_id, body.item.as_deref());
                let params = values(placed).remove("params").unwrap();
                self.expect(placed, &Move::Intend { call, attempt: body.attempt, params });
                assert_eq!(body.effect, self.plan.steps[call.step].effect, "the class at {seq}");
                self.story.attempts += 1;
            }
            Body::StepReturned(body) => self.hear(body, values(placed).remove("output"), event.at, seq),
            Body::StepResolved(body) => {
                let call = call_id(self.plan, &body.step_id, body.item.as_deref());
                assert!(self.interpreter.is_held(call), "a resolution at {seq} of a call that is not held");
                let done = body.resolution == Resolution::Done;
                self.interpreter.resolve(call, done);
                self.story.told.entry(call).or_default().push(Told::Resolved(done));
            }
            Body::StepSettled(body) => {
                let row = row(body);
                assert_eq!(body.step_index, self.story.rows.len() as u64, "steps settle one after another, at {seq}");
                self.expect(placed, &Move::Settle(row.clone()));
                self.story.rows.push(row);
            }
            Body::RunSealed(body) => {
                self.expect(placed, &Move::Seal { status: body.status.word(), reason: body.reason.word() });
                let sums = (self.story.rows.len() as u64, self.story.attempts);
                assert_eq!((body.step_count, body.totals.attempts), sums, "the sums of the seal");
            }
            _ => {}
        }
        if !is_input {
            self.decided_at = event.at;
        }
        self.only_recorded = only_recorded;
    }

    fn expect(&mut self, placed: &Placed, got: &Move) {
        let expected = self.interpreter.next(placed.entry.event.at);
        assert_eq!(expected.as_ref(), Some(got), "at {} this had to happen, and not that", placed.entry.event.seq);
    }

    fn hear(&mut self, body: &StepReturned, output: Option<Value>, at: u64, seq: u64) {
        let call = call_id(self.plan, &body.step_id, body.item.as_deref());
        assert!(self.interpreter.is_open(call), "an outcome at {seq} of a call that was not made");
        let heard = outcome(body, output);
        if body.via == Via::Call {
            let name = (body.step_id.clone(), body.item.clone());
            let times = self.story.heard.entry(name.clone()).or_default();
            let answer = World::answer(self.script, &name, *times);
            assert_eq!(heard, answer.says.heard(), "at {seq} the world said something else");
            *times += 1;
        } else {
            *self.story.interrupted.entry(call).or_default() += 1;
        }
        let retry_at = body.retry_at.unwrap_or_default();
        let then = self.interpreter.hear(call, heard.clone(), body.cost_microcents, retry_at);
        let recorded = match body.then {
            Recorded::Settle => Then::Settle,
            Recorded::Retry => Then::Retry,
            Recorded::Hold => Then::Hold,
        };
        assert_eq!(recorded, then, "what follows the outcome at {seq}");
        assert_eq!(body.retry_at.is_some(), then == Then::Retry, "the time of the next attempt at {seq}");
        if let Some(due) = body.retry_at {
            let delay = self.interpreter.delay_us(call);
            assert!(delay.contains(&(due - at)), "at {seq} the delay is {} and not in {delay:?}", due - at);
        }
        self.story.told.entry(call).or_default().push(Told::Heard(heard, body.cost_microcents));
    }

    fn end(self) -> Story {
        let Self { plan, interpreter, mut story, .. } = self;
        story.broke = interpreter.broke();
        story.doubts = interpreter.doubts();
        story.held = story.told.keys().copied().filter(|call| interpreter.is_held(*call)).collect();
        let may_repeat = |call: &CallId| match plan.steps[call.step].effect {
            EffectClass::Pure | EffectClass::Read | EffectClass::Transactional | EffectClass::Idempotent => true,
            EffectClass::Probeable | EffectClass::Unsafe => false,
        };
        story.told.retain(|call, _| !may_repeat(call) && story.interrupted.contains_key(call));
        story
    }
}

fn row(body: &StepSettled) -> Row {
    Row {
        plan_index: body.plan_index as usize,
        step_id: body.step_id.clone(),
        item: body.item.clone(),
        status: body.status.word().to_owned(),
        category: body.category.clone(),
        code: body.code.clone(),
        attempts: body.attempts,
        cost_microcents: body.cost_microcents,
    }
}

fn outcome(body: &StepReturned, output: Option<Value>) -> Heard {
    let trouble = || Trouble {
        category: body.category.expect("what is not done has a category").word().to_owned(),
        code: body.code.clone().expect("what is not done has a code"),
        retryable: body.retryable,
    };
    match body.outcome {
        AttemptOutcome::Done => Heard::Done(output.unwrap_or(json!(null))),
        AttemptOutcome::NotDone | AttemptOutcome::Failed => Heard::Failed(trouble()),
        AttemptOutcome::Unknown => Heard::Unknown(trouble()),
    }
}

/// The rows that a plan comes to, when calls are answered in the order in which they are made. What came of calls that
/// nobody could foresee is told.
pub(crate) fn foretell(
    mut interpreter: Interpreter<'_>,
    script: &Script,
    told: &BTreeMap<CallId, Vec<Told>>,
) -> (Vec<Row>, bool) {
    let (mut rows, mut open) = (Vec::new(), VecDeque::new());
    let (mut heard, mut happened) = (BTreeMap::<CallId, usize>::new(), BTreeSet::new());
    loop {
        match interpreter.next(u64::MAX) {
            Some(Move::Settle(row)) => rows.push(row),
            Some(Move::Intend { call, .. }) => open.push_back(call),
            Some(Move::Expand { .. }) => {}
            Some(Move::Seal { .. }) => return (rows, interpreter.broke()),
            None => {
                let call = open.pop_front().expect("the run waits for a call");
                let told = told.get(&call).map_or(&[][..], Vec::as_slice);
                let times = heard.entry(call).or_default();
                let answer = World::answer(script, &interpreter.name(call), *times);
                if answer.says.has_effect() {
                    happened.insert(call);
                }
                match told.get(*times) {
                    Some(Told::Heard(heard, cost)) => interpreter.hear(call, heard.clone(), *cost, 0),
                    Some(Told::Resolved(_)) | None => interpreter.hear(call, answer.says.heard(), COST, 0),
                };
                *times += 1;
                if interpreter.is_held(call) {
                    let said = if let Some(Told::Resolved(done)) = told.get(*times) { Some(*done) } else { None };
                    interpreter.resolve(call, said.unwrap_or(happened.contains(&call)));
                }
            }
        }
    }
}
