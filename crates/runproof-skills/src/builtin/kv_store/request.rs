//! Parameters of `kv_store`: which belong to which operation, and what is refused before anything is read.

use std::ops::RangeInclusive;

use runproof_engine::skill::ParamFinding;
use serde_json::Value;

use super::{MAX_INPUT_BYTES, MAX_INTEGER, MAX_VALUE_BYTES};
use crate::params::{Reader, Stage, size};

const MAX_DEPTH: usize = 32;
const MAX_KEY_BYTES: usize = 512;
const MAX_NAMESPACE_BYTES: usize = 64;
/// One second to a year.
const TTL_SECONDS: RangeInclusive<u64> = 1..=31_536_000;
const DEFAULT_NAMESPACE: &str = "default";

/// A word for an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Get,
    Set,
    Delete,
    Exists,
    Ttl,
    Incr,
    Decr,
    Expire,
}

const WORDS: &[(&str, Word)] = &[
    ("get", Word::Get),
    ("set", Word::Set),
    ("delete", Word::Delete),
    ("exists", Word::Exists),
    ("ttl", Word::Ttl),
    ("incr", Word::Incr),
    ("decr", Word::Decr),
    ("expire", Word::Expire),
];

/// Parameters that belong to some operations only.
const OF_SOME: &[(&str, &[Word])] = &[
    ("value", &[Word::Set]),
    ("default", &[Word::Get]),
    ("ttl_seconds", &[Word::Set, Word::Expire]),
    ("amount", &[Word::Incr, Word::Decr]),
];

/// What is asked for.
pub(super) enum Operation<'a> {
    /// The value, or this one when there is none.
    Get(&'a Value),
    /// Stores the value, for so many seconds.
    Set(&'a Value, Option<u64>),
    /// Removes the key.
    Delete,
    /// Whether there is a value.
    Exists,
    /// How long there will be one.
    Ttl,
    /// Adds this to the number.
    Add(i64),
    /// Lets the key expire after so many seconds.
    Expire(u64),
}

/// A call whose parameters are right.
pub(super) struct Request<'a> {
    /// Namespace and key in one: unique in the tenant.
    pub(super) key: String,
    /// What is asked for.
    pub(super) operation: Operation<'a>,
}

impl<'a> Request<'a> {
    /// Reads the parameters of a call, or finds everything that is wrong with them. In a plan, what is still open
    /// counts as right.
    pub(super) fn read(params: &'a Value, stage: Stage) -> Result<Self, Vec<ParamFinding>> {
        let mut reader = Reader::new(params, stage);
        if reader.within(params, MAX_DEPTH, MAX_INPUT_BYTES) {
            refuse_secrets(&mut reader, params);
        }
        reader.need("operation");
        reader.need("key");
        let word = reader.word("operation", WORDS);
        let namespace = reader.text("namespace").unwrap_or(DEFAULT_NAMESPACE);
        let key = reader.text("key");
        let value = reader.any("value").unwrap_or(&Value::Null);
        let default = reader.any("default").unwrap_or(&Value::Null);
        let ttl_seconds = reader.integer("ttl_seconds", TTL_SECONDS);
        let amount = reader.integer("amount", 1..=MAX_INTEGER.unsigned_abs()).map_or(1, u64::cast_signed);
        check_names(&mut reader, namespace, key);
        if size(value) > MAX_VALUE_BYTES {
            reader.find("value", format!("is larger than {MAX_VALUE_BYTES} bytes"));
        }
        if let Some(word) = word {
            check_belonging(&mut reader, word);
        }
        let findings = reader.finish();
        if !findings.is_empty() {
            return Err(findings);
        }
        let operation = match word {
            Some(Word::Set) => Operation::Set(value, ttl_seconds),
            Some(Word::Delete) => Operation::Delete,
            Some(Word::Exists) => Operation::Exists,
            Some(Word::Ttl) => Operation::Ttl,
            Some(Word::Incr) => Operation::Add(amount),
            Some(Word::Decr) => Operation::Add(-amount),
            Some(Word::Expire) => Operation::Expire(ttl_seconds.unwrap_or(*TTL_SECONDS.start())),
            Some(Word::Get) | None => Operation::Get(default),
        };
        Ok(Self { key: format!("{namespace}:{}", key.unwrap_or_default()), operation })
    }
}

/// A namespace holds no colon, so that namespace and key can be told apart in what is stored.
fn check_names(reader: &mut Reader<'_>, namespace: &str, key: Option<&str>) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let is_name = (1..=MAX_NAMESPACE_BYTES).contains(&namespace.len()) && namespace.bytes().all(plain);
    if !is_name {
        reader.find("namespace", format!("must be 1 to {MAX_NAMESPACE_BYTES} of A-Z a-z 0-9 _ . -"));
    }
    if key.is_some_and(|key| key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains('\0')) {
        reader.find("key", format!("must have 1 to {MAX_KEY_BYTES} bytes, none of them U+0000"));
    }
}

/// What a plan says is never ignored: a parameter of another operation is a finding, and so is one that is not there.
fn check_belonging(reader: &mut Reader<'_>, word: Word) {
    let name = WORDS.iter().find(|(_, known)| *known == word).map_or("", |(name, _)| name);
    for (parameter, words) in OF_SOME {
        if reader.has(parameter) && !words.contains(&word) {
            reader.find(*parameter, format!("is not a parameter of `{name}`"));
        }
    }
    match word {
        Word::Set => reader.need("value"),
        Word::Expire => reader.need("ttl_seconds"),
        Word::Get | Word::Delete | Word::Exists | Word::Ttl | Word::Incr | Word::Decr => {}
    }
}

/// A secret that is filled in here would be stored, and other runs could read it.
fn refuse_secrets(reader: &mut Reader<'_>, params: &Value) {
    for (name, member) in params.as_object().into_iter().flatten() {
        if names_secret(member) {
            reader.find(name, "names a secret, and what is stored can be read by other runs");
        }
    }
}

fn names_secret(value: &Value) -> bool {
    let named = |text: &str| text.contains("secret://");
    match value {
        Value::String(text) => named(text),
        Value::Array(items) => items.iter().any(names_secret),
        Value::Object(members) => members.iter().any(|(name, member)| named(name) || names_secret(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
