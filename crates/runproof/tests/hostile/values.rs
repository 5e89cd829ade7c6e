//! Values that nobody should send: in plans, in arguments, and in the answers of receivers.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{calm, every_run_is_whole, refused};
use crate::support::{AGENT, Home, TENANT, text};

/// What is not UTF-8.
const NO_TEXT: &[u8] = b"caf\xe9\xff";

fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--tenant-id", TENANT, "--agent-id", AGENT][..], more].concat()
}

// Plans ---------------------------------------------------------------------------------------------------------------

#[test]
fn what_json_does_not_have_is_refused_in_a_plan() {
    let home = Home::initialised();
    let before = home.dump();
    let plan = |value: &str| {
        format!(
            r#"{{"schema":"runproof.plan/v1","steps":[{{"id":"a","skill":"json_transform","with":{{"payload":{{"x":{value}}},"mapping":{{"y":"x"}}}}}}]}}"#
        )
    };
    for value in [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e400",
        "0x10",
        "+1",
        ".5",
        "5.",
        "01",
        "1_000",
        "'a'",
        "undefined",
        r#""\ud800""#,
        r#""\x41""#,
        "\"a\nb\"",
        "{}, \"x\": 2",
        "[1,]",
        "/* 1 */ 1",
    ] {
        let file = home.file("bad.json", &plan(value));
        let error = refused(&mut home.command(&run(&["--plan", &file])), 7, "plan.unreadable");
        assert!(text(&error["message"]).contains("bad.json"), "{value}: it names the file: {error:#}");
    }
    for (what, bytes) in [
        ("a byte-order mark", [&b"\xef\xbb\xbf"[..], plan("1").as_bytes()].concat()),
        ("UTF-16", plan("1").encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("Latin-1", plan("\"cafX\"").bytes().map(|byte| if byte == b'X' { 0xe9 } else { byte }).collect()),
        ("depth 1,000", plan(&format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000))).into_bytes()),
        ("10 MB", plan(&format!("\"{}\"", "x".repeat(10_000_000))).into_bytes()),
        ("a long member twice", plan(&format!("{{\"{0}\": 1, \"{0}\": 2}}", "x".repeat(1_000_000))).into_bytes()),
        ("nothing but U+0000", vec![0; 4096]),
    ] {
        let file = home.path("bad.json");
        std::fs::write(&file, bytes).unwrap();
        let error = refused(&mut home.command(&run(&["--plan", &file])), 7, "plan.unreadable");
        assert!(text(&error["message"]).contains("nothing was written"), "{what}: {error:#}");
        assert!(error.to_string().len() < 1_000, "{what}: what was given is not repeated at length");
    }
    assert_eq!(home.dump(), before);
    assert_eq!(calm(&mut home.command(&run(&["--plan", &home.file("good.json", &plan("1"))]))).code, 0);
}

#[test]
fn a_plan_whose_name_cannot_be_a_goal_is_refused() {
    let home = Home::initialised();
    let before = home.dump();
    let step =
        json!({ "id": "a", "skill": "json_transform", "with": { "payload": { "x": 1 }, "mapping": { "y": "x" } } });
    for name in ["a\u{0}b", " ", &"x".repeat(10_001)] {
        let plan = json!({ "schema": "runproof.plan/v1", "name": name, "steps": [step] });
        let file = home.file("bad.json", &plan.to_string());
        let error = refused(&mut home.command(&run(&["--plan", &file])), 7, "request.refused");
        assert!(error["findings"].to_string().contains("request.goal"), "{error:#}");
    }
    assert_eq!(home.dump(), before);
}

// Arguments -----------------------------------------------------------------------------------------------------------

#[test]
fn an_argument_that_is_no_text_is_refused_where_text_is_meant_and_taken_where_a_path_is() {
    let home = Home::initialised();
    let before = home.dump();
    let bad = OsStr::from_bytes(NO_TEXT);
    for arguments in [
        &["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal"][..],
        &["run", "--goal", "g", "--agent-id", AGENT, "--tenant-id"],
        &["get-run"],
        &["create-tenant", "--id"],
        &["create-agent", "--tenant-id", TENANT, "--name"],
        &["explain"],
        &["verify", "file", "--key"],
    ] {
        refused(home.command(arguments).arg(bad), 2, "usage.argument");
    }
    for arguments in [&["verify"][..], &["legacy-root"], &["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan"]]
    {
        refused(home.command(arguments).arg(bad), 2, "file.unreadable");
    }
    assert_eq!(home.dump(), before);
    let plan = home.plan(crate::support::sample_steps());
    std::fs::rename(plan, home.folder().join(bad)).unwrap();
    let ran = calm(home.command(&run(&["--plan"])).arg(bad));
    assert_eq!(ran.code, 0, "{ran:?}");
    let bundle = OsStr::from_bytes(b"\xff.runproof");
    assert_eq!(calm(home.command(&["last", "--bundle"]).arg(bundle)).code, 0);
    assert_eq!(calm(home.command(&["verify", "--key", &home.vkey()]).arg(bundle)).code, 0);
}

