//! Changes of a tenant: each is an event of its stream and the rows that follow, in one transaction.

use deadpool_postgres::Object;
use runproof_engine::admission::StreamHead;
use runproof_engine::ports::StoreError;
use runproof_engine::projection::rfc3339;
use runproof_proof::event::Stream;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::append::int;
use super::connect::{Fate, connection};
use super::open::{HeadRows, Transitions, read_head};
use super::session::{Failure, Param, begin, in_time};
use super::{Shared, retention};
use crate::{CommandError, Retention, Stamp, TenantChange, tenant_event, without_value};

/// Why a change of a tenant was taken back.
pub(super) enum Problem {
    Command(CommandError),
    Failed(Failure),
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Command(error.into())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Head of a tenant's stream, with the number of runs that it opened.
pub(super) type Head = (StreamHead, u64);

/// Changes a tenant.
pub(super) async fn change(
    shared: &Shared,
    tenant: &str,
    change: &TenantChange,
    stamp: &Stamp,
) -> Result<(), CommandError> {
    let client = connection(&shared.pool).await?;
    let outcome = transaction(shared, &client, tenant, change, stamp).await;
    end(shared, client, outcome).await
}

/// Makes one step of a run towards its tombstone.
pub(super) async fn retain(shared: &Shared, tenant: &str, step: &Retention, stamp: &Stamp) -> Result<(), CommandError> {
    let client = connection(&shared.pool).await?;
    let outcome = async {
        in_time(client.batch_execute(&begin([tenant]))).await?;
        let head = locked(&client, tenant).await?;
        retention::step(&shared.log, &client, tenant, head, step, stamp).await
    };
    let outcome = outcome.await;
    end(shared, client, outcome).await
}

/// What a transaction comes to; one that failed is taken back.
async fn end(shared: &Shared, client: Object, outcome: Result<(), Problem>) -> Result<(), CommandError> {
    match outcome {
        Ok(()) => {
            shared.count(1);
            shared.committed(false);
            Ok(())
        }
        Err(problem) => {
            if in_time(client.batch_execute("ROLLBACK")).await.is_err() {
                drop(Object::take(client));
            }
            Err(match problem {
                Problem::Command(error) => error,
                Problem::Failed(failure) if failure.fate() == Fate::Unknown => {
                    CommandError::Store(StoreError::OutcomeUnknown(failure.text()))
                }
                Problem::Failed(failure) => CommandError::Store(failure.unavailable()),
            })
        }
    }
}

async fn transaction(
    shared: &Shared,
    client: &Client,
    tenant: &str,
    change: &TenantChange,
    stamp: &Stamp,
) -> Result<(), Problem> {
    in_time(client.batch_execute(&begin([tenant]))).await?;
    let stream = Stream::Tenant(tenant.to_owned());
    let head = lock(client, tenant, &stream, change).await?;
    let event = tenant_event(&shared.log, tenant, change, &head.0, stamp)?;
    let at = rfc3339(event.head.last_at);
    match change {
        TenantChange::Create => {
            let params: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&at, Type::TEXT)];
            in_time(client.execute_typed(include_str!("../../sql/postgres/insert_tenant.sql"), &params)).await?;
        }
        TenantChange::CreateAgent { id, name } => {
            let params: [Param<'_>; 4] =
                [(&tenant, Type::TEXT), (id, Type::TEXT), (name, Type::TEXT), (&at, Type::TEXT)];
            let sql = include_str!("../../sql/postgres/insert_agent.sql");
            if in_time(client.execute_typed(sql, &params)).await? == 0 {
                return Err(CommandError::AgentExists(id.clone()).into());
            }
        }
        TenantChange::Erase { run_id, seq, field, index, .. } => {
            erase(shared, client, tenant, run_id, (*seq, field, *index), &at).await?;
        }
        TenantChange::PlaceHold { run_id, reason } => {
            retention::place_hold(client, tenant, run_id, head.0.next_seq, reason, &at).await?;
        }
        TenantChange::LiftHold { run_id, .. } => retention::lift_hold(client, tenant, run_id, &at).await?,
    }
    let mut transitions = Transitions::default();
    transitions.add(tenant, &stream, head.0.next_seq, std::slice::from_ref(&event.line));
    let rows = HeadRows::of(&[(tenant.to_owned(), (event.head, head.1))].into());
    let (transitions, rows) = (transitions.params(), rows.params());
    in_time(async {
        let (written, moved, ended) = tokio::join!(biased;
            client.execute_typed(include_str!("../../sql/postgres/insert_transitions.sql"), &transitions),
            client.execute_typed(include_str!("../../sql/postgres/write_heads.sql"), &rows),
            client.batch_execute("COMMIT")
        );
        written?;
        moved?;
        ended
    })
    .await?;
    Ok(())
}

