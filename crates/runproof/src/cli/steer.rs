//! `cancel`, `pause`, `resume` and `resolve`.

use clap::{Args, ValueEnum};
use runproof_proof::event::Resolution;
use serde_json::json;

use super::execute;
use super::list::find_tenant;
use crate::app::{App, local_actor};
use crate::engine::{Command, Done};
use crate::error::{AppError, Code};
use crate::output::Output;

/// Cancels a run. What is under way and cannot be stopped safely stays on record as unknown.
#[derive(Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    which: Which,
}

pub(super) fn clean(text: &str) -> Result<String, AppError> {
    if text.contains('\0') || text.chars().count() > 1000 {
        return Err(AppError::new(
            Code::ReasonInvalid,
            format!("the reason has {} characters, or U+0000 in it; nothing was written", text.chars().count()),
        )
        .hint("at most 1,000 characters"));
    }
    Ok(runproof_engine::redact::redact_text(text).into_owned())
}

fn report(output: Output, done: &Done, run_id: &str) {
    let status = done.status.clone().unwrap_or_default();
    output.print(&json!({ "run_id": run_id, "status": status }), || format!("run {run_id} is {status}\n"));
}

impl Cancel {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let command = |tenant, run_id, reason| Command::Cancel { tenant, run_id, actor: local_actor(), reason };
        self.which.tell(output, command).await
    }
}

/// Pauses a run: nothing is begun until it is resumed. What is under way ends and is recorded; the run's timeout goes on.
#[derive(Args)]
pub(super) struct Pause {
    #[command(flatten)]
    which: Which,
}

/// Lets a paused run go on. A worker takes it; retries whose time has come are made at once.
#[derive(Args)]
pub(super) struct Resume {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct Which {
    /// Run id
    run_id: String,
    /// Tenant (default: the one whose run it is)
    #[arg(long)]
    tenant_id: Option<String>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

impl Which {
    async fn tell(
        self,
        output: Output,
        command: impl FnOnce(String, String, Option<String>) -> Command,
    ) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let tenant =
            find_tenant(app.reader_of(self.tenant_id.as_deref()).await?.as_ref(), &self.run_id, self.tenant_id).await?;
        let reason = self.reason.as_deref().map(clean).transpose()?;
        let done = execute(&app, output, command(tenant, self.run_id.clone(), reason)).await?;
        report(output, &done, &self.run_id);
        Ok(0)
    }
}

impl Pause {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let command = |tenant, run_id, reason| Command::Pause { tenant, run_id, actor: local_actor(), reason };
        self.which.tell(output, command).await
    }
}

impl Resume {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let command = |tenant, run_id, reason| Command::Resume { tenant, run_id, actor: local_actor(), reason };
        self.which.tell(output, command).await
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// It took effect
    Done,
    /// It did not
    NotDone,
}

/// Says whether an attempt of unknown outcome took effect. Goes on record as your word, not the engine's.
#[derive(Args)]
pub(super) struct Resolve {
    /// Run id
    run_id: String,
    /// Step that waits; `STEP#3` for element 3 of a list, `STEP#fallback` for a fallback
    step: String,
    /// What you know
    resolution: What,
    /// How you know it
    #[arg(long)]
    reason: String,
    /// Tenant (default: the one whose run it is)
    #[arg(long)]
    tenant_id: Option<String>,
}

impl Resolve {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        if self.reason.trim().is_empty() {
            return Err(
                AppError::new(Code::ReasonBlank, "the reason is blank, nothing was written").hint("say how you know")
            );
        }
        let tenant =
            find_tenant(app.reader_of(self.tenant_id.as_deref()).await?.as_ref(), &self.run_id, self.tenant_id).await?;
        let resolution = match self.resolution {
            What::Done => Resolution::Done,
            What::NotDone => Resolution::NotDone,
        };
        let reason = clean(&self.reason)?;
        let command = Command::Resolve {
            tenant,
            run_id: self.run_id.clone(),
            step_id: self.step,
            resolution,
            actor: local_actor(),
            reason,
        };
        let done = execute(&app, output, command).await?;
        report(output, &done, &self.run_id);
        output.note("hint: a worker goes on with the run; without one: runproof worker --drain");
        Ok(0)
    }
}
