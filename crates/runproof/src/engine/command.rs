//! Commands: what changes the store, as somebody asks for it and as it is left for another process, and what is refused
//! before anything is claimed.

use runproof_engine::admission::RunRequest;
use runproof_engine::decide::Refusal;
use runproof_engine::driver::{Asked, Wish};
use runproof_engine::run::{CallId, Run};
use runproof_proof::event::{Actor, Resolution};
use runproof_proof::finding::printable;
use runproof_store::TenantChange;
use serde::{Deserialize, Serialize};

use crate::error::{AppError, Code};

/// Tenant and run.
pub(super) type RunKey = (String, String);

/// Something that changes the store: done by the engine, wherever it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Changes a tenant.
    Tenant {
        /// Tenant.
        tenant: String,
        /// What changes.
        change: TenantChange,
        /// Who asks.
        actor: Actor,
    },
    /// Sets the most runs of a tenant, or of an agent, that workers hold at once.
    Limit {
        /// Tenant.
        tenant: String,
        /// Agent; `None`: all runs of the tenant.
        agent: Option<String>,
        /// Most runs; `None`: any number.
        max_running: Option<u32>,
    },
    /// Moves a run that is over into its archive.
    Archive {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Least time since the seal, in microseconds.
        min_age: u64,
        /// Who asks.
        actor: Actor,
    },
    /// Puts a tombstone in place of an archive.
    Purge {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Least time since the archiving, in microseconds.
        min_age: u64,
        /// Who asks.
        actor: Actor,
    },
    /// Opens a run.
    Run(Box<RunRequest>),
    /// Cancels a run.
    Cancel {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Who asks.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Lets a run begin nothing more until it is resumed.
    Pause {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Who asks.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Lets a paused run go on.
    Resume {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Who asks.
        actor: Actor,
        /// Why.
        reason: Option<String>,
    },
    /// Says what came of an unknown attempt.
    Resolve {
        /// Tenant.
        tenant: String,
        /// Run.
        run_id: String,
        /// Step, or `STEP#ITEM`.
        step_id: String,
        /// What they say.
        resolution: Resolution,
        /// Who says so.
        actor: Actor,
        /// How they know.
        reason: String,
    },
}

/// What became of a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The run, when there is one.
    pub run_id: Option<String>,
    /// Its status.
    pub status: Option<String>,
    /// It existed before.
    pub existing: bool,
}

impl Command {
    /// Tenant that the command is about.
    pub fn tenant(&self) -> &str {
        match self {
            Self::Tenant { tenant, .. }
            | Self::Limit { tenant, .. }
            | Self::Archive { tenant, .. }
            | Self::Purge { tenant, .. }
            | Self::Cancel { tenant, .. }
            | Self::Pause { tenant, .. }
            | Self::Resume { tenant, .. }
            | Self::Resolve { tenant, .. } => tenant,
            Self::Run(request) => &request.tenant,
        }
    }

    /// The run that has to be claimed for it.
    pub(super) fn run(&self) -> Option<RunKey> {
        match self {
            Self::Cancel { tenant, run_id, .. }
            | Self::Pause { tenant, run_id, .. }
            | Self::Resume { tenant, run_id, .. }
            | Self::Resolve { tenant, run_id, .. } => Some((tenant.clone(), run_id.clone())),
            Self::Tenant { .. } | Self::Limit { .. } | Self::Archive { .. } | Self::Purge { .. } | Self::Run(_) => None,
        }
    }

    /// What it wants of a run that is driven.
    pub(super) fn wish(&self) -> Option<(RunKey, Asked)> {
        let (wish, actor, reason) = match self {
            Self::Cancel { actor, reason, .. } => (Wish::Cancel, actor, reason),
            Self::Pause { actor, reason, .. } => (Wish::Pause, actor, reason),
            Self::Resume { actor, reason, .. } => (Wish::Resume, actor, reason),
            Self::Tenant { .. }
            | Self::Limit { .. }
            | Self::Archive { .. }
            | Self::Purge { .. }
            | Self::Run(_)
            | Self::Resolve { .. } => return None,
        };
        Some((self.run()?, Asked { wish, actor: actor.clone(), reason: reason.clone() }))
    }

