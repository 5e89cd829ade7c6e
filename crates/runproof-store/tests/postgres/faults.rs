//! The line between a store and its server is cut at chosen points. Whatever the store says after that is true: written
//! once, not written, or unknown; and what a lost answer brought is found again.
//!
//! Each test is told directly and through the pooler. Every point is cut once for each operation, at the first statement
//! that has the text; `crash.rs` is about every write of a run in turn.

use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use runproof_engine::ports::{Claim, Claimed, Fence, Journal as _, KeyValues as _, StoreError};
use runproof_engine::run::RunStatus;
use runproof_proof::event::EndStatus;
use runproof_store::postgres::{Address, PgStore};
use runproof_store::{CommandError, Store, TenantChange};
use serde_json::json;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::proxy::{Cut, Proxy};
use super::{Ledger, audit, place_all};
use crate::cluster;
use crate::conformance::append::first_append;
use crate::doubles::{START, block_on};
use crate::on_postgres::{OnPostgres, Way, runtime};
use crate::support::*;

const LATER: u64 = START + 1_000_000;

/// A proxy in front of the server of a URL, and the URL of the same database behind the proxy.
fn proxied(url: &str) -> (Proxy, String) {
    let config: Config = url.parse().unwrap();
    let [Host::Tcp(host)] = config.get_hosts() else { panic!("one host in `{url}`") };
    let server = format!("{host}:{}", config.get_ports()[0]);
    let proxy = Proxy::before(server.to_socket_addrs().unwrap().next().unwrap());
    let url = url.replacen(&server, &format!("127.0.0.1:{}", proxy.port()), 1);
    (proxy, format!("{url}?sslmode=disable"))
}

/// Two processes on one database: one behind the proxy, which does not sign, and one whose line is sound.
struct Scene {
    subject: OnPostgres,
    sound: Arc<dyn Store>,
    proxy: Proxy,
    shaken: Arc<PgStore>,
}

impl Scene {
    fn new(way: Way) -> Self {
        let subject = OnPostgres::new(way);
        populate(subject.store().as_ref());
        let url = match way {
            Way::Direct => subject.database.direct_url(),
            Way::Pooled => subject.database.pooled_url(),
        };
        let (proxy, url) = proxied(&url);
        let mut address = Address::parse(&url).unwrap();
        address.connections = 4;
        let shaken = runtime().block_on(PgStore::open_engine(&address, runtime().handle(), None)).unwrap();
        Self { sound: subject.store(), subject, proxy, shaken: Arc::new(shaken) }
    }

    /// Statements that somebody else carries out at the moment of the cut.
    fn meanwhile(&self, statements: &'static str) -> Option<Box<dyn FnOnce() + Send>> {
        let url = self.subject.database.direct_url();
        Some(Box::new(move || {
            runtime()
                .block_on(async { cluster::connect(&url).await.unwrap().batch_execute(statements).await.unwrap() });
        }))
    }

    /// The next cut has happened.
    fn was_cut(&self, times: usize, case: &str) {
        assert_eq!(self.proxy.cuts() as usize, times, "the line was not cut: {case}");
    }

    fn queue(&self, run_id: &str) {
        let opening = self.sound.open_run(admitted(TENANT, run_id, Some(mixed_plan())), None, stamp(START));
        block_on(opening).unwrap();
    }

    /// The claim of this run that the next claims bring. The statements of a transaction are sent together, so the server
    /// may still be at it after a cut; what it gives back late may be claimed once more meanwhile.
    fn found_again(&self, run_id: &str, case: &str) -> Claimed {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::time::Instant::now() < deadline {
            let taken = block_on(self.shaken.claim(WORKER, LATER, 16)).expect(case).taken;
            if let Some(claimed) = taken.into_iter().find(|claimed| claimed.run.id == run_id) {
                return claimed;
            }
            std::thread::yield_now();
        }
        panic!("{case}: `{run_id}` is claimed, and nobody finds it")
    }

