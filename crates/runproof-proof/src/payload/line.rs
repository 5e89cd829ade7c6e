//! The payload line: checked once for its form and limits, then kept as the bytes that it was.
//!
//! Values are read where they stand: a commitment is over the bytes of the line, so nothing is decoded to compare it.

use std::fmt;
use std::ops::Range;

use serde_json::Value;

use super::{MAX_PAYLOAD, Payload, ShownPart};
use crate::canonical::{self, NotCanonical, Scanner, Text, VALUE_DEPTH};
use crate::commit::Part;
use crate::hash::Hash;

/// Nesting of a payload line: four levels of its own around the value of a part.
const DEPTH: usize = VALUE_DEPTH + 4;

/// A canonical payload line.
#[derive(Clone, PartialEq, Eq)]
pub struct PayloadLine {
    text: Box<str>,
    form: Form,
}

/// How a line shows its values.
#[derive(Clone, PartialEq, Eq)]
enum Form {
    /// Everything, with the seed.
    Whole(Hash, Box<[Place]>),
    /// In parts. They are read again when they are needed.
    Parts,
}

/// Where name and value of a field stand in a line, which is shorter than 4 GiB.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    name: Range<u32>,
    value: Range<u32>,
}

/// The values of a line, where they stand in it.
pub(super) enum Shown<'a> {
    /// Everything: the seed, and the fields.
    Whole(&'a Hash, Fields<'a>),
    /// Fields with the parts that are shown.
    Parts(Vec<PartsField<'a>>),
}

/// The fields of a line that shows everything.
pub(super) struct Fields<'a> {
    text: &'a str,
    places: &'a [Place],
}

impl<'a> Fields<'a> {
    /// Name and canonical text of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Text<'a>, &'a str)> {
        let text = self.text;
        let at = move |range: &Range<u32>| &text[range.start as usize..range.end as usize];
        self.places.iter().map(move |place| (Text::new(at(&place.name)), at(&place.value)))
    }

    /// Canonical text of the field `name`.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(field, _)| field.is(name)).map(|(_, text)| text)
    }
}

/// Name of a field, and its parts, each with its salt.
pub(super) type PartsField<'a> = (Text<'a>, Vec<(Hash, Part<'a>)>);

impl fmt::Debug for PayloadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
        Self::read(bytes).map_err(|error| error.to_string())
    }

    fn read(bytes: &[u8]) -> Result<Self, NotCanonical> {
        let text = canonical::text(bytes)?;
        let form = if text.starts_with("{\"parts\":") {
            read_parts(text)?;
            Form::Parts
        } else {
            read_whole(text)?
        };
        Ok(Self { text: text.into(), form })
    }

    /// A line with nothing shown.
    pub fn withheld() -> Self {
        Self { text: "{\"parts\":{}}".into(), form: Form::Parts }
    }

    /// Whether the line has the seed, and with it everything.
    pub fn is_whole(&self) -> bool {
        matches!(self.form, Form::Whole(..))
    }

    /// The bytes of the line.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// What the line says.
    pub fn decode(&self) -> Payload {
        match self.shown() {
            Shown::Whole(seed, fields) => {
                let field = |(name, text): (Text<'_>, &str)| (name.text().into_owned(), value(text));
                Payload::Whole { seed: *seed, values: fields.iter().map(field).collect() }
            }
            Shown::Parts(fields) => {
                let part = |(salt, part): (Hash, Part<'_>)| ShownPart {
                    index: part.index,
                    name: part.name.into_owned(),
                    salt,
                    value: value(part.text),
                };
                let field =
                    |(name, parts): PartsField<'_>| (name.text().into_owned(), parts.into_iter().map(part).collect());
                Payload::Parts(fields.into_iter().map(field).collect())
            }
        }
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        match &self.form {
            Form::Whole(seed, places) => Shown::Whole(seed, Fields { text: &self.text, places }),
            Form::Parts => Shown::Parts(read_parts(&self.text).expect("the line was checked")),
        }
    }
}

/// Decodes a value of a line.
pub(super) fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("canonical text is JSON, and not nested too deeply")
}

const FORMS: &str = "expected `seed` and `values`, or `parts`";

/// Reads the one spelling of a line that shows everything.
fn read_whole(text: &str) -> Result<Form, NotCanonical> {
    let mut scanner = Scanner::new(text);
    scanner.expect("{\"seed\":", FORMS)?;
    let seed = scanner.hash()?;
    scanner.expect(",\"values\":", FORMS)?;
    let range = |start: usize, end: usize| start as u32..end as u32;
    let mut fields = Vec::with_capacity(1);
    scanner.members(DEPTH - 1, |scanner, name, depth| {
        let start = scanner.at();
        let depth = scanner.value(depth)?;
        // Before the value stand the quote that ends the name, and a colon.
        let name = range(start - 2 - name.length(), start - 2);
        fields.push(Place { name, value: range(start, scanner.at()) });
        Ok(depth)
    })?;
    scanner.expect("}", FORMS)?;
    scanner.end()?;
    Ok(Form::Whole(seed, fields.into()))
}

/// Reads the one spelling of a line that shows parts.
fn read_parts(text: &str) -> Result<Vec<PartsField<'_>>, NotCanonical> {
    let mut scanner = Scanner::new(text);
    scanner.expect("{\"parts\":", FORMS)?;
    let mut fields = Vec::new();
    scanner.members(DEPTH - 1, |scanner, name, depth| {
        let mut parts = Vec::new();
        let depth = scanner.items(depth, |scanner, depth| {
            let (part, depth) = read_part(scanner, depth - 1)?;
            parts.push(part);
            Ok(depth + 1)
        })?;
        if parts.is_empty() {
            return Err(scanner.wrong("a field of which nothing is shown is left out"));
        }
        fields.push((name, parts));
        Ok(depth)
    })?;
    scanner.expect("}", FORMS)?;
    scanner.end()?;
    Ok(fields)
}

fn read_part<'a>(scanner: &mut Scanner<'a>, max_depth: usize) -> Result<((Hash, Part<'a>), usize), NotCanonical> {
    const MEMBERS: &str = "expected `index`, `name`, `salt` and `value`";
    scanner.expect("{\"index\":", MEMBERS)?;
    let index = scanner.unsigned()?.try_into().map_err(|_| scanner.wrong("index beyond what is allowed"))?;
    scanner.expect(",\"name\":", MEMBERS)?;
    let name = scanner.string()?.text();
    scanner.expect(",\"salt\":", MEMBERS)?;
    let salt = scanner.hash()?;
    scanner.expect(",\"value\":", MEMBERS)?;
    let start = scanner.at();
    let depth = scanner.value(max_depth)?;
    let text = scanner.since(start);
    scanner.expect("}", MEMBERS)?;
    Ok(((salt, Part { index, name, text }), depth))
}
