//! `limits` and `set-limit`.

use clap::Args;
use serde_json::json;

use super::execute;
use crate::app::App;
use crate::engine::Command;
use crate::error::AppError;
use crate::output::{Output, table};

/// Shows the limits on runs that are going at once.
#[derive(Args)]
pub(super) struct Limits {
    /// Tenant
    #[arg(long)]
    tenant_id: String,
}

impl Limits {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let limits = App::from_environment()?.reader().await?.limits(&self.tenant_id).await?;
        output.print(&json!({ "limits": limits }), || {
            let rows: Vec<Vec<String>> = limits
                .iter()
                .map(|limit| {
                    let agent = limit.agent_id.clone().unwrap_or_else(|| "(all)".to_owned());
                    vec![limit.tenant_id.clone(), agent, limit.max_running.to_string(), limit.running.to_string()]
                })
                .collect();
            table(&["TENANT", "AGENT", "MOST", "RUNNING"], &rows)
        });
        Ok(0)
    }
}

/// A number of runs, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Most(Option<u32>);

fn most(text: &str) -> Result<Most, String> {
    match text {
        "none" => Ok(Most(None)),
        number => number.parse().map(|most| Most(Some(most))).map_err(|_| "a number of runs, or `none`".to_owned()),
    }
}

/// Sets the most runs of a tenant, or of one of its agents, that workers hold at once.
#[derive(Args)]
pub(super) struct SetLimit {
    /// Tenant
    #[arg(long)]
    tenant_id: String,
    /// Agent (default: all runs of the tenant)
    #[arg(long)]
    agent_id: Option<String>,
    /// Most runs, or `none`; 0 lets workers begin none. Runs that are going already go on
    #[arg(long, value_name = "N|none", value_parser = most)]
    max_running: Most,
}

impl SetLimit {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let Self { tenant_id, agent_id, max_running: Most(max_running) } = self;
        let command = Command::Limit { tenant: tenant_id.clone(), agent: agent_id.clone(), max_running };
        execute(&app, output, command).await?;
        let value = json!({ "tenant_id": tenant_id, "agent_id": agent_id, "max_running": max_running });
        output.print(&value, || {
            let whose = agent_id.map_or(format!("tenant {tenant_id}"), |agent| format!("agent {agent} of {tenant_id}"));
            match max_running {
                Some(most) => format!(
                    "at most {} of {whose} at once\n",
                    runproof_proof::finding::counted(u64::from(most), "run", "runs")
                ),
                None => format!("no limit on runs of {whose}\n"),
            }
        });
        Ok(0)
    }
}
