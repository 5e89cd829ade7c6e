//! Whether a structure, written in canonical form, is a given text. Nothing is stored on the way.

use std::fmt;

use serde::Serialize;
use serde::ser::{Error, Impossible, SerializeSeq, SerializeStruct, Serializer};

use super::MAX_INTEGER;
use super::scan::plain_length;

/// Byte at which the canonical form of `value` leaves `text`, or has none; `None` when they are the same.
///
/// `value` consists of structures with their fields in canonical order, lists, strings, words, booleans and integers
/// from 0 on; anything else has no canonical form here.
pub(crate) fn differs(value: &impl Serialize, text: &str) -> Option<usize> {
    let mut same = Same { rest: text.as_bytes() };
    let written = value.serialize(&mut same);
    (written.is_err() || !same.rest.is_empty()).then(|| text.len() - same.rest.len())
}

/// Takes what is written off the beginning of a text, as long as it is there.
struct Same<'a> {
    rest: &'a [u8],
}

impl Same<'_> {
    #[inline]
    fn take(&mut self, bytes: &[u8]) -> Result<(), Differs> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(Differs)?;
        Ok(())
    }

    fn integer(&mut self, value: u64) -> Result<(), Differs> {
        if value > MAX_INTEGER.unsigned_abs() {
            return Err(Differs);
        }
        let (mut digits, mut start, mut left) = ([0; 16], 16, value);
        while left > 0 || start == 16 {
            start -= 1;
            digits[start] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.take(&digits[start..])
    }

    /// A string without escapes, such as every name of a field.
    #[inline]
    fn plain(&mut self, text: &str) -> Result<(), Differs> {
        self.take(b"\"")?;
        self.take(text.as_bytes())?;
        self.take(b"\"")
    }

    fn string(&mut self, text: &str) -> Result<(), Differs> {
        let bytes = text.as_bytes();
        if plain_length(bytes) == bytes.len() {
            return self.plain(text);
        }
        if bytes.contains(&0) {
            return Err(Differs);
        }
        // serde_json escapes exactly what RFC 8785 section 3.2.2.2 asks for.
        self.take(&serde_json::to_vec(text).map_err(Differs::custom)?)
    }
}

/// What is written is not what stands there.
#[derive(Debug)]
struct Differs;

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("written differently")
    }
}

impl std::error::Error for Differs {}

impl Error for Differs {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// The members of an object or the items of an array.
struct Items<'s, 'a> {
    same: &'s mut Same<'a>,
    is_first: bool,
}

impl<'s, 'a> Items<'s, 'a> {
    fn open(same: &'s mut Same<'a>, bracket: &[u8]) -> Result<Self, Differs> {
        same.take(bracket)?;
        Ok(Self { same, is_first: true })
    }

    #[inline]
    fn next(&mut self) -> Result<&mut Same<'a>, Differs> {
        if self.is_first {
            self.is_first = false;
        } else {
            self.same.take(b",")?;
        }
        Ok(self.same)
    }
}

impl SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Differs> {
        value.serialize(self.next()?)
    }

    fn end(self) -> Result<(), Differs> {
        self.same.take(b"]")
    }
}

impl SerializeStruct for Items<'_, '_> {
    type Ok = ();
    type Error = Differs;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Differs> {
        let same = self.next()?;
        same.plain(name)?;
        same.take(b":")?;
        value.serialize(same)
    }

    fn end(self) -> Result<(), Differs> {
        self.same.take(b"}")
    }
}

/// Methods of a serializer for what has no canonical form here.
macro_rules! refused {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, Differs> { Err(Differs) })*
    };
}

impl<'s, 'a> Serializer for &'s mut Same<'a> {
    type Ok = ();
    type Error = Differs;
    type SerializeSeq = Items<'s, 'a>;
    type SerializeTuple = Impossible<(), Differs>;
    type SerializeTupleStruct = Impossible<(), Differs>;
    type SerializeTupleVariant = Impossible<(), Differs>;
    type SerializeMap = Impossible<(), Differs>;
    type SerializeStruct = Items<'s, 'a>;
    type SerializeStructVariant = Impossible<(), Differs>;

    fn serialize_bool(self, value: bool) -> Result<(), Differs> {
        self.take(if value { b"true" } else { b"false" })
    }

    fn serialize_u64(self, value: u64) -> Result<(), Differs> {
        self.integer(value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), Differs> {
        self.integer(value.into())
    }

    fn serialize_str(self, text: &str) -> Result<(), Differs> {
        self.string(text)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, word: &'static str) -> Result<(), Differs> {
        self.plain(word)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Differs> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'s, 'a>, Differs> {
        Items::open(self, b"[")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Items<'s, 'a>, Differs> {
        Items::open(self, b"{")
    }

    refused! {
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<(), Differs> {
        Err(Differs)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Differs> {
        Err(Differs)
    }
}
