//! The published JSON Schema says what the reader says, as far as a schema can.

use jsonschema::Validator;
use runproof_engine::plan;
use serde_json::{Value, json};

fn schema() -> Validator {
    let schema: Value = serde_json::from_str(plan::JSON_SCHEMA).unwrap();
    assert_eq!(schema["$id"], "https://runproof.dev/plan/v1");
    assert!(jsonschema::draft202012::meta::is_valid(&schema), "a schema of draft 2020-12");
    jsonschema::draft202012::new(&schema).unwrap()
}

fn with(field: &str, value: Value) -> Value {
    let mut plan = json!({"schema": "runproof.plan/v1", "steps": [{"id": "a", "skill": "look"}]});
    plan[field] = value;
    plan
}

fn step(field: &str, value: Value) -> Value {
    let mut step = json!({"id": "a", "skill": "look"});
    step[field] = value;
    with("steps", json!([{"id": "z", "skill": "look"}, step]))
}

#[test]
fn what_the_reader_accepts_the_schema_accepts() {
    let schema = schema();
    let many: Vec<u32> = (0..1_000).collect();
    for plan in [
        with("name", json!("n")),
        with("description", json!("")),
        with("timeout_ms", json!(1)),
        with("max_parallel", json!(64)),
        with("inputs", json!({})),
        with(
            "inputs",
            json!({"t": {"type": "text", "default": "x", "description": "d"}, "i": {"type": "integer", "default": 1}}),
        ),
        with(
            "inputs",
            json!({"x": {"type": "any", "default": [1]}, "l": {"type": "list", "default": []}, "_1": {"type": "object"}}),
        ),
        step("with", json!({"any": [{"thing": null}]})),
        step("needs", json!([])),
        step("needs", json!(["z"])),
        step("foreach", json!(many)),
        step("foreach", json!("{{ steps.z.output }}")),
        step("foreach", json!({"items": "{{ steps.z.output\n }}", "concurrency": 1})),
        step("retry", json!({})),
        step("retry", json!({"max_attempts": 20, "initial_delay_ms": 0, "max_delay_ms": 0})),
        step("timeout_ms", json!(86_400_000)),
        step("on_error", json!("continue")),
        step("on_unknown", json!("assume_done")),
        step("output_key", json!("_k1")),
        step("description", json!("d")),
        with(
            "steps",
            json!([{"id": "a:b.c-d_E", "skill": "s", "on_error": "fallback", "fallback": {"skill": "s", "with": {}}}]),
        ),
    ] {
        assert_eq!(plan::parse(&plan).err(), None, "{plan}");
        let told: Vec<String> = schema.iter_errors(&plan).map(|error| error.to_string()).collect();
        assert!(told.is_empty(), "{plan}: {told:?}");
    }
}

#[test]
fn what_is_wrong_is_refused_by_both() {
    let schema = schema();
    let many: Vec<u32> = (0..1_001).collect();
    let long = "x".repeat(65);
    let steps: Vec<Value> = (0..257).map(|n| json!({"id": format!("s{n}"), "skill": "x"})).collect();
    let fallback = json!([{"id": "a", "skill": "s", "on_error": "fallback", "fallback": {"with": {}}}]);
    for plan in [
        json!([]),
        json!({"steps": [{"id": "a", "skill": "look"}]}),
        json!({"schema": "runproof.plan/v1"}),
        with("schema", json!("runproof.plan/v2")),
        with("colour", json!("red")),
        with("budget", json!({})),
        with("name", json!(7)),
        with("timeout_ms", json!(0)),
        with("timeout_ms", json!(2_592_000_001_u64)),
        with("max_parallel", json!(65)),
        with("inputs", json!([])),
        with("inputs", json!({"a-b": {"type": "text"}})),
        with("inputs", json!({"a": {}})),
        with("inputs", json!({"a": {"type": "float"}})),
        with("inputs", json!({"a": {"type": "text", "must": true}})),
        with("inputs", json!({"a": {"type": "text", "default": 1}})),
        with("inputs", json!({"a": {"type": "integer", "default": "1"}})),
        with("inputs", json!({"a": {"type": "boolean", "default": 0}})),
        with("inputs", json!({"a": {"type": "list", "default": {}}})),
        with("inputs", json!({"a": {"type": "object", "default": []}})),
        with("steps", json!([])),
        with("steps", json!({})),
        with("steps", json!(steps)),
        with("steps", json!([7])),
        with("steps", json!([{"id": "a"}])),
        with("steps", json!([{"skill": "a"}])),
        with("steps", fallback),
        step("id", json!("a b")),
        step("id", json!(long)),
        step("skill", json!("")),
        step("skill", json!(long)),
        step("with", json!([])),
        step("needs", json!("z")),
        step("needs", json!([1])),
        step("needs", json!(["z", "z"])),
        step("when", json!(true)),
        step("when", json!("")),
        step("foreach", json!(many)),
        step("foreach", json!(7)),
        step("foreach", json!("plain")),
        step("foreach", json!({})),
        step("foreach", json!({"items": [], "concurrency": 0})),
        step("foreach", json!({"items": [], "speed": 1})),
        step("retry", json!(3)),
        step("retry", json!({"max_attempts": 0})),
        step("retry", json!({"max_attempts": 21})),
        step("retry", json!({"initial_delay_ms": -1})),
        step("retry", json!({"jitter": true})),
        step("timeout_ms", json!(86_400_001)),
        step("timeout_ms", json!("1s")),
        step("on_error", json!("panic")),
        step("on_error", json!("fallback")),
        step("fallback", json!({"skill": "s"})),
        step("on_unknown", json!("guess")),
        step("output_key", json!("1a")),
        step("description", json!(7)),
        step("approval", json!({})),
    ] {
        assert!(plan::parse(&plan).is_err(), "the reader accepts {plan}");
        assert!(!schema.is_valid(&plan), "the schema accepts {plan}");
    }
}
