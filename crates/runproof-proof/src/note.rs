//! C2SP signed notes with Ed25519 keys (<https://c2sp.org/signed-note>): parse, sign, verify.
//!
//! Only signature type 0x01. A signature by a key that nobody named is reported, never counted.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature as Ed25519Signature, Signer, SigningKey, VerifyingKey};

use crate::hash::sha256;

/// Signature type byte of Ed25519 (signed-note, section "Signature types").
const ED25519: u8 = 0x01;
/// Largest note, in bytes.
pub const MAX_NOTE: usize = 64 * 1024;
/// Most signature lines.
const MAX_SIGNATURES: usize = 16;

/// Why text is not a note or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note.
    #[error("signed note: {0}")]
    Note(&'static str),
    /// Not a verification or signing key.
    #[error("key: {0}")]
    Key(&'static str),
}

/// A public key with its name: `<name>+<8 hex digits>+<base64>`.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl fmt::Debug for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.vkey())
    }
}

/// A private key with its name.
pub struct NoteSigner {
    name: String,
    key: SigningKey,
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.contains('+')
        && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn key_id(name: &str, public: &[u8; 32]) -> u32 {
    let hash = sha256(&[name.as_bytes(), b"\n", &[ED25519], public].concat());
    u32::from_be_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]])
}

/// Whether the y coordinate is below p = 2^255 - 19 (RFC 8032 section 5.1.3): every point has one spelling.
fn is_reduced(public: &[u8; 32]) -> bool {
    public[0] < 0xed || public[31] & 0x7f != 0x7f || public[1..31].iter().any(|byte| *byte != 0xff)
}

fn split_key(text: &str) -> Result<(&str, u32, [u8; 32]), NoteError> {
    let mut fields = text.splitn(3, '+');
    let (Some(name), Some(id), Some(data)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(NoteError::Key("expected <name>+<key id>+<base64>"));
    };
    if !is_name(name) {
        return Err(NoteError::Key("the name is empty or holds a space or `+`"));
    }
    let id = HEXLOWER.decode(id.as_bytes()).ok().and_then(|id| <[u8; 4]>::try_from(id).ok());
    let id = id.ok_or(NoteError::Key("the key id is not 8 lower-case hexadecimal digits"))?;
    let data = BASE64.decode(data.as_bytes()).map_err(|_| NoteError::Key("the key is not base64"))?;
    match data.split_first() {
        Some((&ED25519, key)) => {
            let key = key.try_into().map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
            Ok((name, u32::from_be_bytes(id), key))
        }
        Some(_) => Err(NoteError::Key("not an Ed25519 key (type 0x01)")),
        None => Err(NoteError::Key("the key is empty")),
    }
}

impl NoteVerifier {
    /// Parses a vkey.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, id, public) = split_key(text)?;
        if id != key_id(name, &public) {
            return Err(NoteError::Key("the key id does not belong to this name and key"));
        }
        if !is_reduced(&public) {
            return Err(NoteError::Key("not the canonical form of a point"));
        }
        let key = VerifyingKey::from_bytes(&public).map_err(|_| NoteError::Key("not a point of the curve"))?;
        if key.is_weak() {
            return Err(NoteError::Key("a weak key"));
        }
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// Name of the key; for a log: its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id as eight hexadecimal digits.
    pub fn key_id(&self) -> String {
        format!("{:08x}", self.id)
    }

    /// The vkey text.
    pub fn vkey(&self) -> String {
        let data = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        format!("{}+{:08x}+{}", self.name, self.id, BASE64.encode(&data))
    }

    /// Whether a signature line claims to be by this key.
    pub fn claims(&self, signature: &Signature) -> bool {
        signature.name == self.name && signature.id == self.id
    }

    /// Whether the signature is by this key over that text (RFC 8032, strict).
    pub fn verifies(&self, text: &str, signature: &Signature) -> bool {
        let Ok(bytes) = <[u8; 64]>::try_from(signature.bytes.as_slice()) else { return false };
        self.claims(signature) && self.key.verify_strict(text.as_bytes(), &Ed25519Signature::from_bytes(&bytes)).is_ok()
    }
}

impl NoteSigner {
    /// A key from 32 random bytes.
    ///
    /// # Errors
    /// [`NoteError::Key`] when the name cannot be written in a note.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Key("the name is empty or holds a space or `+`"));
        }
        Ok(Self { name: name.to_owned(), key: SigningKey::from_bytes(seed) })
    }

    /// Parses what [`NoteSigner::to_private_text`] writes.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text.trim_end_matches('\n').strip_prefix("PRIVATE+KEY+");
        let rest = rest.ok_or(NoteError::Key("expected PRIVATE+KEY+<name>+<key id>+<base64>"))?;
        let (name, id, seed) = split_key(rest)?;
        let signer = Self::from_seed(name, &seed)?;
        if signer.verifier().id != id {
            return Err(NoteError::Key("the key id does not belong to this name and key"));
        }
        Ok(signer)
    }

    /// The private key as text, for a file that only its owner can read.
    pub fn to_private_text(&self) -> String {
        let data = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        format!("PRIVATE+KEY+{}+{:08x}+{}\n", self.name, self.verifier().id, BASE64.encode(&data))
    }

    /// The public half.
    pub fn verifier(&self) -> NoteVerifier {
        let key = self.key.verifying_key();
        NoteVerifier { name: self.name.clone(), id: key_id(&self.name, key.as_bytes()), key }
    }

    /// A note over `text`, which ends with a newline, with this one signature.
    pub fn sign(&self, text: &str) -> String {
        let mut bytes = self.verifier().id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n\u{2014} {} {}\n", self.name, BASE64.encode(&bytes))
    }
}

/// A parsed note; nothing about its signatures is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The signed text, with its last newline.
    pub text: String,
    /// Signature lines in order.
    pub signatures: Vec<Signature>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name of the key.
    pub name: String,
    /// Key id.
    pub id: u32,
    /// The signature without the key id.
    pub bytes: Vec<u8>,
}

impl Note {
    /// Parses a note.
    ///
    /// # Errors
    /// [`NoteError::Note`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::Note("larger than 64 KiB"));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Note("not UTF-8"))?;
        if whole.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Note("holds a control character"));
        }
        let split = whole.rfind("\n\n").ok_or(NoteError::Note("no blank line before the signatures"))?;
        let (text, lines) = (&whole[..=split], &whole[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Note("the last line has no end"))?;
        let signatures = lines.split('\n').map(parse_signature).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Note("more than 16 signatures"));
        }
        let repeats = |(index, one): (usize, &Signature)| {
            signatures[..index].iter().any(|other| (&other.name, other.id) == (&one.name, one.id))
        };
        if signatures.iter().enumerate().any(repeats) {
            return Err(NoteError::Note("two signatures by one key"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }
}

fn parse_signature(line: &str) -> Result<Signature, NoteError> {
    let rest = line.strip_prefix("\u{2014} ").ok_or(NoteError::Note("a signature line must begin with an em dash"))?;
    let (name, data) = rest.split_once(' ').ok_or(NoteError::Note("a signature line needs a name and base64"))?;
    if !is_name(name) {
        return Err(NoteError::Note("the name of a signature is empty or holds a space or `+`"));
    }
    let data = BASE64.decode(data.as_bytes()).map_err(|_| NoteError::Note("a signature is not base64"))?;
    match data.split_first_chunk::<4>() {
        Some((id, bytes)) if !bytes.is_empty() => {
            Ok(Signature { name: name.to_owned(), id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
        }
        Some(_) | None => Err(NoteError::Note("a signature is too short")),
    }
}
