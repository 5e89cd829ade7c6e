//! What a verifier trusts. It always comes from the verifier: never from a bundle, never from the database.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::note::{Note, NoteError, NoteVerifier};

/// Format name of a trust file.
pub const FORMAT: &str = "runproof.trust/v1";

/// Keys that a verifier accepts, and heads that it has seen.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Where the keys come from, for the report: `--key`, `--trust FILE`, `local`, …
    pub source: String,
    /// Keys of logs.
    pub keys: Vec<TrustedKey>,
    /// Newest heads that the verifier knows from elsewhere.
    pub heads: Vec<Checkpoint>,
}

/// One key and how far it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key; its name is the origin of the log.
    pub verifier: NoteVerifier,
    /// Checkpoints of larger trees by this key are not accepted: it was retired or revoked at this size.
    pub last_size: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<String>,
    keys: Vec<FileKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKey {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    last_size: Option<u64>,
    vkey: String,
}

/// Reads a member that is left out when it is absent: `null` is refused.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

/// Why a trust file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not JSON of the right shape.
    #[error("trust file: {0}")]
    File(String),
    /// Another format.
    #[error("trust file has format `{0}`, expected `{FORMAT}`")]
    Format(String),
    /// No key at all: nothing could ever be verified.
    #[error("trust file names no key")]
    Empty,
    /// One key stands twice: nobody could say which limit holds.
    #[error("trust file names key `{0}` twice")]
    Twice(String),
    /// A key or head cannot be read.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A head that no key of the file has signed.
    #[error("known head of `{0}` is not signed by a trusted key")]
    Head(String),
}

impl Trust {
    /// Trust in a single key.
    pub fn in_key(source: &str, verifier: NoteVerifier) -> Self {
        Self { source: source.to_owned(), keys: vec![TrustedKey { verifier, last_size: None }], heads: Vec::new() }
    }

    /// Reads a trust file.
    ///
    /// # Errors
    /// [`TrustError`]; a file without keys is refused, so that an empty list never means "satisfied".
    pub fn parse(source: &str, bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > 1024 * 1024 {
            return Err(TrustError::File("larger than 1 MiB".to_owned()));
        }
        let file: File = serde_json::from_slice(bytes).map_err(|error| TrustError::File(error.to_string()))?;
        if file.format != FORMAT {
            return Err(TrustError::Format(file.format));
        }
        if file.keys.is_empty() {
            return Err(TrustError::Empty);
        }
        let keys = file
            .keys
            .iter()
            .map(|key| Ok(TrustedKey { verifier: NoteVerifier::parse(&key.vkey)?, last_size: key.last_size }));
        let keys: Vec<TrustedKey> = keys.collect::<Result<_, NoteError>>()?;
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| other.verifier == key.verifier) {
                return Err(TrustError::Twice(key.verifier.vkey()));
            }
        }
        let mut trust = Self { source: source.to_owned(), keys, heads: Vec::new() };
        for head in &file.heads {
            trust.add_head(head.as_bytes())?;
        }
        Ok(trust)
    }

    /// Adds a head that the verifier knows, as a signed checkpoint.
    ///
    /// # Errors
    /// The note cannot be read, or no trusted key signed it.
    pub fn add_head(&mut self, note: &[u8]) -> Result<(), TrustError> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        let signed = note.signatures.iter().any(|signature| {
            let by = |key: &TrustedKey| {
                key.verifier.name() == checkpoint.origin && key.verifier.verifies(&note.text, signature)
            };
            self.keys.iter().any(by)
        });
        if !signed {
            return Err(TrustError::Head(checkpoint.origin));
        }
        self.heads.push(checkpoint);
        Ok(())
    }

    /// The text of a trust file with these keys.
    pub fn file(keys: &[NoteVerifier]) -> String {
        let keys = keys.iter().map(|key| FileKey { last_size: None, vkey: key.vkey() }).collect();
        let file = File { format: FORMAT.to_owned(), heads: Vec::new(), keys };
        let text = serde_json::to_string_pretty(&file).expect("strings and numbers always encode");
        format!("{text}\n")
    }
}
