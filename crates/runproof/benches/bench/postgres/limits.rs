//! The limit for the load on Postgres, measured with what it wrote: the same rows in a plain loop.
//!
//! One connection, and one plain statement for each table and batch, prepared once, all of them sent together. The schema
//! with its triggers is that of the store. Nothing is decided, hashed, signed or fenced, no run is read, nobody waits for
//! an answer but the loop, and no row policy holds. Places and tiles are written as the sequencer does: in a transaction of
//! their own, now and then, with another one for a checkpoint.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use runproof_proof::hash::leaf;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::Outcome;
use crate::limits::Limit;

/// One value of a row.
#[derive(Clone)]
enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

/// Values of one column.
enum Column {
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Vec<u8>>),
}

/// What a statement does with its rows.
#[derive(Clone, Copy)]
enum Verb {
    Insert,
    /// The first two columns are the key.
    Update,
    Delete,
}

/// A statement over arrays. A column that begins with `#` is a number, with `@` bytes; others are text.
struct Shape(Verb, &'static str, &'static str);

/// In the order in which a transaction carries them out.
const SHAPES: &[Shape] = &[
    Shape(Verb::Insert, "transitions", "tenant_id stream #first_seq #event_count events payloads"),
    Shape(
        Verb::Insert,
        "runs",
        "tenant_id id #run_no agent_id origin_system_id actor_type actor_id goal status planner planner_version plan_json \
         plan_digest policy_set parent_run_id retry_of #is_synthetic synthetic_scenario_id trace_id #attempts wait_reason \
         wait_ref wait_since termination_reason #cost_microcents #duration_us created_at started_at completed_at",
    ),
    Shape(
        Verb::Insert,
        "aos_traces",
        "tenant_id trace_id run_id agent_id status schema_version started_at completed_at metadata #is_synthetic \
         synthetic_scenario_id created_at archived_at",
    ),
    Shape(Verb::Insert, "run_queue", "tenant_id run_id owner #epoch #next_seq head #wake_at #priority agent_id"),
    Shape(Verb::Update, "stream_heads", "tenant_id stream #next_seq head #last_at #runs"),
    Shape(Verb::Update, "run_queue", "tenant_id run_id #next_seq head"),
    Shape(Verb::Delete, "run_queue", "tenant_id run_id"),
    Shape(
        Verb::Insert,
        "aos_trace_steps",
        "tenant_id trace_id #step_index run_id step_id item #plan_index skill_id skill_name status outcome_category \
         outcome_code #cost_microcents #duration_us #retry_count idempotency_key source level #is_synthetic \
         synthetic_scenario_id timestamp archived_at",
    ),
    Shape(
        Verb::Update,
        "runs",
        "tenant_id id status #attempts termination_reason #cost_microcents #duration_us started_at completed_at",
    ),
    Shape(Verb::Update, "aos_traces", "tenant_id trace_id status completed_at metadata"),
    Shape(
        Verb::Insert,
        "run_seals",
        "tenant_id run_id status reason #event_count #step_count run_root seal_hash #attempts #cost_microcents \
         #duration_us #resolved #unknown sealed_at",
    ),
    Shape(Verb::Insert, "leaves", "#first_leaf tenant_id stream #first_seq #transition_id"),
    Shape(Verb::Insert, "ledger_tiles", "#level #tile @hashes"),
    Shape(Verb::Update, "ledger_head", "#only #size #settled_id"),
    Shape(Verb::Insert, "checkpoints", "#size root note"),
];
// Places in that list.
const TRANSITIONS: usize = 0;
const RUNS: usize = 1;
const TRACES: usize = 2;
const QUEUE: usize = 3;
const HEADS: usize = 4;
const MOVED: usize = 5;
const ENDED: usize = 6;
const STEPS: usize = 7;
const RUN: usize = 8;
const TRACE: usize = 9;
const SEALS: usize = 10;
const LEAVES: usize = 11;
const TILES: usize = 12;
const LEDGER: usize = 13;
const NOTES: usize = 14;

