//! What a skill is: its manifest, the call that it gets, and what it may answer.
//!
//! The contract only. Skills live in `runproof-skills`; the driver in this crate calls them, and only with a
//! [`Dispatch`], which cannot be built without the gate (see [`crate::gate`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

pub use runproof_proof::event::EffectClass;

use crate::gate::Authorized;

/// Everything that is fixed about a skill; the same in every process of one version.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Registry name, such as `http_call`.
    pub name: &'static str,
    /// Semantic version of the skill's behaviour; recorded in every intent.
    pub version: &'static str,
    /// One sentence for `list-skills`.
    pub description: &'static str,
    /// JSON Schema 2020-12 of the parameters (`with` of a step), after references are resolved.
    pub input_schema: Value,
    /// JSON Schema 2020-12 of the output.
    pub output_schema: Value,
    /// The classes that [`Skill::effect`] may answer.
    pub effects: &'static [EffectClass],
    /// How a receiver is kept from acting twice.
    pub idempotency: Idempotency,
    /// What an attempt costs.
    pub cost: CostModel,
    /// Names of parameters in which `secret://NAME` is accepted; `["*"]` means anywhere.
    pub secret_params: &'static [&'static str],
    /// Sizes and times that the skill holds itself to.
    pub limits: Limits,
    /// Every error code that the skill can answer.
    pub errors: &'static [ErrorCode],
    /// Registered only when the operator asks for test skills.
    pub test_only: bool,
}

/// How a repeated call is recognised by its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// Nothing to recognise: no effect outside the process.
    NotNeeded,
    /// The idempotency key travels in this header or field.
    Key(&'static str),
    /// The receiver does not recognise repeats.
    None,
}

/// What an attempt costs, in microcents (1 cent = 1,000,000 microcents).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostModel {
    /// Costs nothing.
    Free,
    /// The same for every attempt that was dispatched.
    PerAttempt(u64),
    /// Known only afterwards; at most this much.
    Metered(u64),
}

/// Sizes and times that a skill holds itself to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest canonical parameters, in bytes.
    pub max_input_bytes: usize,
    /// Largest canonical output, in bytes; more is a failure, never a cut.
    pub max_output_bytes: usize,
    /// Timeout of an attempt when the plan names none.
    pub default_timeout: Duration,
    /// Longest timeout that a plan may ask for.
    pub max_timeout: Duration,
}

/// One documented error of a skill.
#[derive(Clone, Copy, Debug)]
pub struct ErrorCode {
    /// Stable code, such as `http.status_5xx`.
    pub code: &'static str,
    /// What the error says about the effect.
    pub category: ErrorCategory,
    /// Whether the engine may try again.
    pub retryable: bool,
    /// What happened, for people.
    pub meaning: &'static str,
}

pub use runproof_proof::event::ErrorCategory;

/// The exact call that the gate judged. Parameters hold `secret://NAME` unresolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Tenant that the run belongs to.
    pub tenant: String,
    /// Run id.
    pub run_id: String,
    /// Step id in the plan.
    pub step_id: String,
    /// Which item of the step: a fallback or an element of a list; `None` for the step itself.
    pub item: Option<String>,
    /// Attempt number, from 1.
    pub attempt: u32,
    /// Registry name of the skill.
    pub skill: String,
    /// Parameters after references were resolved, before secrets are.
    pub params: Value,
    /// The same for every attempt of this step; sent to receivers that understand it.
    pub idempotency_key: String,
    /// How long the attempt may take.
    pub timeout: Duration,
}

/// An authorised call with its secrets filled in; lives in memory only, for the length of one attempt.
pub struct Dispatch {
    call: Authorized<Call>,
    params: Value,
}

impl Dispatch {
    /// Fills the secrets of an authorised call. Only the driver does this, after the intent is durable.
    pub fn new(call: Authorized<Call>, params: Value) -> Self {
        Self { call, params }
    }

    /// The call as it was judged and recorded.
    pub fn call(&self) -> &Call {
        self.call.get()
    }

    /// Parameters with secrets filled in. Never log, store or return them.
    pub fn params(&self) -> &Value {
        &self.params
    }
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatch").field("call", self.call()).finish_non_exhaustive()
    }
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The result.
    pub result: AttemptResult,
    /// What the attempt cost, in microcents.
    pub cost_microcents: u64,
    /// Data that the committer applies together with the outcome (transactional skills only).
    pub writes: Vec<Write>,
}

