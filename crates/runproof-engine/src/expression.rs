//! Expressions in plans: the Common Expression Language under limits (`docs/spec/plan.md`, "Values").

use std::borrow::Cow;

use serde_json::Value;

use crate::reference::{Reference, ResolveError, Root};

/// An expression that can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    references: Vec<Reference>,
}

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// This version reads none.
    #[error("expressions are not supported yet")]
    Unsupported,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn parse(_text: &str) -> Result<Self, ExpressionError> {
        Err(ExpressionError::Unsupported)
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The values that it names, each by the longest path that does not depend on a value.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Its value. `path` is the JSON path of the place where it stands, for errors; `lookup` gives the value of a root.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn evaluate<'a>(
        &self,
        path: &str,
        lookup: &dyn Fn(&Root) -> Option<Cow<'a, Value>>,
    ) -> Result<Value, ResolveError> {
        let _ = lookup;
        Err(ResolveError::Expression {
            expression: self.text.clone(),
            path: path.to_owned(),
            problem: ExpressionError::Unsupported.to_string(),
        })
    }
}
