//! tlog-proof files and consistency proofs, made from the database and checked without it.

use std::path::Path;
use std::process::Command;

use runproof_proof::hash::leaf;
use runproof_proof::note::NoteSigner;
use serde_json::{Value, json};

use super::scene::{Copy, crowd, scene};
use crate::support::{AGENT, Home, Ran, TENANT, ran, text};

/// A home with some runs, the file of one proof, its event, and the key.
struct Made {
    home: Home,
    run: String,
    file: String,
    event: String,
    key: String,
}

fn made(more: &[&str]) -> Made {
    let home = Home::initialised();
    home.ok(&["create-tenant", "--id", "zen"]);
    home.ok(&["create-agent", "--name", AGENT, "--tenant-id", "zen"]);
    let run = text(&home.run_goal("proved", &[]).1["run_id"]);
    crowd(&home, 5);
    let (file, event) = (home.path("one.tlog-proof"), home.path("event.json"));
    home.ok(&[&["log", "inclusion", &run, "--tenant-id", TENANT, "--out", &file, "--event-out", &event], more].concat());
    let key = home.vkey();
    Made { home, run, file, event, key }
}

/// What the reader that was written from the pages alone says about a file.
fn second_reader(file: &str, arguments: &[&str]) -> Ran {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifier/tlog_proof.py");
    let mut command = Command::new(std::env::var("RUNPROOF_PYTHON").unwrap_or_else(|_| "python3".to_owned()));
    ran(command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).arg(file).args(arguments))
}

#[test]
fn a_proof_of_the_seal_is_verified_by_both_readers() {
    let Made { home, run, file, event, key } = made(&[]);
    let bytes = std::fs::read(&event).unwrap();
    let sealed: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&sealed["kind"], &sealed["stream"]), (&json!("run.sealed"), &json!(format!("run/{run}"))));
    let checked = home.ok(&["log", "check", &file, "--event", &event, "--key", &key]);
    assert_eq!((&checked["verdict"], &checked["leaf"]), (&json!("VERIFIED"), &json!(leaf(&bytes))));
    let page = home.run(&["log", "check", &file, "--leaf", &leaf(&bytes).hex(), "--key", &key]);
    assert!(page.code == 0 && page.stdout.starts_with("VERIFIED"), "{page:?}");
    let second = second_reader(&file, &["--leaf", &leaf(&bytes).hex(), "--key", &key]);
    assert_eq!((second.code, second.stdout.lines().next()), (0, Some("VERIFIED")), "{second:?}");
    let second = second_reader(&file, &["--event", &event, "--key", &key]);
    assert_eq!(second.code, 0, "{second:?}");
}

#[test]
fn any_event_can_be_proved_and_no_other() {
    let Made { home, run, file, event, key } = made(&["--seq", "1"]);
    let first: Value = serde_json::from_slice(&std::fs::read(&event).unwrap()).unwrap();
    assert_eq!(first["seq"], 1);
    assert_eq!(home.ok(&["log", "check", &file, "--event", &event, "--key", &key])["verdict"], "VERIFIED");
    let proof = home.run(&["log", "inclusion", &run, "--tenant-id", TENANT, "--seq", "1"]);
    assert_eq!(proof.stdout, std::fs::read_to_string(&file).unwrap(), "without --out it is printed");
    for (arguments, code) in [
        (["log", "inclusion", &run, "--tenant-id", TENANT, "--seq", "99"], "event.missing"),
        (["log", "inclusion", &run, "--tenant-id", "zen", "--seq", "1"], "event.missing"),
    ] {
        let (exit_code, said) = home.run_json(&arguments);
        assert_eq!((exit_code, &said["error"]["code"]), (2, &json!(code)));
    }
    let none = home.run_json(&["log", "inclusion", &run, "--tenant-id", "zen"]);
    assert_eq!(none.1["error"]["code"], "run.not_found");
}

