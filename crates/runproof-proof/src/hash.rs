//! SHA-256 digests and the hashes that runproof builds from them (RFC 6962 section 2.1, RFC 2104).
//!
//! Every hash with a purpose of its own has a tag, so that no value of one purpose can stand in for another.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// A SHA-256 digest; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// 32 zero bytes: `prev` of the first event of a stream.
    pub const ZERO: Self = Self([0; 32]);

    /// Parses 64 lower-case hexadecimal digits; anything else is `None`.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        // Without branches, so that it is done for many digits at a time; 0x10 marks what is no digit.
        let values = digits.map(|digit| match (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a')) {
            (value @ 0..=9, _) => value,
            (_, value @ 0..=5) => value + 10,
            _ => 0x10,
        });
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(values.as_chunks::<2>().0) {
            *byte = pair[0] << 4 | pair[1];
        }
        (values.iter().fold(0, |all, value| all | value) < 0x10).then_some(Self(bytes))
    }

    /// Parses standard padded base64 of 32 bytes, as checkpoints and tlog proofs write hashes.
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Lower-case hexadecimal.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Standard padded base64.
    pub fn base64(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0u8; 64];
        for (digits, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *digits = [byte >> 4, byte & 0xf].map(|value| value + if value < 10 { b'0' } else { b'a' - 10 });
        }
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(HexVisitor)
    }
}

struct HexVisitor;

impl de::Visitor<'_> for HexVisitor {
    type Value = Hash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 lower-case hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Hash, E> {
        Hash::from_hex(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Plain SHA-256.
pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// SHA-256 under a purpose: `SHA-256(tag || 0x00 || bytes)`.
pub fn tagged(tag: &str, bytes: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(tag.as_bytes());
    hasher.update([0]);
    hasher.update(bytes);
    Hash(hasher.finalize().into())
}

/// Leaf hash of an event: `SHA-256(0x00 || bytes)` (RFC 6962 section 2.1).
pub fn leaf(bytes: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(bytes);
    Hash(hasher.finalize().into())
}

/// Interior node: `SHA-256(0x01 || left || right)` (RFC 6962 section 2.1).
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    sha256(&bytes)
}

/// HMAC-SHA-256 over the concatenation of `parts` (RFC 2104).
pub fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Hash {
    finish(HmacKey::new(key).0, parts)
}

/// A key of HMAC-SHA-256, made ready for several messages: half of the work for a short one.
pub(crate) struct HmacKey(Hmac<Sha256>);

impl HmacKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    /// As [`hmac()`], under this key.
    pub(crate) fn hmac(&self, parts: &[&[u8]]) -> Hash {
        finish(self.0.clone(), parts)
    }
}

fn finish(mut mac: Hmac<Sha256>, parts: &[&[u8]]) -> Hash {
    for part in parts {
        mac.update(part);
    }
    Hash(mac.finalize().into_bytes().into())
}
