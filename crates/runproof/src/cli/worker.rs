//! `worker`: drives queued runs and answers requests, until it is stopped or everything is done.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runproof_engine::ports::Journal;
use runproof_proof::finding::counted;
use serde_json::json;
use tokio::task::JoinSet;

use crate::app::App;
use crate::engine::Engine;
use crate::error::{AppError, Code};
use crate::output::Output;
use crate::runtime;

const POLL: Duration = Duration::from_millis(25);

/// Works on queued runs until stopped (Ctrl-C finishes what is under way).
#[derive(Args)]
pub(super) struct Worker {
    /// Stop when every run is over or waits for somebody
    #[arg(long)]
    drain: bool,
    /// Most runs at the same time
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
}

impl Worker {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let engine = app.engine(output)?.ok_or_else(|| {
            AppError::new(Code::StoreBusy, format!("another process is the engine of `{}`", app.database.display()))
                .hint("one worker is enough for the embedded store")
        })?;
        let engine = Arc::new(engine);
        if self.concurrency == 0 {
            return Err(AppError::new(Code::UsageArgument, "--concurrency is 0, at least 1 run has to go on")
                .hint("leave it out for 16"));
        }
        output.note(&format!("working on {}", app.database.display()));
        let driven = self.work(&engine, output).await?;
        output.print(&json!({ "driven": driven }), || format!("{} driven\n", counted(driven, "run", "runs")));
        Ok(0)
    }

    async fn work(&self, engine: &Arc<Engine>, output: Output) -> Result<u64, AppError> {
        let mut tasks: JoinSet<Result<(), AppError>> = JoinSet::new();
        let mut driven = 0;
        let mut stop = std::pin::pin!(stopped());
        let mut stopping = false;
        loop {
            while let Some(ended) = tasks.try_join_next() {
                report(output, ended);
            }
            let mut busy = engine.answer_requests().await? > 0;
            let free = self.concurrency.saturating_sub(tasks.len());
            if free > 0 && !stopping && engine.store.has_due(runtime::now())? {
                for claimed in engine.store.claim(&engine.worker, runtime::now(), free).await? {
                    let engine = Arc::clone(engine);
                    driven += 1;
                    busy = true;
                    tasks.spawn(async move { engine.drive_once(claimed).await.map(drop) });
                }
            }
            let idle = tasks.is_empty() && !busy;
            if idle && (stopping || (self.drain && !engine.store.has_due(u64::MAX >> 1)?)) {
                return Ok(driven);
            }
            if !busy {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    Some(ended) = tasks.join_next(), if !tasks.is_empty() => report(output, ended),
                    () = &mut stop, if !stopping => {
                        stopping = true;
                        output.note("stopping: waiting for what is under way");
                    }
                }
            }
        }
    }
}

/// A run that could not be driven on is not lost: its claim is given back at the next start.
fn report(output: Output, ended: Result<Result<(), AppError>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => output.error(&error),
        Err(error) => output.error(
            &AppError::new(Code::WorkerTask, format!("a run's task ended without an answer: {error}"))
                .hint("its run goes on at the next start"),
        ),
    }
}

/// Ends on Ctrl-C or SIGTERM.
async fn stopped() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let Ok(mut terminate) = terminate else {
        tokio::signal::ctrl_c().await.ok();
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
