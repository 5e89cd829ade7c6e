//! Begins what is ready: conditions, lists, and the intents of attempts. What cannot be tried settles as a failure.

use std::time::Duration;

use runproof_proof::event::{
    EffectClass, EndReason, EndStatus, ErrorCategory, StepExpanded, StepIntended, StepSettled, StepStatus,
};
use runproof_proof::hash::tagged;
use serde_json::Value;

use super::progress::{is_ready, lookup};
use super::{Facts, Refusal, SkillFacts, advance, recordable};
use crate::draft::{Draft, Intended};
use crate::gate::{Authorized, Verdict, judge};
use crate::plan::{Foreach, MAX_ELEMENTS, OnError, Plan, Step};
use crate::reference::{self, ResolveError};
use crate::run::{ActiveCall, Holding, Item, Progress, Run};
use crate::skill::Call;

/// An attempt to be intended.
pub(super) struct Start {
    index: usize,
    item: Item,
    attempt: u32,
}

impl Start {
    /// The next attempt of a call that is under way.
    pub(super) fn again(call: &ActiveCall) -> Self {
        Self { index: call.intent.plan_index as usize, item: call.item, attempt: call.intent.attempt + 1 }
    }
}

/// Why a step cannot be tried.
struct Unfit {
    category: ErrorCategory,
    code: &'static str,
    error: String,
}

impl Unfit {
    fn new(category: ErrorCategory, code: &'static str, error: impl Into<String>) -> Self {
        Self { category, code, error: error.into() }
    }
}

impl From<ResolveError> for Unfit {
    fn from(error: ResolveError) -> Self {
        let code = match error {
            ResolveError::Redacted { .. } => "reference.redacted",
            ResolveError::NamesSecret { .. } => "reference.names_secret",
            ResolveError::Expression { .. } => "expression.failed",
            ResolveError::Unreadable(_)
            | ResolveError::Unknown { .. }
            | ResolveError::Missing { .. }
            | ResolveError::NotText { .. }
            | ResolveError::TooLarge { .. } => "reference.unresolved",
        };
        Self::new(ErrorCategory::Reference, code, error.to_string())
    }
}

/// What the first step has to do that can do something.
enum Move {
    Skip,
    Expand(Value),
    Attempt(Start),
    Fail(Unfit),
}

/// Begins something of the first step that is ready and can go on. Answers whether there was one.
pub(super) fn step(draft: &mut Draft, plan: &Plan, facts: &dyn Facts) -> Result<bool, Refusal> {
    let slot = draft.run.active.len() < plan.max_parallel as usize;
    let mut holding = std::mem::take(&mut draft.run.holding);
    let run = &draft.run;
    let found = (0..plan.steps.len()).find_map(|index| Some((index, next(run, plan, index, slot, &mut holding)?)));
    draft.run.holding = holding;
    let Some((index, found)) = found else { return Ok(false) };
    let step = &plan.steps[index];
    match found {
        Move::Attempt(start) => attempt(draft, plan, &start, facts)?,
        Move::Fail(unfit) => settle_untried(draft, index, step, Item::OWN, StepStatus::Failure, Some(unfit))?,
        Move::Skip => settle_untried(draft, index, step, Item::OWN, StepStatus::Skipped, None)?,
        Move::Expand(items) => {
            let count = items.as_array().map_or(0, Vec::len) as u32; // at most MAX_ELEMENTS
            let (plan_index, step_id) = (place(index), step.id.clone());
            draft.push(|c| Ok(StepExpanded { count, items: c.commit("items", &items)?, plan_index, step_id }))?;
        }
    }
    Ok(true)
}

fn next(run: &Run, plan: &Plan, index: usize, slot: bool, holding: &mut Holding) -> Option<Move> {
    let step = &plan.steps[index];
    let progress = run.progress.get(&place(index)).map(AsRef::as_ref);
    let first = |item| Move::Attempt(Start { index, item, attempt: 1 });
    if let Some(own) = progress.and_then(|progress| progress.calls.get(&Item::OWN)) {
        let fallback = Item::OWN.to_fallback();
        let wanted = matches!(step.on_error, OnError::Fallback { .. }) && step.foreach.is_none();
        let begun =
            progress.is_some_and(|progress| progress.calls.contains_key(&fallback)) || is_active(run, index, fallback);
        return (slot && wanted && *own == StepStatus::Failure && !begun).then(|| first(fallback));
    }
    if !is_ready(run, plan, index) {
        return None;
    }
    let expansion = progress.and_then(|progress| progress.expansion.as_ref());
    match (&step.foreach, expansion) {
        (Some(foreach), Some(_)) => {
            progress.filter(|_| slot).and_then(|progress| element(run, step, foreach, progress, index)).map(first)
        }
        (Some(foreach), None) => Some(match condition(run, plan, index, step) {
            Ok(true) => expand(run, plan, index, foreach).map_or_else(Move::Fail, Move::Expand),
            Ok(false) => Move::Skip,
            Err(unfit) => Move::Fail(unfit),
        }),
        (None, _) if is_active(run, index, Item::OWN) => None,
        (None, _) if holding.knows(index) => slot.then(|| first(Item::OWN)),
        (None, _) => match condition(run, plan, index, step) {
            Ok(true) => {
                holding.note(index);
                slot.then(|| first(Item::OWN))
            }
            Ok(false) => Some(Move::Skip),
            Err(unfit) => Some(Move::Fail(unfit)),
        },
    }
}

