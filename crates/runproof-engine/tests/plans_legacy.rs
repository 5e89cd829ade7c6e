//! Plans of the first system: converted where that is exact, refused with the place where it is not.

use runproof_engine::admission::admit;
use runproof_engine::plan::{self, legacy};
use serde_json::{Value, json};

use crate::plans::{request, told};

fn plan(steps: Value) -> Value {
    json!({"plan_id": "p-1", "goal": "look around", "metadata": {"planner": "stub", "tags": []}, "steps": steps})
}

fn step(field: &str, value: Value) -> Value {
    let mut step = json!({"step_id": "b", "skill": "look"});
    step[field] = value;
    plan(json!([{"step_id": "a", "skill": "look"}, step]))
}

/// The second step of the converted plan, which has to be valid.
fn converted(value: &Value) -> Value {
    let plan = legacy::convert(value).unwrap_or_else(|found| panic!("{value}: {found:?}"));
    assert_eq!(plan::parse(&plan).err(), None, "{plan}");
    plan["steps"][1].clone()
}

fn refused(value: &Value, path: &str) {
    let found = legacy::convert(value).unwrap_err();
    assert_eq!(told(&found), [format!("plan.legacy {path}")], "{value}");
    assert!(found.iter().all(|finding| !finding.message.is_empty() && !finding.hint.is_empty()), "{found:?}");
}

#[test]
fn a_plan_is_of_the_first_system_when_it_has_step_ids_and_no_schema() {
    assert!(legacy::is_legacy(&plan(json!([{"step_id": "a", "skill": "look"}]))));
    assert!(!legacy::is_legacy(&json!({"schema": "runproof.plan/v1", "steps": [{"step_id": "a"}]})));
    assert!(!legacy::is_legacy(&json!({"steps": [{"id": "a"}]})));
    assert!(!legacy::is_legacy(&json!([])));
}

#[test]
fn what_describes_is_dropped_and_what_means_something_is_kept() {
    let mut value = plan(json!([
        {"step_id": 1, "skill": "look", "params": {"x": [1, {"y": "z"}]}, "description": "d", "depends_on": [], "condition": null,
         "status": "pending", "attempts": 0, "output": null, "error_message": null, "on_error": "abort"},
        {"step_id": "b", "skill": "look", "params": null, "depends_on": [1], "on_error": "continue", "output_key": "k"},
        {"step_id": "c", "skill": "look", "on_error": "fallback", "fallback_skill": "leap", "fallback_params": {"h": 2}},
    ]));
    value["status"] = json!("pending");
    value["context"] = json!({});
    value["default_on_error"] = json!("abort");
    value["started_at"] = Value::Null;
    let got = legacy::convert(&value).unwrap();
    assert_eq!(
        got,
        json!({"schema": "runproof.plan/v1", "name": "look around", "steps": [
            {"id": "1", "skill": "look", "with": {"x": [1, {"y": "z"}]}, "description": "d", "on_error": "abort"},
            {"id": "b", "skill": "look", "needs": ["1"], "on_error": "continue", "output_key": "k"},
            {"id": "c", "skill": "look", "on_error": "fallback", "fallback": {"skill": "leap", "with": {"h": 2}}},
        ]})
    );
    assert!(plan::parse(&got).is_ok());
}

#[test]
fn a_plan_that_has_begun_is_refused() {
    for (field, value) in [
        ("status", json!("running")),
        ("current_step_id", json!("a")),
        ("started_at", json!("2025-01-01")),
        ("completed_at", json!("2025-01-01")),
        ("duration_seconds", json!(1)),
        ("context", json!({"city": "Bonn"})),
        ("colour", json!("red")),
    ] {
        let mut whole = plan(json!([{"step_id": "a", "skill": "look"}]));
        whole[field] = value;
        refused(&whole, &format!("$.{field}"));
    }
    for (field, value) in [
        ("status", json!("succeeded")),
        ("attempts", json!(1)),
        ("output", json!({})),
        ("error_message", json!("no")),
        ("timeout", json!(30)),
    ] {
        refused(&step(field, value), &format!("$.steps[1].{field}"));
    }
}

