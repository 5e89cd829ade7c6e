//! Verdicts and finding codes: the closed vocabulary of what verification can say (`docs/spec/verdicts.md`).

use serde::Serialize;

use crate::event::words_enum;

/// Declares the finding codes with what each means and what to do next, in one table.
macro_rules! codes {
    ($($variant:ident $code:literal $layer:ident $verdict:ident $meaning:literal $next:literal;)+) => {
        /// What can be found. The code is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant),+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The stable code.
            pub fn word(self) -> &'static str { match self { $(Self::$variant => $code),+ } }
            /// The layer in which it was found.
            pub fn layer(self) -> Layer { match self { $(Self::$variant => Layer::$layer),+ } }
            /// The best verdict that is still possible.
            pub fn verdict(self) -> Verdict { match self { $(Self::$variant => Verdict::$verdict),+ } }
            /// What it means.
            pub fn meaning(self) -> &'static str { match self { $(Self::$variant => $meaning),+ } }
            /// What to do next.
            pub fn next_step(self) -> &'static str { match self { $(Self::$variant => $next),+ } }
        }
    };
}

words_enum! {
    /// Where in the structure of a proof a finding belongs.
    Layer {
        /// The bytes themselves.
        Bytes = "bytes",
        /// Order and links of events.
        Chain = "chain",
        /// What may follow what.
        Structure = "structure",
        /// Values behind commitments.
        Payload = "payload",
        /// What the engine must have decided.
        Replay = "replay",
        /// The seal of the run.
        Seal = "seal",
        /// The place in the log.
        Inclusion = "inclusion",
        /// The signed head of the log.
        Checkpoint = "checkpoint",
        /// Rows of a database.
        Row = "row",
    }
}

/// The headline of a report, from best to worst. Its order decides which of several findings speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Everything matches a sealed run in a checkpoint signed by a key that the verifier supplied.
    Verified,
    /// Intact so far; the run is not over.
    Open,
    /// Sealed and intact, but no checkpoint that satisfies the verifier.
    Unanchored,
    /// Hashes agree, but the verifier brought no key.
    Unpinned,
    /// Something is missing that no record explains.
    Incomplete,
    /// Needs a newer verifier, or there is nothing to verify.
    Unsupported,
    /// The key is wrong, retired or revoked.
    KeyInvalid,
    /// Older than what the verifier has seen.
    RolledBack,
    /// Two signed histories.
    Forked,
    /// Changed after it was recorded.
    Tampered,
    /// Cannot be read.
    Malformed,
}

impl Verdict {
    /// Every verdict, from best to worst.
    pub const ALL: &'static [Self] = &[
        Self::Verified,
        Self::Open,
        Self::Unanchored,
        Self::Unpinned,
        Self::Incomplete,
        Self::Unsupported,
        Self::KeyInvalid,
        Self::RolledBack,
        Self::Forked,
        Self::Tampered,
        Self::Malformed,
    ];

    /// The word as printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Verified => "VERIFIED",
            Self::Open => "OPEN",
            Self::Unanchored => "UNANCHORED",
            Self::Unpinned => "UNPINNED",
            Self::Incomplete => "INCOMPLETE",
            Self::KeyInvalid => "KEY_INVALID",
            Self::RolledBack => "ROLLED_BACK",
            Self::Forked => "FORKED",
            Self::Tampered => "TAMPERED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Malformed => "MALFORMED",
        }
    }

    /// `verification_status`: the vocabulary of the first system's reports.
    pub fn status(self) -> &'static str {
        match self {
            Self::Verified => "VERIFIED",
            Self::Open | Self::Unanchored | Self::Unpinned | Self::Incomplete => "INCOMPLETE",
            Self::KeyInvalid | Self::RolledBack | Self::Forked | Self::Tampered | Self::Malformed => "FAILED",
            Self::Unsupported => "UNSUPPORTED",
        }
    }

    /// Exit code of `proof` and `verify`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Open => 10,
            Self::Unanchored => 11,
            Self::Unpinned => 12,
            Self::Incomplete => 13,
            Self::Tampered => 20,
            Self::Forked => 21,
            Self::RolledBack => 22,
            Self::KeyInvalid => 23,
            Self::Malformed => 30,
            Self::Unsupported => 31,
        }
    }

    /// What the verdict says, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Verified => "everything matches a sealed run in a checkpoint signed by a key that you supplied",
            Self::Open => "everything recorded so far is intact, but the run is not over",
            Self::Unanchored => "the run is sealed and intact, but no signed checkpoint meets what you ask for",
            Self::Unpinned => {
                "all hashes agree with each other, but you supplied no key, so anybody could have made this"
            }
            Self::Incomplete => "something is missing that no record explains",
            Self::KeyInvalid => "the checkpoint is not by a key that you accept; this says nothing about tampering",
            Self::RolledBack => "you know a newer head of this log: this is an older state",
            Self::Forked => "the log signed two different histories",
            Self::Tampered => "something was changed after it was recorded",
            Self::Unsupported => "there is nothing here that this version can verify",
            Self::Malformed => "the file cannot be read as a proof bundle",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

