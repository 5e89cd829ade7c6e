//! Plans as graphs: what must be done first, what may be named, what a plan can do at most, and what it is warned of.

use runproof_engine::plan::{self, InputKind, PlanFinding, Severity};
use runproof_engine::skill::Skills;
use serde_json::{Value, json};

use crate::plans::{check, plan, told};

fn step(id: &str, more: &Value) -> Value {
    let mut step = json!({"id": id, "skill": "look"});
    for (name, value) in more.as_object().into_iter().flatten() {
        step[name] = value.clone();
    }
    step
}

fn needs(steps: &Value) -> Vec<Vec<usize>> {
    plan::parse(&plan(steps.clone())).unwrap().steps.into_iter().map(|step| step.needs).collect()
}

fn findings(value: &Value) -> Vec<PlanFinding> {
    plan::parse(value).unwrap_err()
}

#[test]
fn a_step_needs_the_one_before_it_unless_it_says_otherwise() {
    let steps = json!([
        step("a", &json!({})),
        step("b", &json!({})),
        step("c", &json!({"needs": []})),
        step("d", &json!({"needs": ["c", "a"]})),
        step("e", &json!({})),
    ]);
    assert_eq!(needs(&steps), [vec![], vec![0], vec![], vec![0, 2], vec![3]]);
    let levels = plan::levels(&plan::parse(&plan(steps)).unwrap());
    assert_eq!(levels, [vec![0, 2], vec![1, 3], vec![4]]);
}

#[test]
fn a_step_can_need_one_that_stands_later_in_the_list() {
    let steps = json!([
        step("last", &json!({"needs": ["first"], "with": {"x": "{{ steps.first.output }}"}})),
        step("first", &json!({"needs": []})),
    ]);
    assert_eq!(needs(&steps), [vec![1], vec![]]);
}

#[test]
fn what_is_no_step_cannot_be_needed() {
    let with = |needs: Value| plan(json!([step("a", &json!({})), step("b", &json!({"needs": needs}))]));
    check(&with(json!("a")), &["plan.needs $.steps[1].needs"]);
    check(
        &with(json!(["a", 7, "z", "b"])),
        &["plan.needs $.steps[1].needs[1]", "plan.needs $.steps[1].needs[2]", "plan.needs $.steps[1].needs[3]"],
    );
    check(&with(json!(["a", "a"])), &["plan.needs $.steps[1].needs[1]"]);
    check(&with(json!(["a"])), &[]);
}

#[test]
fn every_cycle_is_named_once_with_its_steps() {
    let steps = json!([
        step("a", &json!({"needs": ["c"]})),
        step("b", &json!({})),
        step("c", &json!({})),
        step("d", &json!({"needs": ["e"]})),
        step("e", &json!({"needs": ["d"]})),
        step("f", &json!({"needs": ["e"]})),
    ]);
    let found = findings(&plan(steps));
    assert_eq!(told(&found), ["plan.cycle $.steps[0].needs", "plan.cycle $.steps[3].needs"]);
    assert_eq!(found[0].message, "`a` needs `c` needs `b` needs `a`");
    assert_eq!(found[1].message, "`d` needs `e` needs `d`");
}

#[test]
fn only_what_must_be_done_first_can_be_named() {
    let value = plan(json!([
        step("a", &json!({})),
        step("b", &json!({"needs": []})),
        step("c", &json!({"needs": ["b"], "with": {"far": "{{ steps.a.output }}", "near": "{{ steps.b.output }}"}})),
        step("d", &json!({"needs": ["c"], "with": {"through": "{{ steps.b.output }}"}})),
        step("e", &json!({"with": {"all": ["{{ steps", "{{ steps.z.output }}", "{{ steps.e.output }}"]}})),
    ]));
    check(
        &value,
        &[
            "plan.reference $.steps[2].with.far",
            "plan.reference $.steps[4].with.all[0]",
            "plan.reference $.steps[4].with.all[1]",
            "plan.reference $.steps[4].with.all[2]",
        ],
    );
}

