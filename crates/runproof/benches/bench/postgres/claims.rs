//! How long a claim takes with few and with many runs in the queue.
//!
//! The runs that are taken are real, and first in their order: a claim reads them, and they are given back. What waits
//! behind them are rows of the queue only.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use runproof_engine::admission::{RunRequest, admit};
use runproof_engine::ports::Journal;
use runproof_store::{Stamp, Store, WorkerAbout};
use tokio_postgres::Client;

use super::server::{PgWorld, Server, Way};
use crate::table::Table;
use crate::world::{TENANT, actor, create_tenant, plan, request};
use crate::{Outcome, cluster, percentile};

/// Runs that a claim takes.
const CLAIM: usize = 32;
/// The worker that claims.
const WORKER: &str = "claimer";

/// What waits in the queue.
struct Scenario {
    name: &'static str,
    tenants: usize,
    /// When row `i` wakes, and its priority: expressions of SQL.
    wake_at: &'static str,
    priority: &'static str,
}

/// As many in the short queue as in the long one, each with runs of every kind: only the length differs.
const TENANTS: usize = 250;

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "one tenant", tenants: 1, wake_at: "1000 + i", priority: "5" },
    Scenario { name: "many tenants", tenants: TENANTS, wake_at: "1000 + i", priority: "5" },
    Scenario {
        name: "many tenants, two of three not due",
        tenants: TENANTS,
        // Due; not due, some with a higher priority than what is due; waiting for somebody.
        wake_at: "CASE (i / TENANTS) % 3 WHEN 0 THEN 1000 + i WHEN 1 THEN 9000000000000000 END",
        priority: "CASE (i / TENANTS) % 3 WHEN 1 THEN 4 + i % TENANTS % 3 ELSE 5 END",
    },
];

/// Measures claims with `sizes` rows in the queue, in turns.
pub(crate) async fn measure(server: &Server, sizes: [usize; 2], rounds: usize, table: &mut Table) -> Outcome<()> {
    table.section("Postgres: a claim of 32 runs, rows in the queue");
    for scenario in SCENARIOS {
        let names = ["few", "many"];
        let mut queues = Vec::new();
        for (name, size) in names.iter().zip(sizes) {
            queues.push(filled(server, name, scenario, size).await?);
        }
        let about = WorkerAbout { version: "0".to_owned(), host: "here".to_owned(), concurrency: 1 };
        for world in &queues {
            world.store.register_worker(WORKER, &about).await?;
        }
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for (world, times) in queues.iter().zip(&mut times) {
                // Leases last for 10 s.
                if round % 4 == 0 && !world.store.heartbeat(WORKER).await? {
                    return Err("the claimer has no lease any more".into());
                }
                times.push(claim(world).await?);
            }
        }
        let medians = times.each_mut().map(|times| percentile(times, 50));
        for (size, median) in sizes.iter().zip(medians) {
            table.cell(&format!("{}, p50", scenario.name), "ms", size.to_string(), median, "");
        }
        for name in names {
            server.remove(name).await?;
        }
        table.one(&format!("{}: many against few", scenario.name), "x", medians[1] / medians[0], "<= 1.2");
    }
    Ok(())
}

/// One claim. What it brought is given back as it was.
async fn claim(world: &PgWorld) -> Outcome<Duration> {
    let begun = Instant::now();
    let claims = world.store.claim(WORKER, 2_000_000_000, CLAIM).await?;
    let time = begun.elapsed();
    if claims.taken.len() != CLAIM || !claims.unreadable.is_empty() {
        return Err(format!("a claim brought {} runs", claims.taken.len()).into());
    }
    let back = claims
        .taken
        .iter()
        .map(|claimed| world.store.give_back(&claimed.run.tenant, &claimed.run.id, &claimed.fence, 1));
    join_all(back).await.into_iter().collect::<Result<(), _>>()?;
    Ok(time)
}

/// A database with so many rows in its queue, the first ones of real runs.
async fn filled(server: &Server, name: &str, scenario: &Scenario, size: usize) -> Outcome<PgWorld> {
    let world = PgWorld::new(server, name, Way::Direct, false).await?;
    let client = cluster::connect(&server.url(name)).await?;
    let tenants = scenario.tenants.min(size / 3); // fewer in the quick mode, and more than a claim takes
    let all: Vec<usize> = (0..tenants).collect();
    for some in all.chunks(64) {
        let opened = some.iter().map(|tenant| open(&world, *tenant, if tenants == 1 { CLAIM } else { 1 }));
        join_all(opened).await.into_iter().collect::<Outcome<()>>()?;
    }
    fill(&client, scenario, tenants, size).await?;
    Ok(world)
}

/// Makes a tenant, unless it is the one that every world has, and leaves runs of it in the queue.
async fn open(world: &PgWorld, tenant: usize, runs: usize) -> Outcome<()> {
    let name = tenant_name(tenant);
    if tenant > 0 {
        create_tenant(&world.engine, &name).await?;
    }
    for _ in 0..runs {
        let request = RunRequest { tenant: name.clone(), agent: name.clone(), ..request(plan()) };
        let admitted = admit(request).map_err(|findings| format!("{findings:?}"))?;
        world.store.open_run(admitted, None, Stamp { now: 1, seed: [1; 32], actor: actor() }).await?;
    }
    Ok(())
}

fn tenant_name(index: usize) -> String {
    if index == 0 { TENANT.to_owned() } else { format!("t{index}") }
}

async fn fill(client: &Client, scenario: &Scenario, tenants: usize, size: usize) -> Outcome<()> {
    let [wake_at, priority] =
        [scenario.wake_at, scenario.priority].map(|sql| sql.replace("TENANTS", &tenants.to_string()));
    let sql = format!(
        "INSERT INTO public.run_queue (tenant_id, run_id, epoch, next_seq, head, wake_at, priority, agent_id)
         SELECT tenant, 'waits-' || i, 0, 5, repeat('0', 64), {wake_at}, {priority}, tenant FROM (
             SELECT i, CASE i % {tenants} WHEN 0 THEN '{TENANT}' ELSE 't' || i % {tenants} END AS tenant
             FROM generate_series((SELECT count(*) FROM public.run_queue), {size} - 1) AS i) AS row;
         VACUUM ANALYZE public.run_queue"
    );
    let (fill, vacuum) = sql.split_once(';').ok_or("two statements")?;
    client.batch_execute(fill).await?;
    client.batch_execute(vacuum).await?;
    Ok(())
}
