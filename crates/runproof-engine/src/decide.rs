//! Decides what a run does next. Pure: no clock, no store, no skill is called from here.
//!
//! Every event that the engine decides on (intents, settlements, seals, what follows an outcome) comes from here, and
//! `replay` runs the same code over a bundle.

pub(crate) mod advance;
mod begin;
pub(crate) mod progress;
pub(crate) mod record;

use std::time::Duration;

use runproof_proof::event::{
    Actor, EffectClass, EndReason, EndStatus, Resolution, RunCancelRequested, RunClaimed, RunPaused, RunPlanned,
    RunResumed, StepResolved,
};
use serde_json::Value;

pub use record::Outcome;

use crate::draft::{Draft, DraftError, Intended, Line};
use crate::plan::{PlanFinding, Prepared};
use crate::ports::Claim;
use crate::run::{CallId, Run, WaitReason};
use crate::skill::Skills;

/// What the outside tells the engine.
#[derive(Debug)]
pub enum Command {
    /// A worker took the run.
    Claim {
        /// The worker process.
        worker: String,
        /// Epoch of the claim.
        epoch: u64,
    },
    /// Go on as far as possible.
    Advance,
    /// An open attempt ended.
    Record(CallId, Outcome),
    /// Somebody asks for the run to be cancelled.
    Cancel {
        /// Who.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Somebody asks for the run to be paused: nothing is begun until it is resumed.
    Pause {
        /// Who.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Somebody lets a paused run go on.
    Resume {
        /// Who.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Somebody says what came of an unknown attempt.
    Resolve {
        /// Which call.
        call: CallId,
        /// What they say.
        resolution: Resolution,
        /// Who.
        actor: Actor,
        /// How they know.
        reason: String,
    },
    /// The planner made this plan.
    Plan(Value),
    /// The planner made none.
    PlannerFailed {
        /// Why.
        message: String,
    },
}

/// Facts that a decision needs and the run does not hold.
pub struct Context<'a> {
    /// Microseconds since 1970.
    pub now: u64,
    /// 32 fresh random bytes: salts of this transition.
    pub seed: [u8; 32],
    /// What is known about skills.
    pub facts: &'a dyn Facts,
}

/// What a decision needs to know about skills. The registry answers when a run is made, the record when it is replayed.
pub trait Facts: Sync {
    /// What is known about calling `skill` with these parameters.
    fn skill(&self, skill: &str, params: &Value) -> SkillFacts;
}

/// What is known about a call before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkillFacts {
    /// No such skill.
    NotFound,
    /// The parameters do not fit.
    Invalid(String),
    /// It can be called.
    Known {
        /// Version.
        version: String,
        /// Effect class of this call.
        effect: EffectClass,
        /// Timeout when the plan names none.
        default_timeout: Duration,
        /// Longest timeout.
        max_timeout: Duration,
        /// Most that an attempt can cost, in microcents.
        cost_limit_microcents: u64,
    },
}

impl Facts for Skills {
    fn skill(&self, skill: &str, params: &Value) -> SkillFacts {
        let Some(skill) = self.get(skill) else { return SkillFacts::NotFound };
        let findings = skill.check(params);
        if !findings.is_empty() {
            let texts = findings.iter().map(|finding| {
                if finding.path.is_empty() {
                    finding.message.clone()
                } else {
                    format!("`{}`: {}", finding.path, finding.message)
                }
            });
            return SkillFacts::Invalid(texts.collect::<Vec<_>>().join("; "));
        }
        let manifest = skill.manifest();
        let cost_limit_microcents = match manifest.cost {
            crate::skill::CostModel::Free => 0,
            crate::skill::CostModel::PerAttempt(cost) | crate::skill::CostModel::Metered(cost) => cost,
        };
        SkillFacts::Known {
            version: manifest.version.to_owned(),
            effect: skill.effect(params),
            default_timeout: manifest.limits.default_timeout,
            max_timeout: manifest.limits.max_timeout,
            cost_limit_microcents,
        }
    }
}

/// The number as an event can hold it. Skills give numbers of their own: one that is out of all reason must not make a
/// run unreadable.
pub(crate) fn recordable(number: u64) -> u64 {
    number.min(runproof_proof::canonical::MAX_INTEGER.unsigned_abs())
}

/// Events to store, and what to do once they are durable.
#[derive(Debug)]
pub struct Decision {
    /// Events in order.
    pub lines: Vec<Line>,
    /// The run with these events.
    pub run: Run,
    /// Calls that were intended.
    pub calls: Vec<Intended>,
    /// What follows.
    pub next: Next,
}

/// What follows a decision, once its calls are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Attempts are under way. Something else is to be decided at this time, in microseconds, if there is one.
    Open(Option<u64>),
    /// Nothing to do before this time, in microseconds.
    Sleep(u64),
    /// Nothing to do until somebody acts, or until this time, in microseconds.
    Wait(WaitReason, Option<u64>),
    /// Nobody made a plan yet.
    NeedsPlan,
    /// The run is over.
    Ended(EndStatus),
}