impl Shape {
    fn columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.2.split_whitespace().map(|name| match name.as_bytes()[0] {
            b'#' => (&name[1..], "bigint"),
            b'@' => (&name[1..], "bytea"),
            _ => (name, "text"),
        })
    }

    fn names(&self) -> Vec<String> {
        self.columns().map(|(name, _)| format!("\"{name}\"")).collect()
    }

    fn sql(&self) -> String {
        let (Self(verb, table, _), names) = (self, self.names());
        let arrays = self.columns().zip(&names).enumerate();
        let arrays: Vec<String> =
            arrays.map(|(index, ((_, kind), name))| format!("unnest(${}::{kind}[]) AS {name}", index + 1)).collect();
        // As in the store: in a FROM, each array would get a store of its own.
        let rows = format!("(SELECT {}) AS n", arrays.join(", "));
        // The one row of a table without tenants is found by its only key.
        let keys = if *table == "ledger_head" { 1 } else { 2 };
        let same: Vec<String> = names[..keys].iter().map(|name| format!("t.{name} = n.{name}")).collect();
        let same = same.join(" AND ");
        match verb {
            Verb::Insert => {
                let grows = if *table == "ledger_tiles" {
                    " ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes"
                } else {
                    ""
                };
                format!("INSERT INTO public.{table} ({}) SELECT n.* FROM {rows}{grows}", names.join(", "))
            }
            Verb::Update => {
                let set: Vec<String> = names[keys..].iter().map(|name| format!("{name} = n.{name}")).collect();
                format!("UPDATE public.{table} AS t SET {} FROM {rows} WHERE {same}", set.join(", "))
            }
            Verb::Delete => format!("DELETE FROM public.{table} AS t USING {rows} WHERE {same}"),
        }
    }
}

/// What the store wrote in one job: rows of statements.
#[derive(Default)]
struct Job {
    run: String,
    rows: Vec<(usize, Vec<Value>)>,
    /// What gets a place: tenant, stream and position, with the number of events.
    placed: Vec<([Value; 3], u64)>,
}

/// A statement with its arrays.
type Statement = (usize, Vec<Column>);

/// Everything that a loop sends, ready to be sent: each transaction with the number of jobs in it.
pub(crate) struct Written(Vec<(u64, Vec<Statement>)>);

/// Reads back what a load wrote, and groups it: `batch` jobs in a transaction, `passes` of the sequencer in all.
pub(crate) async fn written(client: &Client, most: i64, batch: f64, passes: i64) -> Outcome<Written> {
    let jobs = jobs(client, most).await?;
    let (mut transactions, mut done) = (Vec::new(), 0);
    let mut places = Places { every: (jobs.len() as f64 / passes.max(1) as f64).max(1.0), ..Places::default() };
    while done < jobs.len() {
        // The batches of the load were not all of one size: their mean is kept.
        let end = (batch * (transactions.len() + 1) as f64).round() as usize;
        let mut seen = BTreeSet::new();
        let mut chunk = Vec::new();
        for job in &jobs[done..end.clamp(done + 1, jobs.len())] {
            if !seen.insert(&job.run) {
                break; // nothing is written twice in one transaction
            }
            chunk.push(job);
        }
        done += chunk.len();
        transactions.push((chunk.len() as u64, statements(chunk.iter().flat_map(|job| &job.rows))));
        chunk.iter().for_each(|job| places.add(job));
    }
    // The passes come between the batches.
    let mut all = Vec::new();
    let mut passes = places.passes.into_iter().peekable();
    let mut jobs = 0;
    for (count, statements) in transactions {
        jobs += count;
        all.push((count, statements));
        while let Some((_, pass)) = passes.next_if(|(after, _)| *after <= jobs) {
            all.extend(pass.iter().map(|rows| (0, self::statements(rows.iter()))));
        }
    }
    Ok(Written(all))
}

/// Rows by statement, as arrays.
fn statements<'a>(rows: impl Iterator<Item = &'a (usize, Vec<Value>)>) -> Vec<Statement> {
    let mut all: HashMap<usize, Vec<Column>> = HashMap::new();
    for (shape, values) in rows {
        let columns =
            all.entry(*shape).or_insert_with(|| SHAPES[*shape].columns().map(|(_, kind)| column(kind)).collect());
        for (column, value) in columns.iter_mut().zip(values) {
            match (column, value) {
                (Column::Ints(all), Value::Int(number)) => all.push(*number),
                (Column::Texts(all), Value::Text(text)) => all.push(text.clone()),
                (Column::Bytes(all), Value::Bytes(bytes)) => all.push(bytes.clone()),
                (Column::Ints(_) | Column::Texts(_) | Column::Bytes(_), _) => unreachable!("a value of another type"),
            }
        }
    }
    let mut all: Vec<Statement> = all.into_iter().collect();
    all.sort_unstable_by_key(|(shape, _)| *shape);
    all
}

fn column(kind: &str) -> Column {
    match kind {
        "bigint" => Column::Ints(Vec::new()),
        "bytea" => Column::Bytes(Vec::new()),
        _ => Column::Texts(Vec::new()),
    }
}