    fn number(&self, sql: &str) -> i64 {
        let url = self.subject.database.direct_url();
        runtime().block_on(async { super::number(&cluster::connect(&url).await.unwrap(), sql).await })
    }
}

/// Where a transaction with this statement can be cut.
fn points(statement: &'static str) -> Vec<(&'static str, Cut)> {
    let mut points = vec![("BEGIN", Cut::Before), ("BEGIN", Cut::Within), ("BEGIN", Cut::After)];
    points.extend([Cut::Before, Cut::Within, Cut::Under, Cut::After].map(|cut| (statement, cut)));
    points.extend([Cut::Before, Cut::Within, Cut::Under, Cut::After].map(|cut| ("COMMIT", cut)));
    points
}

fn an_append_is_written_once(way: Way) {
    let scene = Scene::new(way);
    let mut points = points("runproof_append");
    points.extend([Cut::Before, Cut::Within, Cut::Under, Cut::After].map(|cut| ("INTO public.kv", cut)));
    for (nth, (text, cut)) in points.into_iter().enumerate() {
        let (case, run_id) = (format!("{cut:?} {text}"), format!("r_{nth}"));
        let claimed = claimed(open(scene.sound.as_ref(), TENANT, &run_id, mixed_plan()));
        scene.proxy.cut(text, cut);
        let (run, _) = Process::plain(Arc::clone(&scene.shaken) as _).drive(claimed).expect(&case);
        scene.was_cut(nth + 1, &case);
        assert_eq!(run.status(), RunStatus::Ended(EndStatus::Succeeded), "{case}");
        let noted = block_on(scene.shaken.read(TENANT, "noted")).unwrap().unwrap().version;
        assert_eq!(Some(noted), returned_at(scene.sound.as_ref(), TENANT, &run_id, "note"), "{case}");
    }
    audit_ledger(&scene.subject);
}

/// The run is somebody else's by the time the batch is sent again.
fn an_append_that_was_lost_and_fenced_is_refused_and_one_that_was_written_is_not(way: Way) {
    let scene = Scene::new(way);
    let taken = "UPDATE public.run_queue SET owner = 'w_2', epoch = epoch + 1";
    for (nth, (cut, written)) in [(Cut::Before, false), (Cut::After, true)].into_iter().enumerate() {
        let run_id = format!("r_{nth}");
        let claimed = claimed(open(scene.sound.as_ref(), TENANT, &run_id, mixed_plan()));
        let (append, after) = first_append(&claimed, Claim::Keep);
        scene.proxy.cut_and("COMMIT", cut, scene.meanwhile(taken));
        let expected = if written { Ok(()) } else { Err(StoreError::Conflict(run_id.clone())) };
        assert_eq!(block_on(scene.shaken.append(append)), expected);
        scene.was_cut(nth + 1, &run_id);
        assert_same(&load(scene.sound.as_ref(), TENANT, &run_id), if written { &after } else { &claimed.run });
    }
    audit_ledger(&scene.subject);
}

/// Nothing that can be asked afterwards takes back that it may have been written.
fn what_was_sent_and_is_then_refused_stays_unknown(way: Way) {
    let scene = Scene::new(way);
    let claimed = claimed(open(scene.sound.as_ref(), TENANT, "r_1", mixed_plan()));
    let (append, after) = first_append(&claimed, Claim::Keep);
    let gone = scene.meanwhile("ALTER TABLE public.run_queue RENAME TO elsewhere");
    scene.proxy.cut_and("COMMIT", Cut::After, gone);
    let answer = block_on(scene.shaken.append(append));
    assert!(matches!(answer, Err(StoreError::OutcomeUnknown(_))), "{answer:?}");
    scene.subject.raw("ALTER TABLE public.elsewhere RENAME TO run_queue");
    assert_same(&load(scene.sound.as_ref(), TENANT, "r_1"), &after);

    let gone = scene.meanwhile("ALTER TABLE public.stream_heads RENAME TO elsewhere");
    scene.proxy.cut_and("COMMIT", Cut::After, gone);
    let opening = scene.shaken.open_run(admitted(TENANT, "r_2", Some(mixed_plan())), None, stamp(START));
    let answer = block_on(opening).map(drop);
    assert!(matches!(answer, Err(CommandError::Store(StoreError::OutcomeUnknown(_)))), "{answer:?}");
    scene.subject.raw("ALTER TABLE public.elsewhere RENAME TO stream_heads");
    assert!(block_on(scene.sound.load_run(TENANT, "r_2")).unwrap().is_some());
    scene.was_cut(2, "both");
    audit_ledger(&scene.subject);
}

