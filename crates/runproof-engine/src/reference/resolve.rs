//! Puts values in the place of references. What was put in is data: it is never read as a template, and it can never
//! name a secret.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::parse::{Part, parts};
use super::{Available, MAX_RESOLVED, MAX_SHOWN, Reference, ResolveError, Root, Segment, kind};
use crate::expression::Budget;
use crate::redact::{SECRET_SCHEME, Walk, is_redacted, secret_runs, shown};

/// A copy of `template` in which every reference is replaced by its value.
///
/// A string that is exactly one reference becomes the value, with its JSON type. Inside a longer string a string is
/// written as it is, a number in decimal, a boolean as `true` or `false`. What was put in is not looked at again.
/// `lookup` gives the value of a root, `None` if there is none.
///
/// # Errors
/// [`ResolveError`] for the first reference, in document order, that has no usable value.
pub fn resolve<'a>(template: &Value, lookup: &dyn Fn(&Root) -> Option<Cow<'a, Value>>) -> Result<Value, ResolveError> {
    // The template is read with paths and the copy is written at the same places: both walks have one order.
    let mut resolved = template.clone();
    let mut room = MAX_RESOLVED;
    let budget = Budget::new();
    let mut walk = Walk::new(template);
    let mut pending = vec![&mut resolved];
    while let (Some(place), Some(target)) = (walk.next_place(), pending.pop()) {
        match target {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::Array(items) => pending.extend(items.iter_mut().rev()),
            Value::Object(members) => pending.extend(members.values_mut().rev()),
            Value::String(text) => {
                if text.contains("{{") {
                    let path = walk.path(&place);
                    *target = resolve_string(text, path, lookup, &mut room, &budget)?;
                }
            }
        }
    }
    if json_length(&resolved, MAX_RESOLVED).is_none() {
        return Err(ResolveError::TooLarge { path: "$".to_owned() });
    }
    Ok(resolved)
}

/// The value of one string of a template. `room` is what may still be put in, so that many references to one large value
/// stop early; `budget` what its expressions may still do.
fn resolve_string<'a>(
    text: &str,
    path: String,
    lookup: &dyn Fn(&Root) -> Option<Cow<'a, Value>>,
    room: &mut usize,
    budget: &Arc<Budget>,
) -> Result<Value, ResolveError> {
    let parts = parts(text, &path)?;
    let too_large = || ResolveError::TooLarge { path: path.clone() };
    match parts.as_slice() {
        [Part::Reference(reference)] => {
            let site = Site { text: &reference.text, path: &path };
            let root = site.look_up(reference, lookup)?;
            let value = site.descend(reference, &root)?;
            *room = json_length(value, *room).ok_or_else(too_large)?;
            site.refuse_redacted(value)?;
            if names_secret(value) {
                return Err(site.names_secret());
            }
            return Ok(value.clone());
        }
        [Part::Expression(expression)] => {
            let value = expression.evaluate_within(&path, lookup, budget)?;
            *room = json_length(&value, *room).ok_or_else(too_large)?;
            return Ok(value);
        }
        _ => {}
    }
    let mut written = String::with_capacity(text.len());
    // The same string with blanks for values: the references to secrets that the plan itself wrote.
    let mut own = String::with_capacity(text.len());
    let mut last = None;
    for part in &parts {
        match part {
            Part::Text(literal) => {
                written.push_str(literal);
                own.push_str(literal);
            }
            Part::Reference(reference) => {
                let site = Site { text: &reference.text, path: &path };
                let root = site.look_up(reference, lookup)?;
                site.write(site.descend(reference, &root)?, &mut written, room)?;
                own.push(' ');
                last = Some(site);
            }
            Part::Expression(expression) => {
                let site = Site { text: expression.text(), path: &path };
                site.write(&expression.evaluate_within(&path, lookup, budget)?, &mut written, room)?;
                own.push(' ');
                last = Some(site);
            }
        }
    }
    match last {
        Some(site) if !secret_runs(&written).eq(secret_runs(&own)) => Err(site.names_secret()),
        _ => Ok(Value::String(written)),
    }
}

/// Where a path ends before its value.
pub(crate) struct DeadEnd<'p, 'v> {
    /// The segment that leads nowhere.
    pub(crate) segment: &'p Segment,
    /// Whether it is the last one.
    pub(crate) is_last: bool,
    /// What is there instead.
    pub(crate) end: &'v Value,
}