#[test]
fn both_readers_agree_on_every_way_to_be_wrong() {
    let Made { home, file, event, key, .. } = made(&[]);
    let hash = leaf(&std::fs::read(&event).unwrap()).hex();
    let whole = std::fs::read_to_string(&file).unwrap();
    let stranger = NoteSigner::from_seed("runproof.local/another", &[7; 32]).unwrap().verifier().vkey();
    let index = whole.lines().nth(1).unwrap().to_owned();
    let zero = "0".repeat(64);
    let first_hash = whole.lines().nth(2).unwrap().to_owned();
    let cases: Vec<(&str, String, Vec<&str>, i32)> = vec![
        ("as it is", whole.clone(), vec!["--leaf", &hash, "--key", &key], 0),
        ("no key", whole.clone(), vec!["--leaf", &hash], 12),
        ("another key", whole.clone(), vec!["--leaf", &hash, "--key", &stranger], 23),
        ("another leaf", whole.clone(), vec!["--leaf", &zero, "--key", &key], 20),
        ("another index", whole.replacen(&index, "index 0", 1), vec!["--leaf", &hash, "--key", &key], 20),
        ("a hash less", whole.replacen(&format!("{first_hash}\n"), "", 1), vec!["--leaf", &hash, "--key", &key], 20),
        (
            "a hash twice",
            whole.replacen(&first_hash, &format!("{first_hash}\n{first_hash}"), 1),
            vec!["--leaf", &hash, "--key", &key],
            20,
        ),
        ("a digit of the index", whole.replacen("index ", "index 0", 1), vec!["--leaf", &hash, "--key", &key], 30),
        ("extra", whole.replacen("index ", "extra AAAA\nindex ", 1), vec!["--leaf", &hash, "--key", &key], 30),
        ("another version", whole.replacen("@v1", "@v2", 1), vec!["--leaf", &hash, "--key", &key], 30),
        ("cut", whole[..whole.len() - 1].to_owned(), vec!["--leaf", &hash, "--key", &key], 30),
        ("empty", String::new(), vec!["--leaf", &hash, "--key", &key], 30),
        ("line ends", whole.replace('\n', "\r\n"), vec!["--leaf", &hash, "--key", &key], 30),
    ];
    for (case, content, arguments, code) in cases {
        let path = home.file("case.tlog-proof", &content);
        let ours = home.run(&[&["log", "check", &path], &arguments[..]].concat());
        assert_eq!(ours.code, code, "{case}: {ours:?}");
        let theirs = second_reader(&path, &arguments);
        assert_eq!(theirs.code, code, "{case}: {theirs:?}");
    }
    // One bit of every byte: never VERIFIED, and both say the same.
    let bytes = whole.as_bytes();
    for at in (0..bytes.len()).step_by(29) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        let path = home.path("case.tlog-proof");
        std::fs::write(&path, changed).unwrap();
        let arguments = ["--leaf", hash.as_str(), "--key", key.as_str()];
        let ours = home.run(&[&["log", "check", &path], &arguments[..]].concat());
        assert_ne!(ours.code, 0, "byte {at}");
        assert_eq!(second_reader(&path, &arguments).code, ours.code, "byte {at}: {ours:?}");
    }
}

#[test]
fn a_proof_is_compared_with_the_heads_that_the_verifier_knows() {
    let Made { home, file, event, key, .. } = made(&[]);
    let head = |name: &str| {
        let note = text(&home.ok(&["log", "checkpoint"])["checkpoint"]);
        home.file(name, &note)
    };
    let same = head("same");
    let check =
        |head: &str| home.run_json(&["log", "check", &file, "--event", &event, "--key", &key, "--known-head", head]);
    assert_eq!(check(&same).0, 0);
    crowd(&home, 1);
    assert_eq!(check(&head("newer")).0, 22);
    let first =
        home.open().query_row("SELECT note FROM checkpoints ORDER BY size LIMIT 1", [], |row| row.get::<_, String>(0));
    let (code, said) = check(&home.file("older", &first.unwrap()));
    assert_eq!((code, &said["findings"][0]["code"]), (11, &json!("head.not_compared")));
}

