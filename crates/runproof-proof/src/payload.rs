//! The values behind an event's commitments (`docs/spec/commitments.md`).
//!
//! A payload is stored and shown beside its event: whole, with the seed of all salts, or in parts, each with its own
//! salt. What is absent is withheld, never assumed. [`PayloadLine`] is the canonical line, which commitments are
//! compared with; [`Payload`] is what it says.

mod line;
mod open;

use std::collections::BTreeMap;

pub use line::PayloadLine;
pub use open::{Mismatch, Opened};
use serde::Serialize;
use serde_json::Value;

use crate::canonical::{self, NotCanonical};
use crate::commit::{self, Division};
use crate::hash::Hash;

/// Longest payload line, in bytes.
pub const MAX_PAYLOAD: usize = 17 * 1024 * 1024;

/// The values behind an event's commitments.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Everything: the seed gives every salt.
    Whole {
        /// 32 random bytes, drawn for this event alone.
        seed: Hash,
        /// Field name to value.
        values: BTreeMap<String, Value>,
    },
    /// Some parts, each with its own salt; other parts are withheld or erased.
    Parts(BTreeMap<String, Vec<ShownPart>>),
}

/// One part that is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShownPart {
    /// Position in the commitment.
    pub index: u32,
    /// Member name; empty for a whole value.
    pub name: String,
    /// Salt of this part.
    pub salt: Hash,
    /// The value.
    pub value: Value,
}

impl Payload {
    /// A payload with nothing shown.
    pub fn withheld() -> Self {
        Self::Parts(BTreeMap::new())
    }

    /// Parses a payload line.
    ///
    /// # Errors
    /// As [`PayloadLine::parse`].
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        PayloadLine::parse(bytes).map(|line| line.decode())
    }

    /// The canonical payload line.
    ///
    /// # Errors
    /// A value has no canonical form.
    pub fn encode(&self) -> Result<Vec<u8>, NotCanonical> {
        match self {
            Self::Whole { seed, values } => {
                let mut out = format!("{{\"seed\":\"{seed}\",\"values\":{{").into_bytes();
                let mut values: Vec<(&String, &Value)> = values.iter().collect();
                values.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                for (index, (name, value)) in values.into_iter().enumerate() {
                    out.extend_from_slice(if index > 0 { b"," } else { b"" });
                    out.extend_from_slice(&canonical::to_bytes(&Value::from(name.as_str()))?);
                    out.push(b':');
                    out.extend_from_slice(&canonical::to_bytes(value)?);
                }
                out.extend_from_slice(b"}}");
                Ok(out)
            }
            Self::Parts(parts) => {
                let value = serde_json::json!({ "parts": parts });
                canonical::to_bytes(&value)
            }
        }
    }

    /// The same payload with one part, or all parts of a field, taken out together with the seed.
    ///
    /// # Errors
    /// A value has no canonical form.
    pub fn without(&self, field: &str, index: Option<u32>) -> Result<Self, NotCanonical> {
        let mut parts = self.to_parts()?;
        if let Some(shown) = parts.get_mut(field) {
            shown.retain(|part| index.is_some_and(|index| part.index != index));
        }
        parts.retain(|_, shown| !shown.is_empty());
        Ok(Self::Parts(parts))
    }

    fn to_parts(&self) -> Result<BTreeMap<String, Vec<ShownPart>>, NotCanonical> {
        match self {
            Self::Parts(parts) => Ok(parts.clone()),
            Self::Whole { seed, values } => values
                .iter()
                .map(|(field, value)| {
                    let text = commit::text(value)?;
                    let (division, parts) = commit::divide(&text)?;
                    let shown = parts.into_iter().map(|part| ShownPart {
                        index: part.index,
                        salt: commit::salt(&seed.0, field, part.index),
                        value: match division {
                            Division::Members => value[part.name.as_ref()].clone(),
                            Division::Whole => value.clone(),
                        },
                        name: part.name.into_owned(),
                    });
                    Ok((field.clone(), shown.collect()))
                })
                .collect(),
        }
    }
}
