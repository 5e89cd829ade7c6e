//! Reads canonical text from front to back, and stops at the first place that is not canonical.

use std::borrow::Cow;

use super::{MAX_INTEGER, NotCanonical};
use crate::hash::Hash;

/// A place in a text of which everything before it is canonical.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A string as it stands in a text, without its quotes.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    raw: &'a str,
    /// ASCII without escapes: its bytes are what it says, and stand in the order of their UTF-16 code units.
    plain: bool,
}

impl<'a> Text<'a> {
    /// A string that is canonical, from between its quotes.
    pub(crate) fn new(raw: &'a str) -> Self {
        Self { raw, plain: raw.is_ascii() && !raw.contains('\\') }
    }

    /// Bytes between the quotes.
    pub(crate) fn length(self) -> usize {
        self.raw.len()
    }

    /// What the string says.
    pub(crate) fn text(self) -> Cow<'a, str> {
        if self.plain || !self.raw.contains('\\') {
            return Cow::Borrowed(self.raw);
        }
        let quoted = format!("\"{}\"", self.raw);
        Cow::Owned(serde_json::from_str(&quoted).expect("a canonical string is a JSON string"))
    }

    /// Whether the string says `text`, which is plain.
    pub(crate) fn is(self, text: &str) -> bool {
        self.raw == text
    }

    /// Whether two member names stand in the order of their UTF-16 code units (RFC 8785 section 3.2.3).
    pub(crate) fn is_before(self, next: Self) -> bool {
        if self.plain && next.plain {
            return self.raw < next.raw;
        }
        self.text().encode_utf16().lt(next.text().encode_utf16())
    }
}