#[test]
fn retries_are_converted_where_they_can_be_honoured() {
    assert_eq!(converted(&step("on_error", json!("retry")))["on_error"], "abort");
    assert_eq!(converted(&step("retry_count", json!(5)))["retry"], json!({"max_attempts": 5}));
    assert_eq!(converted(&step("retry_count", json!(0)))["retry"], json!({"max_attempts": 1}));
    for (policy, expected) in [
        (json!({}), [3, 1_000, 60_000]),
        (
            json!({"max_attempts": 10, "strategy": "exponential", "initial_delay": 0.1, "max_delay": 3600, "jitter": true}),
            [10, 100, 3_600_000],
        ),
        (json!({"strategy": "constant", "initial_delay": 2.5}), [3, 2_500, 2_500]),
        (json!({"retryable_errors": [], "max_delay": null}), [3, 1_000, 60_000]),
    ] {
        let [attempts, initial, longest] = expected;
        let expected = json!({"max_attempts": attempts, "initial_delay_ms": initial, "max_delay_ms": longest});
        assert_eq!(converted(&step("retry_policy", policy))["retry"], expected);
    }
    for (field, value) in [
        ("strategy", json!("linear")),
        ("strategy", json!("fibonacci")),
        ("jitter", json!(false)),
        ("retryable_errors", json!(["X"])),
        ("initial_delay", json!(0.1234)),
        ("max_delay", json!("1m")),
        ("budget", json!(1)),
    ] {
        refused(&step("retry_policy", json!({ field: value })), &format!("$.steps[1].retry_policy.{field}"));
    }
    refused(&step("retry_policy", json!("twice")), "$.steps[1].retry_policy");
    refused(&step("retry_count", json!("2")), "$.steps[1].retry_count");
    refused(&step("on_error", json!("panic")), "$.steps[1].on_error");
    refused(&step("depends_on", json!("a")), "$.steps[1].depends_on");
}

#[test]
fn defaults_of_the_plan_hold_for_steps_that_say_nothing() {
    let mut value = plan(json!([
        {"step_id": "a", "skill": "look", "on_error": "abort", "retry_count": 2},
        {"step_id": "b", "skill": "look", "retry_policy": {"max_attempts": 1}},
        {"step_id": "c", "skill": "look"},
    ]));
    value["default_on_error"] = json!("continue");
    value["default_retry_policy"] = json!({"max_attempts": 4});
    let steps = legacy::convert(&value).unwrap()["steps"].clone();
    let said: Vec<(&Value, &Value)> =
        [0, 1, 2].map(|at| (&steps[at]["on_error"], &steps[at]["retry"]["max_attempts"])).to_vec();
    assert_eq!(said, [(&json!("abort"), &json!(2)), (&json!("continue"), &json!(1)), (&json!("continue"), &json!(4))]);
    value["default_retry_policy"] = json!({"jitter": false});
    refused(&value, "$.default_retry_policy.jitter");
}

#[test]
fn a_count_that_contradicts_the_policy_beside_it_is_refused() {
    let both = |count: u32| {
        json!([{"step_id": "a", "skill": "look"},
        {"step_id": "b", "skill": "look", "retry_count": count, "retry_policy": {"max_attempts": 2}}])
    };
    refused(&plan(both(3)), "$.steps[1].retry_count");
    assert_eq!(converted(&plan(both(2)))["retry"]["max_attempts"], 2);
}

#[test]
fn references_are_rewritten_where_they_name_one_earlier_step() {
    let text = |text: &str| step("params", json!({"t": [text]}));
    for (old, new) in [
        ("{{a}}", "{{ steps.a.output }}"),
        ("x {{ a.b.0 }} y {{a.c-d}}", "x {{ steps.a.output.b.0 }} y {{ steps.a.output.c-d }}"),
        ("{{a.b c}}", "{{ steps.a.output[\"b c\"] }}"),
        ("open {{ only", "open \\{{ only"),
        ("no braces }}", "no braces }}"),
    ] {
        assert_eq!(converted(&text(old))["with"]["t"][0], new, "{old}");
    }
    for bad in ["{{z.x}}", "{{b}}", "{{}}", "{{ a }} {{ z }}", "\\{{a}}", "{{1}}"] {
        refused(&text(bad), "$.steps[1].params.t[0]");
    }
    let twice = json!([
        {"step_id": "a", "skill": "look", "output_key": "k"},
        {"step_id": "k", "skill": "look"},
        {"step_id": "c", "skill": "look", "params": {"x": "{{k.y}}"}},
    ]);
    refused(&plan(twice), "$.steps[2].params.x");
    let by_id = json!([
        {"step_id": "a", "skill": "look", "output_key": "k"},
        {"step_id": "b", "skill": "look", "params": {"x": "{{a.y}}"}},
    ]);
    refused(&plan(by_id), "$.steps[1].params.x");
}

