//! What each command writes. Runs inside the writer's transaction; an error takes back everything of that command.

use runproof_engine::admission::{self, Admitted, StreamHead};
use runproof_engine::ports::{Append, Claim, Fence, StoreError};
use runproof_engine::projection::{self, Cell, Row, RowChanges, rfc3339};
use runproof_engine::run::Run;
use runproof_engine::skill::{Guard, Write};
use runproof_proof::event::Stream;
use runproof_proof::hash::Hash;
use rusqlite::{Connection, OptionalExtension, ToSql, types::ToSqlOutput};

use super::writer::Batch;
use super::{read, retention, unavailable};
use crate::{CommandError, Opened, Stamp, TenantChange, tenant_event, without_value};

struct Bound<'a>(&'a Cell);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self.0 {
            Cell::Null => Ok(ToSqlOutput::from(rusqlite::types::Null)),
            Cell::Int(number) => Ok(ToSqlOutput::from(*number)),
            Cell::Text(text) => Ok(ToSqlOutput::from(text.as_str())),
        }
    }
}

/// Runs a statement whose parameters are numbered like the columns of the row; an update uses some of them.
fn write_row(connection: &Connection, sql: &str, row: &Row) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let count = statement.parameter_count().min(row.cells.len());
    for (index, (_, cell)) in row.cells.iter().take(count).enumerate() {
        statement.raw_bind_parameter(index + 1, Bound(cell)).map_err(unavailable)?;
    }
    match statement.raw_execute().map_err(unavailable)? {
        1 => Ok(()),
        count => Err(StoreError::Corrupt {
            at: row.table.to_owned(),
            problem: format!("a write changed {count} rows instead of 1"),
        }),
    }
}

fn write_rows(batch: &mut Batch<'_>, rows: &RowChanges) -> Result<(), StoreError> {
    let connection = batch.connection;
    // Steps first: a trace that is completed takes no more of them.
    for step in &rows.steps {
        write_row(connection, include_str!("../../sql/sqlite/insert_step.sql"), step)?;
    }
    if let Some(run) = &rows.run {
        write_row(connection, include_str!("../../sql/sqlite/update_run.sql"), run)?;
    }
    if let Some(trace) = &rows.trace {
        write_row(connection, include_str!("../../sql/sqlite/complete_trace.sql"), trace)?;
    }
    if let Some(seal) = &rows.seal {
        write_row(connection, include_str!("../../sql/sqlite/insert_seal.sql"), seal)?;
        batch.sealed = true;
    }
    Ok(())
}

/// Appends to a run, iff the fence holds and the run is at the expected head.
pub(super) fn append(batch: &mut Batch<'_>, append: &Append) -> Result<(), StoreError> {
    let Append { tenant, run_id, fence, expected_seq, expected_head, lines, rows, writes, claim } = append;
    let key = (tenant, run_id, &fence.owner, fence.epoch, expected_seq, expected_head.hex());
    let next_seq = expected_seq + lines.len() as u64;
    let head = lines.last().map_or(*expected_head, |line| line.leaf).hex();
    let connection = batch.connection;
    let changed = match claim {
        Claim::End => {
            let mut statement =
                connection.prepare_cached(include_str!("../../sql/sqlite/end_run.sql")).map_err(unavailable)?;
            statement.execute(key).map_err(unavailable)?
        }
        Claim::Keep | Claim::Park | Claim::Release(_) => {
            let (owner, wake_at) = match claim {
                Claim::Keep => (Some(&fence.owner), None),
                Claim::Release(at) => (None, Some(*at)),
                Claim::Park | Claim::End => (None, None),
            };
            let mut statement =
                connection.prepare_cached(include_str!("../../sql/sqlite/move_run.sql")).map_err(unavailable)?;
            statement
                .execute((key.0, key.1, key.2, key.3, key.4, key.5, owner, wake_at, next_seq, head))
                .map_err(unavailable)?
        }
    };
    if changed != 1 {
        return Err(StoreError::Conflict(run_id.clone()));
    }
    // Guards first: where many write one key, most appends end here.
    let version = batch.next_leaf();
    writes.iter().try_for_each(|write| apply_write(batch.connection, tenant, version, write))?;
    if !lines.is_empty() {
        batch.transition(tenant, &Stream::Run(run_id.clone()), *expected_seq, lines)?;
    }
    write_rows(batch, rows)
}

