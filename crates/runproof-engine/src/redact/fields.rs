//! Secret fields inside text: `"password": "x"`, `password=x`, `?api_key=x&…`, `Authorization: Bearer x`.
//!
//! Text is not parsed: it may be cut off, escaped once more than it should be, or not be JSON at all. The scan goes from
//! one `:` or `=` to the next, reads the name before it, and asks the same rule that judges field names. When in doubt
//! where a value ends, more is hidden and not less.

use super::patterns::Edit;
use super::{REDACTED, names, secret};

/// [`REDACTED`] with quotes, for a number or object in JSON text, so that the text stays JSON.
const QUOTED_REDACTED: &str = "\"<REDACTED>\"";

/// How far before a separator a name is looked for, in bytes. Keeps the scan linear; longer names end alike.
const MAX_NAME: usize = 96;

/// Where the values of secret fields are.
pub(super) fn find(text: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut at = 0;
    while let Some(separator) = text[at..].find([':', '=']).map(|offset| at + offset) {
        at = separator + 1;
        let Some(name) = Name::before(text, separator) else {
            continue;
        };
        let Some(start) = value_start(text, separator, &name) else {
            continue;
        };
        if !names::is_secret_name(name.text) {
            continue;
        }
        let value = Value::at(text, start, separator, &name);
        at = value.end.max(at);
        edits.extend(value.edit(text, &name));
    }
    edits
}

/// The name before a separator.
struct Name<'a> {
    text: &'a str,
    /// The quote before the name, if there is one.
    quote: Option<u8>,
    /// Whether a quote stands between the name and the separator.
    closed: bool,
    /// Whether `?` or `&` stands before it and `=` after it.
    in_query: bool,
}

impl<'a> Name<'a> {
    fn before(text: &'a str, separator: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let floor = separator.saturating_sub(MAX_NAME);
        let back = |from: usize, accept: fn(u8) -> bool| {
            let mut start = from;
            while start > floor && accept(bytes[start - 1]) {
                start -= 1;
            }
            start
        };
        let mut end = back(separator, is_blank);
        let closed = end > floor && is_quote(bytes[end - 1]);
        if closed {
            end = back(end - 1, |byte| byte == b'\\');
        }
        let mut start =
            back(end, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']'));
        if start == end {
            return None;
        }
        // `api key: x` is a name of two words.
        if start > floor + 1 && bytes[start - 1] == b' ' {
            start = match back(start - 1, |byte| byte.is_ascii_alphabetic()) {
                word if word < start - 1 => word,
                _ => start,
            };
        }
        let lead = if start > 0 { Some(bytes[start - 1]) } else { None };
        Some(Self {
            text: &text[start..end],
            quote: lead.filter(|byte| is_quote(*byte)),
            closed,
            in_query: matches!(lead, Some(b'?' | b'&')) && bytes[separator] == b'=',
        })
    }

    /// Whether the name is written as in JSON.
    fn is_quoted(&self) -> bool {
        self.closed && self.quote.is_some()
    }
}

/// Where the value after a separator begins; `None` if what stands there is not a value.
fn value_start(text: &str, separator: usize, name: &Name<'_>) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = separator + 1;
    if bytes[separator] == b':' {
        let path_of_code = bytes.get(at) == Some(&b':') || (separator > 0 && bytes[separator - 1] == b':');
        if path_of_code || text[at..].starts_with("//") {
            return None;
        }
        at += usize::from(bytes.get(at) == Some(&b'='));
    } else {
        at += bytes[at..].iter().take(2).take_while(|byte| matches!(byte, b'=' | b'>')).count();
    }
    let blank = |byte: &&u8| is_blank(**byte) || (name.is_quoted() && matches!(byte, b'\n' | b'\r'));
    Some(at + bytes[at..].iter().take_while(blank).count())
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Quoted,
    Bracketed,
    Bare,
}

/// The value of a field: what is hidden is `start..end`.
struct Value {
    form: Form,
    start: usize,
    end: usize,
}