fn is_active(run: &Run, index: usize, item: Item) -> bool {
    run.active.iter().any(|call| call.intent.plan_index == place(index) && call.item == item)
}

fn condition(run: &Run, plan: &Plan, index: usize, step: &Step) -> Result<bool, Unfit> {
    let Some(when) = &step.when else { return Ok(true) };
    let fail = |error: String| Unfit::new(ErrorCategory::Reference, "when.failed", error);
    let path = format!("$.steps[{index}].when");
    match when.evaluate(&path, &|root| lookup(run, plan, (index, None), root)) {
        Ok(Value::Bool(answer)) => Ok(answer),
        Ok(other) => {
            Err(fail(format!("`{}` at `{path}` is {}, not true or false", when.text(), reference::kind(&other))))
        }
        Err(error) => Err(fail(error.to_string())),
    }
}

fn expand(run: &Run, plan: &Plan, index: usize, foreach: &Foreach) -> Result<Value, Unfit> {
    let items = reference::resolve(&foreach.items, &|root| lookup(run, plan, (index, None), root))?;
    let unfit = |code, error| Unfit::new(ErrorCategory::Validation, code, error);
    let Some(elements) = items.as_array() else {
        let error = format!("`foreach` needs a list, this is {}", reference::kind(&items));
        return Err(unfit("foreach.not_a_list", error));
    };
    if elements.len() > MAX_ELEMENTS {
        let error = format!("the list has {} elements, at most {MAX_ELEMENTS} are allowed", elements.len());
        return Err(unfit("foreach.too_many", error));
    }
    match runproof_proof::canonical::to_bytes(&items) {
        Ok(_) => Ok(items),
        Err(error) => Err(unfit("foreach.unrecordable", format!("the list cannot be recorded: {}", error.problem))),
    }
}

/// The next call of a list: elements in order, a fallback right after its call.
fn element(run: &Run, step: &Step, foreach: &Foreach, progress: &Progress, index: usize) -> Option<Item> {
    let expansion = progress.expansion.as_ref()?;
    let under_way = run.active.iter().filter(|call| call.intent.plan_index == place(index)).count();
    if foreach.concurrency.is_some_and(|most| under_way >= most as usize) {
        return None;
    }
    let failed = expansion.failed.first().filter(|_| matches!(step.on_error, OnError::Fallback { .. }));
    match failed {
        Some(element) => Some(Item { element: Some(*element), fallback: true }),
        None if expansion.begun < expansion.count => Some(Item { element: Some(expansion.begun), fallback: false }),
        None => None,
    }
}

/// Writes the intent of an attempt, or settles the call when it cannot even be tried.
pub(super) fn attempt(draft: &mut Draft, plan: &Plan, start: &Start, facts: &dyn Facts) -> Result<(), Refusal> {
    let Start { index, item, attempt } = *start;
    let Some((step, skill, with)) = plan.call(index, item.fallback) else {
        let error = "the plan has no such step".to_owned();
        return advance::seal(draft, EndStatus::Failed, EndReason::StepFailed, Some(error)).map(drop);
    };
    let (call, version, effect, cost_limit) = match prepare(&draft.run, plan, start, (step, skill, with), facts) {
        Ok(prepared) => prepared,
        Err(unfit) => return settle_untried(draft, index, step, item, StepStatus::Failure, Some(unfit)),
    };
    let policy_set = draft.run.header.as_ref().map(|header| header.policy_set.clone()).unwrap_or_default();
    let (call, gate) = match judge(&policy_set, call) {
        Verdict::Allowed(call, gate) => (call, gate),
        Verdict::Refused(_) => {
            let unfit = Unfit::new(ErrorCategory::Policy, "policy.blocked", "a policy refused the call");
            return settle_untried(draft, index, step, item, StepStatus::Failure, Some(unfit));
        }
        // A run under a set that cannot be evaluated has ended before anything is begun.
        Verdict::Halted(_) => return Err(Refusal::Stuck(draft.run.id.clone())),
    };
    push_intent(draft, &call, (index, item, attempt), (version, effect, cost_limit), gate)?;
    draft.calls.push(Intended { call, effect });
    Ok(())
}

