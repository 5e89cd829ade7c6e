//! Brings a Postgres database to the newest schema. Everything that is missing is one transaction under one lock: it works
//! through a pooler in transaction mode, and twice at once.

use std::collections::BTreeMap;

use runproof_proof::hash::sha256;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, IsolationLevel};

use crate::migrate::{MigrateError, Migration, POSTGRES, Status, head};

/// "runproof" in ASCII: the key of the advisory lock that one migration holds.
const LOCK: i64 = 0x7275_6e70_726f_6f66;

const KEEP_VERSIONS: &str = "
    CREATE TABLE IF NOT EXISTS public.schema_migrations (
        version bigint PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at text NOT NULL);
    CREATE OR REPLACE VIEW public.alembic_version AS
        SELECT lpad(max(version)::text, 4, '0') AS version_num FROM public.schema_migrations;";

/// Reads where the database stands.
///
/// # Errors
/// [`MigrateError::Postgres`].
pub async fn status(client: &Client) -> Result<Status, MigrateError> {
    Ok(standing(&applied(client).await?))
}

/// The migrations that [`apply`] would apply, in order; nothing is written.
///
/// # Errors
/// [`MigrateError`], as `apply` would give before it writes.
pub async fn plan(client: &Client) -> Result<Vec<&'static Migration>, MigrateError> {
    missing(&applied(client).await?)
}

/// Applies every migration that is missing. `now` is kept beside each, as text. Whoever migrates owns the tables.
///
/// # Errors
/// [`MigrateError`]; nothing is written. A role that may not create the groups `runproof_engine`, `runproof_api`,
/// `runproof_auditor` and `runproof_retention` is told what an administrator has to run.
pub async fn apply(client: &mut Client, now: &str) -> Result<Status, MigrateError> {
    // Whoever waited for the lock has to see what was committed meanwhile, whatever the default of the database is.
    let builder = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).read_only(false);
    let transaction = builder.start().await?;
    transaction.query_typed("SELECT pg_catalog.pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    let missing = missing(&applied(transaction.client()).await?)?;
    if !missing.is_empty() {
        transaction.batch_execute(KEEP_VERSIONS).await?;
    }
    for (version, name, sql) in missing {
        transaction.batch_execute(sql).await?;
        let checksum = sha256(sql.as_bytes()).hex();
        transaction
            .execute_typed(
                "INSERT INTO public.schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
                &[(&i64::from(*version), Type::INT8), (name, Type::TEXT), (&checksum, Type::TEXT), (&now, Type::TEXT)],
            )
            .await?;
    }
    let status = standing(&applied(transaction.client()).await?);
    transaction.commit().await?;
    Ok(status)
}

/// Checksums of what was applied, by version.
async fn applied(client: &Client) -> Result<BTreeMap<u32, String>, MigrateError> {
    let exists = client
        .query_typed("SELECT 1 FROM pg_catalog.pg_class WHERE oid = to_regclass('public.schema_migrations')", &[])
        .await?;
    if exists.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = client.query_typed("SELECT version, checksum FROM public.schema_migrations", &[]).await?;
    let version = |version: i64| u32::try_from(version).unwrap_or(u32::MAX);
    rows.iter().map(|row| Ok((version(row.try_get(0)?), row.try_get(1)?))).collect()
}

fn standing(applied: &BTreeMap<u32, String>) -> Status {
    Status { current: applied.keys().next_back().copied(), head: head() }
}

fn missing(applied: &BTreeMap<u32, String>) -> Result<Vec<&'static Migration>, MigrateError> {
    let status = standing(applied);
    if let Some(found) = status.current.filter(|found| *found > status.head) {
        return Err(MigrateError::Newer { found, head: status.head });
    }
    let mut missing = Vec::new();
    for migration in POSTGRES {
        match applied.get(&migration.0) {
            Some(checksum) if *checksum == sha256(migration.2.as_bytes()).hex() => {}
            Some(_) => return Err(MigrateError::Checksum(migration.0)),
            None => missing.push(migration),
        }
    }
    Ok(missing)
}
