//! Reads references: cuts a template string at its braces and parses what stands between them.

use super::{MAX_REFERENCE, Reference, ReferenceError, ReferenceFault, Root, Segment};
use crate::expression::Expression;
use crate::redact::shown;

/// A piece of a template string.
pub(super) enum Part {
    Text(String),
    Reference(Reference),
    Expression(Expression),
}

/// Cuts a template string at its references; `\{{` becomes `{{` in the text between them.
pub(super) fn parts(text: &str, path: &str) -> Result<Vec<Part>, ReferenceError> {
    let error =
        |found: &str, fault| ReferenceError { path: path.to_owned(), text: shown(found, 80).into_owned(), fault };
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        if let Some(before) = rest[..start].strip_suffix('\\') {
            literal.push_str(before);
            literal.push_str("{{");
            rest = &rest[start + 2..];
            continue;
        }
        literal.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let Some(end) = closing_braces(inner) else {
            return Err(error(&rest[start..], ReferenceFault::Unclosed));
        };
        let part = part(inner[..end].trim()).map_err(|fault| error(&rest[start..start + end + 4], fault))?;
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(part);
        rest = &inner[end + 2..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

/// Where the `}}` is that closes a reference: the first one outside quotes and outside the braces of an object.
fn closing_braces(inner: &str) -> Option<usize> {
    let mut depth: usize = 0;
    let mut bytes = Unquoted::of(inner).peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b'}' if bytes.peek() == Some(&(at + 1, b'}')) => return Some(at),
            _ => {}
        }
    }
    None
}

/// The bytes of a text that stand outside `"…"` and `'…'`, with their places.
struct Unquoted<'t> {
    bytes: std::iter::Enumerate<std::str::Bytes<'t>>,
}

impl<'t> Unquoted<'t> {
    fn of(text: &'t str) -> Self {
        Self { bytes: text.bytes().enumerate() }
    }
}

impl Iterator for Unquoted<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<(usize, u8)> {
        loop {
            let (at, byte) = self.bytes.next()?;
            if !matches!(byte, b'"' | b'\'') {
                return Some((at, byte));
            }
            while let Some((_, inside)) = self.bytes.next() {
                match inside {
                    b'\\' => drop(self.bytes.next()),
                    _ if inside == byte => break,
                    _ => {}
                }
            }
        }
    }
}

/// Parses what stands between the braces: a path, or else an expression. What is neither is judged as what it looks like.
fn part(text: &str) -> Result<Part, ReferenceFault> {
    let fault = match parse(text) {
        Ok(reference) => return Ok(Part::Reference(reference)),
        Err(fault) => fault,
    };
    match look(text) {
        Look::Path => Err(fault),
        Look::Either => Expression::parse(text).map(Part::Expression).map_err(|_| fault),
        Look::Expression => Ok(Part::Expression(Expression::parse(text)?)),
    }
}

/// What a text that is no path was meant to be.
enum Look {
    Path,
    Either,
    Expression,
}

/// Judges a text by what stands outside its quotes and `[…]`: operators, brackets and commas make an expression. A dash
/// may be part of a name, and a word in brackets a forgotten quote.
fn look(text: &str) -> Look {
    if text.starts_with(['[', '{', '(', '!', '-']) || text.split_ascii_whitespace().any(|word| word == "in") {
        return Look::Expression;
    }
    let mut look = Look::Path;
    let mut brackets: usize = 0;
    let mut before = b' ';
    for (_, byte) in Unquoted::of(text) {
        match byte {
            b'+' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'&' | b'?' | b'(' | b'{' | b','
                if brackets == 0 =>
            {
                return Look::Expression;
            }
            b'|' if before == b'|' && brackets == 0 => return Look::Expression,
            b'-' if brackets == 0 => look = Look::Either,
            b'[' => brackets += 1,
            b']' => brackets = brackets.saturating_sub(1),
            _ if before == b'[' && byte.is_ascii_alphabetic() => look = Look::Either,
            _ => {}
        }
        before = byte;
    }
    look
}