codes! {
    BundleMalformed "bundle.malformed" Bytes Malformed "the file is not a bundle, or not spelled the one allowed way" "ask for the file again; if it still fails, it was changed or damaged on the way";
    BundleUnsupported "bundle.unsupported" Bytes Unsupported "the file was written by a newer version" "verify it with the version that the message names";
    EventMalformed "event.malformed" Bytes Tampered "a recorded event no longer decodes" "compare the row with a backup or an exported bundle";
    ChainLink "chain.link" Chain Tampered "an event does not follow from the one before it" "the event before, or this one, was changed, inserted or removed";
    ChainIdentity "chain.identity" Chain Tampered "an event belongs to another log, tenant or stream" "events of different runs or tenants were mixed";
    ChainTime "chain.time" Chain Tampered "time goes backwards within the run" "the engine never writes this: the event was made elsewhere";
    StructureFirst "structure.first" Structure Tampered "the run does not begin with its creation" "the beginning of the run was removed or replaced";
    StructureOrder "structure.order" Structure Tampered "an event stands where the engine never puts it" "the event was made elsewhere";
    StructureAfterSeal "structure.after_seal" Structure Tampered "something follows the seal" "the event was added after the run was over";
    StructureTotals "structure.totals" Structure Tampered "a sum does not equal its parts" "one of the events that are summed was made elsewhere";
    OutcomeMissing "outcome.missing" Structure Incomplete "an intent has no outcome" "the run is over but nobody recorded what came of this attempt";
    OutcomeUnknown "outcome.unknown" Structure Incomplete "the run ended without anybody knowing whether this effect happened" "ask the receiver of the call; the run's own record cannot tell";
    GapRecorded "gap.recorded" Structure Incomplete "the engine recorded a fact against itself" "read the event: it says what was lost";
    PayloadMismatch "payload.mismatch" Payload Tampered "a value does not match its commitment" "the value was changed after it was recorded";
    PayloadMissing "payload.missing" Payload Incomplete "a value is missing and no record explains why" "ask for a bundle with the value, or with the record of its erasure";
    PayloadErased "payload.unexplained_erasure" Payload Tampered "a value was removed without an erasure record" "restore the value, or find who removed it";
    ReplayPlan "replay.plan" Replay Tampered "the plan is not one that the engine accepts" "the plan was made elsewhere";
    ReplayDecision "replay.decision" Replay Tampered "the engine would have decided something else" "the event was made elsewhere, or by an engine with other rules";
    ReplayInput "replay.input" Replay Tampered "the step's input does not follow from the plan and the recorded outcomes" "the input or an earlier outcome was made elsewhere";
    SealCount "seal.count" Seal Tampered "the seal counts other events or steps" "events were removed or added";
    SealRoot "seal.root" Seal Tampered "the seal has another root than the events" "an event was changed after the run was sealed";
    SealTotals "seal.totals" Seal Tampered "the totals of the seal do not equal the events" "the seal was made elsewhere";
    RunOpen "run.open" Seal Open "the run is not sealed" "export again when the run is over";
    RunMissing "run.missing" Row Incomplete "the tenant's stream knows the run, but its events are gone" "restore the database from a backup";
    RunPurged "run.purged" Row Incomplete "the run was purged on record; only its tombstone is left" "a bundle that was exported before still verifies; the tombstone shows that the run existed and how it ended";
    RunNoTrace "run.no_trace" Row Unsupported "No trace found for run" "check the run id; a row that somebody inserted by hand has no trace";
    RunNoSteps "run.no_steps" Structure Unsupported "No steps to verify" "wait until the run has settled a step or is over";
    InclusionProof "inclusion.proof" Inclusion Tampered "the run's last event is not where the log says" "the event, its index or the tree was changed";
    InclusionRecord "inclusion.record" Inclusion Tampered "a record of the tenant is not where the log says" "the record was made elsewhere";
    InclusionConsistency "inclusion.consistency" Inclusion Tampered "the consistency proof does not lead to the checkpoint" "ask for the file again; the proof was changed or damaged, which is no sign of a fork";
    CheckpointMissing "checkpoint.missing" Checkpoint Unanchored "no checkpoint covers the run yet" "wait a moment and export again; with no worker running, any runproof command of the operator signs one";
    CheckpointUnpinned "checkpoint.unpinned" Checkpoint Unpinned "you supplied no key" "get the log's key from somewhere that the author of this file does not control, and pass it with --key or --trust";
    CheckpointSignature "checkpoint.signature" Checkpoint Tampered "the signature does not fit the checkpoint" "the checkpoint was changed after it was signed";
    CheckpointKey "checkpoint.key" Checkpoint KeyInvalid "the checkpoint is not signed by a key that you accept" "check that you have the right key for this log; it may have been rotated";
    CheckpointKeyRetired "checkpoint.key_retired" Checkpoint KeyInvalid "the key was retired or revoked before this checkpoint" "ask the operator which key is in force";
    CheckpointOrigin "checkpoint.origin" Checkpoint Tampered "the checkpoint is of another log than the events" "the proof was put together from two logs";
    CheckpointUnknownSignature "checkpoint.unknown_signature" Checkpoint KeyInvalid "the checkpoint has a signature line that you have no key for" "add the key to your trust file, or ask for a bundle without that line";
    HeadOlder "head.rolled_back" Checkpoint RolledBack "you know a newer head of this log" "ask for a fresh export";
    HeadForked "head.forked" Checkpoint Forked "a head that you know does not lead to this checkpoint" "keep both: together they prove that the log signed two histories";
    HeadNotCompared "head.not_compared" Checkpoint Unanchored "a head that you know could not be compared" "ask for a bundle exported with --since and the size of your head";
    RowChanged "row.changed" Row Tampered "a column differs from what the events say" "somebody changed the row past the engine";
    RowMissing "row.missing" Row Tampered "a row that the events call for is gone" "somebody deleted or moved the row past the engine";
    RowExtra "row.extra" Row Tampered "a row that no event calls for" "somebody inserted or moved the row past the engine";
    RowColumn "row.unknown_column" Row Tampered "a column that this version does not know" "the schema was changed past `runproof migrate`";
}