// Answers -------------------------------------------------------------------------------------------------------------

/// A receiver that gives these bytes to everybody, as JSON. Answers its address, and how many asked.
fn receiver(body: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            // Whoever asked may hang up in the middle: that is what some of them do.
            reader.get_mut().write_all(head.as_bytes()).and_then(|()| reader.get_mut().write_all(&body)).ok();
        }
    });
    (address, asked)
}

/// Fetches these bytes and passes them on to a second step. Answers what became of both, and the first one's output as
/// it is recorded.
fn fetched(body: &[u8]) -> (Vec<String>, Value) {
    let (home, (address, asked)) = (Home::initialised(), receiver(body.to_vec()));
    let fetch = json!({ "url": format!("http://{address}/"), "method": "POST" });
    let take = json!({ "payload": "{{ steps.fetch.output }}", "mapping": { "body": "body", "kind": "body_kind" } });
    let plan = home.plan(json!([
        { "id": "fetch", "skill": "http_call", "on_error": "continue", "with": fetch },
        { "id": "take", "skill": "json_transform", "with": take },
    ]));
    let ran = calm(&mut home.command(&run(&["--plan", &plan])));
    assert!(ran.code == 0 || ran.code == 3, "{ran:?}");
    let run = ran.json();
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it acted once: {run:#}");
    assert_eq!(every_run_is_whole(&home), 1);
    let code = |step: &Value| step["outcome_code"].as_str().unwrap_or("success").to_owned();
    let recorded = home.sql("SELECT payloads FROM transitions WHERE instr(payloads, '\"body_kind\":') > 0");
    let recorded = recorded.first().map(|row| serde_json::from_str::<Value>(&row.concat()).unwrap());
    let output = recorded.map_or(Value::Null, |payload| payload["values"]["output"].clone());
    (run["steps"].as_array().unwrap().iter().map(code).collect(), output)
}

#[test]
fn an_answer_is_taken_exactly_or_kept_as_text_and_never_guessed_at() {
    let deep = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
    for (what, body, kind, recorded) in [
        ("depth 1,000", deep.as_bytes(), "text", json!(deep)),
        ("not UTF-8", b"{\"n\": \"caf\xe9\"}", "base64", json!("eyJuIjogImNhZukifQ==")),
        ("U+0000 as it is", b"{\"n\": \"a\0b\"}", "text", json!("{\"n\": \"a\u{fffd}b\"}")),
        ("U+0000 escaped", br#"{"n": "a\u0000b"}"#, "json", json!({ "n": "a\u{fffd}b" })),
        ("U+0000 in a name", br#"{"a\u0000b": 1}"#, "text", json!(r#"{"a\u0000b": 1}"#)),
        ("NaN", br#"{"n": NaN}"#, "text", json!(r#"{"n": NaN}"#)),
        ("Infinity", br#"{"n": -Infinity}"#, "text", json!(r#"{"n": -Infinity}"#)),
        ("1e999", br#"{"n": 1e999}"#, "json", json!({ "n": "1e999" })),
        ("a fraction", br#"{"n": 0.1}"#, "json", json!({ "n": "0.1" })),
        ("a member twice", br#"{"n": 1, "n": 2}"#, "text", json!(r#"{"n": 1, "n": 2}"#)),
        ("half a character", br#"{"n": "\ud800"}"#, "text", json!(r#"{"n": "\ud800"}"#)),
    ] {
        let (codes, output) = fetched(body);
        assert_eq!(codes, ["success", "success"], "{what}");
        assert_eq!((&output["body_kind"], &output["body"]), (&json!(kind), &recorded), "{what}");
    }
}

#[test]
fn an_answer_of_ten_megabytes_fails_the_step_and_is_not_asked_for_again() {
    let (codes, recorded) = fetched(format!("\"{}\"", "x".repeat(10_000_000)).as_bytes());
    assert_eq!(codes, ["http.body_too_large", "reference.unresolved"]);
    assert_eq!(recorded, Value::Null, "nothing of it is kept");
}
