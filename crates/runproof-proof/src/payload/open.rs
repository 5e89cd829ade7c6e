//! Opening: the values of a payload line against the commitments of its event.

use std::collections::BTreeMap;

use serde_json::Value;

use super::line::{PartsField, PayloadLine, Shown, value};
use crate::canonical::Text;
use crate::commit::{self, Commitment, Division, Part};
use crate::event::Event;
use crate::hash::{Hash, HmacKey};

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

impl PayloadLine {
    /// Compares the payload with the commitments of its event.
    ///
    /// # Errors
    /// Every place that does not match.
    pub fn open(&self, commitments: &[(&'static str, &Commitment)]) -> Result<Opened, Vec<Mismatch>> {
        let shown = self.shown();
        let mut opened = shown.check(commitments.iter().copied())?;
        for (field, commitment) in commitments {
            opened.values.extend(shown.value(field, commitment).map(|value| ((*field).to_owned(), value)));
        }
        Ok(opened)
    }

    /// As [`PayloadLine::open`], without the values: what a verification needs.
    ///
    /// # Errors
    /// Every place that does not match.
    pub fn check(&self, event: &Event) -> Result<Opened, Vec<Mismatch>> {
        self.shown().check(event.body.committed())
    }
}

/// Name of a field, and what the event commits to.
type Committed<'c> = (&'static str, &'c Commitment);

impl Shown<'_> {
    fn check<'c>(&self, commitments: impl Iterator<Item = Committed<'c>> + Clone) -> Result<Opened, Vec<Mismatch>> {
        let mut opened = Opened::default();
        let mut wrong = self.extra(commitments.clone());
        match self {
            Self::Whole(seed, fields) => {
                let seed = HmacKey::new(&seed.0);
                for (field, commitment) in commitments {
                    match fields.get(field) {
                        Some(text) => open_whole(field, commitment, &seed, text, &mut opened, &mut wrong),
                        None => wrong.push(mismatch(field, "a value", "none")),
                    }
                }
            }
            Self::Parts(fields) => {
                for (field, commitment) in commitments {
                    open_parts(field, commitment, parts_of(fields, field), &mut opened, &mut wrong);
                }
            }
        }
        if wrong.is_empty() { Ok(opened) } else { Err(wrong) }
    }

    /// Fields that the event does not commit to.
    fn extra<'c>(&self, commitments: impl Iterator<Item = Committed<'c>> + Clone) -> Vec<Mismatch> {
        let is_extra = |name: &Text<'_>| !commitments.clone().any(|(field, _)| name.is(field));
        let names: Vec<Text<'_>> = match self {
            Self::Whole(_, fields) => fields.iter().map(|(name, _)| name).filter(is_extra).collect(),
            Self::Parts(fields) => fields.iter().map(|(name, _)| *name).filter(is_extra).collect(),
        };
        names.into_iter().map(|name| mismatch(&name.text(), "no such value in the event", "a value")).collect()
    }

    /// The value of a field of which every part is shown.
    fn value(&self, field: &str, commitment: &Commitment) -> Option<Value> {
        let parts = match self {
            Self::Whole(_, fields) => return fields.get(field).map(value),
            Self::Parts(fields) => parts_of(fields, field),
        };
        if parts.len() != commitment.macs.len() {
            return None;
        }
        match commitment.division {
            Division::Members => {
                let member = |(_, part): &(Hash, Part<'_>)| (part.name.to_string(), value(part.text));
                Some(Value::Object(parts.iter().map(member).collect()))
            }
            Division::Whole => parts.first().map(|(_, part)| value(part.text)),
        }
    }
}

fn parts_of<'s, 'a>(fields: &'s [PartsField<'a>], field: &str) -> &'s [(Hash, Part<'a>)] {
    fields.iter().find(|(name, _)| name.is(field)).map(|(_, parts)| parts.as_slice()).unwrap_or_default()
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
    seed: &HmacKey,
    text: &str,
    opened: &mut Opened,
    wrong: &mut Vec<Mismatch>,
) {
    let (division, parts) = match commit::divide(text) {
        Ok(divided) => divided,
        Err(error) => return wrong.push(mismatch(field, "a canonical value", error.to_string())),
    };
    if division != commitment.division || parts.len() != commitment.macs.len() {
        let expected = format!("{} members", commitment.macs.len());
        return wrong.push(mismatch(field, expected, format!("{} members", parts.len())));
    }
    let before = wrong.len();
    for (part, expected) in parts.iter().zip(&commitment.macs) {
        let got = part.mac(&commit::salt_under(seed, field, part.index), division);
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
    shown: &[(Hash, Part<'_>)],
    opened: &mut Opened,
    wrong: &mut Vec<Mismatch>,
) {
    let before = wrong.len();
    let (mut next, mut total) = (0, 0);
    let mut previous: Option<&str> = None;
    for (salt, part) in shown {
        let ascends = previous.is_none_or(|previous| previous.encode_utf16().lt(part.name.encode_utf16()));
        if commitment.division == Division::Members && !ascends {
            return wrong.push(mismatch(field, "names in canonical order", part.name.as_ref()));
        }
        previous = Some(&part.name);
        let Some(expected) = commitment.macs.get(part.index as usize).filter(|_| part.index >= next) else {
            return wrong.push(mismatch(
                field,
                "parts in order, within the commitment",
                format!("part {}", part.index),
            ));
        };
        total += part.text.len() + part.name.len();
        if total > commit::MAX_VALUE {
            return wrong.push(mismatch(field, "at most 16 MiB", "more"));
        }
        let got = part.mac(salt, commitment.division);
        if got != *expected {
            wrong.push(mismatch(&place(field, &part.name), expected.hex(), got.hex()));
        }
        next = part.index + 1;
    }
    let is_shown = |index: u32| shown.iter().any(|(_, part)| part.index == index);
    let withheld = (0..commitment.macs.len() as u32).filter(|index| !is_shown(*index));
    opened.withheld.extend(withheld.map(|index| (field.to_owned(), index)));
    if wrong.len() > before {
        return;
    }
    opened.shown += shown.len() as u64;
}
