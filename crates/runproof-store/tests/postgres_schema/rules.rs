//! Every rule of the tables, by the statement that it refuses and by its text. The session is a superuser: what is refused
//! to it is refused to everybody who leaves the triggers in place.

use runproof_store::postgres::protections;
use tokio_postgres::Client;

use super::{migrated, number, populate, refusal, refused, step, taken};

const TRACE_UPDATE: &str = "S6_IMMUTABILITY_VIOLATION: aos_traces is immutable. UPDATE rejected for trace_id=trace_r. \
     Only archival (archived_at: NULL -> timestamp) or completion (status/completed_at/metadata only) is permitted.";
const STEP_UPDATE: &str = "S6_IMMUTABILITY_VIOLATION: aos_trace_steps is immutable. UPDATE rejected for step_index=0 \
     trace_id=trace_r. Only archival (archived_at: NULL -> timestamp) is permitted.";
const COMPLETE: &str = "UPDATE aos_traces SET status = 'completed', completed_at = 'later', metadata = '{}'";

/// Another value for each column of a table that is not generated.
async fn other_values(client: &Client, table: &str) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
         WHERE attrelid = 'public.{table}'::regclass AND attnum > 0 AND attgenerated = '' AND attidentity = ''"
    );
    let other = |(name, kind): (String, String)| {
        let value = match kind.as_str() {
            "bigint" => format!("coalesce(\"{name}\", 0) + 1"),
            "bytea" => format!("'\\x00' || \"{name}\""),
            "text" => format!("coalesce(\"{name}\", '') || '~'"),
            other => panic!("`{table}.{name}` is {other}"),
        };
        (name, value)
    };
    client.query_typed(&sql, &[]).await.unwrap().iter().map(|row| other((row.get(0), row.get(1)))).collect()
}

/// A column that a later migration adds cannot be changed either.
async fn later_column(client: &Client, table: &str) {
    client.batch_execute(&format!("ALTER TABLE {table} ADD COLUMN later text")).await.unwrap();
}

#[tokio::test]
async fn a_run_needs_an_origin_and_an_agent_that_are_real() {
    let (_database, client) = migrated().await;
    let insert = |agent: &str, origin: &str| {
        format!(
            "INSERT INTO runs (tenant_id, id, agent_id, goal, origin_system_id) VALUES ('t', 'r', {agent}, 'g', {origin})"
        )
    };
    let without = "INSERT INTO runs (tenant_id, id, agent_id, goal) VALUES ('t', 'r', 'a', 'g')";
    let text = r#"null value in column "origin_system_id" of relation "runs" violates not-null constraint"#;
    refused(&client, without, text).await;
    for (agent, origin, constraint, text) in [
        (
            "'a'",
            "'legacy-migration'",
            "chk_runs_origin_system_not_legacy",
            "origin_system_id cannot be 'legacy-migration' for new runs (use real system identifier)",
        ),
        (
            "'legacy-unknown'",
            "'test'",
            "chk_runs_agent_not_legacy",
            "agent_id cannot be 'legacy-unknown' for new runs (use real agent identifier)",
        ),
    ] {
        let error = client.execute_typed(&insert(agent, origin), &[]).await.unwrap_err();
        assert_eq!(refusal(&error), ("23514".to_owned(), text.to_owned()));
        assert_eq!(error.as_db_error().unwrap().constraint(), Some(constraint));
    }
    for blank in ["''", "'  '", "E'\\t\\n'"] {
        let error = client.execute_typed(&insert("'a'", blank), &[]).await.unwrap_err();
        assert_eq!(refusal(&error).0, "23514", "{blank}");
    }
    taken(&client, &insert("'a'", "'test'")).await;
}

#[tokio::test]
async fn a_number_of_a_run_is_given_once() {
    let (_database, client) = migrated().await;
    let insert = |tenant: &str, id: &str, number: &str| {
        format!(
            "INSERT INTO runs (tenant_id, id, run_no, agent_id, goal, origin_system_id)
             VALUES ('{tenant}', '{id}', {number}, 'a', 'g', 'test')"
        )
    };
    for (tenant, id, number) in
        [("t", "r_1", "1"), ("t", "r_2", "2"), ("u", "r_1", "1"), ("t", "r_3", "NULL"), ("t", "r_4", "NULL")]
    {
        taken(&client, &insert(tenant, id, number)).await;
    }
    let error = client.execute_typed(&insert("t", "r_5", "2"), &[]).await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().constraint(), Some("runs_run_no"));
}

