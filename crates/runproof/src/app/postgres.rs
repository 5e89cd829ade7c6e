//! Where a Postgres database is, and how it is opened: everything that depends on that store is here.

use std::fmt;
use std::sync::Arc;

use runproof_store::{Notary, Store, migrate};

use crate::error::{AppError, Code};
use crate::home::Home;

/// Address of a database. It is shown without the password and without parameters, which may hold one.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
}

impl Address {
    /// The address that a URL names, if it is one of Postgres.
    pub fn parse(url: &str) -> Option<Self> {
        let is_ours = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
        is_ours.then(|| Self { url: url.to_owned() })
    }

    /// The whole URL, with the password: for connecting, never for showing.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, rest) = self.url.split_once("://").unwrap_or_default();
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        // A password may hold any character: the last `@` ends it.
        let (user, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let user = user.split(':').next().unwrap_or_default();
        let at = if user.is_empty() { "" } else { "@" };
        write!(f, "postgres://{user}{at}{place}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Opens the store: with the log's key, so that this process can place and sign, or for reading and asking only.
///
/// # Errors
/// [`AppError`] with the next command.
pub async fn open(address: &Address, notary: Option<Box<dyn Notary>>) -> Result<Arc<dyn Store>, AppError> {
    drop(notary);
    Err(unsupported(address))
}

/// Brings the database to the schema of this version, and makes the ledger.
///
/// # Errors
/// [`AppError`] with the next command.
pub async fn initialise(address: &Address, _home: &Home, _origin: &str) -> Result<bool, AppError> {
    Err(unsupported(address))
}

/// Where the schema stands; with `apply`, after it was brought to that of this version.
///
/// # Errors
/// [`AppError`] with the next command.
pub async fn schema(address: &Address, _apply: bool) -> Result<migrate::Status, AppError> {
    Err(unsupported(address))
}

fn unsupported(address: &Address) -> AppError {
    let message = format!(
        "DATABASE_URL names the Postgres database `{address}`, which this version has no store for; nothing was written elsewhere"
    );
    AppError::new(Code::DatabaseUnsupported, message)
        .hint("use sqlite://PATH, or unset DATABASE_URL for the embedded store")
}
