//! The codes of the program's own errors: each is one fact, and its kind gives the exit code.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A fault of runproof.
    Internal,
    /// The command line, a file or the environment is wrong.
    Usage,
    /// Stopped by whoever started it.
    Cancelled,
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
            Self::Cancelled => 6,
            Self::Refused => 7,
            Self::Store => 8,
        }
    }
}

/// Declares the codes in one table: variant, word, kind.
macro_rules! codes {
    ($($variant:ident $word:literal $kind:ident;)+) => {
        /// What went wrong. The word is stable; each has a page in `docs/errors`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $word, "`")] $variant),+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Its kind.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),+ }
            }
        }
    };
}

codes! {
    // The command line, files and the environment.
    UsageArgument "usage.argument" Usage;
    EnvironmentEncoding "environment.encoding" Usage;
    HomeUnknown "home.unknown" Usage;
    DatabaseUrl "database.url" Usage;
    DatabaseContradiction "database.contradiction" Usage;
    EgressInvalid "egress.invalid" Usage;
    SkillsInvalid "skills.invalid" Usage;
    InitOrigin "init.origin" Usage;
    FileUnreadable "file.unreadable" Usage;
    FileUnwritable "file.unwritable" Usage;
    KeyInvalid "key.invalid" Usage;
    TrustInvalid "trust.invalid" Usage;
    HeadInvalid "head.invalid" Usage;
    InputInvalid "input.invalid" Usage;
    StateUnusable "state.unusable" Usage;
    EventMissing "event.missing" Usage;
    LeafInvalid "leaf.invalid" Usage;
    LeafMissing "leaf.missing" Usage;
    RootInvalid "root.invalid" Usage;
    CheckpointInvalid "checkpoint.invalid" Usage;
    ProofInvalid "proof.invalid" Usage;
    LogInterrupted "log.interrupted" Cancelled;
    ChaosInterrupted "chaos.interrupted" Cancelled;
    WorkerStopped "worker.stopped" Cancelled;
    LegacyFile "legacy.file" Usage;
    RunNotFound "run.not_found" Usage;
    RunNone "run.none" Usage;
    OutputMissing "output.missing" Usage;
    DemoFolder "demo.folder" Usage;
    ChaosFailed "chaos.failed" Usage;
    ExplainUnknown "explain.unknown" Usage;

    // Refused: nothing was written.
    RequestRefused "request.refused" Refused;
    RequestId "request.id" Refused;
    RequestTenant "request.tenant" Refused;
    RequestUnreadable "request.unreadable" Refused;
    NameLiteralSecret "name.literal_secret" Refused;
    PlanUnreadable "plan.unreadable" Refused;
    ReasonBlank "reason.blank" Refused;
    ReasonInvalid "reason.invalid" Refused;
    TenantMissing "tenant.missing" Refused;
    TenantExists "tenant.exists" Refused;
    AgentMissing "agent.missing" Refused;
    AgentExists "agent.exists" Refused;
    IdempotencyReused "idempotency.reused" Refused;
    RunOver "run.over" Refused;
    RunNotOver "run.not_over" Refused;
    RunNotWaiting "run.not_waiting" Refused;
    RunPaused "run.paused" Refused;
    RunNotPaused "run.not_paused" Refused;
    RunCancelling "run.cancelling" Refused;
    RunArchived "run.archived" Refused;
    RunNotArchived "run.not_archived" Refused;
    RunGone "run.gone" Refused;
    RunHeld "run.held" Refused;
    RunNotHeld "run.not_held" Refused;
    RunTooYoung "run.too_young" Refused;
    ArchiveUnverified "archive.unverified" Refused;
    ValueMissing "value.missing" Refused;
    EngineRefused "engine.refused" Refused;
    MigrateRoleMissing "migrate.role_missing" Refused;
    MigrateRoleInvalid "migrate.role_invalid" Refused;
    MigrateReplica "migrate.replica" Refused;
    MigrateUnconfirmed "migrate.unconfirmed" Refused;
    MigrateNoDatabase "migrate.no_database" Refused;
    BundleNone "bundle.none" Refused;
    BundleSince "bundle.since" Refused;
    BundleEncode "bundle.encode" Refused;
    InclusionUnsigned "inclusion.unsigned" Refused;

    // The store and the home.
    StoreMissing "store.missing" Store;
    StoreNotMigrated "store.not_migrated" Store;
    StoreSchema "store.schema" Store;
    StoreBusy "store.busy" Store;
    StoreOtherKey "store.other_key" Store;
    StoreNotRolledBack "store.not_rolled_back" Refused;
    StoreRolledBack "store.rolled_back" Store;
    StoreUnavailable "store.unavailable" Store;
    StoreConflict "store.conflict" Store;
    StoreStale "store.stale" Store;
    StoreOutcomeUnknown "store.outcome_unknown" Store;
    StoreCorrupt "store.corrupt" Store;
    RunUnreadable "run.unreadable" Store;
    StoreUnprotected "store.unprotected" Store;
    DatabaseUnreachable "database.unreachable" Store;
    DatabaseAuthentication "database.authentication" Store;
    DatabaseUnknown "database.unknown" Store;
    DatabaseConnections "database.connections" Store;
    DatabasePrivilege "database.privilege" Store;
    DatabaseOneTenant "database.one_tenant" Store;
    DatabaseReadOnly "database.read_only" Store;
    DatabaseDiskFull "database.disk_full" Store;
    DatabaseTimeout "database.timeout" Store;
    DatabaseTls "database.tls" Store;
    DatabaseSetting "database.setting" Store;
    MigrateFailed "migrate.failed" Store;
    HomeIo "home.io" Store;
    HomeKey "home.key" Store;
    HomeCheckpoint "home.checkpoint" Store;
    InitLedgerMissing "init.ledger_missing" Store;
    LogUnsigned "log.unsigned" Store;
    RequestUnanswered "request.unanswered" Store;

    // Faults of runproof.
    InternalRuntime "internal.runtime" Internal;
    SkillsSetup "skills.setup" Internal;
    RequestAnswer "request.answer" Internal;
    EngineFault "engine.fault" Internal;
    EngineNoPlan "engine.no_plan" Internal;
    WorkerTask "worker.task" Internal;
    DemoFailed "demo.failed" Internal;
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = Self::ALL.iter().copied().find(|code| code.word() == word);
        known.ok_or_else(|| D::Error::custom(format!("unknown error code `{word}`")))
    }
}
