//! Events in the making: encodes, commits and applies them one after another to a copy of the run.

use std::collections::BTreeMap;

use runproof_proof::canonical::{self, NotCanonical};
use runproof_proof::commit::{self, Commitment};
use runproof_proof::event::{Body, Event, Stream};
use runproof_proof::hash::{Hash, hmac, leaf};
use runproof_proof::payload::Payload;
use serde_json::Value;

use crate::gate::Authorized;
use crate::run::{FoldError, Run, Values};
use crate::skill::{Call, EffectClass};

/// One event, ready to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Canonical bytes.
    pub bytes: Vec<u8>,
    /// Leaf hash of the bytes.
    pub leaf: Hash,
    /// Canonical payload, when the event commits to values.
    pub payload: Option<Vec<u8>>,
}

/// Commits to values under the seed of one event.
pub struct Committer {
    seed: Hash,
    values: Values,
}

/// Why an event cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The event cannot follow: a fault of the engine.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// A value has no canonical form.
    #[error("value cannot be recorded: {0}")]
    Value(#[from] NotCanonical),
    /// The event is larger than the format allows.
    #[error("event `{kind}` has {bytes} bytes, more than the format allows")]
    TooLarge {
        /// Kind.
        kind: &'static str,
        /// Encoded size.
        bytes: usize,
    },
}

impl Committer {
    /// A committer for event number `index` of a transition.
    pub fn new(seed: &[u8; 32], index: u32) -> Self {
        Self { seed: hmac(seed, &[b"runproof.dev/event-seed/v1\0", &index.to_be_bytes()]), values: BTreeMap::new() }
    }

    /// Commits to a value under a field name and keeps it for the payload.
    ///
    /// # Errors
    /// The value has no canonical form.
    pub fn commit(&mut self, field: &str, value: &Value) -> Result<Commitment, NotCanonical> {
        let commitment = commit::commit(&self.seed.0, field, value)?;
        self.values.insert(field.to_owned(), value.clone());
        Ok(commitment)
    }

    /// As [`Committer::commit`], for a value that may be absent.
    ///
    /// # Errors
    /// The value has no canonical form.
    pub fn commit_some(&mut self, field: &str, value: Option<&Value>) -> Result<Option<Commitment>, NotCanonical> {
        value.map(|value| self.commit(field, value)).transpose()
    }
}

/// Encodes an event with the values that were committed for it.
///
/// # Errors
/// [`DraftError`].
pub fn encode(event: &Event, committer: Committer) -> Result<(Line, Values), DraftError> {
    let bytes = event.encode();
    if bytes.len() > runproof_proof::event::MAX_EVENT {
        return Err(DraftError::TooLarge { kind: event.body.kind(), bytes: bytes.len() });
    }
    // A number beyond 2^53 - 1 would be stored and never be read again.
    canonical::check(&bytes, canonical::EVENT_DEPTH)?;
    debug_assert_eq!(Event::decode(&bytes).as_ref(), Ok(event), "an event has to decode to itself");
    let values = committer.values;
    let payload = if values.is_empty() {
        None
    } else {
        Some(Payload::Whole { seed: committer.seed, values: values.clone() }.encode()?)
    };
    let leaf = leaf(&bytes);
    Ok((Line { bytes, leaf, payload }, values))
}

/// A call to perform once its intent is durable. A pure one may be computed before.
#[derive(Clone, Debug)]
pub struct Intended {
    /// The call.
    pub call: Authorized<Call>,
    /// What a crash between effect and record means.
    pub effect: EffectClass,
}

/// A run with events that are not stored yet.
pub struct Draft {
    /// The run as it will be.
    pub run: Run,
    /// The events so far.
    pub lines: Vec<Line>,
    /// Calls that were intended.
    pub calls: Vec<Intended>,
    /// Time of the events; the clock is only read once per transition.
    pub at: u64,
    seed: [u8; 32],
}

impl Draft {
    /// Begins to write after `run`. `now` is held back to the run's last time: times never decrease.
    pub fn new(run: Run, now: u64, seed: [u8; 32]) -> Self {
        let at = now.max(run.last_at);
        Self { run, lines: Vec::new(), calls: Vec::new(), at, seed }
    }

    /// Adds the event that `body` makes.
    ///
    /// # Errors
    /// [`DraftError`]; the draft is unusable afterwards.
    pub fn push<B: Into<Body>>(
        &mut self,
        body: impl FnOnce(&mut Committer) -> Result<B, NotCanonical>,
    ) -> Result<(), DraftError> {
        let mut committer = Committer::new(&self.seed, u32::try_from(self.lines.len()).unwrap_or(u32::MAX));
        let body = body(&mut committer)?.into();
        let event = Event {
            log: self.run.log.clone(),
            stream: Stream::Run(self.run.id.clone()),
            tenant: Some(self.run.tenant.clone()),
            seq: self.run.next_seq,
            prev: self.run.head,
            at: self.at,
            body,
        };
        let (line, values) = encode(&event, committer)?;
        self.run.apply(&event, line.leaf, &values)?;
        self.run.count(line.bytes.len(), line.payload.as_ref().map(Vec::len));
        self.lines.push(line);
        Ok(())
    }
}
