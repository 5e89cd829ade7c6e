//! Opens a store: finds out what the database is, and refuses what it must not work with.

use deadpool_postgres::{Object, Pool};
use runproof_engine::ports::StoreError;
use runproof_proof::event::Actor;
use tokio::runtime::Handle;

use super::connect::{connection, text};
use super::protections::{self, Protections};
use super::sequencer::{SequenceError, Sequencer};
use super::session::in_time;
use super::{Address, PgStore, log, migrate, read};
use crate::Notary;
use crate::migrate::{MigrateError, Migration, Status};

/// Why a store on Postgres cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody answers, or whoever answers does not let this role in.
    #[error("cannot reach `{place}`: {problem}")]
    Unreachable {
        /// Where, without a password.
        place: String,
        /// What the server or the network said.
        problem: String,
    },
    /// The schema is not at head.
    #[error("`{place}` has schema version {}, this program needs {}", .status.current.map_or("none".to_owned(), |current| current.to_string()), .status.head)]
    NotMigrated {
        /// Where.
        place: String,
        /// Where it stands.
        status: Status,
    },
    /// The schema cannot be read or brought to head.
    #[error("`{place}`: {source}")]
    Migrate {
        /// Where.
        place: String,
        /// Why.
        source: MigrateError,
    },
    /// What the database has to refuse by itself is not there, or this role may not work.
    #[error("`{place}` is not protected: {}", .missing.join("; "))]
    Unprotected {
        /// Where.
        place: String,
        /// What is missing, each with what mends it.
        missing: Vec<String>,
    },
    /// The server would acknowledge what it can still lose, or writes nothing at all.
    #[error("`{place}` cannot be worked with: {problem}")]
    Setting {
        /// Where.
        place: String,
        /// What is set, and what has to be.
        problem: String,
    },
    /// `init` has not finished: the ledger has no origin.
    #[error("`{0}` has no ledger")]
    NoLedger(String),
    /// The key is not the one that the ledger was made with.
    #[error("the log key is `{key}`, but the ledger was made with `{ledger}`")]
    OtherKey {
        /// Key of this process.
        key: String,
        /// Key of the ledger.
        ledger: String,
    },
    /// The ledger cannot be continued here.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A first connection: that it can be made says more than any check.
async fn reach(address: &Address) -> Result<(Pool, Object), OpenError> {
    let pool = address.pool()?;
    let client = connection(&pool).await.map_err(|error| OpenError::Unreachable {
        place: address.place(),
        problem: match error {
            StoreError::Unavailable(problem) => problem,
            other @ (StoreError::Conflict(_)
            | StoreError::Stale { .. }
            | StoreError::OutcomeUnknown(_)
            | StoreError::Corrupt { .. }) => other.to_string(),
        },
    })?;
    Ok((pool, client))
}

fn migrating(address: &Address) -> impl Fn(MigrateError) -> OpenError {
    let place = address.place();
    move |source| match source {
        MigrateError::Postgres(error) if error.as_db_error().is_none() => {
            OpenError::Unreachable { place: place.clone(), problem: text(&error) }
        }
        source @ (MigrateError::Sqlite(_)
        | MigrateError::Postgres(_)
        | MigrateError::Checksum(_)
        | MigrateError::Newer { .. }) => OpenError::Migrate { place: place.clone(), source },
    }
}

/// The same where nothing is written.
fn reading(address: &Address) -> impl Fn(MigrateError) -> OpenError {
    let migrating = migrating(address);
    move |source| {
        if let MigrateError::Postgres(error) = &source
            && error.as_db_error().is_some()
        {
            return OpenError::Store(StoreError::Unavailable(text(error)));
        }
        migrating(source)
    }
}

/// Where the schema of a database stands.
///
/// # Errors
/// [`OpenError`].
pub async fn status(address: &Address) -> Result<Status, OpenError> {
    let (_, client) = reach(address).await?;
    migrate::status(&client).await.map_err(reading(address))
}

/// The migrations that [`create`] would apply.
///
/// # Errors
/// [`OpenError`].
pub async fn missing(address: &Address) -> Result<Vec<&'static Migration>, OpenError> {
    let (_, client) = reach(address).await?;
    migrate::plan(&client).await.map_err(reading(address))
}

/// What the database refuses by itself, and what of that does not hold against the role of the address.
///
/// # Errors
/// [`OpenError`].
pub async fn check_protections(address: &Address) -> Result<Protections, OpenError> {
    let (_, client) = reach(address).await?;
    Ok(protections::check(&client).await.map_err(|error| StoreError::Unavailable(text(&error)))?)
}

