//! The values behind an event's commitments, and opening the commitments with them.
//!
//! A payload is stored and shown beside its event (`docs/spec/commitments.md`): whole, with the seed of all salts, or
//! in parts, each with its own salt. What is absent is withheld, never assumed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::{self, NotCanonical};
use crate::commit::{self, Commitment, Division};
use crate::hash::Hash;

/// Longest payload line, in bytes.
pub const MAX_PAYLOAD: usize = 17 * 1024 * 1024;
/// Nesting of a payload line: three levels of its own around a value.
const DEPTH: usize = canonical::VALUE_DEPTH + 4;

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default, deserialize_with = "present")]
    parts: Option<BTreeMap<String, Vec<ShownPart>>>,
    #[serde(default, deserialize_with = "present")]
    seed: Option<Hash>,
    #[serde(default, deserialize_with = "present")]
    values: Option<BTreeMap<String, Value>>,
}

/// A member that is there has a value: `null` would be a second spelling of its absence.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A place where a payload does not match its commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Place, such as `params.amount`.
    pub path: String,
    /// What the event commits to.
    pub expected: String,
    /// What the payload gives.
    pub got: String,
}

/// A payload that matches its commitments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    /// Values of which every part is shown.
    pub values: BTreeMap<String, Value>,
    /// Parts shown.
    pub shown: u64,
    /// Parts withheld.
    pub withheld: Vec<(String, u32)>,
}

impl Payload {
    /// A payload with nothing shown.
    pub fn withheld() -> Self {
        Self::Parts(BTreeMap::new())
    }

    /// Parses a payload line.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_PAYLOAD {
            return Err(format!("payload of {} bytes, at most {MAX_PAYLOAD} are allowed", bytes.len()));
        }
        canonical::check(bytes, DEPTH).map_err(|error| error.to_string())?;
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match (wire.seed, wire.values, wire.parts) {
            (Some(seed), Some(values), None) => Ok(Self::Whole { seed, values }),
            (None, None, Some(parts)) if parts.values().any(Vec::is_empty) => {
                Err("a field of which nothing is shown is left out".to_owned())
            }
            (None, None, Some(parts)) => Ok(Self::Parts(parts)),
            _ => Err("payload needs either `seed` and `values`, or `parts`".to_owned()),
        }
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

    /// Compares the payload with the commitments of its event.
    ///
    /// # Errors
    /// Every place that does not match.
    pub fn open(&self, commitments: &[(&'static str, &Commitment)]) -> Result<Opened, Vec<Mismatch>> {
        let mut opened = self.check(commitments)?;
        for (field, commitment) in commitments {
            let value = match self {
                Self::Whole { values, .. } => values.get(*field).cloned(),
                Self::Parts(parts) => parts.get(*field).and_then(|shown| whole_value(commitment, shown)),
            };
            opened.values.extend(value.map(|value| ((*field).to_owned(), value)));
        }
        Ok(opened)
    }

    /// As [`Payload::open`], without the values: what a verification needs.
    ///
    /// # Errors
    /// Every place that does not match.
    pub fn check(&self, commitments: &[(&'static str, &Commitment)]) -> Result<Opened, Vec<Mismatch>> {
        let mut opened = Opened::default();
        let mut wrong = Vec::new();
        let names: Vec<&String> = match self {
            Self::Whole { values, .. } => values.keys().collect(),
            Self::Parts(parts) => parts.keys().collect(),
        };
        for name in names {
            if !commitments.iter().any(|(field, _)| field == name) {
                wrong.push(mismatch(name, "no such value in the event", "a value"));
            }
        }
        for (field, commitment) in commitments {
            match self {
                Self::Whole { seed, values } => match values.get(*field) {
                    Some(value) => open_whole(field, commitment, seed, value, &mut opened, &mut wrong),
                    None => wrong.push(mismatch(field, "a value", "none")),
                },
                Self::Parts(parts) => {
                    let shown = parts.get(*field).map(Vec::as_slice).unwrap_or_default();
                    open_parts(field, commitment, shown, &mut opened, &mut wrong);
                }
            }
        }
        if wrong.is_empty() { Ok(opened) } else { Err(wrong) }
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
                    let (division, parts) = commit::parts(value)?;
                    let shown = parts.into_iter().map(|part| ShownPart {
                        index: part.index,
                        salt: commit::salt(&seed.0, field, part.index),
                        value: match division {
                            Division::Members => value[&part.name].clone(),
                            Division::Whole => value.clone(),
                        },
                        name: part.name,
                    });
                    Ok((field.clone(), shown.collect()))
                })
                .collect(),
        }
    }
}

