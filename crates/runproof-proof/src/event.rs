//! The closed set of events: envelope, kinds, and the one way to and from bytes (`docs/spec/events.md`).
//!
//! Bytes are accepted only if encoding what they say gives the same bytes again, so an unknown field, another order
//! or another spelling of a number is never "close enough".

mod log;
mod run;
mod tenant;
mod words;

pub use log::*;
pub use run::*;
pub use tenant::*;
pub use words::*;

use serde::Serialize;

use crate::canonical::{self, NotCanonical, Scanner, Text};
use crate::commit::Commitment;
use crate::hash::{self, Hash};

/// Version of the envelope that this crate reads and writes.
pub const VERSION: u64 = 1;
/// Level of the newest kind in [`Body::KINDS`]. A release that adds kinds raises it: who knows only a lower level leaves
/// runs with such events alone.
pub const FORMAT_LEVEL: u32 = 1;
/// Largest encoded event, in bytes.
pub const MAX_EVENT: usize = 16 * 1024;
/// Largest number of events in a run.
pub const MAX_RUN_EVENTS: u64 = 100_000;

/// One recorded fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Origin of the log that the event is a leaf of.
    pub log: String,
    /// The stream that it belongs to.
    pub stream: Stream,
    /// Tenant; `None` in the log's own stream only.
    pub tenant: Option<String>,
    /// Position in the stream, from 0.
    pub seq: u64,
    /// Leaf hash of the event before it in the stream; [`Hash::ZERO`] for the first.
    pub prev: Hash,
    /// Microseconds since 1970-01-01T00:00:00Z; never decreases within a stream.
    pub at: u64,
    /// What happened.
    pub body: Body,
}

/// A sequence of events with its own `seq` and `prev`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// One run.
    Run(String),
    /// What concerns a tenant and no single open run.
    Tenant(String),
    /// The ledger itself: its keys and its history.
    Log,
}

impl Stream {
    /// As written in the envelope: `run/<id>`, `tenant/<id>` or `log`.
    pub fn name(&self) -> String {
        match self {
            Self::Run(id) => format!("run/{id}"),
            Self::Tenant(id) => format!("tenant/{id}"),
            Self::Log => "log".to_owned(),
        }
    }

    /// Parses what [`Stream::name`] writes.
    pub fn parse(name: &str) -> Option<Self> {
        match name.split_once('/') {
            Some(("run", id)) if is_id(id) => Some(Self::Run(id.to_owned())),
            Some(("tenant", id)) if is_id(id) => Some(Self::Tenant(id.to_owned())),
            None if name == "log" => Some(Self::Log),
            Some(_) | None => None,
        }
    }
}

/// Whether `text` is an identifier: `^[A-Za-z0-9_.:-]{1,64}$`.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

/// Declares [`Body`] with its kinds, in one table that `docs/spec/events.md` repeats.
macro_rules! bodies {
    ($($kind:literal $name:ident: $what:literal),+ $(,)?) => {
        /// What happened, by kind.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        pub enum Body {
            $(#[doc = $what] $name(Box<$name>)),+
        }

        impl Body {
            /// Every kind that this version knows.
            pub const KINDS: &'static [&'static str] = &[$($kind),+];

            /// The kind as written in the envelope.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $kind),+ }
            }

            fn decode(kind: &str, raw: &str) -> Result<Self, EventError> {
                match kind {
                    $($kind => serde_json::from_str(raw).map(|body| Self::$name(Box::new(body)))
                        .map_err(|error| EventError::Body { kind: $kind, problem: error.to_string() }),)+
                    _ => Err(EventError::UnknownKind(kind.chars().take(64).collect())),
                }
            }
        }

        $(impl From<$name> for Body {
            fn from(body: $name) -> Self { Self::$name(Box::new(body)) }
        })+
    };
}

