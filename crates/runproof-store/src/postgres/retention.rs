//! Archives, tombstones and holds: what each step writes and removes, and how they are read.
//!
//! Every step is under the lock of the tenant's head, as every change of a tenant is.

use runproof_engine::ports::StoreError;
use runproof_engine::projection::{rfc3339, trace_id};
use runproof_proof::event::{Body, Stream};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::append::int;
use super::open::{HeadRows, Transitions};
use super::read::{column, natural};
use super::session::{Param, in_time, read};
use super::tenant::{Head, Problem};
use crate::retention::{Standing, archived, purged};
use crate::{ArchiveRow, CommandError, HoldRow, KeptRun, Retention, Stamp, TombstoneRow, plain_event};

pub(super) fn kept(row: &Row) -> Result<KeptRun, StoreError> {
    Ok(KeptRun {
        tenant_id: column(row, 0)?,
        run_id: column(row, 1)?,
        run_no: natural(row, 2)?,
        state: if column::<&str>(row, 3)? == "purged" { "purged" } else { "archived" },
        since: column(row, 4)?,
        leaves: column(row, 5)?,
    })
}

async fn rows(client: &Client, tenants: &[&str], sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
    read(client, tenants, sql, params).await.map_err(|failure| failure.unavailable())
}

pub(super) async fn list_kept(client: &Client, tenant: Option<&str>) -> Result<Vec<KeptRun>, StoreError> {
    let params: [Param<'_>; 1] = [(&tenant, Type::TEXT)];
    let sql = include_str!("../../sql/postgres/list_kept.sql");
    rows(client, tenant.as_slice(), sql, &params).await?.iter().map(kept).collect()
}

pub(super) async fn list_holds(client: &Client, tenant: &str) -> Result<Vec<HoldRow>, StoreError> {
    let params: [Param<'_>; 1] = [(&tenant, Type::TEXT)];
    let hold = |row: &Row| {
        Ok(HoldRow {
            tenant_id: column(row, 0)?,
            run_id: column(row, 1)?,
            reason: column(row, 2)?,
            placed_at: column(row, 3)?,
            lifted_at: column(row, 4)?,
        })
    };
    rows(client, &[tenant], include_str!("../../sql/postgres/list_holds.sql"), &params)
        .await?
        .iter()
        .map(hold)
        .collect()
}

pub(super) async fn over_before(
    client: &Client,
    tenant: &str,
    time: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params: [Param<'_>; 3] = [(&tenant, Type::TEXT), (&time, Type::TEXT), (&limit, Type::INT8)];
    let sql = include_str!("../../sql/postgres/over_before.sql");
    rows(client, &[tenant], sql, &params).await?.iter().map(|row| column(row, 0)).collect()
}

pub(super) fn archive_row(row: &Row) -> Result<ArchiveRow, StoreError> {
    Ok(ArchiveRow {
        run_no: natural(row, 0)?,
        leaves: column(row, 1)?,
        bundle: column(row, 2)?,
        bundle_digest: column(row, 3)?,
        archived_at: column(row, 4)?,
    })
}

pub(super) fn tombstone_row(row: &Row) -> Result<TombstoneRow, StoreError> {
    Ok(TombstoneRow {
        run_no: natural(row, 0)?,
        leaves: column(row, 1)?,
        seal: column(row, 2)?,
        run_root: column(row, 3)?,
        purged_at: column(row, 4)?,
    })
}

/// The archive of a run; in whatever transaction the client is.
pub(super) async fn archive(
    client: &Client,
    tenant: &str,
    run_id: &str,
) -> Result<Result<Option<ArchiveRow>, StoreError>, Error> {
    let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT)];
    let row = client.query_typed_opt(include_str!("../../sql/postgres/read_archive.sql"), &params).await?;
    Ok(row.as_ref().map(archive_row).transpose())
}

pub(super) async fn standing(client: &Client, tenant: &str, run_id: &str) -> Result<Standing, Problem> {
    let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT)];
    let row = in_time(client.query_typed_one(include_str!("../../sql/postgres/standing.sql"), &params)).await?;
    Ok(Standing {
        has_rows: column(&row, 0)?,
        is_over: column(&row, 1)?,
        is_archived: column(&row, 2)?,
        is_purged: column(&row, 3)?,
        is_held: column(&row, 4)?,
        erasures: natural(&row, 5)?,
    })
}

