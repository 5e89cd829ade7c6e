//! Workers and their leases, requests to them, and limits on what goes on at once.

use runproof_engine::ports::StoreError;
use runproof_proof::event::FORMAT_LEVEL;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Shared;
use super::append::int;
use super::claim::{execute, rows};
use super::session::Param;
use crate::{CommandError, LimitRow, Reaped, Request, WorkerAbout, WorkerRow};

fn said(error: tokio_postgres::Error) -> StoreError {
    super::connect::unavailable(&error)
}

/// Microseconds since 1970, by the clock of this machine: a run that is freed may go on at once.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn micros(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}

fn count(row: &Row, index: usize) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.try_get::<_, i64>(index).map_err(said)?).unwrap_or(0))
}

pub(super) async fn register(shared: &Shared, worker: &str, about: &WorkerAbout) -> Result<(), StoreError> {
    let (concurrency, lasts) = (i32::try_from(about.concurrency).unwrap_or(i32::MAX), micros(shared.terms.lasts));
    let params: [Param<'_>; 5] = [
        (&worker, Type::TEXT),
        (&about.version, Type::TEXT),
        (&about.host, Type::TEXT),
        (&concurrency, Type::INT4),
        (&lasts, Type::FLOAT8),
    ];
    execute(shared, &[], include_str!("../../sql/postgres/register_worker.sql"), &params).await.map(drop)
}

