//! Openings and changes of tenants: whatever writes to a tenant's stream, under the lock of its head.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use runproof_engine::admission::{self, Admitted, Opening, StreamHead};
use runproof_engine::ports::{Fence, StoreError};
use runproof_engine::projection;
use runproof_engine::run::Run;
use runproof_proof::event::Stream;
use runproof_proof::hash::{Hash, leaf};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row as Answer};

use super::Shared;
use super::append::int;
use super::connect::{Fate, connection};
use super::session::{Columns, Failure, Param, begin, in_time};
use crate::{CommandError, Opened, Stamp};

/// Openings that need not wait for more.
const ENOUGH: usize = 8;
/// How long an opening is tried again while the database refuses for a reason that passes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What somebody is told.
type Reply = Result<Opened, CommandError>;

/// An opening that somebody waits for.
pub(super) struct Job {
    admitted: Admitted,
    owner: Option<String>,
    stamp: Stamp,
    reply: oneshot::Sender<Reply>,
}

/// An opening on its way, with what tells its end.
pub(super) fn job(admitted: Admitted, owner: Option<String>, stamp: Stamp) -> (Job, oneshot::Receiver<Reply>) {
    let (reply, answer) = oneshot::channel();
    (Job { admitted, owner, stamp, reply }, answer)
}

impl Job {
    fn end(self, result: Reply) {
        if self.reply.send(result).is_err() {
            // Whoever asked is gone; a run that was opened is there, and its idempotency key finds it.
        }
    }

    fn tenant(&self) -> &str {
        &self.admitted.request.tenant
    }
}

/// Works until the queue is closed.
pub(super) async fn lane(shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<Job>) {
    loop {
        let mut jobs = shared.turns.gather(&mut queue, ENOUGH).await;
        if jobs.is_empty() {
            return;
        }
        while !jobs.is_empty() {
            let later = repeated(&mut jobs);
            commit(&shared, jobs, BTreeSet::new()).await;
            jobs = later;
        }
    }
}

/// Takes out the jobs that have to see what another one of the batch does: the same run or idempotency key.
fn repeated(jobs: &mut Vec<Job>) -> Vec<Job> {
    let mut seen = BTreeSet::new();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for job in jobs.drain(..) {
        let request = &job.admitted.request;
        let keys = [("run", Some(&request.run_id)), ("key", request.idempotency_key.as_ref())];
        let keys: Vec<_> =
            keys.into_iter().filter_map(|(kind, key)| Some((request.tenant.clone(), kind, key?.clone()))).collect();
        let again = keys.iter().any(|key| seen.contains(key));
        seen.extend(keys);
        if again { later.push(job) } else { first.push(job) }
    }
    *jobs = first;
    later
}

/// Heads of runs as tries to open them left them, of which nobody knows what came.
type Sent = BTreeSet<Hash>;

