//! Checkpoints (<https://c2sp.org/tlog-checkpoint>) and offline inclusion proofs (<https://c2sp.org/tlog-proof>).
//!
//! Strict: no extension lines and no extra data, because nobody could say what they mean.

use crate::hash::Hash;
use crate::note::{Note, NoteError, NoteSigner};

const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1\n";
/// Longest inclusion proof: 2^63 leaves.
const MAX_PROOF: usize = 63;

/// Size and root of a log at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.base64())
    }

    /// The signed note.
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&self.text())
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// [`NoteError::Note`] says which line.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Note("a checkpoint has exactly three lines: origin, size, root"));
        };
        if origin.is_empty() {
            return Err(NoteError::Note("the origin of a checkpoint is empty"));
        }
        let size = parse_decimal(size).ok_or(NoteError::Note("the size of a checkpoint is not a decimal number"))?;
        let root =
            Hash::from_base64(root).ok_or(NoteError::Note("the root of a checkpoint is not base64 of 32 bytes"))?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// A decimal number without sign or leading zeros.
fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A leaf's place in a log, with the checkpoint that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Leaf index, from 0.
    pub index: u64,
    /// Audit path, leaf side first.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, byte for byte.
    pub note: String,
}

impl InclusionProof {
    /// The file `c2sp.org/tlog-proof@v1`.
    pub fn encode(&self) -> String {
        let mut out = format!("{PROOF_HEADER}index {}\n", self.index);
        for hash in &self.hashes {
            out.push_str(&hash.base64());
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.note);
        out
    }

    /// Parses the file.
    ///
    /// # Errors
    /// [`NoteError::Note`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Note, Checkpoint), NoteError> {
        if bytes.len() > crate::note::MAX_NOTE + 64 * 1024 {
            return Err(NoteError::Note("inclusion proof larger than 128 KiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NoteError::Note("inclusion proof is not UTF-8"))?;
        let rest = text.strip_prefix(PROOF_HEADER).ok_or(NoteError::Note("expected c2sp.org/tlog-proof@v1"))?;
        let (head, note_text) =
            rest.split_once("\n\n").ok_or(NoteError::Note("no blank line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(parse_decimal);
        let index = index.ok_or(NoteError::Note("expected `index <number>`"))?;
        let hashes: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
        let hashes = hashes.ok_or(NoteError::Note("a hash of the inclusion proof is not base64 of 32 bytes"))?;
        if hashes.len() > MAX_PROOF {
            return Err(NoteError::Note("inclusion proof with more than 63 hashes"));
        }
        let note = Note::parse(note_text.as_bytes())?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        Ok((Self { index, hashes, note: note_text.to_owned() }, note, checkpoint))
    }
}
