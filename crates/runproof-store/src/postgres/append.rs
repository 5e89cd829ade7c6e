//! Appends: lanes that take whatever is ready, one transaction each time, and answer after the commit.
//!
//! A batch is kept byte for byte until its fate is known. It is sent again after a lost reply: the heads let it pass only
//! if it did not, and what is stored at its place tells whether that was it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runproof_engine::ports::{Append, Claim, StoreError};
use runproof_engine::projection::{Row, RowChanges};
use runproof_engine::skill::{Guard, Write};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::Shared;
use super::connect::{Fate, connection};
use super::session::{Columns, Failure, Param, begin, begin_calls, in_time, read};

/// Appends that need not wait for more: about a third of what 64 runs at a time have under way.
const ENOUGH: usize = 24;
/// Most bytes of events and payloads in one transaction, unless one append alone has more.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long a batch is kept while the database cannot be reached. What it holds has happened: it is worth waiting.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pauses between tries, in milliseconds: they grow up to the last one.
const PAUSES: &[u64] = &[5, 20, 80, 250, 500, 1000];

/// Types of the columns of `aos_trace_steps`, in the order of the projection.
const STEP: &str = "ttitttitttttiiitttittt";
/// Types and names of the columns of `runs` that an append changes, after those of the key.
const RUN: (&str, &[&str]) = (
    "tttttittttiitt",
    &[
        "tenant_id",
        "id",
        "status",
        "plan_json",
        "plan_digest",
        "attempts",
        "wait_reason",
        "wait_ref",
        "wait_since",
        "termination_reason",
        "cost_microcents",
        "duration_us",
        "started_at",
        "completed_at",
    ],
);
/// The same of `aos_traces`, which is completed once.
const TRACE: (&str, &[&str]) = ("ttttt", &["tenant_id", "trace_id", "status", "completed_at", "metadata"]);

/// An append that somebody waits for.
pub(super) struct Job {
    append: Append,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// The queue that the lanes share.
pub(super) type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Job>>>;

/// An append on its way, with what tells its end.
pub(super) fn job(append: Append) -> (Job, oneshot::Receiver<Result<(), StoreError>>) {
    let (reply, answer) = oneshot::channel();
    (Job { append, reply }, answer)
}

impl Job {
    fn end(self, result: Result<(), StoreError>) {
        if self.reply.send(result).is_err() {
            // Whoever asked is gone; what was written stays written, and the next load finds it.
        }
    }

