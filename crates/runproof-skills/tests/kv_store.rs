//! Claims about `kv_store`: what it takes, and what it answers and would write, given what is stored. What becomes of the
//! writes is tested where stores are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use runproof_engine::ports::{KeyValues, StoreError, Stored};
use runproof_engine::skill::{Attempt, AttemptResult, EffectClass, Guard, Skill, Write};
use runproof_skills::registry::{Options, Ports};
use serde_json::{Value, json};

use crate::calls::{StillClock, dispatch, failure, line, output, registered, skill};
use crate::contract::{accepted, contract, refused, refused_beyond_schema};

const SECOND: u64 = 1_000_000;
const NOW: u64 = 1_800_000_000 * SECOND;

/// What is stored, by tenant and key, and who asked for what.
#[derive(Default)]
struct Shelf {
    values: BTreeMap<(String, String), Stored>,
    asked: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl KeyValues for Shelf {
    async fn read(&self, tenant: &str, key: &str) -> Result<Option<Stored>, StoreError> {
        let key = (tenant.to_owned(), key.to_owned());
        self.asked.lock().expect("nobody panicked").push(key.clone());
        Ok(self.values.get(&key).cloned())
    }
}

/// A shelf with a number, a text that expires in 90.5 seconds, a text that has just expired, and broken bytes.
fn shelf() -> Shelf {
    let stored = |value: &str, version, expires_at| Stored { value: value.into(), version, expires_at };
    let rows = [
        ("number", stored("41", 11, None)),
        ("counted", stored("7", 12, Some(NOW + SECOND))),
        ("text", stored(r#"{"a":["b"]}"#, 13, Some(NOW + 90 * SECOND + SECOND / 2))),
        ("old", stored("\"old\"", 14, Some(NOW))),
        ("broken", stored("{", 15, None)),
        ("most", stored("9007199254740991", 16, None)),
        ("least", stored("-9007199254740991", 17, None)),
    ];
    let values = rows.map(|(key, stored)| (("t1".to_owned(), format!("default:{key}")), stored));
    Shelf { values: values.into(), asked: Mutex::default() }
}

fn kv_store(values: Arc<dyn KeyValues>) -> Arc<dyn Skill> {
    let clock = StillClock::default();
    clock.set(NOW);
    registered("kv_store", &Options::default(), &Ports { key_values: values, clock: Arc::new(clock) })
}

async fn call(params: Value) -> Attempt {
    kv_store(Arc::new(shelf())).invoke(&dispatch("kv_store", params)).await
}

async fn check(params: Value, expected: Value, writes: &[Write]) {
    let attempt = call(params.clone()).await;
    assert_eq!(output(&attempt), &expected, "{params}");
    let swept = (!writes.is_empty()).then_some(Write::DeleteExpired { until: NOW });
    let writes: Vec<Write> = writes.iter().cloned().chain(swept).collect();
    assert_eq!(attempt.writes, writes, "{params}");
}

async fn check_failure(params: Value, expected: &str) {
    let attempt = call(params.clone()).await;
    assert_eq!((line(&attempt).as_str(), attempt.writes.as_slice()), (expected, &[][..]), "{params}");
}

fn put(key: &str, value: &str, expires_at: Option<u64>, guard: Guard) -> Write {
    Write::Put { key: format!("default:{key}"), value: value.into(), expires_at, guard }
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(json!([]), |value, _| json!([value]))
}

#[tokio::test]
async fn kv_store_holds_the_contract() {
    let long = "k".repeat(512);
    let cases = [
        accepted(json!({"operation": "get", "key": "text"})),
        accepted(json!({"operation": "get", "key": "none", "default": {"n": [1]}})),
        accepted(json!({"operation": "get", "key": "broken"})),
        accepted(json!({"operation": "set", "key": "k", "value": null})),
        accepted(
            json!({"operation": "set", "key": "k:with <any> \u{1F511}\n", "value": {"a": [1, "b"]}, "ttl_seconds": 31_536_000}),
        ),
        accepted(json!({"operation": "set", "key": long, "value": "x".repeat(64 * 1024 - 2), "namespace": "a.b_c-9"})),
        accepted(json!({"operation": "delete", "key": "number"})),
        accepted(json!({"operation": "exists", "key": "number"})),
        accepted(json!({"operation": "ttl", "key": "text"})),
        accepted(json!({"operation": "ttl", "key": "number"})),
        accepted(json!({"operation": "incr", "key": "number", "amount": 9_007_199_254_740_991_i64})),
        accepted(json!({"operation": "incr", "key": "text"})),
        accepted(json!({"operation": "decr", "key": "none"})),
        accepted(json!({"operation": "expire", "key": "text", "ttl_seconds": 1})),
        accepted(
            json!({"operation": "{{ steps.a.output }}", "key": "{{ steps.b.output }}", "amount": "{{ steps.c.output }}"}),
        ),
        accepted(json!({"operation": "set", "key": "k", "namespace": "n", "value": ["{{ steps.a.output }}"]})),
        refused(json!(null)),
        refused(json!({})),
        refused(json!({"operation": "get"})),
        refused(json!({"key": "k"})),
        refused(json!({"operation": "append", "key": "k"})),
        refused(json!({"operation": "GET", "key": "k"})),
        refused(json!({"operation": "get", "key": ""})),
        refused(json!({"operation": "get", "key": 1})),
        refused(json!({"operation": "get", "key": "a\u{0}b"})),
        refused(json!({"operation": "get", "key": "k".repeat(513)})),
        refused(json!({"operation": "get", "key": "k", "namespace": ""})),
        refused(json!({"operation": "get", "key": "k", "namespace": "a:b"})),
        refused(json!({"operation": "get", "key": "k", "namespace": "n".repeat(65)})),
        refused(json!({"operation": "get", "key": "k", "value": 1})),
        refused(json!({"operation": "get", "key": "k", "ttl_seconds": 1})),
        refused(json!({"operation": "set", "key": "k"})),
        refused(json!({"operation": "set", "key": "k", "value": 1, "default": 1})),
        refused(json!({"operation": "set", "key": "k", "value": 1, "ttl_seconds": 0})),
        refused(json!({"operation": "set", "key": "k", "value": 1, "ttl_seconds": 31_536_001})),
        refused(json!({"operation": "set", "key": "k", "value": 1, "ttl_seconds": "1"})),
        refused(json!({"operation": "expire", "key": "k"})),
        refused(json!({"operation": "incr", "key": "k", "amount": 0})),
        refused(json!({"operation": "incr", "key": "k", "amount": -1})),
        refused(json!({"operation": "incr", "key": "k", "amount": 9_007_199_254_740_992_i64})),
        refused(json!({"operation": "delete", "key": "k", "amount": 1})),
        refused_beyond_schema(json!({"operation": "get", "key": "\u{e9}".repeat(257)})),
        refused_beyond_schema(json!({"operation": "set", "key": "k", "value": "x".repeat(64 * 1024 - 1)})),
        refused_beyond_schema(json!({"operation": "get", "key": "k", "default": "x".repeat(68 * 1024)})),
        refused_beyond_schema(json!({"operation": "set", "key": "k", "value": nested(32)})),
        refused_beyond_schema(json!({"operation": "set", "key": "k", "value": "secret://TOKEN"})),
        refused_beyond_schema(json!({"operation": "set", "key": "k", "value": {"deep": ["Bearer secret://TOKEN"]}})),
        refused_beyond_schema(json!({"operation": "set", "key": "k", "value": {"secret://TOKEN": 1}})),
        refused_beyond_schema(json!({"operation": "get", "key": "secret://TOKEN"})),
        refused_beyond_schema(json!({"operation": "get", "key": "k", "default": "secret://TOKEN"})),
    ];
    contract(&kv_store(Arc::new(shelf())), &cases).await;
}

#[test]
fn only_what_may_write_is_transactional() {
    let skill = skill("kv_store", "");
    for (operation, effect) in [
        ("get", EffectClass::Read),
        ("exists", EffectClass::Read),
        ("ttl", EffectClass::Read),
        ("set", EffectClass::Transactional),
        ("delete", EffectClass::Transactional),
        ("incr", EffectClass::Transactional),
        ("decr", EffectClass::Transactional),
        ("expire", EffectClass::Transactional),
    ] {
        assert_eq!(skill.effect(&json!({"operation": operation, "key": "k"})), effect, "{operation}");
    }
}

#[test]
fn every_finding_names_its_parameter() {
    let findings = skill("kv_store", "").check(&json!({
        "operation": "incr", "key": "", "namespace": "?", "value": "secret://TOKEN", "amount": "1", "ttl_seconds": 5
    }));
    let mut paths: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["amount", "key", "namespace", "ttl_seconds", "value", "value"], "{findings:?}");
}

#[tokio::test]
async fn what_is_stored_is_read() {
    let params = |operation: &str, key: &str| json!({"operation": operation, "key": key});
    check(params("get", "text"), json!({"found": true, "value": {"a": ["b"]}}), &[]).await;
    check(params("get", "none"), json!({"found": false, "value": null}), &[]).await;
    let default = json!({"operation": "get", "key": "none", "default": [1]});
    check(default, json!({"found": false, "value": [1]}), &[]).await;
    let not_needed = json!({"operation": "get", "key": "number", "default": [1]});
    check(not_needed, json!({"found": true, "value": 41}), &[]).await;
    check(params("exists", "text"), json!({"found": true}), &[]).await;
    check(params("exists", "none"), json!({"found": false}), &[]).await;
    check(params("ttl", "text"), json!({"found": true, "ttl_seconds": 91}), &[]).await;
    check(params("ttl", "number"), json!({"found": true, "ttl_seconds": null}), &[]).await;
    check(params("ttl", "none"), json!({"found": false, "ttl_seconds": null}), &[]).await;
}

#[tokio::test]
async fn an_expired_key_counts_as_absent() {
    let params = |operation: &str| json!({"operation": operation, "key": "old"});
    check(params("get"), json!({"found": false, "value": null}), &[]).await;
    check(params("exists"), json!({"found": false}), &[]).await;
    check(params("ttl"), json!({"found": false, "ttl_seconds": null}), &[]).await;
    check(params("delete"), json!({"found": false}), &[]).await;
    check(json!({"operation": "expire", "key": "old", "ttl_seconds": 5}), json!({"found": false}), &[]).await;
    // A new value takes the place of exactly the row that was read.
    let new = put("old", "1", None, Guard::Version(14));
    check(json!({"operation": "set", "key": "old", "value": 1}), json!({"created": true}), std::slice::from_ref(&new))
        .await;
    check(params("incr"), json!({"value": 1}), &[new]).await;
}

#[tokio::test]
async fn every_write_is_guarded_by_what_was_read() {
    let set = |key: &str| json!({"operation": "set", "key": key, "value": {"b": 1, "a": 2}, "ttl_seconds": 60});
    let value = r#"{"a":2,"b":1}"#;
    let later = Some(NOW + 60 * SECOND);
    check(set("none"), json!({"created": true}), &[put("none", value, later, Guard::Absent)]).await;
    check(set("number"), json!({"created": false}), &[put("number", value, later, Guard::Version(11))]).await;
    let forever = json!({"operation": "set", "key": "text", "value": 1});
    check(forever, json!({"created": false}), &[put("text", "1", None, Guard::Version(13))]).await;
    let expire = json!({"operation": "expire", "key": "text", "ttl_seconds": 60});
    let kept = put("text", r#"{"a":["b"]}"#, later, Guard::Version(13));
    check(expire, json!({"found": true}), &[kept]).await;
    let delete = Write::Delete { key: "default:number".to_owned(), guard: Guard::Version(11) };
    check(json!({"operation": "delete", "key": "number"}), json!({"found": true}), &[delete]).await;
    check(json!({"operation": "delete", "key": "none"}), json!({"found": false}), &[]).await;
}

#[tokio::test]
async fn numbers_are_counted_and_keep_their_time() {
    let incr = |key: &str, amount: i64| json!({"operation": "incr", "key": key, "amount": amount});
    let decr = |key: &str| json!({"operation": "decr", "key": key});
    check(incr("number", 1), json!({"value": 42}), &[put("number", "42", None, Guard::Version(11))]).await;
    check(decr("none"), json!({"value": -1}), &[put("none", "-1", None, Guard::Absent)]).await;
    let kept = put("counted", "17", Some(NOW + SECOND), Guard::Version(12));
    check(incr("counted", 10), json!({"value": 17}), &[kept]).await;
    check(
        decr("most"),
        json!({"value": 9_007_199_254_740_990_i64}),
        &[put("most", "9007199254740990", None, Guard::Version(16))],
    )
    .await;
    check_failure(incr("most", 1), "failed: kv.overflow Validation final").await;
    check_failure(decr("least"), "failed: kv.overflow Validation final").await;
    check_failure(incr("text", 1), "failed: kv.not_a_number Validation final").await;
}

#[tokio::test]
async fn what_nobody_of_us_wrote_is_a_failure_and_not_a_guess() {
    check_failure(json!({"operation": "get", "key": "broken"}), "failed: kv.unreadable Internal final").await;
    check_failure(json!({"operation": "incr", "key": "broken"}), "failed: kv.unreadable Internal final").await;
    check(json!({"operation": "exists", "key": "broken"}), json!({"found": true}), &[]).await;
}

#[tokio::test]
async fn a_key_is_read_in_its_tenant_and_namespace() {
    let shelf = Arc::new(shelf());
    let skill = kv_store(Arc::clone(&shelf) as _);
    for namespace in ["default", "a.b"] {
        let params = json!({"operation": "get", "key": "b:c", "namespace": namespace});
        skill.invoke(&dispatch("kv_store", params)).await;
    }
    let asked = ["default:b:c", "a.b:b:c"].map(|key| ("t1".to_owned(), key.to_owned()));
    assert_eq!(*shelf.asked.lock().expect("nobody panicked"), asked);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_tried_again() {
    let attempt = skill("kv_store", "").invoke(&dispatch("kv_store", json!({"operation": "incr", "key": "k"}))).await;
    assert_eq!(line(&attempt), "not done: kv.unavailable Transient retryable");
    assert!(failure(&attempt).message.contains("no store"), "{attempt:?}");
    assert!(matches!(attempt.result, AttemptResult::NotDone(_)));
}
