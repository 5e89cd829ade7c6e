//! Claims and leases: who may work on what, until when.

use std::collections::BTreeMap;

use runproof_engine::ports::{Claimed, Claims, Fence, StoreError, Unreadable};
use runproof_engine::run::{Run, RunStatus};
use runproof_proof::event::FORMAT_LEVEL;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::Shared;
use super::append::int;
use super::connect::{Fate, connection};
use super::session::{Failure, Param, begin, in_time, read};
use crate::{TransitionRow, claimed, fold};

/// How long a run that cannot be read here is left to others, in microseconds.
pub(super) const LEFT_FOR: u64 = 60_000_000;

/// The lease of this process is over.
pub(super) fn lapsed(worker: &str) -> StoreError {
    StoreError::Unavailable(format!("the lease of worker `{worker}` has lapsed, or it never had one"))
}

/// Why something was not done.
pub(super) enum Problem {
    Store(StoreError),
    Failed(Failure),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(Failure::Said(error))
    }
}

impl From<Problem> for StoreError {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Store(error) => error,
            Problem::Failed(failure) => failure.unavailable(),
        }
    }
}

/// Takes runs that are due.
pub(super) async fn claim(shared: &Shared, owner: &str, now: u64, limit: usize) -> Result<Claims, StoreError> {
    if limit == 0 {
        return Ok(Claims::default());
    }
    let client = connection(&shared.pool).await?;
    let mut taken = Vec::new();
    if !shared.held.is_sure() {
        // The answer to an earlier claim was lost: what this worker has and nobody works on is what it brought.
        taken = owned(&client, owner).await?;
        taken.retain(|Taken { tenant, run_id, epoch }| !shared.held.has(owner, tenant, run_id, *epoch));
        taken.truncate(limit);
    }
    if taken.is_empty() {
        taken = match due(shared, &client, owner, now, limit).await {
            Ok(taken) => taken,
            Err(failure) if failure.code() == Some("RP001") => return Err(lapsed(owner)),
            Err(failure) => {
                if failure.fate() == Fate::Unknown {
                    shared.held.doubt();
                    drop(deadpool_postgres::Object::take(client));
                }
                return Err(failure.unavailable());
            }
        };
    }
    if let (Ok(mut cursor), Some(Taken { tenant, .. })) = (shared.cursor.lock(), taken.last()) {
        cursor.clone_from(tenant);
    }
    shared.count(taken.len());
    load_claims(shared, &client, owner, now, taken).await
}

/// A run that was taken and is still to be read.
struct Taken {
    tenant: String,
    run_id: String,
    epoch: u64,
}

impl Taken {
    fn read(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        let epoch: i64 = row.try_get(2)?;
        Ok(Self { tenant: row.try_get(0)?, run_id: row.try_get(1)?, epoch: u64::try_from(epoch).unwrap_or(0) })
    }
}

