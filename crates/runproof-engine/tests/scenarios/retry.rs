//! Attempts that fail: repeated, given up, passed over or replaced.

use super::*;

#[test]
fn a_failed_attempt_is_repeated_with_backoff_and_completed_steps_are_not() {
    let ended = check(
        r#"
        skill look read: done {"id": 7}
        skill pay idempotent: busy | busy | done
        step first look
        step second pay {"retry": {"max_attempts": 3, "initial_delay_ms": 2000, "max_delay_ms": 8000}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended first#1 look
        0 done of first#1 by call, settle
        0 settled 0 first success execution
        0 intended second#1 pay
        0 failed of second#1 by call test.server, retry at 1457.656
        = until 1457.656
        1457.656 claimed 2
        1457.656 intended second#2 pay
        1457.656 failed of second#2 by call test.server, retry at 5373.385
        = until 5373.385
        5373.385 claimed 3
        5373.385 intended second#3 pay
        5373.385 done of second#3 by call, settle
        5373.385 settled 1 second success execution
        5373.385 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["look"].seen.lock().unwrap().len(), 1);
    let keys: Vec<String> = ended.skills["pay"].seen.lock().unwrap().iter().map(|seen| seen.key.clone()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "one key for all attempts: {keys:?}");
}

#[test]
fn attempts_that_are_used_up_end_the_step() {
    check(
        r#"
        skill pay idempotent: busy
        step only pay {"retry": {"max_attempts": 2, "initial_delay_ms": 100, "max_delay_ms": 100}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended only#1 pay
        0 failed of only#1 by call test.server, retry at 61.346
        61.346 intended only#2 pay
        61.346 failed of only#2 by call test.server, settle
        61.346 settled 0 only failure server test.server
        61.346 sealed failed step_failed
        = failed",
    );
}

#[test]
fn the_receivers_wish_to_wait_longer_is_granted() {
    check(
        r#"
        skill pay idempotent: busy 90000 | done
        step only pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended only#1 pay
        0 failed of only#1 by call test.server, retry at 90000
        = until 90000
        90000 claimed 2
        90000 intended only#2 pay
        90000 done of only#2 by call, settle
        90000 settled 0 only success execution
        90000 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn on_error_abort_fails_the_run_at_once() {
    check(
        r#"
        skill pay unsafe: failed
        skill look read: done
        step first pay
        step second look
        ---
        drive"#,
        "
        0 claimed 1
        0 intended first#1 pay
        0 failed of first#1 by call test.server, settle
        0 settled 0 first failure server test.server
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn on_error_continue_goes_on_with_the_next_step() {
    check(
        r#"
        skill pay unsafe: failed
        skill look read: done
        step first pay {"on_error": "continue"}
        step second look
        ---
        drive"#,
        "
        0 claimed 1
        0 intended first#1 pay
        0 failed of first#1 by call test.server, settle
        0 settled 0 first failure server test.server
        0 intended second#1 look
        0 done of second#1 by call, settle
        0 settled 1 second success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_fallback_takes_the_place_of_a_failed_step_under_another_key() {
    let ended = check(
        r#"
        skill card unsafe: failed
        skill cash unsafe: done {"receipt": 9}
        skill look read: done
        step pay card {"on_error": "fallback", "fallback": {"skill": "cash", "with": {"for": "{{ goal }}"}}}
        step after look {"with": {"receipt": "{{ steps.pay.output.receipt }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 card
        0 failed of pay#1 by call test.server, settle
        0 settled 0 pay failure server test.server
        0 intended pay/fallback#1 cash
        0 done of pay/fallback#1 by call, settle
        0 settled 1 pay/fallback success execution
        0 intended after#1 look
        0 done of after#1 by call, settle
        0 settled 2 after success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["look"].seen.lock().unwrap()[0].params, json!({"receipt": 9}));
    let (card, cash) = (ended.skills["card"].seen.lock().unwrap(), ended.skills["cash"].seen.lock().unwrap());
    assert_ne!(card[0].key, cash[0].key);
}

#[test]
fn a_fallback_that_fails_fails_the_run() {
    check(
        r#"
        skill card unsafe: failed
        skill cash unsafe: failed
        step pay card {"on_error": "fallback", "fallback": {"skill": "cash"}}
        step after cash
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 card
        0 failed of pay#1 by call test.server, settle
        0 settled 0 pay failure server test.server
        0 intended pay/fallback#1 cash
        0 failed of pay/fallback#1 by call test.server, settle
        0 settled 1 pay/fallback failure server test.server
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn a_retry_is_made_in_time_while_a_call_beside_it_is_made_again_because_its_write_came_too_late() {
    // The story's clock moves on before the new call is made; that it was intended at 500 is what counts.
    let ended = check(
        r#"
        skill look read: busy 500 | done
        skill note transactional: writes | after 2000
        step look look {"needs": []}
        step note note {"needs": []}
        ---
        stale 1
        drive"#,
        "
        0 claimed 1
        0 intended look#1 look
        0 intended note#1 note
        0 failed of look#1 by call test.server, retry at 500
        500 intended look#2 look
        2000 done of note#1 by call, settle
        2000 settled 0 note success execution
        2000 done of look#2 by call, settle
        2000 settled 1 look success execution
        2000 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["note"].seen.lock().unwrap().len(), 2, "one attempt, made twice");
}