    /// The command that asks for it.
    pub(super) fn asking((tenant, run_id): RunKey, Asked { wish, actor, reason }: Asked) -> Self {
        match wish {
            Wish::Cancel => Self::Cancel { tenant, run_id, actor, reason },
            Wish::Pause => Self::Pause { tenant, run_id, actor, reason },
            Wish::Resume => Self::Resume { tenant, run_id, actor, reason },
        }
    }
}

/// The call of a run that waits for somebody's word.
pub(super) fn call(run: &Run, step_id: &str) -> Result<CallId, AppError> {
    let call = CallId::parse(step_id).filter(|call| run.held(call).is_some());
    let nothing = || Refusal::NothingToResolve { run: run.id.clone(), call: step_id.to_owned() };
    call.ok_or_else(|| not_waiting(nothing().to_string()))
}

/// A run that is over is not steered.
pub(super) fn refuse_over(command: &Command, run: &Run) -> Result<(), AppError> {
    if run.seal.is_some() && command.wish().is_some() { Err(over(run)) } else { Ok(()) }
}

/// Whether a run can be paused, or can go on. A cancellation is judged by whoever carries it out.
pub(super) fn possible(wish: Wish, run: &Run) -> Result<(), AppError> {
    let id = &run.id;
    if wish == Wish::Cancel {
        return Ok(());
    }
    match (&run.seal, &run.cancel, &run.paused, wish) {
        (Some(_), ..) => Err(over(run)),
        (_, Some(_), ..) => Err(refused(&Refusal::CancelRequested(id.clone()))),
        (_, _, Some(_), Wish::Pause) => Err(refused(&Refusal::Paused(id.clone()))),
        (_, _, None, Wish::Resume) => Err(refused(&Refusal::NotPaused(id.clone()))),
        (_, _, Some(_) | None, Wish::Cancel | Wish::Pause | Wish::Resume) => Ok(()),
    }
}

fn over(run: &Run) -> AppError {
    AppError::new(Code::RunOver, format!("run `{}` is {}", run.id, run.status().word()))
        .hint("a run that is over stays as it is; `runproof get-run` shows how it ended")
}

pub(super) fn refused(refusal: &Refusal) -> AppError {
    let code = match refusal {
        Refusal::Paused(_) => Code::RunPaused,
        Refusal::NotPaused(_) => Code::RunNotPaused,
        Refusal::CancelRequested(_) => Code::RunCancelling,
        Refusal::Ended { .. }
        | Refusal::NothingToResolve { .. }
        | Refusal::NothingOpen { .. }
        | Refusal::Stuck(_)
        | Refusal::Plan(_)
        | Refusal::Draft(_) => return not_waiting(refusal.to_string()),
    };
    AppError::new(code, refusal.to_string()).hint("runproof get-run shows where the run stands")
}

/// A command as it is left for another process.
///
/// # Errors
/// [`AppError`] when it cannot be written as JSON.
pub fn encode(command: &Command) -> Result<String, AppError> {
    serde_json::to_string(command)
        .map_err(|error| AppError::new(Code::RequestAnswer, format!("the request cannot be written: {error}")))
}

/// What another process answered.
///
/// # Errors
/// [`AppError`]: the answer, or that it cannot be read.
pub fn decode(id: i64, answer: &str) -> Result<Done, AppError> {
    let unreadable = |error: serde_json::Error| {
        AppError::new(Code::RequestAnswer, format!("the answer to request {id} cannot be read: {error}"))
            .hint("the engine is another version of runproof: see with `runproof list-runs` what it did")
    };
    serde_json::from_str::<Result<Done, AppError>>(answer).map_err(unreadable)?
}

pub(super) fn busy(run_id: &str) -> AppError {
    not_waiting(format!("run `{run_id}` is being worked on: other steps of it are under way"))
}

fn not_waiting(message: String) -> AppError {
    AppError::new(Code::RunNotWaiting, message).hint("runproof get-run shows what a run waits for")
}

pub(super) fn done(run: &Run, existing: bool) -> Done {
    Done { run_id: Some(run.id.clone()), status: Some(run.status().word().to_owned()), existing }
}

/// The tenant has no such run.
pub fn no_run(tenant: &str, run_id: &str) -> AppError {
    let shown = printable(run_id);
    let message = match tenant {
        "*" => format!("run `{shown}` not found in any tenant"),
        tenant => format!("run `{shown}` not found in tenant `{}`", printable(tenant)),
    };
    AppError::new(Code::RunNotFound, message).hint("runproof list-runs")
}