fn a_run_is_opened_once_for_whoever_asked(way: Way) {
    let scene = Scene::new(way);
    let points = points("runproof_open(");
    for (nth, (text, cut)) in points.iter().enumerate() {
        let (case, run_id) = (format!("{cut:?} {text}"), format!("r_{nth}"));
        scene.proxy.cut(text, *cut);
        let owner = Some(WORKER.to_owned());
        let opening = scene.shaken.open_run(admitted(TENANT, &run_id, Some(mixed_plan())), owner, stamp(START));
        let opened = block_on(opening).expect(&case);
        scene.was_cut(nth + 1, &case);
        assert!(!opened.existing, "{case}");
        assert_eq!(opened.fence, Some(Fence { owner: WORKER.to_owned(), epoch: 1 }), "{case}");
        let (run, _) = Process::plain(Arc::clone(&scene.shaken) as _).drive(claimed(opened)).expect(&case);
        assert_eq!(run.header.map(|header| header.run_no), Some(nth as u64 + 1), "{case}");
    }
    audit_ledger(&scene.subject);
}

/// An opening whose first try is lost must not take a run that was there before for its own.
fn a_run_of_somebody_else_is_not_taken_for_the_one_that_was_asked_for(way: Way) {
    let scene = Scene::new(way);
    scene.queue("r_1");
    for (nth, (text, cut)) in points("runproof_openings").into_iter().enumerate() {
        scene.proxy.cut(text, cut);
        let owner = Some(WORKER.to_owned());
        let opening = scene.shaken.open_run(admitted(TENANT, "r_1", Some(mixed_plan())), owner, stamp(START));
        let refused = CommandError::Refused("run `r_1` exists already".to_owned());
        assert_eq!(block_on(opening).map(|opened| opened.fence), Err(refused), "{cut:?} {text}");
        scene.was_cut(nth + 1, text);
    }
}

fn a_tenant_is_changed_once_or_nobody_knows(way: Way) {
    let scene = Scene::new(way);
    for (nth, (text, cut)) in points("INTO public.agents").into_iter().enumerate() {
        let (case, id) = (format!("{cut:?} {text}"), format!("agent_{nth}"));
        let create = || {
            let change = TenantChange::CreateAgent { id: id.clone(), name: "second".to_owned() };
            block_on(scene.shaken.change_tenant(TENANT, change, stamp(START)))
        };
        scene.proxy.cut(text, cut);
        let answer = create();
        scene.was_cut(nth + 1, &case);
        assert!(matches!(answer, Err(CommandError::Store(StoreError::OutcomeUnknown(_)))), "{case}: {answer:?}");
        let again = create();
        let written = (text, cut) == ("COMMIT", Cut::After);
        match again {
            Ok(()) => assert!(!written, "{case}: it was written twice"),
            Err(CommandError::AgentExists(_)) => assert!(written || cut == Cut::Under, "{case}: it was not written"),
            Err(other) => panic!("{case}: {other}"),
        }
    }
    audit_ledger(&scene.subject);
}

