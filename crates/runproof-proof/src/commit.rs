//! Salted commitments: a value is hidden behind hashes, member by member, and each member can be shown alone.
//!
//! Formulas and their reasons: `docs/spec/commitments.md`. Randomness comes in as a seed; nothing is drawn here.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{self, NotCanonical, Scanner, VALUE_DEPTH};
use crate::hash::{Hash, HmacKey, hmac};
use crate::merkle;

/// Objects with more members are committed as one value.
pub const MAX_MEMBERS: usize = 64;
/// Members longer than this are committed chunk by chunk, in chunks of this size.
pub const CHUNK: usize = 64 * 1024;
/// Largest canonical value, in bytes.
pub const MAX_VALUE: usize = 16 * 1024 * 1024;

const SALT: &[u8] = b"runproof.dev/salt/v1\0";
const MEMBER: &[u8] = b"runproof.dev/member/v1\0";
const WHOLE: &[u8] = b"runproof.dev/whole/v1\0";
const CHUNKED: &[u8] = b"runproof.dev/chunked/v1\0";
const CHUNK_SALT: &[u8] = b"runproof.dev/chunk-salt/v1\0";
const CHUNK_HASH: &[u8] = b"runproof.dev/chunk/v1\0";
const ROOT_SALT: &[u8] = b"runproof.dev/root-salt/v1\0";

/// How a value is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Division {
    /// An object of 1 to [`MAX_MEMBERS`] members: one hash for each, in canonical order of names.
    Members,
    /// Anything else: one hash.
    Whole,
}

/// What an event says of a value that it does not show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Commitment {
    /// How the value is divided.
    #[serde(rename = "as")]
    pub division: Division,
    /// One hash for each part.
    pub macs: Vec<Hash>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "as")]
    division: Division,
    macs: Vec<Hash>,
}

impl TryFrom<Wire> for Commitment {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        match wire.division {
            Division::Whole if wire.macs.len() != 1 => Err("a whole value has exactly one hash"),
            Division::Members if !(1..=MAX_MEMBERS).contains(&wire.macs.len()) => Err("a value has 1 to 64 parts"),
            Division::Whole | Division::Members => Ok(Self { division: wire.division, macs: wire.macs }),
        }
    }
}

/// One part of a value, as it is committed and as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'a> {
    /// Position in canonical order of names; 0 for a whole value.
    pub index: u32,
    /// Member name; empty for a whole value.
    pub name: Cow<'a, str>,
    /// Canonical text of the member's value.
    pub text: &'a str,
}

impl Part<'_> {
    /// Hash of the part under its salt.
    pub fn mac(&self, salt: &Hash, division: Division) -> Hash {
        mac(salt, division, &self.name, self.text.as_bytes())
    }
}

/// The canonical text of a value, for [`divide`].
///
/// # Errors
/// The value has no canonical form.
pub fn text(value: &Value) -> Result<String, NotCanonical> {
    let bytes = canonical::to_depth(value, VALUE_DEPTH + 1)?;
    Ok(String::from_utf8(bytes).expect("JSON is UTF-8"))
}

/// Divides the canonical text of a value into the parts that are committed separately.
///
/// # Errors
/// The text is not canonical, or the value is deeper or larger ([`MAX_VALUE`]) than allowed.
pub fn divide(text: &str) -> Result<(Division, Vec<Part<'_>>), NotCanonical> {
    let mut scanner = Scanner::new(text);
    let mut parts = Vec::new();
    let mut count = 0;
    let depth = if text.starts_with('{') {
        scanner.members(VALUE_DEPTH + 1, |scanner, name, levels| {
            let start = scanner.at();
            let levels = scanner.value(levels)?;
            if count < MAX_MEMBERS {
                parts.push(Part { index: count as u32, name: name.text(), text: scanner.since(start) });
            }
            count += 1;
            Ok(levels)
        })?
    } else {
        scanner.value(VALUE_DEPTH)?
    };
    scanner.end()?;
    let (division, parts) = if (1..=MAX_MEMBERS).contains(&count) {
        (Division::Members, parts)
    } else if depth > VALUE_DEPTH {
        return Err(NotCanonical { at: 0, problem: "nested too deeply" });
    } else {
        (Division::Whole, vec![Part { index: 0, name: Cow::Borrowed(""), text }])
    };
    if parts.iter().map(|part| part.name.len() + part.text.len()).sum::<usize>() > MAX_VALUE {
        return Err(NotCanonical { at: 0, problem: "value larger than 16 MiB" });
    }
    Ok((division, parts))
}

/// Salt of one part of the field `field`, from the event's seed.
pub fn salt(seed: &[u8; 32], field: &str, index: u32) -> Hash {
    salt_under(&HmacKey::new(seed), field, index)
}

/// As [`salt`], with the seed made ready once for all parts of an event.
pub(crate) fn salt_under(seed: &HmacKey, field: &str, index: u32) -> Hash {
    let length = (field.len() as u32).to_be_bytes();
    seed.hmac(&[SALT, &length, field.as_bytes(), &index.to_be_bytes()])
}

fn mac(salt: &Hash, division: Division, name: &str, bytes: &[u8]) -> Hash {
    let tag = match division {
        Division::Members => MEMBER,
        Division::Whole => WHOLE,
    };
    let name_length = (name.len() as u32).to_be_bytes();
    let length = (bytes.len() as u64).to_be_bytes();
    if bytes.len() <= CHUNK {
        return hmac(&salt.0, &[tag, &name_length, name.as_bytes(), &length, bytes]);
    }
    let root = chunk_root(salt, bytes);
    let root_salt = hmac(&salt.0, &[ROOT_SALT]);
    hmac(&root_salt.0, &[CHUNKED, tag, &name_length, name.as_bytes(), &length, &root.0])
}

/// RFC 6962 root over the salted hashes of the 64 KiB chunks of a long value.
fn chunk_root(salt: &Hash, bytes: &[u8]) -> Hash {
    let hashes: Vec<Hash> = (0u32..)
        .zip(bytes.chunks(CHUNK))
        .map(|(index, chunk)| {
            let chunk_salt = hmac(&salt.0, &[CHUNK_SALT, &index.to_be_bytes()]);
            hmac(&chunk_salt.0, &[CHUNK_HASH, &index.to_be_bytes(), chunk])
        })
        .collect();
    merkle::root(&hashes)
}

/// Commits to a value under the event's seed.
///
/// # Errors
/// The value has no canonical form, or is deeper or larger than allowed.
pub fn commit(seed: &[u8; 32], field: &str, value: &Value) -> Result<Commitment, NotCanonical> {
    let text = text(value)?;
    let (division, parts) = divide(&text)?;
    let seed = HmacKey::new(seed);
    let macs = parts.iter().map(|part| part.mac(&salt_under(&seed, field, part.index), division)).collect();
    Ok(Commitment { division, macs })
}
