//! The one byte form of a JSON value: RFC 8785 under runproof's strict profile (`docs/spec/canonical.md`).
//!
//! [`check`] judges bytes that somebody else wrote; [`to_bytes`] writes. Neither repairs anything.

mod same;
mod scan;

pub(crate) use same::differs;
pub(crate) use scan::{Scanner, Text};
use serde_json::Value;

/// Largest magnitude of an integer: 2^53 - 1, which every JSON reader keeps exact.
pub const MAX_INTEGER: i64 = 9_007_199_254_740_991;
/// Deepest nesting of an event, counting the outermost object as 1.
pub const EVENT_DEPTH: usize = 16;
/// Deepest nesting of a payload value, which may hold what a tool answered.
pub const VALUE_DEPTH: usize = 64;

/// Why bytes are not canonical, or why a value cannot be written canonically.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct NotCanonical {
    /// Byte offset; 0 for a value that was never written.
    pub at: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// Accepts exactly the bytes that [`to_bytes`] could have written, up to `max_depth` levels of nesting.
///
/// # Errors
/// The first place that is not canonical.
pub fn check(bytes: &[u8], max_depth: usize) -> Result<(), NotCanonical> {
    let mut scanner = Scanner::new(text(bytes)?);
    scanner.value(max_depth)?;
    scanner.end()
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, NotCanonical> {
    std::str::from_utf8(bytes).map_err(|error| NotCanonical { at: error.valid_up_to(), problem: "invalid UTF-8" })
}

/// Writes a value in canonical form.
///
/// # Errors
/// A number that is not an integer of magnitude up to 2^53 - 1, a string or member name with U+0000, or nesting
/// deeper than [`VALUE_DEPTH`].
pub fn to_bytes(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    to_depth(value, VALUE_DEPTH)
}

/// As [`to_bytes`], with another limit of nesting.
pub(crate) fn to_depth(value: &Value, depth: usize) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::with_capacity(128);
    write(value, depth, &mut out)?;
    Ok(out)
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let wrong = |problem| NotCanonical { at: 0, problem };
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let integer = number.as_i64().ok_or_else(|| wrong("number that is not an integer of at most 2^53 - 1"))?;
            if integer.unsigned_abs() > MAX_INTEGER.unsigned_abs() {
                return Err(wrong("number that is not an integer of at most 2^53 - 1"));
            }
            out.extend_from_slice(integer.to_string().as_bytes());
        }
        Value::String(text) => write_string(text, out)?,
        Value::Array(_) | Value::Object(_) if depth == 0 => return Err(wrong("nested too deeply")),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, depth - 1, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let names = sorted_names(members);
            out.push(b'{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out)?;
                out.push(b':');
                write(&members[name], depth - 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Member names in canonical order. A map mostly has them in order of bytes already, which is the same for ASCII.
fn sorted_names(members: &serde_json::Map<String, Value>) -> Vec<&String> {
    let mut names: Vec<&String> = members.keys().collect();
    if !names.is_sorted() || !names.iter().all(|name| name.is_ascii()) {
        names.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    }
    names
}

fn write_string(text: &str, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    if text.contains('\0') {
        return Err(NotCanonical { at: 0, problem: "U+0000 is not allowed" });
    }
    // serde_json escapes exactly what RFC 8785 section 3.2.2.2 asks for; writing to a Vec cannot fail.
    serde_json::to_writer(out, text).map_err(|_| NotCanonical { at: 0, problem: "string that cannot be written" })
}
