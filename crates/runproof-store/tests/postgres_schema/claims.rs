//! Claims across tenants: whose turn it is, limits, several claimers at once, what a claim costs, and reaping.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{migrated, number, refusal, worker};
use crate::cluster::connect;

/// A run in the queue, due at `wake_at`.
struct Queued {
    tenant: &'static str,
    run: String,
    agent: &'static str,
    priority: i64,
    wake_at: i64,
    format: i64,
}

fn queued(tenant: &'static str, run: impl Into<String>, wake_at: i64) -> Queued {
    Queued { tenant, run: run.into(), agent: "a", priority: 5, wake_at, format: 1 }
}

async fn enqueue(client: &Client, runs: impl IntoIterator<Item = Queued>) {
    let sql = "INSERT INTO run_queue (tenant_id, run_id, epoch, next_seq, head, wake_at, priority, agent_id, format)
               VALUES ($1, $2, 0, 1, 'h', $3, $4, $5, $6)";
    for run in runs {
        let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 6] = [
            (&run.tenant, Type::TEXT),
            (&run.run, Type::TEXT),
            (&run.wake_at, Type::INT8),
            (&run.priority, Type::INT8),
            (&run.agent, Type::TEXT),
            (&run.format, Type::INT8),
        ];
        client.execute_typed(sql, &values).await.unwrap();
    }
}

/// Claims at time 100, and answers tenant and run, sorted.
async fn claim(client: &Client, owner: &str, limit: i32, after: &str) -> Vec<(String, String)> {
    let sql = "SELECT tenant_id, run_id FROM public.runproof_claim($1, 100, $2, 1, $3)";
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&owner, Type::TEXT), (&limit, Type::INT4), (&after, Type::TEXT)];
    let rows = client.query_typed(sql, &values).await.unwrap();
    let mut claimed: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    claimed.sort();
    claimed
}

async fn limit(client: &Client, tenant: &str, agent: &str, most: i64) {
    let sql = format!("INSERT INTO limits VALUES ('{tenant}', '{agent}', {most})");
    client.batch_execute(&sql).await.unwrap();
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(tenant, run)| ((*tenant).to_owned(), (*run).to_owned())).collect()
}

#[tokio::test]
async fn in_a_tenant_the_higher_priority_goes_first_then_what_waited_longest() {
    let (_database, client) = migrated().await;
    worker(&client, "w", 60).await;
    let of = |run: &str, priority, wake_at| Queued { priority, ..queued("t", run, wake_at) };
    enqueue(&client, [of("late", 5, 9), of("early", 5, 1), of("low", 0, 0), of("high", 9, 50), of("not yet", 9, 101)])
        .await;
    for expected in ["high", "early", "late", "low"] {
        assert_eq!(claim(&client, "w", 1, "").await, pairs(&[("t", expected)]));
    }
    assert_eq!(claim(&client, "w", 1, "").await, []);
}

#[tokio::test]
async fn between_tenants_whoever_has_fewest_runs_going_comes_first() {
    let (_database, client) = migrated().await;
    worker(&client, "w", 60).await;
    enqueue(&client, (0..20).map(|number| queued("many", format!("m{number:02}"), 0))).await;
    enqueue(&client, [queued("few", "f0", 90), queued("few", "f1", 90)]).await;
    enqueue(&client, [queued("one", "o0", 50)]).await;
    assert_eq!(
        claim(&client, "w", 2, "").await,
        pairs(&[("many", "m00"), ("one", "o0")]),
        "equal: what waited longest"
    );
    assert_eq!(claim(&client, "w", 1, "").await, pairs(&[("few", "f0")]), "it has none going");
    assert_eq!(claim(&client, "w", 3, "").await, pairs(&[("few", "f1"), ("many", "m01"), ("many", "m02")]));
    assert_eq!(claim(&client, "w", 100, "").await.len(), 17, "nobody else is there: all the rest");
}

