//! The rules for text: what a credential looks like, and what it becomes.
//!
//! One table, used twice: redaction applies every rule, and the search for literal secrets asks the same rules which
//! of their findings are credentials. Every rule is linear in the text and looks for a fixed mark first, so that
//! ordinary text costs a few substring searches.

use std::ops::Range;
use std::sync::LazyLock;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use regex::Regex;

use super::{REDACTED, cards, fields, secret};

/// One place in a text that a rule wants replaced.
pub(super) struct Edit {
    /// What is replaced, in bytes.
    pub(super) range: Range<usize>,
    /// What takes its place.
    pub(super) marker: &'static str,
    /// Whether this is a literal credential, which refuses a plan; redaction hides more than that.
    pub(super) literal: bool,
}

/// Finds the places of one rule: in order, without overlaps, and never one that is already redacted.
type Rule = fn(&str) -> Vec<Edit>;

/// The rules by kind, in the order in which they run. A key block and a URL are cut out before the words in them can be
/// taken for fields; fields come before the rest, because they hide a value whole and not only the part with a known
/// form.
static RULES: [(&str, Rule); 13] = [
    ("private_key", private_key),
    ("url_userinfo", url_userinfo),
    ("secret_in_text", fields::find),
    ("bearer_token", bearer),
    ("basic_credentials", basic),
    ("jwt", jwt),
    ("aws_key", aws_key),
    ("github_token", github_token),
    ("slack_token", slack_token),
    ("api_key", api_key),
    ("card_number", card_number),
    ("social_security_number", social_security_number),
    ("email", email),
];

/// Runs every rule once; `None` if none found anything.
pub(super) fn apply(text: &str) -> Option<String> {
    let mut changed: Option<String> = None;
    for (_, rule) in &RULES {
        let current = changed.as_deref().unwrap_or(text);
        let edits = rule(current);
        if !edits.is_empty() {
            changed = Some(replace(current, &edits));
        }
    }
    changed
}

/// The kinds of literal credentials in `text`, each once.
pub(super) fn literal_kinds(text: &str) -> Vec<&'static str> {
    RULES.iter().filter(|(_, rule)| rule(text).iter().any(|edit| edit.literal)).map(|(kind, _)| *kind).collect()
}

fn replace(text: &str, edits: &[Edit]) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut from = 0;
    for edit in edits {
        replaced.push_str(&text[from..edit.range.start]);
        replaced.push_str(edit.marker);
        from = edit.range.end;
    }
    replaced.push_str(&text[from..]);
    replaced
}

/// A rule that replaces every whole match of a pattern.
macro_rules! whole_match {
    ($(#[$doc:meta])* $name:ident, $marks:expr, $pattern:expr, $marker:expr, $literal:expr) => {
        $(#[$doc])*
        fn $name(text: &str) -> Vec<Edit> {
            static PATTERN: LazyLock<Regex> = LazyLock::new(|| constant($pattern));
            if !holds_any(text, &$marks) {
                return Vec::new();
            }
            PATTERN
                .find_iter(text)
                .map(|found| Edit { range: found.range(), marker: $marker, literal: $literal })
                .collect()
        }
    };
}

whole_match!(
    /// A PEM or PGP block; one that was cut off is hidden to the end of the text.
    private_key,
    ["PRIVATE KEY"],
    r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)",
    "<REDACTED_PRIVATE_KEY>",
    true
);
whole_match!(
    /// A signed (three parts) or encrypted (five parts) JSON web token.
    jwt,
    ["eyJ"],
    r"eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){2,4}",
    "<REDACTED_JWT>",
    true
);
whole_match!(
    /// An AWS access key id, permanent or temporary.
    aws_key,
    ["AKIA", "ASIA"],
    r"A[KS]IA[0-9A-Z]{16,}",
    "<REDACTED_AWS_KEY>",
    true
);
whole_match!(
    /// A GitHub token: personal, OAuth, user, server, refresh, or fine-grained.
    github_token,
    ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
    r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}",
    "<REDACTED_GITHUB_TOKEN>",
    true
);
whole_match!(
    /// A Slack token: bot, user, app, refresh, legacy.
    slack_token,
    ["xox", "xapp-"],
    r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{6,}",
    "<REDACTED_SLACK_TOKEN>",
    true
);
whole_match!(
    /// A US social security number, written with dashes.
    social_security_number,
    ["-"],
    r"(?-u:\b)[0-9]{3}-[0-9]{2}-[0-9]{4}(?-u:\b)",
    "<REDACTED_SSN>",
    true
);
whole_match!(
    /// An e-mail address. Not a credential: a plan may have to write to somebody.
    email,
    ["@"],
    r"[\w.%+-]+@\w[\w-]*(?:\.[\w-]+)*\.[^\W\d_]{2,}",
    "<REDACTED_EMAIL>",
    false
);

