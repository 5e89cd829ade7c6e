//! Builds attempts and failures, so that a failure always says what the manifest says. Classifies nothing itself.

use runproof_engine::skill::{Attempt, AttemptResult, ErrorCode, Failure};
use serde_json::Value;

/// A failure with the code, category and retryability of the manifest.
pub(crate) fn failure(code: &ErrorCode, message: impl Into<String>) -> Failure {
    Failure {
        code: code.code,
        category: code.category,
        retryable: code.retryable,
        message: message.into(),
        retry_after: None,
    }
}

/// The same failure, said to be beyond retrying. A failure may be less retryable than its code, never more.
pub(crate) fn final_failure(code: &ErrorCode, message: impl Into<String>) -> Failure {
    Failure { retryable: false, ..failure(code, message) }
}

/// An attempt without writes.
pub(crate) fn attempt(result: AttemptResult, cost_microcents: u64) -> Attempt {
    Attempt { result, cost_microcents, writes: Vec::new() }
}

/// A free attempt that succeeded.
pub(crate) fn done(output: Value) -> Attempt {
    attempt(AttemptResult::Done { output }, 0)
}

/// A free attempt that certainly did nothing.
pub(crate) fn not_done(failure: Failure) -> Attempt {
    attempt(AttemptResult::NotDone(failure), 0)
}
