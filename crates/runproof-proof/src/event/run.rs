//! Events of a run's stream. Field tables with units: `docs/spec/events.md`.

use serde::{Deserialize, Serialize};

use super::words::*;
use crate::commit::Commitment;
use crate::hash::Hash;

/// Declares an event body: strict, optional fields left out when absent, fields in canonical order.
macro_rules! body {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type),* }
    };
}
pub(crate) use body;

body! {
    /// A run exists. First event of its stream.
    RunCreated {
        /// Who asked for the run.
        actor: Actor,
        /// Agent on whose behalf it runs.
        agent: String,
        /// Text of an outside beacon that did not exist before this moment: a lower bound of the time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beacon: Option<String>,
        /// The program that records.
        engine: Engine,
        /// What the run is for.
        goal: Commitment,
        /// The system that asked; never blank, never `legacy-migration`.
        origin_system_id: String,
        /// The run that started this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent_run_id: Option<String>,
        /// Digest of the plan, when it was given with the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan_digest: Option<Hash>,
        /// What makes the plan.
        planner: Versioned,
        /// The policy set in force.
        policy_set: String,
        /// The run that this one repeats.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_of: Option<String>,
        /// Run id; also in `stream`.
        run_id: String,
        /// Gap-free number of the run within the tenant, from 1.
        run_no: u64,
        /// Set on synthetic runs only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        synthetic_scenario_id: Option<String>,
    }
}

body! {
    /// The run has a valid plan.
    RunPlanned {
        /// Values of the plan's inputs, defaults included.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inputs: Option<Commitment>,
        /// The plan, as executed.
        plan: Commitment,
        /// `SHA-256("runproof.dev/plan/v1" || 0x00 || canonical plan)`.
        plan_digest: Hash,
        /// Number of steps in the plan.
        step_count: u64,
    }
}

body! {
    /// A worker took the run: first, or after another lost it.
    RunClaimed {
        /// Counts claims, from 1; every write of the claim carries it.
        epoch: u64,
        /// The worker process.
        worker: String,
    }
}

body! {
    /// An operator paused the run.
    RunPaused {
        /// Who.
        actor: Actor,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
    }
}

body! {
    /// An operator let the run go on.
    RunResumed {
        /// Who.
        actor: Actor,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
    }
}

body! {
    /// Somebody asked for the run to be cancelled.
    RunCancelRequested {
        /// Who.
        actor: Actor,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
    }
}

body! {
    /// Sums over a run.
    Totals {
        /// Attempts that were intended.
        attempts: u64,
        /// Cost of all attempts, in microcents.
        cost_microcents: u64,
        /// From `run.created` to the seal, in microseconds.
        duration_us: u64,
        /// Attempts that a person resolved.
        resolved: u64,
        /// Attempts whose effect is unknown to the end.
        unknown: u64,
    }
}

body! {
    /// The run is over. Last event of its stream.
    RunSealed {
        /// Text for people, when the run did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Commitment>,
        /// Events before this one.
        event_count: u64,
        /// Why the run ended.
        reason: EndReason,
        /// RFC 6962 root over the leaf hashes of the events before this one.
        run_root: Hash,
        /// How the run ended.
        status: EndStatus,
        /// Steps that settled.
        step_count: u64,
        /// Sums.
        totals: Totals,
    }
}

body! {
    /// The list of a `foreach` is known.
    StepExpanded {
        /// Elements of the list.
        count: u32,
        /// The list.
        items: Commitment,
        /// Position of the step in the plan, from 0.
        plan_index: u32,
        /// Step id in the plan.
        step_id: String,
    }
}

body! {
    /// An attempt is about to touch the world; durable before it does.
    StepIntended {
        /// Attempt number of this step and item, from 1.
        attempt: u32,
        /// Most that the attempt may cost, in microcents.
        cost_limit_microcents: u64,
        /// Effect class of this call.
        effect: EffectClass,
        /// What the gate decided.
        gate: GateRecord,
        /// Same for all attempts of this step and item.
        idempotency_key: String,
        /// `fallback`, an element of a list such as `3`, or its fallback (`3.fallback`); absent for the step itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<String>,
        /// Parameters, with references resolved and secrets not.
        params: Commitment,
        /// Position of the step in the plan, from 0.
        plan_index: u32,
        /// Skill.
        skill: String,
        /// Version of the skill.
        skill_version: String,
        /// Step id in the plan.
        step_id: String,
        /// How long the attempt may take, in microseconds.
        timeout_us: u64,
    }
}

