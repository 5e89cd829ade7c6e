//! The index of `docs/errors`: one line for each code, in the order of `runproof explain`.

use super::{Family, Page};

/// Reads the page of a code into the program; a page that is missing does not compile.
macro_rules! pages {
    ($($code:literal)+) => {
        &[$(Page { code: $code, text: include_str!(concat!("../../../../docs/errors/", $code, ".md")) }),+]
    };
}

/// Every page.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "The program",
        pages: pages! {
            "usage.argument"
            "environment.encoding"
            "home.unknown"
            "home.io"
            "home.key"
            "home.checkpoint"
            "init.origin"
            "init.ledger_missing"
            "database.url"
            "database.unsupported"
            "database.contradiction"
            "egress.invalid"
            "skills.invalid"
            "file.unreadable"
            "file.unwritable"
            "key.invalid"
            "trust.invalid"
            "head.invalid"
            "input.invalid"
            "checkpoint.invalid"
            "proof.invalid"
            "root.invalid"
            "leaf.invalid"
            "leaf.missing"
            "event.missing"
            "inclusion.unsigned"
            "state.unusable"
            "log.interrupted"
            "legacy.file"
            "demo.folder"
            "demo.failed"
            "explain.unknown"
            "run.not_found"
            "run.none"
            "output.missing"
            "run.over"
            "run.not_over"
            "run.not_waiting"
            "reason.blank"
            "reason.invalid"
            "name.literal_secret"
            "tenant.missing"
            "tenant.exists"
            "agent.missing"
            "agent.exists"
            "idempotency.reused"
            "value.missing"
            "request.refused"
            "request.tenant"
            "request.unreadable"
            "request.unanswered"
            "request.answer"
            "plan.unreadable"
            "bundle.none"
            "bundle.since"
            "bundle.encode"
            "store.missing"
            "store.not_migrated"
            "store.schema"
            "store.busy"
            "store.other_key"
            "store.rolled_back"
            "store.unavailable"
            "store.conflict"
            "store.stale"
            "store.outcome_unknown"
            "store.corrupt"
            "run.unreadable"
            "log.unsigned"
            "engine.refused"
            "engine.fault"
            "engine.no_plan"
            "skills.setup"
            "worker.task"
            "worker.stopped"
            "internal.runtime"
        },
    },
    Family {
        name: "Requests and plans",
        pages: pages! {
            "request.id"
            "request.origin"
            "request.agent"
            "request.goal"
            "goal.literal_secret"
            "plan.type"
            "plan.missing"
            "plan.value"
            "plan.schema"
            "plan.no_steps"
            "plan.limit"
            "plan.id"
            "plan.duplicate_id"
            "plan.unknown_field"
            "plan.unsupported"
            "plan.reference"
            "plan.secret_reference"
            "plan.literal_secret"
            "plan.needs"
            "plan.cycle"
            "plan.expression"
            "plan.foreach"
            "plan.inputs"
            "plan.output_key"
            "plan.legacy"
            "plan.maybe_absent"
            "plan.worst_case"
            "plan.unused"
            "plan.unknown_skill"
            "plan.params"
            "inputs.missing"
            "inputs.unknown"
            "inputs.type"
            "inputs.value"
        },
    },
    Family {
        name: "Steps, by the engine",
        pages: pages! {
            "skill.not_found"
            "params.invalid"
            "params.unrecordable"
            "reference.unresolved"
            "reference.redacted"
            "reference.names_secret"
            "secret.missing"
            "secret.reference"
            "secret.short"
            "policy.blocked"
            "engine.timeout"
            "engine.cancelled"
            "engine.interrupted"
            "engine.lease_lapsed"
            "engine.output_unrecordable"
            "probe.not_done"
            "probe.unknown"
            "expression.failed"
            "when.failed"
            "when.false"
            "foreach.not_a_list"
            "foreach.too_many"
            "foreach.unrecordable"
            "foreach.items_failed"
            "engine.run_timeout"
        },
    },
    Family {
        name: "Steps, by `http_call`",
        pages: pages! {
            "http.invalid_params"
            "http.egress_denied"
            "http.dns_failed"
            "http.connect_refused"
            "http.connect_timeout"
            "http.connect_failed"
            "http.tls_failed"
            "http.setup_failed"
            "http.connection_lost"
            "http.rate_limited"
            "http.unavailable"
            "http.unauthorized"
            "http.not_found"
            "http.request_timeout"
            "http.status_4xx"
            "http.status_5xx"
            "http.unexpected_status"
            "http.redirect_refused"
            "http.too_many_redirects"
            "http.body_too_large"
        },
    },
    Family {
        name: "Steps, by `json_transform`",
        pages: pages! {
            "json.invalid_params"
            "json.input_too_large"
            "json.output_too_large"
            "json.path_invalid"
            "json.path_not_found"
        },
    },
    Family {
        name: "Steps, by `kv_store`",
        pages: pages! {
            "kv.invalid_params"
            "kv.not_a_number"
            "kv.overflow"
            "kv.unreadable"
            "kv.unavailable"
            "kv.contended"
        },
    },
    Family {
        name: "Steps, by `__fail_trigger__`",
        pages: pages! {
            "fail_trigger.invalid_params"
            "fail_trigger.budget_exceeded"
            "fail_trigger.execution_timeout"
            "fail_trigger.step_failure"
            "fail_trigger.retry_exhausted"
            "fail_trigger.skill_error"
            "fail_trigger.other"
        },
    },
    Family {
        name: "Findings of `proof` and `verify`",
        pages: pages! {
            "bundle.malformed"
            "bundle.unsupported"
            "event.malformed"
            "chain.link"
            "chain.identity"
            "chain.time"
            "structure.first"
            "structure.order"
            "structure.after_seal"
            "structure.totals"
            "outcome.missing"
            "outcome.unknown"
            "gap.recorded"
            "payload.mismatch"
            "payload.missing"
            "payload.unexplained_erasure"
            "replay.plan"
            "replay.decision"
            "replay.input"
            "seal.count"
            "seal.root"
            "seal.totals"
            "run.open"
            "run.missing"
            "run.no_trace"
            "run.no_steps"
            "inclusion.proof"
            "inclusion.record"
            "inclusion.consistency"
            "checkpoint.missing"
            "checkpoint.unpinned"
            "checkpoint.signature"
            "checkpoint.key"
            "checkpoint.key_retired"
            "checkpoint.origin"
            "checkpoint.unknown_signature"
            "head.rolled_back"
            "head.forked"
            "head.not_compared"
            "row.changed"
            "row.missing"
            "row.extra"
            "row.unknown_column"
        },
    },
    Family {
        name: "Verdicts",
        pages: pages! {
            "VERIFIED"
            "OPEN"
            "UNANCHORED"
            "UNPINNED"
            "INCOMPLETE"
            "UNSUPPORTED"
            "KEY_INVALID"
            "ROLLED_BACK"
            "FORKED"
            "TAMPERED"
            "MALFORMED"
        },
    },
];
