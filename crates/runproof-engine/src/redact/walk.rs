//! Visits every value inside a JSON value in document order, and can say where each one is.
//!
//! Not recursive, so depth costs memory and never the stack.

use std::borrow::Cow;

use serde_json::Value;

use super::{names, redact_text};

/// Longest part of an object name that a path shows, in characters.
const MAX_SHOWN_NAME: usize = 64;

/// One value and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The value.
    pub(crate) value: &'a Value,
    /// The field name that it stands under; items of a list stand under the name of the list.
    pub(crate) field: Option<&'a str>,
    link: usize,
}

/// One step on the way from the root to a value.
enum Step<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

struct Link<'a> {
    parent: usize,
    step: Step<'a>,
}

/// A walk over a value; see [`Walk::next_place`].
pub(crate) struct Walk<'a> {
    links: Vec<Link<'a>>,
    pending: Vec<Place<'a>>,
}

impl<'a> Walk<'a> {
    /// Starts at `root`, whose path is `$`.
    pub(crate) fn new(root: &'a Value) -> Self {
        let links = vec![Link { parent: 0, step: Step::Root }];
        Self { links, pending: vec![Place { value: root, field: None, link: 0 }] }
    }

    /// The next value; a list or object comes before what is inside it.
    pub(crate) fn next_place(&mut self) -> Option<Place<'a>> {
        let place = self.pending.pop()?;
        match place.value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate().rev() {
                    self.push(place.link, Step::Index(index), item, place.field);
                }
            }
            Value::Object(members) => {
                let pair_name = names::pair_names(members).find(|name| names::is_secret_name(name));
                for (name, member) in members.iter().rev() {
                    let field = pair_name.filter(|_| name == "value").unwrap_or(name);
                    self.push(place.link, Step::Name(name), member, Some(field));
                }
            }
        }
        Some(place)
    }

    /// The JSON path of a place, such as `$.steps[0].with["x-api-key"]`. Names are redacted and cut, because a path
    /// goes into messages.
    pub(crate) fn path(&self, place: &Place<'a>) -> String {
        let mut steps = Vec::new();
        let mut link = &self.links[place.link];
        loop {
            match link.step {
                Step::Root => break,
                Step::Index(index) => steps.push(format!("[{index}]")),
                Step::Name(name) => steps.push(shown_name(name)),
            }
            link = &self.links[link.parent];
        }
        steps.push("$".to_owned());
        steps.reverse();
        steps.concat()
    }

    fn push(&mut self, parent: usize, step: Step<'a>, value: &'a Value, field: Option<&'a str>) {
        self.pending.push(Place { value, field, link: self.links.len() });
        self.links.push(Link { parent, step });
    }
}

/// `.name` for a plain name, `["any name"]` for the others.
fn shown_name(name: &str) -> String {
    let shown = shown(name, MAX_SHOWN_NAME);
    let plain = !shown.is_empty()
        && !shown.starts_with(|c: char| c.is_ascii_digit())
        && shown.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { format!(".{shown}") } else { format!("[{}]", Value::String(shown.into_owned())) }
}

/// `text` as a message may show it: redacted, and cut after `limit` characters.
pub(crate) fn shown(text: &str, limit: usize) -> Cow<'_, str> {
    let redacted = redact_text(text);
    match redacted.char_indices().nth(limit) {
        None => redacted,
        Some((end, _)) => Cow::Owned(format!("{}…", &redacted[..end])),
    }
}