    fn bytes(&self) -> usize {
        let of = |line: &runproof_engine::draft::Line| line.bytes.len() + line.payload.as_ref().map_or(0, Vec::len);
        self.append.lines.iter().map(of).sum()
    }
}

/// Works until the queue is closed.
pub(super) async fn lane(shared: Arc<Shared>, queue: Queue) {
    loop {
        let (jobs, _turn) = {
            let mut queue = queue.lock().await;
            (shared.turns.gather(&mut queue, ENOUGH).await, shared.turns.begin())
        };
        if jobs.is_empty() {
            return;
        }
        let (alone, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| !job.append.writes.is_empty());
        for job in alone {
            // Guards of a skill's writes can fail: then nothing else may be taken back with them.
            let shared = Arc::clone(&shared);
            tokio::spawn(async move { commit(&shared, vec![job], false).await });
        }
        for batch in batches(jobs) {
            commit(&shared, batch, false).await;
        }
    }
}

/// Batches of bounded size in which no run comes twice.
fn batches(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut batches = Vec::new();
    let (mut batch, mut runs, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    for job in jobs {
        let key = (job.append.tenant.clone(), job.append.run_id.clone());
        if !batch.is_empty() && (bytes + job.bytes() > MAX_BYTES || runs.contains(&key)) {
            batches.push(std::mem::take(&mut batch));
            runs.clear();
            bytes = 0;
        }
        bytes += job.bytes();
        runs.insert(key);
        batch.push(job);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// Commits a batch, however often that takes, and tells everybody. `unsure`: it was sent before, and nobody knows what came
/// of it.
async fn commit(shared: &Arc<Shared>, jobs: Vec<Job>, mut unsure: bool) {
    let begun = Instant::now();
    let mut pauses = PAUSES.iter().copied();
    let failed = |problem, unsure| {
        if unsure { StoreError::OutcomeUnknown(problem) } else { StoreError::Unavailable(problem) }
    };
    loop {
        let problem = match attempt(shared, &jobs).await {
            Ok(passed) => return settle(shared, jobs, &passed, unsure).await,
            Err(Problem::Guard(error)) => {
                for job in jobs {
                    job.end(Err(error.clone()));
                }
                return;
            }
            Err(Problem::Connection(error)) => error.to_string(),
            Err(Problem::Failed(failure)) => match failure.fate() {
                Fate::Refused if jobs.len() > 1 => {
                    // One of them cannot be written: found by writing each alone.
                    for job in jobs {
                        Box::pin(commit(shared, vec![job], unsure)).await;
                    }
                    return;
                }
                Fate::Refused => {
                    let error = failed(failure.text(), unsure);
                    for job in jobs {
                        job.end(Err(error.clone()));
                    }
                    return;
                }
                Fate::Retry => failure.text(),
                Fate::Unknown => {
                    unsure = true;
                    failure.text()
                }
            },
        };
        if begun.elapsed() > PATIENCE {
            let error = failed(problem, unsure);
            for job in jobs {
                job.end(Err(error.clone()));
            }
            return;
        }
        let pause = pauses.next().unwrap_or(PAUSES[PAUSES.len() - 1]);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Tells everybody what became of a batch that is committed.
async fn settle(shared: &Arc<Shared>, jobs: Vec<Job>, passed: &BTreeSet<usize>, unsure: bool) {
    let mut sealed = false;
    for (number, job) in jobs.into_iter().enumerate() {
        let result = if passed.contains(&number) {
            Ok(())
        } else if unsure {
            // It was sent before, and nobody knows what came of it.
            was_written(shared, &job.append).await
        } else {
            Err(StoreError::Conflict(job.append.run_id.clone()))
        };
        sealed |= result.is_ok() && job.append.rows.seal.is_some();
        job.end(result);
    }
    shared.committed(sealed);
}

/// Why an attempt at a batch was not committed.
enum Problem {
    /// Nothing was sent.
    Connection(StoreError),
    /// A guard of a skill's write failed; the transaction was taken back.
    Guard(StoreError),
    /// The server or the network said so.
    Failed(Failure),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One transaction. Answers which jobs passed the fence.
async fn attempt(shared: &Shared, jobs: &[Job]) -> Result<BTreeSet<usize>, Problem> {
    let client = connection(&shared.pool).await.map_err(Problem::Connection)?;
    let outcome = transaction(shared, &client, jobs).await;
    let lost = matches!(&outcome, Err(Problem::Failed(failure)) if failure.fate() == Fate::Unknown);
    if lost {
        // Whatever is left of the transaction must not meet the next one.
        drop(deadpool_postgres::Object::take(client));
    } else if outcome.is_err() && in_time(client.batch_execute("ROLLBACK")).await.is_err() {
        drop(deadpool_postgres::Object::take(client));
    }
    outcome
}

async fn transaction(shared: &Shared, client: &Client, jobs: &[Job]) -> Result<BTreeSet<usize>, Problem> {
    let writes = jobs.iter().any(|job| !job.append.writes.is_empty());
    let tenants = jobs.iter().map(|job| job.append.tenant.as_str());
    let begin = if writes { begin(tenants) } else { begin_calls(tenants) };
    let (heads, rows) = (Heads::of(jobs), Rows::of(jobs).map_err(Problem::Connection)?);
    let mut params = heads.params();
    params.extend(rows.params());
    let sql = include_str!("../../sql/postgres/append.sql");
    let answer = in_time(async {
        let (begun, answer, ended) = tokio::join!(biased;
            client.batch_execute(&begin),
            client.query_typed_one(sql, &params),
            // What a skill writes comes after it.
            commit_unless(client, writes)
        );
        begun?;
        let answer = answer?;
        ended?;
        Ok(answer)
    })
    .await?;
    let numbers: Option<Vec<i64>> = answer.try_get(0).map_err(Failure::Said)?;
    let version: Option<i64> = answer.try_get(1).map_err(Failure::Said)?;
    let passed: BTreeSet<usize> =
        numbers.unwrap_or_default().into_iter().filter_map(|number| usize::try_from(number - 1).ok()).collect();
    if writes {
        for append in passed.iter().filter_map(|number| jobs.get(*number)).map(|job| &job.append) {
            write_values(client, append, version).await?;
        }
        in_time(client.batch_execute("COMMIT")).await?;
    }
    shared.count(jobs.len());
    Ok(passed)
}

async fn commit_unless(client: &Client, later: bool) -> Result<(), tokio_postgres::Error> {
    if later { Ok(()) } else { client.batch_execute("COMMIT").await }
}

/// The rows that are projected from what is appended, each with the number of its run in the batch.
struct Rows([(Columns, Vec<i64>); 4]);

impl Rows {
    fn of(jobs: &[Job]) -> Result<Self, StoreError> {
        fn rows<'a>(jobs: &'a [Job], of: impl Fn(&'a RowChanges) -> &'a [Row]) -> (Vec<&'a Row>, Vec<i64>) {
            (1_i64..)
                .zip(jobs)
                .flat_map(|(number, job)| of(&job.append.rows).iter().map(move |row| (row, number)))
                .unzip()
        }
        let (steps, step_numbers) = rows(jobs, |rows| &rows.steps);
        let (runs, run_numbers) = rows(jobs, |rows| rows.run.as_slice());
        let (traces, trace_numbers) = rows(jobs, |rows| rows.trace.as_slice());
        let (seals, seal_numbers) = rows(jobs, |rows| rows.seal.as_slice());
        Ok(Self([
            (Columns::of(STEP, steps)?, step_numbers),
            (Columns::picked(RUN.0, |name| RUN.1.contains(&name), runs)?, run_numbers),
            (Columns::picked(TRACE.0, |name| TRACE.1.contains(&name), traces)?, trace_numbers),
            (Columns::of(super::SEAL, seals)?, seal_numbers),
        ]))
    }

    fn params(&self) -> Vec<Param<'_>> {
        let mut params = Vec::new();
        for (columns, numbers) in &self.0 {
            params.extend(columns.params());
            params.push((numbers, Type::INT8_ARRAY));
        }
        params
    }
}

/// The arrays about the runs of a batch.
#[derive(Default)]
struct Heads<'a> {
    tenants: Vec<&'a str>,
    runs: Vec<&'a str>,
    owners: Vec<&'a str>,
    epochs: Vec<i64>,
    seqs: Vec<i64>,
    heads: Vec<String>,
    next_seqs: Vec<i64>,
    next_heads: Vec<String>,
    next_owners: Vec<Option<&'a str>>,
    wake_ats: Vec<Option<i64>>,
    over: Vec<bool>,
    counts: Vec<i64>,
    events: Vec<String>,
    payloads: Vec<String>,
}

pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What becomes of the claim: owner and time to wake.
fn claim_after(append: &Append) -> (Option<&str>, Option<i64>) {
    match append.claim {
        Claim::Keep => (Some(append.fence.owner.as_str()), None),
        Claim::Release(at) => (None, Some(int(at))),
        Claim::Park | Claim::End => (None, None),
    }
}

impl<'a> Heads<'a> {
    fn of(jobs: &'a [Job]) -> Self {
        let mut all = Self::default();
        for Job { append, .. } in jobs {
            let (owner, wake_at) = claim_after(append);
            let (events, payloads) = super::texts(&append.lines);
            all.tenants.push(&append.tenant);
            all.runs.push(&append.run_id);
            all.owners.push(&append.fence.owner);
            all.epochs.push(int(append.fence.epoch));
            all.seqs.push(int(append.expected_seq));
            all.heads.push(append.expected_head.hex());
            all.next_seqs.push(int(append.expected_seq + append.lines.len() as u64));
            all.next_heads.push(append.lines.last().map_or(append.expected_head, |line| line.leaf).hex());
            all.next_owners.push(owner);
            all.wake_ats.push(wake_at);
            all.over.push(append.claim == Claim::End);
            all.counts.push(append.lines.len() as i64);
            all.events.push(events);
            all.payloads.push(payloads);
        }
        all
    }

    fn params(&self) -> Vec<Param<'_>> {
        vec![
            (&self.tenants, Type::TEXT_ARRAY),
            (&self.runs, Type::TEXT_ARRAY),
            (&self.owners, Type::TEXT_ARRAY),
            (&self.epochs, Type::INT8_ARRAY),
            (&self.seqs, Type::INT8_ARRAY),
            (&self.heads, Type::TEXT_ARRAY),
            (&self.next_seqs, Type::INT8_ARRAY),
            (&self.next_heads, Type::TEXT_ARRAY),
            (&self.next_owners, Type::TEXT_ARRAY),
            (&self.wake_ats, Type::INT8_ARRAY),
            (&self.over, Type::BOOL_ARRAY),
            (&self.counts, Type::INT8_ARRAY),
            (&self.events, Type::TEXT_ARRAY),
            (&self.payloads, Type::TEXT_ARRAY),
        ]
    }
}

/// Applies the writes of a skill under their guards. The version is the id of the transition that writes.
async fn write_values(client: &Client, append: &Append, version: Option<i64>) -> Result<(), Problem> {
    for write in &append.writes {
        let changed = write_value(client, &append.tenant, version.unwrap_or(0), write).await?;
        let (key, guard) = match write {
            Write::Put { key, guard, .. } | Write::Delete { key, guard } => (key, *guard),
            Write::DeleteExpired { .. } => continue,
        };
        let held = match (write, guard) {
            (_, Guard::Any) => true,
            // Nothing was there to delete: that was the guard.
            (Write::Delete { .. }, Guard::Absent) => changed == 0,
            (_, Guard::Absent | Guard::Version(_)) => changed == 1,
        };
        if !held {
            return Err(Problem::Guard(StoreError::Stale { key: key.clone() }));
        }
    }
    Ok(())
}

async fn write_value(client: &Client, tenant: &str, version: i64, write: &Write) -> Result<u64, Failure> {
    let (put, create) =
        (include_str!("../../sql/postgres/put_value.sql"), include_str!("../../sql/postgres/create_value.sql"));
    match write {
        Write::Put { key, value, expires_at, guard } => {
            let (value, expires_at) = (String::from_utf8_lossy(value), expires_at.map(int));
            let value = value.as_ref();
            let mut params: Vec<Param<'_>> = vec![
                (&tenant, Type::TEXT),
                (key, Type::TEXT),
                (&value, Type::TEXT),
                (&version, Type::INT8),
                (&expires_at, Type::INT8),
            ];
            let stored;
            let sql = match guard {
                Guard::Any => put,
                Guard::Absent => create,
                Guard::Version(version) => {
                    stored = int(*version);
                    params.push((&stored, Type::INT8));
                    include_str!("../../sql/postgres/replace_value.sql")
                }
            };
            in_time(client.execute_typed(sql, &params)).await
        }
        Write::Delete { key, guard } => {
            let version = match guard {
                Guard::Version(version) => Some(int(*version)),
                Guard::Any | Guard::Absent => None,
            };
            let params: [Param<'_>; 3] = [(&tenant, Type::TEXT), (key, Type::TEXT), (&version, Type::INT8)];
            in_time(client.execute_typed(include_str!("../../sql/postgres/delete_value.sql"), &params)).await
        }
        Write::DeleteExpired { until } => {
            let (until, most) = (int(*until), int(Write::MOST_EXPIRED));
            let params: [Param<'_>; 3] = [(&tenant, Type::TEXT), (&until, Type::INT8), (&most, Type::INT8)];
            in_time(client.execute_typed(include_str!("../../sql/postgres/delete_expired.sql"), &params)).await
        }
    }
}

/// Whether an append that did not pass is what is stored at its place.
async fn was_written(shared: &Shared, append: &Append) -> Result<(), StoreError> {
    let unknown = |text: String| StoreError::OutcomeUnknown(text);
    let client = connection(&shared.pool).await.map_err(|error| unknown(error.to_string()))?;
    let seq = int(append.expected_seq);
    let params: [Param<'_>; 3] = [(&append.tenant, Type::TEXT), (&append.run_id, Type::TEXT), (&seq, Type::INT8)];
    let sql = include_str!("../../sql/postgres/read_written.sql");
    let rows = read(&client, &[&append.tenant], sql, &params).await.map_err(|failure| unknown(failure.text()))?;
    let said = |error: tokio_postgres::Error| unknown(super::connect::text(&error));
    let Some(row) = rows.first() else { return Err(StoreError::Conflict(append.run_id.clone())) };
    let (events, _) = super::texts(&append.lines);
    let same = if append.lines.is_empty() {
        let (owner, wake_at) = claim_after(append);
        let found: (Option<String>, Option<i64>) = (row.try_get(1).map_err(said)?, row.try_get(5).map_err(said)?);
        (found.0.as_deref(), found.1) == (owner, wake_at)
    } else {
        row.try_get::<_, Option<String>>(0).map_err(said)?.is_some_and(|stored| stored == events)
    };
    if same { Ok(()) } else { Err(StoreError::Conflict(append.run_id.clone())) }
}
