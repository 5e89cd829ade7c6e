//! Row policies: what a session as `runproof_engine` or `runproof_api` sees and changes is of the tenants that its
//! transaction named.

use runproof_store::postgres::protections;
use tokio_postgres::{Client, Error};

use super::{migrated, number, populate, refusal, rows, texts};

/// Tables without anything of a tenant.
const OF_NOBODY: [&str; 6] = ["checkpoints", "ledger", "ledger_head", "ledger_tiles", "schema_migrations", "workers"];

/// Tables of which retention may delete.
const REMOVABLE: [&str; 7] =
    ["archives", "transitions", "run_seals", "runs", "aos_traces", "aos_trace_steps", "erasures"];

/// A statement as that role with those tenants, and then nothing of it is left.
async fn as_role(client: &Client, role: &str, tenants: Option<&str>, sql: &str) -> Result<u64, Error> {
    client.batch_execute(&format!("BEGIN; SET LOCAL ROLE {role}")).await.unwrap();
    if let Some(tenants) = tenants {
        client.batch_execute(&format!("SELECT set_config('runproof.tenants', '{tenants}', true)")).await.unwrap();
    }
    let answer = client.execute_typed(sql, &[]).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    answer
}

/// Not refused, and no row; or the role has no right to the statement.
fn nothing(answer: Result<u64, Error>, sql: &str) {
    match answer {
        Ok(rows) => assert_eq!(rows, 0, "{sql}"),
        Err(error) => assert_eq!(refusal(&error).0, "42501", "{sql}: {:?}", refusal(&error)),
    }
}

#[tokio::test]
async fn each_table_is_of_tenants_and_guarded_or_known_to_be_of_nobody() {
    let (_database, client) = migrated().await;
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
               ORDER BY relname COLLATE \"C\"";
    let mut known: Vec<&str> = protections::tables_of_tenants();
    known.extend(OF_NOBODY);
    known.sort_unstable();
    assert_eq!(texts(&client, sql).await, known, "a table that this test does not know");

    let sql = "SELECT DISTINCT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                 AND (a.attname = 'tenant_id' OR c.relname = 'tenants') ORDER BY 1";
    let mut of_tenants = protections::tables_of_tenants();
    of_tenants.sort_unstable();
    assert_eq!(texts(&client, sql).await, of_tenants);
    let mut sampled: Vec<&str> = rows("t").iter().map(|(table, _)| *table).collect();
    sampled.sort_unstable();
    assert_eq!(sampled, of_tenants, "a table without a row in this test");
}

#[tokio::test]
async fn rows_of_another_tenant_are_neither_seen_nor_changed_nor_written() {
    let (_database, client) = migrated().await;
    populate(&client, "t_a").await;
    populate(&client, "t_b").await;
    for role in ["runproof_engine", "runproof_api"] {
        for (table, row) in rows("t_c") {
            let key = if table == "tenants" { "id" } else { "tenant_id" };
            for (tenants, own) in [(Some("t_a"), 1), (Some("t_b,t_a"), 2), (Some(""), 0), (Some("t_"), 0), (None, 0)] {
                let of_others =
                    "<> ALL (string_to_array(coalesce(current_setting('runproof.tenants', true), ''), ','))";
                let see = format!("SELECT 1 FROM public.{table}");
                match as_role(&client, role, tenants, &see).await {
                    Ok(rows) => assert_eq!(rows, own, "{role}, {tenants:?}: {see}"),
                    Err(error) => {
                        assert_eq!((role, table, refusal(&error).0.as_str()), ("runproof_api", "kv", "42501"));
                    }
                }
                for sql in [
                    format!("UPDATE public.{table} SET {key} = {key} WHERE {key} {of_others}"),
                    format!("DELETE FROM public.{table} WHERE {key} {of_others}"),
                ] {
                    nothing(as_role(&client, role, tenants, &sql).await, &sql);
                }
                let insert = format!("INSERT INTO public.{table} {row}");
                let error = as_role(&client, role, tenants, &insert).await.expect_err(&insert);
                // Of a run of another tenant the trigger, which is asked first, sees no seal and no archive.
                let by_trigger = role == "runproof_engine" && ["archives", "tombstones"].contains(&table);
                let expected = if by_trigger { "23001" } else { "42501" };
                assert_eq!(refusal(&error).0, expected, "{role}, {tenants:?}: {insert}");
                if own > 0 {
                    let give = format!("UPDATE public.{table} SET {key} = 't_c'");
                    as_role(&client, role, tenants, &give).await.expect_err(&give);
                }
            }
        }
    }
    assert_eq!(number(&client, "SELECT count(*) FROM transitions").await, 2);
}

