//! Prints one table of what runproof does on this machine, beside the limits of its disk, of SQLite and of Postgres.
//!
//! `cargo bench -p runproof -- load`; `cargo bench -p runproof -- --help` lists the arguments, `docs/benchmarks.md` explains
//! every line. As a test (`cargo test`) all of it runs once with next to nothing, so that it cannot rot. Read ratios,
//! not times: machines are noisy, and no test depends on a number.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "../../../runproof-store/tests/cluster.rs"]
#[expect(dead_code, reason = "tests of the store need more of it")]
mod cluster;
mod ledger;
mod limits;
mod load;
mod postgres;
mod program;
mod system;
mod table;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use limits::Limit;
use load::Load;
use table::Table;
use world::STEPS;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Any error ends the program.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Name under which `cargo test` finds the quick mode.
const AS_TEST: &str = "every_benchmark_runs";

/// Measures runproof on this machine.
#[derive(Parser)]
struct Arguments {
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Everything once with next to nothing: shows that it works, measures little
    #[arg(long)]
    quick: bool,
    /// What is measured; all of it if nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Runs at a time; without it 1, 16, 64 and 256 in the embedded store, 64 and 1 on Postgres
    #[arg(long, value_delimiter = ',')]
    concurrency: Vec<usize>,
    /// Length of a round of load, in seconds; each limit gets half of it
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Rounds of load and limits, in turns
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Leaves in the ledger for proofs
    #[arg(long, default_value_t = 1_000_000)]
    leaves: u64,
    /// Events of the long run
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// A setting of the Postgres that is measured, as NAME=VALUE; may be given again
    #[arg(long)]
    setting: Vec<String>,
    /// Where the databases of the embedded store are; the disk of this folder is measured
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    folder: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the table.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Many runs at a time in the embedded store
    Load,
    /// A long ledger in the embedded store
    Ledger,
    /// The real binary
    Program,
    /// Many runs at a time on Postgres; starts a cluster of its own. `RUNPROOF_BENCH_PEERS=1`: and on two peers
    Postgres,
    /// Claims from a long queue on Postgres
    Claims,
}

