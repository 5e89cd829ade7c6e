//! Salted commitments: a value is hidden behind hashes, member by member, and each member can be shown alone.
//!
//! Formulas and their reasons: `docs/spec/commitments.md`. Randomness comes in as a seed; nothing is drawn here.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{self, NotCanonical};
use crate::hash::{Hash, hmac};
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
pub struct Part {
    /// Position in canonical order of names; 0 for a whole value.
    pub index: u32,
    /// Member name; empty for a whole value.
    pub name: String,
    /// Canonical bytes of the member's value.
    pub bytes: Vec<u8>,
}

/// Divides a value into the parts that are committed separately.
///
/// # Errors
/// The value has no canonical form, or is larger than [`MAX_VALUE`].
pub fn parts(value: &Value) -> Result<(Division, Vec<Part>), NotCanonical> {
    let too_large = NotCanonical { at: 0, problem: "value larger than 16 MiB" };
    if let Value::Object(members) = value
        && (1..=MAX_MEMBERS).contains(&members.len())
    {
        let mut total = 0;
        let mut parts = Vec::with_capacity(members.len());
        for (index, name) in (0u32..).zip(canonical::sorted_names(members)) {
            let bytes = canonical::to_bytes(&members[name])?;
            if name.contains('\0') {
                return Err(NotCanonical { at: 0, problem: "U+0000 is not allowed" });
            }
            total += bytes.len() + name.len();
            parts.push(Part { index, name: name.clone(), bytes });
        }
        return if total > MAX_VALUE { Err(too_large) } else { Ok((Division::Members, parts)) };
    }
    let bytes = canonical::to_bytes(value)?;
    if bytes.len() > MAX_VALUE {
        return Err(too_large);
    }
    Ok((Division::Whole, vec![Part { index: 0, name: String::new(), bytes }]))
}

/// Salt of one part of the field `field`, from the event's seed.
pub fn salt(seed: &[u8; 32], field: &str, index: u32) -> Hash {
    let length = (field.len() as u32).to_be_bytes();
    hmac(seed, &[SALT, &length, field.as_bytes(), &index.to_be_bytes()])
}

/// Hash of one part under its salt.
pub fn mac(salt: &Hash, division: Division, name: &str, bytes: &[u8]) -> Hash {
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
/// As [`parts`].
pub fn commit(seed: &[u8; 32], field: &str, value: &Value) -> Result<Commitment, NotCanonical> {
    let (division, parts) = parts(value)?;
    let macs =
        parts.iter().map(|part| mac(&salt(seed, field, part.index), division, &part.name, &part.bytes)).collect();
    Ok(Commitment { division, macs })
}
