//! `plan`: judges plans without a home, a database or a network.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Home, Ran, ran, text};

/// The program with no environment at all.
fn bare(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runproof"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    ran(&mut command)
}

/// `plan check --json` of a document that is given on stdin.
fn checked(document: &str, more: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runproof"));
    command.env_clear().args([&["plan", "check", "-", "--json"], more].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}")))
}

fn told(answer: &Value) -> Vec<String> {
    let findings = answer["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| format!("{} {} {}", text(&finding["severity"]), text(&finding["code"]), text(&finding["path"])))
        .collect()
}

const FORK: &str = r#"
schema: runproof.plan/v1
max_parallel: 2
steps:
- id: list
  skill: http_call
  with: {url: "https://example.com/list"}
- id: left
  skill: http_call
  with: {url: "https://example.com/{{ steps.list.output.body.left }}"}
- id: right
  skill: http_call
  needs: [list]
  retry: {max_attempts: 1}
  foreach: ["a", "b"]
  with: {url: "https://example.com/right"}
- id: both
  skill: json_transform
  needs: [left, right]
  with:
    payload: {left: "{{ steps.left.output.body }}"}
    mapping: {left: left}
"#;

#[test]
fn a_valid_plan_says_what_it_can_do_at_most_and_in_which_order() {
    let (code, answer) = checked(FORK, &[]);
    assert_eq!((code, &answer["valid"], told(&answer)), (0, &json!(true), vec![]), "{answer:#}");
    let estimate = &answer["estimate"];
    assert_eq!((&estimate["steps"], &estimate["calls"], &estimate["attempts"]), (&json!(4), &json!(5), &json!(11)));
    // Two calls of three attempts and two of one, for 1,000 microcents each; a transformation costs nothing.
    assert_eq!((&estimate["cost_microcents"], &estimate["unknown_cost"]), (&json!(8_000), &json!([])));
    assert_eq!(answer["levels"], json!([["list"], ["left", "right"], ["both"]]));
    let home = Home::empty();
    let file = home.file("plan.yaml", FORK);
    let page = bare(&["plan", "check", &file]);
    assert_eq!((page.code, page.stderr.as_str()), (0, ""), "{page:?}");
    for words in ["valid: 0 errors, 0 warnings", "attempts  at most 11", "0.0080 cents", "2. left, right"] {
        assert!(page.stdout.contains(words), "{words}: {}", page.stdout);
    }
}

#[test]
fn a_wrong_plan_is_refused_with_everything_that_is_wrong_with_it() {
    let document = json!({"schema": "runproof.plan/v1", "colour": 1, "steps": [
        {"id": "a", "skill": "http_call", "needs": ["b"]},
        {"id": "b", "skill": "http_call", "needs": ["a", "z"]},
    ]});
    let (code, answer) = checked(&document.to_string(), &[]);
    assert_eq!((code, &answer["valid"], &answer["estimate"]), (7, &json!(false), &Value::Null));
    let expected = ["error plan.unknown_field $.colour", "error plan.needs $.steps[1].needs[1]"];
    assert_eq!(told(&answer), expected);
    let findings = answer["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| !text(&finding["hint"]).is_empty()), "{answer:#}");
    let home = Home::empty();
    let page = bare(&["plan", "check", &home.file("plan.json", &document.to_string())]);
    assert_eq!((page.code, page.stderr.as_str()), (7, ""));
    assert!(page.stdout.contains("refused: 2 errors, 0 warnings") && page.stdout.contains("hint: "), "{}", page.stdout);
}

#[test]
fn warnings_name_what_will_not_work_here_and_refuse_nothing() {
    let document = json!({"schema": "runproof.plan/v1", "inputs": {"city": {"type": "text"}}, "steps": [
        {"id": "a", "skill": "teleport", "on_error": "continue", "output_key": "k"},
        {"id": "b", "skill": "http_call", "with": {"url": 7, "method": "{{ steps.a.output }}", "speed": 1}},
        {"id": "c", "skill": "http_call", "with": {"url": "{{ steps.b.output.url }}", "headers": {"x": "Bearer secret://T"}}},
    ]});
    let (code, answer) = checked(&document.to_string(), &[]);
    assert_eq!((code, &answer["valid"]), (0, &json!(true)), "{answer:#}");
    assert_eq!(
        told(&answer),
        [
            "warning plan.maybe_absent $.steps[1].with.method",
            "warning plan.unused $.inputs.city",
            "warning plan.unknown_skill $.steps[0].skill",
            "warning plan.params $.steps[1].with.url",
            "warning plan.params $.steps[1].with.speed",
        ]
    );
    assert_eq!(answer["estimate"]["unknown_cost"], json!(["teleport"]));
}

#[test]
fn a_plan_that_could_outgrow_a_run_is_warned_of() {
    let steps: Vec<Value> = (0..15)
        .map(|n| json!({"id": format!("s{n}"), "skill": "json_transform", "foreach": "{{ goal }}", "with": {"payload": 1, "mapping": {"x": "y"}}}))
        .collect();
    let (code, answer) = checked(&json!({"schema": "runproof.plan/v1", "steps": steps}).to_string(), &[]);
    assert_eq!((code, told(&answer)), (0, vec!["warning plan.worst_case $".to_owned()]), "{answer:#}");
    assert_eq!(answer["estimate"]["events"], 4 + 15 * (2 + 1_000 * 9));
}

#[test]
fn inputs_are_judged_when_they_are_given() {
    let plan = |more: &[&str]| {
        let document = json!({"schema": "runproof.plan/v1", "steps": [{"id": "a", "skill": "json_transform", "with": {"payload": 1, "mapping": {"x": "y"}}}],
            "inputs": {"city": {"type": "text"}, "days": {"type": "integer"}}});
        let (code, answer) = checked(&document.to_string(), more);
        let errors: Vec<String> = told(&answer).into_iter().filter(|line| line.starts_with("error")).collect();
        (code, errors)
    };
    assert_eq!(plan(&[]), (0, vec![]));
    assert_eq!(plan(&["--input", "city=Ulm", "--input", "days=3"]), (0, vec![]));
    assert_eq!(plan(&["--input", "city=Ulm"]), (7, vec!["error inputs.missing inputs.days".to_owned()]));
    assert_eq!(
        plan(&["--input", "city=Ulm", "--input", "days=x"]),
        (7, vec!["error inputs.type inputs.days".to_owned()])
    );
    let ran = bare(&["plan", "check", "/dev/null", "--input", "city"]);
    assert_eq!(ran.code, 7, "the plan is read first: {ran:?}");
}

#[test]
fn a_document_that_cannot_be_read_says_where() {
    for (document, place) in
        [("{\"a\": 1,}", "line 1 column"), ("a: 1\na: 2", "line 2 column 1"), ("a: 'b", "line"), ("", "nothing")]
    {
        let (code, answer) = checked(document, &[]);
        assert_eq!((code, &answer["error"]["code"]), (7, &json!("plan.unreadable")), "{document}");
        assert!(text(&answer["error"]["message"]).contains(place), "{document}: {answer}");
    }
    for open in ["[", "{\"a\":", "- ", "{a: "] {
        let (code, answer) = checked(&open.repeat(100_000), &[]);
        assert_eq!((code, &answer["error"]["code"]), (7, &json!("plan.unreadable")), "{open}");
    }
    assert_eq!(bare(&["plan", "check", "no-such-file.json"]).code, 2);
}

#[test]
fn the_schema_is_printed_as_it_is_published() {
    let printed = bare(&["plan", "schema"]);
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/plan.schema.json");
    assert_eq!((printed.code, printed.stdout), (0, std::fs::read_to_string(published).unwrap()));
    assert_eq!(bare(&["plan", "schema", "--json"]).json()["$id"], "https://runproof.dev/plan/v1");
}

#[test]
fn a_plan_of_the_first_system_is_converted_or_refused_with_its_place() {
    let home = Home::empty();
    let step = json!({"step_id": "a", "skill": "json_transform", "params": {"payload": 1, "mapping": {"x": "y"}}});
    let old = home.file("old.json", &json!({"plan_id": "p", "goal": "g", "steps": [step]}).to_string());
    let converted = bare(&["plan", "convert", &old]);
    assert_eq!(converted.code, 0, "{converted:?}");
    assert_eq!(
        (&converted.json()["schema"], &converted.json()["steps"][0]["id"]),
        (&json!("runproof.plan/v1"), &json!("a"))
    );
    let again = home.file("new.json", &converted.stdout);
    assert_eq!(bare(&["plan", "convert", &again]).stdout, converted.stdout);
    let check = bare(&["plan", "check", &old, "--json"]).json();
    assert_eq!((&check["valid"], &check["converted"]), (&json!(true), &json!(true)));
    let bad = home.file("bad.json", &json!({"steps": [{"step_id": "a", "skill": "look", "timeout": 3}]}).to_string());
    let refused = bare(&["plan", "convert", &bad, "--json"]);
    assert_eq!((refused.code, &refused.json()["error"]["findings"][0]["path"]), (7, &json!("$.steps[0].timeout")));
    let check = bare(&["plan", "check", &bad, "--json"]);
    assert_eq!((check.code, told(&check.json())), (7, vec!["error plan.legacy $.steps[0].timeout".to_owned()]));
}