/// The head of the tenant's stream, locked; a new tenant gets one.
async fn lock(client: &Client, tenant: &str, stream: &Stream, change: &TenantChange) -> Result<Head, Problem> {
    if *change == TenantChange::Create {
        let (name, head) = (stream.name(), StreamHead::default());
        let (seq, hash, last_at, runs) = (int(head.next_seq), head.head.hex(), int(head.last_at), 0i64);
        let params: [Param<'_>; 6] = [
            (&tenant, Type::TEXT),
            (&name, Type::TEXT),
            (&seq, Type::INT8),
            (&hash, Type::TEXT),
            (&last_at, Type::INT8),
            (&runs, Type::INT8),
        ];
        let sql = include_str!("../../sql/postgres/insert_head.sql");
        return match in_time(client.execute_typed(sql, &params)).await? {
            0 => Err(CommandError::TenantExists(tenant.to_owned()).into()),
            _ => Ok((head, 0)),
        };
    }
    locked(client, tenant).await
}

/// The head of the stream of a tenant that is there, locked.
async fn locked(client: &Client, tenant: &str) -> Result<Head, Problem> {
    let sql = include_str!("../../sql/postgres/lock_head.sql");
    let row = in_time(client.query_typed_opt(sql, &[(&tenant, Type::TEXT)])).await?;
    let head = row.map(|row| read_head(&row, 0)).transpose()?.flatten();
    head.ok_or_else(|| CommandError::NoTenant(tenant.to_owned()).into())
}

/// Destroys a value and its salt. The erasure record and the change of the row commit together.
async fn erase(
    shared: &Shared,
    client: &Client,
    tenant: &str,
    run_id: &str,
    (seq, field, index): (u64, &str, Option<u32>),
    at: &str,
) -> Result<(), Problem> {
    let no_run = || CommandError::NoRun { tenant: tenant.to_owned(), run_id: run_id.to_owned() };
    let no_value = || CommandError::NoValue { run_id: run_id.to_owned(), seq, field: field.to_owned() };
    let rows = in_time(super::claim::stream(client, tenant, run_id)).await?;
    if rows.is_empty() && retention::standing(client, tenant, run_id).await?.is_archived {
        return Err(CommandError::Archived(run_id.to_owned()).into());
    }
    let run = crate::fold(&shared.log, tenant, run_id, &rows)?.ok_or_else(no_run)?;
    if run.seal.is_none() {
        return Err(CommandError::RunOpen(run_id.to_owned()).into());
    }
    if retention::standing(client, tenant, run_id).await?.is_archived {
        return Err(CommandError::Archived(run_id.to_owned()).into());
    }
    let row = rows.iter().find(|row| row.holds(seq)).ok_or_else(no_value)?;
    let payloads = without_value(row, run_id, seq, field, index)?;
    let (number, part, first) = (int(seq), index.map_or(-1, i64::from), int(row.first_seq));
    let record: [Param<'_>; 6] = [
        (&tenant, Type::TEXT),
        (&run_id, Type::TEXT),
        (&number, Type::INT8),
        (&field, Type::TEXT),
        (&part, Type::INT8),
        (&at, Type::TEXT),
    ];
    in_time(client.execute_typed(include_str!("../../sql/postgres/insert_erasure.sql"), &record)).await?;
    let place: [Param<'_>; 4] =
        [(&tenant, Type::TEXT), (&row.stream, Type::TEXT), (&first, Type::INT8), (&payloads, Type::TEXT)];
    in_time(client.execute_typed(include_str!("../../sql/postgres/erase_payload.sql"), &place)).await?;
    // `runs` has the only copies of values outside the payloads: an erased value must not stay there.
    let copy = match field {
        "goal" => include_str!("../../sql/postgres/erase_goal.sql"),
        "plan" => include_str!("../../sql/postgres/erase_plan.sql"),
        _ => return Ok(()),
    };
    let run: [Param<'_>; 2] = [(&tenant, Type::TEXT), (&run_id, Type::TEXT)];
    in_time(client.execute_typed(copy, &run)).await?;
    Ok(())
}
