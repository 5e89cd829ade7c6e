//! Cancellations, and attempts that take too long.

use super::*;

#[test]
fn a_queued_run_is_cancelled_before_anything_is_called() {
    let ended = check(
        r#"
        skill pay unsafe: done
        step pay pay
        ---
        cancel
        drive"#,
        "
        0 cancel requested
        0 sealed cancelled cancel_requested
        = cancelled
        nothing to do",
    );
    assert!(ended.skills["pay"].seen.lock().unwrap().is_empty());
}

#[test]
fn a_run_that_waits_for_a_retry_is_cancelled_with_the_failure_it_had() {
    check(
        r#"
        skill pay idempotent: busy
        step pay pay {"retry": {"initial_delay_ms": 5000}}
        ---
        once
        cancel"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 failed of pay#1 by call test.server, retry at 4156.894
        = until 4156.894
        4156.894 cancel requested
        4156.894 settled 0 pay failure server test.server
        4156.894 sealed cancelled cancel_requested
        = cancelled",
    );
}

#[test]
fn a_run_that_waits_for_a_resolution_is_cancelled_with_the_effect_unknown_to_the_end() {
    check(
        r#"
        skill pay unsafe: unknown
        step pay pay
        ---
        drive
        cancel"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 unknown of pay#1 by call test.reset, hold
        = waiting for a resolution of pay
        0 cancel requested
        0 settled 0 pay unknown network test.reset
        0 sealed cancelled cancel_requested
        = cancelled",
    );
}

#[test]
fn a_run_is_cancelled_while_a_call_is_under_way() {
    check(
        r#"
        skill pay unsafe: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 unknown of pay#1 by call engine.cancelled, hold
        0 settled 0 pay unknown interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
    check(
        r#"
        skill pay idempotent: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 unknown of pay#1 by call engine.cancelled, retry at 0
        0 settled 0 pay unknown interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
    check(
        r#"
        skill pay read: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 failed of pay#1 by call engine.cancelled, retry at 421.463
        0 settled 0 pay failure interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
    check(
        r#"
        skill pay transactional: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 failed of pay#1 by call engine.cancelled, retry at 421.463
        0 settled 0 pay failure interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
    check(
        r#"
        skill pay pure: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 failed of pay#1 by call engine.cancelled, retry at 421.463
        0 settled 0 pay failure interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
}

#[test]
fn an_attempt_that_takes_too_long_is_cut_off() {
    check(
        r#"
        skill look read: hang | done
        step look look {"timeout_ms": 700, "retry": {"initial_delay_ms": 0, "max_delay_ms": 0}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended look#1 look
        700 failed of look#1 by call engine.timeout, retry at 700
        700 intended look#2 look
        700 done of look#2 by call, settle
        700 settled 0 look success execution
        700 sealed succeeded plan_completed
        = succeeded",
    );
    check(
        r#"
        skill pay unsafe: hang
        step pay pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        10000 unknown of pay#1 by call engine.timeout, hold
        = waiting for a resolution of pay",
    );
}
