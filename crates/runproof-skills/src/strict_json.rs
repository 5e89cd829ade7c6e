//! Takes JSON that somebody else wrote into the canonical profile (`docs/spec/canonical.md`): integers up to 2^53 - 1,
//! no U+0000, bounded depth, no repeated member names.
//!
//! Numbers outside the profile become their literal text, so that no digit is lost. What cannot be taken over without
//! a choice (repeated names, too deep) is not taken over at all; the caller keeps the text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Largest magnitude of an integer that every JSON reader keeps exact.
const MAX_INTEGER: i64 = 9_007_199_254_740_991;

/// A value inside the profile.
pub(crate) struct Taken {
    /// The value.
    pub(crate) value: Value,
    /// Whether some numbers became text.
    pub(crate) numbers_as_text: bool,
}

/// Reads JSON text; `None` when it is not JSON or has no form inside the profile. `max_depth` counts the outermost
/// object or list as 1.
pub(crate) fn take(text: &str, max_depth: usize) -> Option<Taken> {
    let raw = serde_json::from_str::<&RawValue>(text).ok()?;
    let mut numbers_as_text = false;
    let value = convert(raw, max_depth, &mut numbers_as_text)?;
    Some(Taken { value, numbers_as_text })
}

/// The text with U+0000 replaced by U+FFFD.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Whether a value nests at most `max_depth` levels. Stops at the limit, so it is safe for any value.
pub(crate) fn nests_at_most(value: &Value, max_depth: usize) -> bool {
    match value {
        Value::Array(items) => max_depth > 0 && items.iter().all(|item| nests_at_most(item, max_depth - 1)),
        Value::Object(members) => max_depth > 0 && members.values().all(|item| nests_at_most(item, max_depth - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Each level is scanned again by its parent, which costs at most `depth` passes and keeps every literal readable.
fn convert(raw: &RawValue, depth: usize, numbers_as_text: &mut bool) -> Option<Value> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'{' => {
            let members = serde_json::from_str::<Members<'_>>(text).ok()?;
            let depth = depth.checked_sub(1)?;
            let mut object = Map::new();
            for (name, member) in members.0 {
                let name = name.into_owned();
                let value = convert(member, depth, numbers_as_text)?;
                // A name with U+0000 would have to be renamed, and a repeated one dropped: neither is ours to choose.
                if name.contains('\0') || object.insert(name, value).is_some() {
                    return None;
                }
            }
            Some(Value::Object(object))
        }
        b'[' => {
            let depth = depth.checked_sub(1)?;
            let items = serde_json::from_str::<Vec<&RawValue>>(text).ok()?;
            items.into_iter().map(|item| convert(item, depth, numbers_as_text)).collect::<Option<_>>().map(Value::Array)
        }
        b'"' => serde_json::from_str::<String>(text).ok().map(|string| Value::String(without_nul(&string))),
        b't' | b'f' | b'n' => serde_json::from_str(text).ok(),
        _ => Some(number(text, numbers_as_text)),
    }
}

fn number(literal: &str, numbers_as_text: &mut bool) -> Value {
    match literal.parse::<i64>() {
        Ok(integer) if (-MAX_INTEGER..=MAX_INTEGER).contains(&integer) && literal != "-0" => integer.into(),
        Ok(_) | Err(_) => {
            *numbers_as_text = true;
            literal.into()
        }
    }
}

/// The members of an object in order, repeated names included.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expected: Option<(Value, bool)>) {
        let taken = take(text, 3).map(|taken| (taken.value, taken.numbers_as_text));
        assert_eq!(taken, expected, "{text}");
    }

    #[test]
    fn integers_stay_and_other_numbers_keep_every_digit_as_text() {
        check("9007199254740991", Some((json!(9_007_199_254_740_991_i64), false)));
        check("-9007199254740991", Some((json!(-9_007_199_254_740_991_i64), false)));
        check("9007199254740992", Some((json!("9007199254740992"), true)));
        check("[1.10, -0, 1e3, 0]", Some((json!(["1.10", "-0", "1e3", 0]), true)));
        check("123456789012345678901234567890", Some((json!("123456789012345678901234567890"), true)));
    }

    #[test]
    fn what_needs_a_choice_is_not_taken() {
        check(r#"{"a":1,"a":2}"#, None);
        check(r#"{"a":1,"\u0061":2}"#, None);
        check(r#"{"a\u0000":1}"#, None);
        check(r#""\ud800""#, None);
        check("{\"a\":1} x", None);
        check("", None);
    }

    #[test]
    fn depth_is_bounded_without_recursion_into_the_excess() {
        check("[[[1]]]", Some((json!([[[1]]]), false)));
        check("[[[[1]]]]", None);
        check(&"[".repeat(100_000), None);
        check(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), None);
    }

    #[test]
    fn nul_becomes_the_replacement_character() {
        check(r#"{"a":"x\u0000y"}"#, Some((json!({"a": "x\u{fffd}y"}), false)));
    }
}