#[tokio::test]
async fn a_claim_looks_at_64_tenants_after_the_last_one_and_goes_round() {
    let (_database, client) = migrated().await;
    worker(&client, "w", 60).await;
    let fill = "INSERT INTO run_queue (tenant_id, run_id, epoch, next_seq, head, wake_at)
                SELECT 't' || lpad(i::text, 3, '0'), 'r', 0, 1, 'h', 100 - i FROM generate_series(0, 99) i";
    client.batch_execute(fill).await.unwrap();
    // Of t050 to t099 and t000 to t013 the one that waited longest is t099; without going round it would be the same.
    assert_eq!(claim(&client, "w", 1, "t049").await, pairs(&[("t099", "r")]));
    assert_eq!(claim(&client, "w", 1, "").await, pairs(&[("t063", "r")]), "t064 and later are not looked at");
    assert_eq!(claim(&client, "w", 1, "t099").await, pairs(&[("t064", "r")]), "t063 is taken");
    assert_eq!(claim(&client, "w", 100, "t090").await.len(), 64);
    assert_eq!(claim(&client, "w", 100, "t090").await.len(), 33, "each comes to its turn");
}

#[tokio::test]
async fn tenants_at_their_limit_are_in_nobodys_way() {
    let (_database, client) = migrated().await;
    worker(&client, "w", 60).await;
    let fill = "INSERT INTO run_queue (tenant_id, run_id, epoch, next_seq, head, wake_at)
                SELECT 't' || lpad(i::text, 3, '0'), 'r', 0, 1, 'h', 0 FROM generate_series(0, 199) i;
                INSERT INTO limits SELECT 't' || lpad(i::text, 3, '0'), CASE WHEN i % 2 = 0 THEN 'a' ELSE '' END, 0
                FROM generate_series(0, 198) i;
                UPDATE run_queue SET agent_id = 'a'";
    client.batch_execute(fill).await.unwrap();
    assert_eq!(claim(&client, "w", 5, "").await, pairs(&[("t199", "r")]));
    assert_eq!(claim(&client, "w", 5, "").await, []);
}

#[tokio::test]
async fn the_backlog_of_an_agent_at_its_limit_does_not_hold_up_its_tenant() {
    let (_database, client) = migrated().await;
    worker(&client, "w", 60).await;
    let of = |run: String, agent, wake_at| Queued { agent, ..queued("t", run, wake_at) };
    enqueue(&client, (0..50).map(|number| of(format!("a{number:02}"), "a", 0))).await;
    enqueue(&client, (0..3).map(|number| of(format!("b{number}"), "b", 50))).await;
    limit(&client, "t", "a", 2).await;
    limit(&client, "t", "", 4).await;
    let expected = [("t", "a00"), ("t", "a01"), ("t", "b0"), ("t", "b1")];
    assert_eq!(claim(&client, "w", 10, "").await, pairs(&expected), "two of the agent, four of the tenant");
    client.batch_execute("DELETE FROM run_queue WHERE owner IS NOT NULL AND agent_id = 'b'").await.unwrap();
    assert_eq!(claim(&client, "w", 10, "").await, pairs(&[("t", "b2")]));
}

#[tokio::test]
async fn a_run_of_a_newer_format_is_left_and_hides_nothing() {
    let (_database, client) = migrated().await;
    worker(&client, "w", 60).await;
    enqueue(&client, [Queued { format: 2, ..queued("t", "newer", 0) }]).await;
    assert_eq!(claim(&client, "w", 5, "").await, []);
    let due = "SELECT count(*) FROM (SELECT 1 WHERE runproof_has_due(100, 1)) due";
    assert_eq!(number(&client, due).await, 0);
    enqueue(&client, [queued("t", "ours", 7)]).await;
    assert_eq!(number(&client, due).await, 1);
    assert_eq!(claim(&client, "w", 5, "").await, pairs(&[("t", "ours")]));
}

#[tokio::test]
async fn a_worker_without_a_lease_claims_nothing() {
    let (_database, client) = migrated().await;
    worker(&client, "lapsed", -1).await;
    worker(&client, "dead", 60).await;
    client.batch_execute("UPDATE workers SET dead = true WHERE id = 'dead'").await.unwrap();
    enqueue(&client, [queued("t", "r", 0)]).await;
    for owner in ["lapsed", "dead", "nobody"] {
        let sql = format!("SELECT * FROM runproof_claim('{owner}', 100, 1, 1, '')");
        let error = client.query_typed(&sql, &[]).await.unwrap_err();
        assert_eq!(refusal(&error), ("RP001".to_owned(), "worker lapsed".to_owned()), "{owner}");
    }
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    worker(&client, "w", 60).await;
    let error = client.query_typed("SELECT * FROM runproof_claim('w', 100, 1, 1, '')", &[]).await.unwrap_err();
    assert_eq!(refusal(&error).1, "runproof_claim needs READ COMMITTED");
}