/// Rows, each with its table.
type Rows = Vec<(usize, Vec<Value>)>;

/// What passes of a sequencer write, each after so many jobs.
#[derive(Default)]
struct Places {
    every: f64,
    jobs: u64,
    size: u64,
    ids: i64,
    waiting: Rows,
    passes: Vec<(u64, [Rows; 2])>,
}

impl Places {
    fn add(&mut self, job: &Job) {
        for (place, events) in &job.placed {
            self.ids += 1;
            let [tenant, stream, seq] = place.clone();
            self.waiting.push((LEAVES, vec![int(self.size), tenant, stream, seq, int(self.ids as u64)]));
            self.size += events;
        }
        self.jobs += 1;
        if self.jobs as f64 >= self.every * (self.passes.len() + 1) as f64 {
            self.pass();
        }
    }

    fn pass(&mut self) {
        let mut rows = std::mem::take(&mut self.waiting);
        let Some((_, first)) = rows.first() else { return };
        let Value::Int(Some(first)) = first[0] else { return };
        // The tiles that these leaves fill or begin. Hashes that grow by the same bytes are a tile that grows.
        for (level, span) in [(0, 1), (1, 256), (2, 65_536)] {
            let (from, to) = (first as u64 / span, self.size / span);
            for tile in from / 256..=to / 256 {
                let width = to.saturating_sub(tile * 256).min(256);
                if width > from.saturating_sub(tile * 256).min(256) {
                    rows.push((TILES, vec![int(level), int(tile), Value::Bytes(vec![7; width as usize * 32])]));
                }
            }
        }
        rows.push((LEDGER, vec![int(1), int(self.size), Value::Int(Some(self.ids))]));
        let note = vec![(NOTES, vec![int(self.size), text(&"0".repeat(64)), text(&"n".repeat(200))])];
        self.passes.push((self.jobs, [rows, note]));
    }
}

fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).ok())
}

fn text(text: &str) -> Value {
    Value::Text(Some(text.to_owned()))
}

fn value(row: &Row, index: usize) -> Outcome<Value> {
    if *row.columns()[index].type_() == Type::INT8 {
        return Ok(Value::Int(row.try_get(index)?));
    }
    Ok(Value::Text(row.try_get(index)?))
}

/// Rows of a table by run, with the columns of a statement. Some of them are replaced: `name` by an expression.
async fn by_run(
    client: &Client,
    shape: usize,
    run: &str,
    instead: &[(&str, &str)],
) -> Outcome<HashMap<String, Vec<Vec<Value>>>> {
    let Shape(_, table, _) = SHAPES[shape];
    let columns: Vec<String> = SHAPES[shape]
        .columns()
        .map(|(name, kind)| match instead.iter().find(|(replaced, _)| *replaced == name) {
            Some((_, with)) => format!("({with})::{kind}"),
            None => format!("\"{name}\""),
        })
        .collect();
    let order = if shape == STEPS { ", step_index" } else { "" };
    let sql = format!("SELECT {run}, {} FROM public.{table} ORDER BY {run}{order}", columns.join(", "));
    let mut found: HashMap<String, Vec<Vec<Value>>> = HashMap::new();
    for row in client.query(&sql, &[]).await? {
        let values = (1..row.len()).map(|index| value(&row, index)).collect::<Outcome<_>>()?;
        found.entry(row.try_get(0)?).or_default().push(values);
    }
    Ok(found)
}

