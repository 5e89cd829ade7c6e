//! `run`: opens a run, drives it or waits for the engine that does, and prints how it ended with its proof.

mod errors;
mod page;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runproof_engine::admission::{RunRequest, USUAL_PRIORITY, admit};
use runproof_engine::plan::{self, PlanFinding};
use runproof_engine::ports::Claimed;
use runproof_engine::run::RunStatus;
use runproof_proof::event::EndStatus;
use runproof_skills::registry::NoKeyValues;
use serde_json::{Value, json};

use super::inputs::Inputs;
use super::plan::read;
use super::proof::proved;
use super::{TAKE_OVER_EVERY, close, remark, request};
use crate::app::{App, local_actor};
use crate::engine::{Command, Engine, POLL, no_run};
use crate::error::AppError;
use crate::output::{Output, harmless};
use crate::runtime;

pub(super) use page::{Shown, steps_table};

/// Runs a goal or a plan, and waits for the end.
#[derive(Args)]
pub(super) struct Run {
    /// What the run is for; without --plan the stub planner makes a plan from it
    #[arg(long, short, required_unless_present = "plan")]
    goal: Option<String>,
    /// Plan as a JSON or YAML file (runproof.plan/v1, or the first system's); `-` reads stdin
    #[arg(long)]
    plan: Option<PathBuf>,
    #[command(flatten)]
    inputs: Inputs,
    /// Agent
    #[arg(long, short)]
    agent_id: String,
    /// Tenant
    #[arg(long)]
    tenant_id: String,
    /// The system that asks for the run
    #[arg(long, default_value = "cus-cli")]
    origin_system_id: String,
    /// The same key never makes a second run
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Mark the run as synthetic, of this scenario
    #[arg(long, value_name = "SCENARIO")]
    synthetic: Option<String>,
    /// Which runs of the tenant workers take first, 0 to 9: 9 before 0
    #[arg(long, default_value_t = USUAL_PRIORITY, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,
    /// Only queue the run; a worker runs it
    #[arg(long)]
    no_wait: bool,
}

impl Run {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let no_wait = self.no_wait;
        let mut request = self.request()?;
        // Everything that can be refused is refused here, before a request is left or a row is written; and what is
        // left for another process is stored, so private values are taken out of it here too.
        let warnings = prepare(&app, output, &mut request)?;
        let (tenant, run_id) = match app.engine(output).await? {
            Some(engine) => here(Arc::new(engine), request, no_wait, output).await?,
            None => elsewhere(&app, output, request, no_wait).await?,
        };
        let store = app.reader().await?;
        let shown = Shown::load(store.as_ref(), &tenant, &run_id).await?;
        let proof = if no_wait {
            Value::Null
        } else {
            proved(store.as_ref(), &tenant, &run_id, &app, None).await?.report.to_json()
        };
        let mut value = shown.json(Some(&proof));
        if !warnings.is_empty() {
            value["warnings"] = json!(warnings);
        }
        output.print(&value, || shown.text(&proof, output));
        Ok(if no_wait { 0 } else { exit_code(shown.run.status()) })
    }

    fn request(self) -> Result<RunRequest, AppError> {
        let plan = self.plan.as_deref().map(read).transpose()?;
        // What the first system called the goal of a plan.
        let named = plan.as_ref().and_then(|plan: &Value| plan.get("name").or_else(|| plan.get("goal")));
        let named = named.and_then(Value::as_str).map(str::to_owned);
        // A plan that is not valid declares nothing; it is refused with everything else that is wrong.
        let declared = plan.as_ref().and_then(|plan| plan::parse(plan).ok()).map(|plan| plan.inputs);
        let inputs = self.inputs.read(&declared.unwrap_or_default())?;
        let goal = self.goal.or(named).unwrap_or_else(|| "run a given plan".to_owned());
        Ok(RunRequest {
            run_id: runtime::new_id(),
            tenant: self.tenant_id,
            agent: self.agent_id,
            goal,
            plan,
            inputs,
            origin_system_id: self.origin_system_id,
            actor: local_actor(),
            synthetic_scenario_id: self.synthetic,
            idempotency_key: self.idempotency_key,
            priority: self.priority,
        })
    }
}

