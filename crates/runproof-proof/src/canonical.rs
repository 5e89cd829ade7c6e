//! The one byte form of a JSON value: RFC 8785 under runproof's strict profile (`docs/spec/canonical.md`).
//!
//! [`check`] judges bytes that somebody else wrote; [`to_bytes`] writes. Neither repairs anything.

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
    let text = std::str::from_utf8(bytes)
        .map_err(|error| NotCanonical { at: error.valid_up_to(), problem: "invalid UTF-8" })?;
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    scanner.value(max_depth)?;
    if scanner.at != bytes.len() {
        return Err(scanner.wrong("bytes after the value"));
    }
    Ok(())
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Where a member name stands.
struct Key {
    start: usize,
    length: usize,
    plain: bool,
}

impl Scanner<'_> {
    fn wrong(&self, problem: &'static str) -> NotCanonical {
        NotCanonical { at: self.at, problem }
    }

    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte && self.at < self.bytes.len();
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<(), NotCanonical> {
        match self.peek() {
            b'{' | b'[' if depth == 0 => Err(self.wrong("nested too deeply")),
            b'{' => self.object(depth - 1),
            b'[' => self.array(depth - 1),
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.integer(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => Err(self.wrong("expected a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.eat(b'}') {
            return Ok(());
        }
        let mut previous: Option<Key> = None;
        loop {
            let start = self.at;
            if self.peek() != b'"' {
                return Err(self.wrong("expected a member name"));
            }
            let (raw, plain) = self.string()?;
            let key = Key { start: start + 1, length: raw.len(), plain };
            if let Some(previous) = &previous
                && !self.sorted(previous, &key)
            {
                return Err(NotCanonical { at: start, problem: "member names are repeated or not sorted" });
            }
            if !self.eat(b':') {
                return Err(self.wrong("expected `:`"));
            }
            self.value(depth)?;
            previous = Some(key);
            if self.eat(b'}') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.wrong("expected `,` or `}`"));
            }
        }
    }

    /// Whether two member names stand in the order of their UTF-16 code units (RFC 8785 section 3.2.3).
    fn sorted(&self, before: &Key, after: &Key) -> bool {
        let raw = |key: &Key| &self.bytes[key.start..key.start + key.length];
        if before.plain && after.plain {
            return raw(before) < raw(after);
        }
        // Rare: only names with escapes or beyond ASCII have to be read.
        let text = |key: &Key| serde_json::from_slice::<String>(&self.bytes[key.start - 1..=key.start + key.length]);
        match (text(before), text(after)) {
            (Ok(before), Ok(after)) => before.encode_utf16().lt(after.encode_utf16()),
            (_, _) => false,
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            if self.eat(b']') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.wrong("expected `,` or `]`"));
            }
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), NotCanonical> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.wrong("expected a value"))
    }

    fn integer(&mut self) -> Result<(), NotCanonical> {
        let start = self.at;
        self.eat(b'-');
        let digits = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        let text = &self.bytes[digits..self.at];
        if text.is_empty() {
            return Err(self.wrong("expected a digit"));
        }
        if matches!(self.peek(), b'.' | b'e' | b'E') {
            return Err(self.wrong("only integers are allowed"));
        }
        if text[0] == b'0' && (text.len() > 1 || digits > start) {
            return Err(NotCanonical { at: start, problem: "integer with a leading zero or minus zero" });
        }
        let magnitude = text.iter().take(17).fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        if text.len() > 16 || magnitude > MAX_INTEGER {
            return Err(NotCanonical { at: start, problem: "integer beyond 2^53 - 1" });
        }
        Ok(())
    }

    /// Reads a string; answers its raw bytes between the quotes, and whether they are plain ASCII without escapes.
    fn string(&mut self) -> Result<(&[u8], bool), NotCanonical> {
        self.at += 1;
        let start = self.at;
        let mut plain = true;
        loop {
            let rest = &self.bytes[self.at..];
            let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x80..));
            let Some(stop) = stop else {
                self.at = self.bytes.len();
                return Err(self.wrong("string without an end"));
            };
            self.at += stop;
            match rest[stop] {
                b'"' => {
                    self.at += 1;
                    return Ok((&self.bytes[start..self.at - 1], plain));
                }
                b'\\' => {
                    self.at += 1;
                    plain = false;
                    self.escape()?;
                }
                0..=0x1f => return Err(self.wrong("control character that is not escaped")),
                _ => {
                    plain = false;
                    let beyond = rest[stop..].iter().position(u8::is_ascii).unwrap_or(rest.len() - stop);
                    self.at += beyond;
                }
            }
        }
    }

    /// The escapes that RFC 8785 section 3.2.2.2 writes, and no others.
    fn escape(&mut self) -> Result<(), NotCanonical> {
        if matches!(self.peek(), b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') {
            self.at += 1;
            return Ok(());
        }
        let rest = &self.bytes[self.at..];
        if rest.len() < 5 || !rest.starts_with(b"u00") {
            return Err(self.wrong("escape that is not canonical"));
        }
        let code = match (rest[3], rest[4]) {
            (high @ b'0'..=b'1', low @ (b'0'..=b'9' | b'a'..=b'f')) => {
                let low = if low.is_ascii_digit() { low - b'0' } else { low - b'a' + 10 };
                (high - b'0') * 16 + low
            }
            _ => return Err(self.wrong("escape that is not canonical")),
        };
        if code == 0 {
            return Err(self.wrong("U+0000 is not allowed"));
        }
        if matches!(code, 8 | 9 | 10 | 12 | 13) {
            return Err(self.wrong("escape that is not canonical"));
        }
        self.at += 5;
        Ok(())
    }
}

/// Writes a value in canonical form.
///
/// # Errors
/// A number that is not an integer of magnitude up to 2^53 - 1, a string or member name with U+0000, or nesting
/// deeper than [`VALUE_DEPTH`].
pub fn to_bytes(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::with_capacity(128);
    write(value, VALUE_DEPTH, &mut out)?;
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
pub(crate) fn sorted_names(members: &serde_json::Map<String, Value>) -> Vec<&String> {
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
