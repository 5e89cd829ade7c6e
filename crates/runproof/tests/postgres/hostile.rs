//! Hostile servers, with the real binary: what it says, that nothing is lost, and that runs go on when it is over.

use std::process::Command;
use std::sync::{Mutex, mpsc};

use serde_json::json;

use super::{Scene, Way, ended, ran, sql, started, with_password};
use crate::cluster;
use crate::support::{AGENT, Answer, Home, Receiver, TENANT, eventually, runtime};

/// A receiver that answers nothing before the returned half is dropped.
fn held_back() -> (Receiver, mpsc::Sender<()>) {
    let (open, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let receiver = Receiver::start(move |_, _| {
        wait.lock().unwrap().recv().ok();
        Some(Answer::json(200, &json!({ "ok": true })))
    });
    (receiver, open)
}

/// A plan that asks the receiver, and then takes a few steps more.
fn plan(scene: &Scene, receiver: &Receiver) -> String {
    let note = |id: &str| json!({ "id": id, "skill": "json_transform", "with": { "payload": { "a": 1 } } });
    let fetch = json!({ "id": "fetch", "skill": "http_call", "with": { "url": receiver.url("it") } });
    scene.home.plan(json!([note("first"), fetch, note("second"), note("third")]))
}

fn run_plan<'a>(plan: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", plan], more].concat()
}

/// How the runs stand, while the server may be anything.
fn all_succeeded(scene: &Scene) -> Option<()> {
    let listed = scene.ran(&mut scene.home.command(&["list-runs"]));
    let done =
        listed.code == 0 && listed.json()["runs"].as_array().unwrap().iter().all(|run| run["status"] == "succeeded");
    done.then_some(())
}

// Down ----------------------------------------------------------------------------------------------------------------

#[test]
fn a_server_or_a_pooler_that_is_down_at_the_start_is_named_with_what_to_check() {
    let scene = Scene::own(Way::Direct, &[]).initialised();
    let pooled = with_password(&scene.server().pooled_url("runproof"), "runproof");
    scene.server().stop_postgres();
    scene.server().stop_pooler();
    for url in [&scene.url, &pooled] {
        let place = url.replace(&format!(":{}", super::PASSWORD), "");
        for command in [
            &["worker", "--drain"][..],
            &["list-runs"],
            &["migrate", "--status"],
            &["init"],
            &["create-tenant", "--id", "x"],
        ] {
            let mut command = scene.home.command(command);
            let said = scene.refused(command.env("DATABASE_URL", url), 8, "database.unreachable");
            assert!(said.starts_with(&format!("cannot reach `{place}`: ")) && said.contains("refused"), "{said}");
        }
    }
    assert!(!scene.home.database().exists(), "nothing was written elsewhere");
    scene.server().start_postgres();
    assert_eq!(scene.ok(&mut scene.run_command(&[]))["proof"]["verdict"], "VERIFIED");
    scene.server().start_pooler();
    assert_eq!(scene.ok(scene.run_command(&[]).env("DATABASE_URL", &pooled))["proof"]["verdict"], "VERIFIED");
}

#[test]
fn runs_go_on_when_a_server_that_crashed_is_back() {
    for way in [Way::Direct, Way::Pooled] {
        let scene = Scene::own(way, &[]).initialised();
        let (receiver, open) = held_back();
        let plan = plan(&scene, &receiver);
        for _ in 0..3 {
            scene.ok(&mut scene.home.command(&run_plan(&plan, &["--no-wait"])));
        }
        let worker = scene.home.worker();
        eventually("the worker takes the runs", || (receiver.count("/it") >= 3).then_some(()));
        scene.server().kill_postgres();
        drop(open); // what the receiver answers now cannot be recorded yet
        scene.refused(&mut scene.as_role("runproof", &["list-runs"]), 8, "database.unreachable");
        scene.server().start_postgres();
        eventually("the runs go on", || all_succeeded(&scene));
        drop(worker);
        assert_eq!(scene.every_run_is_whole(), 3, "{way:?}");
    }
}

