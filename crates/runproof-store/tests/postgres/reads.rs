//! Reads: pages of a large ledger, what a role may see, and everything about one run.

use super::*;
use std::sync::Arc;

use runproof_engine::projection::Cell;
use runproof_store::postgres::{Address, PgStore};
use runproof_store::{Snapshot, Store, TransitionRow};
use serde_json::json;

use crate::doubles::block_on;
use crate::on_postgres::OnPostgres;
use crate::support::{AGENT, OTHER, OnDisk, TENANT, driven, plan, populate};

/// A store of a role of its own that is a member of `group`.
fn store_as(ledger: &Ledger, group: &str) -> PgStore {
    let role = format!("test_{group}");
    let sql = format!(
        "DO $$ BEGIN CREATE ROLE {role} LOGIN IN ROLE runproof_{group};
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    );
    let address = Address::parse(&ledger.database.pooled_url().replace("runproof@", &format!("{role}@"))).unwrap();
    runtime().block_on(async {
        ledger.connect(Way::Direct).await.batch_execute(&sql).await.unwrap();
        PgStore::open_reader(&address, runtime().handle()).await.unwrap()
    })
}

fn all_transitions(snapshot: &dyn Snapshot, after: i64) -> Vec<TransitionRow> {
    let mut all = Vec::new();
    let end = snapshot.transitions(after, &mut |_, row| {
        all.push(row);
        Ok(ControlFlow::Continue(()))
    });
    assert!(end.unwrap().is_continue());
    all
}

#[test]
fn a_large_ledger_is_read_in_pages_and_in_one_state() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        insert_many(&client, "n", 10_000).await;
        insert(&client, "run/large", 0, &"x".repeat(9 * 1024 * 1024)).await;
        insert(&client, "run/large", 1, &"y".repeat(9 * 1024 * 1024)).await;
        assert_eq!(place_all(&mut ledger.sequencer(), &client).await, Ok(10_002));
    });
    let address = Address::parse(&ledger.database.pooled_url()).unwrap();
    let store = runtime().block_on(PgStore::open_reader(&address, runtime().handle())).unwrap();
    let snapshot = store.snapshot().unwrap();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        insert(&client, "run/later", 0, "later").await;
        place_all(&mut ledger.sequencer(), &client).await.unwrap();
    });
    assert_eq!(snapshot.size().unwrap(), 10_003);
    let rows = all_transitions(&*snapshot, -1);
    let places: Vec<u64> = rows.iter().map(|row| row.first_leaf.unwrap()).collect();
    assert_eq!(places, (0..10_003).collect::<Vec<u64>>());
    assert!(rows.iter().all(|row| row.arrival.is_some_and(|(id, leaf)| leaf == Some(id))));
    assert_eq!(all_transitions(&*snapshot, 10_000).len(), 2);
    let mut seen = 0;
    let end = snapshot.transitions(-1, &mut |_, _| {
        seen += 1;
        // What is told may read from the snapshot meanwhile.
        assert!(snapshot.has_stream("", "log")?);
        Ok(if seen == 1500 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    assert!(end.unwrap().is_break());
    assert_eq!(seen, 1500);
    let mut streams = Vec::new();
    let end = snapshot.run_streams((TENANT, "n9998"), &mut |run| {
        streams.push((run.run_id, run.last_leaf));
        Ok(ControlFlow::Continue(()))
    });
    assert!(end.unwrap().is_continue());
    assert_eq!(streams, [("n9999".to_owned(), 9999)]);
    let mut tiles = 0;
    snapshot.tiles(&mut |_, _| tiles += 1).unwrap();
    assert_eq!(tiles, 40 + 1);
    assert_eq!(snapshot.last_checkpoint(i64::MAX).unwrap().unwrap().size, 10_003);
    assert_eq!(snapshot.next_checkpoint(10_003).unwrap(), None);
}

/// The statement that reads pages, asked for pages of a few bytes.
#[test]
fn a_page_is_bounded_in_bytes_and_always_goes_on() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        insert_many(&client, "n", 20).await;
        place_all(&mut ledger.sequencer(), &client).await.unwrap();
        let sql = include_str!("../../sql/postgres/read_ledger_page.sql");
        for (bytes, rows) in [(1i64, 1), (3, 2), (5, 3), (1000, 20)] {
            let page = client.query_typed(sql, &[(&0i64, Type::INT8), (&bytes, Type::INT8)]).await.unwrap();
            assert_eq!(page.len(), rows, "{bytes} bytes");
        }
    });
}