fn apply_write(connection: &Connection, tenant: &str, version: u64, write: &Write) -> Result<(), StoreError> {
    let sql = match write {
        Write::Put { .. } => include_str!("../../sql/sqlite/put_value.sql"),
        Write::Delete { .. } => include_str!("../../sql/sqlite/delete_value.sql"),
        Write::DeleteExpired { .. } => include_str!("../../sql/sqlite/delete_expired.sql"),
    };
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let changed = match write {
        Write::Put { key, value, expires_at, guard } => {
            check_guard(connection, tenant, key, *guard)?;
            statement.execute((tenant, key, String::from_utf8_lossy(value), version, expires_at))
        }
        Write::Delete { key, guard } => {
            check_guard(connection, tenant, key, *guard)?;
            statement.execute((tenant, key))
        }
        Write::DeleteExpired { until } => statement.execute((tenant, until, Write::MOST_EXPIRED)),
    };
    changed.map(drop).map_err(unavailable)
}

fn check_guard(connection: &Connection, tenant: &str, key: &str, guard: Guard) -> Result<(), StoreError> {
    let stored = read::value(connection, tenant, key)?.map(|stored| stored.version);
    if guard.holds(stored) { Ok(()) } else { Err(StoreError::Stale { key: key.to_owned() }) }
}

/// Reads the head of a stream that is not a run, with the number of runs that it opened.
pub(super) fn read_head(
    connection: &Connection,
    tenant: &str,
    stream: &Stream,
) -> Result<Option<(StreamHead, u64)>, StoreError> {
    let sql = include_str!("../../sql/sqlite/read_head.sql");
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let row = statement
        .query_row((tenant, stream.name()), |row| {
            let head: String = row.get(1)?;
            Ok((row.get(0)?, head, row.get(2)?, row.get(3)?))
        })
        .optional()
        .map_err(unavailable)?;
    row.map(|(next_seq, head, last_at, runs)| {
        let corrupt = || StoreError::Corrupt {
            at: format!("stream_heads[tenant_id={tenant}]"),
            problem: "not a hash".to_owned(),
        };
        Ok((StreamHead { next_seq, head: Hash::from_hex(&head).ok_or_else(corrupt)?, last_at }, runs))
    })
    .transpose()
}

pub(super) fn write_head(
    connection: &Connection,
    tenant: &str,
    stream: &Stream,
    head: &StreamHead,
    runs: u64,
) -> Result<(), StoreError> {
    let sql = include_str!("../../sql/sqlite/write_head.sql");
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    statement
        .execute((tenant, stream.name(), head.next_seq, head.head.hex(), head.last_at, runs))
        .map_err(unavailable)?;
    Ok(())
}

