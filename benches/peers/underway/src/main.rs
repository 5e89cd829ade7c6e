//! Measures durable runs of five steps with `underway`: as many at a time as asked for, in an empty database.
//!
//! Steps that are committed as succeeded are counted in the database, at both ends of the measured time. The queue is
//! in order of time, so runs that began together end together; a fifth of the steps is the steadier count of runs. `migrate` prepares the database, `measure` prints one line of JSON. Not a test: it fails only if the
//! database does not hold what was asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Args, Parser};
use jiff::Span;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use underway::job::Context;
use underway::task::Result as StepResult;
use underway::{Job, To, Worker};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Steps of a run; the job below has as many.
const STEPS: i64 = 5;

/// Measures `underway`.
#[derive(Parser)]
enum Verb {
    /// Make the tables
    Migrate {
        /// URL of the database
        #[arg(long)]
        database: String,
    },
    /// Keep runs going, and print what was reached
    Measure(Measure),
}

#[derive(Args)]
struct Measure {
    /// URL of the database
    #[arg(long)]
    database: String,
    /// Runs at a time
    #[arg(long)]
    concurrency: usize,
    /// Measured time, in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Time before it, in seconds
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Size of what each step puts out, in bytes of JSON
    #[arg(long, default_value_t = 200)]
    value_bytes: usize,
    /// Tasks that the worker executes at a time; as many as runs if not given, but at least 2
    #[arg(long)]
    worker_concurrency: Option<usize>,
    /// Connections
    #[arg(long, default_value_t = 16)]
    pool: u32,
    /// Pause between the polls of a worker that nobody notified, in milliseconds
    #[arg(long, default_value_t = 10)]
    poll_ms: i64,
}

/// What a step hands on: the number of the run, and a value.
#[derive(Serialize, Deserialize)]
struct Carried {
    run: u64,
    value: String,
}

impl Carried {
    /// Of that many bytes, about 30 of which are the JSON around the value.
    fn new(run: u64, bytes: usize) -> Self {
        Self { run, value: "x".repeat(bytes.saturating_sub(30)) }
    }
}

/// Who waits for which run.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>);

impl Waiting {
    fn wait(&self, run: u64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().expect("nobody panics with the lock").insert(run, sender);
        receiver
    }

    /// A step may be executed twice: only the first time somebody waits.
    fn done(&self, run: u64) {
        if let Some(sender) = self.0.lock().expect("nobody panics with the lock").remove(&run) {
            // Whoever waited has given up: nothing to tell.
            let _ = sender.send(());
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    match Verb::parse() {
        Verb::Migrate { database } => Ok(underway::run_migrations(&PgPool::connect(&database).await?).await?),
        Verb::Measure(arguments) => measure(&arguments).await,
    }
}

async fn measure(arguments: &Measure) -> Outcome<()> {
    let concurrency = arguments.concurrency;
    let worker_concurrency = arguments.worker_concurrency.unwrap_or(concurrency.max(2));
    let pool = PgPoolOptions::new()
        .max_connections(arguments.pool)
        .min_connections(arguments.pool)
        .acquire_timeout(Duration::from_secs(60))
        .connect(&arguments.database)
        .await?;
    let waiting = Waiting::default();
    let job = job(pool.clone(), waiting.clone(), arguments.value_bytes).await?;
    // One that no worker executes: a `Job` enqueues runs at the step that it executed last, as if they had come that far.
    let producer = Arc::new(self::job(pool.clone(), waiting.clone(), arguments.value_bytes).await?);
    let stop = CancellationToken::new();
    let mut worker = Worker::new(job.queue(), job.clone());
    worker.set_concurrency_limit(worker_concurrency);
    worker.set_shutdown_token(stop.clone());
    let poll = Span::new().try_milliseconds(arguments.poll_ms)?;
    let worker = tokio::spawn(async move { worker.run_every(poll).await });

    let begin = Instant::now() + Duration::from_secs_f64(arguments.warm_up);
    let end = begin + Duration::from_secs_f64(arguments.seconds);
    let mut clients = JoinSet::new();
    for client in 0..concurrency as u64 {
        clients.spawn(keep_one_going(Arc::clone(&producer), waiting.clone(), client, end, arguments.value_bytes));
    }
    tokio::time::sleep_until(begin.into()).await;
    let (from, before) = (Instant::now(), succeeded(&pool).await?);
    tokio::time::sleep_until(end.into()).await;
    let (elapsed, counted) = (from.elapsed(), succeeded(&pool).await? - before);
    let mut ended = Vec::new();
    while let Some(of_client) = clients.join_next().await {
        ended.extend(of_client??);
    }
    stop.cancel();
    worker.await??;
    let (runs, steps) = (ended.len() as i64, succeeded(&pool).await?);
    if steps != runs * STEPS {
        return Err(format!("{runs} runs ended, but the database holds {steps} steps that succeeded").into());
    }
    let mut times: Vec<_> = ended.iter().filter(|(at, _)| (begin..end).contains(at)).map(|(_, time)| *time).collect();
    times.sort_unstable();
    let p50 = times.get(times.len() / 2).ok_or("no run ended in the measured time")?;
    let rate = counted as f64 / elapsed.as_secs_f64();
    println!(
        "{}",
        json!({
            "peer": "underway", "version": version()?, "mode": "queue", "concurrency": concurrency,
            "value_bytes": arguments.value_bytes, "runs_per_second": rate / STEPS as f64, "steps_per_second": rate,
            "p50_ms": p50.as_secs_f64() * 1e3, "runs": runs,
        })
    );
    pool.close().await;
    Ok(())
}

/// Begins a run whenever the one before has ended. Answers when each ended, and how long it took.
async fn keep_one_going(
    producer: Arc<Job<Carried, Waiting>>,
    waiting: Waiting,
    client: u64,
    end: Instant,
    value_bytes: usize,
) -> Outcome<Vec<(Instant, Duration)>> {
    let mut ended = Vec::new();
    for number in 0.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        let run = client << 32 | number;
        let done = waiting.wait(run);
        producer.enqueue(&Carried::new(run, value_bytes)).await?;
        tokio::time::timeout(Duration::from_secs(60), done).await.map_err(|_| "a run did not end")??;
        ended.push((Instant::now(), begun.elapsed()));
    }
    Ok(ended)
}

/// The version of the library that this program was built with.
fn version() -> Outcome<&'static str> {
    let package =
        include_str!("../Cargo.lock").split("[[package]]").find(|package| package.contains("name = \"underway\"\n"));
    Ok(package
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .ok_or("`underway` is not in Cargo.lock")?)
}

/// Steps that are committed as succeeded.
async fn succeeded(pool: &PgPool) -> Outcome<i64> {
    Ok(sqlx::query_scalar("select count(*) from underway.task where state = 'succeeded'").fetch_one(pool).await?)
}

/// A job of five steps, each of which answers at once. The library keeps what goes into a step, not what the last puts
/// out: five values in all.
async fn job(pool: PgPool, waiting: Waiting, value_bytes: usize) -> Outcome<Job<Carried, Waiting>> {
    let step = move |_: Context<Waiting>, carried: Carried| async move { next(&carried, value_bytes) };
    let last = |Context { state, .. }: Context<Waiting>, carried: Carried| async move {
        state.done(carried.run);
        To::done()
    };
    let steps = Job::builder().state(waiting).step(step).step(step).step(step).step(step).step(last);
    Ok(steps.name("bench").pool(pool).build().await?)
}

fn next(carried: &Carried, value_bytes: usize) -> StepResult<To<Carried>> {
    To::next(Carried::new(carried.run, value_bytes))
}