bodies! {
    "run.created" RunCreated: "A run exists, with everything that was decided before it began.",
    "run.planned" RunPlanned: "The run has a valid plan.",
    "run.claimed" RunClaimed: "A worker took the run.",
    "run.paused" RunPaused: "An operator paused the run.",
    "run.resumed" RunResumed: "An operator let the run go on.",
    "run.cancel_requested" RunCancelRequested: "Somebody asked for the run to be cancelled.",
    "run.sealed" RunSealed: "The run is over; nothing can follow.",
    "step.expanded" StepExpanded: "The list of a `foreach` is known.",
    "step.intended" StepIntended: "An attempt is about to touch the world.",
    "step.returned" StepReturned: "What is known of an attempt.",
    "step.resolved" StepResolved: "A person said whether an unknown attempt took effect.",
    "step.settled" StepSettled: "The step is final.",
    "policy.checked" PolicyChecked: "The check after a step.",
    "approval.requested" ApprovalRequested: "The exact call waits for approval.",
    "approval.decided" ApprovalDecided: "Somebody granted or denied an approval.",
    "approval.expired" ApprovalExpired: "Nobody decided in time.",
    "budget.exhausted" BudgetExhausted: "A reservation did not fit; the run waits.",
    "budget.granted" BudgetGranted: "The reservation fits now.",
    "incident.recorded" IncidentRecorded: "The run's one incident record.",
    "usage.recorded" UsageRecorded: "The run's one record of model usage.",
    "evidence.summarized" EvidenceSummarized: "The run's one evidence summary.",
    "gap.recorded" GapRecorded: "A fact against ourselves.",
    "tenant.created" TenantCreated: "The tenant exists.",
    "tenant.agent_created" TenantAgentCreated: "The tenant has an agent.",
    "tenant.run_opened" TenantRunOpened: "A run number was given out.",
    "tenant.run_archived" TenantRunArchived: "A sealed run moved to the archive.",
    "tenant.run_purged" TenantRunPurged: "A sealed run was removed; this is its tombstone.",
    "tenant.hold_placed" TenantHoldPlaced: "A run must not be removed.",
    "tenant.hold_lifted" TenantHoldLifted: "A run may be removed again.",
    "tenant.value_erased" TenantValueErased: "A committed value was destroyed.",
    "tenant.value_revealed" TenantValueRevealed: "A committed value was shown to somebody.",
    "tenant.bundle_exported" TenantBundleExported: "A proof bundle left the system.",
    "tenant.policy_set_activated" TenantPolicySetActivated: "Another policy set is in force.",
    "tenant.budget_set" TenantBudgetSet: "A budget was set or changed.",
    "tenant.kill_switch_set" TenantKillSwitchSet: "Steps are stopped, or let go on, for a scope.",
    "log.created" LogCreated: "The ledger begins.",
    "log.key_added" LogKeyAdded: "Another key may sign checkpoints.",
    "log.key_retired" LogKeyRetired: "A key signs no further checkpoints.",
    "log.key_revoked" LogKeyRevoked: "A key must not be trusted beyond a size.",
    "log.rollback_acknowledged" LogRollbackAcknowledged: "An operator went on from an older database.",
    "log.closed" LogClosed: "The ledger takes no further events.",
}

/// Why bytes are not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// More than [`MAX_EVENT`] bytes.
    #[error("event of {0} bytes, at most {MAX_EVENT} are allowed")]
    TooLarge(usize),
    /// Not canonical JSON.
    #[error("event is not canonical JSON: {0}")]
    NotCanonical(#[from] NotCanonical),
    /// A newer envelope.
    #[error("event has version {0} and needs a newer version of runproof; this one knows {VERSION}")]
    Version(u64),
    /// The envelope lacks a field, has an unknown one, or one of the wrong type.
    #[error("event envelope: {0}")]
    Envelope(String),
    /// A kind that this version does not know: in a store of ours, one of a higher [`FORMAT_LEVEL`].
    #[error("unknown event kind `{0}`: it needs a newer version of runproof, or somebody changed it")]
    UnknownKind(String),
    /// The body lacks a field, has an unknown one, or one of the wrong type.
    #[error("body of `{kind}`: {problem}")]
    Body {
        /// Kind of the event.
        kind: &'static str,
        /// What the decoder said.
        problem: String,
    },
    /// Decodes, but is not spelled the way that this version writes it.
    #[error("event is not spelled canonically at byte {0}")]
    Spelling(usize),
}

impl EventError {
    /// Whether a newer version of runproof may read the event. Otherwise no version does: the bytes are damaged.
    ///
    /// For whoever stores events. For a verifier, an unknown kind of version 1 is malformed either way, because a new
    /// kind is a new version of the format.
    pub fn needs_newer(&self) -> bool {
        match self {
            Self::Version(_) | Self::UnknownKind(_) => true,
            Self::TooLarge(_) | Self::NotCanonical(_) | Self::Envelope(_) | Self::Body { .. } | Self::Spelling(_) => {
                false
            }
        }
    }
}

