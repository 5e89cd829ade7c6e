//! Lanes: appends share transactions, and one that hangs holds up no other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use runproof_engine::ports::{Claim, Journal as _};
use runproof_store::Store;
use serde_json::json;

use crate::cluster;
use crate::conformance::append::first_append;
use crate::doubles::block_on;
use crate::on_postgres::{OnPostgres, Way, runtime};
use crate::support::*;

/// The lane waits for more appends no longer than a moment, whatever becomes of the one that is under way.
fn an_append_that_hangs_holds_up_no_other(way: Way) {
    let subject = OnPostgres::new(way);
    let store = subject.pg();
    populate(store.as_ref());
    let claimed = |run_id: &str| {
        let step = plan(json!([{"id": "pay", "skill": "pay"}]));
        claimed(open(store.as_ref() as &dyn Store, TENANT, run_id, step))
    };
    let (hanging, _) = first_append(&claimed("r_1"), Claim::Keep);
    let others: Vec<_> = (2..6).map(|nth| first_append(&claimed(&format!("r_{nth}")), Claim::Keep).0).collect();
    let locker = runtime().block_on(cluster::connect(&subject.database.direct_url())).unwrap();
    let lock = "BEGIN; SELECT 1 FROM public.run_queue WHERE run_id = 'r_1' FOR UPDATE";
    runtime().block_on(locker.batch_execute(lock)).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| block_on(store.append(hanging)));
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while runtime().block_on(super::number(&locker, waiting)) == 0 {
            std::thread::yield_now();
        }
        // The lock is given up after 10 s by whoever waits for it: long before that they are written.
        let begun = Instant::now();
        for other in others {
            assert_eq!(block_on(store.append(other)), Ok(()));
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "they waited for the one that hangs");
        assert!(!first.is_finished());
        runtime().block_on(locker.batch_execute("ROLLBACK")).unwrap();
        assert_eq!(first.join().unwrap(), Ok(()));
    });
    audit_ledger(&subject);
}

/// While one is under way, the others gather: their runs are opened and begun in fewer transactions than there are runs.
fn what_waits_shares_a_transaction(way: Way) {
    let subject = OnPostgres::new(way);
    let store = subject.pg();
    populate(store.as_ref());
    let step = plan(json!([{"id": "pay", "skill": "pay"}]));
    let appends: Vec<_> = (0..40)
        .map(|nth| open(store.as_ref() as &dyn Store, TENANT, &format!("r_{nth}"), step.clone()))
        .map(|opened| first_append(&claimed(opened), Claim::Keep).0)
        .collect();
    let before = store.commits();
    runtime().block_on(async {
        let each = appends.into_iter().map(|append| {
            let store = Arc::clone(&store);
            runtime().spawn(async move { store.append(append).await })
        });
        for append in each.collect::<Vec<_>>() {
            assert_eq!(append.await.unwrap(), Ok(()));
        }
    });
    let after = store.commits();
    assert_eq!(after.1 - before.1, 40);
    assert!(after.0 - before.0 <= 20, "{} transactions for 40 appends", after.0 - before.0);
    audit_ledger(&subject);
}

super::both_ways!(an_append_that_hangs_holds_up_no_other, what_waits_shares_a_transaction);
