//! `log verify`: the whole ledger. It reads the database and writes nothing to it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use runproof_proof::finding::counted;
use runproof_proof::trust::Trust;
use runproof_store::Snapshot;
use runproof_store::sqlite::VerifyState;
use tokio::task::block_in_place;

use super::super::verify::TrustArgs;
use crate::app::App;
use crate::error::{AppError, Code};
use crate::ledger::{Outcome, Progress, proofs, verify};
use crate::output::Output;

/// How long to wait for a moment at which everything is signed: an engine at work signs after it wrote.
const SIGNED_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);
const BAR: u64 = 30;

/// Verifies the whole ledger.
#[derive(Args)]
pub(in crate::cli) struct Verify {
    /// Keep in this file how far it came; an interrupted verification goes on from there
    #[arg(long)]
    state: Option<PathBuf>,
    /// Begin where the last complete verification with this state ended; weaker than a whole one
    #[arg(long, requires = "state")]
    since_last: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

impl Verify {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let store = app.reader_of(None).await?;
        let started = Instant::now();
        let (trust, snapshot) = loop {
            // The kept head first: the database may only be newer.
            let trust = self.trust.read(|| app.home.trust())?;
            let (snapshot, signed) = block_in_place(|| {
                let snapshot = store.snapshot()?;
                let signed = is_signed(snapshot.as_ref())?;
                Ok::<_, AppError>((snapshot, signed))
            })?;
            if signed || started.elapsed() > SIGNED_TIMEOUT {
                break (trust, snapshot);
            }
            block_in_place(|| drop(snapshot));
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let state = VerifyState::open(self.state.as_deref()).map_err(|error| {
            AppError::new(Code::StateUnusable, error.to_string())
                .hint("a file that `log verify --state` wrote, or none, and no other verification that uses it")
        })?;
        block_in_place(|| self.verify(output, snapshot.as_ref(), &state, &trust))
    }

    fn verify(
        &self,
        output: Output,
        snapshot: &dyn Snapshot,
        state: &VerifyState,
        trust: &Trust,
    ) -> Result<u8, AppError> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let waiter = tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                asked.store(true, Ordering::Relaxed);
            }
        });
        let mut drawn = Instant::now();
        let mut tick = |progress: Progress| {
            if output.progress() && drawn.elapsed() > DRAW_EVERY {
                drawn = Instant::now();
                output.bar(&bar(progress));
            }
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let outcome = verify(snapshot, state, trust, self.since_last, &mut tick);
        waiter.abort();
        output.bar("");
        match outcome? {
            Outcome::Done(report) => {
                output.print(&report.to_json(), || report.to_text());
                Ok(report.verdict().exit_code())
            }
            Outcome::Interrupted { leaves } => {
                let hint = if self.state.is_some() {
                    "the same command goes on from there"
                } else {
                    "with --state FILE it can go on later"
                };
                let leaves = counted(leaves, "leaf", "leaves");
                let message = format!("interrupted at {leaves}; nothing is said about the ledger");
                Err(AppError::new(Code::LogInterrupted, message).hint(hint))
            }
        }
    }
}

/// Whether the newest checkpoint covers every leaf.
fn is_signed(snapshot: &dyn Snapshot) -> Result<bool, AppError> {
    let signed = proofs::newest(snapshot)?.map_or(0, |(_, _, checkpoint)| checkpoint.size);
    Ok(signed >= snapshot.size()?)
}

fn bar(progress: Progress) -> String {
    let Progress { what, done, total } = progress;
    let filled = (done * BAR).checked_div(total).unwrap_or(BAR).min(BAR);
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    let (full, empty) = ("#".repeat(filled as usize), ".".repeat((BAR - filled) as usize));
    format!("[{full}{empty}] {percent:>3}%  {done} of {total} {what}")
}
