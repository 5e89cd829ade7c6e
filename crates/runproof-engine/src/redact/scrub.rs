//! Takes known secrets out of values: whatever a receiver echoes, in whatever common encoding.
//!
//! Searches for the values themselves, so it needs no pattern. What it cannot see: a secret that was cut in two,
//! encrypted, compressed, hashed, or encoded twice in different ways.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use serde_json::Value;

use super::{marker_spans, rename_members};

/// What a known secret becomes.
const MARKER: &str = "<REDACTED_SECRET>";

/// Shortest secret that can be searched for, in characters: a shorter one is part of too much that is not secret.
const MIN_SECRET: usize = 4;

/// Shortest line of a secret of several lines that is searched for by itself, in characters.
const MIN_LINE: usize = 8;

/// A secret too short to be scrubbed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret `{name}` is shorter than {MIN_SECRET} characters: it cannot be scrubbed safely")]
pub struct ShortSecret {
    /// Name of the secret.
    pub name: String,
}

/// Replaces every occurrence of the secrets that it was built with by `<REDACTED_SECRET>`.
///
/// Built per dispatch from the secrets that were filled in, used on what came back, and dropped: it holds the values
/// in many encodings. Its `Debug` output shows their number only.
pub struct Scrubber {
    /// Longest first.
    needles: Vec<Needle>,
    /// The secrets as they are, for numbers.
    values: BTreeSet<String>,
}

impl Scrubber {
    /// Prepares the search for these secrets, given by name.
    ///
    /// Each is searched for as it is, without the blanks around it, percent-encoded, in base64 (both alphabets, at any
    /// offset, so also inside `user:password`), in hex, and escaped for JSON and HTML. Of a secret of several lines
    /// every line of 8 characters or more is searched for as well.
    ///
    /// # Errors
    /// [`ShortSecret`] when one has fewer than 4 characters without the blanks around it.
    pub fn new(secrets: &BTreeMap<String, String>) -> Result<Self, ShortSecret> {
        let mut needles = BTreeSet::new();
        let mut values = BTreeSet::new();
        for (name, secret) in secrets {
            let trimmed = secret.trim();
            if trimmed.chars().count() < MIN_SECRET {
                return Err(ShortSecret { name: name.clone() });
            }
            for form in [secret.as_str(), trimmed] {
                add_text_needles(form, &mut needles);
                add_byte_needles(form.as_bytes(), &mut needles);
                values.insert(form.to_owned());
            }
            let lines = trimmed.lines().map(str::trim).filter(|line| line.chars().count() >= MIN_LINE);
            for line in lines {
                add_text_needles(line, &mut needles);
            }
        }
        let mut needles: Vec<Needle> = needles.into_iter().collect();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.text.len()));
        Ok(Self { needles, values })
    }

    /// Scrubs every string and object name inside `value`, and numbers that are written like a secret.
    pub fn scrub(&self, mut value: Value) -> Value {
        if self.needles.is_empty() {
            return value;
        }
        let mut pending = vec![&mut value];
        while let Some(value) = pending.pop() {
            match value {
                Value::Null | Value::Bool(_) => {}
                Value::Number(number) => {
                    if self.values.contains(&number.to_string()) {
                        *value = Value::String(MARKER.to_owned());
                    }
                }
                Value::String(text) => {
                    if let Some(scrubbed) = self.scrubbed(text) {
                        *text = scrubbed;
                    }
                }
                Value::Array(items) => pending.extend(items.iter_mut()),
                Value::Object(members) => {
                    rename_members(members, &|name| self.scrubbed(name));
                    pending.extend(members.values_mut());
                }
            }
        }
        value
    }

    /// Scrubs a text, such as an error message.
    pub fn scrub_text(&self, text: &str) -> String {
        self.scrubbed(text).unwrap_or_else(|| text.to_owned())
    }

    /// The text without the secrets; `None` if none is in it.
    fn scrubbed(&self, text: &str) -> Option<String> {
        // All places are found in the text as it came, and only then replaced: overlapping secrets go together, and a
        // marker is never searched.
        let mut found = self.find(text);
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|range| range.start);
        let mut scrubbed = String::with_capacity(text.len());
        let mut from = 0;
        let mut open: Option<Range<usize>> = None;
        for range in found {
            match &mut open {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => {
                    if let Some(done) = open.replace(range) {
                        scrubbed.push_str(&text[from..done.start]);
                        scrubbed.push_str(MARKER);
                        from = done.end;
                    }
                }
            }
        }
        if let Some(done) = open {
            scrubbed.push_str(&text[from..done.start]);
            scrubbed.push_str(MARKER);
            from = done.end;
        }
        scrubbed.push_str(&text[from..]);
        Some(scrubbed)
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let markers = marker_spans(text);
        let lower = self.needles.iter().any(|needle| needle.any_case).then(|| text.to_ascii_lowercase());
        let mut found = Vec::new();
        for needle in &self.needles {
            let haystack = if needle.any_case { lower.as_deref().unwrap_or(text) } else { text };
            for (start, matched) in haystack.match_indices(needle.text.as_str()) {
                let end = start + matched.len();
                let next = markers.partition_point(|marker| marker.end < end);
                if markers.get(next).is_none_or(|marker| marker.start > start) {
                    found.push(needle.grown(text, start, end));
                }
            }
        }
        found
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("n_needles", &self.needles.len()).finish_non_exhaustive()
    }
}

