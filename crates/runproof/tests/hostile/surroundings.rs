//! What stands around a run: the home, the database, the environment, the clock. Damaged, missing or wrong.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use runproof_engine::admission::{RunRequest, admit};
use runproof_store::sqlite::SqliteStore;
use runproof_store::{Stamp, Store};
use serde_json::json;

use super::{calm, every_run_is_whole, refused};
use crate::support::{AGENT, Home, TENANT, runtime, text};

const RUN: [&str; 7] = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", "say hello"];

/// Contents that no file of a home can have.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..whole.len() - 2], b"x\n"].concat(),
        b"\xff\xfe\x00\x01".to_vec(),
        b"[".repeat(1_000_000),
        vec![b'x'; 10 << 20],
        [whole, whole].concat(),
    ]
}

/// What a damaged file of the home makes of commands; the file and the database stay as they are.
fn check_damaged(name: &str, commands: &[&[&str]], code: i32, error: &str) {
    let home = Home::initialised();
    let id = text(&home.run_goal("say hello", &[]).1["run_id"]);
    let (path, before) = (home.folder().join(name), home.dump());
    let whole = std::fs::read(&path).unwrap();
    for content in damaged(&whole) {
        std::fs::write(&path, &content).unwrap();
        for command in commands {
            let command: Vec<&str> = command.iter().map(|word| if *word == "ID" { &id } else { *word }).collect();
            let error = refused(&mut home.command(&command), code, error);
            let message = text(&error["message"]);
            assert!(message.contains(name) && message.len() < 1_000, "it names the file, and is short: {message}");
        }
        assert!(std::fs::read(&path).unwrap() == content, "{name} is left as it is");
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(home.dump(), before);
    assert_eq!(every_run_is_whole(&home), 1);
}

// The home ------------------------------------------------------------------------------------------------------------

#[test]
fn a_damaged_log_key_is_named_and_neither_used_nor_replaced() {
    check_damaged("log.key", &[&RUN, &["key", "show"], &["init"], &["worker", "--drain"], &["last"]], 8, "home.key");
}

#[test]
fn a_damaged_trust_file_of_the_home_proves_nothing() {
    check_damaged("trust.json", &[&["proof", "ID", "--tenant-id", TENANT]], 2, "trust.invalid");
}

#[test]
fn a_damaged_checkpoint_is_not_taken_for_none() {
    let commands: [&[&str]; 4] =
        [&RUN, &["worker", "--drain"], &["create-tenant", "--id", "zen"], &["proof", "ID", "--tenant-id", TENANT]];
    check_damaged("last-checkpoint", &commands, 8, "home.checkpoint");
}

#[test]
fn a_home_that_lost_its_trust_file_gets_it_back_from_the_key() {
    let home = Home::initialised();
    home.run_goal("say hello", &[]);
    let path = home.folder().join("trust.json");
    let before = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = refused(&mut home.command(&["last"]), 8, "home.io");
    assert_eq!(error["hint"], "runproof init");
    assert_eq!(home.ok(&["init"])["created"], false);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(every_run_is_whole(&home), 1);
}

#[test]
fn a_home_that_is_no_folder_is_named() {
    let home = Home::empty();
    let file = home.file("a-file", "");
    for (folder, error) in [(file.as_str(), "home.io"), ("/dev/null", "home.io"), ("/dev/null/below", "home.io")] {
        refused(home.command(&["init"]).env("RUNPROOF_HOME", folder), 8, error);
        let ran = calm(home.command(&["list-runs"]).env("RUNPROOF_HOME", folder));
        assert_eq!((ran.code, ran.error_code().as_str()), (8, "store.missing"), "{folder}");
    }
    assert_eq!(std::fs::read(file).unwrap(), b"");
}

#[test]
fn without_a_home_only_what_needs_one_is_refused() {
    let home = Home::initialised();
    let (bundle, key) = home.sealed_bundle();
    let bare = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env_clear().current_dir("/");
        command
    };
    for arguments in [&RUN[..], &["init"], &["list-runs"], &["worker"], &["key", "show"], &["list-skills"], &["last"]] {
        refused(&mut bare(arguments), 2, "home.unknown");
        refused(bare(arguments).env("HOME", "").env("RUNPROOF_HOME", ""), 2, "home.unknown");
    }
    assert_eq!(calm(&mut bare(&["verify", bundle.to_str().unwrap(), "--key", &key])).code, 0);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(calm(bare(&["init"]).env("HOME", elsewhere.path())).code, 0);
    assert!(elsewhere.path().join(".runproof/log.key").exists(), "HOME is where it is by default");
}

