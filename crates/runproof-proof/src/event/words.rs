//! The closed vocabularies that events use, and the small structures that several events share.

use serde::{Deserialize, Serialize};

/// Declares a vocabulary: an enum whose words are the same in events, SQL, API and output.
#[doc(hidden)]
#[macro_export]
macro_rules! words_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every word, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as written everywhere.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value for a word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

pub use words_enum;

words_enum! {
    /// What a crash between effect and record means for a skill.
    EffectClass {
        /// Touches nothing: computing it again is the same.
        Pure = "pure",
        /// Reads the world: doing it again is safe.
        Read = "read",
        /// The receiver recognises the idempotency key, or repeating is harmless by definition.
        Idempotent = "idempotent",
        /// Writes are data, applied with the outcome in one transaction.
        Transactional = "transactional",
        /// The receiver can be asked whether it happened.
        Probeable = "probeable",
        /// Must not be repeated unless somebody says that it did not happen.
        Unsafe = "unsafe",
    }
}

words_enum! {
    /// What kind of failure it was.
    ErrorCategory {
        /// The receiver refused the request as wrong.
        Client = "client",
        /// The receiver refused who is asking.
        Auth = "auth",
        /// The time was over.
        Timeout = "timeout",
        /// Parameters or output do not fit their schema.
        Validation = "validation",
        /// The receiver asked to come back later.
        RateLimit = "rate_limit",
        /// The receiver failed.
        Server = "server",
        /// Something that passes by itself.
        Transient = "transient",
        /// The network failed.
        Network = "network",
        /// A policy or the egress guard refused.
        Policy = "policy",
        /// The thing asked for, or the skill, does not exist.
        NotFound = "not_found",
        /// A fault of the engine or the skill itself.
        Internal = "internal",
        /// A reference to an earlier step could not be followed.
        Reference = "reference",
        /// A secret is missing.
        Secret = "secret",
        /// The process ended between the intent and the outcome.
        Interrupted = "interrupted",
        /// A person settled what the record could not.
        Resolved = "resolved",
    }
}

words_enum! {
    /// What is known about the effect of an attempt.
    AttemptOutcome {
        /// It took effect.
        Done = "done",
        /// It certainly took no effect.
        NotDone = "not_done",
        /// It was answered with a refusal or an error.
        Failed = "failed",
        /// It may or may not have taken effect.
        Unknown = "unknown",
    }
}

words_enum! {
    /// What the engine does about an outcome.
    Then {
        /// The step is final.
        Settle = "settle",
        /// Another attempt follows.
        Retry = "retry",
        /// A person has to say what happened.
        Hold = "hold",
    }
}

words_enum! {
    /// How an outcome came to be known.
    Via {
        /// The call returned, or its time was over.
        Call = "call",
        /// The receiver was asked afterwards.
        Probe = "probe",
        /// Found without an outcome when the run was taken up again.
        Recovery = "recovery",
    }
}

words_enum! {
    /// Who saw it happen; a report prints the weakest.
    EvidenceClass {
        /// The engine made the call itself.
        Executed = "executed",
        /// A gateway saw the call.
        Observed = "observed",
        /// The agent said so.
        Reported = "reported",
    }
}

words_enum! {
    /// How a step ended: the vocabulary of `aos_trace_steps.status`.
    StepStatus {
        /// It did what it should.
        Success = "success",
        /// It did not.
        Failure = "failure",
        /// It was not tried.
        Skipped = "skipped",
        /// The run ended before anybody could say.
        Unknown = "unknown",
    }
}

words_enum! {
    /// How a run ended.
    EndStatus {
        /// Every step that had to succeed did.
        Succeeded = "succeeded",
        /// A step failed and the plan said abort, or there was no plan.
        Failed = "failed",
        /// A gate or budget stopped it, or could not be evaluated.
        Halted = "halted",
        /// Somebody asked for it.
        Cancelled = "cancelled",
    }
}

words_enum! {
    /// Why a run ended.
    EndReason {
        /// The plan is through.
        PlanCompleted = "plan_completed",
        /// A step failed and the plan said abort.
        StepFailed = "step_failed",
        /// No valid plan was made.
        PlannerFailed = "planner_failed",
        /// Somebody asked for it.
        CancelRequested = "cancel_requested",
        /// A gate could not be evaluated.
        GateFailed = "gate_failed",
        /// A policy stopped the run.
        PolicyHalt = "policy_halt",
        /// A budget is used up.
        BudgetExhausted = "budget_exhausted",
        /// The run's own timeout passed.
        RunTimeout = "run_timeout",
        /// A limit of the specification was reached.
        LimitReached = "limit_reached",
    }
}

words_enum! {
    /// What a person said about an unknown attempt.
    Resolution {
        /// It took effect.
        Done = "done",
        /// It did not.
        NotDone = "not_done",
    }
}

words_enum! {
    /// What a gate decided.
    Decision {
        /// Go on.
        Allow = "allow",
        /// Go on, and say so.
        Warn = "warn",
        /// Not this step.
        Block = "block",
        /// Not without approval.
        RequireApproval = "require_approval",
        /// Stop the run.
        Halt = "halt",
    }
}

words_enum! {
    /// Who acted.
    ActorType {
        /// A person.
        Human = "human",
        /// runproof or a scheduler.
        System = "system",
        /// Another program.
        Service = "service",
    }
}

words_enum! {
    /// Facts against ourselves.
    GapKind {
        /// Events were lost.
        EventsLost = "events_lost",
        /// The outcome of an executed call was lost.
        OutcomeLost = "outcome_lost",
        /// Calls were refused or dropped over a quota.
        OverQuota = "over_quota",
        /// A gateway stopped seeing.
        ObserverLost = "observer_lost",
        /// The database went back to an older state.
        Rollback = "rollback",
        /// The clock went back; times were held.
        ClockWentBack = "clock_went_back",
    }
}

words_enum! {
    /// What a budget, switch or reservation applies to.
    Scope {
        /// The whole tenant.
        Tenant = "tenant",
        /// One agent.
        Agent = "agent",
        /// One skill.
        Skill = "skill",
        /// One run.
        Run = "run",
    }
}

/// Who acted, and how we know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// How the actor was authenticated: `local_user`, `api_key`, `oidc`, `none`.
    pub authenticated_by: String,
    /// Account, key or user name; absent for the system itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What kind of actor.
    #[serde(rename = "type")]
    pub actor_type: ActorType,
}

/// A name with a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versioned {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}

/// The program that recorded a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Digest or tag of the build.
    pub build: String,
    /// Version of runproof.
    pub version: String,
}

/// What the gate decided about one call, and under which rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRecord {
    /// The approval that was used up by this intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_id: Option<String>,
    /// SHA-256 of the canonical request that was judged, when rules were evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_digest: Option<crate::hash::Hash>,
    /// The decision.
    pub decision: Decision,
    /// Rules that decided, by id, in canonical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Name of the policy set: `builtin/empty@1`, or `sha256:<hex>`.
    pub policy_set: String,
}

impl GateRecord {
    /// A decision in which no single rule took part.
    pub fn new(decision: Decision, policy_set: &str) -> Self {
        Self {
            approval_id: None,
            context_digest: None,
            decision,
            policies: Vec::new(),
            policy_set: policy_set.to_owned(),
        }
    }
}
