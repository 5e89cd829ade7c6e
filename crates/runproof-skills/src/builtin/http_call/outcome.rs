//! What a fault or a status means for the effect. A table, by effect class; touches nothing.
//!
//! The rule behind it: where repeating is harmless, an error is a failure to retry. Where it is not, an error is a
//! failure only if the receiver certainly did not act or certainly said no, and otherwise the outcome is unknown.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use runproof_engine::skill::{AttemptResult, EffectClass, ErrorCode, Failure};

use super::codes;
use crate::attempt::{failure, final_failure};
use crate::transport::Fault;

/// Longest wait that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The result of a request that got no response.
pub(super) fn of_fault(fault: &Fault, class: EffectClass) -> AttemptResult {
    let message = fault.to_string();
    match fault {
        Fault::Denied(_) => AttemptResult::NotDone(failure(&codes::EGRESS_DENIED, message)),
        Fault::Dns { .. } => AttemptResult::NotDone(failure(&codes::DNS_FAILED, message)),
        Fault::Refused { .. } => AttemptResult::NotDone(failure(&codes::CONNECT_REFUSED, message)),
        Fault::ConnectTimeout { .. } => AttemptResult::NotDone(failure(&codes::CONNECT_TIMEOUT, message)),
        Fault::Connect { .. } => AttemptResult::NotDone(failure(&codes::CONNECT_FAILED, message)),
        Fault::Tls { .. } => AttemptResult::NotDone(failure(&codes::TLS_FAILED, message)),
        Fault::Setup => AttemptResult::NotDone(failure(&codes::SETUP_FAILED, message)),
        Fault::Lost { .. } if is_repeatable(class) => AttemptResult::Failed(failure(&codes::CONNECTION_LOST, message)),
        Fault::Lost { .. } => AttemptResult::Unknown(final_failure(&codes::CONNECTION_LOST, message)),
    }
}

/// The result of a status that the step does not accept.
pub(super) fn of_status(status: u16, host: &str, class: EffectClass, retry_after: Option<Duration>) -> AttemptResult {
    let message = format!("host `{host}` answered {status}");
    let retryable = |code: &ErrorCode| Failure { retry_after, ..failure(code, message.clone()) };
    let last = |code: &ErrorCode| final_failure(code, message.clone());
    let repeatable = is_repeatable(class);
    match status {
        429 => AttemptResult::NotDone(retryable(&codes::RATE_LIMITED)),
        503 if retry_after.is_some() => AttemptResult::NotDone(retryable(&codes::UNAVAILABLE)),
        401 | 403 => AttemptResult::Failed(last(&codes::UNAUTHORIZED)),
        404 => AttemptResult::Failed(last(&codes::NOT_FOUND)),
        408 if repeatable => AttemptResult::Failed(retryable(&codes::REQUEST_TIMEOUT)),
        408 => AttemptResult::Failed(last(&codes::REQUEST_TIMEOUT)),
        400..=499 => AttemptResult::Failed(last(&codes::STATUS_4XX)),
        500..=599 if repeatable => AttemptResult::Failed(retryable(&codes::STATUS_5XX)),
        // The receiver itself says that it failed. Any other 5xx can come from a gateway that lost sight of it.
        500 | 501 => AttemptResult::Failed(last(&codes::STATUS_5XX)),
        500..=599 => AttemptResult::Unknown(last(&codes::STATUS_5XX)),
        300..=399 => AttemptResult::Failed(last(&codes::REDIRECT_REFUSED)),
        _ => AttemptResult::Failed(last(&codes::UNEXPECTED_STATUS)),
    }
}

/// Whether sending the same request again does no more than sending it once.
fn is_repeatable(class: EffectClass) -> bool {
    match class {
        EffectClass::Pure | EffectClass::Read | EffectClass::Idempotent | EffectClass::Transactional => true,
        EffectClass::Probeable | EffectClass::Unsafe => false,
    }
}

/// Reads `Retry-After`: seconds, or a date against `now`. At most an hour; a date that has passed is no wait.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than u64 holds are more than an hour, too.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let at = DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Option<u64>) {
        let now = Timestamp::from_second(784_111_777).expect("in range");
        assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_beyond_an_hour() {
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("7200", Some(3600));
        check("99999999999999999999999", Some(3600));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
        check("Thu, 31 Dec 2099 23:59:59 GMT", Some(3600));
        for nothing in ["", "soon", "-5", "1.5", "1994-11-06"] {
            check(nothing, None);
        }
    }
}
