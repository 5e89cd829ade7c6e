//! Evaluates an expression over the values that it names.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError};
use serde_json::Value;

use super::{Budget, Expression, MAX_EXPRESSION, MAX_LIST, MAX_SEEN, value, variable};
use crate::redact::{Walk, is_redacted, shown};
use crate::reference::{
    Available, DeadEnd, MAX_RESOLVED, Reference, ResolveError, Root, follow, json_length, names_secret,
};

/// The standard library without optional values. Which of its functions an expression may call, `read` decides.
static LIBRARY: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));

pub(super) fn evaluate<'a>(
    expression: &Expression,
    path: &str,
    lookup: &dyn Fn(&Root) -> Option<Cow<'a, Value>>,
    budget: &Arc<Budget>,
) -> Result<Value, ResolveError> {
    let site = Site { expression, path };
    let roots: Vec<Option<Cow<'a, Value>>> =
        expression.references.iter().map(|reference| lookup(&reference.root)).collect();
    let found: Vec<Found<'_>> = expression
        .references
        .iter()
        .zip(&expression.presences)
        .zip(&roots)
        .map(|((reference, presence), root)| Found::at(reference, *presence, root.as_deref()))
        .collect();
    site.check_seen(&found)?;

    let mut context = Context::with_env(Arc::clone(&LIBRARY));
    budget.declare(&mut context).map_err(|error| site.problem(error.to_string()))?;
    for (index, found) in found.iter().enumerate() {
        match found {
            Found::Value(seen) => context.add_variable_as_val(variable(index), value::from_json(seen)),
            Found::Presence(there) => context.add_variable_as_val(variable(index), Box::new(CelBool::from(*there))),
            // Left undeclared: an error where it is needed, and only there.
            Found::Redacted | Found::Missing(_) => {}
        }
    }
    let result = cel::Value::resolve(&expression.tree, &context);
    if budget.is_exceeded() {
        return Err(site.problem("it is too much work".to_owned()));
    }
    let result = result.map_err(|error| site.problem(explain(&error, &found)))?;
    let result = value::to_json(&result).map_err(|problem| site.problem(problem.to_owned()))?;
    site.check_result(&result)?;
    Ok(result)
}

/// What a reference leads to.
enum Found<'v> {
    Value(&'v Value),
    /// Whether it is there, for `has`.
    Presence(bool),
    Missing(String),
    Redacted,
}

impl<'v> Found<'v> {
    fn at(reference: &Reference, presence: bool, root: Option<&'v Value>) -> Self {
        let Some(root) = root else {
            return match presence && reference.path.is_empty() {
                true => Self::Presence(false),
                false => Self::Missing(format!("nothing is known of `{}`", reference.root)),
            };
        };
        match follow(&reference.path, root) {
            Ok(_) if presence => Self::Presence(true),
            Ok(value @ Value::String(_)) if is_redacted(value) => Self::Redacted,
            Ok(value) => Self::Value(value),
            Err(DeadEnd { end: end @ Value::String(_), .. }) if is_redacted(end) => Self::Redacted,
            Err(DeadEnd { end: Value::Object(_), is_last: true, .. }) if presence => Self::Presence(false),
            Err(DeadEnd { segment, end, .. }) => Self::Missing(format!(
                "there is no `{segment}` in `{}`, only {}",
                shown(&reference.text, 80),
                Available::of(end)
            )),
        }
    }
}

/// An expression and where it stands.
struct Site<'e> {
    expression: &'e Expression,
    path: &'e str,
}

