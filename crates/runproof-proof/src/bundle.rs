//! The proof file of one run: a strict container of lines (`docs/spec/bundle.md`).
//!
//! It holds no code and no trust. There is one way to write a bundle, and only that is read.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canonical;
use crate::checkpoint::{Checkpoint, InclusionProof};
use crate::event::{Event, EventError, MAX_EVENT, MAX_RUN_EVENTS};
use crate::hash::{Hash, leaf};
use crate::note::Note;
use crate::payload::{MAX_PAYLOAD, PayloadLine};

/// First line of the container.
pub const FORMAT: &str = "runproof.bundle/v1";
/// Largest bundle, in bytes.
pub const MAX_BUNDLE: usize = 256 * 1024 * 1024;
/// Fewer bytes than any event has, for setting memory aside.
const LEAST_EVENT: usize = 128;
/// Most records of other streams.
const MAX_RECORDS: u64 = 10_000;

/// A parsed bundle. Parsing checks form and limits; [`mod@crate::verify`] checks what it says.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What the file says it is about.
    pub header: Header,
    /// Events of the run, in order.
    pub entries: Vec<Entry>,
    /// Later events of the tenant's stream that explain withheld or erased values.
    pub records: Vec<Record>,
    /// Consistency proof from the tree size that the receiver asked for.
    pub consistency: Option<Consistency>,
    /// Where the last event of the run stands in the log.
    pub anchor: Option<Anchor>,
}

/// Second line of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Whether an inclusion proof follows.
    pub anchored: bool,
    /// Number of events.
    pub events: u64,
    /// Origin of the log.
    pub log: String,
    /// Number of records.
    pub records: u64,
    /// Run id.
    pub run_id: String,
    /// Tree size from which consistency is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Tenant.
    pub tenant: String,
}

/// One event of the run, as it stands in the file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What its canonical bytes say: it is encoded as the same bytes.
    pub event: Event,
    /// Leaf hash of the bytes.
    pub leaf: Hash,
    /// Values behind the commitments; `None` exactly when the event has none.
    pub payload: Option<PayloadLine>,
}

/// One event of another stream, with its own place in the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it says.
    pub event: Event,
    /// Leaf index.
    pub index: u64,
    /// Audit path to the bundle's checkpoint.
    pub hashes: Vec<Hash>,
}

/// A consistency proof to the bundle's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// RFC 6962 section 2.1.2.
    pub hashes: Vec<Hash>,
    /// Root at the older size.
    pub root: Hash,
    /// The older size.
    pub since: u64,
}

/// Where the last event stands, and the checkpoint that shows it.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// The C2SP inclusion proof, verbatim.
    pub proof: InclusionProof,
    /// Its note.
    pub note: Note,
    /// What the note says.
    pub checkpoint: Checkpoint,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
    hashes: Vec<Hash>,
    index: u64,
}

/// Why bytes are not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Written by a newer version.
    #[error("{0}")]
    Unsupported(String),
    /// Not a bundle, or not spelled the one way that is allowed.
    #[error("line {line}: {problem}")]
    Malformed {
        /// Line number, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl Anchor {
    /// Reads an inclusion proof.
    ///
    /// # Errors
    /// As [`InclusionProof::decode`].
    pub fn parse(bytes: &[u8]) -> Result<Self, crate::note::NoteError> {
        let (proof, note, checkpoint) = InclusionProof::decode(bytes)?;
        Ok(Self { proof, note, checkpoint })
    }
}

struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    fn wrong(&self, problem: impl Into<String>) -> BundleError {
        BundleError::Malformed { line: self.number, problem: problem.into() }
    }

    fn next(&mut self, limit: usize, what: &str) -> Result<&'a [u8], BundleError> {
        self.number += 1;
        if self.rest.is_empty() {
            return Err(self.wrong(format!("the file ends where {what} should be")));
        }
        let window = &self.rest[..self.rest.len().min(limit + 1)];
        let Some(end) = newline(window) else {
            return Err(self.wrong(format!("{what} has no end, or more than {limit} bytes")));
        };
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }
}

/// Place of the first newline. A block is first searched as a whole, which is done for many bytes at a time.
fn newline(bytes: &[u8]) -> Option<usize> {
    let is_in = |block: &[u8; 64]| block.iter().fold(false, |found, byte| found | (*byte == b'\n'));
    let before = bytes.as_chunks().0.iter().take_while(|block| !is_in(block)).count() * 64;
    bytes[before..].iter().position(|byte| *byte == b'\n').map(|place| before + place)
}

/// Parses one canonical JSON line and refuses every other spelling of the same content.
fn strict<'a, T: Deserialize<'a> + Serialize>(lines: &Lines<'_>, line: &'a [u8], what: &str) -> Result<T, BundleError> {
    canonical::check(line, canonical::EVENT_DEPTH + 1).map_err(|error| lines.wrong(format!("{what}: {error}")))?;
    let parsed: T = serde_json::from_slice(line).map_err(|error| lines.wrong(format!("{what}: {error}")))?;
    let again = serde_json::to_vec(&parsed).map_err(|error| lines.wrong(format!("{what}: {error}")))?;
    if again != line {
        return Err(lines.wrong(format!("{what} is not spelled canonically")));
    }
    Ok(parsed)
}