impl Value {
    fn at(text: &str, start: usize, separator: usize, name: &Name<'_>) -> Self {
        let bytes = text.as_bytes();
        let backslashes = bytes[start..].iter().take_while(|byte| **byte == b'\\').count();
        match bytes.get(start + backslashes) {
            Some(quote) if is_quote(*quote) => {
                let content = start + backslashes + 1;
                Self { form: Form::Quoted, start: content, end: closing_quote(bytes, content, *quote, backslashes) }
            }
            Some(b'{' | b'[') if backslashes == 0 => {
                Self { form: Form::Bracketed, start, end: closing_bracket(bytes, start) }
            }
            Some(_) | None => {
                let is_header = bytes[separator] == b':' && !name.closed && names::takes_line(name.text);
                let end = if is_header { line_end(text, start, name.quote) } else { word_end(text, start, name) };
                Self { form: Form::Bare, start, end }
            }
        }
    }

    /// The edit that hides the value, if there is something to hide.
    fn edit(&self, text: &str, name: &Name<'_>) -> Option<Edit> {
        let value = &text[self.start..self.end];
        let is_nothing = match self.form {
            Form::Quoted => value.is_empty(),
            Form::Bracketed => matches!(value, "{}" | "[]"),
            Form::Bare => {
                let word = value.to_ascii_lowercase();
                matches!(word.as_str(), "" | "null" | "none" | "nil" | "undefined" | "true" | "false")
            }
        };
        if is_nothing || value == REDACTED || secret::is_only_secret_references(value) {
            return None;
        }
        let keeps_json = name.is_quoted() && name.quote == Some(b'"') && self.form != Form::Quoted;
        // A template, a placeholder or a parameter of a query language is not a credential.
        let is_placeholder =
            value.starts_with(['{', '<', '$', '%', ':', '*']) || !value.contains(|c: char| c.is_alphanumeric());
        let is_written_out = name.in_query || (name.is_quoted() && self.form != Form::Bracketed);
        Some(Edit {
            range: self.start..self.end,
            marker: if keeps_json { QUOTED_REDACTED } else { REDACTED },
            literal: is_written_out && !is_placeholder && !secret::is_only_references(value),
        })
    }
}

/// Where a quoted value ends: before its closing quote and the backslashes that belong to it, or with the text.
///
/// `depth` is the number of backslashes before the opening quote: 0 in JSON, 1 in JSON inside a JSON string, then 3. A
/// quote closes when it has as many; when it is escaped inside the value it has more.
fn closing_quote(bytes: &[u8], start: usize, quote: u8, depth: usize) -> usize {
    let mut backslashes = 0;
    for (offset, byte) in bytes[start..].iter().enumerate() {
        if *byte == b'\\' {
            backslashes += 1;
            continue;
        }
        if *byte == quote && (backslashes < depth || backslashes % (2 * (depth + 1)) == depth) {
            return start + offset - backslashes.min(depth);
        }
        backslashes = 0;
    }
    bytes.len()
}

/// Where a list or object ends: after its closing bracket, or with the text if that was cut off.
fn closing_bracket(bytes: &[u8], start: usize) -> usize {
    let mut open = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for (offset, byte) in bytes[start..].iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => open += 1,
            b'}' | b']' if !in_string => open -= 1,
            _ => {}
        }
        if open == 0 {
            return start + offset + 1;
        }
    }
    bytes.len()
}

/// Where a header value ends: with its line, or with the quote that the whole header stands in.
fn line_end(text: &str, start: usize, quote: Option<u8>) -> usize {
    let rest = &text[start..];
    let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
    // Line ends that are still escaped.
    let line = ["\\n", "\\r"].iter().filter_map(|end| rest[..line].find(end)).min().unwrap_or(line);
    let line = quote.and_then(|quote| rest[..line].find(char::from(quote))).unwrap_or(line);
    start + rest[..line].trim_end_matches([' ', '\t', '\\']).len()
}

/// Where a bare value ends: at a blank, a quote, `&` or `;`, and in JSON also at `,`, `}` or `]`. `Bearer x` is one
/// value.
fn word_end(text: &str, start: usize, name: &Name<'_>) -> usize {
    let json = name.is_quoted();
    let ends = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '&' | ';') || (json && matches!(c, ',' | '}' | ']'))
    };
    let word = |from: usize| text[from..].find(ends).map_or(text.len(), |length| from + length);
    let mut end = word(start);
    if secret::is_scheme_word(&text[start..end]) {
        let next = end + text[end..].bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        end = if next > end { word(next) } else { end };
    }
    start + text[start..end].trim_end_matches('\\').len()
}

/// Blanks, and the stars of `**Password:** x`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'*')
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}