#[tokio::test]
async fn runs_that_another_claimer_is_taking_are_passed_over() {
    let (database, first) = migrated().await;
    let second = connect(&database.direct_url()).await.unwrap();
    worker(&first, "w", 60).await;
    enqueue(&first, (0..5).map(|number| queued("free", format!("f{number}"), 0))).await;
    enqueue(&first, [queued("limited", "l0", 0), queued("limited", "l1", 0)]).await;
    limit(&first, "limited", "", 2).await;
    first.batch_execute("BEGIN").await.unwrap();
    assert_eq!(claim(&first, "w", 2, "").await, pairs(&[("free", "f0"), ("limited", "l0")]));
    assert_eq!(claim(&second, "w", 2, "").await, pairs(&[("free", "f1"), ("free", "f2")]), "the limit is locked");
    first.batch_execute("COMMIT").await.unwrap();
    assert_eq!(claim(&second, "w", 9, "").await, pairs(&[("free", "f3"), ("free", "f4"), ("limited", "l1")]));
}

/// Claims, checks the limits, and ends what it got, until no run is free.
async fn claimer(url: String, name: String) -> BTreeMap<String, u64> {
    let client = connect(&url).await.unwrap();
    worker(&client, &name, 600).await;
    let mut taken = BTreeMap::new();
    let left = "SELECT count(*) FROM run_queue WHERE owner IS NULL";
    while number(&client, left).await > 0 {
        let claimed = claim(&client, &name, 5, "").await;
        let over = "SELECT count(*) FROM limits l WHERE l.max_running < (SELECT count(*) FROM run_queue q
                    WHERE q.tenant_id = l.tenant_id AND q.owner IS NOT NULL AND l.agent_id IN ('', q.agent_id))";
        assert_eq!(number(&client, over).await, 0, "a limit is passed");
        for (tenant, run) in claimed {
            *taken.entry(tenant.clone()).or_default() += 1;
            let end =
                format!("DELETE FROM run_queue WHERE tenant_id = '{tenant}' AND run_id = '{run}' AND owner = '{name}'");
            assert_eq!(client.execute_typed(&end, &[]).await.unwrap(), 1, "{run} is held by somebody else too");
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_claimers_at_once_take_each_run_once_and_keep_every_limit() {
    let (database, client) = migrated().await;
    let fill = "INSERT INTO run_queue (tenant_id, run_id, epoch, next_seq, head, wake_at, agent_id)
                SELECT CASE WHEN i % 2 = 0 THEN 'limited' ELSE 'free' END, 'r' || i, 0, 1, 'h', i,
                       CASE WHEN i % 4 = 0 THEN 'a' ELSE 'b' END
                FROM generate_series(1, 400) i;
                UPDATE run_queue SET wake_at = 0";
    client.batch_execute(fill).await.unwrap();
    limit(&client, "limited", "", 4).await;
    limit(&client, "limited", "a", 1).await;
    let claimers: Vec<_> =
        (0..8).map(|number| tokio::spawn(claimer(database.direct_url(), format!("w{number}")))).collect();
    let mut taken: BTreeMap<String, u64> = BTreeMap::new();
    for claimer in claimers {
        for (tenant, runs) in claimer.await.unwrap() {
            *taken.entry(tenant).or_default() += runs;
        }
    }
    assert_eq!(taken, BTreeMap::from([("free".to_owned(), 200), ("limited".to_owned(), 200)]));
}

/// Pages that a claim of 32 runs touches, the second time in a session.
async fn pages(url: &str, fill: &str) -> i64 {
    let client = connect(url).await.unwrap();
    client.batch_execute(&format!("TRUNCATE run_queue; {fill}")).await.unwrap();
    let explain =
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM public.runproof_claim('w', 1000000, 32, 1, '')";
    let mut pages = 0;
    for _ in 0..2 {
        client.batch_execute("BEGIN").await.unwrap();
        let messages = client.simple_query(explain).await.unwrap();
        client.batch_execute("ROLLBACK").await.unwrap();
        let rows = messages
            .iter()
            .filter_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None });
        let plan: serde_json::Value = serde_json::from_str(&rows.collect::<String>()).unwrap();
        let plan = &plan[0]["Plan"];
        assert_eq!(plan["Actual Rows"], 32);
        pages = plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap();
    }
    pages
}