fn a_claim_whose_answer_was_lost_is_found_again(way: Way) {
    let scene = Scene::new(way);
    let all = [Cut::Before, Cut::Within, Cut::After];
    let mut points: Vec<_> = all.map(|cut| ("runproof_claim", cut)).to_vec();
    // It is taken, and then it cannot be read.
    points.extend(all.map(|cut| ("Everything in the streams of some runs", cut)));
    for (nth, (text, cut)) in points.into_iter().enumerate() {
        let (case, run_id) = (format!("{cut:?} {text}"), format!("r_{nth}"));
        scene.queue(&run_id);
        scene.proxy.cut(text, cut);
        let answer = block_on(scene.shaken.claim(WORKER, LATER, 16));
        scene.was_cut(nth + 1, &case);
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{case}: {answer:?}");
        let taken = block_on(scene.shaken.claim(WORKER, LATER, 16)).expect(&case).taken;
        assert_eq!(taken.len(), 1, "{case}");
        assert_eq!(taken[0].fence, Fence { owner: WORKER.to_owned(), epoch: 1 }, "{case}");
        assert!(block_on(scene.shaken.claim(WORKER, LATER, 16)).unwrap().taken.is_empty(), "{case}: claimed twice");
        for claimed in taken {
            Process::plain(Arc::clone(&scene.shaken) as _).drive(claimed).expect(&case);
        }
    }
    audit_ledger(&scene.subject);
}

fn a_claim_by_name_whose_answer_was_lost_is_found_again(way: Way) {
    let scene = Scene::new(way);
    let mut points = points("Takes one run");
    points.retain(|(_, cut)| *cut != Cut::Under); // whether it is taken by then, nobody can say
    points.push(("Everything in the streams of some runs", Cut::Before));
    for (nth, (text, cut)) in points.into_iter().enumerate() {
        let (case, run_id) = (format!("{cut:?} {text}"), format!("r_{nth}"));
        scene.queue(&run_id);
        scene.proxy.cut(text, cut);
        let answer = block_on(scene.shaken.claim_run(WORKER, TENANT, &run_id));
        scene.was_cut(nth + 1, &case);
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{case}: {answer:?}");
        let taken = scene.found_again(&run_id, &case);
        assert_eq!(taken.fence.epoch, 1, "{case}");
    }
}

/// The server goes on with a statement whose sender is gone: here it waits for a lock, and takes the run much later.
fn a_claim_that_comes_to_pass_after_its_answer_was_lost_is_found_as_well(way: Way) {
    let scene = Scene::new(way);
    scene.queue("r_1");
    let url = scene.subject.database.direct_url();
    let locker = runtime().block_on(cluster::connect(&url)).unwrap();
    runtime().block_on(locker.batch_execute("BEGIN; LOCK TABLE public.run_queue IN EXCLUSIVE MODE")).unwrap();
    scene.proxy.cut("runproof_claim", Cut::Under);
    assert!(block_on(scene.shaken.claim(WORKER, LATER, 16)).is_err());
    while scene.number(WAITING) == 0 {
        std::thread::yield_now();
    }
    // Somebody looks before it has happened, and finds nothing.
    scene.proxy.cut("runproof_claim", Cut::Before);
    assert!(block_on(scene.shaken.claim(WORKER, LATER, 16)).is_err());
    scene.was_cut(2, "both");
    runtime().block_on(locker.batch_execute("COMMIT")).unwrap();
    while scene.number("SELECT count(*) FROM public.run_queue WHERE owner IS NOT NULL") == 0 {
        std::thread::yield_now();
    }
    let taken = block_on(scene.shaken.claim(WORKER, LATER, 16)).unwrap().taken;
    assert_eq!(taken.len(), 1);
    Process::plain(Arc::clone(&scene.shaken) as _).drive(taken.into_iter().next().unwrap()).unwrap();
    audit_ledger(&scene.subject);
}

/// Sessions of this database that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

