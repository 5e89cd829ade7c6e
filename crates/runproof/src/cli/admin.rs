//! `create-tenant` and `create-agent`.

use clap::Args;
use runproof_proof::finding::printable;
use runproof_store::TenantChange;
use serde_json::json;

use super::execute;
use crate::app::{App, local_actor};
use crate::engine::Command;
use crate::error::{AppError, Code};
use crate::output::Output;

/// Creates a tenant.
#[derive(Args)]
pub(super) struct CreateTenant {
    /// Id of the tenant: 1 to 64 of A-Z a-z 0-9 _ . : -
    #[arg(long)]
    id: String,
}

fn check_id(what: &str, id: &str) -> Result<(), AppError> {
    if runproof_proof::event::is_id(id) {
        return Ok(());
    }
    let shown = printable(id);
    Err(AppError::new(Code::RequestId, format!("{what} `{shown}` is not an id, nothing was written"))
        .hint("1 to 64 of A-Z a-z 0-9 _ . : -"))
}

impl CreateTenant {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        check_id("tenant", &self.id)?;
        let command = Command::Tenant { tenant: self.id.clone(), change: TenantChange::Create, actor: local_actor() };
        execute(&app, output, command).await?;
        output.print(&json!({ "tenant_id": self.id }), || {
            format!("created tenant {}\nnext: runproof create-agent --name NAME --tenant-id {}\n", self.id, self.id)
        });
        Ok(0)
    }
}

/// Creates an agent.
#[derive(Args)]
pub(super) struct CreateAgent {
    /// Name for people
    #[arg(long, short)]
    name: String,
    /// Tenant
    #[arg(long)]
    tenant_id: String,
    /// Id of the agent (default: the name, with other characters as `-`)
    #[arg(long)]
    id: Option<String>,
}

impl CreateAgent {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let app = App::from_environment()?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        let id = self.id.unwrap_or_else(|| self.name.chars().map(|c| if allowed(c) { c } else { '-' }).collect());
        check_id("agent", &id)?;
        if id == "legacy-unknown" || self.name.contains('\0') {
            return Err(AppError::new(
                Code::RequestId,
                format!("agent name `{}` is reserved or has U+0000 in it, nothing was written", printable(&self.name)),
            )
            .hint("choose another --name"));
        }
        if !runproof_engine::redact::literal_secrets_in_text(&self.name).is_empty() {
            return Err(AppError::new(
                Code::NameLiteralSecret,
                "the agent's name holds a literal secret, nothing was written",
            )
            .hint("choose a --name without it, and change the secret: it may be in the history of your shell"));
        }
        let change = TenantChange::CreateAgent { id: id.clone(), name: self.name.clone() };
        let command = Command::Tenant { tenant: self.tenant_id.clone(), change, actor: local_actor() };
        execute(&app, output, command).await?;
        let value = json!({ "agent_id": id, "name": self.name, "tenant_id": self.tenant_id });
        output.print(&value, || format!("created agent {id} in tenant {}\n", self.tenant_id));
        Ok(0)
    }
}
