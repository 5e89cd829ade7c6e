//! `worker` and `list-workers`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runproof_proof::finding::counted;
use runproof_store::WorkerRow;
use serde_json::json;

use super::remark;
use crate::app::App;
use crate::error::{AppError, Code};
use crate::output::{Output, harmless, table};
use crate::worker::{Options, work};

/// Works on queued runs until stopped. Ctrl-C or SIGTERM takes nothing new and finishes what is under way; a second one
/// ends at once.
#[derive(Args)]
pub(super) struct Worker {
    /// Stop when every run is over or waits for somebody
    #[arg(long)]
    drain: bool,
    /// Most runs at the same time
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Seconds that what is under way may go on after Ctrl-C or SIGTERM, before runs are given back at their next step
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    drain_timeout: u64,
}

impl Worker {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let engine = app.engine(output).await?.ok_or_else(|| {
            AppError::new(Code::StoreBusy, format!("another process is the engine of `{}`", app.database))
                .hint("one worker is enough for the embedded store")
        })?;
        if self.concurrency == 0 {
            return Err(AppError::new(Code::UsageArgument, "--concurrency is 0, at least 1 run has to go on")
                .hint("leave it out for 16"));
        }
        output.note(&format!("working on {}", app.database));
        remark(&engine, output);
        let options = Options {
            concurrency: self.concurrency,
            drain: self.drain,
            drain_timeout: Duration::from_secs(self.drain_timeout),
        };
        let driven = work(Arc::new(engine), options, output).await?;
        output.print(&json!({ "driven": driven }), || format!("{} driven\n", counted(driven, "run", "runs")));
        Ok(0)
    }
}

/// Lists the workers of a shared database. The embedded store has at most one, and keeps no list.
#[derive(Args)]
pub(super) struct ListWorkers {}

impl ListWorkers {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let store = App::from_environment()?.reader().await?;
        let workers = store.list_workers().await?;
        output.print(&json!({ "workers": workers }), || {
            let head = ["WORKER", "STATE", "VERSION", "HOST", "RUNNING", "CONCURRENCY", "LEASE UNTIL", "STARTED"];
            table(&head, &workers.iter().map(row).collect::<Vec<_>>())
        });
        if store.lease().is_none() {
            output.note("the embedded store has one worker at most, and keeps no list");
        }
        Ok(0)
    }
}

fn row(worker: &WorkerRow) -> Vec<String> {
    vec![
        worker.id.clone(),
        worker.state.to_owned(),
        harmless(&worker.version),
        harmless(&worker.host),
        worker.running.to_string(),
        worker.concurrency.to_string(),
        worker.lease_until.clone().unwrap_or_default(),
        worker.started_at.clone(),
    ]
}