fn mismatch(path: &str, expected: impl Into<String>, got: impl Into<String>) -> Mismatch {
    Mismatch { path: path.to_owned(), expected: expected.into(), got: got.into() }
}

fn place(field: &str, name: &str) -> String {
    if name.is_empty() { field.to_owned() } else { format!("{field}.{name}") }
}

fn open_whole(
    field: &str,
    commitment: &Commitment,
    seed: &Hash,
    value: &Value,
    opened: &mut Opened,
    wrong: &mut Vec<Mismatch>,
) {
    let (division, parts) = match commit::parts(value) {
        Ok(parts) => parts,
        Err(error) => return wrong.push(mismatch(field, "a canonical value", error.to_string())),
    };
    if division != commitment.division || parts.len() != commitment.macs.len() {
        let expected = format!("{} members", commitment.macs.len());
        return wrong.push(mismatch(field, expected, format!("{} members", parts.len())));
    }
    let before = wrong.len();
    for (part, expected) in parts.iter().zip(&commitment.macs) {
        let got = commit::mac(&commit::salt(&seed.0, field, part.index), division, &part.name, &part.bytes);
        if got != *expected {
            wrong.push(mismatch(&place(field, &part.name), expected.hex(), got.hex()));
        }
    }
    if wrong.len() == before {
        opened.shown += parts.len() as u64;
    }
}

fn open_parts(
    field: &str,
    commitment: &Commitment,
    shown: &[ShownPart],
    opened: &mut Opened,
    wrong: &mut Vec<Mismatch>,
) {
    let before = wrong.len();
    let (mut next, mut total) = (0, 0);
    let mut previous: Option<&str> = None;
    for part in shown {
        let ascends = previous.is_none_or(|previous| previous.encode_utf16().lt(part.name.encode_utf16()));
        if commitment.division == Division::Members && !ascends {
            return wrong.push(mismatch(field, "names in canonical order", &part.name));
        }
        previous = Some(&part.name);
        let Some(expected) = commitment.macs.get(part.index as usize).filter(|_| part.index >= next) else {
            return wrong.push(mismatch(
                field,
                "parts in order, within the commitment",
                format!("part {}", part.index),
            ));
        };
        let bytes = match canonical::to_bytes(&part.value) {
            Ok(bytes) if total + bytes.len() + part.name.len() <= commit::MAX_VALUE => bytes,
            Ok(_) => return wrong.push(mismatch(field, "at most 16 MiB", "more")),
            Err(error) => {
                return wrong.push(mismatch(&place(field, &part.name), "a canonical value", error.to_string()));
            }
        };
        let got = commit::mac(&part.salt, commitment.division, &part.name, &bytes);
        if got != *expected {
            wrong.push(mismatch(&place(field, &part.name), expected.hex(), got.hex()));
        }
        total += bytes.len() + part.name.len();
        next = part.index + 1;
    }
    let is_shown = |index: u32| shown.iter().any(|part| part.index == index);
    let withheld = (0..commitment.macs.len() as u32).filter(|index| !is_shown(*index));
    opened.withheld.extend(withheld.map(|index| (field.to_owned(), index)));
    if wrong.len() > before {
        return;
    }
    opened.shown += shown.len() as u64;
}

/// The value of which every part is shown.
fn whole_value(commitment: &Commitment, shown: &[ShownPart]) -> Option<Value> {
    if shown.len() != commitment.macs.len() {
        return None;
    }
    match commitment.division {
        Division::Members => {
            Some(Value::Object(shown.iter().map(|part| (part.name.clone(), part.value.clone())).collect()))
        }
        Division::Whole => shown.first().map(|part| part.value.clone()),
    }
}