impl<'a> Scanner<'a> {
    /// The beginning of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), NotCanonical> {
        if self.at == self.text.len() { Ok(()) } else { Err(self.wrong("bytes after the value")) }
    }

    /// What was read from `start` on.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    pub(crate) fn wrong(&self, problem: &'static str) -> NotCanonical {
        NotCanonical { at: self.at, problem }
    }

    /// Goes on if `literal` comes next.
    #[inline]
    pub(crate) fn eat(&mut self, literal: &str) -> bool {
        let found = self.bytes()[self.at..].starts_with(literal.as_bytes());
        self.at += if found { literal.len() } else { 0 };
        found
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte; 0 at the end, which no canonical text holds.
    fn peek(&self) -> u8 {
        self.bytes().get(self.at).copied().unwrap_or(0)
    }

    fn eat_byte(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    /// Goes on after `literal`, which has to come next.
    #[inline]
    pub(crate) fn expect(&mut self, literal: &str, problem: &'static str) -> Result<(), NotCanonical> {
        if self.eat(literal) { Ok(()) } else { Err(self.wrong(problem)) }
    }

    /// Reads a value; answers its levels of nesting.
    pub(crate) fn value(&mut self, max_depth: usize) -> Result<usize, NotCanonical> {
        match self.peek() {
            b'{' => self.members(max_depth, |scanner, _, depth| scanner.value(depth)),
            b'[' => self.items(max_depth, Self::value),
            b'"' => self.string().map(|_| 0),
            b'-' | b'0'..=b'9' => self.integer().map(|_| 0),
            b't' if self.eat("true") => Ok(0),
            b'f' if self.eat("false") => Ok(0),
            b'n' if self.eat("null") => Ok(0),
            _ => Err(self.wrong("expected a value")),
        }
    }

    /// Reads an object; answers its levels of nesting. `read` gets the name of each member and the levels that are
    /// left, reads the value and answers its levels.
    pub(crate) fn members(
        &mut self,
        max_depth: usize,
        mut read: impl FnMut(&mut Self, Text<'a>, usize) -> Result<usize, NotCanonical>,
    ) -> Result<usize, NotCanonical> {
        let depth = self.open(b'{', max_depth)?;
        let mut deepest = 0;
        let mut previous: Option<Text<'a>> = None;
        if self.eat_byte(b'}') {
            return Ok(1);
        }
        loop {
            let start = self.at;
            if self.peek() != b'"' {
                return Err(self.wrong("expected a member name"));
            }
            let name = self.string()?;
            if previous.is_some_and(|previous| !previous.is_before(name)) {
                return Err(NotCanonical { at: start, problem: "member names are repeated or not sorted" });
            }
            if !self.eat_byte(b':') {
                return Err(self.wrong("expected `:`"));
            }
            deepest = deepest.max(read(self, name, depth)?);
            previous = Some(name);
            if self.eat_byte(b'}') {
                return Ok(deepest + 1);
            }
            if !self.eat_byte(b',') {
                return Err(self.wrong("expected `,` or `}`"));
            }
        }
    }

    /// Reads an array; answers its levels of nesting. `read` gets the levels that are left, as in
    /// [`Scanner::members`].
    pub(crate) fn items(
        &mut self,
        max_depth: usize,
        mut read: impl FnMut(&mut Self, usize) -> Result<usize, NotCanonical>,
    ) -> Result<usize, NotCanonical> {
        let depth = self.open(b'[', max_depth)?;
        let mut deepest = 0;
        if self.eat_byte(b']') {
            return Ok(1);
        }
        loop {
            deepest = deepest.max(read(self, depth)?);
            if self.eat_byte(b']') {
                return Ok(deepest + 1);
            }
            if !self.eat_byte(b',') {
                return Err(self.wrong("expected `,` or `]`"));
            }
        }
    }

    /// Enters an object or array; answers the levels that are left inside.
    fn open(&mut self, bracket: u8, max_depth: usize) -> Result<usize, NotCanonical> {
        if self.peek() != bracket {
            return Err(self.wrong("expected a value"));
        }
        let depth = max_depth.checked_sub(1).ok_or_else(|| self.wrong("nested too deeply"))?;
        self.at += 1;
        Ok(depth)
    }

    fn integer(&mut self) -> Result<i64, NotCanonical> {
        let start = self.at;
        self.eat_byte(b'-');
        let digits = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        let text = self.since(digits).as_bytes();
        if text.is_empty() {
            return Err(self.wrong("expected a digit"));
        }
        if matches!(self.peek(), b'.' | b'e' | b'E') {
            return Err(self.wrong("only integers are allowed"));
        }
        if text[0] == b'0' && (text.len() > 1 || digits > start) {
            return Err(NotCanonical { at: start, problem: "integer with a leading zero or minus zero" });
        }
        let sign = if digits > start { -1 } else { 1 };
        let magnitude = text.iter().take(17).fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        if text.len() > 16 || magnitude > MAX_INTEGER {
            return Err(NotCanonical { at: start, problem: "integer beyond 2^53 - 1" });
        }
        Ok(sign * magnitude)
    }

    /// Reads an integer that is not negative.
    pub(crate) fn unsigned(&mut self) -> Result<u64, NotCanonical> {
        let wrong = self.wrong("expected an integer that is not negative");
        self.integer()?.try_into().map_err(|_| wrong)
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<Text<'a>, NotCanonical> {
        if !self.eat_byte(b'"') {
            return Err(self.wrong("expected a string"));
        }
        let start = self.at;
        let mut plain = true;
        loop {
            let rest = &self.bytes()[self.at..];
            let stop = plain_length(rest);
            self.at += stop;
            match rest.get(stop) {
                Some(b'"') => {
                    let raw = self.since(start);
                    self.at += 1;
                    return Ok(Text { raw, plain });
                }
                Some(b'\\') => {
                    self.at += 1;
                    plain = false;
                    self.escape()?;
                }
                Some(0..=0x1f) => return Err(self.wrong("control character that is not escaped")),
                Some(_) => {
                    plain = false;
                    self.at += rest[stop..].iter().position(u8::is_ascii).unwrap_or(rest.len() - stop);
                }
                None => return Err(self.wrong("string without an end")),
            }
        }
    }

    /// Reads a hash.
    pub(crate) fn hash(&mut self) -> Result<Hash, NotCanonical> {
        let wrong = self.wrong("expected 64 lower-case hexadecimal digits");
        let quoted = self.text.get(self.at..self.at + 66).ok_or(wrong.clone())?;
        let digits = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let hash = digits.and_then(Hash::from_hex).ok_or(wrong)?;
        self.at += quoted.len();
        Ok(hash)
    }

    /// The escapes that RFC 8785 section 3.2.2.2 writes, and no others.
    fn escape(&mut self) -> Result<(), NotCanonical> {
        if matches!(self.peek(), b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') {
            self.at += 1;
            return Ok(());
        }
        let rest = &self.bytes()[self.at..];
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

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = ONES << 7;

/// Number of bytes before the first `"`, `\`, control character or byte beyond ASCII, found eight at a time.
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let special = special(*word);
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let mut last = [b'"'; 8];
    last[..rest.len()].copy_from_slice(rest);
    let length = special(last).trailing_zeros() as usize / 8;
    bytes.len() - rest.len() + length.min(rest.len())
}

/// Sets the high bit of the first byte that a plain string cannot hold, and perhaps bits of later bytes.
fn special(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    // A byte below `limit` borrows, which sets its high bit; only bytes after it can be wrong because of that.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let zero_where = |byte: u8| word ^ (ONES * u64::from(byte));
    (word | below(word, 0x20) | below(zero_where(b'"'), 1) | below(zero_where(b'\\'), 1)) & HIGHS
}