#[test]
fn a_place_without_its_transition_and_a_transition_without_its_place_are_gaps() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        for stream in ["run/a", "run/b", "run/c"] {
            insert(&client, stream, 0, stream).await;
        }
        place_all(&mut ledger.sequencer(), &client).await.unwrap();
        client
            .batch_execute(
                "SET session_replication_role = replica;
                 DELETE FROM public.transitions WHERE stream = 'run/a';
                 DELETE FROM public.leaves WHERE stream = 'run/b'",
            )
            .await
            .unwrap();
    });
    let address = Address::parse(&ledger.database.direct_url()).unwrap();
    let store = runtime().block_on(PgStore::open_reader(&address, runtime().handle())).unwrap();
    let snapshot = store.snapshot().unwrap();
    let places: Vec<Option<u64>> = all_transitions(&*snapshot, -1).iter().map(|row| row.first_leaf).collect();
    assert_eq!(places, [Some(0), Some(3)]);
    let mut extra = Vec::new();
    let mut each = |table: &str, tenant: &str, id: &str| extra.push(format!("{table} {tenant} {id}"));
    snapshot.rows_without_events(&mut each).unwrap();
    assert_eq!(extra, ["leaves t_1 first_leaf=1"]);
    let evidence = block_on(store.evidence(TENANT, "b")).unwrap();
    let [row] = evidence.transitions.as_slice() else { panic!("{evidence:?}") };
    let (id, leaf) = row.arrival.unwrap();
    assert_eq!((row.first_leaf, leaf), (None, None));
    assert!(id <= evidence.settled_id.unwrap(), "so that its place is known to be missing");
    let mut last_leaves = Vec::new();
    let end = snapshot.run_streams(("", ""), &mut |run| {
        last_leaves.push((run.run_id, run.last_leaf));
        Ok(ControlFlow::Continue(()))
    });
    assert!(end.unwrap().is_continue());
    assert_eq!(last_leaves, [("b".to_owned(), u64::MAX), ("c".to_owned(), 3)]);
}

#[test]
fn an_engine_sees_one_tenant_and_an_auditor_all_and_each_can_tell() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        client
            .batch_execute(
                "INSERT INTO public.tenants VALUES ('t_1', 'then'), ('t_2', 'then');
                 INSERT INTO public.agents VALUES ('t_1', 'a_1', 'one', 'then'), ('t_2', 'a_2', 'two', 'then')",
            )
            .await
            .unwrap();
    });
    for (group, sees_all) in [("engine", false), ("api", false), ("auditor", true), ("retention", true)] {
        let store = store_as(&ledger, group);
        assert_eq!(runtime().block_on(store.sees_all_tenants()).unwrap(), sees_all, "{group}");
        let agents = |tenant| runtime().block_on(store.list_agents(tenant)).unwrap().len();
        assert_eq!((agents(Some(TENANT)), agents(Some(OTHER))), (1, 1), "{group}");
        assert_eq!(agents(None), if sees_all { 2 } else { 0 }, "{group}");
        assert_eq!(agents(Some("t_1,t_2")), 0, "{group}");
    }
    let address = Address::parse(&ledger.database.direct_url()).unwrap();
    let owner = runtime().block_on(PgStore::open_reader(&address, runtime().handle())).unwrap();
    assert!(runtime().block_on(owner.sees_all_tenants()).unwrap());
}

/// The sequencer of a role that sees one tenant at a time places what all of them wrote.
#[test]
fn an_engine_places_what_all_tenants_wrote() {
    let ledger = Ledger::new();
    let _engine = store_as(&ledger, "engine"); // the role
    runtime().block_on(async {
        let owner = ledger.connect(Way::Direct).await;
        insert(&owner, "run/a", 0, "a0").await;
        owner
            .batch_execute(
                "INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
                 SELECT 't_' || n, 'run/a', 0, 1, 'of ' || n, '' FROM generate_series(2, 300) AS n",
            )
            .await
            .unwrap();
        let url = ledger.database.pooled_url().replace("runproof@", "test_engine@");
        let engine = cluster::connect(&url).await.unwrap();
        assert_eq!(place_all(&mut ledger.sequencer(), &engine).await, Ok(300));
        audit(&ledger, &owner).await;
    });
}