/// Brings a database to head. `now` is kept beside each migration.
///
/// # Errors
/// [`OpenError`]; nothing is written.
pub async fn create(address: &Address, now: &str) -> Result<Status, OpenError> {
    let (_, mut client) = reach(address).await?;
    migrate::apply(&mut client, now).await.map_err(migrating(address))
}

/// Makes the ledger: its first event names the key. Does nothing when there is one.
///
/// # Errors
/// [`OpenError`].
pub async fn create_ledger(address: &Address, notary: Box<dyn Notary>, seed: [u8; 32]) -> Result<(), OpenError> {
    let (_, client) = reach(address).await?;
    at_head(address, &client).await?;
    Ok(log::create_ledger(&client, notary, seed).await?)
}

/// Puts on record that the ledger goes on from a state that is older than what was signed. Whoever knows the newer head
/// still sees that it was lost.
///
/// # Errors
/// [`SequenceError::NotRolledBack`] when nothing was lost; the others when it cannot be recorded.
pub async fn acknowledge_rollback(
    address: &Address,
    notary: Box<dyn Notary>,
    actor: Actor,
    seed: [u8; 32],
) -> Result<(), OpenError> {
    let (_, client) = reach(address).await?;
    at_head(address, &client).await?;
    let (log, ledger) = read::ledger(&client).await?.ok_or_else(|| OpenError::NoLedger(address.place()))?;
    let key = notary.signer().verifier().vkey();
    if key != ledger {
        return Err(OpenError::OtherKey { key, ledger });
    }
    Sequencer::new(&log, notary).acknowledge_rollback(&client, actor, seed).await?;
    Ok(())
}

async fn at_head(address: &Address, client: &Object) -> Result<(), OpenError> {
    let status = migrate::status(client).await.map_err(reading(address))?;
    if status.is_head() { Ok(()) } else { Err(OpenError::NotMigrated { place: address.place(), status }) }
}

/// What the server does with a commit, and whether it takes any.
async fn check_settings(address: &Address, client: &Object) -> Result<(), OpenError> {
    let sql = "SELECT pg_catalog.current_setting('synchronous_commit'), pg_catalog.pg_is_in_recovery()";
    let answered = in_time(client.query_typed_one(sql, &[])).await.map_err(|failure| failure.unavailable())?;
    let said = |error: tokio_postgres::Error| StoreError::Unavailable(text(&error));
    let (commit, replica): (String, bool) = (answered.try_get(0).map_err(said)?, answered.try_get(1).map_err(said)?);
    let problem = if replica {
        "it is a replica, which takes no writes; connect to the primary".to_owned()
    } else if commit == "off" {
        let name = address.database().replace('"', "\"\"");
        format!(
            "synchronous_commit is off, so that a commit can be lost after it was acknowledged; run: ALTER DATABASE \
             \"{name}\" SET synchronous_commit = on"
        )
    } else {
        return Ok(());
    };
    Err(OpenError::Setting { place: address.place(), problem })
}

impl PgStore {
    /// Opens for reading, and for leaving requests. Whatever the store does is done on `runtime`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_reader(address: &Address, runtime: &Handle) -> Result<Self, OpenError> {
        let (pool, client) = reach(address).await?;
        at_head(address, &client).await?;
        let (log, _) = read::ledger(&client).await?.ok_or_else(|| OpenError::NoLedger(address.place()))?;
        drop(client);
        Ok(Self::start(address, pool, log, runtime.clone(), None, Protections::default()))
    }

    /// Opens as one of any number of engines. With a notary it also gives leaves their places and signs.
    ///
    /// # Errors
    /// [`OpenError`]; a database behind the last kept checkpoint is refused, and one without its protections.
    pub async fn open_engine(
        address: &Address,
        runtime: &Handle,
        notary: Option<Box<dyn Notary>>,
    ) -> Result<Self, OpenError> {
        let (pool, client) = reach(address).await?;
        at_head(address, &client).await?;
        check_settings(address, &client).await?;
        let found = protections::check(&client).await.map_err(|error| StoreError::Unavailable(text(&error)))?;
        if !found.missing.is_empty() {
            return Err(OpenError::Unprotected { place: address.place(), missing: found.missing });
        }
        let (log, ledger) = read::ledger(&client).await?.ok_or_else(|| OpenError::NoLedger(address.place()))?;
        let mut sequencer = None;
        if let Some(notary) = notary {
            let key = notary.signer().verifier().vkey();
            if key != ledger {
                return Err(OpenError::OtherKey { key, ledger });
            }
            let signing = Sequencer::new(&log, notary);
            signing.check(&client).await?;
            sequencer = Some(signing);
        }
        drop(client);
        Ok(Self::start(address, pool, log, runtime.clone(), sequencer, found))
    }
}