#[tokio::test]
async fn an_engine_does_its_work_within_its_tenants() {
    let (_database, client) = migrated().await;
    client.batch_execute("BEGIN; SET LOCAL ROLE runproof_engine; SET LOCAL runproof.tenants = 't_a'").await.unwrap();
    populate(&client, "t_a").await;
    for (sql, rows) in [
        ("UPDATE public.runs SET status = 'running'", 1),
        ("UPDATE public.aos_traces SET status = 'failed'", 1),
        ("UPDATE public.run_queue SET owner = 'w'", 1),
        ("UPDATE public.ledger_head SET size = 2", 1),
        ("SELECT 1 FROM public.ledger_head FOR UPDATE SKIP LOCKED", 1),
        ("SELECT 1 FROM public.stream_heads FOR UPDATE", 1),
        ("INSERT INTO public.ledger_tiles VALUES (0, 0, '')", 1),
        ("INSERT INTO public.checkpoints VALUES (2, 'r', 'n')", 1),
        ("DELETE FROM public.run_queue", 1),
        ("SELECT public.runproof_has_due(1, 1)", 1),
    ] {
        assert_eq!(client.execute_typed(sql, &[]).await.unwrap(), rows, "{sql}");
    }
    client.batch_execute("COMMIT").await.unwrap();
    let log = "INSERT INTO public.stream_heads VALUES ('', 'log', 1, 'h', 0, 0)";
    assert_eq!(as_role(&client, "runproof_engine", Some(","), log).await.unwrap(), 1, "the log's own stream");
}

#[tokio::test]
async fn an_auditor_sees_everything_and_changes_nothing() {
    let (_database, client) = migrated().await;
    populate(&client, "t_a").await;
    populate(&client, "t_b").await;
    for role in ["runproof_auditor", "runproof_retention"] {
        for (table, row) in rows("t_c") {
            let see = format!("SELECT 1 FROM public.{table}");
            assert_eq!(as_role(&client, role, None, &see).await.unwrap(), 2, "{role}: {see}");
            for sql in [format!("INSERT INTO public.{table} {row}"), format!("DELETE FROM public.{table}")] {
                if sql.starts_with("DELETE") && role == "runproof_retention" && REMOVABLE.contains(&table) {
                    continue;
                }
                let error = as_role(&client, role, Some("t_c"), &sql).await.expect_err(&sql);
                assert_eq!(refusal(&error).0, "42501", "{role}: {sql}");
            }
        }
        for table in OF_NOBODY {
            as_role(&client, role, None, &format!("SELECT 1 FROM public.{table}")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn retention_removes_within_the_tenants_that_are_named_and_nobody_else_removes() {
    let (_database, client) = migrated().await;
    populate(&client, "t_a").await;
    populate(&client, "t_b").await;
    client.batch_execute("UPDATE holds SET lifted_at = 'now'").await.unwrap();
    client.batch_execute("ALTER TABLE erasures DISABLE TRIGGER erasures_delete").await.unwrap(); // of another run
    for table in REMOVABLE {
        let sql = format!("DELETE FROM public.{table}");
        for (tenants, rows) in [(Some("t_a"), 1), (Some("t_a,t_b"), 2), (Some("t_c"), 0), (Some(""), 0), (None, 0)] {
            assert_eq!(
                as_role(&client, "runproof_retention", tenants, &sql).await.unwrap(),
                rows,
                "{tenants:?}: {sql}"
            );
        }
        for role in ["runproof_engine", "runproof_api", "runproof_auditor"] {
            let error = as_role(&client, role, Some("t_a"), &sql).await.expect_err(&sql);
            assert_eq!(refusal(&error).0, "42501", "{role}: {sql}");
        }
    }
}

#[tokio::test]
async fn functions_that_see_every_tenant_are_for_the_engine_alone() {
    let (_database, client) = migrated().await;
    for call in [
        "runproof_claim('w', 0, 1, 1, '')",
        "runproof_reap(0)",
        "runproof_unplaced(1)",
        "runproof_has_due(0, 1)",
        "runproof_owned('w')",
        "runproof_due_by_agent('t', 0, 1, 1)",
    ] {
        for role in ["runproof_api", "runproof_auditor", "runproof_retention"] {
            let error = as_role(&client, role, None, &format!("SELECT public.{call}")).await.expect_err(call);
            assert_eq!(refusal(&error).0, "42501", "{role}: {call}");
        }
    }
    let sql = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
               AND (proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(proacl) WHERE grantee = 0))";
    assert_eq!(texts(&client, sql).await, Vec::<String>::new(), "functions that everybody may call");
    let sql = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
               AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)";
    assert_eq!(texts(&client, sql).await, Vec::<String>::new(), "functions with the search path of whoever calls them");
}