body! {
    /// What is known of an attempt.
    StepReturned {
        /// Attempt number.
        attempt: u32,
        /// Kind of failure; absent when done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<ErrorCategory>,
        /// The skill's error code; absent when done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// What the attempt cost, in microcents.
        cost_microcents: u64,
        /// From dispatch to answer, in microseconds.
        duration_us: u64,
        /// Text for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Commitment>,
        /// Who saw it.
        evidence: EvidenceClass,
        /// `fallback`, an element of a list such as `3`, or its fallback (`3.fallback`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<String>,
        /// What is known about the effect.
        outcome: AttemptOutcome,
        /// What came back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Commitment>,
        /// The receiver's wish how long to wait, in microseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_us: Option<u64>,
        /// When the next attempt is due, in microseconds since 1970; present exactly when `then` is `retry`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<u64>,
        /// The receiver's or skill's word that trying again can help.
        retryable: bool,
        /// Step id.
        step_id: String,
        /// What the engine decided to do about it.
        then: Then,
        /// How the outcome came to be known.
        via: Via,
    }
}

body! {
    /// A person said whether an unknown attempt took effect.
    StepResolved {
        /// Who.
        actor: Actor,
        /// Attempt number.
        attempt: u32,
        /// `fallback`, an element of a list such as `3`, or its fallback (`3.fallback`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<String>,
        /// How they know.
        reason: Commitment,
        /// What they said.
        resolution: Resolution,
        /// Step id.
        step_id: String,
    }
}

body! {
    /// The step is final: one row of `aos_trace_steps`.
    StepSettled {
        /// Attempts that were intended.
        attempts: u32,
        /// `execution` for success, `skipped`, or the kind of failure.
        category: String,
        /// Error code of the last attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Cost of all attempts, in microcents.
        cost_microcents: u64,
        /// Time of all attempts, in microseconds.
        duration_us: u64,
        /// Text for people, when the step failed before any attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Commitment>,
        /// `fallback`, an element of a list such as `3`, or its fallback (`3.fallback`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<String>,
        /// Position of the step in the plan, from 0.
        plan_index: u32,
        /// Skill.
        skill: String,
        /// How the step ended.
        status: StepStatus,
        /// Step id.
        step_id: String,
        /// Dense order of settling within the run, from 0.
        step_index: u64,
    }
}

body! {
    /// The check after a step.
    PolicyChecked {
        /// Attempt number.
        attempt: u32,
        /// What was decided.
        gate: GateRecord,
        /// `fallback`, an element of a list such as `3`, or its fallback (`3.fallback`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<String>,
        /// Step id.
        step_id: String,
    }
}

body! {
    /// The exact call waits for approval.
    ApprovalRequested {
        /// Approval id.
        approval_id: String,
        /// Digest of the exact call.
        binding: Hash,
        /// When it lapses, in microseconds since 1970.
        expires_at: u64,
        /// `fallback`, an element of a list such as `3`, or its fallback (`3.fallback`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<String>,
        /// How many different people must grant it.
        quorum: u32,
        /// Roles that may decide, in canonical order.
        roles: Vec<String>,
        /// Step id.
        step_id: String,
    }
}

body! {
    /// Somebody granted or denied an approval.
    ApprovalDecided {
        /// Who.
        actor: Actor,
        /// Approval id.
        approval_id: String,
        /// Digest of the exact call that they saw.
        binding: Hash,
        /// Granted, or not.
        granted: bool,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Commitment>,
    }
}

body! {
    /// Nobody decided in time.
    ApprovalExpired {
        /// Approval id.
        approval_id: String,
    }
}

body! {
    /// A reservation did not fit.
    BudgetExhausted {
        /// What was left, in microcents.
        available_microcents: u64,
        /// What was asked for, in microcents.
        requested_microcents: u64,
        /// Which budget.
        scope: Scope,
        /// Id within the scope.
        scope_id: String,
    }
}

body! {
    /// The reservation fits now.
    BudgetGranted {
        /// Which budget.
        scope: Scope,
        /// Id within the scope.
        scope_id: String,
    }
}

body! {
    /// The run's one incident record.
    IncidentRecorded {
        /// Kind: `execution_success`, `execution_failure`, `budget_exceeded`, …
        category: String,
        /// Error code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Incident id.
        incident_id: String,
        /// `success`, `failure`, `blocked` or `aborted`.
        outcome: String,
        /// `none`, `low`, `medium`, `high` or `critical`.
        severity: String,
    }
}

body! {
    /// The run's one record of model usage.
    UsageRecorded {
        /// Cost, in microcents.
        cost_microcents: u64,
        /// Tokens read.
        input_tokens: u64,
        /// Model; absent when none was called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// Tokens written.
        output_tokens: u64,
        /// Provider; absent when none was called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
    }
}

body! {
    /// The run's one evidence summary.
    EvidenceSummarized {
        /// Gaps recorded in this run.
        gaps: u64,
        /// Intents.
        intents: u64,
        /// Outcomes.
        outcomes: u64,
        /// Weakest class of any step.
        weakest: EvidenceClass,
    }
}

body! {
    /// A fact against ourselves; it lowers the verdict.
    GapRecorded {
        /// How many, where that can be said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// Which.
        gap: GapKind,
    }
}