/// Judges a request, and makes of it what may be stored. Answers the warnings, after it has shown them.
fn prepare(app: &App, output: Output, request: &mut RunRequest) -> Result<Vec<PlanFinding>, AppError> {
    let admitted = admit(request.clone())?;
    request.goal = admitted.request.goal;
    let mut warnings = admitted.warnings;
    if let (Some(given), Ok(plan)) = (&request.plan, admitted.plan) {
        if plan::legacy::is_legacy(given) {
            output.note("the plan is one of the first system; its conversion is recorded: runproof plan convert");
        }
        warnings.extend(plan::check_skills(&plan.plan, &app.skills(Arc::new(NoKeyValues))?));
        request.plan = Some(plan.json);
    }
    for warning in &warnings {
        let (path, message) = (harmless(&warning.path), harmless(&warning.message));
        output.note(&format!("warning: {path}  {message}  [{}]", warning.code));
    }
    Ok(warnings)
}

/// Runs here: no other process is the only engine.
async fn here(
    engine: Arc<Engine>,
    request: RunRequest,
    no_wait: bool,
    output: Output,
) -> Result<(String, String), AppError> {
    let tenant = request.tenant.clone();
    remark(&engine, output);
    let (run, claimed, existing) = engine.open(request, !no_wait).await?;
    let run_id = run.id.clone();
    let driven = if no_wait || (claimed.is_none() && !existing) {
        Ok(())
    } else {
        finish(&engine, &tenant, &run_id, claimed).await
    };
    close(&engine, output).await;
    driven.map(|()| (tenant, run_id))
}

/// Sees a run through, and answers the requests of other processes meanwhile.
async fn finish(engine: &Arc<Engine>, tenant: &str, run_id: &str, claimed: Option<Claimed>) -> Result<(), AppError> {
    let requests = Arc::clone(engine);
    let answering = tokio::spawn(async move {
        loop {
            requests.answer_requests().await.ok(); // whoever asked waits, and looks again
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let driven = engine.see_through(tenant, run_id, claimed).await;
    answering.abort();
    answering.await.ok();
    driven.map(drop)
}

/// Leaves the run to the process that is the engine.
async fn elsewhere(
    app: &App,
    output: Output,
    request_body: RunRequest,
    no_wait: bool,
) -> Result<(String, String), AppError> {
    let tenant = request_body.tenant.clone();
    let done = request(app, output, &Command::Run(Box::new(request_body))).await?;
    let run_id = done.run_id.unwrap_or_default();
    output.note(&format!("run {run_id} left to the engine that is running"));
    if no_wait {
        return Ok((tenant, run_id));
    }
    let store = app.reader().await?;
    for turn in 1u32.. {
        let run = store.load_run(&tenant, &run_id).await?.ok_or_else(|| no_run(&tenant, &run_id))?;
        if matches!(run.status(), RunStatus::Ended(_) | RunStatus::Waiting | RunStatus::PendingApproval) {
            break;
        }
        // The engine may have ended without driving this run: then this process does.
        if turn.is_multiple_of(TAKE_OVER_EVERY)
            && let Some(engine) = app.engine(output).await?
        {
            finish(&Arc::new(engine), &tenant, &run_id, None).await?;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok((tenant, run_id))
}

/// Exit code for how a run stands.
pub(super) fn exit_code(status: RunStatus) -> u8 {
    match status {
        RunStatus::Ended(EndStatus::Succeeded) => 0,
        RunStatus::Ended(EndStatus::Failed) => 3,
        RunStatus::Ended(EndStatus::Halted) => 4,
        RunStatus::Queued | RunStatus::Running | RunStatus::Retry | RunStatus::Waiting | RunStatus::PendingApproval => {
            5
        }
        RunStatus::Ended(EndStatus::Cancelled) => 6,
    }
}
