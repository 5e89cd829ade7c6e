//! Attempts that a process left without an outcome.

use super::*;

#[test]
fn an_unsafe_attempt_without_outcome_is_held_and_never_repeated() {
    let ended = check(
        r#"
        skill pay unsafe: done
        step pay pay
        ---
        die 2
        drive
        drive
        resolve pay done
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        = the store is not available: the process died
        0 claimed 2
        0 unknown of pay#1 by recovery engine.interrupted, hold
        = waiting for a resolution of pay
        nothing to do
        0 resolved pay#1 done
        0 claimed 4
        0 settled 0 pay success resolved engine.interrupted
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["pay"].seen.lock().unwrap().len(), 1);
}

#[test]
fn an_attempt_without_outcome_that_may_be_repeated_is_repeated_under_its_key_and_costs_no_attempt() {
    for effect in ["idempotent", "read", "transactional"] {
        let ended = check(
            &r#"
            skill pay EFFECT: done
            step pay pay {"retry": {"max_attempts": 1}}
            ---
            die 2
            die 3
            drive"#
                .replace("EFFECT", effect),
            "
            0 claimed 1
            0 intended pay#1 pay
            = the store is not available: the process died
            0 claimed 2
            0 unknown of pay#1 by recovery engine.interrupted, retry at 0
            0 intended pay#2 pay
            = the store is not available: the process died
            0 claimed 3
            0 unknown of pay#2 by recovery engine.interrupted, retry at 0
            0 intended pay#3 pay
            0 done of pay#3 by call, settle
            0 settled 0 pay success execution
            0 sealed succeeded plan_completed
            = succeeded",
        );
        let seen = ended.skills["pay"].seen.lock().unwrap();
        assert!(seen.len() > 1 && seen.iter().all(|call| call.key == seen[0].key));
    }
}

#[test]
fn a_pure_attempt_leaves_nothing_behind_when_the_process_dies() {
    check(
        r#"
        skill sum pure: done
        step a sum
        step b sum
        ---
        die 1
        drive"#,
        "
        = the store is not available: the process died
        0 claimed 2
        0 intended a#1 sum
        0 done of a#1 by call, settle
        0 settled 0 a success execution
        0 intended b#1 sum
        0 done of b#1 by call, settle
        0 settled 1 b success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_probeable_attempt_without_outcome_is_asked_about() {
    check(
        r#"
        skill pay probeable: done
        probe pay: done
        step pay pay {"retry": {"max_attempts": 1}}
        ---
        die 2
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        = the store is not available: the process died
        0 claimed 2
        0 done of pay#1 by probe, settle
        0 settled 0 pay success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    check(
        r#"
        skill pay probeable: done
        probe pay: not_done
        step pay pay {"retry": {"max_attempts": 1}}
        ---
        die 2
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        = the store is not available: the process died
        0 claimed 2
        1000 not_done of pay#1 by probe probe.not_done, retry at 1000
        1000 intended pay#2 pay
        1000 done of pay#2 by call, settle
        1000 settled 0 pay success execution
        1000 sealed succeeded plan_completed
        = succeeded",
    );
    check(
        r#"
        skill pay probeable: done
        probe pay: unknown
        step pay pay {"retry": {"max_attempts": 1}}
        ---
        die 2
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        = the store is not available: the process died
        0 claimed 2
        0 unknown of pay#1 by recovery engine.interrupted, hold
        = waiting for a resolution of pay",
    );
}