#[test]
fn a_run_that_somebody_waits_for_is_not_lost_with_the_server() {
    let scene = Scene::own(Way::Direct, &[]).initialised();
    let (receiver, open) = held_back();
    let plan = plan(&scene, &receiver);
    let run = started(&mut scene.home.command(&run_plan(&plan, &["--json"])));
    eventually("the run reaches its second step", || (receiver.count("/it") >= 1).then_some(()));
    scene.server().kill_postgres();
    drop(open);
    scene.server().start_postgres();
    let run = ended(run);
    if run.code == 0 {
        assert_eq!(run.json()["proof"]["verdict"], "VERIFIED", "{run:?}");
    } else {
        let code = run.error_code();
        assert!(run.code == 8 && (code.starts_with("database.") || code.starts_with("store.")), "{run:?}");
    }
    eventually("somebody takes the run", || {
        scene.ok(&mut scene.home.command(&["worker", "--drain"]));
        all_succeeded(&scene)
    });
    assert_eq!(scene.every_run_is_whole(), 1);
}

// Frozen --------------------------------------------------------------------------------------------------------------

/// Every process of a server, stopped where it is; it goes on when this is dropped.
struct Frozen {
    processes: Vec<String>,
}

impl Frozen {
    fn new(scene: &Scene) -> Self {
        let postmaster = postmaster(scene);
        let children = crate::support::ran(Command::new("ps").args(["-o", "pid=", "--ppid", &postmaster]));
        let children = children.stdout.split_whitespace().map(str::to_owned);
        // The postmaster first: it would start anew what it misses.
        let frozen = Self { processes: std::iter::once(postmaster).chain(children).collect() };
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        // A backend may have ended meanwhile; what matters is that all others get it.
        Command::new("kill").arg(signal).args(&self.processes).output().unwrap();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

fn postmaster(scene: &Scene) -> String {
    let file = &scene.sql("SELECT pg_read_file('postmaster.pid')")[0][0];
    file.lines().next().unwrap().to_owned()
}

#[test]
fn a_server_that_answers_nothing_is_given_up_on_and_runs_go_on_when_it_does() {
    let scene = Scene::own(Way::Direct, &[]).initialised();
    let (receiver, open) = held_back();
    let plan = plan(&scene, &receiver);
    scene.ok(&mut scene.home.command(&run_plan(&plan, &["--no-wait"])));
    let worker = scene.home.worker();
    eventually("the worker takes the run", || (receiver.count("/it") >= 1).then_some(()));
    let frozen = Frozen::new(&scene);
    drop(open);
    let said = scene.refused(&mut scene.home.command(&["list-runs"]), 8, "database.timeout");
    assert!(said.contains("no connection in time"), "{said}");
    drop(frozen);
    eventually("the run goes on", || all_succeeded(&scene));
    drop(worker);
    assert_eq!(scene.every_run_is_whole(), 1);
}

// It takes no writes --------------------------------------------------------------------------------------------------

#[test]
fn a_database_that_is_read_only_is_said_to_be_and_work_goes_on_when_it_is_not() {
    let scene = Scene::own(Way::Direct, &[]).initialised();
    scene.ok(&mut scene.run_command(&["--no-wait"]));
    let before = scene.rows();
    let read_only = |value: &str| {
        scene.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
        scene.sql("SELECT pg_reload_conf()");
        eventually("the server has read its settings", || {
            (scene.sql("SHOW default_transaction_read_only")[0][0] == value).then_some(())
        });
    };
    read_only("on");
    for mut command in [
        scene.run_command(&[]),
        scene.home.command(&["worker", "--drain"]),
        scene.home.command(&["create-tenant", "--id", "other"]),
    ] {
        let said = scene.refused(&mut command, 8, "database.read_only");
        assert!(said.contains("read-only transaction"), "{said}");
    }
    assert_eq!(scene.ok(&mut scene.home.command(&["list-runs"]))["runs"].as_array().unwrap().len(), 1, "reading works");
    assert_eq!(scene.rows(), before, "nothing was written");
    read_only("off");
    assert_eq!(scene.every_run_is_whole(), 1);
}

#[test]
fn a_server_that_loses_what_it_acknowledged_is_refused() {
    let scene = Scene::empty(Way::Pooled).initialised();
    let database = &scene.sql("SELECT current_database()")[0][0];
    scene.sql(&format!("ALTER DATABASE {database} SET synchronous_commit = off"));
    let direct = with_password(&scene.raw_url(), "runproof");
    let said = scene.refused(scene.run_command(&[]).env("DATABASE_URL", direct), 8, "database.setting");
    assert!(said.contains(&format!("ALTER DATABASE \"{database}\" SET synchronous_commit = on")), "{said}");
}

#[test]
fn what_the_database_no_longer_refuses_stops_an_engine_and_is_named() {
    let scene = Scene::empty(Way::Pooled).initialised();
    scene.ok(&mut scene.run_command(&[]));
    let before = scene.rows();
    let trigger = &scene.sql(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'public.run_seals'::regclass AND NOT tgisinternal ORDER BY 1",
    )[0][0];
    scene.sql(&format!("ALTER TABLE public.run_seals DISABLE TRIGGER {trigger}"));
    let said = scene.refused(&mut scene.run_command(&[]), 8, "store.unprotected");
    assert!(said.contains(&format!("ALTER TABLE public.run_seals ENABLE TRIGGER {trigger}")), "{said}");
    let status = scene.ok(&mut scene.home.command(&["migrate", "--status"]));
    assert!(status["missing"][0].as_str().unwrap().contains(trigger.as_str()), "{status:#}");
    assert_eq!(scene.rows(), before, "nothing was written");
    scene.sql(&format!("ALTER TABLE public.run_seals ENABLE TRIGGER {trigger}"));
    assert_eq!(scene.every_run_is_whole(), 1);
}

// It has no room ------------------------------------------------------------------------------------------------------

#[test]
fn a_server_without_a_free_connection_is_named_and_nothing_is_written() {
    let scene =
        Scene::own(Way::Direct, &["-c", "max_connections=12", "-c", "superuser_reserved_connections=0"]).initialised();
    let before = scene.rows();
    let (url, runtime) = (scene.raw_url(), runtime());
    let mut held = Vec::new();
    while let Ok(client) = runtime.block_on(cluster::connect(&url)) {
        held.push(client);
    }
    assert!(held.len() >= 8, "{}", held.len());
    let said = scene.refused(&mut scene.run_command(&[]), 8, "database.connections");
    assert!(said.contains("too many clients already"), "{said}");
    drop(held);
    drop(runtime);
    eventually("the server has let go", || (super::asked(&url, "SELECT 1").is_ok()).then_some(()));
    assert_eq!(scene.rows(), before, "nothing was written");
    assert_eq!(
        eventually("a connection", || {
            let run = scene.ran(&mut scene.run_command(&[]));
            (run.code == 0).then(|| run.json())
        })["proof"]["verdict"],
        "VERIFIED"
    );
    assert_eq!(scene.every_run_is_whole(), 1);
}

/// Letters that no compression makes shorter.
fn noise(seed: usize, length: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed as u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[(state >> 58) as usize])
    };
    (0..length).map(letter).collect()
}

