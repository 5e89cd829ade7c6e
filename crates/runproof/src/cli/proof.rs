//! `proof` and `last`: the database against its evidence, and the bundle that leaves the machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use runproof_proof::finding;
use runproof_proof::report::Report;
use runproof_proof::trust::Trust;
use runproof_store::Store;
use serde_json::json;

use super::verify::{ReportStyle, check, print};
use crate::app::App;
use crate::engine::no_run;
use crate::error::{AppError, Code};
use crate::output::{Output, shown};
use crate::prove::{self, prove};

/// How long `run` and `proof` wait for a checkpoint that covers the seal.
const ANCHOR_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a checkpoint may seem older than the kept head: the two are not read at the same moment.
const HEAD_TIMEOUT: Duration = Duration::from_millis(300);
const QUIET: Output = Output { json: true, verbose: false };

/// Checks a run in the database against its evidence.
#[derive(Args)]
pub(super) struct Proof {
    /// Run id
    run_id: String,
    /// Tenant
    #[arg(long)]
    tenant_id: String,
    /// Write the proof bundle to this file
    #[arg(long)]
    bundle: Option<PathBuf>,
    /// Show in the bundle that the log grew from this tree size
    #[arg(long)]
    since: Option<u64>,
    #[command(flatten)]
    style: ReportStyle,
}

impl Proof {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let store = app.reader().await?;
        let proof = proved(store.as_ref(), &self.tenant_id, &self.run_id, &app, self.since).await?;
        if let Some(path) = &self.bundle {
            export(&proof, path, self.since)?;
            output.note(&format!("bundle written to {}", path.display()));
        }
        print(output, &proof.report, self.style);
        Ok(proof.report.verdict().exit_code())
    }
}

/// Proves a run; waits a little for a checkpoint when that is all that is missing.
pub(super) async fn proved(
    store: &dyn Store,
    tenant: &str,
    run_id: &str,
    app: &App,
    since: Option<u64>,
) -> Result<prove::Proof, AppError> {
    let started = Instant::now();
    loop {
        let trust = app.home.trust()?;
        let proof = prove(store, tenant, run_id, &trust, since).await?.ok_or_else(|| no_run(tenant, run_id))?;
        let Some(limit) = patience(&proof.report) else { return Ok(proof) };
        if started.elapsed() > limit {
            return Ok(proof);
        }
        // Opening as the engine signs what is not signed yet; with a worker running, that one signs. Where it cannot, the
        // report says that nothing covers the run.
        if let Ok(Some(engine)) = app.engine(QUIET).await {
            drop(engine.close().await);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How long to wait for findings that pass by themselves: no checkpoint yet, or one that was read a moment before the
/// kept head. `None` when there is nothing to wait for.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other finding is final")]
fn patience(report: &Report) -> Option<Duration> {
    let mut limit = None;
    for finding in &report.findings {
        limit = match finding.code {
            finding::Code::CheckpointMissing => Some(ANCHOR_TIMEOUT),
            finding::Code::HeadOlder | finding::Code::HeadNotCompared => limit.or(Some(HEAD_TIMEOUT)),
            _ => return None,
        };
    }
    limit
}

/// Writes the bundle.
pub(super) fn export(proof: &prove::Proof, path: &Path, since: Option<u64>) -> Result<Vec<u8>, AppError> {
    let missing = || {
        AppError::new(
            Code::BundleNone,
            format!("run `{}` has no evidence to export, nothing was written", proof.report.run_id),
        )
        .hint("a row that somebody inserted by hand has none; `runproof proof` says more")
    };
    let mut bundle = proof.bundle.clone().ok_or_else(missing)?;
    match since {
        Some(since) if bundle.consistency.is_none() => {
            let message = format!("the log cannot show that it grew from size {since}, nothing was written");
            return Err(AppError::new(Code::BundleSince, message)
                .hint("--since is the size in a checkpoint that this log signed before"));
        }
        Some(_) => {}
        None => {
            bundle.consistency = None;
            bundle.header.since = None;
        }
    }
    let bytes = bundle.encode().map_err(|error| {
        AppError::new(
            Code::BundleEncode,
            format!("the bundle of run `{}` cannot be written: {error}", proof.report.run_id),
        )
        .hint("`runproof proof` without --bundle says what is wrong")
    })?;
    std::fs::write(path, &bytes).map_err(|error| {
        AppError::new(Code::FileUnwritable, format!("cannot write `{}`: {error}", path.display()))
            .hint("choose another --bundle")
    })?;
    Ok(bytes)
}

/// Exports and verifies the newest run.
#[derive(Args)]
pub(super) struct Last {
    /// Only of this tenant
    #[arg(long)]
    tenant_id: Option<String>,
    /// Where to write the bundle (default: `RUN_ID.runproof` in this folder)
    #[arg(long)]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    style: ReportStyle,
}

impl Last {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let store = app.reader_of(self.tenant_id.as_deref()).await?;
        let newest = store.list_runs(self.tenant_id.as_deref(), 1).await?.into_iter().next();
        let newest = newest.ok_or_else(|| {
            AppError::new(Code::RunNone, format!("there is no run yet in `{}`", app.database))
                .hint("runproof run --help")
        })?;
        let proof = proved(store.as_ref(), &newest.tenant_id, &newest.run_id, &app, None).await?;
        let path = self.bundle.unwrap_or_else(|| PathBuf::from(format!("{}.runproof", newest.run_id)));
        let bytes = export(&proof, &path, None)?;
        let verifier = app.home.signer()?.verifier();
        let trust = Trust::in_key("local", verifier.clone());
        let offline = check(&bytes, &trust);
        let worst = if offline.verdict() > proof.report.verdict() { &offline } else { &proof.report };
        let line = format!("runproof verify {} --key {}", path.display(), verifier.vkey());
        if output.json {
            let value = json!({ "proof": proof.report.to_json(), "verify": offline.to_json(), "bundle": shown(&path), "recheck": line });
            output.print(&value, String::new);
        } else {
            print(output, worst, self.style);
            output.print(&json!({}), || {
                format!("\nBundle written to {}. Somebody else checks it with\n  {line}\nThe key here is yours: they must get it from somewhere that you do not control.\n", path.display())
            });
        }
        Ok(worst.verdict().exit_code())
    }
}