#[tokio::test]
async fn what_a_claim_costs_does_not_grow_with_the_queue() {
    let (database, client) = migrated().await;
    worker(&client, "w", 600).await;
    let fill = |tenants: u32, runs: u32, priority: &str, wake_at: &str| {
        format!(
            "INSERT INTO run_queue (tenant_id, run_id, epoch, next_seq, head, priority, wake_at)
             SELECT 't' || i % {tenants}, 'r' || i, 0, 1, 'h', {priority}, {wake_at} FROM generate_series(1, {runs}) i;"
        )
    };
    let url = database.direct_url();
    let small = pages(&url, &fill(1, 1_000, "5", "i")).await;
    for (what, many) in [
        ("of one tenant", fill(1, 100_000, "5", "i")),
        (
            "of a higher priority that are not due",
            fill(1, 1_000, "5", "i") + &fill(1, 100_000, "9", "2000000 + i").replace("'r' ||", "'s' ||"),
        ),
    ] {
        let large = pages(&url, &many).await;
        assert!(large * 2 <= small * 3, "{large} pages with 100,000 runs {what}, {small} with 1,000");
    }
    let small = pages(&url, &fill(1_000, 1_000, "5", "i")).await;
    let large = pages(&url, &fill(1_000, 100_000, "5", "i")).await;
    assert!(large * 2 <= small * 3, "{large} pages with 100,000 runs of 1,000 tenants, {small} with 1,000");
}

#[tokio::test]
async fn runs_of_dead_and_unknown_workers_are_free_again_and_nobody_elses() {
    let (_database, client) = migrated().await;
    for (id, lease) in [("live", 60), ("gone", -1)] {
        worker(&client, id, lease).await;
    }
    enqueue(&client, ["live", "gone", "unknown", "free"].map(|run| queued("t", run, 900))).await;
    client.batch_execute("UPDATE run_queue SET owner = run_id, epoch = 7 WHERE run_id <> 'free'").await.unwrap();
    let reap = "SELECT workers * 1000 + runs FROM runproof_reap(50)";
    assert_eq!(number(&client, reap).await, 1_002);
    assert_eq!(number(&client, reap).await, 0);
    let freed = "SELECT run_id FROM run_queue WHERE owner IS NULL AND epoch = 8 AND wake_at = 50 ORDER BY run_id";
    assert_eq!(super::texts(&client, freed).await, ["gone", "unknown"]);
    assert_eq!(super::texts(&client, "SELECT id FROM workers WHERE dead").await, ["gone"]);
    assert_eq!(super::texts(&client, "SELECT run_id FROM runproof_owned('live')").await, ["live"]);
}

#[tokio::test]
async fn one_reaping_takes_ten_workers_and_five_hundred_runs() {
    let (_database, client) = migrated().await;
    let fill = "INSERT INTO workers (id, version, host, concurrency, lease_until)
                SELECT 'w' || i, '0', 'h', 1, clock_timestamp() - interval '1 hour' FROM generate_series(1, 12) i;
                INSERT INTO run_queue (tenant_id, run_id, owner, epoch, next_seq, head)
                SELECT 't', 'r' || i, 'nobody', 1, 1, 'h' FROM generate_series(1, 600) i";
    client.batch_execute(fill).await.unwrap();
    let reap = "SELECT workers * 1000 + runs FROM runproof_reap(50)";
    for expected in [10_500, 2_100, 0] {
        assert_eq!(number(&client, reap).await, expected);
    }
}

#[tokio::test]
async fn what_has_no_place_in_the_ledger_is_listed_in_the_order_of_its_ids() {
    let (_database, client) = migrated().await;
    let fill = "INSERT INTO transitions (tenant_id, stream, first_seq, event_count, events, payloads)
                SELECT CASE WHEN i % 2 = 0 THEN 't_a' ELSE 't_b' END, 's', i, 1, 'e', '' FROM generate_series(1, 9) i;
                INSERT INTO leaves SELECT 0, tenant_id, stream, first_seq, id FROM transitions WHERE id = 4;
                UPDATE ledger_head SET settled_id = 2";
    client.batch_execute(fill).await.unwrap();
    let listed = "SELECT id || ' ' || tenant_id FROM runproof_unplaced(3)";
    assert_eq!(super::texts(&client, listed).await, ["3 t_b", "5 t_b", "6 t_a"]);
}
