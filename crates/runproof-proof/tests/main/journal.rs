//! A ledger in memory, for tests: appends events, gives proofs and makes bundles, the same bytes every time.
//!
//! It does what an engine does with the format and decides nothing: [`Journal::alter`] lets a test be dishonest.

use std::cell::RefCell;
use std::collections::BTreeMap;

use runproof_proof::bundle::{Anchor, Bundle, Consistency, Entry, Header, Record};
use runproof_proof::checkpoint::{Checkpoint, InclusionProof};
use runproof_proof::commit::{self, Commitment};
use runproof_proof::event::{Body, Event, Stream};
use runproof_proof::hash::{Hash, tagged};
use runproof_proof::merkle::{self, Range};
use runproof_proof::note::NoteSigner;
use runproof_proof::payload::{Payload, PayloadLine};
use serde_json::Value;

/// Seed of the log's key: 32 bytes of 0x01.
pub(crate) const KEY_SEED: [u8; 32] = [1; 32];
/// Seed of a key that nobody trusts: 32 bytes of 0x02.
pub(crate) const OTHER_SEED: [u8; 32] = [2; 32];
/// 2025-11-21T00:00:00Z.
pub(crate) const START: u64 = 1_763_683_200_000_000;

/// One appended event with its values.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) event: Event,
    pub(crate) payload: Option<Payload>,
}

type Alter = Box<dyn Fn(&mut Event)>;

/// A ledger in memory.
pub(crate) struct Journal {
    pub(crate) origin: String,
    pub(crate) leaves: Vec<Hash>,
    pub(crate) stored: Vec<Stored>,
    heads: BTreeMap<Stream, (u64, Hash)>,
    /// Time of the next event.
    pub(crate) at: u64,
    alter: Alter,
}

/// Commits to the values of one event.
pub(crate) struct Values {
    seed: Hash,
    values: RefCell<BTreeMap<String, Value>>,
}

impl Values {
    /// Commits to a value under a field name.
    pub(crate) fn commit(&self, field: &str, value: Value) -> Commitment {
        let commitment = commit::commit(&self.seed.0, field, &value).unwrap();
        self.values.borrow_mut().insert(field.to_owned(), value);
        commitment
    }
}

impl Journal {
    pub(crate) fn new(origin: &str) -> Self {
        let (leaves, stored) = (Vec::new(), Vec::new());
        Self { origin: origin.to_owned(), leaves, stored, heads: BTreeMap::new(), at: START, alter: Box::new(|_| {}) }
    }

    /// Changes every later event before it is hashed and appended.
    pub(crate) fn alter(mut self, alter: impl Fn(&mut Event) + 'static) -> Self {
        self.alter = Box::new(alter);
        self
    }

    /// Appends an event; the values that `body` commits to become its payload. Returns the leaf index.
    pub(crate) fn append<B: Into<Body>>(
        &mut self,
        stream: &Stream,
        tenant: &str,
        body: impl FnOnce(&Values) -> B,
    ) -> u64 {
        let index = self.leaves.len() as u64;
        let seed = tagged("runproof test seed", &index.to_be_bytes());
        let values = Values { seed, values: RefCell::default() };
        let body = body(&values).into();
        let (seq, prev) = self.heads.get(stream).copied().unwrap_or((0, Hash::ZERO));
        let tenant = (*stream != Stream::Log).then(|| tenant.to_owned());
        let mut event =
            Event { log: self.origin.clone(), stream: stream.clone(), tenant, seq, prev, at: self.at, body };
        (self.alter)(&mut event);
        let values = values.values.into_inner();
        let payload = (!values.is_empty()).then_some(Payload::Whole { seed, values });
        self.at += 1_000;
        self.heads.insert(stream.clone(), (seq + 1, event.leaf_hash()));
        self.leaves.push(event.leaf_hash());
        self.stored.push(Stored { event, payload });
        index
    }

    pub(crate) fn checkpoint(&self, size: u64) -> Checkpoint {
        let root = merkle::root(&self.leaves[..size as usize]);
        Checkpoint { origin: self.origin.clone(), size, root }
    }

    pub(crate) fn hashes(&self, ranges: &[Range]) -> Vec<Hash> {
        ranges.iter().map(|range| merkle::root(&self.leaves[range.start as usize..range.end as usize])).collect()
    }

    /// Proof that leaf `index` is in the tree of `size` leaves, under a checkpoint signed by `signer`.
    pub(crate) fn anchor(&self, index: u64, size: u64, signer: &NoteSigner) -> Anchor {
        self.anchor_note(index, size, self.checkpoint(size).sign(signer))
    }

    /// The same with a given note.
    pub(crate) fn anchor_note(&self, index: u64, size: u64, note: String) -> Anchor {
        let hashes = self.hashes(&merkle::inclusion_ranges(index, size).unwrap());
        Anchor::parse(InclusionProof { index, hashes, note }.encode().as_bytes()).unwrap()
    }

    pub(crate) fn consistency(&self, since: u64, size: u64) -> Consistency {
        let hashes = self.hashes(&merkle::consistency_ranges(since, size).unwrap());
        Consistency { hashes, root: self.checkpoint(since).root, since }
    }

    pub(crate) fn record(&self, index: u64, size: u64) -> Record {
        let hashes = self.hashes(&merkle::inclusion_ranges(index, size).unwrap());
        Record { event: self.stored[index as usize].event.clone(), index, hashes }
    }

    /// The bundle of a run, with everything shown, in the tree of all leaves.
    pub(crate) fn bundle(&self, tenant: &str, run_id: &str) -> Bundle {
        self.bundle_at(tenant, run_id, self.leaves.len() as u64)
    }

    /// The same in a tree of `size` leaves; events of later leaves are not in it.
    pub(crate) fn bundle_at(&self, tenant: &str, run_id: &str, size: u64) -> Bundle {
        let stream = Stream::Run(run_id.to_owned());
        let of_run = || (0u64..size).zip(&self.stored).filter(|(_, stored)| stored.event.stream == stream);
        let entries: Vec<Entry> =
            of_run().map(|(_, stored)| entry(&stored.event, stored.payload.as_ref().map(line))).collect();
        let header = Header {
            anchored: true,
            events: entries.len() as u64,
            log: self.origin.clone(),
            records: 0,
            run_id: run_id.to_owned(),
            since: None,
            tenant: tenant.to_owned(),
        };
        let last = of_run().last().map_or(0, |(index, _)| index);
        let anchor = Some(self.anchor(last, size, &signer()));
        Bundle { header, entries, records: Vec::new(), consistency: None, anchor }
    }
}

/// An entry with the hash of its own bytes.
pub(crate) fn entry(event: &Event, payload: Option<PayloadLine>) -> Entry {
    Entry { event: event.clone(), leaf: event.leaf_hash(), payload }
}

/// The line of a payload.
pub(crate) fn line(payload: &Payload) -> PayloadLine {
    PayloadLine::parse(&payload.encode().unwrap()).unwrap()
}

/// The log's key.
pub(crate) fn signer() -> NoteSigner {
    NoteSigner::from_seed(crate::samples::LOG, &KEY_SEED).unwrap()
}

/// A key with the log's name that nobody trusts.
pub(crate) fn other_signer() -> NoteSigner {
    NoteSigner::from_seed(crate::samples::LOG, &OTHER_SEED).unwrap()
}