/// One text to search for.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Needle {
    text: String,
    /// Searched for without regard to case; `text` is lower case.
    any_case: bool,
    /// The character before (base64) holds bits of the secret and of what stands before it; it is taken along.
    grows_left: bool,
    /// The same for the character after.
    grows_right: bool,
}

impl Needle {
    fn exact(text: String) -> Self {
        Self { text, any_case: false, grows_left: false, grows_right: false }
    }

    fn any_case(text: &str) -> Self {
        Self { any_case: true, ..Self::exact(text.to_ascii_lowercase()) }
    }

    fn grown(&self, text: &str, start: usize, end: usize) -> Range<usize> {
        let bytes = text.as_bytes();
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
        let left = self.grows_left && start > 0 && is_base64(&bytes[start - 1]);
        let right = self.grows_right && bytes.get(end).is_some_and(is_base64);
        start - usize::from(left)..end + usize::from(right)
    }
}

/// The secret as it is and as texts escape it.
fn add_text_needles(secret: &str, needles: &mut BTreeSet<Needle>) {
    needles.insert(Needle::exact(secret.to_owned()));
    // Which characters stay as they are: the strict rule, `application/x-www-form-urlencoded`, `encodeURIComponent`,
    // `encodeURI`.
    for unescaped in ["-._~", "*-._", "-_.!~*'()", "-_.!~*'();/?:@&=+$,#"] {
        let encoded = percent_encoded(secret, unescaped);
        if encoded != secret {
            needles.insert(Needle::any_case(&encoded.replace("%20", "+")));
            needles.insert(Needle::any_case(&encoded));
        }
    }
    for escaped in json_escaped(secret) {
        // Once more, for JSON text inside a JSON string.
        needles.extend(json_escaped(&escaped).into_iter().map(Needle::exact));
        needles.insert(Needle::exact(escaped));
    }
    for (quote, apostrophe) in
        [("&quot;", "&#39;"), ("&#34;", "&#39;"), ("&quot;", "&#x27;"), ("&quot;", "'"), ("\"", "'")]
    {
        let escaped = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        needles.insert(Needle::exact(escaped.replace('"', quote).replace('\'', apostrophe)));
    }
}

/// The bytes of the secret in hex, and the part of their base64 that does not depend on what stands around them.
fn add_byte_needles(secret: &[u8], needles: &mut BTreeSet<Needle>) {
    needles.insert(Needle::any_case(&HEXLOWER.encode(secret)));
    for offset in 0..3 {
        // Each character carries six bits: the inner part is made of characters whose bits are all the secret's.
        let mut bytes = vec![0; offset];
        bytes.extend_from_slice(secret);
        let inner = (offset * 8).div_ceil(6)..bytes.len() * 8 / 6;
        for encoded in [BASE64_NOPAD.encode(&bytes), BASE64URL_NOPAD.encode(&bytes)] {
            needles.insert(Needle {
                text: encoded[inner.clone()].to_owned(),
                any_case: false,
                grows_left: offset > 0,
                grows_right: !(bytes.len() * 8).is_multiple_of(6),
            });
        }
    }
}

fn percent_encoded(text: &str, unescaped: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || unescaped.contains(c) {
            encoded.push(c);
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    encoded
}

/// The ways in which common writers put `text` into a JSON string: plain, with `\/`, with everything outside ASCII
/// escaped, and with the characters of HTML escaped as well.
fn json_escaped(text: &str) -> [String; 4] {
    let quoted = Value::String(text.to_owned()).to_string();
    let plain = quoted[1..quoted.len() - 1].to_owned();
    let slashes = plain.replace('/', "\\/");
    let escape = |characters: &dyn Fn(char) -> bool| {
        let mut escaped = String::with_capacity(plain.len());
        for c in plain.chars() {
            if characters(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(escaped, "\\u{unit:04x}").expect("writing to a string cannot fail");
                }
            } else {
                escaped.push(c);
            }
        }
        escaped
    };
    let ascii = escape(&|c| !c.is_ascii());
    let html = escape(&|c| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'));
    [plain, slashes, ascii, html]
}
