//! Two processes on one database: a run belongs to one of them, whoever is late writes nothing, and what cannot be read
//! is left alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use runproof_engine::ports::{Claim, Claimed, Fence, Journal as _, StoreError, UNREADABLE_FOR};
use runproof_engine::run::RunStatus;
use runproof_proof::event::{EndStatus, FORMAT_LEVEL};
use runproof_store::postgres::PgStore;
use runproof_store::{Reaped, Store};
use serde_json::json;

use crate::cluster;
use crate::conformance::append::first_append;
use crate::doubles::{START, block_on};
use crate::on_postgres::{OnPostgres, Way, runtime};
use crate::support::*;

const LATER: u64 = START + 1_000_000_000_000_000;

/// Two processes, and the database between them.
struct Pair {
    subject: OnPostgres,
    first: Arc<PgStore>,
    second: Arc<PgStore>,
}

impl Pair {
    fn new(way: Way) -> Self {
        let subject = OnPostgres::new(way);
        populate(subject.store().as_ref());
        let address = subject.address();
        let opening = PgStore::open_engine(&address, runtime().handle(), None);
        let second = Arc::new(runtime().block_on(opening).unwrap());
        Self { first: subject.pg(), subject, second }
    }

    fn queue(&self, run_id: &str) {
        let step = plan(json!([{"id": "pay", "skill": "pay"}]));
        block_on(self.first.open_run(admitted(TENANT, run_id, Some(step)), None, stamp(START))).unwrap();
    }

    /// The lease of a worker is over for so many seconds.
    fn lapse(&self, worker: &str, seconds: u32) {
        self.subject.raw(&format!(
            "UPDATE public.workers SET lease_until = clock_timestamp() - interval '{seconds} s' WHERE id = '{worker}'"
        ));
    }
}

fn takes(store: &PgStore, worker: &str) -> Vec<Claimed> {
    let claims = block_on(store.claim(worker, LATER, 100)).unwrap();
    assert_eq!(claims.unreadable, []);
    claims.taken
}

fn a_worker_whose_runs_were_taken_writes_nothing(way: Way) {
    let pair = Pair::new(way);
    pair.queue("r_1");
    let [old] = <[_; 1]>::try_from(takes(&pair.first, "w_1")).unwrap();
    pair.lapse("w_1", 60);
    assert_eq!(block_on(pair.second.reap()), Ok(Reaped { workers: 1, runs: 1 }));
    let [new] = <[_; 1]>::try_from(takes(&pair.second, "w_2")).unwrap();
    assert_eq!(new.fence, Fence { owner: "w_2".to_owned(), epoch: old.fence.epoch + 2 }, "reaping counts as well");
    let before = load(pair.second.as_ref(), TENANT, "r_1");
    let (late, _) = first_append(&old, Claim::Keep);
    assert_eq!(block_on(pair.first.append(late)), Err(StoreError::Conflict("r_1".to_owned())));
    assert_same(&before, &load(pair.second.as_ref(), TENANT, "r_1"));
    Process::plain(Arc::clone(&pair.second) as _).drive(new).unwrap();
    audit_ledger(&pair.subject);
}

fn a_worker_that_lapsed_still_records_until_it_is_reaped(way: Way) {
    let pair = Pair::new(way);
    pair.queue("r_1");
    let [held] = <[_; 1]>::try_from(takes(&pair.first, "w_1")).unwrap();
    pair.lapse("w_1", 60);
    let (run, _) = Process::plain(Arc::clone(&pair.first) as _).drive(held).unwrap();
    assert_eq!(run.status(), RunStatus::Ended(EndStatus::Succeeded));
    assert_eq!(block_on(pair.second.reap()), Ok(Reaped { workers: 1, runs: 0 }));
    audit_ledger(&pair.subject);
}