impl Next {
    /// What becomes of the claim of somebody who only puts something on record, and does not go on with the run.
    pub fn leave(&self, now: u64) -> Claim {
        match self {
            Self::Open(_) | Self::NeedsPlan => Claim::Release(now),
            Self::Sleep(until) => Claim::Release(*until),
            Self::Wait(_, until) => until.map_or(Claim::Park, Claim::Release),
            Self::Ended(_) => Claim::End,
        }
    }
}

/// A command that the run's state does not allow. Nothing was decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run is over.
    #[error("run `{run}` is over: {status}")]
    Ended {
        /// Run.
        run: String,
        /// How it ended.
        status: EndStatus,
    },
    /// There is nothing to resolve.
    #[error("step `{call}` of run `{run}` does not wait for a resolution")]
    NothingToResolve {
        /// Run.
        run: String,
        /// Call.
        call: String,
    },
    /// No such attempt is open.
    #[error("call `{call}` of run `{run}` has no open attempt")]
    NothingOpen {
        /// Run.
        run: String,
        /// Call.
        call: String,
    },
    /// Nothing can be decided and nothing is waited for: a fault of the engine.
    #[error("run `{0}` is not over and has nothing to do")]
    Stuck(String),
    /// The run was asked to be cancelled before.
    #[error("run `{0}` is being cancelled already")]
    CancelRequested(String),
    /// The run was paused before.
    #[error("run `{0}` is paused already")]
    Paused(String),
    /// Nothing to resume.
    #[error("run `{0}` is not paused")]
    NotPaused(String),
    /// The plan is not valid.
    #[error("the planner's plan is not valid: {0}")]
    Plan(String),
    /// The event cannot be written.
    #[error(transparent)]
    Draft(#[from] DraftError),
}

/// Decides what a command makes of a run.
///
/// # Errors
/// [`Refusal`]: nothing was decided, the run stays as it is.
pub fn decide(run: &Run, command: Command, context: &Context<'_>) -> Result<Decision, Refusal> {
    go_on(run.clone(), command, context)
}

