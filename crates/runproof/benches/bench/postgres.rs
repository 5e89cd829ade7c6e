//! The same load on Postgres, directly and through PgBouncer: against its limit, what it costs there, claims from a long
//! queue, and two peers on the same cluster.

pub(crate) mod claims;
mod limits;
mod peers;
pub(crate) mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use runproof::prove::prove;
use runproof_engine::ports::{Blind, Observer};
use runproof_proof::finding::Verdict;

use crate::limits::Limit;
use crate::load::{Load, Pulse, begin, end, one_run};
use crate::table::Table;
use crate::world::{STEPS, TENANT};
use crate::{Outcome, cluster, percentile, system};
use server::{PgWorld, Server, Way};

/// What is measured, and for how long.
pub(crate) struct Plan<'a> {
    /// Runs at a time.
    pub(crate) concurrency: &'a [usize],
    /// Of a round; the limit gets half of it.
    pub(crate) time: Duration,
    /// Rounds of load and limit, in turns.
    pub(crate) rounds: usize,
    /// Runs that are proved after each round.
    pub(crate) proofs: i64,
}

/// What Postgres says about a load.
#[derive(Default)]
struct Counted {
    cpu: Duration,
    wal: i64,
    kept: i64,
    transactions: i64,
    passes: i64,
    proofs: Vec<Duration>,
}

/// The load, both ways, with small and larger values. With `RUNPROOF_BENCH_PEERS=1` also the peers.
pub(crate) async fn measure(server: &Server, plan: &Plan<'_>, table: &mut Table) -> Outcome<()> {
    let is_wanted = std::env::var("RUNPROOF_BENCH_PEERS").is_ok_and(|wanted| wanted == "1");
    let peers = if is_wanted { peers::measure(&server.url(""), plan)? } else { Vec::new() };
    // A new cluster makes the files of its write-ahead log; from the next checkpoint on it uses them again.
    round(server, Way::Direct, plan.concurrency[0], 64, plan, &mut Counted::default()).await?;
    server.remove("load").await?;
    for bytes in [64, 600] {
        table.section(&format!("Postgres: values of {bytes} B, runs at a time"));
        for concurrency in plan.concurrency {
            for way in [Way::Direct, Way::Pooled] {
                let label = format!("{} {concurrency}", way.word());
                throughput(server, way, *concurrency, bytes, plan, (&label, table)).await?;
                if *concurrency == 1 {
                    let (counted, observed) = lone(server, way).await?;
                    table.cell(
                        "transactions for a run, as the store counts them",
                        "",
                        label.clone(),
                        counted,
                        "7 at 1",
                    );
                    table.cell("transactions for a run, as Postgres counts them", "", label, observed, "7 at 1");
                }
            }
        }
        peers::show(&peers, bytes, table);
    }
    Ok(())
}

async fn throughput(
    server: &Server,
    way: Way,
    concurrency: usize,
    bytes: usize,
    plan: &Plan<'_>,
    (label, table): (&str, &mut Table),
) -> Outcome<()> {
    let (mut load, mut limit, mut counted) = (Load::default(), Limit::default(), Counted::default());
    for _ in 0..plan.rounds {
        load.add(round(server, way, concurrency, bytes, plan, &mut counted).await?);
        let client = cluster::connect(&server.url("load")).await?;
        let passes = client.query_one("SELECT count(*) FROM public.checkpoints", &[]).await?.get(0);
        let written = limits::written(&client, 60_000, load.batch(), passes).await?;
        server.database("same_rows", Way::Direct).await?;
        let client = cluster::connect(&server.url("same_rows")).await?;
        limit.add(limits::same_rows(&client, &written, TENANT, plan.time / 2).await?);
        counted.passes += passes;
        for database in ["load", "same_rows"] {
            server.remove(database).await?;
        }
    }
    let mut add = |name: &str, unit, value: f64, aim: &str| table.cell(name, unit, label.to_owned(), value, aim);
    let (runs, steps, seconds) = (load.runs as f64, load.steps(), load.elapsed.as_secs_f64());
    let of_steps = limit.speed() * STEPS as f64 / (STEPS + 2) as f64;
    add("runs of 5 steps", "/s", runs / seconds, ">= 1500 at 64");
    add("steps", "/s", steps / seconds, "");
    add("limit: the same rows", "step/s", of_steps, "");
    add("share of the same-rows limit", "%", 100.0 * steps / seconds / of_steps, ">= 35 at 64");
    add("step transition, p50", "ms", percentile(&mut load.step_times, 50), "");
    add("step transition, p99", "ms", percentile(&mut load.step_times, 99), "");
    add("run, p50", "ms", percentile(&mut load.run_times, 50), "");
    add("run, p99", "ms", percentile(&mut load.run_times, 99), "");
    add("transaction of the same rows, p50", "ms", percentile(&mut limit.commits, 50), "");
    add("processor time for a run: this process", "ms", load.cpu.as_secs_f64() * 1e3 / runs, "");
    add("processor time for a run: Postgres", "ms", counted.cpu.as_secs_f64() * 1e3 / runs, "");
    add("jobs in a transaction", "", load.batch(), "");
    add("`proof` of a run among those of the load, p50", "ms", percentile(&mut counted.proofs, 50), "");
    add("passes of the sequencer", "/s", counted.passes as f64 / seconds, "");
    add("transactions for a run, of sequencer and lease too", "", counted.transactions as f64 / runs, "");
    add("bytes of write-ahead log for a step", "B", counted.wal as f64 / steps, "");
    add("bytes kept for a step", "B", counted.kept as f64 / steps, "");
    Ok(())
}

