//! The one error of the edge: kind to exit code, text and hint. Nothing else maps errors to exit codes.

use runproof_engine::driver::DriveError;
use runproof_engine::plan::PlanFinding;
use runproof_engine::ports::StoreError;
use runproof_store::CommandError;
use runproof_store::sqlite::OpenError;
use serde::{Deserialize, Serialize};

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A fault of runproof.
    Internal,
    /// The command line, a file or the environment is wrong.
    Usage,
    /// Refused; nothing was written.
    Refused,
    /// The store is not there, not initialised or not migrated.
    Store,
}

impl Kind {
    /// Exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Refused => 7,
            Self::Store => 8,
        }
    }
}

/// An error as the user sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct AppError {
    /// Kind.
    pub kind: Kind,
    /// Stable code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Findings, one a line, when there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingText>,
}

/// One finding of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingText {
    /// Stable code.
    pub code: String,
    /// Where.
    pub path: String,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl AppError {
    /// An error without a hint.
    pub fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into(), hint: None, findings: Vec::new() }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The command line, a file or the environment is wrong.
    pub fn usage(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, code, message)
    }
}

impl From<Vec<PlanFinding>> for AppError {
    fn from(findings: Vec<PlanFinding>) -> Self {
        let count = findings.len();
        let findings = findings.into_iter().map(|finding| FindingText {
            code: finding.code.to_owned(),
            path: finding.path,
            message: finding.message,
            hint: finding.hint,
        });
        let message =
            format!("the run was refused, nothing was written: {count} finding{}", if count == 1 { "" } else { "s" });
        Self { findings: findings.collect(), ..Self::new(Kind::Refused, "request.refused", message) }
    }
}

impl From<CommandError> for AppError {
    fn from(error: CommandError) -> Self {
        let (code, hint) = match &error {
            CommandError::NoTenant(id) => ("tenant.missing", Some(format!("runproof create-tenant --id {id}"))),
            CommandError::NoAgent { tenant, agent } => {
                ("agent.missing", Some(format!("runproof create-agent --name {agent} --tenant-id {tenant}")))
            }
            CommandError::TenantExists(_) => ("tenant.exists", None),
            CommandError::AgentExists(_) => ("agent.exists", Some("choose another --name or --id".to_owned())),
            CommandError::KeyReused { .. } => {
                ("idempotency.reused", Some("use a new --idempotency-key for a new request".to_owned()))
            }
            CommandError::NoRun { .. } => ("run.missing", Some("runproof list-runs".to_owned())),
            CommandError::NoValue { .. } => ("value.missing", None),
            CommandError::RunOpen(_) => ("run.open", None),
            CommandError::Refused(_) => ("engine.refused", None),
            CommandError::Store(error) => return error.clone().into(),
        };
        Self { hint, ..Self::new(Kind::Refused, code, error.to_string()) }
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        let (code, hint) = match &error {
            StoreError::Conflict(_) => ("store.conflict", "try again: somebody else wrote at the same moment"),
            StoreError::Stale { .. } => ("store.stale", "try again: somebody else wrote this key at the same moment"),
            StoreError::Unavailable(_) => {
                ("store.unavailable", "nothing was written; try again when the cause is gone")
            }
            StoreError::OutcomeUnknown(_) => {
                ("store.outcome_unknown", "look at the run before you try again: runproof list-runs")
            }
            StoreError::Corrupt { .. } => {
                ("store.corrupt", "stop writing to this database and look at it with `runproof proof`")
            }
        };
        Self::new(Kind::Store, code, error.to_string()).hint(hint)
    }
}

impl From<OpenError> for AppError {
    fn from(error: OpenError) -> Self {
        let (code, hint) = match &error {
            OpenError::Missing(_) | OpenError::NoLedger(_) => ("store.missing", "runproof init"),
            OpenError::NotMigrated { .. } => ("store.not_migrated", "runproof migrate"),
            OpenError::Busy(_) => {
                ("store.busy", "stop the other process, or let it do this: most commands leave it a request")
            }
            OpenError::OtherKey { .. } => ("store.other_key", "use the RUNPROOF_HOME that this database was made with"),
            OpenError::RolledBack { .. } => {
                ("store.rolled_back", "put the newer database back; going on would sign a second history")
            }
            OpenError::Sqlite { .. } | OpenError::Io { .. } => {
                ("store.unavailable", "check the path, the permissions and the disk")
            }
            OpenError::Migrate(_) => {
                ("store.schema", "use the version of runproof that made this database, or a newer one")
            }
            OpenError::Store(error) => return error.clone().into(),
        };
        Self::new(Kind::Store, code, error.to_string()).hint(hint)
    }
}

impl From<DriveError> for AppError {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Store(error) => error.into(),
            DriveError::Refusal(error) => Self::new(Kind::Internal, "engine.refused", error.to_string()),
            DriveError::NoPlan(_) => Self::new(Kind::Internal, "engine.no_plan", error.to_string()),
        }
    }
}