fn a_claim_that_could_not_be_given_back_is_found_again(way: Way) {
    let scene = Scene::new(way);
    for (nth, (text, cut)) in points("Gives back a claim").into_iter().enumerate() {
        let case = format!("{cut:?} {text}");
        let run_id = format!("r_{nth}");
        scene.queue(&run_id);
        let fence = block_on(scene.shaken.claim_run(WORKER, TENANT, &run_id)).unwrap().unwrap().fence;
        scene.proxy.cut(text, cut);
        let answer = block_on(scene.shaken.give_back(TENANT, &run_id, &fence, START));
        scene.was_cut(nth + 1, &case);
        assert!(matches!(answer, Err(StoreError::OutcomeUnknown(_))), "{case}: {answer:?}");
        let taken = scene.found_again(&run_id, &case);
        let expected = if (text, cut) == ("COMMIT", Cut::After) { 2..=2 } else { 1..=2 };
        assert!(expected.contains(&taken.fence.epoch), "{case}: {:?}", taken.fence);
    }
}

fn a_lease_is_kept_by_a_heartbeat_that_arrives(way: Way) {
    let scene = Scene::new(way);
    let until = "SELECT (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint FROM public.workers
                 WHERE id = 'w_1'";
    for (nth, (text, cut)) in points("Renews a lease").into_iter().enumerate() {
        let case = format!("{cut:?} {text}");
        scene.subject.raw("UPDATE public.workers SET lease_until = clock_timestamp() + interval '1 hour'");
        scene.proxy.cut(text, cut);
        let answer = block_on(scene.shaken.heartbeat(WORKER));
        scene.was_cut(nth + 1, &case);
        assert!(matches!(answer, Err(StoreError::OutcomeUnknown(_))), "{case}: {answer:?}");
        if (text, cut) == ("COMMIT", Cut::After) {
            assert!(scene.number(until) < 20_000, "{case}: it arrived"); // the hour is ten seconds now
        }
        assert_eq!(block_on(scene.shaken.heartbeat(WORKER)), Ok(true), "{case}");
    }
}

fn every_leaf_is_placed_once_and_every_head_is_signed(way: Way) {
    let ledger = Ledger::new();
    let url = match way {
        Way::Direct => ledger.database.direct_url(),
        Way::Pooled => ledger.database.pooled_url(),
    };
    let (proxy, url) = proxied(&url);
    let all = [Cut::Before, Cut::Within, Cut::Under, Cut::After];
    let mut points = points("INTO public.leaves");
    for statement in ["INTO public.ledger_tiles", "UPDATE public.ledger_head", "INTO public.checkpoints"] {
        points.extend(all.map(|cut| (statement, cut)));
    }
    runtime().block_on(async {
        let sound = ledger.connect(way).await;
        for (nth, (text, cut)) in points.into_iter().enumerate() {
            super::insert(&sound, &format!("run/{nth}"), 0, &format!("event {nth}")).await;
            let shaken = cluster::connect(&url).await.unwrap();
            proxy.cut(text, cut);
            let answer = ledger.sequencer().place(&shaken).await;
            assert_eq!((proxy.cuts() as usize, answer.is_err()), (nth + 1, true), "{cut:?} {text}: {answer:?}");
            let mut next = ledger.sequencer(); // another process goes on
            // The session that was cut off may hold the head for a moment: whoever finds it held leaves it.
            for _ in 0..500 {
                let placed = place_all(&mut next, &sound).await.unwrap();
                if placed == 0 && unplaced(&sound).await == 0 && unsigned(&sound).await == 0 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            audit(&ledger, &sound).await;
        }
    });
}

async fn unsigned(client: &tokio_postgres::Client) -> i64 {
    let sql = "SELECT count(*) FROM public.ledger_head h WHERE NOT EXISTS (
        SELECT 1 FROM public.checkpoints c WHERE c.size = h.size)";
    super::number(client, sql).await
}

async fn unplaced(client: &tokio_postgres::Client) -> i64 {
    super::number(client, "SELECT count(*) FROM public.runproof_unplaced(100)").await
}