/// Keys of providers that mark their keys: `OpenAI`, Anthropic, Stripe, Google, GitLab, npm, `SendGrid` and others.
fn api_key(text: &str) -> Vec<Edit> {
    const MARKS: [&str; 9] = ["sk-", "k_live_", "k_test_", "whsec_", "AIza", "glpat-", "npm_", "hf_", "SG."];
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        constant(concat!(
            r"(?-u:\b)sk-[A-Za-z0-9_-]{16,}",
            r"|(?-u:\b)[sr]k_(?:live|test)_[A-Za-z0-9]{8,}",
            r"|whsec_[A-Za-z0-9+/]{16,}={0,2}",
            r"|AIza[A-Za-z0-9_-]{35}",
            r"|glpat-[A-Za-z0-9_-]{20,}",
            r"|npm_[A-Za-z0-9]{36}",
            r"|(?-u:\b)hf_[A-Za-z0-9]{30,}",
            r"|(?-u:\b)SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        ))
    });
    if !holds_any(text, &MARKS) {
        return Vec::new();
    }
    PATTERN
        .find_iter(text)
        // `sk-` also begins ordinary words joined with dashes; a key is one piece, or has digits or capitals.
        .filter(|found| match found.as_str().strip_prefix("sk-") {
            None => true,
            Some(key) => looks_random(key) || key.split(['-', '_']).any(|piece| piece.len() >= 16),
        })
        .map(|found| Edit { range: found.range(), marker: "<REDACTED_KEY>", literal: true })
        .collect()
}

/// `scheme://user:password@`: the part between `://` and `@`. The password may hold `@` and `:`.
fn url_userinfo(text: &str) -> Vec<Edit> {
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| constant(r#"[A-Za-z][A-Za-z0-9+.-]*://([^\s/?#:@"'<>]*:([^\s/?#"']+))@"#));
    if !text.contains("://") || !text.contains('@') {
        return Vec::new();
    }
    PATTERN
        .captures_iter(text)
        .filter_map(|found| found.get(1).zip(found.get(2)))
        .map(|(userinfo, password)| Edit {
            range: userinfo.range(),
            marker: REDACTED,
            literal: password.as_str().contains(|c: char| c.is_alphanumeric())
                && !secret::is_only_references(password.as_str()),
        })
        .collect()
}

/// `Bearer` and a token. Redaction takes any word but those that people write after it; a plan is refused only for
/// what looks like a token.
fn bearer(text: &str) -> Vec<Edit> {
    const NOT_TOKENS: &[&str] = &[
        "bearer",
        "token",
        "tokens",
        "auth",
        "authentication",
        "authorization",
        "scheme",
        "schemes",
        "credential",
        "credentials",
        "realm",
        "format",
        "header",
        "of",
        "is",
        "oauth",
        "oauth2",
        "jwt",
        "jwts",
    ];
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| constant(r"(?-u:\b)(?:(?:Bearer|bearer|BEARER)[ \t]+)+([A-Za-z0-9._~+/=-]+)"));
    if !holds_any(text, &["Bearer", "bearer", "BEARER"]) {
        return Vec::new();
    }
    PATTERN
        .captures_iter(text)
        .filter_map(|found| found.get(1))
        .filter(|token| {
            let word = token.as_str().trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
            !word.is_empty()
                && !NOT_TOKENS.contains(&word.as_str())
                && !secret::begins_with_reference(&text[token.start()..])
        })
        .map(|token| Edit {
            range: token.range(),
            marker: REDACTED,
            literal: looks_random(token.as_str()) || token.len() >= 20,
        })
        .collect()
}

/// `Basic` and a base64 text that is plausibly `user:password`.
fn basic(text: &str) -> Vec<Edit> {
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| constant(r"(?-u:\b)(?:Basic|basic|BASIC)[ \t]+([A-Za-z0-9+/_-]{4,}={0,2})"));
    if !holds_any(text, &["Basic", "basic", "BASIC"]) {
        return Vec::new();
    }
    PATTERN
        .captures_iter(text)
        .filter_map(|found| found.get(1))
        .filter(|encoded| is_encoded_pair(encoded.as_str()) && !secret::begins_with_reference(&text[encoded.start()..]))
        .map(|encoded| Edit { range: encoded.range(), marker: REDACTED, literal: true })
        .collect()
}

fn card_number(text: &str) -> Vec<Edit> {
    cards::find(text).into_iter().map(|range| Edit { range, marker: cards::MARKER, literal: true }).collect()
}

/// Whether a word after `Basic` is a credential and not the next word of a sentence.
fn is_encoded_pair(word: &str) -> bool {
    let bare = word.trim_end_matches('=');
    let decoded = BASE64_NOPAD.decode(bare.as_bytes()).or_else(|_| BASE64URL_NOPAD.decode(bare.as_bytes()));
    let is_pair = decoded.is_ok_and(|bytes| bytes.contains(&b':') && std::str::from_utf8(&bytes).is_ok());
    let has = |test: fn(&char) -> bool| word.chars().any(|c| test(&c));
    let mixed = has(char::is_ascii_digit) && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase);
    is_pair || word.ends_with('=') || (mixed && word.len() >= 8)
}

/// Whether a word has digits or capitals inside, as tokens have and words of prose do not.
fn looks_random(word: &str) -> bool {
    word.len() >= 6 && word.chars().skip(1).any(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
}

fn holds_any(text: &str, marks: &[&str]) -> bool {
    marks.iter().any(|mark| text.contains(mark))
}

fn constant(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant of this module and is compiled by its tests")
}