#[test]
fn a_full_disk_is_named_and_a_run_that_meets_it_goes_on_when_there_is_room() {
    let scene = Scene::own(Way::Direct, &["-c", "autovacuum=off"]).initialised();
    let receiver = Receiver::start(|_, turn| Some(Answer::json(200, &json!({ "text": noise(turn, 100_000) }))));
    let plan = plan(&scene, &receiver);
    // The file with the values becomes larger than any other (the server's own have 16 MiB), and then no file may grow by
    // more than half a page: a page that is written in part is what a full disk looks like.
    scene.sql(
        "BEGIN; INSERT INTO public.transitions (tenant_id, stream, first_seq, event_count, events, payloads)
         SELECT 'none', 'none', 0, 1, '', string_agg(md5(i::text), '') FROM generate_series(1, 600000) i; ROLLBACK",
    );
    let size = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'public.transitions'::regclass";
    let size = scene.number(size);
    assert!(size > 17 * 1024 * 1024, "{size}");
    let limit = |size: &str| {
        // Sessions inherit the limit, and keep it: so it is set for each that there is. One may end meanwhile.
        let server = postmaster(&scene);
        let each = format!(
            "for p in {server} $(ps -o pid= --ppid {server}); do prlimit --pid $p --fsize={size}: || true; done"
        );
        scene.sql(&format!("COPY (SELECT 1) TO PROGRAM '{each}'"));
    };
    let met = || {
        let log = "SELECT pg_read_file(current_setting('data_directory') || '/../postgres.log')";
        scene.sql(log)[0][0].matches("could not extend file").count()
    };

    let before = scene.rows();
    limit(&(size + 4096).to_string());
    let goal = noise(1, 9_000);
    let command = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", &goal];
    let said = scene.refused(&mut scene.home.command(&command), 8, "database.disk_full");
    assert!(said.contains("could not extend file"), "{said}");
    assert_eq!(scene.rows(), before, "nothing was written");

    let refused = met();
    let run = started(&mut scene.home.command(&run_plan(&plan, &["--json"])));
    eventually("the run meets the full disk", || (met() > refused).then_some(()));
    limit("unlimited");
    let run = ended(run);
    assert_eq!((run.code, &run.json()["proof"]["verdict"]), (0, &json!("VERIFIED")), "{run:?}");
    assert_eq!(receiver.count("/it"), 1, "what was answered was kept until there was room");
    assert_eq!(scene.every_run_is_whole(), 1);
}

