//! YAML as values, in which every scalar is text: enough to look at files that others read. No anchors, no tags.

use granit_parser::{Event, Parser};
use serde_json::{Map, Value};

/// A list or mapping that is not closed yet, with the key that waits for its value.
enum Open {
    List(Vec<Value>),
    Object(Map<String, Value>, Option<String>),
}

/// The documents of a file.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is the parser's, and what is not named is refused")]
pub(super) fn documents(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.unwrap_or_else(|error| panic!("{error}"));
        let value = match event {
            Event::Scalar(text, _, 0, None) => Value::String(text.into_owned()),
            Event::SequenceStart(_, 0, None) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(_, 0, None) => {
                open.push(Open::Object(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop().unwrap() {
                Open::List(items) => Value::Array(items),
                Open::Object(members, _) => Value::Object(members),
            },
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => continue,
            other => panic!("{other:?} at line {}", span.start.line()),
        };
        match open.last_mut() {
            None => found.push(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Object(_, key @ None)) => *key = Some(value.as_str().unwrap().to_owned()),
            Some(Open::Object(members, key)) => {
                let key = key.take().unwrap();
                assert!(members.insert(key.clone(), value).is_none(), "{key} twice, at line {}", span.start.line());
            }
        }
    }
    found
}
