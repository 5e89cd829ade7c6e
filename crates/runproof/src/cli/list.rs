//! `list-agents`, `list-runs` and `get-run`.

use clap::Args;
use runproof_engine::run::Run;
use runproof_proof::finding::printable;
use runproof_store::{KeptRun, RunListing, Store};
use serde_json::{Value, json};

use super::run::Shown;
use crate::app::App;
use crate::engine::no_run;
use crate::error::{AppError, Code};
use crate::output::{Output, json as json_text, table};

/// Lists agents.
#[derive(Args)]
pub(super) struct ListAgents {
    /// Only of this tenant
    #[arg(long)]
    tenant_id: Option<String>,
}

impl ListAgents {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let agents = App::from_environment()?
            .reader_of(self.tenant_id.as_deref())
            .await?
            .list_agents(self.tenant_id.as_deref())
            .await?;
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
    /// Also list the archived and purged runs
    #[arg(long)]
    all: bool,
}

impl ListRuns {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let store = App::from_environment()?.reader_of(self.tenant_id.as_deref()).await?;
        let runs = store.list_runs(self.tenant_id.as_deref(), self.limit).await?;
        let mut kept = store.list_kept(self.tenant_id.as_deref()).await?;
        kept.retain(|kept| runs.iter().all(|run| (&run.tenant_id, &run.run_id) != (&kept.tenant_id, &kept.run_id)));
        let count = |state: &str| kept.iter().filter(|run| run.state == state).count();
        let mut value = json!({ "runs": runs, "archived": count("archived"), "purged": count("purged") });
        if self.all {
            value["kept"] = json!(kept);
        }
        output.print(&value, || {
            let mut text = table(&["RUN", "NO", "TENANT", "AGENT", "STATUS", "WAITS FOR", "CREATED"], &rows(&runs));
            if self.all && !kept.is_empty() {
                text.push('\n');
                text.push_str(&table(&["RUN", "NO", "TENANT", "STATE", "SINCE"], &kept_rows(&kept)));
            } else if !kept.is_empty() {
                let (archived, purged) = (count("archived"), count("purged"));
                text.push_str(&format!("{archived} archived and {purged} purged; --all lists them\n"));
            }
            text
        });
        Ok(0)
    }
}

fn kept_rows(kept: &[KeptRun]) -> Vec<Vec<String>> {
    let row = |run: &KeptRun| {
        let number = run.run_no.to_string();
        vec![run.run_id.clone(), number, run.tenant_id.clone(), run.state.to_owned(), run.since.clone()]
    };
    kept.iter().map(row).collect()
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

/// Shows one run, or what its steps put out.
#[derive(Args)]
pub(super) struct GetRun {
    /// Run id
    run_id: String,
    /// Only if it belongs to this tenant
    #[arg(long)]
    tenant_id: Option<String>,
    /// Print the output of this step, named by its id or `output_key`; without STEP those of all steps by id
    #[arg(long, value_name = "STEP")]
    output: Option<Option<String>>,
}

impl GetRun {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let store = App::from_environment()?.reader_of(self.tenant_id.as_deref()).await?;
        let tenant = find_tenant(store.as_ref(), &self.run_id, self.tenant_id).await?;
        let shown = Shown::load(store.as_ref(), &tenant, &self.run_id).await?;
        match &self.output {
            None => output.print(&shown.json(None), || shown.text(&Value::Null, output)),
            Some(step) => {
                let value =
                    step.as_deref().map_or_else(|| Ok(all_outputs(&shown.run)), |step| output_of(&shown.run, step))?;
                output.print(&value, || json_text(&value));
            }
        }
        Ok(0)
    }
}

/// The outputs of the steps that have one, by id.
fn all_outputs(run: &Run) -> Value {
    let steps = run.plan.iter().flat_map(|plan| &plan.steps);
    steps.filter_map(|step| Some((step.id.clone(), run.output(&step.id)?.clone()))).collect()
}

/// The output of a step, by its id or else its `output_key`.
fn output_of(run: &Run, name: &str) -> Result<Value, AppError> {
    let steps = || run.plan.iter().flat_map(|plan| &plan.steps);
    let keyed = || steps().find(|step| step.output_key.as_deref() == Some(name));
    let step = steps().find(|step| step.id == name).or_else(keyed);
    if let Some(output) = step.and_then(|step| run.output(&step.id)) {
        return Ok(output.clone());
    }
    let message = match step {
        None => format!("run `{}` has no step and no output_key `{}`", run.id, printable(name)),
        Some(step) => match run.steps.iter().rfind(|settled| settled.step.step_id == step.id) {
            None => format!("step `{}` of run `{}` has not settled, so it has no output yet", step.id, run.id),
            Some(settled) => {
                format!("step `{}` of run `{}` has no output: its status is {}", step.id, run.id, settled.step.status)
            }
        },
    };
    let with: Vec<&str> = steps().filter(|step| run.output(&step.id).is_some()).map(|step| step.id.as_str()).collect();
    let hint = match with.as_slice() {
        [] => "no step of this run has an output".to_owned(),
        with => format!("steps with an output: {}", with.join(", ")),
    };
    Err(AppError::new(Code::OutputMissing, message).hint(hint))
}

/// The tenant of a run: the one given, or the one whose run it is.
pub(super) async fn find_tenant(store: &dyn Store, run_id: &str, tenant: Option<String>) -> Result<String, AppError> {
    if let Some(tenant) = tenant {
        return Ok(tenant);
    }
    let runs = store.list_runs(None, usize::MAX >> 1).await?;
    if let Some(run) = runs.into_iter().find(|run| run.run_id == run_id) {
        return Ok(run.tenant_id);
    }
    let kept = store.list_kept(None).await?.into_iter().find(|run| run.run_id == run_id);
    kept.map(|run| run.tenant_id).ok_or_else(|| no_run("*", run_id))
}
