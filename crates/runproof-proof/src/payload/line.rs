//! The payload line: checked once for its form and limits, then kept as the bytes that it was.
//!
//! Values are read where they stand: a commitment is over the bytes of the line, so nothing is decoded to compare it.

use std::fmt;

use serde_json::Value;

use super::{MAX_PAYLOAD, Payload, ShownPart};
use crate::canonical::{self, NotCanonical, Scanner, Text, VALUE_DEPTH};
use crate::commit::Part;
use crate::hash::Hash;

/// Nesting of a payload line: four levels of its own around the value of a part.
const DEPTH: usize = VALUE_DEPTH + 4;

/// A canonical payload line.
#[derive(Clone, PartialEq, Eq)]
pub struct PayloadLine(Box<str>);

/// The values of a line, where they stand in it.
pub(super) enum Shown<'a> {
    /// Everything: the seed, and the canonical text of each field.
    Whole(Hash, Vec<(Text<'a>, &'a str)>),
    /// Fields with the parts that are shown, each with its salt.
    Parts(Vec<(Text<'a>, Vec<(Hash, Part<'a>)>)>),
}

impl fmt::Debug for PayloadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PayloadLine {
    /// Checks a payload line. Its values are compared with nothing yet.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_PAYLOAD {
            return Err(format!("payload of {} bytes, at most {MAX_PAYLOAD} are allowed", bytes.len()));
        }
        let text = canonical::text(bytes).map_err(|error| error.to_string())?;
        read(text).map_err(|error| error.to_string())?;
        Ok(Self(text.into()))
    }

    /// A line with nothing shown.
    pub fn withheld() -> Self {
        Self("{\"parts\":{}}".into())
    }

    /// Whether the line has the seed, and with it everything.
    pub fn is_whole(&self) -> bool {
        self.0.starts_with("{\"seed\":")
    }

    /// The bytes of the line.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// What the line says.
    pub fn decode(&self) -> Payload {
        match self.shown() {
            Shown::Whole(seed, fields) => {
                let field = |(name, text): (Text<'_>, &str)| (name.text().into_owned(), value(text));
                Payload::Whole { seed, values: fields.into_iter().map(field).collect() }
            }
            Shown::Parts(fields) => {
                let part = |(salt, part): (Hash, Part<'_>)| ShownPart {
                    index: part.index,
                    name: part.name.into_owned(),
                    salt,
                    value: value(part.text),
                };
                let field = |(name, parts): (Text<'_>, Vec<_>)| {
                    (name.text().into_owned(), parts.into_iter().map(part).collect())
                };
                Payload::Parts(fields.into_iter().map(field).collect())
            }
        }
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        read(&self.0).expect("the line was checked")
    }
}

/// Decodes a value of a line.
pub(super) fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("canonical text is JSON, and not nested too deeply")
}

/// Reads a line in the one spelling that each form has.
fn read(text: &str) -> Result<Shown<'_>, NotCanonical> {
    const FORMS: &str = "expected `seed` and `values`, or `parts`";
    let mut scanner = Scanner::new(text);
    let shown = if scanner.eat("{\"seed\":") {
        let seed = scanner.hash()?;
        scanner.expect(",\"values\":", FORMS)?;
        let mut fields = Vec::new();
        scanner.members(DEPTH - 1, |scanner, name, depth| {
            let start = scanner.at();
            let depth = scanner.value(depth)?;
            fields.push((name, scanner.since(start)));
            Ok(depth)
        })?;
        Shown::Whole(seed, fields)
    } else {
        scanner.expect("{\"parts\":", FORMS)?;
        let mut fields = Vec::new();
        scanner.members(DEPTH - 1, |scanner, name, depth| {
            let mut parts = Vec::new();
            scanner.items(depth, |scanner, depth| {
                parts.push(read_part(scanner, depth - 1)?);
                Ok(0)
            })?;
            if parts.is_empty() {
                return Err(scanner.wrong("a field of which nothing is shown is left out"));
            }
            fields.push((name, parts));
            Ok(0)
        })?;
        Shown::Parts(fields)
    };
    scanner.expect("}", FORMS)?;
    scanner.end()?;
    Ok(shown)
}

fn read_part<'a>(scanner: &mut Scanner<'a>, max_depth: usize) -> Result<(Hash, Part<'a>), NotCanonical> {
    const MEMBERS: &str = "expected `index`, `name`, `salt` and `value`";
    scanner.expect("{\"index\":", MEMBERS)?;
    let index = scanner.integer()?.parse().map_err(|_| scanner.wrong("an index beyond what is allowed"))?;
    scanner.expect(",\"name\":", MEMBERS)?;
    let name = scanner.string()?.text();
    scanner.expect(",\"salt\":", MEMBERS)?;
    let salt = scanner.hash()?;
    scanner.expect(",\"value\":", MEMBERS)?;
    let start = scanner.at();
    scanner.value(max_depth)?;
    let text = scanner.since(start);
    scanner.expect("}", MEMBERS)?;
    Ok((salt, Part { index, name, text }))
}
