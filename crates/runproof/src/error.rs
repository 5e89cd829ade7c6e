//! The one error of the edge: code, text and hint; the code's kind gives the exit code. Nothing else maps errors.

mod code;
mod database;

use runproof_engine::driver::DriveError;
use runproof_engine::plan::PlanFinding;
use runproof_engine::ports::StoreError;
use runproof_proof::finding::counted;
use runproof_store::CommandError;
use runproof_store::migrate::MigrateError;
use runproof_store::sqlite::OpenError;
use serde::{Deserialize, Serialize};

pub use code::{Code, Kind};

/// An error as the user sees it. It can travel: the engine answers other processes with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct AppError {
    /// Kind, as the code says.
    pub kind: Kind,
    /// Stable code.
    pub code: Code,
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
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { kind: code.kind(), code, message: message.into(), hint: None, findings: Vec::new() }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Vec<PlanFinding>> for AppError {
    fn from(findings: Vec<PlanFinding>) -> Self {
        let count = counted(findings.len() as u64, "finding", "findings");
        let findings = findings.into_iter().map(|finding| FindingText {
            code: finding.code.to_owned(),
            path: finding.path,
            message: finding.message,
            hint: finding.hint,
        });
        let message = format!("the run was refused, nothing was written: {count}");
        Self { findings: findings.collect(), ..Self::new(Code::RequestRefused, message) }
    }
}

impl From<CommandError> for AppError {
    fn from(error: CommandError) -> Self {
        let (code, hint) = match &error {
            CommandError::NoTenant(id) => (Code::TenantMissing, format!("runproof create-tenant --id {id}")),
            CommandError::NoAgent { tenant, agent } => {
                (Code::AgentMissing, format!("runproof create-agent --name {agent} --tenant-id {tenant}"))
            }
            CommandError::TenantExists(_) => (Code::TenantExists, "use it, or choose another --id".to_owned()),
            CommandError::AgentExists(_) => (Code::AgentExists, "use it, or choose another --name or --id".to_owned()),
            CommandError::KeyReused { .. } => {
                (Code::IdempotencyReused, "use a new --idempotency-key for a new request".to_owned())
            }
            CommandError::NoRun { .. } => (Code::RunNotFound, "runproof list-runs".to_owned()),
            CommandError::NoValue { run_id, .. } => {
                (Code::ValueMissing, format!("runproof get-run {run_id} shows what there is"))
            }
            CommandError::RunOpen(id) => (Code::RunNotOver, format!("wait for its end, or: runproof cancel {id}")),
            CommandError::Archived(id) => (Code::RunArchived, format!("runproof proof {id} reads the archive")),
            CommandError::NotArchived(id) => (Code::RunNotArchived, format!("runproof archive --run {id}")),
            CommandError::Purged(id) => (Code::RunGone, format!("runproof proof {id} shows its tombstone")),
            CommandError::Held(id) => (Code::RunHeld, format!("runproof holds says why; runproof release-hold {id}")),
            CommandError::NotHeld(_) => (Code::RunNotHeld, "runproof holds lists the runs under a hold".to_owned()),
            CommandError::Refused(_) => {
                (Code::EngineRefused, "runproof list-runs shows how every run stands".to_owned())
            }
            CommandError::Store(error) => return error.clone().into(),
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        let (code, hint) = match &error {
            StoreError::Stale { .. } => {
                (Code::StoreStale, "try again: somebody else wrote this key at the same moment")
            }
            StoreError::Conflict(_) => (Code::StoreConflict, "try again: somebody else wrote at the same moment"),
            StoreError::Unavailable(problem) => database::said(problem)
                .unwrap_or((Code::StoreUnavailable, "nothing was written; try again when the cause is gone")),
            StoreError::OutcomeUnknown(_) => {
                (Code::StoreOutcomeUnknown, "look at the run before you try again: runproof list-runs")
            }
            StoreError::Corrupt { .. } => {
                (Code::StoreCorrupt, "stop writing to this database and look at it with `runproof proof`")
            }
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}

impl From<OpenError> for AppError {
    fn from(error: OpenError) -> Self {
        let (code, hint) = match &error {
            OpenError::Missing(_) | OpenError::NoLedger(_) => (Code::StoreMissing, "runproof init"),
            OpenError::NotMigrated { status, .. } => match status.current {
                Some(found) if found > status.head => {
                    (Code::StoreSchema, "use the version of runproof that migrated it")
                }
                Some(_) | None => (Code::StoreNotMigrated, "runproof migrate"),
            },
            OpenError::Busy(_) => {
                (Code::StoreBusy, "stop the other process, or let it do this: most commands leave it a request")
            }
            OpenError::OtherKey { .. } => {
                (Code::StoreOtherKey, "use the RUNPROOF_HOME that this database was made with")
            }
            OpenError::RolledBack { .. } => {
                (Code::StoreRolledBack, "put the newer database back; if it is lost: runproof log acknowledge-rollback")
            }
            OpenError::NotRolledBack => (Code::StoreNotRolledBack, "nothing has to be acknowledged"),
            OpenError::Sqlite { .. }
            | OpenError::Io { .. }
            | OpenError::Migrate { source: MigrateError::Sqlite(_), .. } => {
                (Code::StoreUnavailable, "check the path, the permissions and the disk")
            }
            OpenError::Migrate { .. } => {
                (Code::StoreSchema, "use the version of runproof that made this database, or a newer one")
            }
            OpenError::Store(error) => return error.clone().into(),
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}

impl From<DriveError> for AppError {
    fn from(error: DriveError) -> Self {
        let code = match error {
            DriveError::Store(error) => return error.into(),
            DriveError::Refusal(_) => Code::EngineFault,
            DriveError::NoPlan(_) => Code::EngineNoPlan,
        };
        Self::new(code, error.to_string()).hint("what is recorded is whole; `runproof proof` shows how far the run got")
    }
}
