//! Redaction: takes credentials and personal data out of values before they are hashed or stored.
//!
//! Four jobs that share one set of rules: [`redact`] hides what looks secret, [`literal_secrets`] finds what must
//! refuse a plan or a goal, [`fill_secrets`] puts `secret://NAME` values into parameters at dispatch, and [`Scrubber`]
//! takes exactly those values out of whatever comes back. Pattern rules miss what has no pattern; the scrubber does
//! not, because it knows the values.
//!
//! Nothing here reads a secret store, and nothing here keeps a secret beyond the value that it was given.

mod cards;
mod fields;
mod literal;
mod names;
mod patterns;
mod scrub;
mod secret;
mod walk;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use literal::{LiteralSecret, literal_secrets, literal_secrets_in_text};
pub use scrub::{Scrubber, ShortSecret};
pub use secret::{InvalidSecretName, SecretName, SecretReferenceError, fill_secrets, secret_names};

pub(crate) use secret::{SECRET_SCHEME, secret_runs};
pub(crate) use walk::{Walk, shown};

/// What a value under a secret field name becomes.
pub const REDACTED: &str = "<REDACTED>";

/// How often the text rules run before a text that still changes is hidden as a whole. One round does the work and
/// one sees that nothing is left; the rest is room for a text made to be awkward.
const MAX_ROUNDS: usize = 4;

/// Hides everything in `value` that the rules call secret, at every depth, in object names too.
///
/// - A string, number, list or object under a secret field name (see the module `names`) becomes [`REDACTED`]. Nulls,
///   booleans and empty values stay, and so does a value made only of `secret://NAME`: a name is not a secret. The
///   pair `{"name": "authorization", "value": …}` counts as a field of that name.
/// - Every string is redacted as by [`redact_text`].
/// - An integer that is a card number becomes the string `<REDACTED_CARD>`.
/// - An object name that holds a secret is redacted as text; a second one with the same result gets the suffix `#2`.
///
/// Pure and idempotent: `redact(redact(x)) == redact(x)`.
pub fn redact(mut value: Value) -> Value {
    // A work list and not recursion: a value may be as deep as its parser allowed.
    let mut pending = vec![&mut value];
    while let Some(value) = pending.pop() {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if cards::is_card_number(number) {
                    *value = Value::String(cards::MARKER.to_owned());
                }
            }
            Value::String(text) => {
                if let Cow::Owned(redacted) = redact_text(text) {
                    *text = redacted;
                }
            }
            Value::Array(items) => pending.extend(items.iter_mut()),
            Value::Object(members) => {
                // Names are judged before and after they are redacted, so that a second pass finds nothing new.
                hide_secret_members(members);
                rename_members(members, &redact_name);
                hide_secret_members(members);
                pending.extend(members.values_mut());
            }
        }
    }
    value
}

/// Hides everything in `text` that the rules call secret: tokens, keys, card numbers and addresses by their form, and
/// the values of secret names in `"name": "value"`, `name=value` and `name: value`.
///
/// Borrowed means unchanged. Idempotent by construction: the rules run until they change nothing, and a text that four
/// rounds do not settle becomes [`REDACTED`] as a whole.
pub fn redact_text(text: &str) -> Cow<'_, str> {
    let mut current = Cow::Borrowed(text);
    for _ in 0..MAX_ROUNDS {
        match patterns::apply(&current) {
            None => return current,
            Some(changed) => current = Cow::Owned(changed),
        }
    }
    Cow::Owned(REDACTED.to_owned())
}

/// Whether `value` is a redaction marker or holds one anywhere, in object names too. A step whose reference gives such
/// a value must fail: sending a marker to the world is never what the plan meant.
pub fn is_redacted(value: &Value) -> bool {
    let mut walk = Walk::new(value);
    while let Some(place) = walk.next_place() {
        let found = match place.value {
            Value::String(text) => holds_marker(text),
            Value::Object(members) => members.keys().any(|name| holds_marker(name)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
        };
        if found {
            return true;
        }
    }
    false
}

/// Whether `text` holds a marker: `<REDACTED>` or `<REDACTED_…>` with an upper-case word.
fn holds_marker(text: &str) -> bool {
    !marker_spans(text).is_empty()
}

/// Where the markers of `text` are, as byte ranges.
fn marker_spans(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut spans = Vec::new();
    for (start, opening) in text.match_indices("<REDACTED") {
        let rest = &text[start + opening.len()..];
        let word = rest.bytes().take_while(|byte| byte.is_ascii_uppercase() || *byte == b'_').count();
        if rest[word..].starts_with('>') {
            spans.push(start..start + opening.len() + word + 1);
        }
    }
    spans
}

/// Hides the values of members with a secret name.
fn hide_secret_members(members: &mut Map<String, Value>) {
    let pair_is_secret =
        names::pair_names(members).any(|name| names::is_secret_name(name) || names::is_secret_name(&redact_text(name)));
    for (name, value) in members.iter_mut() {
        if names::is_secret_name(name) || (pair_is_secret && name == "value") {
            hide(value);
        }
    }
}

/// Hides one value whole, unless there is nothing in it to hide.
fn hide(value: &mut Value) {
    let keep = match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(_) => false,
        // A reference that a text rule would cut is not one any more when this runs again.
        Value::String(text) => {
            secret::is_only_secret_references(text) && matches!(redact_text(text), Cow::Borrowed(_)) || text.is_empty()
        }
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    };
    if !keep {
        *value = Value::String(REDACTED.to_owned());
    }
}

/// The redacted form of an object name, if it needs one.
fn redact_name(name: &str) -> Option<String> {
    // `<REDACTED_EMAIL>#2` is a name that an earlier redaction numbered: what counts is the part before the number.
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit()).strip_suffix('#');
    if base.is_some_and(|base| base.ends_with('>') && matches!(redact_text(base), Cow::Borrowed(_))) {
        return None;
    }
    match redact_text(name) {
        Cow::Borrowed(_) => None,
        Cow::Owned(redacted) => Some(redacted),
    }
}

/// Renames members; where two end up with one name, both are kept and the later one is numbered from `#2`.
fn rename_members(members: &mut Map<String, Value>, rename: &dyn Fn(&str) -> Option<String>) {
    let renamed: Vec<(String, String)> =
        members.keys().filter_map(|name| rename(name).map(|new| (name.clone(), new))).collect();
    // Out first and in afterwards: names that stay as they are keep their place whatever the others become.
    let moved: Vec<(String, Value)> =
        renamed.into_iter().filter_map(|(old, new)| members.remove(&old).map(|value| (new, value))).collect();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for (base, value) in moved {
        let number = numbers.entry(base.clone()).or_insert(1);
        let mut name = base.clone();
        while members.contains_key(&name) {
            *number += 1;
            name = format!("{base}#{number}");
        }
        members.insert(name, value);
    }
}
