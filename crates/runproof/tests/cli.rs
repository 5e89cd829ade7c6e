//! The command line: what is printed where, with which exit code, and what a second process can do while one works.

use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::{AGENT, Answer, Home, Ran, Receiver, TENANT, eventually, ran, sample_steps, text};

// Definition ---------------------------------------------------------------------------------------------------------

/// Every command, as the words that name it.
fn commands(command: &clap::Command, words: &[String]) -> Vec<Vec<String>> {
    let subcommands: Vec<&clap::Command> = command.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
    if subcommands.is_empty() {
        return vec![words.to_vec()];
    }
    let below = subcommands.into_iter().flat_map(|sub| commands(sub, &[words, &[sub.get_name().to_owned()]].concat()));
    below.collect()
}

#[test]
fn the_definition_is_sound() {
    runproof::cli::definition().debug_assert();
}

#[test]
fn every_command_of_the_issue_is_there_with_help_and_json() {
    let home = Home::empty();
    let all: Vec<String> =
        commands(&runproof::cli::definition(), &[]).into_iter().map(|words| words.join(" ")).collect();
    for name in [
        "init",
        "migrate",
        "create-tenant",
        "create-agent",
        "list-agents",
        "list-skills",
        "run",
        "worker",
        "get-run",
        "list-runs",
        "cancel",
        "pause",
        "resume",
        "resolve",
        "proof",
        "verify",
        "key show",
        "log checkpoint",
        "legacy-root",
        "demo",
        "last",
    ] {
        assert!(all.contains(&name.to_owned()), "{name} is missing: {all:?}");
    }
    for name in &all {
        let help = home.run(&[&name.split(' ').collect::<Vec<_>>()[..], &["--help"]].concat());
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{name}");
        assert!(help.stdout.contains("--json") && help.stdout.contains("Usage:"), "{name}: {}", help.stdout);
        assert!(
            help.stdout.lines().next().is_some_and(|line| line.len() > 10),
            "{name} says what it does: {}",
            help.stdout
        );
    }
}