/// Takes runs that are due and that nobody holds.
async fn due(shared: &Shared, client: &Client, owner: &str, now: u64, limit: usize) -> Result<Vec<Taken>, Failure> {
    let after = shared.cursor.lock().map(|cursor| cursor.clone()).unwrap_or_default();
    let (at, most, format) = (int(now), i32::try_from(limit).unwrap_or(i32::MAX), level());
    let params: [Param<'_>; 5] =
        [(&owner, Type::TEXT), (&at, Type::INT8), (&most, Type::INT4), (&format, Type::INT4), (&after, Type::TEXT)];
    let rows = in_time(client.query_typed(include_str!("../../sql/postgres/claim_due.sql"), &params)).await?;
    Ok(rows.iter().map(Taken::read).collect::<Result<_, _>>()?)
}

/// Every claim of a worker.
async fn owned(client: &Client, owner: &str) -> Result<Vec<Taken>, StoreError> {
    let params: [Param<'_>; 1] = [(&owner, Type::TEXT)];
    let rows = in_time(client.query_typed(include_str!("../../sql/postgres/read_owned.sql"), &params)).await;
    let rows = rows.map_err(|failure| failure.unavailable())?;
    rows.iter().map(Taken::read).collect::<Result<_, _>>().map_err(|error| super::connect::unavailable(&error))
}

fn level() -> i32 {
    i32::try_from(FORMAT_LEVEL).unwrap_or(i32::MAX)
}

/// Reads the runs that were taken. What cannot be read is given back for a while.
///
/// # Errors
/// Nobody works on what was taken; a later claim of this worker finds it.
async fn load_claims(
    shared: &Shared,
    client: &Client,
    owner: &str,
    now: u64,
    taken: Vec<Taken>,
) -> Result<Claims, StoreError> {
    let loaded = load_taken(shared, client, owner, now, taken).await;
    match &loaded {
        Ok(claims) => {
            for Claimed { run, fence } in &claims.taken {
                shared.held.add(owner, &run.tenant, &run.id, fence.epoch);
            }
        }
        Err(_) => shared.held.doubt(),
    }
    loaded
}

async fn load_taken(
    shared: &Shared,
    client: &Client,
    owner: &str,
    now: u64,
    taken: Vec<Taken>,
) -> Result<Claims, StoreError> {
    let mut claims = Claims::default();
    if taken.is_empty() {
        return Ok(claims);
    }
    let keys: Vec<(&str, &str)> = taken.iter().map(|taken| (taken.tenant.as_str(), taken.run_id.as_str())).collect();
    let begin = begin(keys.iter().map(|(tenant, _)| *tenant));
    let mut streams = in_time(async {
        let (begun, streams, ended) =
            tokio::join!(biased;client.batch_execute(&begin), transitions(client, &keys), client.batch_execute("COMMIT"));
        begun?;
        let streams = streams?;
        ended?;
        Ok(streams)
    })
    .await
    .map_err(|failure| failure.unavailable())?;
    for Taken { tenant, run_id, epoch } in taken {
        let rows = streams.remove(&(tenant.clone(), run_id.clone())).unwrap_or_default();
        let folded = fold(&shared.log, &tenant, &run_id, &rows).and_then(|run| run.ok_or_else(|| no_events(&run_id)));
        match folded.and_then(|run| newest(run, epoch)) {
            Ok(run) => claims.taken.push(claimed(run, owner, epoch)),
            // Between the claim and the look the lease lapsed, and somebody else went on with the run.
            Err(_) if !still_has(client, owner, &tenant, &run_id, epoch).await? => {}
            Err(problem) => {
                let fence = Fence { owner: owner.to_owned(), epoch };
                give_back(shared, &tenant, &run_id, &fence, now.saturating_add(LEFT_FOR)).await?;
                claims.unreadable.push(Unreadable { tenant, run_id, problem });
            }
        }
    }
    Ok(claims)
}

/// The run, if no event of it was written under this claim's epoch or a later one.
fn newest(run: Run, epoch: u64) -> Result<Run, StoreError> {
    if run.epoch < epoch && !matches!(run.status(), RunStatus::Ended(_)) {
        return Ok(run);
    }
    let problem = format!("claimed with epoch {epoch}; the run is {} since epoch {}", run.status().word(), run.epoch);
    Err(StoreError::Corrupt { at: format!("run_queue[run_id={}]", run.id), problem })
}

/// Whether a worker has this claim and no newer one took its place.
async fn still_has(client: &Client, owner: &str, tenant: &str, run_id: &str, epoch: u64) -> Result<bool, StoreError> {
    let held = owned(client, owner).await?;
    Ok(held.iter().any(|held| held.tenant == tenant && held.run_id == run_id && held.epoch == epoch))
}

fn no_events(run_id: &str) -> StoreError {
    StoreError::Corrupt { at: format!("run_queue[run_id={run_id}]"), problem: "the run has no events".to_owned() }
}

/// Transitions by tenant and run.
type Streams = BTreeMap<(String, String), Vec<TransitionRow>>;

/// Everything in the streams of some runs, inside a transaction that may see their tenants.
async fn transitions(client: &Client, keys: &[(&str, &str)]) -> Result<Streams, tokio_postgres::Error> {
    let tenants: Vec<&str> = keys.iter().map(|(tenant, _)| *tenant).collect();
    let names: Vec<String> = keys.iter().map(|(_, run_id)| format!("run/{run_id}")).collect();
    let params: [Param<'_>; 2] = [(&tenants, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)];
    let rows = client.query_typed(include_str!("../../sql/postgres/read_runs.sql"), &params).await?;
    let mut streams = Streams::new();
    for row in rows {
        let (tenant, stream): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let number = |index| -> Result<u64, tokio_postgres::Error> {
            Ok(u64::try_from(row.try_get::<_, i64>(index)?).unwrap_or(u64::MAX))
        };
        let run_id = stream.strip_prefix("run/").unwrap_or_default().to_owned();
        let transition = TransitionRow {
            first_leaf: None,
            arrival: None,
            tenant: tenant.clone(),
            stream,
            first_seq: number(2)?,
            event_count: number(3)?,
            events: row.try_get(4)?,
            payloads: row.try_get(5)?,
        };
        streams.entry((tenant, run_id)).or_default().push(transition);
    }
    Ok(streams)
}

/// The run as stored, inside a transaction that may see its tenant.
pub(super) async fn load(client: &Client, log: &str, tenant: &str, run_id: &str) -> Result<Option<Run>, Problem> {
    let rows = in_time(stream(client, tenant, run_id)).await?;
    if rows.is_empty()
        && let Some(archive) = in_time(super::retention::archive(client, tenant, run_id)).await??
    {
        return Ok(Some(crate::retention::run_of(log, tenant, run_id, &archive.bundle)?));
    }
    Ok(fold(log, tenant, run_id, &rows)?)
}

/// Everything in the stream of a run, inside a transaction that may see its tenant.
pub(super) async fn stream(
    client: &Client,
    tenant: &str,
    run_id: &str,
) -> Result<Vec<TransitionRow>, tokio_postgres::Error> {
    let mut streams = transitions(client, &[(tenant, run_id)]).await?;
    Ok(streams.remove(&(tenant.to_owned(), run_id.to_owned())).unwrap_or_default())
}

/// Takes one run that nobody holds, due or not.
pub(super) async fn claim_run(
    shared: &Shared,
    owner: &str,
    tenant: &str,
    run_id: &str,
) -> Result<Option<Claimed>, StoreError> {
    let client = connection(&shared.pool).await?;
    let format = level();
    let params: [Param<'_>; 4] =
        [(&owner, Type::TEXT), (&tenant, Type::TEXT), (&run_id, Type::TEXT), (&format, Type::INT4)];
    let sql = include_str!("../../sql/postgres/claim_run.sql");
    let rows = read(&client, &[tenant], sql, &params).await.map_err(|failure| {
        if failure.fate() == Fate::Unknown {
            shared.held.doubt();
        }
        failure.unavailable()
    })?;
    let said = |error: tokio_postgres::Error| super::connect::unavailable(&error);
    let Some(row) = rows.first() else { return Ok(None) };
    if !row.try_get::<_, bool>(1).map_err(said)? {
        return Err(lapsed(owner));
    }
    let Some(epoch) = row.try_get::<_, Option<i64>>(0).map_err(said)? else { return Ok(None) };
    shared.count(1);
    let epoch = u64::try_from(epoch).unwrap_or(0);
    let taken = vec![Taken { tenant: tenant.to_owned(), run_id: run_id.to_owned(), epoch }];
    // What cannot be read is given back as it was found: nobody waits for its time.
    let mut claims = load_claims(shared, &client, owner, 0, taken).await?;
    match claims.unreadable.pop() {
        Some(unreadable) => Err(unreadable.problem),
        None => Ok(claims.taken.pop()),
    }
}

/// Gives back a claim without writing to the run.
pub(super) async fn give_back(
    shared: &Shared,
    tenant: &str,
    run_id: &str,
    fence: &Fence,
    at: u64,
) -> Result<(), StoreError> {
    let (epoch, at) = (int(fence.epoch), int(at));
    let params: [Param<'_>; 5] = [
        (&tenant, Type::TEXT),
        (&run_id, Type::TEXT),
        (&fence.owner, Type::TEXT),
        (&epoch, Type::INT8),
        (&at, Type::INT8),
    ];
    shared.held.remove(tenant, run_id, fence.epoch);
    let given = execute(shared, &[tenant], include_str!("../../sql/postgres/give_back.sql"), &params).await;
    if given.is_err() {
        shared.held.doubt(); // perhaps it is still claimed, and nobody here works on it
    }
    given.map(drop)
}

/// One statement that writes, in a transaction of its own.
pub(super) async fn execute(
    shared: &Shared,
    tenants: &[&str],
    sql: &str,
    params: &[Param<'_>],
) -> Result<u64, StoreError> {
    let client = connection(&shared.pool).await?;
    let begin = begin(tenants.iter().copied());
    let done = in_time(async {
        let (begun, changed, ended) = tokio::join!(biased;
            client.batch_execute(&begin),
            client.execute_typed(sql, params),
            client.batch_execute("COMMIT")
        );
        begun?;
        let changed = changed?;
        ended?;
        Ok(changed)
    })
    .await;
    done.map_err(|failure| match failure.fate() {
        super::connect::Fate::Unknown => {
            drop(deadpool_postgres::Object::take(client));
            StoreError::OutcomeUnknown(failure.text())
        }
        super::connect::Fate::Retry | super::connect::Fate::Refused => failure.unavailable(),
    })
}

/// One statement that reads, in a transaction of its own.
pub(super) async fn rows(
    shared: &Shared,
    tenants: &[&str],
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<tokio_postgres::Row>, StoreError> {
    let client = connection(&shared.pool).await?;
    read(&client, tenants, sql, params).await.map_err(|failure| failure.unavailable())
}