#[test]
fn damaged_tiles_give_a_finding_instead_of_a_proof() {
    let copy = Copy::of(&scene().database);
    copy.execute("UPDATE ledger_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND tile = 0");
    let file = copy.file("none");
    let mut command =
        scene().home.command(&["log", "inclusion", &scene().sealed, "--tenant-id", TENANT, "--out", &file, "--json"]);
    let said = ran(command.env("DATABASE_URL", format!("sqlite://{}", copy.path().display())));
    assert_eq!((said.code, &said.json()["findings"][0]["code"]), (20, &json!("inclusion.proof")));
    assert!(!Path::new(&file).exists());
}

#[test]
fn the_log_grew_from_every_state_that_it_signed() {
    let home = Home::initialised();
    let old = home.file("old", &text(&home.ok(&["log", "checkpoint"])["checkpoint"]));
    home.run_goal("one more", &[]);
    let new = home.file("new", &text(&home.ok(&["log", "checkpoint"])["checkpoint"]));
    let proof = home.path("proof");
    let said = home.ok(&["log", "consistency", &old, "--out", &proof]);
    assert_eq!((&said["verdict"], &said["old"]["tree_size"]), (&json!("VERIFIED"), &json!(3)));
    assert_eq!(home.ok(&["log", "consistency", &old, &new])["verdict"], "VERIFIED");
    assert_eq!(home.ok(&["log", "consistency", &new])["verdict"], "VERIFIED", "the same state");
    let size = said["old"]["tree_size"].to_string();
    let root = text(&said["old"]["root"]);
    assert_eq!(home.ok(&["log", "consistency", "--size", &size, "--root", &root])["verdict"], "VERIFIED");
    // Without the database, by somebody who has the key and the three files.
    let away = Home::empty();
    let key = home.vkey();
    assert_eq!(away.ok(&["log", "consistency", &old, &new, "--proof", &proof, "--key", &key])["verdict"], "VERIFIED");
    assert_eq!(away.run(&["log", "consistency", &old, &new, "--proof", &proof]).code, 12);
    assert_eq!(away.run(&["log", "consistency", &new, &old, "--proof", &proof, "--key", &key]).code, 22);
    let other = std::fs::read_to_string(&proof).unwrap().replacen("\"hashes\":[\"", "\"hashes\":[\"0", 1);
    assert_eq!(
        away.run(&["log", "consistency", &old, &new, "--proof", &away.file("other", &other), "--key", &key]).code,
        2
    );
    let short = json!({ "hashes": [], "root": root, "since": 3 }).to_string();
    assert_eq!(
        away.run(&["log", "consistency", &old, &new, "--proof", &away.file("short", &short), "--key", &key]).code,
        20
    );
}

#[test]
fn a_state_that_the_log_never_had_is_a_fork_or_a_rollback() {
    let home = Home::initialised();
    home.run_goal("one more", &[]);
    let root = leaf(b"another history").hex();
    for (size, code, finding) in [("3", 21, "head.forked"), ("0", 21, "head.forked"), ("99999", 22, "head.rolled_back")]
    {
        let (exit_code, said) = home.run_json(&["log", "consistency", "--size", size, "--root", &root]);
        assert_eq!((exit_code, &said["findings"][0]["code"]), (code, &json!(finding)), "{said:#}");
    }
    let other = Home::initialised();
    let theirs = home.file("theirs", &text(&other.ok(&["log", "checkpoint"])["checkpoint"]));
    let (code, said) = home.run_json(&["log", "consistency", &theirs]);
    assert_eq!((code, &said["verdict"]), (20, &json!("TAMPERED")), "another log is no older state: {said:#}");
    assert_eq!(home.run(&["log", "consistency", &home.file("none", "nothing")]).code, 2);
}