#[test]
fn the_reference_page_is_what_the_definition_says() {
    let mut page = "# Command line\n\nGenerated from the definition; `RUNPROOF_UPDATE=1 cargo test -p runproof` writes it again.\n".to_owned();
    let mut root = runproof::cli::definition().term_width(100);
    page.push_str(&format!("\n## runproof\n```text\n{}\n```\n", root.render_long_help().to_string().trim_end()));
    for words in commands(&runproof::cli::definition(), &[]) {
        let mut command = runproof::cli::definition().term_width(100);
        command.build();
        let leaf = words.iter().fold(&mut command, |command, word| command.find_subcommand_mut(word).unwrap());
        let help = leaf.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        page.push_str(&format!("\n## runproof {}\n```text\n{}\n```\n", words.join(" "), help.join("\n").trim_end()));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli-reference.md");
    if std::env::var_os("RUNPROOF_UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "the command line changed: look at the difference after RUNPROOF_UPDATE=1");
}

// What is printed where ----------------------------------------------------------------------------------------------

#[test]
fn every_command_prints_one_object_with_json() {
    let home = Home::empty();
    home.ok(&["init"]);
    home.ok(&["migrate", "--status"]);
    home.ok(&["migrate"]);
    home.ok(&["create-tenant", "--id", TENANT]);
    home.ok(&["create-agent", "--name", AGENT, "--tenant-id", TENANT]);
    home.ok(&["list-agents"]);
    home.ok(&["list-skills"]);
    let run = home.run_goal("say hello", &[]).1;
    let id = text(&run["run_id"]);
    home.ok(&["worker", "--drain"]);
    home.ok(&["get-run", &id]);
    assert_eq!(home.ok(&["list-runs"])["runs"][0]["run_id"], json!(id));
    let queued = home.run_goal("never mind", &["--no-wait"]).1;
    assert_eq!(home.ok(&["cancel", &text(&queued["run_id"])])["status"], "cancelled");
    let bundle = home.path("b.runproof");
    assert_eq!(home.ok(&["proof", &id, "--tenant-id", TENANT, "--bundle", &bundle])["verdict"], "VERIFIED");
    assert_eq!(home.ok(&["verify", &bundle, "--key", &home.vkey()])["verdict"], "VERIFIED");
    assert!(text(&home.ok(&["key", "show"])["vkey"]).contains('+'));
    assert!(text(&home.ok(&["log", "checkpoint"])["checkpoint"]).contains("\u{2014} "));
    assert_eq!(home.ok(&["last"])["verify"]["verdict"], "VERIFIED");
}

#[test]
fn data_goes_to_stdout_and_errors_for_people_to_stderr() {
    let home = Home::initialised();
    let good = home.run(&["list-agents"]);
    assert_eq!((good.code, good.stderr.as_str()), (0, ""));
    assert!(good.stdout.contains(AGENT));
    let refused = ["run", "--tenant-id", TENANT, "--agent-id", "nobody", "--goal", "x"];
    let bad = home.run(&refused);
    assert_eq!((bad.code, bad.stdout.as_str()), (7, ""));
    assert!(bad.stderr.contains("error[agent.missing]: ") && bad.stderr.contains("hint: "), "{}", bad.stderr);
    let bad = home.run(&[&refused[..], &["--json"]].concat());
    assert_eq!((bad.code, bad.stderr.as_str()), (7, ""));
    assert_eq!((bad.error_code().as_str(), bad.json()["error"]["hint"].is_string()), ("agent.missing", true));
    for (arguments, code) in [(&["run"][..], 2), (&["no-such-command"], 2), (&[], 2), (&["--version"], 0)] {
        assert_eq!(home.run(arguments).code, code, "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::initialised();
    let mut command = home.command(&["list-skills", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}

// Exit codes ---------------------------------------------------------------------------------------------------------

fn fails(on_error: &str, next: &Value) -> Value {
    let mut first = json!({ "id": "first", "skill": "__fail_trigger__", "on_error": on_error,
                            "with": { "error_code": "STEP_FAILURE", "effect": "read" } });
    if on_error == "fallback" {
        first["fallback"] = next.clone();
    }
    let last =
        json!({ "id": "last", "skill": "json_transform", "with": { "payload": { "a": 1 }, "mapping": { "b": "a" } } });
    json!([first, last])
}

#[test]
fn a_failing_step_ends_continues_or_is_replaced_as_the_plan_says() {
    let home = Home::initialised();
    let good = json!({ "skill": "json_transform", "with": { "payload": { "a": 2 }, "mapping": { "b": "a" } } });
    let bad = json!({ "skill": "no_such_skill" });
    let check = |on_error: &str, next: &Value, expected: (i32, &str, &[(&str, &str, &str)])| {
        let (code, run) = home.run_plan(fails(on_error, next), &[]);
        let steps: Vec<(String, String, String)> = run["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| (text(&step["step_id"]), text(&step["skill_name"]), text(&step["status"])))
            .collect();
        let expected_steps: Vec<(String, String, String)> = expected
            .2
            .iter()
            .map(|(id, skill, status)| ((*id).to_owned(), (*skill).to_owned(), (*status).to_owned()))
            .collect();
        assert_eq!(
            (code, text(&run["status"]).as_str(), steps),
            (expected.0, expected.1, expected_steps),
            "{on_error}"
        );
        assert_eq!(run["proof"]["verdict"], "VERIFIED", "{on_error}");
    };
    let failed = ("first", "__fail_trigger__", "failure");
    let done = ("last", "json_transform", "success");
    check("abort", &good, (3, "failed", &[failed]));
    check("continue", &good, (0, "succeeded", &[failed, done]));
    check("fallback", &good, (0, "succeeded", &[failed, ("first", "json_transform", "success"), done]));
    check("fallback", &bad, (3, "failed", &[failed, ("first", "no_such_skill", "failure")]));
}

#[test]
fn a_skill_that_does_not_exist_is_recorded_and_not_retried() {
    let home = Home::initialised();
    let (code, run) = home.run_plan(json!([{ "id": "a", "skill": "teleport", "retry": { "max_attempts": 5 } }]), &[]);
    assert_eq!((code, &run["error"]), (3, &json!("step `a` (teleport) failed: skill.not_found")), "{run:#}");
    let step = &run["steps"][0];
    assert_eq!(
        (&step["error"], &step["retry_count"], &step["outcome_code"]),
        (&json!("Skill not found: teleport"), &json!(0), &json!("skill.not_found"))
    );
    assert_eq!(home.sql("SELECT skill_name, status, retry_count FROM aos_trace_steps"), [["teleport", "failure", "0"]]);
    assert_eq!(home.proof(&run).0, 0);
}

#[test]
fn a_cancelled_run_exits_with_six_and_a_waiting_one_with_five() {
    let home = Home::initialised();
    let queued = home.run_goal("never mind", &["--no-wait", "--idempotency-key", "k1"]).1;
    home.ok(&["cancel", &text(&queued["run_id"]), "--reason", "no longer needed"]);
    let (code, run) = home.run_goal("never mind", &["--idempotency-key", "k1"]);
    assert_eq!((code, &run["status"], &run["run_id"]), (6, &json!("cancelled"), &queued["run_id"]));
    assert_eq!(
        home.sql(&format!("SELECT status, termination_reason FROM runs WHERE id = '{}'", text(&run["run_id"]))),
        [["cancelled", "cancel_requested"]]
    );
    assert_eq!(home.proof(&run).0, 0, "sealed without steps, and provable");
}

// What a run does to the world ----------------------------------------------------------------------------------------

#[test]
fn a_retry_goes_on_at_the_failed_step_and_repeats_no_other() {
    let (home, receiver) = (Home::initialised(), Receiver::standard());
    let retry = json!({ "max_attempts": 3, "initial_delay_ms": 1, "max_delay_ms": 1 });
    let call = |id: &str, path: &str, method: &str| json!({ "id": id, "skill": "http_call", "retry": retry, "with": { "url": receiver.url(path), "method": method } });
    let mut last = call("c", "c", "PUT");
    last["with"]["body"] = json!({ "number": "{{ steps.a.output.body.n }}", "text": "n = {{ steps.a.output.body.n }}", "all": "{{ steps.a.output.body }}" });
    let (code, run) = home.run_plan(json!([call("a", "a", "PUT"), call("b", "fail/2", "GET"), last]), &[]);
    assert_eq!((code, &run["steps"][1]["retry_count"], &run["attempts"]), (0, &json!(2), &json!(1)), "{run:#}");
    assert_eq!((receiver.count("/a"), receiver.count("/fail/2"), receiver.count("/c")), (1, 3, 1));
    let sent: Value = serde_json::from_str(&receiver.seen().last().unwrap().body).unwrap();
    assert_eq!(
        sent,
        json!({ "number": 1, "text": "n = 1", "all": { "n": 1, "id": "r-1" } }),
        "references keep JSON types"
    );
    let (_, again) = home.run_plan(json!([call("b", "fail/9", "GET")]), &[]);
    assert_eq!(
        (receiver.count("/fail/9"), &again["status"], &again["proof"]["verdict"]),
        (3, &json!("failed"), &json!("VERIFIED"))
    );
    let keys: Vec<Option<String>> = receiver
        .seen()
        .iter()
        .filter(|seen| seen.path == "/fail/9")
        .map(|seen| seen.headers.get("idempotency-key").cloned())
        .collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "every attempt has the same key: {keys:?}");
}

#[test]
fn an_unsafe_call_whose_answer_is_lost_is_sent_once_and_follows_on_unknown() {
    let (home, receiver) = (Home::initialised(), Receiver::standard());
    for (number, (on_unknown, code, status, sent, verdict)) in [
        ("hold", 5, "waiting", 1, 31),
        ("fail", 3, "failed", 1, 13),
        ("assume_done", 0, "succeeded", 1, 13),
        ("retry", 5, "waiting", 3, 31),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("lost/{number}");
        let step = json!([{ "id": "pay", "skill": "http_call", "on_unknown": on_unknown, "retry": { "max_attempts": 3, "initial_delay_ms": 1 },
                            "with": { "url": receiver.url(&path), "method": "POST", "text": "once" } }]);
        let (got, run) = home.run_plan(step, &[]);
        assert_eq!(
            (got, text(&run["status"]).as_str(), receiver.count(&format!("/{path}"))),
            (code, status, sent),
            "{on_unknown}: {run:#}"
        );
        assert_eq!(home.proof(&run).0, verdict, "{on_unknown}: {:#}", home.proof(&run).1["findings"]);
    }
}

#[test]
fn a_call_that_takes_too_long_is_cut_off() {
    let (home, (receiver, _open)) = (Home::initialised(), gated());
    let step = json!([{ "id": "slow", "skill": "http_call", "timeout_ms": 60, "retry": { "max_attempts": 2, "initial_delay_ms": 1 }, "with": { "url": receiver.url("slow") } }]);
    let (code, run) = home.run_plan(step, &[]);
    assert_eq!(
        (code, &run["steps"][0]["outcome_code"], receiver.count("/slow")),
        (3, &json!("engine.timeout"), 2),
        "{run:#}"
    );
    assert_eq!(home.proof(&run).0, 0);
}

// The store ----------------------------------------------------------------------------------------------------------

const NEED_A_STORE: &[&[&str]] = &[
    &["migrate"],
    &["migrate", "--status"],
    &["create-tenant", "--id", "t"],
    &["create-agent", "--name", "a", "--tenant-id", "t"],
    &["list-agents"],
    &["list-runs"],
    &["get-run", "x"],
    &["run", "--tenant-id", "t", "--agent-id", "a", "--goal", "g"],
    &["worker", "--drain"],
    &["cancel", "x"],
    &["resolve", "x", "s", "done", "--reason", "r"],
    &["proof", "x", "--tenant-id", "t"],
    &["last"],
    &["log", "checkpoint"],
    &["key", "show"],
];

#[test]
fn without_a_store_every_command_says_how_to_make_one_and_makes_none() {
    let home = Home::empty();
    for arguments in NEED_A_STORE {
        let ran = home.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (8, ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("hint: runproof init"), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(std::fs::read_dir(home.folder()).unwrap().count(), 0, "only init and demo make anything");
    assert_eq!(home.run(&["list-skills"]).code, 0, "skills need no store");
}

#[test]
fn the_schema_version_is_printed_and_another_one_is_refused() {
    let home = Home::initialised();
    let status = home.ok(&["migrate", "--status"]);
    assert_eq!((&status["current"], &status["head"]), (&json!("0004"), &json!("0004")));
    let place = format!("database {}\n", home.database().display());
    assert_eq!(home.run(&["migrate", "--status"]).stdout, format!("{place}current  0004\nhead     0004\n"));
    // As the first release left it.
    home.sql(
        "DROP INDEX kv_expiry; ALTER TABLE kv DROP COLUMN expires_at; DROP TABLE limits;
         ALTER TABLE requests DROP COLUMN run_id; DROP INDEX run_queue_turn; DROP INDEX run_queue_going;
         ALTER TABLE run_queue DROP COLUMN priority; ALTER TABLE run_queue DROP COLUMN agent_id;
         ALTER TABLE run_queue DROP COLUMN format; DELETE FROM schema_migrations WHERE version > 1",
    );
    for table in ["runs", "aos_traces", "aos_trace_steps", "transitions", "run_seals", "erasures"] {
        let trigger = format!("CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} BEGIN SELECT 1; END");
        home.sql(&format!("DROP TRIGGER {table}_delete; {trigger}"));
    }
    home.sql("DROP TABLE archives; DROP TABLE tombstones; DROP TABLE holds");
    let behind = home.run(&["migrate", "--status"]);
    assert_eq!(behind.code, 8);
    assert_eq!(behind.stdout, format!("{place}current  0001\nhead     0004\n"));
    for refused in [
        behind,
        home.run(&["list-runs"]),
        home.run(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", "say hello"]),
    ] {
        assert!(refused.code == 8 && refused.stderr.contains("hint: runproof migrate"), "{refused:?}");
    }
    let refused = home.run(&["list-runs", "--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (8, "store.not_migrated"));
    home.ok(&["migrate"]);
    assert_eq!(home.run_goal("say hello", &[]).0, 0, "a migrated database works");
    home.sql("UPDATE schema_migrations SET version = 99 WHERE version = 3");
    assert_eq!(home.run(&["migrate", "--status"]).code, 8);
    assert_eq!(home.run(&["migrate"]).code, 8);
    assert_eq!(home.run(&["list-runs"]).code, 8, "a newer schema is not guessed at");
    home.sql("UPDATE schema_migrations SET version = 3, checksum = 'x' WHERE version = 99");
    assert_eq!(home.run(&["migrate"]).code, 8, "a migration with another text is noticed");
}

#[test]
fn the_store_is_the_one_that_the_environment_names_and_no_other() {
    for (name, value, code, error) in [
        ("DATABASE_URL", "postgres://u:p@localhost:1/db", 8, "database.unreachable"),
        ("DATABASE_URL", "postgresql://localhost:1/db", 8, "database.unreachable"),
        ("DATABASE_URL", "mysql://localhost/db", 2, "database.url"),
        ("DATABASE_URL", "sqlite://", 2, "database.url"),
        ("USE_POSTGRES_TRACES", "true", 2, "database.contradiction"),
        ("RUNPROOF_EGRESS_ALLOW", "10.0.0.0/99", 2, "egress.invalid"),
        ("RUNPROOF_TEST_SKILLS", "maybe", 2, "skills.invalid"),
    ] {
        let home = Home::empty().with(name, value);
        let ran = home.run(&["init", "--json"]);
        assert_eq!((ran.code, ran.error_code().as_str()), (code, error), "{name}={value}");
        assert_eq!(
            std::fs::read_dir(home.folder()).unwrap().count(),
            0,
            "{name}={value}: nothing is written elsewhere"
        );
    }
    let home = Home::empty();
    let elsewhere = home.path("deep/er/named.db");
    let home = home.with("DATABASE_URL", &format!("sqlite://{elsewhere}"));
    assert_eq!(home.run(&["list-runs"]).code, 8);
    assert_eq!(home.ok(&["init"])["database"], json!(elsewhere));
    assert!(std::path::Path::new(&elsewhere).exists() && !home.database().exists());
}

#[test]
fn init_can_be_repeated_and_keeps_the_key() {
    let home = Home::empty();
    let first = home.ok(&["init", "--origin", "example.com/agents"]);
    let again = home.ok(&["init", "--origin", "example.com/other"]);
    assert_eq!((&first["created"], &again["created"]), (&json!(true), &json!(false)));
    assert_eq!(first["vkey"], again["vkey"]);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(home.folder().join("log.key")).unwrap());
    assert_eq!(mode & 0o777, 0o600, "the key is for its owner alone");
    let trust = std::fs::read_to_string(home.folder().join("trust.json")).unwrap();
    assert!(trust.contains(&text(&first["vkey"])));
    for origin in ["", "with blank", "a+b"] {
        let ran = Home::empty().run(&["init", "--origin", origin, "--json"]);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "init.origin"), "`{origin}`");
    }
}

#[test]
fn init_does_not_begin_a_second_history_under_the_same_key() {
    let home = Home::initialised();
    home.run_goal("the first", &[]);
    let kept = std::fs::read(home.folder().join("last-checkpoint")).unwrap();
    for name in ["runproof.db", "runproof.db-wal", "runproof.db-shm"] {
        std::fs::remove_file(home.folder().join(name)).ok();
    }
    let refused = home.run(&["init", "--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (8, "init.ledger_missing"), "{refused:?}");
    assert!(!home.database().exists(), "nothing was made");
    assert_eq!(std::fs::read(home.folder().join("last-checkpoint")).unwrap(), kept, "what was signed is not forgotten");
}

#[test]
fn init_does_not_adopt_the_database_of_another_key() {
    let owner = Home::initialised();
    let stranger = Home::empty().with("DATABASE_URL", &format!("sqlite://{}", owner.database().display()));
    let refused = stranger.run(&["init", "--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (8, "store.other_key"), "{refused:?}");
    assert_eq!(std::fs::read_dir(stranger.folder()).unwrap().count(), 0, "no key is made that could never sign");
}

#[test]
fn a_process_with_another_key_reads_but_never_writes() {
    let owner = Home::initialised();
    owner.run_goal("the first", &[]);
    let stranger = Home::empty();
    stranger.ok(&["init"]);
    let stranger = stranger.with("DATABASE_URL", &format!("sqlite://{}", owner.database().display()));
    let before = owner.dump();
    assert_eq!(stranger.ok(&["list-runs"])["runs"].as_array().unwrap().len(), 1);
    let refused = stranger.run(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", "x", "--json"]);
    assert_eq!((refused.code, refused.error_code().as_str()), (8, "store.other_key"));
    assert_eq!(owner.dump(), before);
}

// Looking ------------------------------------------------------------------------------------------------------------

#[test]
fn runs_are_listed_newest_first_by_tenant_and_up_to_a_limit() {
    let home = Home::initialised();
    home.ok(&["create-tenant", "--id", "zen"]);
    home.ok(&["create-agent", "--name", AGENT, "--tenant-id", "zen"]);
    let one = home.run_goal("one", &["--no-wait"]).1;
    let two = home.run_goal("two", &["--no-wait"]).1;
    let other = home.ok(&["run", "--tenant-id", "zen", "--agent-id", AGENT, "--goal", "three", "--no-wait"]);
    let ids = |arguments: &[&str]| -> Vec<Value> {
        home.ok(&[&["list-runs"], arguments].concat())["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["run_id"].clone())
            .collect()
    };
    assert_eq!(ids(&[]), [other["run_id"].clone(), two["run_id"].clone(), one["run_id"].clone()]);
    assert_eq!(ids(&["--tenant-id", TENANT]), [two["run_id"].clone(), one["run_id"].clone()]);
    assert_eq!(ids(&["--limit", "1"]), [other["run_id"].clone()]);
    assert_eq!(
        (&one["run_no"], &two["run_no"], &other["run_no"]),
        (&json!(1), &json!(2), &json!(1)),
        "run numbers are the tenant's own"
    );
    let missing = home.run(&["get-run", "nobody", "--json"]);
    assert_eq!((missing.code, missing.error_code().as_str()), (2, "run.not_found"));
    let foreign = home.run(&["get-run", &text(&one["run_id"]), "--tenant-id", "zen", "--json"]);
    assert_eq!((foreign.code, foreign.error_code().as_str()), (2, "run.not_found"));
}

#[test]
fn last_prints_a_line_with_which_somebody_else_checks_the_run() {
    let home = Home::initialised();
    let none = home.run(&["last", "--json"]);
    assert_eq!((none.code, none.error_code().as_str()), (2, "run.none"));
    home.run_goal("say hello", &[]);
    let page = home.run(&["last"]);
    assert_eq!(page.code, 0, "{page:?}");
    assert!(page.stdout.contains("VERIFIED"), "{}", page.stdout);
    let line = page.stdout.lines().find(|line| line.trim().starts_with("runproof verify ")).unwrap().trim().to_owned();
    assert_eq!(text(&home.ok(&["last"])["recheck"]), line);
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    // In another home, as somebody else would: the file is copied to where they are.
    let elsewhere = Home::empty();
    std::fs::copy(home.folder().join(words[1]), elsewhere.folder().join(words[1])).unwrap();
    let theirs = elsewhere.run(&words);
    assert_eq!(theirs.code, 0, "{theirs:?}");
}

#[test]
fn the_demo_ends_with_verified_and_then_tampered_with_the_place() {
    let home = Home::empty();
    let folder = home.path("demo");
    let demo = home.ok(&["demo", "--folder", &folder]);
    assert_eq!(
        (&demo["verify"], &demo["forged"]["verdict"], &demo["status"]),
        (&json!("VERIFIED"), &json!("TAMPERED"), &json!("succeeded"))
    );
    let finding = &demo["forged"]["finding"];
    assert!(text(&finding["place"]).starts_with("aos_trace_steps.cost_microcents["), "{finding}");
    assert_ne!(finding["expected"], finding["got"]);
    let again = home.run(&["verify", &text(&demo["bundle"]), "--key", &text(&demo["vkey"])]);
    assert_eq!(again.code, 0, "the file that it leaves is a real one: {again:?}");
    assert_eq!(home.run(&["demo", "--folder", &folder]).code, 2, "it does not overwrite");
    let mut page = home.command(&["demo"]);
    let Ran { code, stdout, .. } = ran(page.env("TMPDIR", home.folder()));
    assert_eq!(code, 0);
    let (verified, tampered) = (stdout.find("VERIFIED").unwrap(), stdout.find("TAMPERED").unwrap());
    assert!(verified < tampered && stdout.contains("expected") && stdout.contains("got"), "{stdout}");
}

#[test]
fn what_people_wrote_cannot_drive_the_terminal() {
    let home = Home::initialised();
    home.ok(&["create-agent", "--name", "evil \u{1b}[2J\u{202e}name", "--id", "evil", "--tenant-id", TENANT]);
    let goal = home.run(&["run", "--tenant-id", TENANT, "--agent-id", "evil", "--goal", "\u{1b}[2J\u{202e}goal"]);
    for ran in [
        home.run(&["list-agents"]),
        home.run(&["list-runs"]),
        home.run(&["get-run", "\u{1b}[2J"]),
        home.run(&["legacy-root", "\u{1b}[2J"]),
        goal,
    ] {
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!all.contains('\u{1b}') && !all.contains('\u{202e}'), "{all:?}");
    }
}

// Idempotency --------------------------------------------------------------------------------------------------------

#[test]
fn one_idempotency_key_makes_one_run_and_another_request_with_it_is_refused() {
    let (home, receiver) = (Home::initialised(), Receiver::standard());
    let goal = format!("fetch {}", receiver.url("once"));
    let (code, first) = home.run_goal(&goal, &["--idempotency-key", "order-17"]);
    let (again_code, again) = home.run_goal(&goal, &["--idempotency-key", "order-17"]);
    assert_eq!((code, again_code, &first["run_id"]), (0, 0, &again["run_id"]));
    assert_eq!(receiver.count("/once"), 1);
    let before = home.dump();
    for (goal, more) in
        [("another goal", &[][..]), (&goal, &["--origin-system-id", "another"]), (&goal, &["--synthetic", "drill"])]
    {
        let (code, answer) = home.run_goal(goal, &[&["--idempotency-key", "order-17"], more].concat());
        assert_eq!((code, &answer["error"]["code"]), (7, &json!("idempotency.reused")), "{goal} {more:?}");
    }
    let (code, answer) = home.run_plan(sample_steps(), &["--goal", &goal, "--idempotency-key", "order-17"]);
    assert_eq!((code, &answer["error"]["code"]), (7, &json!("idempotency.reused")));
    assert_eq!(home.dump(), before);
    home.ok(&["create-tenant", "--id", "zen"]);
    home.ok(&["create-agent", "--name", AGENT, "--tenant-id", "zen"]);
    let other =
        home.ok(&["run", "--tenant-id", "zen", "--agent-id", AGENT, "--goal", "x", "--idempotency-key", "order-17"]);
    assert_ne!(other["run_id"], first["run_id"], "a key is the tenant's own");
}

#[test]
fn a_key_of_a_queued_run_finishes_that_run() {
    let home = Home::initialised();
    let queued = home.run_goal("say hello", &["--no-wait", "--idempotency-key", "k"]).1;
    let (code, run) = home.run_goal("say hello", &["--idempotency-key", "k"]);
    assert_eq!((code, &run["run_id"], &run["status"]), (0, &queued["run_id"], &json!("succeeded")));
}

// Two processes ------------------------------------------------------------------------------------------------------

#[test]
fn a_second_process_works_through_the_one_that_is_the_engine() {
    let home = Home::initialised();
    let _worker = home.worker();
    home.ok(&["create-tenant", "--id", "zen"]);
    home.ok(&["create-agent", "--name", "second", "--tenant-id", "zen"]);
    let command = ["run", "--tenant-id", "zen", "--agent-id", "second", "--goal", "say hello"];
    let text_run = home.run(&command);
    assert_eq!(text_run.code, 0, "{text_run:?}");
    assert!(text_run.stderr.contains("left to the engine that is running"), "{}", text_run.stderr);
    let run = home.ok(&command);
    assert_eq!((&run["status"], &run["proof"]["verdict"]), (&json!("succeeded"), &json!("VERIFIED")));
    let (code, queued) = home.run_goal("and hello again", &["--no-wait"]);
    assert_eq!(code, 0);
    eventually("the worker takes the queued run", || {
        let shown = home.ok(&["get-run", &text(&queued["run_id"])]);
        (shown["status"] == "succeeded").then_some(())
    });
    for (arguments, error) in [
        (&["create-tenant", "--id", "zen"][..], "tenant.exists"),
        (&["create-agent", "--name", "second", "--tenant-id", "zen"], "agent.exists"),
        (&["create-agent", "--name", "x", "--tenant-id", "nobody"], "tenant.missing"),
        (&["run", "--tenant-id", "nobody", "--agent-id", "x", "--goal", "g"], "tenant.missing"),
        (&["run", "--tenant-id", "zen", "--agent-id", "nobody", "--goal", "g"], "agent.missing"),
    ] {
        let refused = home.run(&[arguments, &["--json"]].concat());
        assert_eq!((refused.code, refused.error_code().as_str()), (7, error), "{arguments:?}");
    }
    let busy = home.run(&["worker", "--drain", "--json"]);
    assert_eq!((busy.code, busy.error_code().as_str()), (8, "store.busy"));
    assert_eq!(home.sql("SELECT count(*) FROM requests"), [["0"]], "answered requests are gone");
}

#[test]
fn a_held_run_is_resolved_and_another_cancelled_through_a_running_worker() {
    let home = Home::initialised();
    let _worker = home.worker();
    let step = json!([{ "id": "pay", "skill": "__fail_trigger__", "with": { "error_code": "STEP_FAILURE", "effect": "unsafe", "result": "unknown" } }]);
    let (code, one) = home.run_plan(step.clone(), &[]);
    assert_eq!((code, &one["status"]), (5, &json!("waiting")));
    home.ok(&["resolve", &text(&one["run_id"]), "pay", "done", "--reason", "the receiver says so"]);
    eventually("the worker goes on", || {
        (home.ok(&["get-run", &text(&one["run_id"])])["status"] == "succeeded").then_some(())
    });
    let (code, proof) = home.proof(&one);
    assert_eq!((code, &proof["resolved"]), (0, &json!(1)));
    assert!(
        proof["does_not_show"].to_string().contains("1 outcome that a person attested"),
        "{:#}",
        proof["does_not_show"]
    );
    let two = home.run_plan(step, &[]).1;
    home.ok(&["cancel", &text(&two["run_id"]), "--reason", "give up"]);
    let (code, proof) = home.proof(&two);
    assert_eq!(
        (code, &proof["verdict"], &proof["run_status"]),
        (13, &json!("INCOMPLETE"), &json!("cancelled")),
        "nobody knows whether it took effect"
    );
    let step = &home.ok(&["get-run", &text(&two["run_id"])])["steps"][0];
    assert_eq!(step["status"], "unknown");
}

/// A receiver that answers only when it is told to.
fn gated() -> (Receiver, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let receiver = Receiver::start(move |_, _| {
        gate.lock().unwrap().recv().ok()?;
        Some(Answer::json(200, &json!({ "ok": true })))
    });
    (receiver, open)
}

#[test]
fn a_run_under_way_is_cancelled_from_another_process() {
    for (method, verdict, step) in [("GET", 0, "failure"), ("POST", 13, "unknown")] {
        let (home, (receiver, _open)) = (Home::initialised(), gated());
        let plan = home.plan(
            json!([{ "id": "slow", "skill": "http_call", "with": { "url": receiver.url("slow"), "method": method } }]),
        );
        let mut first = home.command(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan, "--json"]);
        let child = first.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("the call is under way", || (receiver.count("/slow") == 1).then_some(()));
        assert_eq!(receiver.seen()[0].method, method);
        let id = text(&home.ok(&["list-runs"])["runs"][0]["run_id"]);
        let answer = home.ok(&["cancel", &id, "--reason", "too slow"]);
        assert_eq!(answer["status"], "cancelling");
        let output = child.wait_with_output().unwrap();
        let run: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &run["status"]), (Some(6), &json!("cancelled")), "{method}: {run:#}");
        assert_eq!(run["steps"][0]["status"], step, "{method}");
        assert_eq!(home.proof(&run).0, verdict, "{method}");
        let events =
            home.sql("SELECT count(*) FROM transitions WHERE instr(events, '\"kind\":\"run.cancel_requested\"') > 0");
        assert_eq!(events, [["1"]]);
    }
}

#[test]
fn a_run_under_way_is_paused_from_another_process_and_goes_on_when_it_is_resumed() {
    let (home, (receiver, open)) = (Home::initialised(), gated());
    let call =
        |id: &str| json!({ "id": id, "skill": "http_call", "with": { "url": receiver.url(id), "method": "POST" } });
    let plan = home.plan(json!([call("one"), call("two")]));
    let mut first = home.command(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan, "--json"]);
    let child = first.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the call is under way", || (receiver.count("/one") == 1).then_some(()));
    let id = text(&home.ok(&["list-runs"])["runs"][0]["run_id"]);
    assert_eq!(home.ok(&["pause", &id, "--reason", "look first"])["status"], "running", "a call is under way");
    assert_ne!(home.ok(&["get-run", &id])["paused"], Value::Null, "it is on record when the command answers");
    open.send(()).unwrap();
    let output = child.wait_with_output().unwrap();
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &run["wait_reason"]), (Some(5), &json!("paused")), "{run:#}");
    assert_eq!((run["steps"].as_array().unwrap().len(), receiver.count("/two")), (1, 0), "what was under way is done");
    let page = home.run(&["get-run", &id]);
    assert!(page.stdout.contains(&format!("go on with: runproof resume {id}\n")), "{}", page.stdout);
    home.ok(&["worker", "--drain"]);
    assert_eq!(receiver.count("/two"), 0, "no worker takes it");
    assert_eq!(home.ok(&["resume", &id])["status"], "running");
    open.send(()).unwrap();
    home.ok(&["worker", "--drain"]);
    let run = home.ok(&["get-run", &id]);
    assert_eq!((&run["status"], &run["paused"]), (&json!("succeeded"), &Value::Null), "{run:#}");
    assert_eq!(home.proof(&run).0, 0);
}

#[test]
fn a_queued_run_is_paused_resumed_and_cancelled_through_a_running_worker_or_without_one() {
    let home = Home::initialised();
    let queued = || text(&home.run_goal("say hello", &["--no-wait"]).1["run_id"]);
    let (one, two) = (queued(), queued());
    for id in [&one, &two] {
        assert_eq!(home.ok(&["pause", id])["status"], "waiting");
    }
    let _worker = home.worker();
    home.ok(&["resume", &one]);
    eventually("the worker goes on", || (home.ok(&["get-run", &one])["status"] == "succeeded").then_some(()));
    assert_eq!(home.ok(&["get-run", &two])["wait_reason"], "paused");
    assert_eq!(home.ok(&["cancel", &two])["status"], "cancelled");
}

#[test]
fn a_run_asked_for_while_another_is_under_way_is_finished_by_whoever_is_left() {
    let (home, (receiver, open)) = (Home::initialised(), gated());
    let plan = home.plan(json!([{ "id": "slow", "skill": "http_call", "with": { "url": receiver.url("slow") } }]));
    let start =
        |arguments: &[&str]| home.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let first = start(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan, "--json"]);
    eventually("the call is under way", || (receiver.count("/slow") == 1).then_some(()));
    let second = start(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", "say hello", "--json"]);
    eventually("the second run is queued", || {
        (home.ok(&["list-runs"])["runs"].as_array().unwrap().len() == 2).then_some(())
    });
    open.send(()).unwrap();
    for child in [first, second] {
        let output = child.wait_with_output().unwrap();
        let run: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &run["status"], &run["proof"]["verdict"]),
            (Some(0), &json!("succeeded"), &json!("VERIFIED")),
            "{run:#}"
        );
    }
}

#[test]
fn a_run_left_behind_by_a_killed_process_is_finished_and_proved() {
    let (home, (receiver, open)) = (Home::initialised(), gated());
    let plan = home.plan(json!([{ "id": "slow", "skill": "http_call", "with": { "url": receiver.url("slow") } }]));
    let mut first = home.command(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan]);
    let mut child = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the call is under way", || (receiver.count("/slow") == 1).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let run = &home.ok(&["list-runs"])["runs"][0];
    assert_eq!(run["status"], "running");
    open.send(()).unwrap();
    open.send(()).unwrap();
    home.ok(&["worker", "--drain"]);
    let shown = home.ok(&["get-run", &text(&run["run_id"])]);
    assert_eq!((&shown["status"], &shown["attempts"]), (&json!("succeeded"), &json!(2)));
    let (code, proof) = home.proof(run);
    assert_eq!(code, 0, "a run restarted between intent and outcome is covered whole: {proof:#}");
    let kinds = proof["events"].to_string();
    assert_eq!(kinds.matches("step.intended").count(), 2, "the interrupted attempt is on record");
}