/// As [`decide`], for a run of which nobody needs the state before: a copy less.
///
/// # Errors
/// As [`decide`].
pub(crate) fn go_on(run: Run, command: Command, context: &Context<'_>) -> Result<Decision, Refusal> {
    if let Some((seal, _)) = &run.seal {
        return Err(Refusal::Ended { run: run.id.clone(), status: seal.status });
    }
    let mut draft = Draft::new(run, context.now, context.seed);
    match command {
        Command::Advance => {}
        Command::Claim { worker, epoch } => draft.push(|_| Ok(RunClaimed { epoch, worker }))?,
        Command::Record(call, outcome) => record::record(&mut draft, &call, outcome)?,
        Command::Cancel { actor, reason } => {
            not_cancelled(&draft.run)?;
            let reason = reason.map(Value::String);
            draft.push(|c| Ok(RunCancelRequested { actor, reason: c.commit_some("reason", reason.as_ref())? }))?;
        }
        Command::Pause { actor, reason } => {
            not_cancelled(&draft.run)?;
            if draft.run.paused.is_some() {
                return Err(Refusal::Paused(draft.run.id.clone()));
            }
            let reason = reason.map(Value::String);
            draft.push(|c| Ok(RunPaused { actor, reason: c.commit_some("reason", reason.as_ref())? }))?;
        }
        Command::Resume { actor, reason } => {
            not_cancelled(&draft.run)?;
            if draft.run.paused.is_none() {
                return Err(Refusal::NotPaused(draft.run.id.clone()));
            }
            let reason = reason.map(Value::String);
            draft.push(|c| Ok(RunResumed { actor, reason: c.commit_some("reason", reason.as_ref())? }))?;
            return Ok(only_recorded(draft));
        }
        Command::Resolve { call, resolution, actor, reason } => {
            resolve(&mut draft, &call, resolution, actor, reason)?;
            return Ok(only_recorded(draft));
        }
        Command::Plan(plan) => planned(&mut draft, &Prepared::new(plan).map_err(refused_plan)?, None)?,
        Command::PlannerFailed { message } => {
            let next = advance::seal(&mut draft, EndStatus::Failed, EndReason::PlannerFailed, Some(message))?;
            return Ok(decision(draft, next));
        }
    }
    let next = advance::advance(&mut draft, context.facts)?;
    Ok(decision(draft, next))
}

fn decision(draft: Draft, next: Next) -> Decision {
    Decision { lines: draft.lines, run: draft.run, calls: draft.calls, next }
}

/// Only put on record: a worker goes on, so that whoever said it need not wait for the rest of the run.
fn only_recorded(draft: Draft) -> Decision {
    let next = Next::Sleep(draft.at);
    decision(draft, next)
}

fn not_cancelled(run: &Run) -> Result<(), Refusal> {
    if run.cancel.is_some() { Err(Refusal::CancelRequested(run.id.clone())) } else { Ok(()) }
}

/// Adds the plan with the values of its inputs, and nothing else: whoever claims the run goes on from there.
///
/// # Errors
/// As [`decide`].
pub fn plan_only(
    run: &Run,
    plan: &Prepared,
    inputs: Option<&Value>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(run.clone(), context.now, context.seed);
    planned(&mut draft, plan, inputs)?;
    Ok(decision(draft, Next::Sleep(context.now)))
}

fn refused_plan(findings: Vec<PlanFinding>) -> Refusal {
    let texts: Vec<String> = findings.iter().map(|finding| format!("{} {}", finding.path, finding.message)).collect();
    Refusal::Plan(texts.join("; "))
}

fn planned(draft: &mut Draft, plan: &Prepared, inputs: Option<&Value>) -> Result<(), Refusal> {
    let (plan_digest, step_count) = (plan.digest, plan.plan.steps.len() as u64);
    draft.run.offer(plan);
    Ok(draft.push(|c| {
        let inputs = c.commit_some("inputs", inputs)?;
        Ok(RunPlanned { inputs, plan: c.commit("plan", &plan.json)?, plan_digest, step_count })
    })?)
}

fn resolve(
    draft: &mut Draft,
    id: &CallId,
    resolution: Resolution,
    actor: Actor,
    reason: String,
) -> Result<(), Refusal> {
    let run = &draft.run;
    let Some(call) = run.held(id) else {
        return Err(Refusal::NothingToResolve { run: run.id.clone(), call: id.to_string() });
    };
    let (attempt, item, step_id) = (call.intent.attempt, call.intent.item.clone(), id.step_id.clone());
    let reason = Value::String(reason);
    Ok(draft.push(|c| {
        Ok(StepResolved { actor, attempt, item, reason: c.commit("reason", &reason)?, resolution, step_id })
    })?)
}