#[derive(Serialize)]
struct WireOut<'a> {
    at: u64,
    body: &'a Body,
    kind: &'static str,
    log: &'a str,
    prev: &'a Hash,
    seq: u64,
    stream: &'a str,
    tenant: Option<&'a str>,
    v: u64,
}

/// What an envelope of version 1 says after its body, in the one spelling that it has.
struct Rest<'a> {
    kind: Text<'a>,
    log: Text<'a>,
    prev: Hash,
    seq: u64,
    stream: Text<'a>,
    tenant: Option<Text<'a>>,
}

impl<'a> Rest<'a> {
    fn read(text: &'a str) -> Result<Self, NotCanonical> {
        const FIELD: &str = "expected the next field";
        let mut scanner = Scanner::new(text);
        scanner.expect(",\"kind\":", FIELD)?;
        let kind = scanner.string()?;
        scanner.expect(",\"log\":", FIELD)?;
        let log = scanner.string()?;
        scanner.expect(",\"prev\":", FIELD)?;
        let prev = scanner.hash()?;
        scanner.expect(",\"seq\":", FIELD)?;
        let seq = scanner.unsigned()?;
        scanner.expect(",\"stream\":", FIELD)?;
        let stream = scanner.string()?;
        scanner.expect(",\"tenant\":", FIELD)?;
        let tenant = if scanner.eat("null") { None } else { Some(scanner.string()?) };
        scanner.expect(",\"v\":1}", FIELD)?;
        scanner.end()?;
        Ok(Self { kind, log, prev, seq, stream, tenant })
    }
}

impl Event {
    /// The canonical bytes: what is hashed, stored and shown.
    pub fn encode(&self) -> Vec<u8> {
        let wire = WireOut {
            at: self.at,
            body: &self.body,
            kind: self.body.kind(),
            log: &self.log,
            prev: &self.prev,
            seq: self.seq,
            stream: &self.stream.name(),
            tenant: self.tenant.as_deref(),
            v: VERSION,
        };
        serde_json::to_vec(&wire).expect("events hold strings, integers and hashes only: they always encode")
    }

    /// Parses canonical bytes.
    ///
    /// # Errors
    /// [`EventError`] says what is wrong; nothing is repaired or ignored.
    pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        if bytes.len() > MAX_EVENT {
            return Err(EventError::TooLarge(bytes.len()));
        }
        Self::read(bytes).map_err(|error| explain(bytes, error))
    }

    /// Accepts exactly what [`Event::encode`] writes, as long as it is canonical.
    fn read(bytes: &[u8]) -> Result<Self, EventError> {
        let text = canonical::text(bytes)?;
        let (at, start, body, rest) = cut(text).ok_or_else(|| EventError::Envelope(wrong_envelope(text)))?;
        let stream = Stream::parse(&rest.stream.text())
            .ok_or_else(|| EventError::Envelope("`stream` is not run/<id>, tenant/<id> or log".to_owned()))?;
        let event = Self {
            log: rest.log.text().into_owned(),
            stream,
            tenant: rest.tenant.map(|tenant| tenant.text().into_owned()),
            seq: rest.seq,
            prev: rest.prev,
            at,
            body: Body::decode(&rest.kind.text(), body)?,
        };
        // The decoder of the body is lenient; the envelope above has one spelling.
        match canonical::differs(&event.body, body) {
            Some(place) => Err(EventError::Spelling(start + place)),
            None => Ok(event),
        }
    }

    /// Leaf hash of the canonical bytes.
    pub fn leaf_hash(&self) -> Hash {
        hash::leaf(&self.encode())
    }

    /// The committed values of this event, by field name, in canonical order.
    pub fn commitments(&self) -> Vec<(&'static str, &Commitment)> {
        self.body.commitments()
    }
}

/// Cuts an envelope into its time, the place and text of its body, and the rest.
///
/// Quotes in texts are escaped, so nothing inside a text reads like the rest: the last brace with a rest after it ends
/// the body.
fn cut(text: &str) -> Option<(u64, usize, &str, Rest<'_>)> {
    let mut scanner = Scanner::new(text);
    scanner.expect("{\"at\":", "").ok()?;
    let at = scanner.unsigned().ok()?;
    scanner.expect(",\"body\":", "").ok()?;
    let start = scanner.at();
    text[start..].rmatch_indices('}').skip(1).find_map(|(brace, _)| {
        let (body, rest) = text[start..].split_at(brace + 1);
        Some((at, start, body, Rest::read(rest).ok()?))
    })
}

