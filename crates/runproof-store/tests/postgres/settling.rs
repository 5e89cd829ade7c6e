//! `settled_id`: up to where no transition can appear any more.

use super::*;

#[test]
fn a_transaction_that_commits_late_gets_a_later_place_and_nothing_is_settled_before() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let (late, client) = (ledger.connect(Way::Direct).await, ledger.connect(Way::Direct).await);
        let mut sequencer = ledger.sequencer();
        assert_eq!(place_all(&mut sequencer, &client).await, Ok(0));
        let before = settled(&client).await;
        insert(&client, "run/a", 0, "a0").await;
        late.batch_execute("BEGIN").await.unwrap();
        insert(&late, "run/a", 1, "a1").await;
        insert(&late, "run/b", 0, "b0").await;
        insert(&client, "run/c", 0, "c0").await;
        insert(&client, "run/c", 1, "c1").await;
        for _ in 0..3 {
            // More passes change nothing while it is open, also those of a process that begins now.
            sequencer.place(&client).await.unwrap();
            ledger.sequencer().place(&client).await.unwrap();
        }
        let open: i64 = late
            .query_typed_one("SELECT min(id) FROM public.transitions WHERE stream = 'run/b'", &[])
            .await
            .unwrap()
            .get(0);
        let settled_while_open = settled(&client).await;
        assert!((before..open - 1).contains(&settled_while_open), "{settled_while_open} of {open}");
        assert_eq!(order(&client).await.len(), 4);
        insert(&late, "run/b", 1, "b1").await;
        late.batch_execute("COMMIT").await.unwrap();
        assert_eq!(place_all(&mut sequencer, &client).await, Ok(3));
        let expected = [("log", 0), ("run/a", 0), ("run/c", 0), ("run/c", 1), ("run/a", 1), ("run/b", 0), ("run/b", 1)];
        assert_eq!(order(&client).await, expected.map(|(stream, seq)| (stream.to_owned(), seq)));
        assert_eq!(settled(&client).await, number(&client, "SELECT max(id) FROM public.transitions").await);
        audit(&ledger, &client).await;
    });
}

#[test]
fn ids_of_transactions_that_were_taken_back_are_settled_as_well() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        let mut sequencer = ledger.sequencer();
        client.batch_execute("BEGIN").await.unwrap();
        insert_many(&client, "lost", 10).await;
        client.batch_execute("ROLLBACK").await.unwrap();
        let given = number(&client, "SELECT last_value FROM public.transitions_id_seq").await;
        assert_eq!(place_all(&mut sequencer, &client).await, Ok(0));
        assert_eq!(settled(&client).await, given);
        insert(&client, "run/a", 0, "a0").await;
        assert_eq!(place_all(&mut sequencer, &client).await, Ok(1));
        assert_eq!(settled(&client).await, given + 1);
        audit(&ledger, &client).await;
    });
}

/// An id can be given out long before the row is written: the transaction has to be known by then.
#[test]
fn a_transaction_has_its_number_before_it_is_given_an_id() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let (slow, blocker) = (ledger.connect(Way::Direct).await, ledger.connect(Way::Direct).await);
        let client = ledger.connect(Way::Direct).await;
        let mut sequencer = ledger.sequencer();
        // The first id after a checkpoint of the server is written to its log, and with that a transaction is known.
        insert(&client, "run/before", 0, "before").await;
        assert_eq!(place_all(&mut sequencer, &client).await, Ok(1));
        blocker.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1)").await.unwrap();
        // The row's id is drawn, and then its last column waits for the lock: nothing is written yet.
        let writing = tokio::spawn(async move {
            let sql = "INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
                       VALUES ('t_1', 'run/slow', 0, 1, 'slow', pg_advisory_xact_lock(1)::text)";
            slow.batch_execute(sql).await.unwrap();
        });
        let waits = "SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND NOT granted
                     AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())";
        while number(&client, waits).await == 0 {
            tokio::task::yield_now().await;
        }
        insert(&client, "run/fast", 0, "fast").await;
        let first = number(&client, "SELECT max(id) FROM public.transitions WHERE stream = 'run/fast'").await;
        for _ in 0..3 {
            sequencer.place(&client).await.unwrap();
        }
        assert!(settled(&client).await < first - 1, "an id below {first} is still to come");
        blocker.batch_execute("COMMIT").await.unwrap();
        writing.await.unwrap();
        let slow = number(&client, "SELECT id FROM public.transitions WHERE stream = 'run/slow'").await;
        assert!(slow < first, "{slow} was drawn before {first}");
        assert_eq!(place_all(&mut sequencer, &client).await, Ok(1));
        assert_eq!(settled(&client).await, number(&client, "SELECT max(id) FROM public.transitions").await);
        audit(&ledger, &client).await;
    });
}