impl Site<'_> {
    fn check_seen(&self, found: &[Found<'_>]) -> Result<(), ResolveError> {
        let mut room = MAX_SEEN;
        for (found, reference) in found.iter().zip(&self.expression.references) {
            match found {
                Found::Redacted => {
                    return Err(ResolveError::Redacted {
                        reference: shown(&reference.text, MAX_EXPRESSION).into_owned(),
                        path: self.path.to_owned(),
                    });
                }
                Found::Value(seen) => {
                    room = json_length(seen, room).ok_or_else(|| {
                        self.problem(format!("the values that it names are larger than {MAX_SEEN} bytes"))
                    })?;
                    if let Some(length) = long_list(seen) {
                        let text = shown(&reference.text, 80);
                        return Err(
                            self.problem(format!("`{text}` has a list of {length} elements, more than {MAX_LIST}"))
                        );
                    }
                }
                Found::Presence(_) | Found::Missing(_) => {}
            }
        }
        Ok(())
    }

    fn check_result(&self, result: &Value) -> Result<(), ResolveError> {
        let reference = || shown(&self.expression.text, MAX_EXPRESSION).into_owned();
        let path = || self.path.to_owned();
        if json_length(result, MAX_RESOLVED).is_none() {
            return Err(ResolveError::TooLarge { path: path() });
        }
        if is_redacted(result) {
            return Err(ResolveError::Redacted { reference: reference(), path: path() });
        }
        if names_secret(result) {
            return Err(ResolveError::NamesSecret { reference: reference(), path: path() });
        }
        Ok(())
    }

    fn problem(&self, problem: String) -> ResolveError {
        ResolveError::Expression {
            expression: shown(&self.expression.text, MAX_EXPRESSION).into_owned(),
            path: self.path.to_owned(),
            problem,
        }
    }
}

/// The length of a list inside that is too long.
fn long_list(value: &Value) -> Option<usize> {
    let mut walk = Walk::new(value);
    while let Some(place) = walk.next_place() {
        if let Value::Array(items) = place.value
            && items.len() > MAX_LIST
        {
            return Some(items.len());
        }
    }
    None
}

/// What went wrong, in words that hold no value: the evaluator's own would show whole ones, in any order.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enumeration of the crate is open")]
fn explain(error: &ExecutionError, found: &[Found<'_>]) -> String {
    match error {
        ExecutionError::UndeclaredReference(name) => {
            let missing = found.iter().enumerate().find_map(|(index, found)| match found {
                Found::Missing(problem) if variable(index) == **name => Some(problem.clone()),
                Found::Missing(_) | Found::Value(_) | Found::Presence(_) | Found::Redacted => None,
            });
            missing.unwrap_or_else(|| "a name is not known".to_owned())
        }
        ExecutionError::NoSuchKey(key) => format!("there is no `{}`", shown(key, 64)),
        ExecutionError::NoSuchOverload(overload) => {
            let function = overload.function().trim_matches('_').replace("@in", "in");
            format!("`{function}` cannot take {}", kinds(overload.argument_types()))
        }
        ExecutionError::UnsupportedBinaryOperator(_, left, right) => {
            format!("an operator cannot take {}", kinds(&[left.type_of().to_string(), right.type_of().to_string()]))
        }
        ExecutionError::UnexpectedType { got, want } => format!("a value is a `{got}`, and a `{want}` is needed"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero".to_owned(),
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "an index is outside its list".to_owned(),
        ExecutionError::UnsupportedIndex(..) => "an index does not fit what it leads into".to_owned(),
        ExecutionError::DuplicateKey(_) => "an object has a name twice".to_owned(),
        ExecutionError::UnsupportedKeyType(_) => "an object name must be a text".to_owned(),
        ExecutionError::ValuesNotComparable(..) => "values cannot be compared".to_owned(),
        // One of ours, see `budget`.
        ExecutionError::FunctionError { function, message } if function.starts_with('@') => message.clone(),
        ExecutionError::FunctionError { function, message } => format!("`{function}`: {}", shown(message, 80)),
        _ => "it cannot be evaluated".to_owned(),
    }
}

fn kinds(types: &[String]) -> String {
    let quoted: Vec<String> = types.iter().map(|kind| format!("`{kind}`")).collect();
    quoted.join(" and ")
}
