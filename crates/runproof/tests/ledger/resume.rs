//! A verification that was interrupted says in the end what an uninterrupted one says; one that begins where the last
//! ended sees what is new, and says what it believes.

use runproof::ledger::{LedgerReport, Outcome};
use runproof_proof::finding::Verdict;
use serde_json::json;

use super::scene::{Copy, crowd, scene};
use crate::support::{AGENT, Home, TENANT, text};
use crate::tamper::scene::snapshot;

/// Goes on with the same state, so many steps at a time, until it is done; opens the state anew each time.
fn in_pieces(copy: &Copy, steps: u64) -> (LedgerReport, usize) {
    for pieces in 1..1000 {
        match copy.verify_until(&copy.state("pieces"), false, steps) {
            Outcome::Done(report) => return (*report, pieces),
            Outcome::Interrupted { .. } => {}
        }
    }
    panic!("it does not get on");
}

#[test]
fn in_pieces_it_says_what_it_says_at_once() {
    let last = "first_leaf = (SELECT max(first_leaf) FROM transitions)";
    for sql in [
        "",
        "UPDATE runs SET goal = goal || 'x'; DELETE FROM aos_trace_steps WHERE step_index = 0",
        "UPDATE transitions SET events = replace(events, '\"at\":1', '\"at\":2') WHERE first_leaf % 3 = 0",
        "DELETE FROM transitions WHERE first_leaf > 40 AND first_leaf < 60; DELETE FROM checkpoints WHERE size < 100",
        &format!("UPDATE ledger_tiles SET hashes = zeroblob(32) WHERE level = 1; DELETE FROM transitions WHERE {last}"),
    ] {
        let copy = Copy::of(&scene().database);
        copy.execute(sql);
        let at_once = copy.report().to_json();
        for steps in [20, 130] {
            std::fs::remove_file(copy.file("pieces")).ok();
            let (report, pieces) = in_pieces(&copy, steps);
            assert!(pieces > 1, "{pieces} pieces of {steps}: {sql}");
            assert_eq!(report.to_json(), at_once, "{steps}: {sql}");
        }
    }
}

#[test]
fn what_was_not_saved_is_done_again() {
    let copy = Copy::of(&scene().database);
    let path = copy.file("pieces");
    let Outcome::Interrupted { leaves } = copy.verify_until(&copy.state("pieces"), false, 30) else { panic!("done") };
    assert!(leaves > 30);
    let saved = std::fs::read(&path).unwrap();
    copy.verify_until(&copy.state("pieces"), false, 60);
    // As if the process had been killed before it saved.
    std::fs::write(&path, saved).unwrap();
    assert_eq!(in_pieces(&copy, 1000).0.to_json(), copy.report().to_json());
}

#[test]
fn a_ledger_that_grew_in_between_is_verified_to_its_new_end() {
    let copy = Copy::of(&scene().older);
    assert!(matches!(copy.verify_until(&copy.state("pieces"), false, 20), Outcome::Interrupted { .. }));
    copy.reset(&scene().database);
    assert_eq!(in_pieces(&copy, 50).0.to_json(), copy.report().to_json());
}

#[test]
fn since_last_looks_at_what_is_new_and_at_whole_runs() {
    let home = Home::initialised();
    let queued = text(&home.run_goal("begun later", &["--no-wait"]).1["run_id"]);
    let state = home.path("state");
    let verify = |more: &[&str]| home.run_json(&[&["log", "verify", "--state", &state], more].concat());
    let (code, first) = verify(&[]);
    assert_eq!((code, &first["since"]), (0, &json!(0)), "{first:#}");
    home.ok(&["worker", "--drain"]);
    let (code, second) = verify(&["--since-last"]);
    assert_eq!((code, &second["since"]), (0, &first["tree_size"]), "{second:#}");
    assert_eq!(second["checked"]["runs"], 1, "the run that straddles the place");
    let (_, third) = verify(&["--since-last"]);
    assert_eq!((&third["verdict"], &third["checked"]["runs"]), (&json!("VERIFIED"), &json!(0)));
    assert!(text(&third["does_not_show"][2]).contains("an earlier verification is believed"), "{third:#}");
    // The whole run is looked at again, with its oldest rows.
    home.ok(&["create-tenant", "--id", "zen"]);
    home.ok(&["create-agent", "--name", AGENT, "--tenant-id", "zen"]);
    let tampered = home.path("tampered.db");
    std::fs::write(&tampered, snapshot(&home)).unwrap();
    let connection = rusqlite::Connection::open(&tampered).unwrap();
    connection.execute("UPDATE runs SET planner = 'other' WHERE id = ?1", [&queued]).unwrap();
    drop(connection);
    let home = home.with("DATABASE_URL", &format!("sqlite://{tampered}"));
    let verify = |more: &[&str]| home.run_json(&[&["log", "verify", "--state", &state], more].concat());
    assert_eq!(verify(&["--since-last"]).0, 0, "an old row is believed");
    assert_eq!(verify(&[]).0, 20, "and found by a whole verification");
    assert_eq!(verify(&["--since-last"]).0, 20, "what was found stays found");
}

#[test]
fn a_state_of_another_history_or_another_log_is_not_gone_on_from() {
    let copy = Copy::of(&scene().database);
    let Outcome::Done(report) = copy.verify_until(&copy.state("done"), false, u64::MAX) else { panic!("not done") };
    assert_eq!(report.verdict(), Verdict::Verified);
    // The right edge of the tree decides which history it is.
    copy.execute("UPDATE ledger_tiles SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB) WHERE level = 0 AND tile = 1");
    let Outcome::Done(report) = copy.verify_until(&copy.state("done"), true, u64::MAX) else { panic!("not done") };
    assert_eq!((report.since, report.verdict()), (0, Verdict::Tampered), "it began anew");
    let home = Home::initialised();
    crowd_of_one(&home);
    let other = Copy::of(&snapshot(&home));
    std::fs::copy(copy.file("done"), other.file("done")).unwrap();
    let Outcome::Done(report) = other.verify_until(&other.state("done"), true, u64::MAX) else { panic!("not done") };
    assert_eq!(report.since, 0);
}

fn crowd_of_one(home: &Home) {
    home.ok(&["create-tenant", "--id", super::scene::OTHER]);
    home.ok(&["create-agent", "--name", AGENT, "--tenant-id", super::scene::OTHER]);
    crowd(home, 1);
}

#[test]
fn a_file_that_is_no_state_is_refused_and_left_alone() {
    let home = Home::initialised();
    let file = home.file(
        "notes.txt",
        "these are not the hashes, but they are mine, and longer than a header of SQLite is, which has a hundred bytes",
    );
    let (code, said) = home.run_json(&["log", "verify", "--state", &file]);
    assert_eq!((code, &said["error"]["code"]), (2, &json!("state.unusable")));
    assert!(std::fs::read_to_string(file).unwrap().starts_with("these are"));
    assert_eq!(home.run(&["log", "verify", "--since-last"]).code, 2, "without a state there is no last");
    assert_eq!(home.ok(&["list-agents", "--tenant-id", TENANT])["agents"].as_array().unwrap().len(), 1);
}
