//! Plans that need expressions, and the names that only they and templates know.

use runproof_engine::plan::{self, legacy};
use serde_json::{Value, json};

use crate::plans::{check, plan, told};

fn three(more: Value) -> Value {
    let mut last = json!({"id": "c", "skill": "look"});
    for (name, value) in more.as_object().unwrap() {
        last[name] = value.clone();
    }
    let mut value = plan(json!([
        {"id": "a", "skill": "look", "output_key": "first"},
        {"id": "b", "skill": "look", "needs": [], "output_key": "second"},
        last,
    ]));
    value["steps"][2]["needs"] = json!(["a"]);
    value["inputs"] = json!({"city": {"type": "text"}});
    value
}

#[test]
fn a_condition_is_read_and_its_names_are_judged() {
    check(&three(json!({"when": "steps.a.status == 'success' && inputs.city != '' && outputs.first.n > 1"})), &[]);
    check(&three(json!({"when": "steps.a.status =="})), &["plan.expression $.steps[2].when"]);
    check(&three(json!({"when": "{{ goal }}"})), &["plan.expression $.steps[2].when"]);
    check(&three(json!({"when": true})), &["plan.type $.steps[2].when"]);
    for wrong in [
        "steps.b.status == 'success'",
        "steps.c.status == 'success'",
        "steps.z.output == 1",
        "outputs.second == 1",
        "outputs.third == 1",
        "inputs.town == 'Ulm'",
        "item == 1",
    ] {
        check(&three(json!({"when": wrong})), &["plan.reference $.steps[2].when"]);
    }
}

#[test]
fn templates_name_inputs_outputs_statuses_and_items() {
    let with = json!({"x": "{{ inputs.city }}", "y": "{{ outputs.first.n }} {{ steps.a.status }}", "z": "{{ outputs.first.n + 1 }}"});
    check(&three(json!({ "with": with })), &[]);
    let wrong = json!({"a": "{{ inputs.town }}", "b": "{{ outputs.second }}", "c": "{{ item }}", "d": "{{ item_index }}", "e": "{{ outputs.none + 1 }}"});
    let paths = ["a", "b", "c", "d", "e"].map(|name| format!("plan.reference $.steps[2].with.{name}"));
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    check(&three(json!({ "with": wrong })), &paths);
}

#[test]
fn an_item_is_there_in_the_parameters_of_a_foreach_and_nowhere_else() {
    let fallback = json!({"skill": "look", "with": {"at": "{{ item_index }}"}});
    let fine = json!({"foreach": "{{ outputs.first }}", "with": {"x": "{{ item.id }}"}, "on_error": "fallback", "fallback": fallback});
    check(&three(fine), &[]);
    let wrong = json!({"foreach": {"items": "{{ item }}"}, "when": "item_index == 0"});
    check(&three(wrong), &["plan.reference $.steps[2].when", "plan.reference $.steps[2].foreach.items"]);
}

#[test]
fn a_reader_that_looks_at_the_step_is_not_warned_of() {
    let steps = |when: Value| {
        plan(json!([
            {"id": "a", "skill": "look"},
            {"id": "b-1", "skill": "look", "when": "steps.a.output.go == true", "output_key": "k"},
            {"id": "c", "skill": "look", "when": when, "with": {"x": "{{ outputs.k }}", "y": "{{ steps.b-1.output.z }}"}},
        ]))
    };
    for looks in ["steps['b-1'].status == 'success'", "steps['b-1'].output.z == 1", "outputs.k.z == 1"] {
        assert_eq!(told(&plan::check(&steps(json!(looks))).1), [""; 0], "{looks}");
    }
    let (_, found) = plan::check(&steps(json!("steps.a.status == 'success'")));
    assert_eq!(told(&found), ["plan.maybe_absent $.steps[2].with.x", "plan.maybe_absent $.steps[2].with.y"]);
    assert_eq!(found[0].hint, "add \"when\": \"steps['b-1'].status == 'success'\"");
}