/// The result of one attempt: what is known about the effect.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptResult {
    /// It happened and this is what it returned.
    Done {
        /// Canonicalisable JSON: no floats that are not integers, see `docs/spec/canonical.md`.
        output: Value,
    },
    /// It certainly did not take effect (no connection, refused before sending, 429).
    NotDone(Failure),
    /// It was answered with a refusal or an error: final for this attempt.
    Failed(Failure),
    /// It may or may not have taken effect (reset after sending, timeout waiting for the answer).
    Unknown(Failure),
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the manifest's codes.
    pub code: &'static str,
    /// What the code says about the effect.
    pub category: ErrorCategory,
    /// Whether trying again can help.
    pub retryable: bool,
    /// For people; redacted by the driver before it is stored.
    pub message: String,
    /// The receiver's wish, such as `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// A write of a transactional skill, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Set a key of the tenant's key-value space.
    Put {
        /// Key, unique in the tenant.
        key: String,
        /// JSON bytes.
        value: Vec<u8>,
        /// From this time on the key counts as absent, in microseconds; `None`: never.
        expires_at: Option<u64>,
        /// What must be true of the key.
        guard: Guard,
    },
    /// Remove a key. One that is not there stays so.
    Delete {
        /// Key, unique in the tenant.
        key: String,
        /// What must be true of the key.
        guard: Guard,
    },
    /// Remove keys of the tenant that have expired: the longest expired first, at most [`Write::MOST_EXPIRED`].
    DeleteExpired {
        /// Time up to which a key has expired, in microseconds.
        until: u64,
    },
}

impl Write {
    /// Most keys that one [`Write::DeleteExpired`] removes: more than a skill writes, so that expired keys become fewer.
    pub const MOST_EXPIRED: u64 = 16;
}

/// What a write takes for granted about its key. The commit checks it: when it is not so, nothing of the append is
/// written ([`crate::ports::StoreError::Stale`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Any,
    /// No such key is stored, not even one that has expired.
    Absent,
    /// The key is as it was read, with this version, expired or not.
    Version(u64),
}

impl Guard {
    /// Whether it is so, when the key is stored with this version (`None`: is not stored).
    pub fn holds(self, stored: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => stored.is_none(),
            Self::Version(version) => stored == Some(version),
        }
    }
}

/// What a probe found out about an earlier attempt whose outcome is not on record.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// It took effect; this is its output.
    Done {
        /// As in [`AttemptResult::Done`].
        output: Value,
    },
    /// It did not take effect; sending again is safe.
    NotDone,
    /// Nobody can say.
    Unknown,
}

/// One finding about parameters, from [`Skill::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamFinding {
    /// Dotted path inside the parameters, such as `headers.accept`; empty for the whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// A skill: something that a step can ask for.
#[async_trait]
pub trait Skill: Send + Sync + 'static {
    /// Everything that is fixed about the skill.
    fn manifest(&self) -> &Manifest;

    /// The effect class of a call with these parameters. Pure: the same parameters, the same class.
    fn effect(&self, params: &Value) -> EffectClass;

    /// Checks parameters before anything happens. Strings that still hold `{{…}}` or `secret://` are accepted for any
    /// scalar. Pure.
    fn check(&self, params: &Value) -> Vec<ParamFinding>;

    /// Performs the call. The driver drops the future when the timeout passes.
    async fn invoke(&self, dispatch: &Dispatch) -> Attempt;

    /// Asks the receiver whether an earlier attempt with the same idempotency key took effect.
    async fn probe(&self, _dispatch: &Dispatch) -> Probe {
        Probe::Unknown
    }
}

/// The skills of one process, by name.
#[derive(Clone, Default)]
pub struct Skills {
    by_name: BTreeMap<&'static str, Arc<dyn Skill>>,
}

impl Skills {
    /// Adds a skill.
    ///
    /// # Errors
    /// [`DuplicateSkill`] when the name is taken: two behaviours under one name would make intents ambiguous.
    pub fn register(&mut self, skill: Arc<dyn Skill>) -> Result<(), DuplicateSkill> {
        let name = skill.manifest().name;
        if self.by_name.contains_key(name) {
            return Err(DuplicateSkill(name));
        }
        self.by_name.insert(name, skill);
        Ok(())
    }

    /// The skill of that name, if it is registered.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Skill>> {
        self.by_name.get(name)
    }

    /// All skills, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Skill>> {
        self.by_name.values()
    }
}

/// Two skills were registered under one name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("skill `{0}` is registered twice")]
pub struct DuplicateSkill(pub &'static str);
