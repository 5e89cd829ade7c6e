//! The error codes of `http_call`. `retryable` says whether a retry can ever be meant; `outcome.rs` says when not.

use runproof_engine::skill::{ErrorCategory, ErrorCode};

const fn code(code: &'static str, category: ErrorCategory, retryable: bool, meaning: &'static str) -> ErrorCode {
    ErrorCode { code, category, retryable, meaning }
}

pub(super) const INVALID_PARAMS: ErrorCode =
    code("http.invalid_params", ErrorCategory::Validation, false, "the parameters are wrong; nothing was sent");
pub(super) const EGRESS_DENIED: ErrorCode =
    code("http.egress_denied", ErrorCategory::Policy, false, "the address is not one that may be reached");
pub(super) const DNS_FAILED: ErrorCode =
    code("http.dns_failed", ErrorCategory::Network, true, "the host name could not be resolved; nothing was sent");
pub(super) const CONNECT_REFUSED: ErrorCode =
    code("http.connect_refused", ErrorCategory::Network, true, "nobody listens at the address; nothing was sent");
pub(super) const CONNECT_TIMEOUT: ErrorCode =
    code("http.connect_timeout", ErrorCategory::Timeout, true, "no connection in time; nothing was sent");
pub(super) const CONNECT_FAILED: ErrorCode =
    code("http.connect_failed", ErrorCategory::Network, true, "no connection; nothing was sent");
pub(super) const TLS_FAILED: ErrorCode =
    code("http.tls_failed", ErrorCategory::Network, false, "no trusted TLS connection; nothing was sent");
pub(super) const SETUP_FAILED: ErrorCode =
    code("http.setup_failed", ErrorCategory::Internal, false, "the request could not be made on this side");
pub(super) const CONNECTION_LOST: ErrorCode = code(
    "http.connection_lost",
    ErrorCategory::Network,
    true,
    "the connection failed after the request may have been sent",
);
pub(super) const RATE_LIMITED: ErrorCode =
    code("http.rate_limited", ErrorCategory::RateLimit, true, "the receiver answered 429 and did not act");
pub(super) const UNAVAILABLE: ErrorCode =
    code("http.unavailable", ErrorCategory::Server, true, "the receiver answered 503 and said when to come back");
pub(super) const UNAUTHORIZED: ErrorCode =
    code("http.unauthorized", ErrorCategory::Auth, false, "the receiver answered 401 or 403");
pub(super) const NOT_FOUND: ErrorCode =
    code("http.not_found", ErrorCategory::NotFound, false, "the receiver answered 404");
pub(super) const REQUEST_TIMEOUT: ErrorCode =
    code("http.request_timeout", ErrorCategory::Timeout, true, "the receiver answered 408");
pub(super) const STATUS_4XX: ErrorCode =
    code("http.status_4xx", ErrorCategory::Client, false, "the receiver refused the request");
pub(super) const STATUS_5XX: ErrorCode =
    code("http.status_5xx", ErrorCategory::Server, true, "the receiver, or something before it, failed");
pub(super) const UNEXPECTED_STATUS: ErrorCode =
    code("http.unexpected_status", ErrorCategory::Client, false, "the status is not one that the step expects");
pub(super) const REDIRECT_REFUSED: ErrorCode =
    code("http.redirect_refused", ErrorCategory::Client, false, "a redirect that is not followed");
pub(super) const TOO_MANY_REDIRECTS: ErrorCode =
    code("http.too_many_redirects", ErrorCategory::Client, false, "more than three redirects");
pub(super) const BODY_TOO_LARGE: ErrorCode =
    code("http.body_too_large", ErrorCategory::Client, false, "the receiver acted, but its answer is too large");

/// Every code, for the manifest.
pub(super) const ALL: &[ErrorCode] = &[
    INVALID_PARAMS,
    EGRESS_DENIED,
    DNS_FAILED,
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    CONNECT_FAILED,
    TLS_FAILED,
    SETUP_FAILED,
    CONNECTION_LOST,
    RATE_LIMITED,
    UNAVAILABLE,
    UNAUTHORIZED,
    NOT_FOUND,
    REQUEST_TIMEOUT,
    STATUS_4XX,
    STATUS_5XX,
    UNEXPECTED_STATUS,
    REDIRECT_REFUSED,
    TOO_MANY_REDIRECTS,
    BODY_TOO_LARGE,
];