/// Jobs in the order in which their transitions got their ids.
async fn jobs(client: &Client, most: i64) -> Outcome<Vec<Job>> {
    let opened = [
        ("status", "'queued'"),
        ("attempts", "0"),
        ("termination_reason", "NULL"),
        ("cost_microcents", "NULL"),
        ("duration_us", "NULL"),
        ("started_at", "NULL"),
        ("completed_at", "NULL"),
    ];
    let runs = by_run(client, RUNS, "id", &opened).await?;
    let traces = [("status", "'running'"), ("completed_at", "NULL"), ("metadata", "NULL")];
    let traces = by_run(client, TRACES, "run_id", &traces).await?;
    let claimed = [&opened[2..5], &opened[6..], &[("status", "'running'")]].concat();
    let claimed = by_run(client, RUN, "id", &claimed).await?;
    let (ended, completed) = (by_run(client, RUN, "id", &[]).await?, by_run(client, TRACE, "run_id", &[]).await?);
    let (steps, seals) = (by_run(client, STEPS, "run_id", &[]).await?, by_run(client, SEALS, "run_id", &[]).await?);
    let sql = "SELECT tenant_id, stream, first_seq, event_count, events, payloads FROM public.transitions
               WHERE stream LIKE 'run/%' OR (stream LIKE 'tenant/%' AND first_seq >= 2) ORDER BY id LIMIT $1";
    let (mut jobs, mut opening) = (Vec::new(), HashMap::new());
    for row in client.query(sql, &[&most]).await? {
        let (stream, first_seq, count): (&str, i64, i64) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let events: &str = row.try_get(4)?;
        let head = text(&leaf(events.rsplit('\n').next().unwrap_or_default().as_bytes()).hex());
        let (tenant, next) = (value(&row, 0)?, Value::Int(Some(first_seq + count)));
        let transition = (TRANSITIONS, (0..6).map(|index| value(&row, index)).collect::<Outcome<Vec<Value>>>()?);
        let placed = ([tenant.clone(), text(stream), Value::Int(Some(first_seq))], count as u64);
        let Some(run) = stream.strip_prefix("run/") else {
            // The tenant's stream names the run; the run's first events are in the same job.
            let (_, rest) = events.split_once("\"run_id\":\"").ok_or("a run that was opened")?;
            let run = rest.split('"').next().unwrap_or_default().to_owned();
            let moved = (HEADS, vec![tenant, text(stream), next, head, int(1), int(1)]);
            opening.insert(run, (vec![transition, moved], placed));
            continue;
        };
        let key = [tenant, text(run)];
        let mut job = Job { run: run.to_owned(), rows: vec![transition], placed: vec![placed] };
        if first_seq == 0 {
            let (rows, placed) = opening.remove(run).ok_or("a run is opened in its tenant's stream")?;
            job.rows.extend(rows);
            job.placed.insert(0, placed);
            job.rows.push((RUNS, runs[run][0].clone()));
            job.rows.push((TRACES, traces[run][0].clone()));
            let queued = [text("worker"), int(1), next, head, Value::Int(None), int(5), runs[run][0][3].clone()];
            job.rows.push((QUEUE, [key.as_slice(), &queued].concat()));
        } else if events.contains("\"run.sealed\"") {
            job.rows.push((ENDED, key.to_vec()));
            job.rows.push((RUN, ended[run][0].clone()));
            job.rows.push((TRACE, completed[run][0].clone()));
            job.rows.push((SEALS, seals[run][0].clone()));
        } else {
            job.rows.push((MOVED, [key.as_slice(), &[next, head]].concat()));
            if events.contains("\"run.claimed\"") {
                job.rows.push((RUN, claimed[run][0].clone()));
            }
        }
        if let Some(index) = crate::limits::settled(events) {
            job.rows.push((STEPS, steps[run][index].clone()));
        }
        jobs.push(job);
    }
    Ok(jobs)
}

/// Writes that into a fresh database with the schema of the store, for at most that time.
pub(crate) async fn same_rows(client: &Client, written: &Written, tenant: &str, time: Duration) -> Outcome<Limit> {
    let mut prepared = Vec::new();
    for shape in SHAPES {
        prepared.push(client.prepare(&shape.sql()).await?);
    }
    let head = "INSERT INTO public.stream_heads (tenant_id, stream, next_seq, head, last_at, runs)
                VALUES ($1, 'tenant/' || $1, 0, '', 0, 0)";
    client.execute(head, &[&tenant]).await?;
    let mut limit = Limit::default();
    let started = Instant::now();
    for (jobs, statements) in &written.0 {
        if started.elapsed() >= time {
            break;
        }
        let begun = Instant::now();
        let arrays: Vec<Vec<&(dyn ToSql + Sync)>> =
            statements.iter().map(|(_, columns)| columns.iter().map(Column::param).collect()).collect();
        let work = statements.iter().zip(&arrays).map(|((shape, _), arrays)| client.execute(&prepared[*shape], arrays));
        let (begin, work, end) =
            tokio::join!(biased; client.batch_execute("BEGIN"), join_all(work), client.batch_execute("COMMIT"));
        begin?;
        work.into_iter().collect::<Result<Vec<u64>, _>>()?;
        end?;
        if *jobs > 0 {
            limit.commits.push(begun.elapsed());
        }
        limit.jobs += jobs;
    }
    limit.elapsed = started.elapsed();
    Ok(limit)
}

impl Column {
    fn param(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Ints(all) => all,
            Self::Texts(all) => all,
            Self::Bytes(all) => all,
        }
    }
}
