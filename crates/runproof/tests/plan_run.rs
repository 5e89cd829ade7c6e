//! `run` with inputs, YAML, warnings, and plans of the first system.

use serde_json::{Value, json};

use crate::support::{AGENT, Home, TENANT, text};

fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--tenant-id", TENANT, "--agent-id", AGENT][..], more].concat()
}

fn step() -> Value {
    json!({"id": "a", "skill": "json_transform", "with": {"payload": {"x": 1}, "mapping": {"y": "x"}}})
}

fn declaring() -> String {
    let inputs = json!({
        "city": {"type": "text", "default": "Bonn"}, "days": {"type": "integer"}, "list": {"type": "list", "default": []},
    });
    json!({"schema": "runproof.plan/v1", "inputs": inputs, "steps": [step()]}).to_string()
}

/// The inputs that a run has on record.
fn recorded(home: &Home, run: &Value) -> Value {
    let bundle = home.path("inputs.runproof");
    home.ok(&["proof", &text(&run["run_id"]), "--tenant-id", TENANT, "--bundle", &bundle]);
    let bundle = String::from_utf8_lossy(&std::fs::read(&bundle).unwrap()).into_owned();
    let at = bundle.find("\"values\":{\"inputs\":").unwrap_or_else(|| panic!("no inputs in {bundle}"));
    let rest = &bundle[at + "\"values\":{\"inputs\":".len()..];
    serde_json::Deserializer::from_str(rest).into_iter().next().unwrap().unwrap()
}

#[test]
fn a_run_records_its_inputs_with_their_defaults() {
    let home = Home::initialised();
    let plan = home.file("plan.json", &declaring());
    let list = home.file("list.json", "[1, 2]");
    let at = format!("list=@{list}");
    let run_ = home.ok(&run(&["--plan", &plan, "--input", "days=3", "--input", &at]));
    assert_eq!(recorded(&home, &run_), json!({"city": "Bonn", "days": 3, "list": [1, 2]}));
    let file = home.file("inputs.yaml", "days: 4\ncity: \"@home\"\n");
    let run_ = home.ok(&run(&["--plan", &plan, "--inputs", &file]));
    assert_eq!(recorded(&home, &run_), json!({"city": "@home", "days": 4, "list": []}));
    let run_ = home.ok(&run(&["--plan", &plan, "--inputs", &file, "--input", "list=[7]"]));
    assert_eq!(recorded(&home, &run_), json!({"city": "@home", "days": 4, "list": [7]}));
}

#[test]
fn inputs_that_do_not_fit_are_refused_and_nothing_is_written() {
    let home = Home::initialised();
    let plan = home.file("plan.json", &declaring());
    let before = home.dump();
    for (inputs, expected) in [
        (&[][..], "inputs.missing inputs.days"),
        (&["--input", "days=three"], "inputs.type inputs.days"),
        (&["--input", "days=3", "--input", "colour=red"], "inputs.unknown inputs.colour"),
        (&["--input", "days=3", "--input", "city=secret://TOKEN"], "inputs.value inputs.city"),
        (&["--input", "days=3", "--input", "city=AKIAIOSFODNN7EXAMPLE"], "inputs.value inputs.city"),
    ] {
        let ran = home.run(&[&run(&["--plan", &plan, "--json"]), inputs].concat());
        let finding = ran.json()["error"]["findings"][0].clone();
        assert_eq!(
            (ran.code, format!("{} {}", text(&finding["code"]), text(&finding["path"]))),
            (7, expected.to_owned())
        );
        assert!(!ran.stdout.contains("AKIA"), "{ran:?}");
    }
    for inputs in [&["--input", "days"][..], &["--input", "days=1", "--input", "days=2"], &["--input", "days=@nowhere"]]
    {
        assert_eq!(home.run(&[&run(&["--plan", &plan]), inputs].concat()).code, 2, "{inputs:?}");
    }
    let list = home.file("list.json", "[1]");
    assert_eq!(home.run(&run(&["--plan", &plan, "--inputs", &list])).code, 2);
    assert_eq!(home.run(&run(&["--goal", "say hello", "--input", "days=3"])).code, 7, "a goal has no inputs");
    assert_eq!(home.dump(), before);
}

#[test]
fn a_run_that_another_process_carries_out_gets_its_inputs() {
    let home = Home::initialised();
    let plan = home.file("plan.json", &declaring());
    let _worker = home.worker();
    let asked = run(&["--plan", &plan, "--input", "days=5", "--idempotency-key", "k"]);
    let first = home.ok(&asked);
    assert_eq!(recorded(&home, &first)["days"], 5);
    assert_eq!(home.ok(&asked)["run_id"], first["run_id"], "the same request is the same run");
    let other = home.run(&run(&["--plan", &plan, "--input", "days=6", "--idempotency-key", "k", "--json"]));
    assert_eq!((other.code, other.error_code().as_str()), (7, "idempotency.reused"));
}

#[test]
fn a_plan_in_yaml_runs() {
    let home = Home::initialised();
    let plan = home.file(
        "plan.yml",
        "schema: runproof.plan/v1\nsteps:\n- id: a\n  skill: json_transform\n  with: {payload: {x: 1}, mapping: {y: x}}\n",
    );
    let run_ = home.ok(&run(&["--plan", &plan]));
    assert_eq!((&run_["status"], &run_["proof"]["verdict"]), (&json!("succeeded"), &json!("VERIFIED")));
}

#[test]
fn warnings_are_shown_and_the_run_goes_on() {
    let home = Home::initialised();
    let mut plan = json!({"schema": "runproof.plan/v1", "steps": [step()]});
    plan["inputs"] = json!({"city": {"type": "text", "default": "Bonn"}});
    let plan = home.file("plan.json", &plan.to_string());
    let ran = home.run(&run(&["--plan", &plan]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("warning: $.inputs.city") && ran.stderr.contains("[plan.unused]"), "{ran:?}");
    let run_ = home.ok(&run(&["--plan", &plan]));
    assert_eq!(run_["warnings"][0]["code"], "plan.unused");
}

#[test]
fn a_plan_of_the_first_system_runs_as_its_conversion() {
    let home = Home::initialised();
    let old = json!({"plan_id": "p", "goal": "tidy up", "steps": [
        {"step_id": "a", "skill": "json_transform", "params": {"payload": {"x": 1}, "mapping": {"y": "x"}}},
        {"step_id": "b", "skill": "json_transform", "params": {"payload": "{{a}}", "mapping": {"z": "y"}}, "on_error": "retry", "retry_count": 2},
    ]});
    let plan = home.file("old.json", &old.to_string());
    let ran = home.run(&run(&["--plan", &plan]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("one of the first system"), "{ran:?}");
    let stored = home
        .sql("SELECT goal, json_extract(plan_json, '$.schema'), json_extract(plan_json, '$.steps[1].id') FROM runs");
    assert_eq!(stored, [["tidy up", "runproof.plan/v1", "b"]]);
}
