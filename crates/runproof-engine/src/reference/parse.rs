//! Reads references: cuts a template string at its braces and parses what stands between them.

use super::{MAX_REFERENCE, Reference, ReferenceError, ReferenceFault, Root, Segment};
use crate::redact::shown;

/// A piece of a template string.
pub(super) enum Part {
    Text(String),
    Reference(Reference),
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
        let reference = parse(inner[..end].trim()).map_err(|fault| error(&rest[start..start + end + 4], fault))?;
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Reference(reference));
        rest = &inner[end + 2..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

/// Where the `}}` is that closes a reference: the first one outside a quoted name.
fn closing_braces(inner: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    let bytes = inner.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'}' if !quoted && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// Parses what stands between the braces.
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
        _ => return Err(ReferenceFault::UnknownRoot),
    };
    if !matches!(root, Root::Step(_)) && !rest.is_empty() {
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
        Some(_) | None => Err(ReferenceFault::NotOutput),
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

fn is_step_id(id: &str) -> bool {
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