#[tokio::test]
async fn a_trace_completes_once_and_is_archived_once() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    refused(&client, "UPDATE aos_traces SET archived_at = 'now'", TRACE_UPDATE).await;
    refused(&client, "UPDATE aos_traces SET metadata = '{}'", TRACE_UPDATE).await;
    refused(&client, "UPDATE aos_traces SET status = status", TRACE_UPDATE).await;
    refused(&client, "UPDATE aos_traces SET status = 'failed', run_id = 'other'", TRACE_UPDATE).await;
    taken(&client, COMPLETE).await;
    refused(&client, COMPLETE, TRACE_UPDATE).await;
    for change in ["status = 'running'", "status = 'failed'", "completed_at = 'never'", "metadata = NULL"] {
        refused(&client, &format!("UPDATE aos_traces SET {change}"), TRACE_UPDATE).await;
        refused(&client, &format!("UPDATE aos_traces SET archived_at = 'now', {change}"), TRACE_UPDATE).await;
    }
    taken(&client, "UPDATE aos_traces SET archived_at = 'now'").await;
    refused(&client, "UPDATE aos_traces SET archived_at = NULL", TRACE_UPDATE).await;
    refused(&client, "UPDATE aos_traces SET archived_at = 'later'", TRACE_UPDATE).await;
}

#[tokio::test]
async fn no_other_column_of_a_trace_changes_with_its_completion() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    later_column(&client, "aos_traces").await;
    for (column, value) in other_values(&client, "aos_traces").await {
        if !["status", "completed_at", "metadata"].contains(&column.as_str()) {
            refused(&client, &format!("UPDATE aos_traces SET status = 'failed', {column} = {value}"), TRACE_UPDATE)
                .await;
        }
    }
}

#[tokio::test]
async fn a_step_enters_a_running_trace_only_and_is_archived_after_it() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    let refusal = |index: u32| {
        format!(
            "S6_IMMUTABILITY_VIOLATION: aos_trace_steps INSERT rejected for step_index={index} trace_id=trace_r. \
             The trace does not exist or is not running."
        )
    };
    taken(&client, &format!("INSERT INTO aos_trace_steps {}", step("t", 1))).await;
    refused(&client, &format!("INSERT INTO aos_trace_steps {}", step("nobody", 1)), &refusal(1)).await;
    refused(&client, "UPDATE aos_trace_steps SET archived_at = 'now' WHERE step_index = 0", STEP_UPDATE).await;
    taken(&client, COMPLETE).await;
    refused(&client, &format!("INSERT INTO aos_trace_steps {}", step("t", 2)), &refusal(2)).await;
    assert_eq!(number(&client, "SELECT count(*) FROM aos_trace_steps").await, 2);
    later_column(&client, "aos_trace_steps").await;
    for (column, value) in other_values(&client, "aos_trace_steps").await {
        let archive = if column == "archived_at" { "" } else { "archived_at = 'now', " };
        let value = if column == "archived_at" { "NULL" } else { &value };
        let change = format!("UPDATE aos_trace_steps SET {archive}{column} = {value} WHERE step_index = 0");
        refused(&client, &change, STEP_UPDATE).await;
    }
    taken(&client, "UPDATE aos_trace_steps SET archived_at = 'now' WHERE step_index = 0").await;
    refused(&client, "UPDATE aos_trace_steps SET archived_at = 'later' WHERE step_index = 0", STEP_UPDATE).await;
}

#[tokio::test]
async fn a_run_moves_until_it_is_over() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    later_column(&client, "runs").await;
    let fixed = ["tenant_id", "id", "run_no", "agent_id", "origin_system_id", "actor_type", "actor_id", "goal"];
    let fixed = [&fixed[..], &["is_synthetic", "synthetic_scenario_id", "created_at", "later"]].concat();
    let text = "runs: who, what and where from cannot be changed";
    for (column, value) in other_values(&client, "runs").await {
        let change = format!("UPDATE runs SET {column} = {value}");
        if fixed.contains(&column.as_str()) {
            refused(&client, &change, text).await;
        } else if column != "status" {
            taken(&client, &change).await;
        }
    }
    taken(&client, "UPDATE runs SET status = 'succeeded', cost_microcents = 7, duration_us = 9").await;
    for (column, value) in other_values(&client, "runs").await {
        let value = if column == "status" { "'failed'" } else { &value };
        refused(&client, &format!("UPDATE runs SET {column} = {value}"), "runs: a run that is over cannot be changed")
            .await;
    }
}