/// Parses a path.
fn parse(text: &str) -> Result<Reference, ReferenceFault> {
    if text.is_empty() {
        return Err(ReferenceFault::Empty);
    }
    let characters = text.chars().count();
    if characters > MAX_REFERENCE {
        return Err(ReferenceFault::TooLong { characters });
    }
    let (word, rest) = take_name(text);
    let (root, rest) = match word {
        "goal" => (Root::Goal, rest),
        "run" => run_root(rest)?,
        "steps" => step_root(rest)?,
        "outputs" => output_root(rest)?,
        "inputs" => (Root::Inputs, rest),
        "item" => (Root::Item, rest),
        "item_index" => (Root::ItemIndex, rest),
        _ => return Err(ReferenceFault::UnknownRoot),
    };
    if !root.has_members() && !rest.is_empty() {
        return Err(trailing(rest));
    }
    let mut path = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let (segment, after) = segment(rest)?;
        path.push(segment);
        rest = after;
    }
    Ok(Reference { root, path, text: text.to_owned() })
}

fn run_root(text: &str) -> Result<(Root, &str), ReferenceFault> {
    let (word, rest) = take_name(text.strip_prefix('.').ok_or(ReferenceFault::UnknownRoot)?);
    match word {
        "id" => Ok((Root::RunId, rest)),
        "tenant" => Ok((Root::Tenant, rest)),
        "agent" => Ok((Root::Agent, rest)),
        _ => Err(ReferenceFault::UnknownRoot),
    }
}

fn step_root(text: &str) -> Result<(Root, &str), ReferenceFault> {
    let (id, rest) = match segment(text) {
        Ok((Segment::Name(id), rest)) if is_step_id(&id) => (id, rest),
        Ok(_) | Err(_) => return Err(ReferenceFault::BadStepId),
    };
    match rest.strip_prefix('.').map(take_name) {
        Some(("output", rest)) => Ok((Root::Step(id), rest)),
        Some(("status", rest)) => Ok((Root::StepStatus(id), rest)),
        Some(_) | None => Err(ReferenceFault::NotOutput),
    }
}

fn output_root(text: &str) -> Result<(Root, &str), ReferenceFault> {
    match segment(text) {
        Ok((Segment::Name(key), rest)) => Ok((Root::Output(key), rest)),
        Ok((Segment::Index(_), _)) | Err(_) => Err(ReferenceFault::NoKey),
    }
}

/// One `.name`, `[n]` or `["any name"]`, and what follows it.
fn segment(text: &str) -> Result<(Segment, &str), ReferenceFault> {
    if let Some(after) = text.strip_prefix('.') {
        let (name, rest) = take_name(after);
        return if name.is_empty() { Err(ReferenceFault::BadName) } else { Ok((Segment::Name(name.to_owned()), rest)) };
    }
    let Some(inside) = text.strip_prefix('[') else {
        return Err(trailing(text));
    };
    let (segment, rest) = if inside.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(inside).into_iter::<String>();
        let name = strings.next().and_then(Result::ok).ok_or(ReferenceFault::BadIndex)?;
        (Segment::Name(name), &inside[strings.byte_offset()..])
    } else {
        let end = inside.find(']').ok_or(ReferenceFault::BadIndex)?;
        (Segment::Index(integer(&inside[..end]).ok_or(ReferenceFault::BadIndex)?), &inside[end..])
    };
    let rest = rest.strip_prefix(']').ok_or(ReferenceFault::BadIndex)?;
    Ok((segment, rest))
}

fn take_name(text: &str) -> (&str, &str) {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
    text.split_at(length)
}

/// Whether `.name` is how to write a member.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && take_name(name).1.is_empty()
}

pub(crate) fn is_step_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

/// An integer in its only form: no `+`, no leading zeros, no `-0`.
fn integer(digits: &str) -> Option<i64> {
    let number: i64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

fn trailing(rest: &str) -> ReferenceFault {
    ReferenceFault::Trailing { rest: shown(rest, 40).into_owned() }
}