/// Commits a batch and tells everybody. What is stored tells what came of a try whose answer was lost.
async fn commit(shared: &Arc<Shared>, jobs: Vec<Job>, mut sent: Sent) {
    let begun = Instant::now();
    loop {
        let mut sending = Sent::new();
        let (problem, again) = match attempt(shared, &jobs, &sent, &mut sending).await {
            Ok(answers) => {
                shared.committed(answers.iter().flatten().any(|opened| opened.run.seal.is_some()));
                for (job, answer) in jobs.into_iter().zip(answers) {
                    job.end(answer);
                }
                return;
            }
            Err(Problem::Store(StoreError::Unavailable(text))) => (StoreError::Unavailable(text), !sent.is_empty()),
            Err(Problem::Store(error)) => (error, false),
            Err(Problem::Failed(failure)) => match failure.fate() {
                Fate::Retry => (failure.unavailable(), true),
                Fate::Unknown => {
                    sent.append(&mut sending);
                    (failure.unavailable(), true)
                }
                Fate::Refused if jobs.len() > 1 => {
                    for job in jobs {
                        Box::pin(commit(shared, vec![job], sent.clone())).await;
                    }
                    return;
                }
                Fate::Refused => (failure.unavailable(), false),
            },
        };
        if !again || begun.elapsed() >= PATIENCE {
            let error = match problem {
                StoreError::Unavailable(text) if !sent.is_empty() => StoreError::OutcomeUnknown(text),
                error @ (StoreError::Unavailable(_)
                | StoreError::Conflict(_)
                | StoreError::Stale { .. }
                | StoreError::OutcomeUnknown(_)
                | StoreError::Corrupt { .. }) => error,
            };
            for job in jobs {
                job.end(Err(CommandError::Store(error.clone())));
            }
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

enum Problem {
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

/// One try. `sending` has its heads once they are on their way.
async fn attempt(shared: &Shared, jobs: &[Job], sent: &Sent, sending: &mut Sent) -> Result<Vec<Reply>, Problem> {
    let client = connection(&shared.pool).await.map_err(Problem::Store)?;
    let outcome = transaction(shared, &client, jobs, sent, sending).await;
    if outcome.is_err() && in_time(client.batch_execute("ROLLBACK")).await.is_err() {
        drop(deadpool_postgres::Object::take(client));
    }
    outcome
}

async fn transaction(
    shared: &Shared,
    client: &Client,
    jobs: &[Job],
    sent: &Sent,
    sending: &mut Sent,
) -> Result<Vec<Reply>, Problem> {
    let begin = begin(jobs.iter().map(Job::tenant));
    let asked = Asked::of(jobs);
    let params = asked.params();
    let facts = in_time(async {
        let (begun, facts) = tokio::join!(biased;
            client.batch_execute(&begin),
            client.query_typed(include_str!("../../sql/postgres/read_openings.sql"), &params)
        );
        begun?;
        facts
    })
    .await?;
    let mut heads = Heads::new();
    for (job, fact) in jobs.iter().zip(&facts) {
        if let Some(head) = read_head(fact, 7)? {
            heads.insert(job.tenant().to_owned(), head);
        }
    }
    let mut written = Written::default();
    let mut answers = Vec::with_capacity(jobs.len());
    for (job, fact) in jobs.iter().zip(&facts) {
        let has_run: bool = fact.try_get(1)?;
        if has_run && is_ours(client, job, sent).await? {
            let run_id = &job.admitted.request.run_id;
            answers.push(existing(shared, client, job, run_id, job.owner.clone()).await?);
            continue;
        }
        answers.push(match judge(shared, job, fact, &mut heads)? {
            Judged::Opened(opening) => Ok(written.add(job, *opening)),
            Judged::Answer(answer) => *answer,
            Judged::Existing(run_id) => existing(shared, client, job, &run_id, None).await?,
        });
    }
    written.heads = heads;
    sending.extend(written.runs.iter().map(|run| run.head));
    written.commit(client).await?;
    shared.count(jobs.len());
    Ok(answers)
}

/// Whether the run that is there was opened by an earlier try, whose answer was lost.
async fn is_ours(client: &Client, job: &Job, sent: &Sent) -> Result<bool, Problem> {
    if sent.is_empty() {
        return Ok(false);
    }
    let rows = in_time(super::claim::stream(client, job.tenant(), &job.admitted.request.run_id)).await?;
    let opened = rows.first().and_then(|first| first.events.lines().last());
    Ok(opened.is_some_and(|last| sent.contains(&leaf(last.as_bytes()))))
}

/// A run that is there already; with an owner, it is the one that an earlier try of this opening made.
async fn existing(
    shared: &Shared,
    client: &Client,
    job: &Job,
    run_id: &str,
    owner: Option<String>,
) -> Result<Reply, Problem> {
    let run = super::claim::load(client, &shared.log, job.tenant(), run_id).await.map_err(|problem| match problem {
        super::claim::Problem::Store(error) => Problem::Store(error),
        super::claim::Problem::Failed(failure) => Problem::Failed(failure),
    })?;
    let ours = run_id == job.admitted.request.run_id;
    Ok(run.map_or_else(
        || Err(no_events(job, run_id)),
        |run| {
            // If somebody took it meanwhile, the fence of its first epoch lets nothing pass.
            let fence = owner.filter(|_| run.seal.is_none()).map(|owner| Fence { owner, epoch: 1 });
            Ok(Opened { run, fence, existing: !ours })
        },
    ))
}

fn no_events(job: &Job, run_id: &str) -> CommandError {
    let key = job.admitted.request.idempotency_key.clone().unwrap_or_default();
    CommandError::Store(StoreError::Corrupt {
        at: format!("idempotency_keys[key={key}]"),
        problem: format!("run `{run_id}` has no events"),
    })
}

/// What the requests ask about, as arrays.
struct Asked<'a> {
    tenants: Vec<&'a str>,
    agents: Vec<&'a str>,
    runs: Vec<&'a str>,
    keys: Vec<Option<&'a str>>,
    owners: Vec<Option<&'a str>>,
}

impl<'a> Asked<'a> {
    fn of(jobs: &'a [Job]) -> Self {
        let request = |job: &'a Job| &job.admitted.request;
        Self {
            tenants: jobs.iter().map(|job| request(job).tenant.as_str()).collect(),
            agents: jobs.iter().map(|job| request(job).agent.as_str()).collect(),
            runs: jobs.iter().map(|job| request(job).run_id.as_str()).collect(),
            keys: jobs.iter().map(|job| request(job).idempotency_key.as_deref()).collect(),
            owners: jobs.iter().map(|job| job.owner.as_deref()).collect(),
        }
    }

    fn params(&self) -> [Param<'_>; 5] {
        [
            (&self.tenants, Type::TEXT_ARRAY),
            (&self.agents, Type::TEXT_ARRAY),
            (&self.runs, Type::TEXT_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.owners, Type::TEXT_ARRAY),
        ]
    }
}

/// Heads of tenants' streams, with the number of runs that each opened.
type Heads = BTreeMap<String, (StreamHead, u64)>;

/// Reads `next_seq`, `head`, `last_at` and `runs` of a row of `stream_heads`, from column `at` on; nothing where there is no
/// such row.
pub(super) fn read_head(row: &Answer, at: usize) -> Result<Option<(StreamHead, u64)>, StoreError> {
    let corrupt = || StoreError::Corrupt { at: "stream_heads".to_owned(), problem: "a row cannot be read".to_owned() };
    let number = |index| {
        let number = row.try_get::<_, Option<i64>>(index).map_err(|_| corrupt())?;
        number.map(|number| u64::try_from(number).map_err(|_| corrupt())).transpose()
    };
    let Some(next_seq) = number(at)? else { return Ok(None) };
    let head: String = row.try_get(at + 1).map_err(|_| corrupt())?;
    let head = Hash::from_hex(&head).ok_or_else(corrupt)?;
    let head = StreamHead { next_seq, head, last_at: number(at + 2)?.ok_or_else(corrupt)? };
    Ok(Some((head, number(at + 3)?.ok_or_else(corrupt)?)))
}

/// What becomes of an opening.
enum Judged {
    Opened(Box<Opening>),
    Answer(Box<Reply>),
    /// The idempotency key made this run.
    Existing(String),
}

fn judge(shared: &Shared, job: &Job, fact: &Answer, heads: &mut Heads) -> Result<Judged, Problem> {
    let request = &job.admitted.request;
    let refuse = |error| Ok(Judged::Answer(Box::new(Err(error))));
    let Some((head, runs)) = heads.get_mut(&request.tenant) else {
        return refuse(CommandError::NoTenant(request.tenant.clone()));
    };
    let (has_agent, has_run, has_lease): (bool, bool, bool) = (fact.try_get(0)?, fact.try_get(1)?, fact.try_get(4)?);
    let (is_kept, is_purged): (bool, bool) = (fact.try_get(5)?, fact.try_get(6)?);
    if let (Some(digest), Some(run_id)) = (fact.try_get::<_, Option<String>>(2)?, fact.try_get::<_, Option<String>>(3)?)
    {
        if digest == job.admitted.digest.hex() {
            if is_purged {
                return refuse(CommandError::Purged(run_id));
            }
            return Ok(Judged::Existing(run_id));
        }
        return refuse(CommandError::KeyReused { key: request.idempotency_key.clone().unwrap_or_default(), run_id });
    }
    if !has_agent {
        return refuse(CommandError::NoAgent { tenant: request.tenant.clone(), agent: request.agent.clone() });
    }
    if has_run || is_kept {
        return refuse(CommandError::Refused(format!("run `{}` exists already", request.run_id)));
    }
    if job.owner.is_some() && !has_lease {
        return refuse(CommandError::Store(super::claim::lapsed(job.owner.as_deref().unwrap_or_default())));
    }
    let Stamp { now, seed, .. } = &job.stamp;
    match admission::open(&job.admitted, &shared.log, head, *runs + 1, *now, *seed) {
        Ok(opening) => {
            (*head, *runs) = (opening.tenant_head.clone(), *runs + 1);
            Ok(Judged::Opened(Box::new(opening)))
        }
        Err(error) => refuse(CommandError::Refused(error.to_string())),
    }
}

/// Everything that a transaction of openings writes.
#[derive(Default)]
struct Written {
    runs: Vec<Run>,
    transitions: Transitions,
    queue: Queue,
    keys: [Vec<String>; 4],
    heads: Heads,
}

/// Rows of `transitions`, as arrays.
#[derive(Default)]
pub(super) struct Transitions {
    tenants: Vec<String>,
    streams: Vec<String>,
    seqs: Vec<i64>,
    counts: Vec<i64>,
    events: Vec<String>,
    payloads: Vec<String>,
}

impl Transitions {
    pub(super) fn add(&mut self, tenant: &str, stream: &Stream, seq: u64, lines: &[runproof_engine::draft::Line]) {
        let (events, payloads) = super::texts(lines);
        self.tenants.push(tenant.to_owned());
        self.streams.push(stream.name());
        self.seqs.push(int(seq));
        self.counts.push(int(lines.len() as u64));
        self.events.push(events);
        self.payloads.push(payloads);
    }

    pub(super) fn params(&self) -> [Param<'_>; 6] {
        [
            (&self.tenants, Type::TEXT_ARRAY),
            (&self.streams, Type::TEXT_ARRAY),
            (&self.seqs, Type::INT8_ARRAY),
            (&self.counts, Type::INT8_ARRAY),
            (&self.events, Type::TEXT_ARRAY),
            (&self.payloads, Type::TEXT_ARRAY),
        ]
    }
}

/// Rows of `run_queue`, as arrays.
#[derive(Default)]
struct Queue {
    tenants: Vec<String>,
    runs: Vec<String>,
    owners: Vec<Option<String>>,
    epochs: Vec<i64>,
    seqs: Vec<i64>,
    heads: Vec<String>,
    wake_ats: Vec<Option<i64>>,
    priorities: Vec<i64>,
    agents: Vec<String>,
}

impl Written {
    fn add(&mut self, job: &Job, opening: Opening) -> Opened {
        let request = &job.admitted.request;
        let (tenant, run_id) = (&request.tenant, &request.run_id);
        let tenant_seq = opening.tenant_head.next_seq - 1;
        let stream = Stream::Tenant(tenant.clone());
        self.transitions.add(tenant, &stream, tenant_seq, std::slice::from_ref(&opening.tenant_line));
        self.transitions.add(tenant, &Stream::Run(run_id.clone()), 0, &opening.lines);
        let run = opening.run;
        let over = run.seal.is_some();
        if !over {
            let owned = job.owner.is_some();
            self.queue.tenants.push(tenant.clone());
            self.queue.runs.push(run_id.clone());
            self.queue.owners.push(job.owner.clone());
            self.queue.epochs.push(i64::from(owned));
            self.queue.seqs.push(int(run.next_seq));
            self.queue.heads.push(run.head.hex());
            self.queue.wake_ats.push((!owned).then(|| int(job.stamp.now)));
            self.queue.priorities.push(i64::from(request.priority));
            self.queue.agents.push(request.agent.clone());
        }
        if let Some(key) = &request.idempotency_key {
            let row = [tenant.clone(), key.clone(), job.admitted.digest.hex(), run_id.clone()];
            for (column, value) in self.keys.iter_mut().zip(row) {
                column.push(value);
            }
        }
        self.runs.push(run.clone());
        let fence = job.owner.clone().filter(|_| !over).map(|owner| Fence { owner, epoch: 1 });
        Opened { run, fence, existing: false }
    }

    async fn commit(&self, client: &Client) -> Result<(), Problem> {
        let runs: Vec<_> = self.runs.iter().map(projection::run_row).collect();
        let traces: Vec<_> = self.runs.iter().map(projection::trace_row).collect();
        let seals: Vec<_> = self.runs.iter().filter_map(projection::seal_row).collect();
        let runs = Columns::of(super::RUN, &runs).map_err(Problem::Store)?;
        let traces = Columns::of(super::TRACE, &traces).map_err(Problem::Store)?;
        let has_seals = !seals.is_empty();
        let seals = Columns::of(super::SEAL, &seals).map_err(Problem::Store)?;
        let queue: [Param<'_>; 9] = [
            (&self.queue.tenants, Type::TEXT_ARRAY),
            (&self.queue.runs, Type::TEXT_ARRAY),
            (&self.queue.owners, Type::TEXT_ARRAY),
            (&self.queue.epochs, Type::INT8_ARRAY),
            (&self.queue.seqs, Type::INT8_ARRAY),
            (&self.queue.heads, Type::TEXT_ARRAY),
            (&self.queue.wake_ats, Type::INT8_ARRAY),
            (&self.queue.priorities, Type::INT8_ARRAY),
            (&self.queue.agents, Type::TEXT_ARRAY),
        ];
        let heads = HeadRows::of(&self.heads);
        let mut params = self.transitions.params().to_vec();
        params.extend(runs.params());
        params.extend(traces.params());
        params.extend(queue);
        params.extend(self.keys.each_ref().map(|column| -> Param<'_> { (column, Type::TEXT_ARRAY) }));
        params.extend(heads.params());
        let seals = seals.params();
        in_time(async {
            let (opened, sealed, ended) = tokio::join!(biased;
                some(client, !self.runs.is_empty(), include_str!("../../sql/postgres/open_runs.sql"), &params),
                some(client, has_seals, include_str!("../../sql/postgres/insert_seals.sql"), &seals),
                client.batch_execute("COMMIT")
            );
            opened?;
            sealed?;
            ended
        })
        .await?;
        Ok(())
    }
}

/// Sends a statement if it has something to do.
async fn some(client: &Client, any: bool, sql: &str, params: &[Param<'_>]) -> Result<u64, tokio_postgres::Error> {
    if any { client.execute_typed(sql, params).await } else { Ok(0) }
}

/// Rows of `stream_heads`, as arrays.
pub(super) struct HeadRows {
    tenants: Vec<String>,
    streams: Vec<String>,
    seqs: Vec<i64>,
    heads: Vec<String>,
    lasts: Vec<i64>,
    runs: Vec<i64>,
}

impl HeadRows {
    pub(super) fn of(heads: &Heads) -> Self {
        Self {
            tenants: heads.keys().cloned().collect(),
            streams: heads.keys().map(|tenant| Stream::Tenant(tenant.clone()).name()).collect(),
            seqs: heads.values().map(|(head, _)| int(head.next_seq)).collect(),
            heads: heads.values().map(|(head, _)| head.head.hex()).collect(),
            lasts: heads.values().map(|(head, _)| int(head.last_at)).collect(),
            runs: heads.values().map(|(_, runs)| int(*runs)).collect(),
        }
    }

    pub(super) fn params(&self) -> [Param<'_>; 6] {
        [
            (&self.tenants, Type::TEXT_ARRAY),
            (&self.streams, Type::TEXT_ARRAY),
            (&self.seqs, Type::INT8_ARRAY),
            (&self.heads, Type::TEXT_ARRAY),
            (&self.lasts, Type::INT8_ARRAY),
            (&self.runs, Type::INT8_ARRAY),
        ]
    }
}
