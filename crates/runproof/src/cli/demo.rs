//! `demo`: a run, its proof, and tampering found, on an empty machine and without network.
//!
//! Everything is real: its own HTTP target on loopback, the engine, the store, the bundle and the verifier.

mod target;

use std::path::{Path, PathBuf};

use clap::Args;
use runproof_engine::admission::{RunRequest, USUAL_PRIORITY};
use runproof_engine::run::Run;
use runproof_proof::finding::Verdict;
use runproof_proof::trust::Trust;
use runproof_skills::egress::Egress;
use runproof_store::TenantChange;
use runproof_store::sqlite::{SqliteStore, forge_cost};
use serde_json::{Value, json};

use super::init::initialise;
use super::proof::{export, proved};
use super::run::steps_table;
use super::verify::check;
use crate::app::{App, Database, local_actor};
use crate::engine::Command;
use crate::error::{AppError, Code};
use crate::home::Home;
use crate::output::{Output, shown};
use crate::prove::prove;
use crate::runtime;

const TENANT: &str = "demo";
const AGENT: &str = "shopkeeper";
/// Name of the database file below the home.
const DATABASE: &str = "runproof.db";
/// The step whose cost is forged.
const FORGED: &str = "stock";

/// Shows a run, its proof, and tampering found. Needs no network and leaves one folder.
#[derive(Args)]
pub(super) struct Demo {
    /// Folder for the database and the bundle (default: a new one for temporary files)
    #[arg(long)]
    folder: Option<PathBuf>,
}

struct Page {
    output: Output,
    colour: bool,
}

impl Page {
    fn say(&self, text: &str) {
        if !self.output.json {
            self.output.print(&Value::Null, || format!("{text}\n"));
        }
    }

    fn head(&self, number: u32, text: &str) {
        self.say(&format!("\n{}", self.paint("1;36", &format!("{number}. {text}"))));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn verdict(&self, verdict: Verdict) -> String {
        self.paint(if verdict == Verdict::Verified { "1;32" } else { "1;31" }, verdict.word())
    }
}

impl Demo {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let page = Page { output, colour: output.colour() };
        let folder =
            self.folder.unwrap_or_else(|| std::env::temp_dir().join(format!("runproof-demo-{}", runtime::new_id())));
        let server = target::Target::start().await?;
        let app = app(&folder, server.address())?;
        initialise(&app, None).await?;

        page.head(1, "A plan of five steps runs");
        page.say("A shop reads its prices, asks a stock service that fails at first, reserves an item, tells a");
        page.say("pager that is not there, and sums up. Every step is recorded before and after it happens.\n");
        let run = run_plan(&app, output, server.address()).await?;
        page.say(steps_table(&run).trim_end());
        let status = page.paint("1;32", run.status().word());
        page.say(&format!("\nrun {} {status}: one retry, one failure that the plan handles", run.id));

        page.head(2, "The proof leaves the machine as one file");
        let store = app.reader().await?;
        let proof = proved(store.as_ref(), TENANT, &run.id, &app, None).await?;
        let bundle = folder.join("demo.runproof");
        let bytes = export(&proof, &bundle, None)?;
        let key = app.home.signer()?.verifier();
        page.say(&format!(
            "bundle  {} ({} bytes, {} events)",
            bundle.display(),
            bytes.len(),
            proof.report.events.len()
        ));
        page.say(&format!("key     {}", key.vkey()));

        page.head(3, "Anybody can check it, offline, with the file and the key alone");
        let offline = check(&bytes, &Trust::in_key("--key", key.clone()));
        page.say(&format!("$ runproof verify {} --key {}", bundle.display(), key.vkey()));
        page.say(&format!("{}  {}", page.verdict(offline.verdict()), offline.verdict().meaning()));

        page.head(4, "Somebody changes one digit in a copy of the database");
        let copy = folder.join("forged.db");
        let (before, after) = forge_cost(&app.home.folder().join(DATABASE), &copy, &run.id, FORGED)?;
        page.say(&format!(
            "UPDATE aos_trace_steps SET cost_microcents = {after} WHERE step_id = '{FORGED}'  -- was {before}"
        ));
        let forged = prove(&SqliteStore::open_reader(&copy)?, TENANT, &run.id, &app.home.trust()?, None).await?;
        let forged = forged
            .ok_or_else(|| AppError::new(Code::DemoFailed, format!("the copy has lost run `{}`", run.id)))?
            .report;
        page.say(&format!("{}  {}", page.verdict(forged.verdict()), forged.verdict().meaning()));
        let finding = forged.decisive().cloned();
        if let Some(finding) = &finding {
            page.say(&format!("  place     {}", page.paint("1", &finding.place)));
            page.say(&format!("  expected  {}", finding.expected));
            page.say(&format!("  got       {}", page.paint("31", &finding.got)));
        }

