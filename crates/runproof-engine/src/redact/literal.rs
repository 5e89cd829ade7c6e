//! Finds literal credentials: what must refuse a plan or a goal, because it would be recorded for ever.
//!
//! Stricter about certainty than redaction: to hide a word too many costs a word, to refuse a plan costs a run. E-mail
//! addresses are personal data and not credentials; a plan may have to write to somebody.

use serde_json::Value;

use super::walk::Walk;
use super::{cards, names, patterns, secret};

/// A place that holds a credential. It never holds the credential itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiteralSecret {
    /// JSON path, such as `$.steps[0].with.headers.authorization`.
    pub path: String,
    /// What it is: `secret_field`, `private_key`, `url_userinfo`, `secret_in_text`, `bearer_token`,
    /// `basic_credentials`, `jwt`, `aws_key`, `github_token`, `slack_token`, `api_key`, `card_number` or
    /// `social_security_number`, or `assigned_credential`.
    pub kind: &'static str,
}

/// All literal credentials in `value`, in document order.
///
/// A string or number under a secret field name is one, unless it is empty or made only of `secret://NAME` and
/// `{{reference}}`, after a word such as `Bearer` if there is one. So is a string or an object name in which a rule
/// finds a credential by its form.
pub fn literal_secrets(value: &Value) -> Vec<LiteralSecret> {
    let mut found = Vec::new();
    let mut walk = Walk::new(value);
    while let Some(place) = walk.next_place() {
        let under_secret_name = place.field.is_some_and(names::is_secret_name);
        let kinds = match place.value {
            Value::Null | Value::Bool(_) | Value::Array(_) => Vec::new(),
            Value::Number(_) if under_secret_name => vec!["secret_field"],
            Value::Number(number) if cards::is_card_number(number) => vec!["card_number"],
            Value::Number(_) => Vec::new(),
            Value::String(text) if under_secret_name && !text.is_empty() && !secret::is_only_references(text) => {
                vec!["secret_field"]
            }
            Value::String(text) => kinds_in(text),
            Value::Object(members) => members.keys().flat_map(|name| kinds_in(name)).collect(),
        };
        found.extend(kinds.into_iter().map(|kind| LiteralSecret { path: walk.path(&place), kind }));
    }
    found
}

/// All literal credentials in a text such as a goal, each kind once, with the path `$`.
pub fn literal_secrets_in_text(text: &str) -> Vec<LiteralSecret> {
    kinds_in(text).into_iter().map(|kind| LiteralSecret { path: "$".to_owned(), kind }).collect()
}

/// Kinds of credentials in a text: those with a form of their own, and what is assigned to a secret name without a
/// blank (`password=x`), which would otherwise be stored as it stands.
fn kinds_in(text: &str) -> Vec<&'static str> {
    let kinds = patterns::literal_kinds(text);
    if kinds.is_empty() && text.match_indices('=').any(|(at, _)| is_assigned(&text[..at], &text[at + 1..])) {
        return vec!["assigned_credential"];
    }
    kinds
}

/// Whether `before` ends with a secret name and `after` begins with a value of at least four letters or digits.
fn is_assigned(before: &str, after: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name = before.rsplit(|c| !in_name(c)).next().unwrap_or_default();
    let value = after.chars().take_while(|c| c.is_ascii_alphanumeric()).count();
    value >= 4 && !after.starts_with("secret://") && names::is_secret_name(name)
}