fn push_intent(
    draft: &mut Draft,
    call: &Authorized<Call>,
    (index, item, attempt): (usize, Item, u32),
    (skill_version, effect, cost_limit_microcents): (String, EffectClass, u64),
    gate: runproof_proof::event::GateRecord,
) -> Result<(), Refusal> {
    let call = call.get();
    Ok(draft.push(|c| {
        Ok(StepIntended {
            attempt,
            cost_limit_microcents: recordable(cost_limit_microcents),
            effect,
            gate,
            idempotency_key: call.idempotency_key.clone(),
            item: item.text(),
            params: c.commit("params", &call.params)?,
            plan_index: place(index),
            skill: call.skill.clone(),
            skill_version,
            step_id: call.step_id.clone(),
            timeout_us: recordable(u64::try_from(call.timeout.as_micros()).unwrap_or(u64::MAX)),
        })
    })?)
}

/// The exact call, with its references resolved, and what is known of its skill.
fn prepare(
    run: &Run,
    plan: &Plan,
    start: &Start,
    (step, skill, with): (&Step, &str, &Value),
    facts: &dyn Facts,
) -> Result<(Call, String, EffectClass, u64), Unfit> {
    let Start { index, item, attempt } = *start;
    let params = reference::resolve(with, &|root| lookup(run, plan, (index, item.element), root))?;
    // What a reference brings in can nest deeper than a value may that is recorded.
    if let Err(error) = runproof_proof::canonical::to_bytes(&params) {
        let error = format!("the parameters cannot be recorded: {}", error.problem);
        return Err(Unfit::new(ErrorCategory::Validation, "params.unrecordable", error));
    }
    match facts.skill(skill, &params) {
        SkillFacts::NotFound => {
            Err(Unfit::new(ErrorCategory::NotFound, "skill.not_found", format!("Skill not found: {skill}")))
        }
        SkillFacts::Invalid(error) => Err(Unfit::new(ErrorCategory::Validation, "params.invalid", error)),
        SkillFacts::Known { version, effect, default_timeout, max_timeout, cost_limit_microcents } => {
            let item = item.text();
            let call = Call {
                tenant: run.tenant.clone(),
                run_id: run.id.clone(),
                step_id: step.id.clone(),
                attempt,
                skill: skill.to_owned(),
                idempotency_key: idempotency_key(&run.tenant, &run.id, &step.id, item.as_deref(), skill),
                timeout: step.timeout_ms.map_or(default_timeout, Duration::from_millis).min(max_timeout),
                params,
                item,
            };
            Ok((call, version, effect, cost_limit_microcents))
        }
    }
}

/// Settles a call that is not tried, or not tried again.
fn settle_untried(
    draft: &mut Draft,
    index: usize,
    step: &Step,
    item: Item,
    status: StepStatus,
    unfit: Option<Unfit>,
) -> Result<(), Refusal> {
    let call = draft.run.active.iter().find(|call| call.is(&step.id, item));
    let (attempts, cost_microcents, duration_us) =
        call.map_or((0, 0, 0), |call| (call.intent.attempt, call.cost_microcents, call.duration_us));
    let skill = match &step.on_error {
        OnError::Fallback { skill, .. } if item.fallback => skill,
        OnError::Fallback { .. } | OnError::Abort | OnError::Continue => &step.skill,
    };
    let (category, code) = match &unfit {
        Some(unfit) => (unfit.category.word(), unfit.code),
        None => ("skipped", "when.false"),
    };
    let error = unfit.as_ref().map(|unfit| Value::String(unfit.error.clone()));
    let step_index = draft.run.steps.len() as u64;
    Ok(draft.push(|c| {
        Ok(StepSettled {
            attempts,
            category: category.to_owned(),
            code: Some(code.to_owned()),
            cost_microcents,
            duration_us,
            error: c.commit_some("error", error.as_ref())?,
            item: item.text(),
            plan_index: place(index),
            skill: skill.clone(),
            status,
            step_id: step.id.clone(),
            step_index,
        })
    })?)
}

fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// The idempotency key of a call: the same for every attempt (`docs/spec/README.md`).
pub(crate) fn idempotency_key(tenant: &str, run_id: &str, step_id: &str, item: Option<&str>, binding: &str) -> String {
    let mut bytes = Vec::new();
    for part in [tenant, run_id, step_id, item.unwrap_or_default(), binding] {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let hash = tagged("runproof.dev/idempotency/v1", &bytes);
    data_encoding::BASE32_NOPAD.encode(&hash.0).to_lowercase()
}