/// Puts a hold on a run. The event is written by the caller, in the same transaction.
pub(super) async fn place_hold(
    client: &Client,
    tenant: &str,
    run_id: &str,
    seq: u64,
    reason: &str,
    at: &str,
) -> Result<(), Problem> {
    let standing = standing(client, tenant, run_id).await?;
    standing.exists(tenant, run_id)?;
    if standing.is_held {
        return Err(CommandError::Held(run_id.to_owned()).into());
    }
    let seq = int(seq);
    let params: [Param<'_>; 5] =
        [(&tenant, Type::TEXT), (&run_id, Type::TEXT), (&seq, Type::INT8), (&reason, Type::TEXT), (&at, Type::TEXT)];
    in_time(client.execute_typed(include_str!("../../sql/postgres/insert_hold.sql"), &params)).await?;
    Ok(())
}

/// Lifts the hold on a run.
pub(super) async fn lift_hold(client: &Client, tenant: &str, run_id: &str, at: &str) -> Result<(), Problem> {
    standing(client, tenant, run_id).await?.exists(tenant, run_id)?;
    let params: [Param<'_>; 3] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT), (&at, Type::TEXT)];
    match in_time(client.execute_typed(include_str!("../../sql/postgres/lift_hold.sql"), &params)).await? {
        0 => Err(CommandError::NotHeld(run_id.to_owned()).into()),
        _ => Ok(()),
    }
}

/// Makes one step of a run towards its tombstone, in a transaction that has begun and has locked the head.
pub(super) async fn step(
    log: &str,
    client: &Client,
    tenant: &str,
    head: Head,
    step: &Retention,
    stamp: &Stamp,
) -> Result<(), Problem> {
    let run_id = step.run_id();
    standing(client, tenant, run_id).await?.allows(tenant, step)?;
    match step {
        Retention::Archive(new) => {
            let at = record(log, client, tenant, head, archived(new), stamp).await?;
            let row = ArchiveRow::of(new, at);
            let (number, trace) = (int(row.run_no), trace_id(run_id));
            let cells: [Param<'_>; 7] = [
                (&tenant, Type::TEXT),
                (&run_id, Type::TEXT),
                (&number, Type::INT8),
                (&row.leaves, Type::TEXT),
                (&row.bundle, Type::BYTEA),
                (&row.bundle_digest, Type::TEXT),
                (&row.archived_at, Type::TEXT),
            ];
            let mark: [Param<'_>; 3] = [(&tenant, Type::TEXT), (&trace, Type::TEXT), (&row.archived_at, Type::TEXT)];
            in_time(client.execute_typed(include_str!("../../sql/postgres/insert_archive.sql"), &cells)).await?;
            in_time(client.execute_typed(include_str!("../../sql/postgres/archive_trace.sql"), &mark)).await?;
            in_time(client.execute_typed(include_str!("../../sql/postgres/archive_steps.sql"), &mark)).await?;
        }
        Retention::Remove { .. } => {
            let (trace, stream) = (trace_id(run_id), Stream::Run(run_id.to_owned()).name());
            for (sql, value) in [
                (include_str!("../../sql/postgres/remove_steps.sql"), trace.as_str()),
                (include_str!("../../sql/postgres/remove_trace.sql"), trace.as_str()),
                (include_str!("../../sql/postgres/remove_seal.sql"), run_id),
                (include_str!("../../sql/postgres/remove_erasures.sql"), run_id),
                (include_str!("../../sql/postgres/remove_run.sql"), run_id),
                (include_str!("../../sql/postgres/remove_transitions.sql"), stream.as_str()),
            ] {
                let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&value, Type::TEXT)];
                in_time(client.execute_typed(sql, &params)).await?;
            }
        }
        Retention::Purge { .. } => {
            let row = in_time(archive(client, tenant, run_id)).await??;
            let row = row.ok_or_else(|| CommandError::NotArchived(run_id.to_owned()))?;
            let (body, mut tombstone) = purged(tenant, run_id, &row, stamp)?;
            tombstone.purged_at = record(log, client, tenant, head, body, stamp).await?;
            let number = int(tombstone.run_no);
            let cells: [Param<'_>; 7] = [
                (&tenant, Type::TEXT),
                (&run_id, Type::TEXT),
                (&number, Type::INT8),
                (&tombstone.leaves, Type::TEXT),
                (&tombstone.seal, Type::TEXT),
                (&tombstone.run_root, Type::TEXT),
                (&tombstone.purged_at, Type::TEXT),
            ];
            in_time(client.execute_typed(include_str!("../../sql/postgres/insert_tombstone.sql"), &cells)).await?;
            let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT)];
            in_time(client.execute_typed(include_str!("../../sql/postgres/remove_archive.sql"), &params)).await?;
        }
    }
    in_time(client.batch_execute("COMMIT")).await?;
    Ok(())
}

/// Writes an event of the tenant's stream; answers its time as columns show it.
async fn record(
    log: &str,
    client: &Client,
    tenant: &str,
    (head, runs): Head,
    body: Body,
    stamp: &Stamp,
) -> Result<String, Problem> {
    let event = plain_event(log, tenant, body, &head, stamp)?;
    let at = rfc3339(event.head.last_at);
    let mut transitions = Transitions::default();
    let stream = Stream::Tenant(tenant.to_owned());
    transitions.add(tenant, &stream, head.next_seq, std::slice::from_ref(&event.line));
    let rows = HeadRows::of(&[(tenant.to_owned(), (event.head, runs))].into());
    let sql = include_str!("../../sql/postgres/insert_transitions.sql");
    in_time(client.execute_typed(sql, &transitions.params())).await?;
    in_time(client.execute_typed(include_str!("../../sql/postgres/write_heads.sql"), &rows.params())).await?;
    Ok(at)
}