/// Each run ends with the worker that lapsed, or it is taken from it; never both, and never neither.
fn reaping_and_completion_leave_one_winner(way: Way) {
    let pair = Pair::new(way);
    for nth in 0..30 {
        pair.queue(&format!("r_{nth}"));
    }
    let held = takes(&pair.first, "w_1");
    pair.lapse("w_1", 60);
    let written: BTreeSet<String> = std::thread::scope(|scope| {
        let reaping = scope.spawn(|| block_on(pair.second.reap()).unwrap());
        let driven = held.into_iter().filter_map(|claimed| {
            let run_id = claimed.run.id.clone();
            match Process::plain(Arc::clone(&pair.first) as _).drive(claimed) {
                Ok((run, _)) => Some(run.id),
                Err(error) => {
                    assert_eq!(error, StoreError::Conflict(run_id));
                    None
                }
            }
        });
        let written = driven.collect();
        assert_eq!(reaping.join().unwrap().workers, 1);
        written
    });
    let freed: BTreeSet<String> = takes(&pair.second, "w_2").iter().map(|claimed| claimed.run.id.clone()).collect();
    assert!(written.is_disjoint(&freed), "{written:?} and {freed:?}");
    assert_eq!(written.len() + freed.len(), 30);
    audit_ledger(&pair.subject);
}

fn two_processes_that_claim_at_once_take_no_run_twice(way: Way) {
    let pair = Pair::new(way);
    for nth in 0..40 {
        pair.queue(&format!("r_{nth}"));
    }
    for expected in [1, 3] {
        let taken: Vec<(String, u64)> = std::thread::scope(|scope| {
            let claimers: Vec<_> =
                [(&pair.first, "w_1"), (&pair.second, "w_2"), (&pair.first, "w_3"), (&pair.second, "w_4")]
                    .into_iter()
                    .map(|(store, worker)| {
                        scope.spawn(move || {
                            let mut mine = Vec::new();
                            loop {
                                let taken = block_on(store.claim(worker, LATER, 3)).unwrap().taken;
                                if taken.is_empty() {
                                    return mine;
                                }
                                mine.extend(taken.into_iter().map(|claimed| (claimed.run.id, claimed.fence.epoch)));
                            }
                        })
                    })
                    .collect();
            claimers.into_iter().flat_map(|claimer| claimer.join().unwrap()).collect()
        });
        assert_eq!(taken.len(), 40);
        assert_eq!(taken.iter().map(|(run_id, _)| run_id).collect::<BTreeSet<_>>().len(), 40);
        assert!(taken.iter().all(|(_, epoch)| *epoch == expected), "{taken:?}");
        pair.subject.raw("DELETE FROM public.workers");
        assert_eq!(block_on(pair.first.reap()), Ok(Reaped { workers: 0, runs: 40 }), "of workers that nobody knows");
        pair.subject.raw(crate::on_postgres::WORKERS);
    }
}

fn a_lease_that_lapsed_is_lost_for_good(way: Way) {
    let pair = Pair::new(way);
    pair.queue("r_1");
    assert_eq!(block_on(pair.first.heartbeat("w_1")), Ok(true));
    pair.lapse("w_1", 0);
    assert_eq!(block_on(pair.first.heartbeat("w_1")), Ok(false));
    assert!(block_on(pair.first.claim("w_1", LATER, 1)).is_err());
    assert!(block_on(pair.first.claim_run("w_1", TENANT, "r_1")).is_err());
    assert_eq!(block_on(pair.second.reap()), Ok(Reaped { workers: 1, runs: 0 }));
    assert_eq!(block_on(pair.first.heartbeat("w_1")), Ok(false));
    assert_eq!(block_on(pair.first.heartbeat("nobody")), Ok(false));
}