/// One finding, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable code.
    #[serde(serialize_with = "code_word")]
    pub code: Code,
    /// Layer.
    pub layer: Layer,
    /// Run.
    pub run_id: String,
    /// Event of the run, when it can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// JSON path, `table.column`, or line.
    pub place: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub got: String,
    /// What it means.
    pub meaning: &'static str,
    /// What to do next.
    pub next_step: &'static str,
}

fn code_word<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.word())
}

impl Finding {
    /// A finding at a place.
    pub fn new(code: Code, run_id: &str, place: impl Into<String>) -> Self {
        Self {
            code,
            layer: code.layer(),
            run_id: run_id.to_owned(),
            seq: None,
            place: printable(&place.into()),
            expected: String::new(),
            got: String::new(),
            meaning: code.meaning(),
            next_step: code.next_step(),
        }
    }

    /// Names the event.
    #[must_use]
    pub fn at(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    /// Says what should be there and what is.
    #[must_use]
    pub fn differs(mut self, expected: impl ToString, got: impl ToString) -> Self {
        self.expected = printable(&expected.to_string());
        self.got = printable(&got.to_string());
        self
    }
}

/// A number and what is counted, for people: `1 leaf`, `2 leaves`.
pub fn counted(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Text for a report: control and direction characters escaped, long text cut. Reports quote hostile files.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(256));
    for (count, character) in text.chars().enumerate() {
        if count == 200 {
            out.push('…');
            break;
        }
        let direction = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if character.is_control() || direction {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}
