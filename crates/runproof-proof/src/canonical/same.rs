//! Whether a structure, written in canonical form, is a given text. Nothing is stored on the way.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use super::MAX_INTEGER;

/// Byte at which the canonical form of `value` leaves `text`, or has none; `None` when they are the same.
///
/// `value` consists of structures with their fields in canonical order, lists, strings, booleans and integers.
pub(crate) fn differs(value: &impl Serialize, text: &str) -> Option<usize> {
    let mut same = Same { rest: text.as_bytes() };
    let written = value.serialize(&mut Serializer::with_formatter(&mut same, Canonical));
    (written.is_err() || !same.rest.is_empty()).then(|| text.len() - same.rest.len())
}

/// Takes what is written off the beginning of a text, as long as it is there.
struct Same<'a> {
    rest: &'a [u8],
}

impl io::Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what RFC 8785 writes, and refuses what the strict profile refuses.
struct Canonical;

impl Formatter for Canonical {
    fn write_u64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        if value > MAX_INTEGER.unsigned_abs() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        CompactFormatter.write_u64(writer, value)
    }

    fn write_i64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        if value.unsigned_abs() > MAX_INTEGER.unsigned_abs() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        CompactFormatter.write_i64(writer, value)
    }

    fn write_f64<W: io::Write + ?Sized>(&mut self, _: &mut W, _: f64) -> io::Result<()> {
        Err(io::ErrorKind::InvalidData.into())
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        if matches!(escape, CharEscape::AsciiControl(0)) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        CompactFormatter.write_char_escape(writer, escape)
    }
}
