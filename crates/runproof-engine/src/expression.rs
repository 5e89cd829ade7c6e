//! Expressions in plans: the Common Expression Language under limits (`docs/spec/plan.md`, "Values").
//!
//! The crate `cel` parses and evaluates. This module says what may stand in an expression (`read`), gives it exactly the
//! values that it names (`evaluate`, `value`), and bounds the work (`budget`). No clock, no randomness, no order of a
//! hash map: the same text over the same values is the same result everywhere.

mod budget;
mod evaluate;
mod read;
mod value;

use std::borrow::Cow;
use std::sync::Arc;

use cel::IdedExpr;
use serde_json::Value;

use crate::reference::{Reference, ResolveError, Root};

pub(crate) use budget::Budget;

/// Longest expression, in characters.
const MAX_EXPRESSION: usize = 1024;

/// How deep brackets may nest.
const MAX_NESTING: usize = 16;

/// How deep operators, calls and brackets may nest together; a row of `+` nests too.
const MAX_DEPTH: usize = 64;

/// Most values that an expression may see, in bytes of JSON text.
const MAX_SEEN: usize = 64 * 1024;

/// Longest list that an expression may see or go through.
const MAX_LIST: usize = 1000;

/// An expression that can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    references: Vec<Reference>,
    /// For each reference, whether it is the operand of `has` and only its presence counts.
    presences: Vec<bool>,
    /// The parsed text. Each reference is a variable in it, named by [`variable`].
    tree: IdedExpr,
}

/// Why a text is not an expression. Texts are redacted and cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Nothing but blanks.
    #[error("it is empty")]
    Empty,
    /// It is written as in a template.
    #[error("it stands between `{{{{` and `}}}}`, which only templates have")]
    Braces,
    /// More than 1,024 characters.
    #[error("it has {characters} characters, more than {MAX_EXPRESSION}")]
    TooLong {
        /// How many.
        characters: usize,
    },
    /// Brackets more than 16 deep, or with operators more than 64 deep.
    #[error("it nests more than {MAX_NESTING} brackets or {MAX_DEPTH} operators deep")]
    TooDeep,
    /// Not the Common Expression Language.
    #[error("syntax error at {line}:{column}: {problem}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Character in the line, from 1.
        column: usize,
        /// What the parser says.
        problem: String,
    },
    /// A name that is neither a value nor the variable of a macro.
    #[error(
        "there is no `{name}`; a value begins with `steps`, `outputs`, `inputs`, `item`, `item_index`, `goal` or `run`"
    )]
    UnknownName {
        /// The name.
        name: String,
    },
    /// A name that needs more to be a value.
    #[error("`{name}` alone is no value; write {needed}")]
    Incomplete {
        /// The name.
        name: &'static str,
        /// What to write.
        needed: &'static str,
    },
    /// A member of a value that is a text or a number.
    #[error("`{name}` has no members")]
    NoMembers {
        /// The value.
        name: String,
    },
    /// A function that does not exist, or not here.
    #[error(
        "there is no function `{name}`; there are `size`, `contains`, `startsWith`, `endsWith`, `string`, `int`, \
         `double`, `has`, `all`, `exists`, `exists_one`, `map` and `filter`"
    )]
    UnknownFunction {
        /// Its name.
        name: String,
    },
    /// A function that is called in another way than it can be.
    #[error("write {usage}")]
    BadCall {
        /// How it is called.
        usage: &'static str,
    },
    /// A macro over a list inside the body of another.
    #[error("`map`, `filter`, `all`, `exists` and `exists_one` cannot stand inside one another")]
    NestedMacro,
    /// The variable of a macro hides a value.
    #[error("`{name}` is a value and cannot be the variable of a macro")]
    Taken {
        /// The name.
        name: String,
    },
    /// Something that the language has and plans have not.
    #[error("there are no {what} here")]
    Unsupported {
        /// What.
        what: &'static str,
    },
}

impl Expression {
    /// Reads an expression. There are no braces around it.
    ///
    /// # Errors
    /// [`ExpressionError`] for the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        read::read(text.trim())
    }

    /// As it is written, without the blanks around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The values that it names, each by the longest path that does not depend on a value.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Its value. `path` is the JSON path of the place where it stands, for errors; `lookup` gives the value of a root,
    /// `None` if there is none.
    ///
    /// A value that is not there is an error only where it is needed: `has(x.a) && x.a > 1` may be false.
    ///
    /// # Errors
    /// [`ResolveError::Redacted`] if a named value is a redacted text or the result holds one,
    /// [`ResolveError::NamesSecret`] if the result holds `secret://`, [`ResolveError::TooLarge`] if it is larger than
    /// [`MAX_RESOLVED`](crate::reference::MAX_RESOLVED), and [`ResolveError::Expression`] for everything else.
    pub fn evaluate<'a>(
        &self,
        path: &str,
        lookup: &dyn Fn(&Root) -> Option<Cow<'a, Value>>,
    ) -> Result<Value, ResolveError> {
        self.evaluate_within(path, lookup, &Budget::new())
    }

    /// The same for one of several expressions whose work is limited together.
    pub(crate) fn evaluate_within<'a>(
        &self,
        path: &str,
        lookup: &dyn Fn(&Root) -> Option<Cow<'a, Value>>,
        budget: &Arc<Budget>,
    ) -> Result<Value, ResolveError> {
        evaluate::evaluate(self, path, lookup, budget)
    }
}

/// The variable that stands for the reference at `index`. No text can name it.
fn variable(index: usize) -> String {
    format!("@{index}")
}
