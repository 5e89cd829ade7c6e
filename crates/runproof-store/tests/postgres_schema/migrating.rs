//! How a database comes to its schema, and what is noticed when somebody took a part of it away.

use runproof_store::migrate::{MigrateError, POSTGRES, SQLITE, Status};
use runproof_store::postgres::{migrate, protections};

use super::{NOW, migrated, number, refusal, taken, texts};
use crate::cluster::{Own, connect, fresh_database};

const HEAD: Status = Status { current: Some(4), head: 4 };

#[test]
fn both_stores_have_the_same_versions() {
    let versions = |list: &[(u32, &'static str, &str)]| -> Vec<(u32, &'static str)> {
        list.iter().map(|(version, name, _)| (*version, *name)).collect()
    };
    assert_eq!(versions(POSTGRES), versions(SQLITE));
}

#[tokio::test]
async fn a_plan_names_what_is_missing_and_writes_nothing() {
    let database = fresh_database();
    let mut client = connect(&database.direct_url()).await.unwrap();
    assert_eq!(migrate::status(&client).await.unwrap(), Status { current: None, head: 4 });
    assert_eq!(migrate::plan(&client).await.unwrap(), POSTGRES.iter().collect::<Vec<_>>());
    assert_eq!(number(&client, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").await, 0);
    assert_eq!(migrate::apply(&mut client, NOW).await.unwrap(), HEAD);
    assert_eq!(migrate::plan(&client).await.unwrap(), Vec::<&(u32, &str, &str)>::new());
    assert_eq!(migrate::apply(&mut client, "later").await.unwrap(), HEAD);
    assert_eq!(texts(&client, "SELECT applied_at FROM schema_migrations").await, [NOW; 4]);
    assert_eq!(texts(&client, "SELECT version_num FROM alembic_version").await, ["0004"]);
}

#[tokio::test]
async fn migrating_from_many_sessions_at_once_migrates_once() {
    let database = fresh_database();
    let mut migrating = Vec::new();
    for url in [database.direct_url(), database.pooled_url(), database.direct_url(), database.pooled_url()] {
        migrating.push(tokio::spawn(async move {
            let mut client = connect(&url).await.unwrap();
            migrate::apply(&mut client, NOW).await.unwrap()
        }));
    }
    for each in migrating {
        assert_eq!(each.await.unwrap(), HEAD);
    }
    let client = connect(&database.direct_url()).await.unwrap();
    assert_eq!(number(&client, "SELECT count(*) FROM schema_migrations").await, 4);
}

#[tokio::test]
async fn databases_whose_default_is_another_isolation_migrate_too() {
    let database = fresh_database();
    let client = connect(&database.direct_url()).await.unwrap();
    let name = &database.name;
    let default = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    client.batch_execute(&default).await.unwrap();
    let (mut first, mut second) =
        (connect(&database.direct_url()).await.unwrap(), connect(&database.direct_url()).await.unwrap());
    let (first, second) = tokio::join!(migrate::apply(&mut first, NOW), migrate::apply(&mut second, NOW));
    assert_eq!((first.unwrap(), second.unwrap()), (HEAD, HEAD));
}

#[tokio::test]
async fn a_migration_with_another_text_is_refused() {
    let (_database, mut client) = migrated().await;
    taken(&client, "UPDATE schema_migrations SET checksum = 'another' WHERE version = 2").await;
    let error = migrate::apply(&mut client, NOW).await.unwrap_err();
    assert!(matches!(error, MigrateError::Checksum(2)), "{error:?}");
    assert!(matches!(migrate::plan(&client).await.unwrap_err(), MigrateError::Checksum(2)));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (_database, mut client) = migrated().await;
    taken(&client, "INSERT INTO schema_migrations VALUES (5, 'next', 'x', 'now')").await;
    let error = migrate::apply(&mut client, NOW).await.unwrap_err();
    assert!(matches!(error, MigrateError::Newer { found: 5, head: 4 }), "{error:?}");
    assert_eq!(migrate::status(&client).await.unwrap(), Status { current: Some(5), head: 4 });
}

#[tokio::test]
async fn nothing_is_left_of_a_migration_that_failed() {
    let database = fresh_database();
    let mut client = connect(&database.direct_url()).await.unwrap();
    client.batch_execute("CREATE TABLE public.workers (id text)").await.unwrap();
    let error = migrate::apply(&mut client, NOW).await.unwrap_err();
    assert_eq!(error.to_string(), r#"migration failed: relation "workers" already exists"#);
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(texts(&client, tables).await, ["workers"]);
}

#[tokio::test]
async fn a_role_that_may_not_create_roles_is_told_what_an_administrator_has_to_run() {
    let own = Own::start(&[]);
    let administrator = connect(&own.direct_url("runproof")).await.unwrap();
    administrator.batch_execute("CREATE ROLE m LOGIN; GRANT CREATE ON SCHEMA public TO m").await.unwrap();
    let url = own.direct_url("runproof").replace("runproof@", "m@");
    let mut client = connect(&url).await.unwrap();
    let error = migrate::apply(&mut client, NOW).await.unwrap_err().to_string();
    let says = "migration failed: role m may not create roles; an administrator has to run: ";
    let run = error.strip_prefix(says).unwrap_or_else(|| panic!("{error}"));
    assert_eq!(run.matches("CREATE ROLE runproof_").count(), 4, "{run}");
    administrator.batch_execute(run).await.unwrap();
    assert_eq!(migrate::apply(&mut client, NOW).await.unwrap(), HEAD);

    super::populate(&client, "t").await;
    super::worker(&client, "w", 60).await;
    let claimed = "SELECT count(*) FROM runproof_claim('w', 1, 1, 1, '')";
    assert_eq!(number(&client, claimed).await, 1, "functions see every tenant although their owner is no superuser");
    let found = protections::check(&client).await.unwrap();
    assert_eq!(found.missing, Vec::<String>::new());
    let text = "`m` owns the tables: it sees every tenant, and can remove row policies and triggers";
    assert_eq!(found.given_up, [text]);

    administrator.batch_execute("CREATE ROLE e LOGIN").await.unwrap();
    let engine = connect(&url.replace("m@", "e@")).await.unwrap();
    let found = protections::check(&engine).await.unwrap();
    assert_eq!(found.missing, [r#"`e` is not a member of `runproof_engine`: GRANT runproof_engine TO "e""#]);
    administrator.batch_execute("GRANT runproof_engine TO e").await.unwrap();
    let found = protections::check(&engine).await.unwrap();
    assert_eq!((found.missing, found.given_up), (vec![], vec![]));
    let claimed = engine.query_typed("SELECT * FROM public.runproof_claim('w', 1, 1, 1, '')", &[]).await.unwrap();
    assert_eq!(claimed.len(), 0);
}

#[tokio::test]
async fn what_the_migrations_make_is_what_is_there() {
    let (_database, client) = migrated().await;
    let found = protections::check(&client).await.unwrap();
    assert_eq!(found.missing, Vec::<String>::new());
    assert!(found.role.is_superuser);
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names
    };
    let triggers = protections::triggers().into_iter().map(|trigger| format!("{} {}", trigger.table, trigger.name));
    let there = "SELECT c.relname || ' ' || t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                 WHERE NOT t.tgisinternal";
    assert_eq!(sorted(triggers.collect()), sorted(texts(&client, there).await));
    let functions = protections::functions().into_iter().map(|function| function.name.to_owned());
    let there = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    assert_eq!(sorted(functions.collect()), sorted(texts(&client, there).await));
}

/// What is found missing once somebody ran this.
async fn missing_after(sql: &str) -> Vec<String> {
    let (_database, client) = migrated().await;
    client.batch_execute(sql).await.unwrap();
    protections::check(&client).await.unwrap().missing
}

#[tokio::test]
async fn whatever_was_taken_away_is_named_with_what_mends_it() {
    let off = "trigger `runs_delete` is off: ALTER TABLE public.runs ENABLE TRIGGER runs_delete";
    assert_eq!(missing_after("ALTER TABLE runs DISABLE TRIGGER runs_delete").await, [off]);
    assert_eq!(missing_after("ALTER TABLE runs ENABLE REPLICA TRIGGER runs_delete").await, [off]);
    let row_security = "row security is off: ALTER TABLE public.kv ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY";
    assert_eq!(missing_after("ALTER TABLE kv NO FORCE ROW LEVEL SECURITY").await, [row_security]);
    assert_eq!(missing_after("ALTER TABLE kv DISABLE ROW LEVEL SECURITY").await, [row_security]);
    let gone = missing_after("DROP POLICY of_tenants ON kv").await;
    assert_eq!(gone, ["policy `of_tenants` of `kv` is missing: see migration 0003_workers"]);
    let another = missing_after("CREATE POLICY wide ON kv USING (true)").await;
    assert_eq!(another, [r#"policy `wide` is not ours: DROP POLICY "wide" ON public.kv"#]);
    for change in [
        "ALTER FUNCTION runproof_claim(text, bigint, int, int, text) SECURITY INVOKER",
        "CREATE OR REPLACE FUNCTION runproof_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    ] {
        let found = missing_after(change).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("is not the one of the migrations"), "{found:?}");
    }
    let off = missing_after("SET session_replication_role = replica").await;
    assert_eq!(off, ["triggers are off in this session: ALTER ROLE … RESET session_replication_role"]);
}

#[tokio::test]
async fn a_trigger_that_is_gone_comes_back_with_what_the_check_says() {
    let (_database, client) = migrated().await;
    client.batch_execute("DROP TRIGGER ledger_tiles_update ON ledger_tiles").await.unwrap();
    let found = protections::check(&client).await.unwrap().missing;
    let mend = found[0].strip_prefix("trigger `ledger_tiles_update` is missing: ").unwrap();
    client.batch_execute(mend).await.unwrap();
    assert_eq!(protections::check(&client).await.unwrap().missing, Vec::<String>::new());
    let error = client.batch_execute(mend).await.unwrap_err();
    assert_eq!(refusal(&error).0, "42710");
}