        page.say(&format!("\nEverything is in {}; delete it when you have seen enough.", folder.display()));
        page.say("next: runproof init, then your own plan: see docs/guide/plans.md");
        let value = json!({
            "run_id": run.id, "status": run.status().word(), "steps": run.steps.len(), "bundle": shown(&bundle), "vkey": key.vkey(),
            "verify": offline.verdict(), "forged": { "verdict": forged.verdict(), "finding": finding }, "folder": shown(&folder),
        });
        if output.json {
            output.print(&value, String::new);
        }
        let shown = offline.verdict() == Verdict::Verified && forged.verdict() == Verdict::Tampered;
        if shown {
            Ok(0)
        } else {
            Err(AppError::new(Code::DemoFailed, "the demo did not end with VERIFIED and TAMPERED"))
        }
    }
}

fn app(folder: &Path, address: std::net::SocketAddr) -> Result<App, AppError> {
    std::fs::create_dir_all(folder).map_err(|error| {
        AppError::new(Code::DemoFolder, format!("cannot create `{}`: {error}", folder.display()))
            .hint("choose another --folder")
    })?;
    let home = Home::at(folder.join("home"));
    if home.key_path().exists() {
        return Err(AppError::new(Code::DemoFolder, format!("`{}` has a demo in it already", folder.display()))
            .hint("choose another --folder"));
    }
    let egress = Egress::parse(&address.to_string())
        .map_err(|error| AppError::new(Code::DemoFailed, format!("the demo may not call itself: {error}")))?;
    let database = Database::Sqlite(home.folder().join(DATABASE));
    Ok(App { home, database, egress, test_skills: false })
}

async fn run_plan(app: &App, output: Output, address: std::net::SocketAddr) -> Result<Run, AppError> {
    let engine = app.engine(output).await?.ok_or_else(|| {
        AppError::new(Code::StoreBusy, format!("another demo runs in `{}`", app.home.folder().display()))
            .hint("choose another --folder")
    })?;
    for change in
        [TenantChange::Create, TenantChange::CreateAgent { id: AGENT.to_owned(), name: "Shopkeeper".to_owned() }]
    {
        engine.execute(Command::Tenant { tenant: TENANT.to_owned(), change, actor: local_actor() }).await?;
    }
    let request = RunRequest {
        run_id: runtime::new_id(),
        tenant: TENANT.to_owned(),
        agent: AGENT.to_owned(),
        goal: "reserve the cheapest item".to_owned(),
        plan: Some(plan(address)),
        inputs: None,
        origin_system_id: "demo".to_owned(),
        actor: local_actor(),
        synthetic_scenario_id: Some("demo".to_owned()),
        idempotency_key: None,
        priority: USUAL_PRIORITY,
    };
    let (_, claimed, _) = engine.open(request, true).await?;
    let claimed =
        claimed.ok_or_else(|| AppError::new(Code::DemoFailed, "the demo's run was claimed by somebody else"))?;
    Ok(engine.see_through(TENANT, &claimed.run.id.clone(), Some(claimed)).await?.0)
}

fn plan(address: std::net::SocketAddr) -> Value {
    json!({
        "schema": "runproof.plan/v1",
        "name": "demo",
        "steps": [
            { "id": "prices", "skill": "http_call", "with": { "url": format!("http://{address}/prices") } },
            { "id": "stock", "skill": "http_call", "with": { "url": format!("http://{address}/stock") },
              "retry": { "max_attempts": 3, "initial_delay_ms": 100 } },
            { "id": "reserve", "skill": "http_call",
              "with": { "url": format!("http://{address}/reservations/lamp"), "method": "PUT",
                        "body": { "item": "lamp", "price_cents": "{{ steps.prices.output.body.lamp }}", "shelf": "{{ steps.stock.output.body.shelf }}" } } },
            { "id": "page", "skill": "http_call", "on_error": "continue",
              "with": { "url": format!("http://{address}/pager"), "method": "POST", "body": { "text": "a lamp is reserved" } } },
            { "id": "sum_up", "skill": "json_transform",
              "with": { "payload": { "reservation": "{{ steps.reserve.output.body }}", "goal": "{{ goal }}" },
                        "mapping": { "id": "reservation.id", "for": "goal" } } },
        ],
    })
}