// It takes too long ---------------------------------------------------------------------------------------------------

#[test]
fn a_lock_that_somebody_holds_and_a_short_statement_timeout_are_named() {
    let scene = Scene::empty(Way::Direct).initialised();
    let (before, database) = (scene.rows(), scene.sql("SELECT current_database()")[0][0].clone());
    let (url, runtime) = (scene.raw_url(), runtime());
    let holder = runtime.block_on(cluster::connect(&url)).unwrap();
    let hold = |table: &str| {
        let statements = format!("ROLLBACK; BEGIN; LOCK TABLE public.{table} IN ACCESS EXCLUSIVE MODE");
        runtime.block_on(holder.batch_execute(&statements)).unwrap();
    };
    sql(&url, &format!("ALTER DATABASE {database} SET statement_timeout = '300ms'"));
    hold("schema_migrations");
    let said = scene.refused(&mut scene.run_command(&[]), 8, "database.timeout");
    assert!(said.contains("statement timeout"), "{said}");
    sql(&url, &format!("ALTER DATABASE {database} RESET statement_timeout"));
    hold("agents");
    let command = ["create-agent", "--name", "other", "--tenant-id", TENANT];
    scene.refused(&mut scene.home.command(&command), 8, "database.timeout");
    runtime.block_on(holder.batch_execute("ROLLBACK")).unwrap();
    assert_eq!(scene.rows(), before, "nothing was written");
    scene.ok(&mut scene.home.command(&command));
}

// It lets nobody in ---------------------------------------------------------------------------------------------------

#[test]
fn whoever_is_not_let_in_is_told_why_directly_and_through_the_pooler() {
    let scene = Scene::empty(Way::Direct).initialised();
    let pooled = with_password(&cluster::pooled_url("runproof_is_not_here"), "runproof");
    let direct = with_password(&cluster::direct_url("runproof_is_not_here"), "runproof");
    for url in [direct, pooled] {
        let said = scene.refused(scene.home.command(&["list-runs"]).env("DATABASE_URL", url), 8, "database.unknown");
        assert!(said.contains("runproof_is_not_here"), "{said}");
    }
    let stranger = scene.url.replacen("://runproof:", "://nobody_of_that_name:", 1);
    scene.refused(scene.home.command(&["list-runs"]).env("DATABASE_URL", stranger), 8, "database.authentication");
    let encrypted = format!("{}?sslmode=require", scene.url);
    scene.refused(scene.home.command(&["list-runs"]).env("DATABASE_URL", encrypted), 8, "database.tls");
}

#[test]
fn a_url_that_cannot_be_read_is_refused_without_showing_the_password() {
    let home = Home::empty();
    for url in [
        "postgres://",
        "postgres://u:pa55-w0rd-of-nobody@h:port/d",
        "postgresql://u:pa55-w0rd-of-nobody@h/d?sslmode=maybe",
        "mysql://h/d",
    ] {
        let ran = ran(home.command(&["list-runs", "--json"]).env("DATABASE_URL", url));
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "database.url"), "{url}: {ran:?}");
    }
}