/// Two processes write two keys in opposite order: the server ends one of them, and both are written in the end.
fn a_deadlock_between_two_processes_ends_with_both_written(way: Way) {
    let scene = Scene::new(way);
    for key in ["a", "b", "gate"] {
        scene
            .subject
            .raw(&format!("INSERT INTO public.kv (tenant_id, key, value, version) VALUES ('t_1', '{key}', '0', 0)"));
    }
    let locker = runtime().block_on(cluster::connect(&scene.subject.database.direct_url())).unwrap();
    runtime().block_on(locker.batch_execute("BEGIN; SELECT 1 FROM public.kv WHERE key = 'gate' FOR UPDATE")).unwrap();
    let stores: [Arc<dyn Store>; 2] = [Arc::clone(&scene.sound), Arc::clone(&scene.shaken) as _];
    std::thread::scope(|scope| {
        let mut appends = Vec::new();
        for (store, (run_id, keys)) in stores.iter().zip([("r_1", ["a", "gate", "b"]), ("r_2", ["b", "gate", "a"])]) {
            let (mut append, _) = first_append(
                &claimed(open(scene.sound.as_ref(), TENANT, run_id, plan(json!([{"id": "pay", "skill": "pay"}])))),
                Claim::Keep,
            );
            append.writes = keys.map(|key| put(key, run_id)).to_vec();
            appends.push(scope.spawn(move || block_on(store.append(append))));
        }
        while scene.number(WAITING) < 2 {
            std::thread::yield_now();
        }
        runtime().block_on(locker.batch_execute("COMMIT")).unwrap();
        for append in appends {
            assert_eq!(append.join().unwrap(), Ok(()));
        }
    });
    let value = |key: &str| block_on(scene.sound.read(TENANT, key)).unwrap().unwrap().value;
    assert!(value("a") == value("b") && value("a") == value("gate"), "one of them wrote last, all of it");
    audit_ledger(&scene.subject);
}

fn put(key: &str, value: &str) -> runproof_engine::skill::Write {
    runproof_engine::skill::Write::Put {
        key: key.to_owned(),
        value: format!("\"{value}\"").into_bytes(),
        expires_at: None,
        guard: runproof_engine::skill::Guard::Any,
    }
}

/// One that opens the run, one for each step with what comes before it, and one that ends the run.
fn a_run_of_k_steps_takes_k_plus_2_transactions(way: Way) {
    let scene = Scene::new(way);
    let store = Arc::clone(&scene.shaken) as Arc<dyn Store>;
    for steps in [1, 5, 8] {
        let each: Vec<_> = (0..steps).map(|step| json!({"id": format!("pay_{step}"), "skill": "pay"})).collect();
        let before = scene.proxy.transactions();
        let (run, _) = driven(&store, TENANT, &format!("r_{steps}"), plan(json!(each)));
        assert_eq!(run.status(), RunStatus::Ended(EndStatus::Succeeded));
        assert_eq!(scene.proxy.transactions() - before, steps + 2, "{steps} steps");
    }
}

super::both_ways!(
    a_run_of_k_steps_takes_k_plus_2_transactions,
    an_append_is_written_once,
    an_append_that_was_lost_and_fenced_is_refused_and_one_that_was_written_is_not,
    what_was_sent_and_is_then_refused_stays_unknown,
    a_run_is_opened_once_for_whoever_asked,
    a_run_of_somebody_else_is_not_taken_for_the_one_that_was_asked_for,
    a_tenant_is_changed_once_or_nobody_knows,
    a_claim_whose_answer_was_lost_is_found_again,
    a_claim_by_name_whose_answer_was_lost_is_found_again,
    a_claim_that_comes_to_pass_after_its_answer_was_lost_is_found_as_well,
    a_claim_that_could_not_be_given_back_is_found_again,
    a_lease_is_kept_by_a_heartbeat_that_arrives,
    every_leaf_is_placed_once_and_every_head_is_signed,
    a_deadlock_between_two_processes_ends_with_both_written,
);
