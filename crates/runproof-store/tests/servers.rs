//! What the tests expect of their Postgres and their PgBouncer: the versions, the mode of the pool, and that an own pair
//! can be broken and mended.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::cluster::{Own, connect, direct_url, fresh_database, pooled_url};

/// One number, asked for as the store asks: typed, unnamed, in one round trip.
async fn number(client: &Client, statement: &str) -> Result<i32, Error> {
    Ok(client.query_typed_one(statement, &[]).await?.get(0))
}

async fn backend(client: &Client) -> i32 {
    number(client, "SELECT pg_backend_pid()").await.unwrap()
}

/// `SELECT 1`, in a new session.
async fn answers(url: &str) -> Result<i32, Error> {
    number(&connect(url).await?, "SELECT 1").await
}

#[tokio::test]
async fn both_answer_a_typed_statement() {
    for url in [direct_url("runproof"), pooled_url("runproof")] {
        let client = connect(&url).await.unwrap();
        let row = client.query_typed_one("SELECT $1 + 1", &[(&41, Type::INT4)]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 42, "{url}");
    }
}

#[tokio::test]
async fn the_servers_are_not_older_than_what_is_supported() {
    let postgres = connect(&direct_url("runproof")).await.unwrap();
    assert!(number(&postgres, "SELECT current_setting('server_version_num')::int").await.unwrap() >= 150_000);

    let console = connect(&pooled_url("pgbouncer")).await.unwrap();
    let answer = console.simple_query("SHOW VERSION").await.unwrap();
    let row = answer.iter().find(|message| matches!(message, SimpleQueryMessage::Row(_)));
    let Some(SimpleQueryMessage::Row(row)) = row else { panic!("no row in {answer:?}") };
    let version = row.get(0).and_then(|text| text.strip_prefix("PgBouncer ")).expect("name and version");
    let numbers: Vec<u32> = version.split('.').map(|number| number.parse().unwrap()).collect();
    assert!(numbers >= vec![1, 18], "{version}");
}

#[tokio::test]
async fn the_pooler_lends_a_session_for_one_transaction_only() {
    let database = fresh_database();
    let (first, second) =
        (connect(&database.pooled_url()).await.unwrap(), connect(&database.pooled_url()).await.unwrap());
    let lent = backend(&first).await;
    assert_eq!(backend(&second).await, lent, "it is free after the transaction");

    first.batch_execute("BEGIN").await.unwrap();
    assert_eq!(backend(&first).await, lent);
    assert_ne!(backend(&second).await, lent, "it is not free within one");
    first.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn the_pooler_takes_no_startup_parameter() {
    let url = format!("{}?options=-csearch_path%3Dpublic", pooled_url("runproof"));
    let refusal = connect(&url).await.expect_err("a refusal");
    assert_eq!(refusal.as_db_error().unwrap().message(), "unsupported startup parameter: options");
}

#[tokio::test]
async fn a_fresh_database_is_empty_and_goes_although_somebody_is_connected() {
    let database = fresh_database();
    let session = connect(&database.direct_url()).await.unwrap();
    let tables = "SELECT count(*)::int FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(number(&session, tables).await.unwrap(), 0);
    assert_ne!(fresh_database().name, database.name);

    let name = database.name.clone();
    drop(database);
    assert!(number(&session, "SELECT 1").await.is_err());
    let refusal = connect(&direct_url(&name)).await.expect_err("a refusal");
    assert_eq!(refusal.as_db_error().unwrap().message(), format!("database \"{name}\" does not exist"));
}

#[tokio::test]
async fn an_own_postgres_keeps_what_was_committed_however_it_ends() {
    let own = Own::start(&["-c", "max_connections=17"]);
    let (direct, pooled) = (own.direct_url("runproof"), own.pooled_url("runproof"));
    let session = connect(&pooled).await.unwrap();
    assert_eq!(number(&session, "SELECT current_setting('max_connections')::int").await.unwrap(), 17);
    session.batch_execute("CREATE TABLE kept AS SELECT 7 AS number").await.unwrap();

    own.kill_postgres();
    assert!(answers(&direct).await.is_err());
    own.start_postgres();
    for url in [&direct, &pooled] {
        assert_eq!(number(&connect(url).await.unwrap(), "SELECT number FROM kept").await.unwrap(), 7);
    }

    own.stop_postgres();
    assert!(answers(&direct).await.is_err());
    own.start_postgres();
    let session = connect(&direct).await.unwrap();
    own.restart_postgres();
    assert!(number(&session, "SELECT 1").await.is_err());
    for url in [&direct, &pooled] {
        assert_eq!(number(&connect(url).await.unwrap(), "SELECT number FROM kept").await.unwrap(), 7);
    }
}

#[tokio::test]
async fn an_own_pooler_comes_back_however_it_ends_and_both_end_with_their_owner() {
    let own = Own::start(&["--fsync"]);
    let (direct, pooled) = (own.direct_url("runproof"), own.pooled_url("runproof"));

    own.kill_pooler();
    assert!(answers(&pooled).await.is_err());
    own.start_pooler();
    assert_eq!(answers(&pooled).await.unwrap(), 1);

    own.stop_pooler();
    assert!(answers(&pooled).await.is_err());
    assert_eq!(answers(&direct).await.unwrap(), 1);
    own.start_pooler();
    let session = connect(&pooled).await.unwrap();
    own.restart_pooler();
    assert!(number(&session, "SELECT 1").await.is_err());
    assert_eq!(answers(&pooled).await.unwrap(), 1);

    drop(own);
    assert!(answers(&direct).await.is_err());
    assert!(answers(&pooled).await.is_err());
}
