//! Inputs at admission: what a run gets, and what is refused.

use std::collections::BTreeMap;

use runproof_engine::admission::{StreamHead, admit, open};
use runproof_engine::plan::{self, inputs};
use runproof_proof::event::{Body, Event};
use serde_json::{Value, json};

use crate::plans::{plan, refused, request};

fn declaring(declared: Value) -> Value {
    let mut value = plan(json!([{"id": "a", "skill": "look"}]));
    value["inputs"] = declared;
    value
}

fn check(declared: &Value, given: Value, expected: &[&str]) {
    let found = refused(|asked| {
        asked.plan = Some(declaring(declared.clone()));
        asked.inputs = Some(given.clone());
    });
    assert_eq!(found, expected, "{given}");
}

#[test]
fn what_is_not_given_takes_its_default() {
    let declared = json!({"city": {"type": "text", "default": "Bonn"}, "days": {"type": "integer"}});
    let bound = |given: Option<Value>| {
        let mut asked = request();
        asked.plan = Some(declaring(declared.clone()));
        asked.inputs = given;
        admit(asked).map(|admitted| admitted.inputs.unwrap())
    };
    assert_eq!(bound(Some(json!({"days": 3}))).unwrap(), json!({"city": "Bonn", "days": 3}));
    assert_eq!(bound(Some(json!({"days": 3, "city": "Ulm"}))).unwrap(), json!({"city": "Ulm", "days": 3}));
    assert!(bound(None).is_err());
    let mut asked = request();
    asked.plan = Some(plan(json!([{"id": "a", "skill": "look"}])));
    assert_eq!(admit(asked).unwrap().inputs, None, "a plan without inputs records none");
}

#[test]
fn everything_that_is_wrong_with_inputs_comes_at_once() {
    let declared =
        json!({"city": {"type": "text"}, "days": {"type": "integer"}, "on": {"type": "boolean"}, "x": {"type": "any"}});
    check(
        &declared,
        json!({"days": "3", "colour": "red", "x": null}),
        &[
            "inputs.unknown inputs.colour",
            "inputs.missing inputs.city",
            "inputs.type inputs.days",
            "inputs.missing inputs.on",
        ],
    );
    check(&declared, json!([1]), &["inputs.type inputs"]);
    let secrets = json!({"city": "see secret://TOKEN", "days": 3, "on": true, "x": {"password": "hunter2hunter2"}});
    check(&declared, secrets, &["inputs.value inputs.city", "inputs.value inputs.x"]);
    let numbers = json!({"city": "a\u{0}", "days": 9_007_199_254_740_993_u64, "on": true, "x": 0.5});
    check(&declared, numbers, &["inputs.value inputs.city", "inputs.value inputs.days", "inputs.value inputs.x"]);
    let large = json!({"city": "x".repeat(1_100_000), "days": 3, "on": true, "x": 1});
    check(&declared, large, &["inputs.value inputs"]);
}

#[test]
fn inputs_of_a_run_without_a_plan_are_refused() {
    assert_eq!(refused(|asked| asked.inputs = Some(json!({"city": "Ulm"}))), ["inputs.unknown inputs.city"]);
    assert!(refused(|asked| asked.inputs = Some(json!({}))).is_empty());
}

#[test]
fn the_digest_of_a_request_covers_its_inputs_and_not_how_they_came_to_be() {
    let declared = json!({"city": {"type": "text", "default": "Bonn"}});
    let digest = |given: Option<Value>| {
        let mut asked = request();
        asked.plan = Some(declaring(declared.clone()));
        asked.inputs = given;
        admit(asked).unwrap().digest
    };
    assert_eq!(digest(None), digest(Some(json!({"city": "Bonn"}))));
    assert_ne!(digest(None), digest(Some(json!({"city": "Ulm"}))));
}

#[test]
fn inputs_are_recorded_as_one_value_beside_the_plan() {
    let mut asked = request();
    asked.plan = Some(declaring(json!({"city": {"type": "text", "default": "Bonn"}})));
    let opening = open(&admit(asked).unwrap(), "log", &StreamHead::default(), 1, 5, [7; 32]).unwrap();
    let planned = opening.lines.last().unwrap();
    let Body::RunPlanned(body) = Event::decode(&planned.bytes).unwrap().body else { panic!("not planned") };
    assert!(body.inputs.is_some());
    let payload: Value = serde_json::from_slice(planned.payload.as_deref().unwrap()).unwrap();
    assert_eq!(payload["values"]["inputs"], json!({"city": "Bonn"}));
}

#[test]
fn a_text_on_the_command_line_is_read_by_the_declared_type() {
    let declared = json!({
        "t": {"type": "text"}, "i": {"type": "integer"}, "b": {"type": "boolean"}, "l": {"type": "list"}, "x": {"type": "any"},
    });
    let declared: BTreeMap<_, _> = plan::parse(&declaring(declared)).unwrap().inputs;
    for (name, text, expected) in [
        ("t", "7", json!("7")),
        ("i", "7", json!(7)),
        ("i", "seven", json!("seven")),
        ("b", "true", json!(true)),
        ("l", "[1, \"a\"]", json!([1, "a"])),
        ("x", "{\"a\": null}", json!({"a": null})),
        ("x", "plain", json!("plain")),
        ("nobody", "7", json!("7")),
    ] {
        assert_eq!(inputs::from_text(&declared, name, text), expected, "{name}={text}");
    }
}

#[test]
fn requests_that_differ_only_deep_inside_have_different_digests() {
    let digest = |innermost: &str| {
        let deep = |levels: usize| (0..levels).fold(json!(innermost), |inner, _| json!([inner]));
        let mut asked = request();
        asked.plan = Some(plan(json!([{"id": "a", "skill": "look", "with": {"x": deep(60)}}])));
        let by_plan = admit(asked).unwrap().digest;
        let mut asked = request();
        asked.plan = Some(declaring(json!({"x": {"type": "any"}})));
        asked.inputs = Some(json!({"x": deep(63)}));
        [by_plan, admit(asked).unwrap().digest]
    };
    let (one, other) = (digest("one"), digest("other"));
    assert_ne!(one[0], other[0], "another plan");
    assert_ne!(one[1], other[1], "other inputs");
}

#[test]
fn an_input_of_another_type_is_told_how_it_is_given() {
    for (kind, given, message, hint) in [
        (
            "list",
            json!("a"),
            "it has to be of type list, and this is a string",
            "JSON, such as --input 'x=[1, 2]', or --input x=@FILE",
        ),
        (
            "object",
            json!([1]),
            "it has to be of type object, and this is a list",
            "JSON, such as --input 'x={\"a\": 1}', or --input x=@FILE",
        ),
        (
            "integer",
            json!("a"),
            "it has to be of type integer, and this is a string",
            "a whole number, such as --input x=3",
        ),
        (
            "boolean",
            json!(1),
            "it has to be of type boolean, and this is a number",
            "--input x=true or --input x=false",
        ),
        (
            "text",
            json!(1),
            "it has to be of type text, and this is a number",
            "--input x=TEXT; in a file, a string in quotes",
        ),
    ] {
        let declared = plan::parse(&declaring(json!({"x": {"type": kind}}))).unwrap().inputs;
        let found = inputs::bind(&declared, Some(&json!({"x": given}))).unwrap_err();
        assert_eq!((found[0].message.as_str(), found[0].hint.as_str()), (message, hint));
        let found = inputs::bind(&declared, None).unwrap_err();
        assert_eq!((found[0].code, found[0].hint.as_str()), ("inputs.missing", hint));
    }
}
