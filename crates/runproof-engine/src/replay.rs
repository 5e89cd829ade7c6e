//! Runs the engine's decisions again over a proof bundle, and names every one that comes out differently.
//!
//! Facts come from the record (what a tool answered, which version of a skill there was); everything that the engine
//! decided on (inputs, intents, what follows an outcome, settlements, the seal) is computed again by the same code.

mod planned;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use runproof_proof::bundle::Bundle;
use runproof_proof::event::{Body, EndReason, Event, StepReturned, StepStatus};
use runproof_proof::finding::{Code, Finding};
use runproof_proof::payload::PayloadLine;
use runproof_proof::report::{Check, Report};
use serde_json::Value;

use crate::decide::{Facts, Outcome, SkillFacts, advance, progress, record};
use crate::draft::Draft;
use crate::plan::Plan;
use crate::reference::{Reference, Root};
use crate::run::{CallId, Item, Run, Values};

/// Events of which the values are decoded at a time: more than any decision writes.
const READ_AHEAD: usize = 256;

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// Decisions that come out differently.
    pub findings: Vec<Finding>,
    /// Decisions that were made again.
    pub decisions: u64,
    /// Decisions that could not be made again, because values are withheld.
    pub skipped: u64,
}

/// Replays a bundle and adds what it finds to the report.
pub fn check(bundle: &Bundle, report: &mut Report) -> Replay {
    let replay = replay(bundle);
    // A pass claims every decision: with one that could not be made again, there is none.
    if !replay.findings.is_empty() || (replay.decisions > 0 && replay.skipped == 0) {
        report.find(Check::Replay, replay.findings.clone());
    }
    replay
}

/// Replays a bundle.
pub fn replay(bundle: &Bundle) -> Replay {
    let header = &bundle.header;
    let mut replayer = Replayer {
        run: Run::new(&header.log, &header.tenant, &header.run_id),
        replay: Replay::default(),
        withheld: BTreeSet::new(),
        named: None,
        agreed: 0,
        hidden: false,
    };
    // Only the end that a limit forces depends on the size of the lines.
    let limited = bundle
        .entries
        .iter()
        .any(|entry| matches!(&entry.event.body, Body::RunSealed(seal) if seal.reason == EndReason::LimitReached));
    replayer.hidden = limited && bundle.entries.iter().flat_map(|entry| &entry.payload).any(|line| !line.is_whole());
    // Values are decoded a little ahead of the event that is judged, and let go after it.
    let mut unread = bundle.entries.iter().map(|entry| (&entry.event, values(entry.payload.as_ref(), &entry.event)));
    let mut ahead: VecDeque<(&Event, Values)> = VecDeque::with_capacity(2 * READ_AHEAD);
    ahead.extend(unread.by_ref().take(READ_AHEAD));
    for entry in &bundle.entries {
        replayer.judge(ahead.make_contiguous());
        // What was not read was not compared.
        replayer.agreed = replayer.agreed.min(ahead.len() - 1);
        let Some((event, values)) = ahead.pop_front() else { break };
        if let Err(error) = replayer.run.apply(event, entry.leaf, &values) {
            let finding = Finding::new(Code::ReplayDecision, &header.run_id, "$.kind").at(event.seq);
            replayer.replay.findings.push(finding.differs("an event that can follow", error));
            break;
        }
        if limited {
            let payload = entry.payload.as_ref().map(|payload| payload.as_bytes().len());
            replayer.run.count(entry.event.encode().len(), payload);
        }
        replayer.remember(event, &values);
        ahead.extend(unread.next());
    }
    replayer.replay
}

fn values(payload: Option<&PayloadLine>, event: &Event) -> Values {
    payload.and_then(|payload| payload.open(&event.commitments()).ok()).map(|opened| opened.values).unwrap_or_default()
}

/// A value that is not shown and that a decision could need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Withheld {
    Goal,
    Inputs,
    /// Output of a step.
    Output(String),
    /// The list of the step at this place.
    Items(usize),
}

struct Replayer {
    run: Run,
    replay: Replay,
    withheld: BTreeSet<Withheld>,
    /// What of it the steps of the plan name, once somebody asked: a plan is read for it once.
    named: Option<BTreeSet<(usize, Withheld)>>,
    /// Events ahead that were compared as part of an earlier decision.
    agreed: usize,
    /// The run was ended for its size, and not all of it is shown.
    hidden: bool,
}