pub(super) fn open_run(
    batch: &mut Batch<'_>,
    admitted: &Admitted,
    owner: Option<&str>,
    stamp: &Stamp,
) -> Result<Opened, CommandError> {
    let request = &admitted.request;
    let (tenant, run_id) = (&request.tenant, &request.run_id);
    let stream = Stream::Tenant(tenant.clone());
    let Some((head, runs)) = read_head(batch.connection, tenant, &stream)? else {
        return Err(CommandError::NoTenant(tenant.clone()));
    };
    if let Some(key) = &request.idempotency_key
        && let Some(existing) = find_by_key(batch, admitted, key)?
    {
        return Ok(existing);
    }
    if !agent_exists(batch.connection, tenant, &request.agent)? {
        return Err(CommandError::NoAgent { tenant: tenant.clone(), agent: request.agent.clone() });
    }
    let is_known = |connection| {
        let standing = retention::standing(connection, tenant, run_id)?;
        Ok::<_, StoreError>(standing.has_rows || standing.is_archived || standing.is_purged)
    };
    if is_known(batch.connection)? {
        return Err(CommandError::Refused(format!("run `{run_id}` exists already")));
    }
    let opening = admission::open(admitted, batch.log, &head, runs + 1, stamp.now, stamp.seed)
        .map_err(|error| CommandError::Refused(error.to_string()))?;
    batch.transition(tenant, &stream, head.next_seq, std::slice::from_ref(&opening.tenant_line))?;
    write_head(batch.connection, tenant, &stream, &opening.tenant_head, runs + 1)?;
    batch.transition(tenant, &Stream::Run(run_id.clone()), 0, &opening.lines)?;
    let run = opening.run;
    insert_run(batch, &run)?;
    let over = run.seal.is_some();
    if !over {
        let (epoch, wake_at) = if owner.is_some() { (1, None) } else { (0, Some(stamp.now)) };
        let sql = include_str!("../../sql/sqlite/enqueue_run.sql");
        let (priority, agent) = (request.priority, &request.agent);
        let row = (tenant, run_id, owner, epoch, run.next_seq, run.head.hex(), wake_at, priority, agent);
        batch.connection.prepare_cached(sql).and_then(|mut insert| insert.execute(row)).map_err(unavailable)?;
    }
    if let Some(key) = &request.idempotency_key {
        let sql = include_str!("../../sql/sqlite/write_key.sql");
        let row = (tenant, key, admitted.digest.hex(), run_id);
        batch.connection.prepare_cached(sql).and_then(|mut insert| insert.execute(row)).map_err(unavailable)?;
    }
    let fence = owner.filter(|_| !over).map(|owner| Fence { owner: owner.to_owned(), epoch: 1 });
    Ok(Opened { run, fence, existing: false })
}

pub(super) fn agent_exists(connection: &Connection, tenant: &str, id: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM agents WHERE tenant_id = ?1 AND id = ?2)";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    statement.query_row((tenant, id), |row| row.get(0)).map_err(unavailable)
}

fn insert_run(batch: &mut Batch<'_>, run: &Run) -> Result<(), StoreError> {
    write_row(batch.connection, include_str!("../../sql/sqlite/insert_run.sql"), &projection::run_row(run))?;
    write_row(batch.connection, include_str!("../../sql/sqlite/insert_trace.sql"), &projection::trace_row(run))?;
    let seal = projection::seal_row(run);
    write_rows(batch, &RowChanges { seal, ..RowChanges::default() })
}

