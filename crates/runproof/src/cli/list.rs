//! `list-agents`, `list-runs` and `get-run`.

use clap::Args;
use runproof_store::{RunListing, Store};
use serde_json::{Value, json};

use super::run::run_json;
use crate::app::App;
use crate::engine::no_run;
use crate::error::AppError;
use crate::output::{Output, table};

/// Lists agents.
#[derive(Args)]
pub(super) struct ListAgents {
    /// Only of this tenant
    #[arg(long)]
    tenant_id: Option<String>,
}

impl ListAgents {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let agents = App::from_environment()?.reader()?.list_agents(self.tenant_id.as_deref()).await?;
        output.print(&json!({ "agents": agents }), || {
            let rows: Vec<Vec<String>> = agents
                .iter()
                .map(|agent| {
                    vec![agent.tenant_id.clone(), agent.id.clone(), agent.name.clone(), agent.created_at.clone()]
                })
                .collect();
            table(&["TENANT", "AGENT", "NAME", "CREATED"], &rows)
        });
        Ok(0)
    }
}

/// Lists runs, newest first.
#[derive(Args)]
pub(super) struct ListRuns {
    /// Only of this tenant
    #[arg(long)]
    tenant_id: Option<String>,
    /// Most runs to list
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

impl ListRuns {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let runs = App::from_environment()?.reader()?.list_runs(self.tenant_id.as_deref(), self.limit).await?;
        output.print(&json!({ "runs": runs }), || {
            table(&["RUN", "NO", "TENANT", "AGENT", "STATUS", "WAITS FOR", "CREATED"], &rows(&runs))
        });
        Ok(0)
    }
}

fn rows(runs: &[RunListing]) -> Vec<Vec<String>> {
    let waits = |run: &RunListing| match (&run.wait_reason, &run.wait_ref) {
        (Some(reason), Some(reference)) => format!("{reason} {reference}"),
        (Some(reason), None) => reason.clone(),
        (None, _) => String::new(),
    };
    runs.iter()
        .map(|run| {
            let number = run.run_no.map(|number| number.to_string()).unwrap_or_default();
            vec![
                run.run_id.clone(),
                number,
                run.tenant_id.clone(),
                run.agent_id.clone(),
                run.status.clone(),
                waits(run),
                run.created_at.clone(),
            ]
        })
        .collect()
}

/// Shows one run.
#[derive(Args)]
pub(super) struct GetRun {
    /// Run id
    run_id: String,
    /// Only if it belongs to this tenant
    #[arg(long)]
    tenant_id: Option<String>,
}

impl GetRun {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let store = App::from_environment()?.reader()?;
        let tenant = find_tenant(&store, &self.run_id, self.tenant_id).await?;
        let run = store.load_run(&tenant, &self.run_id).await?.ok_or_else(|| no_run(&tenant, &self.run_id))?;
        let value = run_json(&run, None);
        output.print(&value, || super::run::run_text(&run, &Value::Null, output));
        Ok(0)
    }
}

/// The tenant of a run: the one given, or the one whose run it is.
pub(super) async fn find_tenant(store: &dyn Store, run_id: &str, tenant: Option<String>) -> Result<String, AppError> {
    if let Some(tenant) = tenant {
        return Ok(tenant);
    }
    let runs = store.list_runs(None, usize::MAX >> 1).await?;
    runs.into_iter().find(|run| run.run_id == run_id).map(|run| run.tenant_id).ok_or_else(|| no_run("*", run_id))
}