/// The same story in both stores: evidence differs only in where things are in the ledger.
#[test]
fn evidence_is_the_same_as_in_the_embedded_store() {
    let story = |store: &Arc<dyn Store>| {
        populate(&**store);
        driven(store, TENANT, "r_1", plan(json!([{ "id": "one", "skill": "note", "with": {} }])));
        driven(store, TENANT, "r_2", plan(json!([{ "id": "two", "skill": "note", "with": {} }])));
        assert!(block_on(store.load_run(TENANT, "r_3")).unwrap().is_none());
        assert!(block_on(store.load_run(OTHER, "r_1")).unwrap().is_none());
        let mut evidence = block_on(store.evidence(TENANT, "r_1")).unwrap();
        // Hashes depend on random salts.
        for (table, columns) in [("aos_traces", &["metadata"][..]), ("run_seals", &["run_root", "seal_hash"])] {
            for row in evidence.rows.get_mut(table).unwrap() {
                assert!(columns.iter().all(|column| matches!(row.remove(*column), Some(Cell::Text(_)))));
            }
        }
        evidence
    };
    let on_disk = OnDisk::begin();
    let expected = story(&on_disk.store());
    for subject in [OnPostgres::direct(), OnPostgres::pooled()] {
        let store = subject.store();
        let got = story(&store);
        assert_eq!((&got.log, &got.rows), (&expected.log, &expected.rows));
        for table in ["tenants", "agents"] {
            assert_eq!(got.shared[table], expected.shared[table]);
        }
        for (got, expected) in
            [(&got.transitions, &expected.transitions), (&got.tenant_transitions, &expected.tenant_transitions)]
        {
            let events = |rows: &[TransitionRow]| -> Vec<(String, u64, u64)> {
                rows.iter().map(|row| (row.stream.clone(), row.first_seq, row.event_count)).collect()
            };
            assert_eq!(events(got), events(expected));
        }
        block_on(store.sequence()).unwrap();
        let size = block_on(store.tree_size()).unwrap();
        assert_eq!(block_on(store.root_at(size)).unwrap(), subject.keeper().wait_for(size).root);
        assert_eq!(read_note(&block_on(store.checkpoint()).unwrap().unwrap()).size, size);
        let runs = block_on(store.list_runs(Some(TENANT), 1)).unwrap();
        assert_eq!((runs.len(), runs[0].agent_id.as_str()), (1, AGENT));
    }
}

#[test]
fn rows_that_were_moved_to_another_tenant_are_still_shown() {
    let subject = OnPostgres::new(Way::Direct);
    let store: Arc<dyn Store> = subject.pg();
    populate(&*store);
    driven(&store, TENANT, "r_1", plan(json!([{ "id": "one", "skill": "note", "with": {} }])));
    subject.raw(
        "SET session_replication_role = replica;
         UPDATE public.run_seals SET tenant_id = 't_2';
         UPDATE public.aos_trace_steps SET run_id = 'r_9'",
    );
    let evidence = block_on(store.evidence(TENANT, "r_1")).unwrap();
    assert_eq!(evidence.rows["run_seals"][0]["tenant_id"], Cell::Text(OTHER.to_owned()));
    assert_eq!(evidence.rows["aos_trace_steps"][0]["run_id"], Cell::Text("r_9".to_owned()));
    assert!(!evidence.rows["runs"][0].contains_key("cost_cents"), "what is generated is no evidence");
}

/// A planner that takes a stream for one row would read all its places for each transition: a stream of 100,000 would take
/// hours.
#[test]
fn each_transition_of_a_long_stream_looks_up_its_own_place_only() {
    let ledger = Ledger::new();
    runtime().block_on(async {
        let client = ledger.connect(Way::Direct).await;
        let sql = "INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
                   SELECT 't_1', 'run/long', n, 1, 'e' || n, '' FROM generate_series(0, 1999) AS n";
        client.batch_execute(sql).await.unwrap();
        assert_eq!(place_all(&mut ledger.sequencer(), &client).await, Ok(2000));
        let sql = include_str!("../../sql/postgres/read_stream.sql").replace("$1", "'t_1'").replace("$2", "'run/long'");
        let rows = client.query(&format!("EXPLAIN (ANALYZE, TIMING OFF) {sql}"), &[]).await.unwrap();
        let plan: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("rows=2000 loops=1"), "{plan}");
        assert!(!plan.contains("Rows Removed by Join Filter"), "{plan}");
    });
}