#[test]
fn a_variable_that_is_no_text_is_refused_and_a_path_may_be_any_bytes() {
    let home = Home::empty();
    let bad = OsStr::from_bytes(b"caf\xe9");
    for name in ["DATABASE_URL", "RUNPROOF_EGRESS_ALLOW", "RUNPROOF_TEST_SKILLS", "USE_POSTGRES_TRACES"] {
        let error = refused(home.command(&["init"]).env(name, bad), 2, "environment.encoding");
        assert!(text(&error["message"]).contains(name), "{error:#}");
    }
    assert_eq!(std::fs::read_dir(home.folder()).unwrap().count(), 0, "nothing was made by default");
    let folder = home.folder().join(bad);
    for arguments in [&["init"][..], &["key", "show"], &["migrate"], &["create-tenant", "--id", "zen"]] {
        let ran = calm(home.command(arguments).env("RUNPROOF_HOME", &folder));
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    }
    assert!(folder.join("runproof.db").exists());
}

// The database --------------------------------------------------------------------------------------------------------

#[test]
fn a_file_that_is_no_database_is_named_and_left_as_it_is() {
    let home = Home::initialised();
    home.run_goal("say hello", &[]);
    let whole = std::fs::read(home.database()).unwrap();
    let other = home.path("other.db");
    for content in [
        b"not a database, but long enough to look like one".repeat(100),
        whole[..whole.len() / 2].to_vec(),
        whole[..100].to_vec(),
    ] {
        std::fs::write(&other, &content).unwrap();
        for arguments in [
            &RUN[..],
            &["list-runs"],
            &["worker", "--drain"],
            &["last"],
            &["init"],
            &["migrate"],
            &["migrate", "--status"],
        ] {
            let ran = calm(home.command(arguments).env("DATABASE_URL", format!("sqlite://{other}")));
            assert_eq!(ran.code, 8, "{arguments:?}: {ran:?}");
            assert!(ran.error_code().starts_with("store."), "{arguments:?}: {ran:?}");
        }
        assert!(std::fs::read(&other).unwrap() == content, "it is left as it is");
    }
    for path in ["/", "/dev/null", "/dev/zero", "/no/such/folder/runproof.db"] {
        for arguments in [&["list-runs"][..], &RUN] {
            let ran = calm(home.command(arguments).env("DATABASE_URL", format!("sqlite://{path}")));
            assert_eq!(ran.code, 8, "{path}: {ran:?}");
            assert!(ran.error_code().starts_with("store."), "{path}: {ran:?}");
        }
    }
    assert_eq!(every_run_is_whole(&home), 1);
}