#[test]
fn what_is_used_in_an_expression_counts_as_used() {
    assert_eq!(told(&plan::check(&three(json!({}))).1), ["plan.unused $.inputs.city"]);
    assert_eq!(told(&plan::check(&three(json!({"when": "inputs.city != ''"}))).1), [""; 0]);
}

#[test]
fn every_condition_of_the_first_system_becomes_an_expression_that_can_be_read() {
    for (operator, value) in [
        ("eq", json!("x\"y\\\n")),
        ("ne", json!(null)),
        ("eq", json!(true)),
        ("gt", json!(-3)),
        ("lt", json!("m")),
        ("exists", json!(null)),
        ("not_exists", json!(null)),
        ("contains", json!(7)),
        ("contains", json!("t")),
    ] {
        for field in ["f", "x.in.a-b.9"] {
            let condition = json!({"step_id": "a-1", "field": field, "operator": operator, "value": value});
            let old = json!({"steps": [
                {"step_id": "a-1", "skill": "look", "output_key": "k"},
                {"step_id": "b", "skill": "look", "condition": condition, "params": {"x": "{{k.y}}"}},
            ]});
            let new = legacy::convert(&old).unwrap();
            assert_eq!(plan::parse(&new).err(), None, "{new}");
        }
    }
}

#[test]
fn a_template_that_is_no_expression_is_told_of_as_an_expression_and_a_path_as_a_reference() {
    let value =
        plan(json!([{"id": "a", "skill": "look", "with": {"x": "{{ size(goal }}", "y": "{{ steps.a.outptu }}"}}]));
    let found = plan::parse(&value).unwrap_err();
    assert_eq!(told(&found), ["plan.reference $.steps[0].with.x", "plan.reference $.steps[0].with.y"]);
    assert!(found[0].message.contains("` is not an expression: syntax error at 1:"), "{}", found[0].message);
    assert_eq!(found[0].hint, "expressions look like {{ size(steps.fetch.output.items) + 1 }}");
    assert!(found[1].message.contains("` is not a reference: "), "{}", found[1].message);
    assert_eq!(found[1].hint, "references look like {{ steps.fetch.output.id }}");
}

#[test]
fn a_condition_in_braces_is_one_finding_with_one_hint() {
    let found = plan::parse(&three(json!({"when": "{{ inputs.city == 'Bonn' }}"}))).unwrap_err();
    assert_eq!(told(&found), ["plan.expression $.steps[2].when"]);
    assert_eq!(found[0].message, "it stands between `{{` and `}}`, which only templates have");
    assert_eq!(found[0].hint, "write it without {{ and }}");
}

#[test]
fn an_input_that_can_only_be_a_list_or_an_object_cannot_stand_inside_a_longer_text() {
    let checked = |text: &str| {
        let mut value = plan(json!([{"id": "a", "skill": "look", "with": {"x": text}}]));
        value["inputs"] = json!({
            "list": {"type": "list"}, "object": {"type": "object"}, "any": {"type": "any"}, "n": {"type": "integer"},
        });
        plan::parse(&value).map(drop).map_err(|found| (told(&found), found[0].message.clone()))
    };
    for (text, name, kind) in [
        ("found {{ inputs.list }}", "inputs.list", "list"),
        ("{{ inputs.n }}{{ inputs.object }}", "inputs.object", "object"),
        ("all: {{ inputs }}", "inputs", "object"),
    ] {
        let message = format!("`{name}` is of type {kind} and cannot stand inside a longer text");
        let expected = vec!["plan.reference $.steps[0].with.x".to_owned()];
        assert_eq!(checked(text), Err((expected, message)), "{text}");
    }
    for fits in [
        "{{ inputs.list }}",
        "{{ inputs.object }}",
        "found {{ inputs.any }}",
        "found {{ inputs.n }}",
        "found {{ inputs.list[0] }}",
        "found {{ size(inputs.list) }}",
    ] {
        assert_eq!(checked(fits), Ok(()), "{fits}");
    }
}
