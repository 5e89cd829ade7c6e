//! Claims and limits: which runs the engine may work on. Runs inside the writer's transaction.

use std::collections::BTreeMap;

use runproof_engine::ports::{Claimed, Claims, StoreError, UNREADABLE_FOR, Unreadable};
use runproof_proof::event::FORMAT_LEVEL;
use rusqlite::{Connection, OptionalExtension};

use super::writer::Batch;
use super::{apply, read, unavailable};
use crate::turns::{self, Room, Turn};
use crate::{CommandError, LimitRow, claimed};

/// Most tenants that one claim chooses from.
const TENANTS: usize = 64;

/// Takes due runs in turn, beginning with the tenants after the last one that the claim before looked at.
pub(super) fn claim(
    batch: &Batch<'_>,
    owner: &str,
    now: u64,
    limit: usize,
    after: &mut String,
) -> Result<Claims, StoreError> {
    let turns = turns(batch.connection, now, limit, after)?;
    let mut claims = Claims::default();
    for Turn { tenant, run_id, .. } in turns::first(turns, limit) {
        match take(batch, owner, &tenant, &run_id) {
            Ok(taken) => claims.taken.extend(taken),
            Err(problem @ StoreError::Corrupt { .. }) => {
                let mut postpone = batch
                    .connection
                    .prepare_cached(include_str!("../../sql/sqlite/postpone_run.sql"))
                    .map_err(unavailable)?;
                postpone.execute((&tenant, &run_id, now.saturating_add(UNREADABLE_FOR))).map_err(unavailable)?;
                claims.unreadable.push(Unreadable { tenant, run_id, problem });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(claims)
}

/// Due runs of some tenants, as many of each as the claim could take.
fn turns(connection: &Connection, now: u64, limit: usize, after: &mut String) -> Result<Vec<Turn>, StoreError> {
    let mut next = connection.prepare_cached(include_str!("../../sql/sqlite/due_tenant.sql")).map_err(unavailable)?;
    let (begin, mut wrapped, mut tenants) = (after.clone(), false, 0);
    let mut turns = Vec::new();
    while tenants < TENANTS && limit > 0 {
        let tenant: Option<String> =
            next.query_row([after.as_str()], |row| row.get(0)).optional().map_err(unavailable)?;
        let Some(tenant) = tenant else {
            if wrapped || begin.is_empty() {
                after.clear();
                break;
            }
            wrapped = true;
            after.clear();
            continue;
        };
        if wrapped && tenant > begin {
            break; // all the way round
        }
        after.clone_from(&tenant);
        let before = turns.len();
        of_tenant(connection, &tenant, now, limit, &mut turns)?;
        tenants += usize::from(turns.len() > before);
    }
    Ok(turns)
}

fn of_tenant(
    connection: &Connection,
    tenant: &str,
    now: u64,
    limit: usize,
    turns: &mut Vec<Turn>,
) -> Result<(), StoreError> {
    let mut room = room(connection, tenant)?;
    let mut levels =
        connection.prepare_cached(include_str!("../../sql/sqlite/due_priority.sql")).map_err(unavailable)?;
    let mut runs = connection.prepare_cached(include_str!("../../sql/sqlite/due_runs.sql")).map_err(unavailable)?;
    let (mut above, mut taken) = (i64::MAX, 0);
    while let Some(level) =
        levels.query_row((tenant, above), |row| row.get(0)).optional().map_err(unavailable)?.filter(|_| !room.is_full())
    {
        above = level;
        let mut rows = runs.query((tenant, level, now, FORMAT_LEVEL)).map_err(unavailable)?;
        while let Some(row) = rows.next().map_err(unavailable)? {
            let agent: String = row.get(1).map_err(unavailable)?;
            if let Some(running) = room.enter(&agent) {
                let (run_id, wake_at) = (row.get(0).map_err(unavailable)?, row.get(2).map_err(unavailable)?);
                turns.push(Turn { running, wake_at, tenant: tenant.to_owned(), run_id });
                taken += 1;
            }
            if taken == limit || room.is_full() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn room(connection: &Connection, tenant: &str) -> Result<Room, StoreError> {
    let pairs = |sql: &str| -> Result<BTreeMap<String, u64>, StoreError> {
        let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
        let rows = statement.query_map([tenant], |row| Ok((row.get(0)?, row.get(1)?))).map_err(unavailable)?;
        rows.collect::<Result<_, _>>().map_err(unavailable)
    };
    let running = pairs(include_str!("../../sql/sqlite/going.sql"))?;
    Ok(Room::new(running, pairs("SELECT agent_id, max_running FROM limits WHERE tenant_id = ?1")?))
}

/// Takes one run that nobody holds. It is read first: one that cannot be read is not touched.
pub(super) fn take(batch: &Batch<'_>, owner: &str, tenant: &str, run_id: &str) -> Result<Option<Claimed>, StoreError> {
    let free = "SELECT EXISTS (SELECT 1 FROM run_queue WHERE tenant_id = ?1 AND run_id = ?2 AND owner IS NULL)";
    let mut statement = batch.connection.prepare_cached(free).map_err(unavailable)?;
    if !statement.query_row((tenant, run_id), |row| row.get(0)).map_err(unavailable)? {
        return Ok(None);
    }
    let missing = || StoreError::Corrupt {
        at: format!("run_queue[run_id={run_id}]"),
        problem: "the run has no events".to_owned(),
    };
    let run = read::load_run(batch.connection, batch.log, tenant, run_id)?.ok_or_else(missing)?;
    let mut statement =
        batch.connection.prepare_cached(include_str!("../../sql/sqlite/claim_run.sql")).map_err(unavailable)?;
    let epoch = statement.query_row((owner, tenant, run_id), |row| row.get(0)).map_err(unavailable)?;
    Ok(Some(claimed(run, owner, epoch)))
}

pub(super) fn set_limit(
    batch: &Batch<'_>,
    tenant: &str,
    agent: Option<&str>,
    max_running: Option<u32>,
) -> Result<(), CommandError> {
    let connection = batch.connection;
    let sql = "SELECT EXISTS (SELECT 1 FROM tenants WHERE id = ?1)";
    if !connection.query_row(sql, [tenant], |row| row.get(0)).map_err(unavailable)? {
        return Err(CommandError::NoTenant(tenant.to_owned()));
    }
    if let Some(agent) = agent
        && !apply::agent_exists(connection, tenant, agent)?
    {
        return Err(CommandError::NoAgent { tenant: tenant.to_owned(), agent: agent.to_owned() });
    }
    let agent = agent.unwrap_or_default();
    let written = match max_running {
        Some(most) => connection.execute(include_str!("../../sql/sqlite/set_limit.sql"), (tenant, agent, most)),
        None => connection.execute("DELETE FROM limits WHERE tenant_id = ?1 AND agent_id = ?2", (tenant, agent)),
    };
    written.map_err(unavailable)?;
    Ok(())
}

pub(super) fn limits(connection: &Connection, tenant: &str) -> Result<Vec<LimitRow>, StoreError> {
    let sql = include_str!("../../sql/sqlite/read_limits.sql");
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map([tenant], |row| {
        let agent: String = row.get(0)?;
        let agent_id = Some(agent).filter(|agent| !agent.is_empty());
        Ok(LimitRow { tenant_id: tenant.to_owned(), agent_id, max_running: row.get(1)?, running: row.get(2)? })
    });
    rows.map_err(unavailable)?.collect::<Result<_, _>>().map_err(unavailable)
}