#[test]
fn what_can_never_become_a_list_is_refused() {
    let with = |foreach: Value| plan(json!([step("a", &json!({"foreach": foreach}))]));
    let many: Vec<u32> = (0..1_001).collect();
    for (foreach, path) in [
        (json!(7), "foreach"),
        (json!("text"), "foreach"),
        (json!("x {{ goal }}"), "foreach"),
        (json!({}), "foreach"),
        (json!(many), "foreach"),
        (json!({"items": {}}), "foreach.items"),
        (json!({"items": null}), "foreach.items"),
    ] {
        check(&with(foreach), &[&format!("plan.foreach $.steps[0].{path}")]);
    }
    check(&with(json!({"items": [], "concurrency": 0})), &["plan.value $.steps[0].foreach.concurrency"]);
    check(&with(json!({"items": [], "speed": 1})), &["plan.unknown_field $.steps[0].foreach.speed"]);
    for fine in [json!([]), json!(many[..1_000]), json!("{{ goal }}"), json!({"items": [1], "concurrency": 64})] {
        check(&with(fine), &[]);
    }
    let later = plan(json!([step("a", &json!({"foreach": {"items": ["{{ steps.z.output }}"]}}))]));
    check(&later, &["plan.reference $.steps[0].foreach.items[0]"]);
}

#[test]
fn output_keys_are_names_and_given_once() {
    let keyed = |key: Value| step("a", &json!({"output_key": key}));
    for bad in [json!(7), json!(""), json!("a-b"), json!("1a"), json!("x".repeat(65))] {
        check(&plan(json!([keyed(bad)])), &["plan.output_key $.steps[0].output_key"]);
    }
    let twice = json!([keyed(json!("k")), step("b", &json!({"output_key": "k"}))]);
    check(&plan(twice), &["plan.output_key $.steps[1].output_key"]);
}

#[test]
fn limits_of_the_whole_run_are_read() {
    let mut value = plan(json!([step("a", &json!({}))]));
    let parsed = plan::parse(&value).unwrap();
    assert_eq!((parsed.timeout_ms, parsed.max_parallel), (None, 8));
    value["timeout_ms"] = json!(2_592_000_000_u64);
    value["max_parallel"] = json!(64);
    let parsed = plan::parse(&value).unwrap();
    assert_eq!((parsed.timeout_ms, parsed.max_parallel), (Some(2_592_000_000), 64));
    value["timeout_ms"] = json!(2_592_000_001_u64);
    value["max_parallel"] = json!(0);
    check(&value, &["plan.value $.timeout_ms", "plan.value $.max_parallel"]);
}

#[test]
fn inputs_are_declared_with_a_type_and_a_default_of_that_type() {
    let with = |inputs: Value| {
        let mut value = plan(json!([step("a", &json!({}))]));
        value["inputs"] = inputs;
        value
    };
    for (inputs, expected) in [
        (json!([]), "plan.inputs $.inputs"),
        (json!({"a-b": {"type": "text"}}), "plan.inputs $.inputs.a-b"),
        (json!({"a": "text"}), "plan.inputs $.inputs.a"),
        (json!({"a": {}}), "plan.inputs $.inputs.a.type"),
        (json!({"a": {"type": "float"}}), "plan.inputs $.inputs.a.type"),
        (json!({"a": {"type": "text", "must": true}}), "plan.unknown_field $.inputs.a.must"),
        (json!({"a": {"type": "text", "description": 7}}), "plan.type $.inputs.a.description"),
        (json!({"a": {"type": "text", "default": 7}}), "plan.inputs $.inputs.a.default"),
        (json!({"a": {"type": "integer", "default": "7"}}), "plan.inputs $.inputs.a.default"),
        (json!({"a": {"type": "text", "default": "secret://TOKEN"}}), "plan.inputs $.inputs.a.default"),
        (json!({"password": {"type": "text", "default": "hunter2hunter2"}}), "plan.inputs $.inputs.password.default"),
    ] {
        check(&with(inputs), &[expected]);
    }
    let all = json!({
        "t": {"type": "text", "default": ""}, "i": {"type": "integer", "default": -7}, "b": {"type": "boolean", "default": false},
        "l": {"type": "list", "default": []}, "o": {"type": "object", "default": {}}, "x": {"type": "any", "default": null},
        "must": {"type": "any"},
    });
    let parsed = plan::parse(&with(all)).unwrap();
    assert_eq!((parsed.inputs["i"].kind, &parsed.inputs["i"].default), (InputKind::Integer, &Some(json!(-7))));
    assert_eq!((&parsed.inputs["x"].default, &parsed.inputs["must"].default), (&Some(Value::Null), &None));
}