#[tokio::test]
async fn a_copy_goes_when_its_erasure_is_on_record_and_only_then() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    taken(&client, "UPDATE runs SET status = 'succeeded'").await;
    let text = "runs: a run that is over cannot be changed";
    for (column, field) in [("goal", "goal"), ("plan_json", "plan")] {
        refused(&client, &format!("UPDATE runs SET {column} = NULL"), text).await;
        let record = format!("INSERT INTO erasures VALUES ('t', 'r', 0, '{field}', -1, 'now')");
        taken(&client, &record).await;
        refused(&client, &format!("UPDATE runs SET {column} = 'another'"), text).await;
        refused(&client, &format!("UPDATE runs SET {column} = NULL, attempts = 9"), text).await;
        taken(&client, &format!("UPDATE runs SET {column} = NULL")).await;
    }
}

#[tokio::test]
async fn a_payload_loses_a_value_when_its_erasure_is_on_record_and_only_then() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    let text = "S6_IMMUTABILITY_VIOLATION: transitions is append-only. UPDATE rejected. \
         Only the erasure of a value whose erasure record exists is permitted.";
    let erase = "UPDATE transitions SET payloads = ''";
    refused(&client, erase, text).await;
    taken(&client, "INSERT INTO erasures VALUES ('t', 'r', 2, 'goal', -1, 'now')").await;
    refused(&client, erase, text).await;
    taken(&client, "INSERT INTO erasures VALUES ('t', 'r', 1, 'goal', -1, 'now')").await;
    later_column(&client, "transitions").await;
    for (column, value) in other_values(&client, "transitions").await {
        if column != "payloads" {
            refused(&client, &format!("UPDATE transitions SET payloads = '', {column} = {value}"), text).await;
        }
    }
    taken(&client, erase).await;
}

#[tokio::test]
async fn what_was_recorded_never_changes() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    taken(&client, "INSERT INTO checkpoints VALUES (1, 'r', 'n')").await;
    for (table, text) in [
        ("leaves", "S6_IMMUTABILITY_VIOLATION: leaves is append-only. UPDATE rejected."),
        ("run_seals", "S6_IMMUTABILITY_VIOLATION: run_seals is append-only. UPDATE rejected."),
        ("checkpoints", "S6_IMMUTABILITY_VIOLATION: checkpoints is append-only. UPDATE rejected."),
        ("tenants", "tenants: rows cannot be changed"),
        ("agents", "agents: rows cannot be changed"),
        ("erasures", "erasures: rows cannot be changed"),
        ("archives", "S6_IMMUTABILITY_VIOLATION: archives is append-only. UPDATE rejected."),
        ("tombstones", "S6_IMMUTABILITY_VIOLATION: tombstones is append-only. UPDATE rejected."),
    ] {
        later_column(&client, table).await;
        for (column, value) in other_values(&client, table).await {
            refused(&client, &format!("UPDATE {table} SET {column} = {value}"), text).await;
        }
    }
}

#[tokio::test]
async fn tiles_and_the_head_only_grow() {
    let (_database, client) = migrated().await;
    taken(&client, r"INSERT INTO ledger_tiles VALUES (0, 0, '\x0102')").await;
    later_column(&client, "ledger_tiles").await;
    let text = "S6_IMMUTABILITY_VIOLATION: ledger_tiles only grows. UPDATE rejected.";
    for change in [r"hashes = '\x0102'", r"hashes = '\x01'", r"hashes = '\x010303'", "level = 1", "tile = 1"] {
        refused(&client, &format!("UPDATE ledger_tiles SET {change}"), text).await;
    }
    refused(&client, r"UPDATE ledger_tiles SET hashes = '\x010203', later = 'x'", text).await;
    taken(&client, r"UPDATE ledger_tiles SET hashes = '\x010203'").await;
    let put = r"INSERT INTO ledger_tiles VALUES (0, 0, '\x05') ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes";
    refused(&client, put, text).await;

    taken(&client, "UPDATE ledger_head SET size = 3, settled_id = 2").await;
    for change in ["size = 2", "settled_id = 1"] {
        refused(&client, &format!("UPDATE ledger_head SET {change}"), "ledger_head: cannot go back").await;
    }
}

#[tokio::test]
async fn a_lease_that_lapsed_is_not_renewed() {
    let (_database, client) = migrated().await;
    super::worker(&client, "w", 10).await;
    let renew = "UPDATE workers SET lease_until = clock_timestamp() + interval '1 hour'";
    taken(&client, renew).await;
    taken(&client, "UPDATE workers SET lease_until = clock_timestamp() - interval '1 second'").await;
    refused(&client, renew, "workers: a lease that lapsed cannot be renewed").await;
    taken(&client, "UPDATE workers SET dead = true, lease_until = clock_timestamp()").await;
    refused(&client, "UPDATE workers SET dead = false", "workers: a lease that lapsed cannot be renewed").await;
}