/// Follows `path` into `root`.
pub(crate) fn follow<'p, 'v>(path: &'p [Segment], root: &'v Value) -> Result<&'v Value, DeadEnd<'p, 'v>> {
    let mut value = root;
    for (at, segment) in path.iter().enumerate() {
        let next = match (segment, value) {
            (Segment::Name(name), Value::Object(members)) => members.get(name),
            (Segment::Index(index), Value::Array(items)) => item(items, *index),
            (Segment::Name(_) | Segment::Index(_), _) => None,
        };
        value = next.ok_or(DeadEnd { segment, is_last: at + 1 == path.len(), end: value })?;
    }
    Ok(value)
}

/// A reference or an expression as it is written, and where it stands.
struct Site<'r> {
    text: &'r str,
    path: &'r str,
}

impl Site<'_> {
    fn look_up<'a>(
        &self,
        reference: &Reference,
        lookup: &dyn Fn(&Root) -> Option<Cow<'a, Value>>,
    ) -> Result<Cow<'a, Value>, ResolveError> {
        lookup(&reference.root).ok_or_else(|| ResolveError::Unknown {
            reference: self.text(),
            path: self.path.to_owned(),
            root: reference.root.clone(),
        })
    }

    fn descend<'v>(&self, reference: &Reference, root: &'v Value) -> Result<&'v Value, ResolveError> {
        follow(&reference.path, root).or_else(|DeadEnd { segment, end, .. }| {
            if matches!(end, Value::String(_)) {
                self.refuse_redacted(end)?;
            }
            Err(ResolveError::Missing {
                reference: self.text(),
                path: self.path.to_owned(),
                segment: segment.clone(),
                available: Available::of(end),
            })
        })
    }

    /// Writes a value into a longer string.
    fn write(&self, value: &Value, written: &mut String, room: &mut usize) -> Result<(), ResolveError> {
        let text = self.as_text(value)?;
        *room = room.checked_sub(text.len()).ok_or(ResolveError::TooLarge { path: self.path.to_owned() })?;
        self.refuse_redacted(value)?;
        written.push_str(&text);
        Ok(())
    }

    /// A scalar as it is written inside a longer string.
    fn as_text<'v>(&self, value: &'v Value) -> Result<Cow<'v, str>, ResolveError> {
        match value {
            Value::String(text) => Ok(Cow::Borrowed(text)),
            Value::Bool(flag) => Ok(Cow::Borrowed(if *flag { "true" } else { "false" })),
            Value::Number(number) => Ok(Cow::Owned(decimal(number))),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(ResolveError::NotText { reference: self.text(), path: self.path.to_owned(), found: kind(value) })
            }
        }
    }

    fn refuse_redacted(&self, value: &Value) -> Result<(), ResolveError> {
        if is_redacted(value) {
            return Err(ResolveError::Redacted { reference: self.text(), path: self.path.to_owned() });
        }
        Ok(())
    }

    fn names_secret(&self) -> ResolveError {
        ResolveError::NamesSecret { reference: self.text(), path: self.path.to_owned() }
    }

    /// What is written as a message may show it.
    fn text(&self) -> String {
        shown(self.text, MAX_SHOWN).into_owned()
    }
}

fn item(items: &[Value], index: i64) -> Option<&Value> {
    let place = usize::try_from(index.unsigned_abs()).ok()?;
    let place = if index < 0 { items.len().checked_sub(place)? } else { place };
    items.get(place)
}

/// Whether a string or object name inside `value` holds `secret://`.
pub(crate) fn names_secret(value: &Value) -> bool {
    let mut walk = Walk::new(value);
    while let Some(place) = walk.next_place() {
        let found = match place.value {
            Value::String(text) => text.contains(SECRET_SCHEME),
            Value::Object(members) => members.keys().any(|name| name.contains(SECRET_SCHEME)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
        };
        if found {
            return true;
        }
    }
    false
}

/// A number in decimal; `2.0` is the integer 2.
fn decimal(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_991.0 => {
            format!("{float:.0}")
        }
        Some(_) | None => number.to_string(),
    }
}

/// What is left of `room` after the JSON text of `value`; `None` if it does not fit.
pub(crate) fn json_length(value: &Value, room: usize) -> Option<usize> {
    let mut counter = Counter { room };
    serde_json::to_writer(&mut counter, value).ok()?;
    Some(counter.room)
}

/// A writer that keeps nothing and refuses what does not fit.
struct Counter {
    room: usize,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.room.checked_sub(bytes.len()) {
            Some(room) => {
                self.room = room;
                Ok(bytes.len())
            }
            None => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
