//! JSON values as values of the language, and back.
//!
//! A whole number that fits is an `int`, a larger one a `uint`, every other number a `double`.

use std::collections::BTreeMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use cel::objects::{Key, Value as CelValue};
use serde_json::{Map, Value};

/// Largest number that a record can hold.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A value that borrows its texts.
#[expect(clippy::disallowed_types, reason = "the evaluator takes no other map; `budget` puts its keys in order")]
pub(super) fn from_json(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(flag) => Box::new(CelBool::from(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Box::new(CelInt::from(int)),
            (None, Some(uint)) => Box::new(CelUInt::from(uint)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(from_json).collect::<Vec<_>>())),
        Value::Object(members) => {
            let member = |(name, member)| (CelMapKey::String(CelString::from(String::as_str(name))), from_json(member));
            Box::new(CelMap::from(members.iter().map(member).collect::<std::collections::HashMap<_, _>>()))
        }
    }
}

/// A value that can be recorded, or why it is none.
pub(super) fn to_json(value: &CelValue) -> Result<Value, &'static str> {
    const TOO_LARGE: &str = "its result has a number beyond 2^53 - 1";
    match value {
        CelValue::Null => Ok(Value::Null),
        CelValue::Bool(flag) => Ok(Value::Bool(*flag)),
        CelValue::Int(int) if int.unsigned_abs() <= MAX_NUMBER => Ok(Value::from(*int)),
        CelValue::UInt(uint) if *uint <= MAX_NUMBER => Ok(Value::from(*uint)),
        CelValue::Int(_) | CelValue::UInt(_) => Err(TOO_LARGE),
        CelValue::Float(double) if !double.is_finite() => Err("its result is infinite or no number"),
        CelValue::Float(double) if double.fract() != 0.0 => {
            Err("its result has a number that is not whole; `int(x)` cuts the fraction off")
        }
        CelValue::Float(double) if double.abs() <= MAX_NUMBER as f64 => Ok(Value::from(*double as i64)),
        CelValue::Float(_) => Err(TOO_LARGE),
        CelValue::String(text) => Ok(Value::String(text.as_str().to_owned())),
        CelValue::List(items) => items.iter().map(to_json).collect::<Result<_, _>>().map(Value::Array),
        CelValue::Map(map) => {
            // In order, so that the first thing that is wrong is always the same one.
            let members: BTreeMap<&Key, &CelValue> = map.map.iter().collect();
            let mut object = Map::new();
            for (key, member) in members {
                let Key::String(name) = key else {
                    return Err("its result has an object name that is no text");
                };
                object.insert(name.as_str().to_owned(), to_json(member)?);
            }
            Ok(Value::Object(object))
        }
        CelValue::Bytes(_) | CelValue::Function(..) | CelValue::Opaque(_) | CelValue::Struct(_) => {
            Err("its result is no JSON value")
        }
    }
}