#[tokio::test]
async fn nothing_that_was_written_is_deleted_or_truncated() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    taken(&client, "INSERT INTO checkpoints VALUES (1, 'r', 'n')").await;
    taken(&client, "INSERT INTO ledger_tiles VALUES (0, 0, '')").await;
    let s6 = "S6_IMMUTABILITY_VIOLATION: ";
    let append_only = |table: &str, verb: &str| format!("{s6}{table} is append-only. {verb} rejected.");
    let plain = |table: &str| (format!("{table}: direct DELETE not allowed"), format!("{table}: TRUNCATE not allowed"));
    let mut texts = vec![
        (
            "aos_traces",
            format!(
                "{s6}aos_traces direct DELETE not allowed. Archive first using cleanup_old_traces(). trace_id=trace_r"
            ),
            format!("{s6}aos_traces TRUNCATE not allowed."),
        ),
        (
            "aos_trace_steps",
            format!("{s6}aos_trace_steps direct DELETE not allowed. Use archival. step_index=0 trace_id=trace_r"),
            format!("{s6}aos_trace_steps TRUNCATE not allowed."),
        ),
        (
            "ledger_tiles",
            format!("{s6}ledger_tiles only grows. DELETE rejected."),
            format!("{s6}ledger_tiles only grows. TRUNCATE rejected."),
        ),
    ];
    for table in ["transitions", "leaves", "run_seals", "checkpoints"] {
        texts.push((table, append_only(table, "DELETE"), append_only(table, "TRUNCATE")));
    }
    texts.push((
        "archives",
        format!("{s6}archives direct DELETE not allowed. Purge the run."),
        append_only("archives", "TRUNCATE"),
    ));
    texts.push(("tombstones", append_only("tombstones", "DELETE"), append_only("tombstones", "TRUNCATE")));
    for table in ["runs", "tenants", "agents", "erasures", "ledger_head", "holds"] {
        let (delete, truncate) = plain(table);
        texts.push((table, delete, truncate));
    }
    for (table, delete, truncate) in &texts {
        refused(&client, &format!("DELETE FROM {table}"), delete).await;
        refused(&client, &format!("TRUNCATE {table}"), truncate).await;
    }
    let mut guarded: Vec<&str> = texts.iter().map(|(table, ..)| *table).collect();
    let mut wanted: Vec<&str> = protections::triggers()
        .iter()
        .filter(|trigger| trigger.name.ends_with("_truncate"))
        .map(|trigger| trigger.table)
        .collect();
    guarded.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(guarded, wanted);
}

#[tokio::test]
async fn a_hold_is_lifted_once_and_nothing_else_of_it_changes() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    let text = "holds: a hold is lifted once, and nothing else of it changes";
    later_column(&client, "holds").await;
    for (column, value) in other_values(&client, "holds").await {
        let lift = if column == "lifted_at" { "" } else { "lifted_at = 'now', " };
        let value = if column == "lifted_at" { "NULL" } else { &value };
        refused(&client, &format!("UPDATE holds SET {lift}{column} = {value}"), text).await;
    }
    taken(&client, "UPDATE holds SET lifted_at = 'now'").await;
    refused(&client, "UPDATE holds SET lifted_at = 'later'", text).await;
    refused(&client, "UPDATE holds SET lifted_at = NULL", text).await;
}

#[tokio::test]
async fn what_is_held_stays_and_what_is_archived_goes() {
    let (_database, client) = migrated().await;
    populate(&client, "t").await;
    refused(&client, "DELETE FROM runs", "runs: direct DELETE not allowed").await;
    taken(&client, "UPDATE holds SET lifted_at = 'now'").await;
    for table in ["aos_trace_steps", "aos_traces", "runs", "transitions", "run_seals", "archives"] {
        taken(&client, &format!("DELETE FROM {table}")).await;
    }
    refused(&client, "DELETE FROM erasures", "erasures: direct DELETE not allowed").await; // of a run without an archive
    let again = "INSERT INTO archives VALUES ('t', 'r', 1, '0-1', 'b', 'd', 'now')";
    let text = "S6_IMMUTABILITY_VIOLATION: archives is append-only. INSERT rejected. The run is archived or purged.";
    refused(&client, again, text).await;
    let open = "INSERT INTO archives VALUES ('t', 'open', 1, '0-1', 'b', 'd', 'now')";
    refused(&client, open, "archives: a run that is not over cannot be archived").await;
    let rows = "INSERT INTO tombstones VALUES ('t', 'open', 1, '0-1', 'e', 'd', 'now')";
    refused(&client, rows, "tombstones: a run that is not archived cannot be purged").await;
}
