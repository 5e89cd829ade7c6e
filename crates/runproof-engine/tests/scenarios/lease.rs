//! What a process does whose lease on its runs does not last.

use super::*;

#[test]
fn an_attempt_that_may_not_begin_never_reaches_the_skill_and_is_made_when_the_lease_is_back() {
    for effect in ["unsafe", "probeable", "idempotent", "read", "transactional"] {
        let ended = check(
            &r#"
            skill pay EFFECT: done
            step pay pay {"retry": {"max_attempts": 1}}
            ---
            lapse 2
            drive"#
                .replace("EFFECT", effect),
            "
            0 claimed 1
            0 intended pay#1 pay
            0 not_done of pay#1 by call engine.lease_lapsed, retry at 2000
            = until 2000
            2000 claimed 2
            2000 intended pay#2 pay
            2000 not_done of pay#2 by call engine.lease_lapsed, retry at 4000
            = until 4000
            4000 claimed 3
            4000 intended pay#3 pay
            4000 done of pay#3 by call, settle
            4000 settled 0 pay success execution
            4000 sealed succeeded plan_completed
            = succeeded",
        );
        let seen: Vec<u32> = ended.skills["pay"].seen.lock().unwrap().iter().map(|seen| seen.attempt).collect();
        assert_eq!(seen, [3], "{effect}");
    }
}

#[test]
fn a_pure_call_needs_no_lease() {
    check(
        "
        skill sum pure: done
        step sum sum
        ---
        lapse 1
        drive",
        "
        0 claimed 1
        0 intended sum#1 sum
        0 done of sum#1 by call, settle
        0 settled 0 sum success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn what_was_not_begun_is_forgotten_when_another_process_has_the_run() {
    let ended = check(
        r#"
        skill pay unsafe: done
        step pay pay {"on_unknown": "retry"}
        ---
        reap
        once
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        = run `r_1` was written or claimed by somebody else
        0 claimed 2
        0 unknown of pay#1 by recovery engine.interrupted, retry at 0
        0 intended pay#2 pay
        0 done of pay#2 by call, settle
        0 settled 0 pay success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["pay"].seen.lock().unwrap().len(), 1);
}

#[test]
fn a_receiver_is_asked_only_once_the_lease_is_back() {
    check(
        r#"
        skill pay probeable: done
        probe pay: done
        step pay pay
        ---
        die 2
        lapse 3
        drive"#,
        r#"
        0 claimed 1
        0 intended pay#1 pay
        = the store is not available: the process died
        0 claimed 2
        750 done of pay#1 by probe, settle
        750 settled 0 pay success execution
        750 sealed succeeded plan_completed
        = succeeded"#,
    );
}

#[test]
fn a_lease_that_does_not_come_back_leaves_the_receiver_unasked_and_the_call_unknown() {
    check(
        r#"
        skill pay probeable: done
        probe pay: done
        step pay pay {"timeout_ms": 1000}
        ---
        die 2
        lapse 100
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        = the store is not available: the process died
        0 claimed 2
        1000 unknown of pay#1 by recovery engine.interrupted, hold
        = waiting for a resolution of pay",
    );
}