#[test]
fn a_template_that_names_what_may_not_be_there_is_warned_of_and_accepted() {
    let value = plan(json!([
        step("a", &json!({"on_error": "continue"})),
        step("b", &json!({"with": {"x": ["{{ steps.a.output }}"]}})),
        step("c", &json!({"with": {"x": "{{ steps.b.output }}"}})),
    ]));
    let (parsed, found) = plan::check(&value);
    assert!(parsed.is_some());
    assert_eq!(told(&found), ["plan.maybe_absent $.steps[1].with.x[0]"]);
    assert!(found.iter().all(|finding| finding.severity == Severity::Warning && !finding.hint.is_empty()));
    assert!(plan::parse(&value).is_ok());
}

#[test]
fn an_input_that_nobody_uses_is_warned_of_and_an_output_key_names_a_result() {
    let mut value = plan(json!([step("a", &json!({"output_key": "k"}))]));
    value["inputs"] = json!({"city": {"type": "text"}});
    assert_eq!(told(&plan::check(&value).1), ["plan.unused $.inputs.city"]);
}

#[test]
fn a_skill_that_is_not_there_is_warned_of_wherever_it_is_called() {
    let steps =
        json!([step("a", &json!({})), step("b", &json!({"on_error": "fallback", "fallback": {"skill": "leap"}}))]);
    let found = plan::check_skills(&plan::parse(&plan(steps)).unwrap(), &Skills::default());
    let expected = ["$.steps[0].skill", "$.steps[1].skill", "$.steps[1].fallback.skill"];
    assert_eq!(told(&found), expected.map(|path| format!("plan.unknown_skill {path}")));
    assert!(found.iter().all(|finding| finding.severity == Severity::Warning));
}

#[test]
fn the_worst_case_counts_every_element_fallback_and_attempt() {
    let retry = |attempts: u32| json!({"max_attempts": attempts});
    let estimate = |steps: Value| plan::estimate(&plan::parse(&plan(steps)).unwrap(), &Skills::default());
    let one = estimate(json!([step("a", &json!({"retry": retry(1)}))]));
    // created, planned, claimed, intended, returned, settled, sealed
    assert_eq!((one.steps, one.calls, one.attempts, one.events), (1, 1, 1, 7));
    let all = estimate(json!([
        step("a", &json!({"retry": retry(2), "on_error": "fallback", "fallback": {"skill": "leap"}})),
        step("b", &json!({"retry": retry(1), "foreach": [1, 2, 3]})),
        step("c", &json!({"retry": retry(1), "foreach": "{{ goal }}"})),
    ]));
    assert_eq!((all.calls, all.attempts), (2 + 3 + 1_000, 4 + 3 + 1_000));
    assert_eq!(all.events, 4 + 2 * (4 + 1 + 1) + (2 + 3 * 3) + (2 + 3 * 1_000));
    assert_eq!(all.unknown_cost.into_iter().collect::<Vec<_>>(), ["leap", "look"]);
}
