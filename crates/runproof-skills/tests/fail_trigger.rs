//! Claims about `__fail_trigger__`.

use std::time::Duration;

use runproof_engine::skill::{Attempt, EffectClass};
use serde_json::{Value, json};

use crate::calls::{dispatch_with, failure, line, output, skill};
use crate::contract::{accepted, contract, refused, refused_beyond_schema};

async fn trigger(params: Value, number: u32) -> Attempt {
    let dispatch = dispatch_with("__fail_trigger__", params, number, Duration::from_secs(120));
    skill("__fail_trigger__", "").invoke(&dispatch).await
}

#[tokio::test(start_paused = true)]
async fn the_fail_trigger_holds_the_contract() {
    let cases = [
        accepted(json!({"error_code": "SKILL_ERROR"})),
        accepted(json!({"error_code": "X", "delay_ms": 60_000, "effect": "pure", "result": "unknown"})),
        accepted(json!({"error_code": "X", "result": "done", "error_message": "m"})),
        accepted(json!({"error_code": "X", "fail_attempts": 0})),
        accepted(json!({"error_code": "{{steps.a}}", "delay_ms": "{{steps.b}}", "result": "{{steps.c}}"})),
        refused(json!({})),
        refused(json!({"error_code": ""})),
        refused(json!({"error_code": 5})),
        refused(json!({"error_code": "X", "delay_ms": 60_001})),
        refused(json!({"error_code": "X", "delay_ms": -1})),
        refused(json!({"error_code": "X", "effect": "harmless"})),
        refused(json!({"error_code": "X", "result": "maybe"})),
        refused(json!({"error_code": "X", "error_message": "m".repeat(1_001)})),
        refused_beyond_schema(json!({"error_code": "X", "error_message": "{{x}}".repeat(20_000)})),
    ];
    contract(&skill("__fail_trigger__", ""), &cases).await;
}

#[tokio::test]
async fn the_first_systems_codes_keep_their_meaning() {
    let check = async |code: &str, expected: &str| {
        let attempt = trigger(json!({"error_code": code}), 1).await;
        assert_eq!(line(&attempt), format!("failed: fail_trigger.{expected}"));
        assert_eq!(failure(&attempt).message, format!("asked to fail with `{code}`"));
    };
    check("BUDGET_EXCEEDED", "budget_exceeded Policy final").await;
    check("EXECUTION_TIMEOUT", "execution_timeout Timeout retryable").await;
    check("STEP_FAILURE", "step_failure Client final").await;
    check("RETRY_EXHAUSTED", "retry_exhausted Transient final").await;
    check("SKILL_ERROR", "skill_error Transient retryable").await;
    check("SOMETHING_ELSE", "other Internal final").await;
}

#[tokio::test]
async fn it_answers_what_it_is_told() {
    let check = async |result: &str, expected: &str| {
        let attempt = trigger(json!({"error_code": "X", "error_message": "boom", "result": result}), 1).await;
        assert_eq!(line(&attempt), expected);
    };
    check("failed", "failed: fail_trigger.other Internal final").await;
    check("not_done", "not done: fail_trigger.other Internal final").await;
    check("unknown", "unknown: fail_trigger.other Internal final").await;
    check("done", "done").await;
}

#[tokio::test]
async fn it_succeeds_after_the_attempts_that_it_was_told_to_fail() {
    let params = json!({"error_code": "SKILL_ERROR", "fail_attempts": 2});
    assert!(line(&trigger(params.clone(), 1).await).starts_with("failed"));
    assert!(line(&trigger(params.clone(), 2).await).starts_with("failed"));
    assert_eq!(output(&trigger(params, 3).await), &json!({"attempt": 3}));
}

#[test]
fn it_has_the_effect_class_that_it_is_told_and_unsafe_otherwise() {
    let effect = |params: Value| skill("__fail_trigger__", "").effect(&params);
    assert_eq!(effect(json!({"effect": "transactional"})), EffectClass::Transactional);
    assert_eq!(effect(json!({"effect": "pure"})), EffectClass::Pure);
    assert_eq!(effect(json!({})), EffectClass::Unsafe);
    assert_eq!(effect(json!({"effect": "{{steps.a}}"})), EffectClass::Unsafe);
}

#[tokio::test(start_paused = true)]
async fn the_delay_does_not_block_the_thread() {
    let start = tokio::time::Instant::now();
    let params = json!({"error_code": "X", "delay_ms": 60_000});
    let (first, second) = tokio::join!(trigger(params.clone(), 1), trigger(params, 2));
    assert_eq!((line(&first), start.elapsed()), (line(&second), Duration::from_secs(60)));
}