/// The lease lapses between the claim and the look at the run, and another process is further by then.
fn a_claim_that_was_overtaken_before_the_run_was_read_is_nobodys(way: Way) {
    let pair = Pair::new(way);
    pair.queue("r_1");
    let [held] = <[_; 1]>::try_from(takes(&pair.second, "w_2")).unwrap();
    let (append, _) = first_append(&held, Claim::Keep);
    block_on(pair.second.append(append)).unwrap();
    // As if the claim of `w_1` were the older one, and came to read only now.
    pair.subject.raw("UPDATE public.run_queue SET owner = NULL, wake_at = 1, epoch = 0");
    let other = runtime().block_on(cluster::connect(&pair.subject.database.direct_url())).unwrap();
    let say = |sql: &str| runtime().block_on(other.batch_execute(sql)).unwrap();
    let taken = std::thread::scope(|scope| {
        say("BEGIN; LOCK TABLE public.transitions IN ACCESS EXCLUSIVE MODE");
        let claim = scope.spawn(|| block_on(pair.first.claim("w_1", LATER, 100)).unwrap());
        let is_taken = "SELECT FROM public.run_queue WHERE owner = 'w_1'";
        while runtime().block_on(other.query_opt(is_taken, &[])).unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        say("UPDATE public.run_queue SET owner = 'w_2', epoch = 2; COMMIT");
        claim.join().unwrap()
    });
    assert_eq!((taken.taken.len(), taken.unreadable), (0, Vec::new()));
    // The row of the queue alone says so: that is no claim that anybody can work under.
    pair.subject.raw("UPDATE public.run_queue SET owner = NULL, wake_at = 1, epoch = 0");
    let claims = block_on(pair.first.claim("w_1", LATER, 100)).unwrap();
    assert_eq!(claims.taken.len(), 0);
    let [unreadable] = <[_; 1]>::try_from(claims.unreadable).unwrap();
    assert_eq!(
        unreadable.problem.to_string(),
        "the store is damaged at run_queue[run_id=r_1]: claimed with epoch 1; the run is running since epoch 1"
    );
}

fn a_worker_that_retires_gives_back_at_once(way: Way) {
    let pair = Pair::new(way);
    pair.queue("r_1");
    assert_eq!(takes(&pair.first, "w_1").len(), 1);
    assert!(takes(&pair.second, "w_2").is_empty());
    block_on(pair.first.retire_worker("w_1")).unwrap();
    let taken = takes(&pair.second, "w_2");
    assert_eq!(taken.iter().map(|claimed| claimed.fence.epoch).collect::<Vec<_>>(), [3]);
    assert_eq!(block_on(pair.first.heartbeat("w_1")), Ok(false));
}

fn what_a_newer_version_wrote_is_left_alone_and_reported_where_it_cannot_be_read(way: Way) {
    let pair = Pair::new(way);
    for run_id in ["known", "newer", "unknown"] {
        pair.queue(run_id);
    }
    pair.subject.set_format(TENANT, "newer", FORMAT_LEVEL + 1);
    pair.subject.rewrite(TENANT, "unknown", "\"kind\":\"run.planned\"", "\"kind\":\"run.foretold\"");
    for (store, worker, due) in [(&pair.first, "w_1", START), (&pair.second, "w_2", START + UNREADABLE_FOR)] {
        let claims = block_on(store.claim(worker, due, 100)).unwrap();
        let taken: Vec<&str> = claims.taken.iter().map(|claimed| claimed.run.id.as_str()).collect();
        assert_eq!(taken, if worker == "w_1" { vec!["known"] } else { vec![] });
        let reported: Vec<&str> = claims.unreadable.iter().map(|unreadable| unreadable.run_id.as_str()).collect();
        assert_eq!(reported, ["unknown"], "by each process, once its time has come");
        assert!(!block_on(store.has_due(due)).unwrap());
    }
    assert!(block_on(pair.first.claim_run("w_1", TENANT, "newer")).unwrap().is_none(), "not even by name");
    pair.subject.set_format(TENANT, "newer", FORMAT_LEVEL);
    let claims = block_on(pair.second.claim("w_2", START, 100)).unwrap();
    assert_eq!(claims.taken.iter().map(|claimed| claimed.run.id.as_str()).collect::<Vec<_>>(), ["newer"]);
}

super::both_ways!(
    a_worker_whose_runs_were_taken_writes_nothing,
    a_worker_that_lapsed_still_records_until_it_is_reaped,
    reaping_and_completion_leave_one_winner,
    two_processes_that_claim_at_once_take_no_run_twice,
    a_lease_that_lapsed_is_lost_for_good,
    a_claim_that_was_overtaken_before_the_run_was_read_is_nobodys,
    a_worker_that_retires_gives_back_at_once,
    what_a_newer_version_wrote_is_left_alone_and_reported_where_it_cannot_be_read,
);