/// One round of load in a database `load`, which stays. What was sealed is placed, signed, and proved from a sample.
async fn round(
    server: &Server,
    way: Way,
    concurrency: usize,
    bytes: usize,
    plan: &Plan<'_>,
    counted: &mut Counted,
) -> Outcome<Load> {
    let pulse = Arc::new(Pulse::default());
    let world = PgWorld::new(server, "load", way, true).await?;
    let world = world.again(true, Arc::clone(&pulse) as Arc<dyn Observer>, bytes).await?;
    // Connections are made, pages are there.
    run_in_new_sessions(&world).await?;
    end(begin(&world.engine, concurrency, plan.time / 8)).await?;
    pulse.take()?;
    let before = server.counters("load").await?;
    run_in_new_sessions(&world).await?;
    let (cpu, commits) = (system::cpu(), world.store.commits());
    let started = Instant::now();
    let mut load = Load { run_times: end(begin(&world.engine, concurrency, plan.time)).await?, ..Load::default() };
    load.elapsed = started.elapsed();
    load.cpu = system::cpu() - cpu;
    load.runs = load.run_times.len() as u64;
    load.step_times = pulse.take()?;
    let after = world.store.commits();
    (load.commits, load.jobs) = (after.0 - commits.0, after.1 - commits.1);
    world.engine.close().await?;
    let after = server.counters("load").await?;
    counted.cpu += after.cpu - before.cpu;
    counted.wal += after.wal - before.wal;
    counted.kept += after.size - before.size;
    counted.transactions += after.transactions - before.transactions;
    counted.proofs.extend(check(server, &world, plan.proofs).await?);
    Ok(load)
}

/// One run, once there are sessions again: for a moment the pooler refuses logins after one that was ended. A run that is
/// refused is not opened.
async fn run_in_new_sessions(world: &PgWorld) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = one_run(&world.engine).await {
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Everything has its place, and runs from anywhere in the round are VERIFIED. Answers how long each proof took.
async fn check(server: &Server, world: &PgWorld, proofs: i64) -> Outcome<Vec<Duration>> {
    let client = cluster::connect(&server.url("load")).await?;
    let unplaced =
        "SELECT count(*) FROM public.transitions LEFT JOIN public.leaves USING (tenant_id, stream, first_seq)
                    WHERE first_leaf IS NULL";
    // What was under way when the clock stopped may still be written.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let unplaced: i64 = client.query_one(unplaced, &[]).await?.get(0);
        if unplaced == 0 {
            break;
        } else if Instant::now() > deadline {
            return Err(format!("{unplaced} transitions have no place").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let trust = world.home.trust()?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let sample = "SELECT id FROM public.runs ORDER BY md5(id) LIMIT $1";
    let mut times = Vec::new();
    for row in client.query(sample, &[&proofs]).await? {
        let run: &str = row.get(0);
        let mut begun = Instant::now();
        // For a moment the pooler refuses logins after one that was ended.
        let proof = loop {
            match prove(world.store.as_ref(), TENANT, run, &trust, None).await {
                Err(_) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    begun = Instant::now();
                }
                proof => break proof?,
            }
        };
        times.push(begun.elapsed());
        let proof = proof.ok_or("the run is there")?;
        if proof.report.verdict() != Verdict::Verified {
            return Err(format!("run `{run}` is {:?}", proof.report.verdict()).into());
        }
    }
    Ok(times)
}

/// Transactions for a run when nothing else is at work: no sequencer, and no lease that has to be renewed. As the store
/// counts them, and as Postgres does.
async fn lone(server: &Server, way: Way) -> Outcome<(f64, f64)> {
    let world = PgWorld::new(server, "lone", way, false).await?.again(false, Arc::new(Blind), 64).await?;
    let (begun, mut runs) = (Instant::now(), 0.0);
    run_in_new_sessions(&world).await?;
    let (before, commits) = (server.counters("lone").await?, world.store.commits());
    // The first heartbeat is sent after 2.5 s.
    while begun.elapsed() < Duration::from_millis(1500) && runs < 20.0 {
        run_in_new_sessions(&world).await?;
        runs += 1.0;
    }
    let (after, counted) = (server.counters("lone").await?, world.store.commits());
    server.remove("lone").await?;
    Ok(((counted.0 - commits.0) as f64 / runs, (after.transactions - before.transactions) as f64 / runs))
}
