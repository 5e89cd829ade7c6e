//! Claims about `json_transform`.

use serde_json::{Value, json};

use crate::calls::{dispatch, failure, line, output, skill};
use crate::contract::{accepted, contract, refused, refused_beyond_schema};

async fn transform(params: Value) -> runproof_engine::skill::Attempt {
    skill("json_transform", "").invoke(&dispatch("json_transform", params)).await
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(json!([]), |value, _| json!([value]))
}

#[tokio::test]
async fn json_transform_holds_the_contract() {
    let cases = [
        accepted(json!({"payload": {"a": 1}, "mapping": {"x": "a"}})),
        accepted(json!({"payload": {"a": 1}, "mapping": {"x": "b"}})),
        accepted(json!({"payload": null, "mapping": {"x": "b"}, "defaults": {"x": null}})),
        accepted(json!({"payload": "{{steps.a}}", "mapping": {"x": "{{steps.b.path}}"}, "defaults": "{{steps.c}}"})),
        refused(json!(null)),
        refused(json!([])),
        refused(json!({})),
        accepted(json!({"payload": [1, null]})),
        accepted(json!({"payload": "{{steps.a}}", "defaults": "{{steps.c}}", "mapping": "{{steps.b}}"})),
        refused(json!({"payload": 1, "mapping": null})),
        refused(json!({"payload": 1, "defaults": {"x": 1}})),
        refused(json!({"mapping": {"x": "a"}})),
        refused(json!({"payload": 1, "mapping": {}})),
        refused(json!({"payload": 1, "mapping": {"x": 1}})),
        refused(json!({"payload": 1, "mapping": {"x": ""}})),
        refused(json!({"payload": 1, "mapping": {"x": "a"}, "defaults": []})),
        refused_beyond_schema(json!({"payload": 1, "mapping": {"x": "a..b"}})),
        refused_beyond_schema(json!({"payload": 1, "mapping": {"x": "a"}, "defaults": {"y": 1}})),
        refused_beyond_schema(json!({"payload": nested(32), "mapping": {"x": "[0]"}})),
        refused_beyond_schema(json!({"payload": "x".repeat(1024 * 1024), "mapping": {"x": "a"}})),
    ];
    contract(&skill("json_transform", ""), &cases).await;
}

#[tokio::test]
async fn values_are_picked_with_their_types() {
    let payload = json!({"order": {"lines": [{"sku": "A", "n": 2}, {"sku": "B", "n": 5}], "paid": true}});
    let mapping = json!({"last": "order.lines[-1].sku", "count": "order.lines[0].n", "paid": "order.paid"});
    let attempt = transform(json!({"payload": payload, "mapping": mapping})).await;
    assert_eq!(output(&attempt), &json!({"last": "B", "count": 2, "paid": true}));
}

#[tokio::test]
async fn without_a_mapping_the_payload_is_given_as_it_is() {
    for payload in [json!({"a": [1, {"b": null}]}), json!([]), json!("text"), json!(7), json!(null)] {
        assert_eq!(output(&transform(json!({"payload": payload})).await), &payload);
    }
}

#[tokio::test]
async fn all_missing_paths_are_named_at_once() {
    let mapping = json!({"a": "x.y", "b": "z[0]", "c": "here"});
    let attempt = transform(json!({"payload": {"here": 1}, "mapping": mapping})).await;
    assert_eq!(line(&attempt), "failed: json.path_not_found Validation final");
    let expected = "path `x.y` not found for key `a`; path `z[0]` not found for key `b`";
    assert_eq!(failure(&attempt).message, expected);
}

#[tokio::test]
async fn a_default_stands_in_for_a_missing_path_only() {
    let params = json!({"payload": {"null": null}, "mapping": {"a": "x", "b": "null"}, "defaults": {"a": 1, "b": 2}});
    assert_eq!(output(&transform(params).await), &json!({"a": 1, "b": null}));
}

#[tokio::test]
async fn a_bad_path_is_not_a_missing_one() {
    let attempt = transform(json!({"payload": {}, "mapping": {"x": "a[b]"}})).await;
    assert_eq!(line(&attempt), "not done: json.path_invalid Validation final");
    assert_eq!(failure(&attempt).message, "`mapping.x`: path has brackets without one integer: `a[b]`");
}

#[tokio::test]
async fn an_output_that_repeats_a_large_value_is_refused() {
    let mapping: Value = (0..20).map(|n| (format!("k{n}"), json!("big"))).collect();
    let attempt = transform(json!({"payload": {"big": "x".repeat(100_000)}, "mapping": mapping})).await;
    assert_eq!(line(&attempt), "failed: json.output_too_large Validation final");
}

#[tokio::test]
async fn braces_in_a_resolved_value_are_plain_text() {
    let params = json!({"payload": {"t": "Dear {{name}}"}, "mapping": {"x": "t"}});
    assert_eq!(output(&transform(params).await), &json!({"x": "Dear {{name}}"}));
}
