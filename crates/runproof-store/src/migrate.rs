//! Schema versions: numbered, forward only, applied by `runproof migrate` (or `init`) and by nothing else. The functions
//! here are for the embedded store; those for Postgres are in [`crate::postgres::migrate`].

use runproof_proof::hash::sha256;
use rusqlite::{Connection, OptionalExtension};

/// A migration: version, name, SQL.
pub type Migration = (u32, &'static str, &'static str);

/// Migrations of the embedded store, in order.
pub const SQLITE: &[Migration] = &[
    (1, "init", include_str!("../migrations/sqlite/0001_init.sql")),
    (2, "kv_expiry", include_str!("../migrations/sqlite/0002_kv_expiry.sql")),
    (3, "workers", include_str!("../migrations/sqlite/0003_workers.sql")),
    (4, "retention", include_str!("../migrations/sqlite/0004_retention.sql")),
];

/// Migrations of the Postgres store: the same versions and names.
pub const POSTGRES: &[Migration] = &[
    (1, "init", include_str!("../migrations/postgres/0001_init.sql")),
    (2, "kv_expiry", include_str!("../migrations/postgres/0002_kv_expiry.sql")),
    (3, "workers", include_str!("../migrations/postgres/0003_workers.sql")),
    (4, "retention", include_str!("../migrations/postgres/0004_retention.sql")),
];

/// Where a database stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Version of the database; `None` when it was never migrated.
    pub current: Option<u32>,
    /// Newest version that this program knows.
    pub head: u32,
}

impl Status {
    /// Whether the database is at head.
    pub fn is_head(&self) -> bool {
        self.current == Some(self.head)
    }
}

/// Why a migration did not happen. Nothing is half done: on SQLite each migration is one transaction, on Postgres all are.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// SQLite refused.
    #[error("migration failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Postgres refused, or could not be reached.
    #[error("migration failed: {}", told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// A migration that was applied before had another text.
    #[error("migration {0:04} was applied with another text: the schema is not the one that this version knows")]
    Checksum(u32),
    /// The database was migrated by a newer version.
    #[error("the database is at version {found}, this program knows {head}")]
    Newer {
        /// Version of the database.
        found: u32,
        /// Newest version known here.
        head: u32,
    },
}

/// What the server said: the error itself only says that it is one.
fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

/// Newest version that this program knows, of every store.
pub fn head() -> u32 {
    SQLITE.last().map_or(0, |(version, ..)| *version)
}

/// Reads where the database stands.
///
/// # Errors
/// [`MigrateError`].
pub fn status(connection: &Connection) -> Result<Status, MigrateError> {
    let exists: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'", [], |row| {
            row.get(0)
        })
        .optional()?;
    let current = match exists {
        None => None,
        Some(_) => connection.query_row("SELECT max(version) FROM schema_migrations", [], |row| row.get(0))?,
    };
    Ok(Status { current, head: head() })
}

/// Applies every migration that is missing, each in its own transaction. Safe when started twice at once.
///
/// # Errors
/// [`MigrateError`].
pub fn apply(connection: &mut Connection, now: &str) -> Result<Status, MigrateError> {
    let begin = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    begin.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
             version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT;
         CREATE VIEW IF NOT EXISTS alembic_version AS
             SELECT printf('%04d', max(version)) AS version_num FROM schema_migrations;",
    )?;
    begin.commit()?;
    for (version, name, sql) in SQLITE {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let applied: Option<String> = transaction
            .query_row("SELECT checksum FROM schema_migrations WHERE version = ?1", [version], |row| row.get(0))
            .optional()?;
        let checksum = sha256(sql.as_bytes()).hex();
        match applied {
            Some(found) if found == checksum => continue,
            Some(_) => return Err(MigrateError::Checksum(*version)),
            None => {}
        }
        transaction.execute_batch(sql)?;
        transaction.execute(
            "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?1, ?2, ?3, ?4)",
            (version, name, checksum, now),
        )?;
        transaction.commit()?;
    }
    let status = status(connection)?;
    match status.current {
        Some(found) if found > status.head => Err(MigrateError::Newer { found, head: status.head }),
        Some(_) | None => Ok(status),
    }
}