/// What is wrong with an envelope that is not read.
fn wrong_envelope(text: &str) -> String {
    const FIELDS: [&str; 9] = ["at", "body", "kind", "log", "prev", "seq", "stream", "tenant", "v"];
    let members: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(text) {
        Ok(members) => members,
        Err(error) => return error.to_string(),
    };
    let unknown = members.keys().find(|name| !FIELDS.contains(&name.as_str()));
    match (FIELDS.iter().find(|name| !members.contains_key(**name)), unknown) {
        (Some(missing), _) => format!("missing field `{missing}`"),
        (None, Some(unknown)) => format!("unknown field `{}`", unknown.chars().take(64).collect::<String>()),
        (None, None) => "a field has a value of another type than version 1 has, or `v` is not 1".to_owned(),
    }
}

/// Why bytes are not an event, when `error` is what stopped [`Event::read`]: what is wrong with any JSON comes first,
/// then the version, then everything that only version 1 asks for.
fn explain(bytes: &[u8], error: EventError) -> EventError {
    if let Err(error) = canonical::check(bytes, canonical::EVENT_DEPTH) {
        return error.into();
    }
    let value = serde_json::from_slice::<serde_json::Value>(bytes);
    match value.ok().and_then(|value| value["v"].as_u64()) {
        Some(version) if version > VERSION => EventError::Version(version),
        Some(_) | None => error,
    }
}

impl Body {
    /// The committed values, by field name, in canonical order of names.
    pub fn commitments(&self) -> Vec<(&'static str, &Commitment)> {
        self.committed().collect()
    }

    /// As [`Body::commitments`], one after the other.
    pub(crate) fn committed(&self) -> impl Iterator<Item = (&'static str, &Commitment)> + Clone {
        const NONE: (&str, Option<&Commitment>) = ("", None);
        let all = match self {
            Self::RunCreated(body) => [("goal", Some(&body.goal)), NONE],
            Self::RunPlanned(body) => [("inputs", body.inputs.as_ref()), ("plan", Some(&body.plan))],
            Self::RunPaused(body) => [("reason", body.reason.as_ref()), NONE],
            Self::RunResumed(body) => [("reason", body.reason.as_ref()), NONE],
            Self::RunCancelRequested(body) => [("reason", body.reason.as_ref()), NONE],
            Self::RunSealed(body) => [("error", body.error.as_ref()), NONE],
            Self::StepExpanded(body) => [("items", Some(&body.items)), NONE],
            Self::StepIntended(body) => [("params", Some(&body.params)), NONE],
            Self::StepReturned(body) => [("error", body.error.as_ref()), ("output", body.output.as_ref())],
            Self::StepResolved(body) => [("reason", Some(&body.reason)), NONE],
            Self::StepSettled(body) => [("error", body.error.as_ref()), NONE],
            Self::ApprovalDecided(body) => [("reason", body.reason.as_ref()), NONE],
            Self::TenantAgentCreated(body) => [("name", Some(&body.name)), NONE],
            Self::TenantHoldPlaced(body) => [("reason", Some(&body.reason)), NONE],
            Self::TenantHoldLifted(body) => [("reason", Some(&body.reason)), NONE],
            Self::TenantValueErased(body) => [("reason", Some(&body.reason)), NONE],
            Self::TenantValueRevealed(body) => [("audience", Some(&body.audience)), NONE],
            Self::TenantKillSwitchSet(body) => [("reason", Some(&body.reason)), NONE],
            Self::RunClaimed(_)
            | Self::PolicyChecked(_)
            | Self::ApprovalRequested(_)
            | Self::ApprovalExpired(_)
            | Self::BudgetExhausted(_)
            | Self::BudgetGranted(_)
            | Self::IncidentRecorded(_)
            | Self::UsageRecorded(_)
            | Self::EvidenceSummarized(_)
            | Self::GapRecorded(_)
            | Self::TenantCreated(_)
            | Self::TenantRunOpened(_)
            | Self::TenantRunArchived(_)
            | Self::TenantRunPurged(_)
            | Self::TenantBundleExported(_)
            | Self::TenantPolicySetActivated(_)
            | Self::TenantBudgetSet(_)
            | Self::LogCreated(_)
            | Self::LogKeyAdded(_)
            | Self::LogKeyRetired(_)
            | Self::LogKeyRevoked(_)
            | Self::LogRollbackAcknowledged(_)
            | Self::LogClosed(_) => [NONE, NONE],
        };
        all.into_iter().filter_map(|(name, commitment)| Some((name, commitment?)))
    }
}
