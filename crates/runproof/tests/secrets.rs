//! Secrets and private values: they reach the receiver, and nothing else.

use std::path::Path;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};

use crate::support::{AGENT, Answer, Home, Receiver, TENANT, ran, text};

/// Printable ASCII that every encoding writes in another way.
const SECRET: &str = "s3cr3t+/\"quoted\\%41&=Zz09 tail";

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The secret in every form in which it must not be found.
fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap();
    let json = json.trim_matches('"').to_owned();
    vec![
        secret.to_owned(),
        BASE64.encode(secret.as_bytes()),
        BASE64URL_NOPAD.encode(secret.as_bytes()),
        percent(secret),
        percent(secret).to_lowercase(),
        json.clone(),
        serde_json::to_string(&json).unwrap().trim_matches('"').to_owned(),
        HEXLOWER.encode(secret.as_bytes()),
    ]
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    all
}

fn holds(bytes: &[u8], form: &str) -> bool {
    bytes.windows(form.len()).any(|window| window == form.as_bytes())
}

/// A receiver that sends everything that it got back in every form.
fn parrot(status: u16) -> Receiver {
    Receiver::start(move |seen, _| {
        let got = seen.headers.get("x-api-key").cloned().unwrap_or_default();
        let body = json!({
            "raw": got, "forms": forms(&got), "headers": seen.headers, "body": seen.body, "path": seen.path,
            "nested": [{ "deep": format!("before {got} after") }], got.clone(): "as a name",
        });
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("x-request-id", got.clone()),
            ("etag", BASE64.encode(got.as_bytes())),
            ("retry-after", "0".to_owned()),
        ];
        Some(Answer {
            status,
            headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: body.to_string(),
        })
    })
}

fn steps(receiver: &Receiver) -> Value {
    let retry = json!({ "max_attempts": 2, "initial_delay_ms": 1, "max_delay_ms": 1 });
    json!([
        { "id": "read", "skill": "http_call", "on_error": "continue", "retry": retry,
          "with": { "url": format!("{}?key=secret://SHORT_TOKEN", receiver.url("read")), "headers": { "x-api-key": "secret://API_TOKEN" } } },
        { "id": "write", "skill": "http_call", "on_error": "continue", "retry": retry,
          "with": { "url": receiver.url("write"), "method": "PUT", "headers": { "x-api-key": "secret://API_TOKEN", "authorization": "Bearer secret://SHORT_TOKEN" },
                    "body": { "token": "secret://API_TOKEN", "list": ["x secret://API_TOKEN y"] } } },
    ])
}

fn check_nowhere(home: &Home, outputs: &[&str]) {
    for secret in [SECRET, "tok-0123456789abcdef"] {
        for form in forms(secret) {
            for (name, bytes) in files(home.folder()) {
                assert!(!holds(&bytes, &form), "{name} holds the secret as {form}");
            }
            for output in outputs {
                assert!(!output.contains(&form), "printed as {form}: {output}");
            }
        }
    }
}

#[test]
fn a_secret_that_the_target_echoes_back_in_every_form_is_nowhere_on_disk_or_in_print() {
    for status in [200, 503, 418] {
        let receiver = parrot(status);
        let home = Home::initialised()
            .with("RUNPROOF_SECRET_API_TOKEN", SECRET)
            .with("RUNPROOF_SECRET_SHORT_TOKEN", "tok-0123456789abcdef");
        let plan = home.plan(steps(&receiver));
        let arguments = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan, "-v"];
        let page = home.run(&arguments);
        assert_eq!(page.code, 0, "{page:?}");
        let object = home.run(&[&arguments[..], &["--json"]].concat());
        let run = object.json();
        let bundle = home.path("x.runproof");
        let proof = home.run(&["proof", &text(&run["run_id"]), "--tenant-id", TENANT, "--bundle", &bundle, "--json"]);
        assert_eq!((proof.code, proof.json()["verdict"].as_str()), (0, Some("VERIFIED")), "{status}: {proof:?}");
        let shown = home.run(&["get-run", &text(&run["run_id"]), "--json"]);
        let seen = receiver.seen();
        let write = seen.iter().find(|seen| seen.path == "/write").unwrap();
        assert_eq!(write.headers["x-api-key"], SECRET, "the receiver got it");
        assert_eq!(write.headers["authorization"], "Bearer tok-0123456789abcdef");
        assert_eq!(serde_json::from_str::<Value>(&write.body).unwrap()["list"][0], format!("x {SECRET} y"));
        assert!(
            seen.iter().any(|seen| seen.path == "/read?key=tok-0123456789abcdef"),
            "in the URL too: {:?}",
            seen[0].path
        );
        let texts: Vec<&str> = [&page, &object, &proof, &shown]
            .iter()
            .flat_map(|ran| [ran.stdout.as_str(), ran.stderr.as_str()])
            .collect();
        check_nowhere(&home, &texts);
    }
}