impl Replayer {
    /// Makes the decision that the next event records, if it is one, and compares.
    fn judge(&mut self, ahead: &[(&Event, Values)]) {
        if self.agreed > 0 {
            self.agreed -= 1;
            return;
        }
        let Some((event, values)) = ahead.first() else { return };
        #[expect(clippy::wildcard_enum_match_arm, reason = "everything else is a fact, not a decision of the engine")]
        match &event.body {
            Body::RunPlanned(_) => self.judge_plan(event, values),
            Body::StepReturned(body) => self.judge_outcome(event, body, values),
            Body::StepExpanded(_) | Body::StepIntended(_) | Body::StepSettled(_) | Body::RunSealed(_) => {
                self.judge_advance(ahead);
            }
            _ => {}
        }
    }

    fn judge_outcome(&mut self, event: &Event, body: &StepReturned, values: &Values) {
        let Some(item) = Item::parse(body.item.as_deref()).filter(|_| self.run.plan.is_some()) else {
            self.replay.skipped += 1;
            return;
        };
        let text = |field: &str| values.get(field).and_then(Value::as_str).map(str::to_owned);
        let outcome = Outcome {
            outcome: body.outcome,
            via: body.via,
            output: values.get("output").cloned(),
            category: body.category,
            code: body.code.clone(),
            error: text("error"),
            retryable: body.retryable,
            retry_after_us: body.retry_after_us,
            cost_microcents: body.cost_microcents,
            duration_us: body.duration_us,
        };
        let mut draft = Draft::new(self.run.clone(), event.at, [0; 32]);
        let call = CallId { step_id: body.step_id.clone(), item };
        match record::record(&mut draft, &call, outcome) {
            Ok(()) => self.compare(&draft, &[(event, values.clone())]),
            Err(error) => self.differs(event, error),
        }
    }

    fn judge_advance(&mut self, ahead: &[(&Event, Values)]) {
        let (event, _) = &ahead[0];
        if self.run.plan_digest.is_none() {
            return self.judge_end_without_plan(ahead);
        }
        if self.run.plan.is_none() || self.depends_on_withheld() {
            self.replay.skipped += 1;
            return;
        }
        let mut draft = Draft::new(self.run.clone(), event.at, [0; 32]);
        match advance::advance_once(&mut draft, &Recorded(ahead)) {
            Ok(_) if !draft.lines.is_empty() => {
                self.run.holding = std::mem::take(&mut draft.run.holding);
                self.agreed = draft.lines.len() - 1;
                self.compare(&draft, ahead);
            }
            Ok(next) => self.differs(event, format!("nothing yet ({})", describe(next.as_ref()))),
            Err(error) => self.differs(event, error),
        }
    }

    fn differs(&mut self, event: &Event, expected: impl ToString) {
        self.replay.decisions += 1;
        let finding = Finding::new(Code::ReplayDecision, &self.run.id, "$.kind").at(event.seq);
        self.replay.findings.push(finding.differs(expected, event.body.kind()));
    }

    /// Whether a decision may depend on something that is not shown: whether a step names it that is under way.
    fn depends_on_withheld(&mut self) -> bool {
        if self.hidden || self.withheld.is_empty() {
            return self.hidden;
        }
        let Some(plan) = &self.run.plan else { return true };
        let named = self.named.get_or_insert_with(|| named(plan));
        let needed = |(step, what): &(usize, Withheld)| {
            self.withheld.contains(what) && progress::is_under_way(&self.run, plan, *step)
        };
        named.iter().any(needed)
    }

    fn remember(&mut self, event: &Event, values: &Values) {
        let hidden = |field: &str| !values.contains_key(field);
        #[expect(clippy::wildcard_enum_match_arm, reason = "other events hold no value that a decision can need")]
        let withheld = match &event.body {
            Body::RunCreated(_) if hidden("goal") => Withheld::Goal,
            Body::RunPlanned(body) if body.inputs.is_some() && hidden("inputs") => Withheld::Inputs,
            Body::StepExpanded(body) if hidden("items") => Withheld::Items(body.plan_index as usize),
            Body::StepReturned(body) if body.output.is_some() && hidden("output") => {
                Withheld::Output(body.step_id.clone())
            }
            _ => return,
        };
        self.withheld.insert(withheld);
    }