#[test]
fn a_step_needs_what_it_depends_on_and_what_it_uses() {
    let steps = |depends_on: Value| {
        plan(json!([
            {"step_id": "a", "skill": "look"},
            {"step_id": "b", "skill": "look"},
            {"step_id": "c", "skill": "look", "params": {"x": "{{a.y}}"}, "depends_on": depends_on},
        ]))
    };
    let needs = |depends_on: Value| legacy::convert(&steps(depends_on)).unwrap()["steps"][2].get("needs").cloned();
    assert_eq!(needs(json!(["b"])), Some(json!(["b", "a"])));
    assert_eq!(needs(json!(["a"])), Some(json!(["a"])));
    assert_eq!(needs(json!([])), None, "the list was gone through in order");
    assert_eq!(needs(Value::Null), None);
}

#[test]
fn conditions_become_expressions() {
    let when = |condition: Value| {
        let value = step("condition", condition);
        legacy::convert(&value).map(|plan| plan["steps"][1]["when"].as_str().unwrap().to_owned())
    };
    for (operator, value, expected) in [
        ("eq", json!("x\"y"), r#"steps.a.output.f == "x\"y""#),
        ("ne", json!(null), "steps.a.output.f != null"),
        ("eq", json!(true), "steps.a.output.f == true"),
        ("gt", json!(-3), "steps.a.output.f > -3"),
        ("lt", json!("m"), r#"steps.a.output.f < "m""#),
        ("exists", json!(null), r#""f" in steps.a.output"#),
        ("not_exists", json!(null), r#"!("f" in steps.a.output)"#),
        ("contains", json!(7), "7 in steps.a.output.f"),
        ("contains", json!("t"), r#"steps.a.output.f.contains("t")"#),
    ] {
        let got = when(json!({"step_id": "a", "field": "f", "operator": operator, "value": value}));
        assert_eq!(got.unwrap(), expected);
    }
    let nested = json!({"step_id": "a", "field": "x.in.a-b.9", "operator": "eq", "value": 1});
    assert_eq!(when(nested).unwrap(), r#"steps.a.output.x["in"]["a-b"]["9"] == 1"#);
    for (condition, path) in [
        (json!({"step_id": "a", "field": "f", "operator": "matches", "value": "^x"}), "condition.operator"),
        (json!({"step_id": "a", "field": "f", "operator": "like", "value": "x"}), "condition.operator"),
        (json!({"step_id": "a", "field": "f", "operator": "eq"}), "condition.value"),
        (json!({"step_id": "a", "field": "f", "operator": "gt", "value": true}), "condition.value"),
        (json!({"step_id": "a", "field": "f", "operator": "eq", "value": 0.5}), "condition.value"),
        (json!({"step_id": "a", "field": "f", "operator": "eq", "value": [1]}), "condition.value"),
        (json!({"step_id": "a", "operator": "eq", "value": 1}), "condition"),
        (json!("a"), "condition"),
        (json!({"step_id": "a", "field": "f", "operator": "exists", "not": true}), "condition.not"),
    ] {
        refused(&step("condition", condition), &format!("$.steps[1].{path}"));
    }
}

#[test]
fn what_is_recorded_is_the_converted_plan() {
    let mut asked = request();
    asked.plan = Some(plan(json!([{"step_id": "a", "skill": "look"}])));
    let admitted = admit(asked.clone()).unwrap();
    assert_eq!(admitted.plan.unwrap().json["schema"], "runproof.plan/v1");
    let mut again = asked.clone();
    again.plan = Some(legacy::convert(asked.plan.as_ref().unwrap()).unwrap());
    assert_eq!(admitted.digest, admit(again).unwrap().digest, "the same run is asked for");
    asked.plan = Some(step("timeout", json!(30)));
    assert_eq!(told(&admit(asked).unwrap_err()), ["plan.legacy $.steps[1].timeout"]);
}