#[test]
fn a_secret_is_nowhere_when_the_process_is_killed_in_the_middle() {
    let receiver = Receiver::start(|_, _| {
        std::thread::park(); // never answers: the attempt stays open until the process is gone
        None
    });
    let home = Home::initialised()
        .with("RUNPROOF_SECRET_API_TOKEN", SECRET)
        .with("RUNPROOF_SECRET_SHORT_TOKEN", "tok-0123456789abcdef");
    let plan = home.plan(steps(&receiver));
    let mut child =
        home.command(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan]).spawn().unwrap();
    crate::support::eventually("the call is under way", || (!receiver.seen().is_empty()).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    check_nowhere(&home, &[]);
    assert!(holds(&home.dump().into_bytes(), "secret://API_TOKEN"), "the record names the secret instead");
}

#[test]
fn a_secret_that_is_not_set_or_too_short_fails_the_step_without_a_call() {
    let receiver = Receiver::standard();
    for (value, code) in [(None, "secret.missing"), (Some("abc"), "secret.short")] {
        let home = Home::initialised();
        let home = match value {
            Some(value) => home
                .with("RUNPROOF_SECRET_API_TOKEN", value)
                .with("RUNPROOF_SECRET_SHORT_TOKEN", "tok-0123456789abcdef"),
            None => home,
        };
        let step = json!([{ "id": "a", "skill": "http_call", "with": { "url": receiver.url("x"), "headers": { "x-api-key": "secret://API_TOKEN" } } }]);
        let (exit, run) = home.run_plan(step, &[]);
        assert_eq!((exit, &run["steps"][0]["outcome_code"]), (3, &json!(code)), "{run:#}");
    }
    assert_eq!(receiver.count("/x"), 0);
}

#[test]
fn private_values_in_goals_and_outcomes_are_redacted_before_they_are_stored() {
    let receiver = Receiver::start(|_, _| {
        Some(Answer::json(
            200,
            &json!({ "from": "jane.doe@example.com", "card": "4111 1111 1111 1111", "password": "hunter2hunter2", "id": 7 }),
        ))
    });
    let home = Home::initialised();
    let step = json!([
        { "id": "a", "skill": "http_call", "with": { "url": receiver.url("x") } },
        { "id": "b", "skill": "json_transform", "with": { "payload": { "id": "{{ steps.a.output.body.id }}" }, "mapping": { "id": "id" } } },
    ]);
    let (code, run) = home.run_plan(step, &["--goal", "write to jane.doe@example.com about it"]);
    assert_eq!(code, 0, "{run:#}");
    let goal = &home.sql("SELECT goal FROM runs")[0][0];
    assert!(goal.starts_with("write to ") && goal.ends_with(" about it") && !goal.contains('@'), "{goal}");
    for private in ["jane.doe@example.com", "jane.doe", "4111 1111", "hunter2hunter2"] {
        for (name, bytes) in files(home.folder()) {
            assert!(!holds(&bytes, private), "{name} holds {private}");
        }
    }
    assert_eq!(home.proof(&run).0, 0);
}

#[test]
fn a_reference_to_a_redacted_value_fails_the_step() {
    let receiver = Receiver::start(|_, _| Some(Answer::json(200, &json!({ "password": "hunter2hunter2" }))));
    let home = Home::initialised();
    let step = json!([
        { "id": "a", "skill": "http_call", "with": { "url": receiver.url("x") } },
        { "id": "b", "skill": "json_transform", "with": { "payload": { "p": "{{ steps.a.output.body.password }}" }, "mapping": { "p": "p" } } },
    ]);
    let (code, run) = home.run_plan(step, &[]);
    assert_eq!((code, &run["steps"][1]["outcome_code"]), (3, &json!("reference.redacted")), "{run:#}");
    assert_eq!(home.proof(&run).0, 0);
}

#[test]
fn an_answer_cannot_make_a_later_step_ask_for_a_secret() {
    let receiver = Receiver::start(|_, _| Some(Answer::json(200, &json!({ "name": "secret://API_TOKEN" }))));
    let home = Home::initialised().with("RUNPROOF_SECRET_API_TOKEN", SECRET);
    let step = json!([
        { "id": "a", "skill": "http_call", "with": { "url": receiver.url("x") } },
        { "id": "b", "skill": "http_call", "with": { "url": receiver.url("y"), "method": "POST", "text": "{{ steps.a.output.body.name }}" } },
    ]);
    let (code, run) = home.run_plan(step, &[]);
    assert_eq!((code, &run["steps"][1]["status"]), (3, &json!("failure")), "{run:#}");
    assert_eq!(receiver.count("/y"), 0, "nothing was sent");
    assert!(receiver.seen().iter().all(|seen| !seen.body.contains(SECRET)));
}

#[test]
fn a_secret_in_a_reason_does_not_reach_the_record() {
    let home = Home::initialised();
    let queued = text(&home.run_goal("x", &["--no-wait"]).1["run_id"]);
    let reason = "mail jane.doe@example.com, key AKIAIOSFODNN7EXAMPLE";
    home.ok(&["cancel", &queued, "--reason", reason]);
    for (name, bytes) in files(home.folder()) {
        for private in ["jane.doe@example.com", "AKIAIOSFODNN7EXAMPLE"] {
            assert!(!holds(&bytes, private), "{name} holds {private}");
        }
    }
    let version = ran(home.command(&["--version"]).env("RUNPROOF_SECRET_API_TOKEN", SECRET));
    assert!(!version.stdout.contains(SECRET));
}