fn find_by_key(batch: &Batch<'_>, admitted: &Admitted, key: &str) -> Result<Option<Opened>, CommandError> {
    let tenant = &admitted.request.tenant;
    let sql = include_str!("../../sql/sqlite/read_key.sql");
    let mut statement = batch.connection.prepare_cached(sql).map_err(unavailable)?;
    let found: Option<(String, String)> =
        statement.query_row((tenant, key), |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(unavailable)?;
    let Some((digest, run_id)) = found else { return Ok(None) };
    if digest != admitted.digest.hex() {
        return Err(CommandError::KeyReused { key: key.to_owned(), run_id });
    }
    let missing = || StoreError::Corrupt {
        at: format!("idempotency_keys[key={key}]"),
        problem: format!("run `{run_id}` has no events"),
    };
    let run = read::load_run(batch.connection, batch.log, tenant, &run_id)?;
    if run.is_none() && retention::standing(batch.connection, tenant, &run_id)?.is_purged {
        return Err(CommandError::Purged(run_id));
    }
    let run = run.ok_or_else(missing)?;
    Ok(Some(Opened { run, fence: None, existing: true }))
}

pub(super) fn change_tenant(
    batch: &mut Batch<'_>,
    tenant: &str,
    change: &TenantChange,
    stamp: &Stamp,
) -> Result<(), CommandError> {
    let stream = Stream::Tenant(tenant.to_owned());
    let found = read_head(batch.connection, tenant, &stream)?;
    let (head, runs) = match (found, change) {
        (Some(_), TenantChange::Create) => return Err(CommandError::TenantExists(tenant.to_owned())),
        (None, TenantChange::Create) => (StreamHead::default(), 0),
        (Some(found), _) => found,
        (None, _) => return Err(CommandError::NoTenant(tenant.to_owned())),
    };
    let event = tenant_event(batch.log, tenant, change, &head, stamp)?;
    let at = rfc3339(event.head.last_at);
    let connection = batch.connection;
    match change {
        TenantChange::Create => {
            connection
                .execute("INSERT INTO tenants (id, created_at) VALUES (?1, ?2)", (tenant, at))
                .map_err(unavailable)?;
        }
        TenantChange::CreateAgent { id, name } => {
            if agent_exists(connection, tenant, id)? {
                return Err(CommandError::AgentExists(id.clone()));
            }
            let sql = "INSERT INTO agents (tenant_id, id, name, created_at) VALUES (?1, ?2, ?3, ?4)";
            connection.execute(sql, (tenant, id, name, at)).map_err(unavailable)?;
        }
        TenantChange::Erase { run_id, seq, field, index, .. } => {
            erase(batch, tenant, run_id, *seq, field, *index, &at)?;
        }
        TenantChange::PlaceHold { run_id, reason } => {
            retention::place_hold(connection, tenant, run_id, head.next_seq, reason, &at)?;
        }
        TenantChange::LiftHold { run_id, .. } => retention::lift_hold(connection, tenant, run_id, &at)?,
    }
    batch.transition(tenant, &stream, head.next_seq, std::slice::from_ref(&event.line))?;
    write_head(batch.connection, tenant, &stream, &event.head, runs)?;
    Ok(())
}

/// Destroys a value and its salt. The erasure record and the change of the row commit together.
fn erase(
    batch: &mut Batch<'_>,
    tenant: &str,
    run_id: &str,
    seq: u64,
    field: &str,
    index: Option<u32>,
    at: &str,
) -> Result<(), CommandError> {
    let no_value = || CommandError::NoValue { run_id: run_id.to_owned(), seq, field: field.to_owned() };
    let run = read::load_run(batch.connection, batch.log, tenant, run_id)?;
    let run = run.ok_or_else(|| CommandError::NoRun { tenant: tenant.to_owned(), run_id: run_id.to_owned() })?;
    if run.seal.is_none() {
        return Err(CommandError::RunOpen(run_id.to_owned()));
    }
    if retention::standing(batch.connection, tenant, run_id)?.is_archived {
        return Err(CommandError::Archived(run_id.to_owned()));
    }
    let stream = Stream::Run(run_id.to_owned());
    let transitions = read::stream(batch.connection, tenant, &stream.name())?;
    let row = transitions.iter().find(|row| row.holds(seq)).ok_or_else(no_value)?;
    let payloads = without_value(row, run_id, seq, field, index)?;
    let part = index.map_or(-1, i64::from);
    let sql =
        "INSERT INTO erasures (tenant_id, run_id, seq, field, part_index, erased_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    batch.connection.execute(sql, (tenant, run_id, seq, field, part, at)).map_err(unavailable)?;
    let sql = include_str!("../../sql/sqlite/erase_payload.sql");
    batch.connection.execute(sql, (row.first_leaf, payloads)).map_err(unavailable)?;
    // `runs` has the only copies of values outside the payloads: an erased value must not stay there.
    let copy = match field {
        "goal" => Some(include_str!("../../sql/sqlite/erase_goal.sql")),
        "plan" => Some(include_str!("../../sql/sqlite/erase_plan.sql")),
        _ => None,
    };
    if let Some(sql) = copy {
        batch.connection.execute(sql, (tenant, run_id)).map_err(unavailable)?;
    }
    Ok(())
}
