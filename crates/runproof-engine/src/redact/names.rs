//! Which field names are secret.
//!
//! A name is cut into words at every character that is not a letter or digit and at `camelCase` humps, lower-cased, and
//! judged by how it ends: `x-api-key`, `userPassword` and `DB_PASSWORD` are secret, `password_reset_url`,
//! `token_count` and `max_tokens` are not. Trailing numbers do not count (`password2`).
//!
//! `token` is secret as the last word, except where the word before it says that it is a position or a unit of text:
//! `next_page_token` is not a secret, because the plan must be able to hand it to the next call.

use serde_json::{Map, Value};

/// Secret however the name ends with them, with or without a word boundary before, and in the plural.
const ANYWHERE_AT_END: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwordconfirmation",
    "secret",
    "secretkey",
    "secretaccesskey",
    "apikey",
    "accesstoken",
    "refreshtoken",
    "authtoken",
    "apitoken",
    "sessiontoken",
    "securitytoken",
    "bearertoken",
    "bearer",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "sshkey",
    "authorization",
    "credential",
    "creditcard",
    "cardnumber",
    "socialsecurity",
    "socialsecuritynumber",
    "setcookie",
];

/// Secret when they are the last whole words of the name; too short to be looked for inside a word.
const WHOLE_WORDS: &[&str] = &["pwd", "ssn", "cvv", "cvc", "cred", "creds", "cookie", "accesskey", "masterkey"];

/// Words before `token` that make it harmless.
const HARMLESS_TOKENS: &[&str] = &[
    "page",
    "pagination",
    "next",
    "prev",
    "previous",
    "continuation",
    "continue",
    "sync",
    "cursor",
    "start",
    "starting",
    "stop",
    "end",
    "eos",
    "bos",
    "pad",
    "unk",
    "sep",
    "cls",
    "mask",
    "special",
    "first",
    "last",
    "per",
];

/// Members that hold a name in `{"name": …, "value": …}`.
const PAIR_MEMBERS: &[&str] = &["name", "key", "header", "field"];

/// Whether a value under this name is secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let words = Words::new(name);
    let flat = words.flat.as_str();
    let singular = flat.strip_suffix('s').unwrap_or(flat);
    ANYWHERE_AT_END.iter().any(|word| flat.ends_with(word) || singular.ends_with(word))
        || WHOLE_WORDS.iter().any(|word| words.end_with(word))
        || (words.end_with("token") && !HARMLESS_TOKENS.contains(&words.before("token")))
}

/// Whether a header line of this name is secret to its end, blanks included.
pub(super) fn takes_line(name: &str) -> bool {
    let words = Words::new(name);
    words.flat.ends_with("authorization") || words.end_with("cookie")
}

/// The field names that an object of the form `{"name": …, "value": …}` may stand for.
pub(super) fn pair_names(members: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let looked_at = if members.contains_key("value") { PAIR_MEMBERS } else { &[] };
    looked_at.iter().filter_map(|member| members.get(*member).and_then(Value::as_str))
}

/// A name as lower-case letters and digits, and where its words begin.
struct Words {
    flat: String,
    starts: Vec<usize>,
}

impl Words {
    fn new(name: &str) -> Self {
        let name = name.trim_end_matches(|c: char| !c.is_alphabetic());
        let mut words = Self { flat: String::with_capacity(name.len()), starts: Vec::new() };
        let mut before = ' ';
        let mut characters = name.chars().peekable();
        while let Some(c) = characters.next() {
            if c.is_alphanumeric() {
                let hump = c.is_uppercase()
                    && (!before.is_uppercase() || characters.peek().is_some_and(|next| next.is_lowercase()));
                if hump || !before.is_alphanumeric() {
                    words.starts.push(words.flat.len());
                }
                words.flat.extend(c.to_lowercase());
            }
            before = c;
        }
        words
    }

    /// Whether the last whole words are `word`.
    fn end_with(&self, word: &str) -> bool {
        self.flat.ends_with(word) && self.starts.contains(&(self.flat.len() - word.len()))
    }

    /// The word before the last one, which is `last`; empty if there is none.
    fn before(&self, last: &str) -> &str {
        let end = self.flat.len() - last.len();
        let start = self.starts.iter().rev().find(|start| **start < end).copied().unwrap_or(end);
        &self.flat[start..end]
    }
}
