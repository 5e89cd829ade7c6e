//! Why a request got no response. The one question that matters: can the receiver have seen it?
//!
//! Messages name the host and the kind of error, never the URL: its query may hold a secret.

use std::error::Error;
use std::io;

use crate::egress::Denied;

/// Longest reason taken from the TLS library, whose texts can quote a certificate.
const MAX_REASON_CHARS: usize = 200;

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Egress does not allow the address. Nothing was sent.
    #[error(transparent)]
    Denied(Denied),
    /// The name has no address. Nothing was sent.
    #[error("host `{host}` could not be resolved")]
    Dns { host: String },
    /// Nobody listens there. Nothing was sent.
    #[error("host `{host}` refused the connection")]
    Refused { host: String },
    /// No connection in time. Nothing was sent.
    #[error("connecting to host `{host}` took too long")]
    ConnectTimeout { host: String },
    /// No connection, for another reason. Nothing was sent.
    #[error("host `{host}` could not be connected to: {kind}")]
    Connect { host: String, kind: String },
    /// No trusted TLS connection. Nothing was sent.
    #[error("no trusted TLS connection to host `{host}`: {reason}")]
    Tls { host: String, reason: String },
    /// The request could not be made on this side. Nothing was sent.
    #[error("the request could not be set up")]
    Setup,
    /// The connection failed when the request may have been sent.
    #[error("the connection to host `{host}` failed after the request may have been sent: {kind}")]
    Lost { host: String, kind: String },
}

impl Fault {
    /// Classifies an error of sending. Whatever is not certainly from before sending is [`Fault::Lost`].
    pub(super) fn of(error: &reqwest::Error, host: &str) -> Self {
        let host = host.to_owned();
        if error.is_builder() {
            return Self::Setup;
        }
        if !error.is_connect() {
            return Self::Lost { host, kind: kind(error) };
        }
        if let Some(denied) = find::<Denied>(error) {
            return Self::Denied(denied.clone());
        }
        if let Some(tls) = find::<rustls::Error>(error) {
            return Self::Tls { host, reason: short(&tls.to_string()) };
        }
        if error.is_timeout() {
            return Self::ConnectTimeout { host };
        }
        if error.is_dns() {
            return Self::Dns { host };
        }
        if system_error(error).is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return Self::Refused { host };
        }
        Self::Connect { host, kind: kind(error) }
    }

    /// The failure of reading a response's body.
    pub(crate) fn body(error: &reqwest::Error, host: &str) -> Self {
        Self::Lost { host: host.to_owned(), kind: kind(error) }
    }

    /// Whether the receiver can have seen the request.
    pub(crate) fn may_have_been_sent(&self) -> bool {
        match self {
            Self::Lost { .. } => true,
            Self::Denied(_)
            | Self::Dns { .. }
            | Self::Refused { .. }
            | Self::ConnectTimeout { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Setup => false,
        }
    }
}

fn kind(error: &reqwest::Error) -> String {
    match system_error(error) {
        Some(error) => error.kind().to_string(),
        None if error.is_timeout() => "timed out".to_owned(),
        None => "the response ended early or was not HTTP".to_owned(),
    }
}

/// The innermost error of the operating system: outer ones may only wrap.
fn system_error(error: &reqwest::Error) -> Option<&io::Error> {
    links(error).filter_map(|link| link.downcast_ref::<io::Error>()).last()
}

fn find<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    links(error).find_map(|link| link.downcast_ref::<T>())
}

/// The chain of causes. An `io::Error` that wraps another error leaves it out of `source`, so it is opened here.
fn links<'e>(error: &'e reqwest::Error) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let first: &'e (dyn Error + 'static) = error;
    std::iter::successors(Some(first), |link: &&'e (dyn Error + 'static)| {
        let link = *link;
        match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => link.source(),
        }
    })
}

fn short(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