fn main() -> Outcome<()> {
    if let Some(key) = std::env::var_os(ledger::CHILD) {
        let file = std::env::args_os().nth(1).ok_or("the bundle")?;
        println!("{}", ledger::child(&key.to_string_lossy(), Path::new(&file))?);
        return Ok(());
    }
    let given: Vec<String> = std::env::args().skip(1).collect();
    let as_test = !given.iter().any(|argument| argument == "--bench");
    if as_test {
        // `cargo test` hands on its own arguments, and names of tests.
        let mut names = given.iter().filter(|argument| !argument.starts_with('-')).peekable();
        if given.iter().any(|argument| argument == "--list")
            || (names.peek().is_some() && !names.any(|name| AS_TEST.contains(name.as_str())))
        {
            return Ok(());
        }
    }
    let arguments = if as_test { Arguments::parse_from(["bench", "--quick"]) } else { Arguments::parse() };
    let table = measure(&arguments)?;
    if arguments.json {
        println!("{:#}", table.json());
    } else {
        println!("{}", table.text());
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> Outcome<Table> {
    let Arguments { quick, rounds, leaves, events, .. } = *arguments;
    let wanted = |part: Part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let concurrency = |default: &[usize]| match arguments.concurrency.as_slice() {
        [] => default.to_vec(),
        given => given.to_vec(),
    };
    let folder = arguments.folder.as_path();
    std::fs::create_dir_all(folder)?;
    let mut table = Table::default();
    // As many threads as the program has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (seconds, rounds) = if quick { (0.1, 1) } else { (arguments.seconds, rounds) };
    if wanted(Part::Load) {
        for concurrency in concurrency(&[1, 16, 64, 256]) {
            runtime.block_on(throughput(folder, concurrency, seconds, rounds, &mut table))?;
        }
    }
    if wanted(Part::Ledger) {
        let (leaves, events) = if quick { (3000, 1000) } else { (leaves, events) };
        runtime.block_on(ledger::measure(folder, leaves, events, &mut table))?;
    }
    if wanted(Part::Program) {
        program::measure(folder, if quick { 1 } else { 9 }, &mut table)?;
    }
    if wanted(Part::Postgres) || wanted(Part::Claims) {
        let time = Duration::from_secs_f64(seconds);
        let concurrency = &concurrency(&[64, 1]);
        let plan = postgres::Plan { concurrency, time, rounds, proofs: if quick { 1 } else { 10 } };
        runtime.block_on(async {
            let server = postgres::server::Server::start(!quick, &arguments.setting).await?;
            if wanted(Part::Postgres) {
                postgres::measure(&server, &plan, &mut table).await?;
            }
            if wanted(Part::Claims) {
                let (sizes, rounds) = if quick { ([100, 200], 2) } else { ([1000, 1_000_000], 200) };
                postgres::claims::measure(&server, sizes, rounds, &mut table).await?;
            }
            Outcome::Ok(())
        })?;
    }
    Ok(table)
}

/// Load and both limits, in turns, so that a slow moment of the machine meets all of them.
async fn throughput(folder: &Path, concurrency: usize, seconds: f64, rounds: usize, table: &mut Table) -> Outcome<()> {
    let (time, half) = (Duration::from_secs_f64(seconds), Duration::from_secs_f64(seconds / 2.0));
    let (mut load, mut same_rows, mut bare) = (Load::default(), Limit::default(), Limit::default());
    for _ in 0..rounds {
        let (round, written) = load::load(folder, concurrency, time).await?;
        let jobs = limits::jobs(&written.path().join("runproof.db"), 60_000)?;
        drop(written);
        let place = tempfile::tempdir_in(folder)?;
        same_rows.add(limits::same_rows(place.path(), &jobs, round.batch(), half)?);
        bare.add(limits::bare(place.path(), &jobs, round.batch(), half)?);
        load.add(round);
    }
    let mut add = |name: &str, unit, value: f64, aim: &str| table.cell(name, unit, concurrency.to_string(), value, aim);
    let (runs, steps) = (load.runs as f64, load.steps());
    let seconds = load.elapsed.as_secs_f64();
    // A run of k steps has k + 2 jobs, in the limits too.
    let of_steps = |limit: &Limit| limit.speed() * STEPS as f64 / (STEPS + 2) as f64;
    let run = percentile(&mut load.run_times, 50);
    let commit = percentile(&mut bare.commits, 50);
    add("runs of 5 steps", "/s", runs / seconds, ">= 2000 at 64");
    add("steps", "/s", steps / seconds, ">= 10000 at 64");
    add("limit: the same rows", "step/s", of_steps(&same_rows), "");
    add("limit: the bare bytes", "step/s", of_steps(&bare), "");
    add("share of the same-rows limit", "%", 100.0 * steps / seconds / of_steps(&same_rows), ">= 50 at 64");
    add("share of the bare limit", "%", 100.0 * steps / seconds / of_steps(&bare), "");
    add("step transition, p50", "ms", percentile(&mut load.step_times, 50), "");
    add("step transition, p99", "ms", percentile(&mut load.step_times, 99), "");
    add("run, p50", "ms", run, "<= 4 at 1");
    add("run, p99", "ms", percentile(&mut load.run_times, 99), "");
    add("transaction of the same rows, p50", "ms", percentile(&mut same_rows.commits, 50), "");
    add("transaction of the bare bytes, p50", "ms", commit, "");
    add("run against k + 2 bare transactions, p50", "x", run / ((STEPS + 2) as f64 * commit), "<= 1.5 at 1");
    add("processor time for a run", "ms", load.cpu.as_secs_f64() * 1e3 / runs, "");
    add("jobs in a transaction", "", load.batch(), "");
    add("transactions for a step", "", load.commits as f64 / steps, "");
    add("bytes handed to the disk for a step", "B", load.written as f64 / steps, "");
    add("bytes kept for a step", "B", load.kept as f64 / steps, "");
    add("memory after a quarter of a round", "MB", load.resident.0, "");
    add("memory at its end", "MB", load.resident.1, "");
    Ok(())
}

/// In milliseconds; of nothing, not a number.
fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * percent / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