pub(super) async fn heartbeat(shared: &Shared, worker: &str) -> Result<bool, StoreError> {
    let lasts = micros(shared.terms.lasts);
    let params: [Param<'_>; 2] = [(&worker, Type::TEXT), (&lasts, Type::FLOAT8)];
    Ok(execute(shared, &[], include_str!("../../sql/postgres/heartbeat.sql"), &params).await? == 1)
}

/// Ends a lease; what the worker held is freed with the next reaping, which is now.
pub(super) async fn retire(shared: &Shared, worker: &str) -> Result<(), StoreError> {
    let params: [Param<'_>; 1] = [(&worker, Type::TEXT)];
    execute(shared, &[], include_str!("../../sql/postgres/retire_worker.sql"), &params).await?;
    reap(shared).await.map(drop)
}

pub(super) async fn reap(shared: &Shared) -> Result<Reaped, StoreError> {
    let now = now();
    let params: [Param<'_>; 1] = [(&now, Type::INT8)];
    let found = rows(shared, &[], include_str!("../../sql/postgres/reap.sql"), &params).await?;
    let Some(row) = found.first() else { return Ok(Reaped { workers: 0, runs: 0 }) };
    Ok(Reaped { workers: count(row, 0)?, runs: count(row, 1)? })
}

pub(super) async fn list(shared: &Shared) -> Result<Vec<WorkerRow>, StoreError> {
    let found = rows(shared, &[], include_str!("../../sql/postgres/list_workers.sql"), &[]).await?;
    let one = |row: &Row| -> Result<WorkerRow, StoreError> {
        let state: String = row.try_get(6).map_err(said)?;
        Ok(WorkerRow {
            id: row.try_get(0).map_err(said)?,
            version: row.try_get(1).map_err(said)?,
            host: row.try_get(2).map_err(said)?,
            concurrency: u32::try_from(count(row, 3)?).unwrap_or(u32::MAX),
            started_at: row.try_get(4).map_err(said)?,
            lease_until: row.try_get(5).map_err(said)?,
            state: match state.as_str() {
                "dead" => "dead",
                "live" => "live",
                _ => "lapsed",
            },
            running: count(row, 7)?,
        })
    };
    found.iter().map(one).collect()
}

pub(super) async fn has_due(shared: &Shared, at: u64) -> Result<bool, StoreError> {
    let (at, format) = (int(at), i32::try_from(FORMAT_LEVEL).unwrap_or(i32::MAX));
    let params: [Param<'_>; 2] = [(&at, Type::INT8), (&format, Type::INT4)];
    let found = rows(shared, &[], include_str!("../../sql/postgres/has_due.sql"), &params).await?;
    found.first().map_or(Ok(false), |row| row.try_get(0).map_err(said))
}

pub(super) async fn leave_request(
    shared: &Shared,
    tenant: &str,
    run_id: Option<&str>,
    body: &str,
) -> Result<i64, StoreError> {
    let params: [Param<'_>; 3] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT), (&body, Type::TEXT)];
    let found = rows(shared, &[tenant], include_str!("../../sql/postgres/leave_request.sql"), &params).await?;
    let row = found.first().ok_or_else(|| StoreError::Unavailable("the request was not stored".to_owned()))?;
    row.try_get(0).map_err(said)
}

pub(super) async fn take_answer(shared: &Shared, tenant: &str, id: i64) -> Result<Option<String>, StoreError> {
    let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&id, Type::INT8)];
    let found = rows(shared, &[tenant], include_str!("../../sql/postgres/take_answer.sql"), &params).await?;
    found.first().map(|row| row.try_get(0).map_err(said)).transpose()
}

pub(super) async fn withdraw_request(shared: &Shared, tenant: &str, id: i64) -> Result<bool, StoreError> {
    let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&id, Type::INT8)];
    Ok(execute(shared, &[tenant], include_str!("../../sql/postgres/withdraw_request.sql"), &params).await? == 1)
}

/// Requests about runs that this process holds for the worker.
pub(super) async fn open_requests(shared: &Shared, worker: &str) -> Result<Vec<Request>, StoreError> {
    let tenants = shared.held.tenants(worker);
    if tenants.is_empty() {
        return Ok(Vec::new());
    }
    let of: Vec<&str> = tenants.iter().map(String::as_str).collect();
    let params: [Param<'_>; 2] = [(&worker, Type::TEXT), (&of, Type::TEXT_ARRAY)];
    let found = rows(shared, &of, include_str!("../../sql/postgres/open_requests.sql"), &params).await?;
    let one = |row: &Row| -> Result<Request, StoreError> {
        Ok(Request {
            id: row.try_get(0).map_err(said)?,
            tenant: row.try_get(1).map_err(said)?,
            body: row.try_get(2).map_err(said)?,
        })
    };
    found.iter().map(one).collect()
}

pub(super) async fn answer_request(shared: &Shared, request: &Request, answer: &str) -> Result<(), StoreError> {
    let params: [Param<'_>; 3] = [(&request.tenant, Type::TEXT), (&request.id, Type::INT8), (&answer, Type::TEXT)];
    execute(shared, &[&request.tenant], include_str!("../../sql/postgres/answer_request.sql"), &params).await.map(drop)
}

pub(super) async fn set_limit(
    shared: &Shared,
    tenant: &str,
    agent: Option<&str>,
    max_running: Option<u32>,
) -> Result<(), CommandError> {
    let id = agent.unwrap_or_default();
    let named: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&id, Type::TEXT)];
    let found = rows(shared, &[tenant], include_str!("../../sql/postgres/has_tenant.sql"), &named).await?;
    let has = |index| found.first().map_or(Ok(false), |row: &Row| row.try_get::<_, bool>(index).map_err(said));
    if !has(0)? {
        return Err(CommandError::NoTenant(tenant.to_owned()));
    }
    if agent.is_some() && !has(1)? {
        return Err(CommandError::NoAgent { tenant: tenant.to_owned(), agent: id.to_owned() });
    }
    match max_running.map(i64::from) {
        Some(most) => {
            let params: [Param<'_>; 3] = [(&tenant, Type::TEXT), (&id, Type::TEXT), (&most, Type::INT8)];
            execute(shared, &[tenant], include_str!("../../sql/postgres/set_limit.sql"), &params).await?;
        }
        None => {
            execute(shared, &[tenant], include_str!("../../sql/postgres/remove_limit.sql"), &named).await?;
        }
    }
    Ok(())
}

pub(super) async fn limits(shared: &Shared, tenant: &str) -> Result<Vec<LimitRow>, StoreError> {
    let params: [Param<'_>; 1] = [(&tenant, Type::TEXT)];
    let found = rows(shared, &[tenant], include_str!("../../sql/postgres/limits.sql"), &params).await?;
    let one = |row: &Row| -> Result<LimitRow, StoreError> {
        Ok(LimitRow {
            tenant_id: row.try_get(0).map_err(said)?,
            agent_id: Some(row.try_get::<_, String>(1).map_err(said)?).filter(|agent| !agent.is_empty()),
            max_running: u32::try_from(count(row, 2)?).unwrap_or(u32::MAX),
            running: count(row, 3)?,
        })
    };
    found.iter().map(one).collect()
}