impl Bundle {
    /// Parses a file. Limits are checked before anything is parsed.
    ///
    /// # Errors
    /// [`BundleError`] names the line.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let mut lines = Lines { rest: bytes, number: 0 };
        if bytes.len() > MAX_BUNDLE {
            return Err(lines.wrong(format!("bundle of {} bytes, at most {MAX_BUNDLE} are read", bytes.len())));
        }
        let format = lines.next(64, "the format line")?;
        if format != FORMAT.as_bytes() {
            return Err(wrong_format(&lines, format));
        }
        let line = lines.next(4096, "the header")?;
        let header: Header = strict(&lines, line, "header")?;
        if header.events > MAX_RUN_EVENTS || header.records > MAX_RECORDS {
            return Err(lines.wrong(format!("at most {MAX_RUN_EVENTS} events and {MAX_RECORDS} records are allowed")));
        }
        if header.since.is_some() && !header.anchored {
            return Err(lines.wrong("`since` without an inclusion proof"));
        }
        // A header may promise more events than the file can hold.
        let mut entries = Vec::with_capacity((header.events as usize).min(lines.rest.len() / LEAST_EVENT));
        for _ in 0..header.events {
            entries.push(parse_entry(&mut lines)?);
        }
        let mut records: Vec<Record> = Vec::new();
        for _ in 0..header.records {
            let record = parse_record(&mut lines)?;
            if records.last().is_some_and(|last| last.index >= record.index) {
                return Err(lines.wrong("records are not in order of their index"));
            }
            records.push(record);
        }
        let consistency = parse_consistency(&mut lines, header.since)?;
        let anchor = if header.anchored {
            let rest = std::mem::take(&mut lines.rest);
            lines.number += 1;
            Some(Anchor::parse(rest).map_err(|error| lines.wrong(error.to_string()))?)
        } else {
            None
        };
        if !lines.rest.is_empty() {
            lines.number += 1;
            return Err(lines.wrong("bytes after the end"));
        }
        Ok(Self { header, entries, records, consistency, anchor })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// A payload has no canonical form.
    pub fn encode(&self) -> Result<Vec<u8>, canonical::NotCanonical> {
        let cannot = |_| canonical::NotCanonical { at: 0, problem: "line that cannot be written" };
        let mut out = format!("{FORMAT}\n").into_bytes();
        out.extend(serde_json::to_vec(&self.header).map_err(cannot)?);
        out.push(b'\n');
        for entry in &self.entries {
            out.extend(entry.event.encode());
            out.push(b'\n');
            if let Some(payload) = &entry.payload {
                out.extend_from_slice(payload.as_bytes());
                out.push(b'\n');
            }
        }
        for record in &self.records {
            let text = String::from_utf8_lossy(&record.event.encode()).into_owned();
            let event = RawValue::from_string(text).map_err(cannot)?;
            let line = RecordLine { event: &event, hashes: record.hashes.clone(), index: record.index };
            out.extend(serde_json::to_vec(&line).map_err(cannot)?);
            out.push(b'\n');
        }
        if let Some(consistency) = &self.consistency {
            out.extend(serde_json::to_vec(consistency).map_err(cannot)?);
            out.push(b'\n');
        }
        if let Some(anchor) = &self.anchor {
            out.extend_from_slice(anchor.proof.encode().as_bytes());
        }
        Ok(out)
    }
}

fn wrong_format(lines: &Lines<'_>, format: &[u8]) -> BundleError {
    let text = String::from_utf8_lossy(format);
    let version = text.strip_prefix("runproof.bundle/v").filter(|version| {
        version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0') && !version.is_empty()
    });
    match version {
        Some(version) if version != "1" => {
            BundleError::Unsupported(format!("bundle format v{version} needs a newer runproof"))
        }
        Some(_) | None => lines.wrong(format!("not a proof bundle: expected `{FORMAT}`")),
    }
}

fn parse_entry(lines: &mut Lines<'_>) -> Result<Entry, BundleError> {
    let bytes = lines.next(MAX_EVENT, "an event")?;
    let event = decode_event(lines, bytes)?;
    let payload = if event.body.committed().next().is_some() {
        let line = lines.next(MAX_PAYLOAD, "a payload")?;
        Some(PayloadLine::parse(line).map_err(|error| lines.wrong(format!("payload: {error}")))?)
    } else {
        None
    };
    Ok(Entry { event, leaf: leaf(bytes), payload })
}

fn decode_event(lines: &Lines<'_>, bytes: &[u8]) -> Result<Event, BundleError> {
    Event::decode(bytes).map_err(|error| match error {
        EventError::Version(version) => {
            BundleError::Unsupported(format!("line {}: event version {version} needs a newer runproof", lines.number))
        }
        EventError::TooLarge(_)
        | EventError::NotCanonical(_)
        | EventError::Envelope(_)
        | EventError::UnknownKind(_)
        | EventError::Body { .. }
        | EventError::Spelling(_) => lines.wrong(error.to_string()),
    })
}

fn parse_record(lines: &mut Lines<'_>) -> Result<Record, BundleError> {
    let line = lines.next(MAX_EVENT + 8 * 1024, "a record")?;
    let record: RecordLine<'_> = strict(lines, line, "record")?;
    if record.hashes.len() > 63 {
        return Err(lines.wrong("record with more than 63 hashes"));
    }
    let event = decode_event(lines, record.event.get().as_bytes())?;
    Ok(Record { event, index: record.index, hashes: record.hashes })
}

fn parse_consistency(lines: &mut Lines<'_>, since: Option<u64>) -> Result<Option<Consistency>, BundleError> {
    let Some(since) = since else { return Ok(None) };
    let line = lines.next(16 * 1024, "the consistency proof")?;
    let consistency: Consistency = strict(lines, line, "consistency proof")?;
    if consistency.since != since {
        return Err(lines.wrong("the consistency proof has another size than the header"));
    }
    Ok(Some(consistency))
}
