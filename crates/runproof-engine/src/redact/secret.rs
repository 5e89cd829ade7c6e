//! References to secrets: `secret://NAME`, where a plan may write it, and how a value takes its place.
//!
//! A reference stands alone or inside a string (`Bearer secret://API_TOKEN`), never in the name of a field. This module
//! sees names; the values are handed to [`fill_secrets`] by the worker, after the intent is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::walk::{Walk, shown};

/// What every reference to a secret begins with.
pub(crate) const SECRET_SCHEME: &str = "secret://";

/// Longest piece of a wrong reference that an error shows, in characters.
const MAX_SHOWN: usize = 80;

/// The name of a secret: `^[A-Z][A-Z0-9_]{0,63}$`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName(String);

impl SecretName {
    /// Accepts a bare name, such as `API_TOKEN`.
    ///
    /// # Errors
    /// [`InvalidSecretName`] when it does not have the form of one.
    pub fn new(name: &str) -> Result<Self, InvalidSecretName> {
        if is_name(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidSecretName(shown(name, MAX_SHOWN).into_owned()))
        }
    }

    /// Accepts a whole reference, such as `secret://API_TOKEN`.
    ///
    /// # Errors
    /// [`InvalidSecretName`] when the text is not exactly one reference.
    pub fn parse(reference: &str) -> Result<Self, InvalidSecretName> {
        match reference.strip_prefix(SECRET_SCHEME) {
            Some(name) => Self::new(name),
            None => Err(InvalidSecretName(shown(reference, MAX_SHOWN).into_owned())),
        }
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not the name of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a secret: names are `[A-Z][A-Z0-9_]*`, at most 64 characters")]
pub struct InvalidSecretName(pub String);

/// A `secret://` that is not followed by a name, or that stands where none is filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` at `{path}` is not a reference to a secret: write `secret://NAME` in a value, with a name of \
     `[A-Z][A-Z0-9_]*`, at most 64 characters"
)]
pub struct SecretReferenceError {
    /// JSON path of the string, such as `$.steps[0].with.headers.authorization`.
    pub path: String,
    /// The reference as it was found, redacted and cut.
    pub text: String,
}

/// The names of all secrets that `value` refers to, in whole strings or inside them.
///
/// # Errors
/// [`SecretReferenceError`] for the first reference whose name is malformed, and for one in an object name: those are
/// never filled in.
pub fn secret_names(value: &Value) -> Result<BTreeSet<String>, SecretReferenceError> {
    let mut found = BTreeSet::new();
    let mut walk = Walk::new(value);
    while let Some(place) = walk.next_place() {
        let wrong = match place.value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
            Value::Object(members) => members.keys().find_map(|name| secret_runs(name).next()),
            Value::String(text) => {
                let (names, wrong): (Vec<&str>, Vec<&str>) = secret_runs(text).partition(|run| is_name(run));
                found.extend(names.into_iter().map(str::to_owned));
                wrong.into_iter().next()
            }
        };
        if let Some(run) = wrong {
            let text = shown(&format!("{SECRET_SCHEME}{run}"), MAX_SHOWN).into_owned();
            return Err(SecretReferenceError { path: walk.path(&place), text });
        }
    }
    Ok(found)
}

/// A copy of `value` in which every reference to a secret in `secrets` is replaced by its value.
///
/// One pass: a secret that itself contains `secret://` is not looked at again. References to names that are not in
/// `secrets` stay, so the caller asks [`secret_names`] first and refuses what it does not have. The result is for one
/// dispatch: never log, store or return it.
pub fn fill_secrets(value: &Value, secrets: &BTreeMap<String, String>) -> Value {
    let mut filled = value.clone();
    let mut pending = vec![&mut filled];
    while let Some(value) = pending.pop() {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => {
                if let Some(new) = fill_text(text, secrets) {
                    *text = new;
                }
            }
            Value::Array(items) => pending.extend(items.iter_mut()),
            Value::Object(members) => pending.extend(members.values_mut()),
        }
    }
    filled
}

fn fill_text(text: &str, secrets: &BTreeMap<String, String>) -> Option<String> {
    if !text.contains(SECRET_SCHEME) {
        return None;
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(SECRET_SCHEME) {
        let run = run_of(&rest[start + SECRET_SCHEME.len()..]);
        let end = start + SECRET_SCHEME.len() + run.len();
        match secrets.get(run) {
            Some(secret) => {
                filled.push_str(&rest[..start]);
                filled.push_str(secret);
            }
            None => filled.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    filled.push_str(rest);
    Some(filled)
}

/// What stands after each `secret://` of `text`: the longest run of letters, digits, `_` and `-`. A dash is part of it so
/// that `secret://API-TOKEN` is refused and not read as the secret `API` and a rest.
pub(crate) fn secret_runs(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(SECRET_SCHEME).map(|(start, scheme)| run_of(&text[start + scheme.len()..]))
}

fn run_of(text: &str) -> &str {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
    &text[..length]
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether `text` begins with a well-formed reference.
pub(super) fn begins_with_reference(text: &str) -> bool {
    text.strip_prefix(SECRET_SCHEME).is_some_and(|rest| is_name(run_of(rest)))
}

/// Whether `text` consists of references to secrets, after a word such as `Bearer` if there is one; punctuation between
/// them may stay.
pub(super) fn is_only_secret_references(text: &str) -> bool {
    consists_of_references(text, false)
}

/// The same, with `{{…}}` as well.
pub(super) fn is_only_references(text: &str) -> bool {
    consists_of_references(text, true)
}

fn consists_of_references(text: &str, templates: bool) -> bool {
    let mut rest = text.trim_start();
    if let Some((word, after)) = rest.split_once([' ', '\t'])
        && is_scheme_word(word)
    {
        rest = after;
    }
    let mut found = false;
    while !rest.is_empty() {
        let reference = if begins_with_reference(rest) {
            Some(SECRET_SCHEME.len() + run_of(&rest[SECRET_SCHEME.len()..]).len())
        } else if templates && rest.starts_with("{{") {
            let Some(end) = rest.find("}}") else { return false };
            Some(end + 2)
        } else {
            None
        };
        let next = rest.chars().next();
        let length = match (reference, next) {
            (Some(length), _) => length,
            (None, Some(c)) if !c.is_alphanumeric() => c.len_utf8(),
            (None, _) => return false,
        };
        found |= reference.is_some();
        rest = &rest[length..];
    }
    found
}

/// Whether a word names a scheme of HTTP authentication, so that the credential is the word after it.
pub(super) fn is_scheme_word(word: &str) -> bool {
    ["bearer", "basic", "token", "digest", "negotiate", "apikey"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}
