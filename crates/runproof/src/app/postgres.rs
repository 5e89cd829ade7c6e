//! A database on Postgres: its address, and how a command opens it.

use std::sync::Arc;

use runproof_store::Store;
use runproof_store::postgres::{self, OpenError, PgStore};
use tokio::runtime::Handle;

pub use runproof_store::postgres::Address;

use super::Database;
use crate::error::{AppError, Code};
use crate::home::Home;
use crate::runtime;

/// The address that a URL names; `None` when it is not one of Postgres.
///
/// # Errors
/// [`AppError`] names what is wrong with it, without the password.
pub fn address(url: &str) -> Result<Option<Address>, AppError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(None);
    }
    let refused = |problem| {
        AppError::new(Code::DatabaseUrl, format!("DATABASE_URL is not an address of Postgres: {problem}"))
            .hint("postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require (or prefer, disable); in a password, `@` is %40 and `/` is %2F")
    };
    Address::parse(url).map(Some).map_err(refused)
}

/// A store that an engine works with, and what people have to know about it.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Sentences for people: what this process does not do, and what does not hold against its role.
    pub remarks: Vec<String>,
}

/// Opens the store for reading and for leaving requests.
///
/// # Errors
/// [`AppError`] with the next command.
pub async fn reader(address: &Address) -> Result<Arc<dyn Store>, AppError> {
    Ok(Arc::new(PgStore::open_reader(address, &Handle::current()).await?))
}

/// Opens the store for reading what belongs to any tenant.
///
/// # Errors
/// [`AppError`] when the role sees one tenant at a time.
pub async fn reader_of_all(address: &Address) -> Result<Arc<dyn Store>, AppError> {
    let store = PgStore::open_reader(address, &Handle::current()).await?;
    if store.sees_all_tenants().await? {
        return Ok(Arc::new(store));
    }
    let message = format!("the role of `{}` sees one tenant at a time, and this is about all of them", address.place());
    Err(AppError::new(Code::DatabaseOneTenant, message)
        .hint("name one with --tenant-id, or connect as a member of runproof_auditor"))
}

/// Opens the store as one of any number of engines. It signs where the home has the log's key.
///
/// # Errors
/// [`AppError`] with the next command.
pub async fn engine(address: &Address, home: &Home) -> Result<Opened, AppError> {
    let path = home.key_path();
    let notary = path.exists().then(|| home.notary()).transpose()?;
    let mut remarks = Vec::new();
    if notary.is_none() {
        remarks.push(format!(
            "there is no log key at `{}`: this process records and does not sign; runs stay UNANCHORED until a process \
             with the key works on the same database",
            path.display()
        ));
    }
    let store = PgStore::open_engine(address, &Handle::current(), notary).await?;
    remarks.extend(given_up(&store.protections().given_up));
    Ok(Opened { store: Arc::new(store), remarks })
}

/// Makes the key where it is missing, and the ledger. The schema has to be there. Answers whether a key was made.
///
/// # Errors
/// [`AppError`]; nothing is made when the ledger is another key's.
pub async fn initialise(address: &Address, home: &Home, origin: &str) -> Result<bool, AppError> {
    let ledger = match PgStore::open_reader(address, &Handle::current()).await {
        Ok(store) => store.ledger_key().await?,
        Err(OpenError::NoLedger(_)) => None,
        Err(error) => return Err(error.into()),
    };
    home.check_ledger(ledger, &Database::Postgres(Box::new(address.clone())))?;
    let made = home.create(origin)?;
    postgres::create_ledger(address, home.notary()?, runtime::random()).await?;
    Ok(made)
}

/// What does not hold against the role of a connection, in sentences for people.
pub fn given_up(given_up: &[String]) -> impl Iterator<Item = String> {
    given_up.iter().map(|sentence| format!("evaluation only: {sentence}"))
}
