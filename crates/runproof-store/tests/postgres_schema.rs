//! What the Postgres schema promises by itself: how a database comes to it, what its rules refuse, that tenants are apart,
//! and how runs are claimed. The rules are acceptance 4 of the first system.

mod claims;
mod migrating;
mod rules;
mod tables;
mod tenants;

use runproof_store::postgres::migrate;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::cluster::{Database, connect, fresh_database};

const NOW: &str = "2027-01-15T08:00:00.000000Z";

/// An empty database at head, and a session that owns it.
async fn migrated() -> (Database, Client) {
    let database = fresh_database();
    let mut client = connect(&database.direct_url()).await.unwrap();
    assert!(migrate::apply(&mut client, NOW).await.unwrap().is_head());
    (database, client)
}

/// SQLSTATE and text of a refusal.
fn refusal(error: &Error) -> (String, String) {
    let said = error.as_db_error().unwrap_or_else(|| panic!("not a refusal: {error}"));
    (said.code().code().to_owned(), said.message().to_owned())
}

/// The statement is refused with exactly this text.
async fn refused(client: &Client, sql: &str, expected: &str) {
    let answer = client.execute_typed(sql, &[]).await.map_err(|error| refusal(&error).1);
    assert_eq!(answer, Err(expected.to_owned()), "{sql}");
}

/// The statement is taken, and changes one row.
async fn taken(client: &Client, sql: &str) {
    let answer = client.execute_typed(sql, &[]).await.map_err(|error| refusal(&error).1);
    assert_eq!(answer, Ok(1), "{sql}");
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_typed_one(sql, &[]).await.unwrap().get(0)
}

async fn texts(client: &Client, sql: &str) -> Vec<String> {
    client.query_typed(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// One row of each table of tenants, for one tenant.
fn rows(tenant: &str) -> Vec<(&'static str, String)> {
    let hash = "ab".repeat(32);
    vec![
        ("tenants", format!("(id, created_at) VALUES ('{tenant}', '{NOW}')")),
        ("agents", format!("(tenant_id, id, name, created_at) VALUES ('{tenant}', 'a', 'A', '{NOW}')")),
        (
            "transitions",
            format!(
                "(tenant_id, stream, first_seq, event_count, events, payloads) VALUES ('{tenant}', 'run/r', 0, 2, 'e', 'p')"
            ),
        ),
        (
            "leaves",
            format!(
                "(first_leaf, tenant_id, stream, first_seq, transition_id)
                 SELECT coalesce(max(first_leaf) + 2, 0), '{tenant}', 'run/r', 0, 1 FROM public.leaves"
            ),
        ),
        (
            "run_seals",
            format!("VALUES ('{tenant}', 'r', 'succeeded', 'done', 2, 1, '{hash}', '{hash}', 1, 0, 0, 0, 0, '{NOW}')"),
        ),
        (
            "runs",
            format!(
                "(tenant_id, id, run_no, agent_id, origin_system_id, goal, plan_json)
                 VALUES ('{tenant}', 'r', 1, 'a', 'test', 'goal', '{{}}')"
            ),
        ),
        (
            "aos_traces",
            format!(
                "(tenant_id, trace_id, run_id, status, schema_version, started_at, created_at)
                 VALUES ('{tenant}', 'trace_r', 'r', 'running', 'runproof/1', '{NOW}', '{NOW}')"
            ),
        ),
        ("aos_trace_steps", step(tenant, 0)),
        ("erasures", format!("VALUES ('{tenant}', 'x', 0, 'goal', -1, '{NOW}')")),
        ("stream_heads", format!("VALUES ('{tenant}', 'tenant/{tenant}', 1, '{hash}', 0, 1)")),
        (
            "run_queue",
            format!("(tenant_id, run_id, epoch, next_seq, head, wake_at) VALUES ('{tenant}', 'r', 0, 2, '{hash}', 0)"),
        ),
        ("idempotency_keys", format!("VALUES ('{tenant}', 'k', '{hash}', 'r')")),
        ("requests", format!("(tenant_id, run_id, body) VALUES ('{tenant}', 'r', '{{}}')")),
        ("kv", format!("(tenant_id, key, value, version) VALUES ('{tenant}', 'k', '1', 1)")),
        ("limits", format!("VALUES ('{tenant}', '', 1)")),
        ("holds", format!("VALUES ('{tenant}', 'r', 1, 'why', '{NOW}', NULL)")),
        ("archives", format!("VALUES ('{tenant}', 'r', 1, '0-1', 'b', '{hash}', '{NOW}')")),
        ("tombstones", format!("VALUES ('{tenant}', 'r', 1, '0-1', 'e', '{hash}', '{NOW}')")),
    ]
}

fn step(tenant: &str, index: u32) -> String {
    format!(
        "(tenant_id, trace_id, step_index, run_id, step_id, plan_index, skill_id, skill_name, status, outcome_category,
          cost_microcents, duration_us, retry_count, source, level, timestamp)
         VALUES ('{tenant}', 'trace_r', {index}, 'r', 's', 0, 'echo@1', 'echo', 'success', 'ok', 2500000, 1500, 0, 'engine',
                 'INFO', '{NOW}')"
    )
}

async fn populate(client: &Client, tenant: &str) {
    for (table, row) in rows(tenant) {
        taken(client, &format!("INSERT INTO public.{table} {row}")).await;
    }
}

/// A worker whose lease ends that many seconds from now.
async fn worker(client: &Client, id: &str, lease: i64) {
    let sql = "INSERT INTO public.workers (id, version, host, concurrency, lease_until)
               VALUES ($1, '0', 'here', 8, clock_timestamp() + $2 * interval '1 second')";
    client.execute_typed(sql, &[(&id, Type::TEXT), (&lease, Type::INT8)]).await.unwrap();
}
