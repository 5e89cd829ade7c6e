//! Every code that the engine itself gives, with what it says in one line. Skills list theirs in their manifests.
//!
//! A test compares the lists with the code, and another one with the pages in `docs/errors`.

/// Findings about a request or a plan: the run is refused as a whole, and nothing is written.
pub const REFUSALS: &[(&str, &str)] = &[
    ("request.id", "not an id"),
    ("request.origin", "the system that asks is not named"),
    ("request.agent", "the agent is not a real one"),
    ("request.goal", "the goal is blank, too long, or has U+0000 in it"),
    ("goal.literal_secret", "the goal holds a credential"),
    ("plan.type", "a field has another type"),
    ("plan.missing", "a field is missing"),
    ("plan.value", "a value is out of range or cannot be recorded"),
    ("plan.schema", "another plan schema"),
    ("plan.no_steps", "the plan has no steps"),
    ("plan.limit", "over a limit"),
    ("plan.id", "a step id is not an id"),
    ("plan.duplicate_id", "a step id is used twice"),
    ("plan.unknown_field", "no such field"),
    ("plan.unsupported", "a field of a later version"),
    ("plan.reference", "a reference that cannot be read, or not to an earlier step"),
    ("plan.secret_reference", "not a reference to a secret"),
    ("plan.literal_secret", "the plan holds a credential"),
];

/// Why an attempt or a step did not succeed: `outcome_code` of a step.
pub const FAILURES: &[(&str, &str)] = &[
    ("skill.not_found", "no such skill where the run executes"),
    ("params.invalid", "the parameters are not what the skill takes"),
    ("params.unrecordable", "the parameters cannot be recorded"),
    ("reference.unresolved", "a reference finds no usable value"),
    ("reference.redacted", "a reference to a value that was redacted"),
    ("reference.names_secret", "a reference would bring in a secret"),
    ("secret.missing", "the secret is not set where the run executes"),
    ("secret.reference", "not a reference to a secret"),
    ("secret.short", "the secret is too short to be kept out of the record"),
    ("policy.blocked", "a policy refused the call"),
    ("engine.timeout", "the attempt took longer than it may"),
    ("engine.cancelled", "the run was cancelled during the attempt"),
    ("engine.interrupted", "the process ended during the attempt"),
    ("engine.output_unrecordable", "the answer cannot be recorded"),
    ("probe.not_done", "the receiver says that the attempt took no effect"),
    ("probe.unknown", "the receiver cannot say whether the attempt took effect"),
];