    /// Compares the decided events with the recorded ones, field by field and value by value.
    fn compare(&mut self, draft: &Draft, recorded: &[(&Event, Values)]) {
        for (line, (event, values)) in draft.lines.iter().zip(recorded) {
            self.replay.decisions += 1;
            let Ok(decided) = Event::decode(&line.bytes) else { continue };
            if decided.body.kind() != event.body.kind() {
                let finding = Finding::new(Code::ReplayDecision, &self.run.id, "$.kind").at(event.seq);
                self.replay.findings.push(finding.differs(decided.body.kind(), event.body.kind()));
                return;
            }
            let mut differences = BTreeMap::new();
            differ("$.body", &plain(&decided.body), &plain(&event.body), &mut differences);
            differences.extend(texts(&decided.body, &event.body));
            let decided_values = line.payload.as_ref().and_then(|payload| PayloadLine::parse(payload).ok());
            let decided_values = self::values(decided_values.as_ref(), &decided);
            for (field, value) in values {
                if let Some(decided) = decided_values.get(field) {
                    differ(&format!("payload.{field}"), decided, value, &mut differences);
                }
            }
            for (path, (expected, got)) in differences {
                let code = if path.starts_with("payload.params") || path.starts_with("payload.items") {
                    Code::ReplayInput
                } else {
                    Code::ReplayDecision
                };
                self.replay.findings.push(Finding::new(code, &self.run.id, path).at(event.seq).differs(expected, got));
            }
        }
    }
}

fn describe(next: Option<&crate::decide::Next>) -> String {
    next.map_or_else(|| "nothing to do".to_owned(), |next| format!("{next:?}").chars().take(60).collect())
}

/// Everything that steps of a plan name and that could be withheld, with the place of the step.
fn named(plan: &Plan) -> BTreeSet<(usize, Withheld)> {
    let of = |index: usize, reference: Reference| match reference.root {
        Root::Step(id) => Some(Withheld::Output(id)),
        Root::Output(key) => {
            let of_key = plan.steps.iter().find(|step| step.output_key.as_ref() == Some(&key));
            of_key.map(|step| Withheld::Output(step.id.clone()))
        }
        Root::Goal => Some(Withheld::Goal),
        Root::Inputs => Some(Withheld::Inputs),
        Root::Item => Some(Withheld::Items(index)),
        Root::StepStatus(_) | Root::ItemIndex | Root::RunId | Root::Tenant | Root::Agent => None,
    };
    plan.references().into_iter().filter_map(|(index, reference)| Some((index, of(index, reference)?))).collect()
}

/// The body as JSON, without commitments: those are under salts that a replay does not have.
fn plain(body: &Body) -> Value {
    let mut value = serde_json::to_value(body).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        for (field, _) in body.commitments() {
            members.remove(field);
        }
    }
    value
}

/// Commitments that only one of two events of a kind has. What an attempt came to is a fact, and may be withheld.
fn texts(decided: &Body, recorded: &Body) -> BTreeMap<String, (String, String)> {
    if matches!(recorded, Body::StepReturned(_)) {
        return BTreeMap::new();
    }
    let fields = |body: &Body| body.commitments().into_iter().map(|(field, _)| field).collect::<BTreeSet<_>>();
    let (decided, recorded) = (fields(decided), fields(recorded));
    let word = |side: &BTreeSet<&str>, field| if side.contains(field) { "a value" } else { "none" }.to_owned();
    let different = decided.symmetric_difference(&recorded);
    different.map(|field| (format!("$.body.{field}"), (word(&decided, *field), word(&recorded, *field)))).collect()
}

fn differ(path: &str, expected: &Value, got: &Value, out: &mut BTreeMap<String, (String, String)>) {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let names: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
            for name in names {
                let side = |members: &serde_json::Map<String, Value>| members.get(name).cloned().unwrap_or_default();
                differ(&format!("{path}.{name}"), &side(expected), &side(got), out);
            }
        }
        (expected, got) if expected != got => {
            out.insert(path.to_owned(), (expected.to_string(), got.to_string()));
        }
        (_, _) => {}
    }
}

/// What the record says about skills: the facts behind the decision that is made again.
struct Recorded<'a>(&'a [(&'a Event, Values)]);

impl Facts for Recorded<'_> {
    fn skill(&self, skill: &str, _params: &Value) -> SkillFacts {
        match self.0.first().map(|(event, values)| (&event.body, values)) {
            Some((Body::StepIntended(body), _)) if body.skill == skill => {
                let timeout = Duration::from_micros(body.timeout_us);
                SkillFacts::Known {
                    version: body.skill_version.clone(),
                    effect: body.effect,
                    default_timeout: timeout,
                    max_timeout: timeout,
                    cost_limit_microcents: body.cost_limit_microcents,
                }
            }
            Some((Body::StepSettled(body), values)) if body.skill == skill && body.status == StepStatus::Failure => {
                match body.code.as_deref() {
                    Some("params.invalid") => {
                        let error = values.get("error").and_then(Value::as_str).unwrap_or_default();
                        SkillFacts::Invalid(error.to_owned())
                    }
                    Some(_) | None => SkillFacts::NotFound,
                }
            }
            Some(_) | None => SkillFacts::NotFound,
        }
    }
}
