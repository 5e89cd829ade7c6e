//! `proof` and `last`: the database against its evidence, and the bundle that leaves the machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use runproof_proof::finding;
use runproof_proof::report::{Report, Style};
use runproof_proof::trust::Trust;
use runproof_store::{Leaves, Store};
use serde_json::json;

use super::verify::{ReportStyle, check, print};
use crate::app::App;
use crate::engine::no_run;
use crate::error::{AppError, Code};
use crate::output::{Output, shown};
use crate::prove::{self, Kept, prove};

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
        show(output, &proof, self.style);
        Ok(proof.report.verdict().exit_code())
    }
}

/// Prints the report, and what of the run is kept where its rows are gone.
fn show(output: Output, proof: &prove::Proof, style: ReportStyle) {
    let mut value = proof.report.to_json();
    let more = match &proof.kept {
        Kept::Rows => String::new(),
        Kept::Archive { archived_at } => {
            value["archived_at"] = json!(archived_at);
            format!("\nThe run is archived since {archived_at}: this is about its archive.\n")
        }
        Kept::Tombstone(stone) => {
            let row = &stone.row;
            value["tombstone"] = json!({
                "run_no": row.run_no,
                "leaves": row.leaves,
                "seal": row.seal,
                "run_root": row.run_root,
                "purged_at": row.purged_at,
                "inclusion_proof": stone.proof.as_ref().map(|proof| proof.encode()),
            });
            format!(
                "\nThe run was purged at {}. Its tombstone shows that it existed, its length and how it ended:\n  seal      {}\n  leaves    {}\n  run root  {}\n",
                finding::printable(&row.purged_at),
                finding::printable(&row.seal),
                finding::printable(&row.leaves),
                finding::printable(&row.run_root),
            )
        }
    };
    let style = Style { colour: output.colour(), events: style.events || output.verbose, explain: style.explain };
    output.print(&value, || proof.report.to_text(style) + &more);
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

/// The newest run that has rows; without one, the archived run with the last place in the ledger.
async fn newest(store: &dyn Store, tenant: Option<&str>) -> Result<Option<(String, String)>, AppError> {
    if let Some(run) = store.list_runs(tenant, 1).await?.into_iter().next() {
        return Ok(Some((run.tenant_id, run.run_id)));
    }
    let archived = store.list_kept(tenant).await?.into_iter().filter(|run| run.state == "archived");
    let newest = archived.max_by_key(|run| Leaves::parse(&run.leaves).and_then(|leaves| leaves.last()));
    Ok(newest.map(|run| (run.tenant_id, run.run_id)))
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
        let (tenant, run_id) = newest(store.as_ref(), self.tenant_id.as_deref()).await?.ok_or_else(|| {
            AppError::new(Code::RunNone, format!("there is no run yet in `{}`", app.database))
                .hint("runproof run --help")
        })?;
        let proof = proved(store.as_ref(), &tenant, &run_id, &app, None).await?;
        let path = self.bundle.unwrap_or_else(|| PathBuf::from(format!("{run_id}.runproof")));
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