#[test]
fn a_request_that_nobody_but_a_stranger_could_leave_is_answered_and_carries_out_nothing() {
    let home = Home::initialised();
    let tenant_of_another = json!({ "command": "tenant", "tenant": "zen", "change": { "change": "create" },
        "actor": { "authenticated_by": "none", "id": null, "type": "system" } });
    let hostile = [
        (String::new(), "request.unreadable"),
        ("null".to_owned(), "request.unreadable"),
        ("[".repeat(100_000), "request.unreadable"),
        (format!("\"{}\"", "x".repeat(10_000_000)), "request.unreadable"),
        (json!({ "command": "format_the_disk" }).to_string(), "request.unreadable"),
        (tenant_of_another.to_string(), "request.tenant"),
    ];
    let database = home.open();
    for (body, _) in &hostile {
        database.execute("INSERT INTO requests (tenant_id, body) VALUES (?1, ?2)", (TENANT, body)).unwrap();
    }
    drop(database);
    home.ok(&["worker", "--drain"]);
    let answers = home.sql("SELECT replace(answer, '|', ' ') FROM requests ORDER BY id");
    assert_eq!(answers.len(), hostile.len());
    for ((body, code), answer) in hostile.iter().zip(answers) {
        assert!(answer[0].contains(&format!("\"code\":\"{code}\"")), "{body:.60}: {answer:?}");
        assert!(answer[0].len() < 1_000, "{body:.60}: what was asked is not repeated at length");
    }
    assert_eq!(home.sql("SELECT id FROM tenants"), [[TENANT]], "no tenant was made");
}

// The clock -----------------------------------------------------------------------------------------------------------

/// A run opened while the clock was a day ahead, by a process that is gone.
fn opened_a_day_ahead(home: &Home, plan: serde_json::Value) -> (String, u64) {
    let now = runproof::runtime::now() + 86_400_000_000;
    let actor = runproof::app::local_actor();
    let request = RunRequest {
        run_id: runproof::runtime::new_id(),
        tenant: TENANT.to_owned(),
        agent: AGENT.to_owned(),
        goal: "say hello".to_owned(),
        plan: Some(plan),
        inputs: None,
        origin_system_id: "test".to_owned(),
        actor: actor.clone(),
        synthetic_scenario_id: None,
        idempotency_key: None,
        priority: 5,
    };
    let admitted = admit(request).unwrap();
    let store = SqliteStore::open_engine(&home.database(), home.home().notary().unwrap()).unwrap();
    let stamp = Stamp { now, seed: runproof::runtime::random(), actor };
    let opened =
        runtime().block_on(store.open_run(admitted, Some("a process that is gone".to_owned()), stamp)).unwrap();
    (opened.run.id, now)
}

#[test]
fn a_clock_that_jumps_back_leaves_a_run_whose_times_never_decrease_and_that_is_verified() {
    let home = Home::initialised();
    let step = |id: &str| json!({ "id": id, "skill": "json_transform", "with": { "payload": { "x": 1 }, "mapping": { "y": "x" } } });
    let plan = json!({ "schema": "runproof.plan/v1", "steps": [step("a"), step("b"), step("c")] });
    let (id, ahead) = opened_a_day_ahead(&home, plan);
    home.ok(&["worker", "--drain"]);
    let (code, proof) = home.run_json(&["proof", &id, "--tenant-id", TENANT, "--bundle", &home.path("b.runproof")]);
    assert_eq!((code, &proof["verdict"], &proof["step_count"]), (0, &json!("VERIFIED"), &json!(3)), "{proof:#}");
    let bundle = std::fs::read_to_string(PathBuf::from(home.path("b.runproof"))).unwrap();
    let times: Vec<u64> = bundle
        .lines()
        .filter_map(|line| line.strip_prefix("{\"at\":")?.split(',').next()?.parse().ok())
        .take(proof["event_count"].as_u64().unwrap() as usize)
        .collect();
    assert!(times.len() > 8 && times.is_sorted(), "{times:?}");
    assert_eq!((times[0], *times.last().unwrap()), (ahead, ahead), "the record keeps to the latest time that it knows");
    assert_eq!(calm(&mut home.command(&["verify", &home.path("b.runproof"), "--key", &home.vkey()])).code, 0);
    let (code, later) = home.run_goal("and another one", &[]);
    assert_eq!((code, &later["status"]), (0, &json!("succeeded")), "the jump holds up nobody else: {later:#}");
    assert_eq!(every_run_is_whole(&home), 2);
    assert!(Path::new(&home.path("last-checkpoint")).exists());
}
