//! Runs that somebody pauses and lets go on.

use super::*;

#[test]
fn a_paused_run_finishes_what_is_under_way_and_begins_nothing_until_it_is_resumed() {
    let ended = check(
        r#"
        skill slow unsafe: pauses 0 300
        skill pay unsafe: done
        step a slow {"needs": []}
        step b slow {"needs": []}
        step c pay {"needs": ["a"]}
        ---
        drive
        drive
        later 5000
        resume
        drive"#,
        "
        0 claimed 1
        0 intended a#1 slow
        0 intended b#1 slow
        0 paused
        300 done of a#1 by call, settle
        300 settled 0 a success execution
        300 done of b#1 by call, settle
        300 settled 1 b success execution
        = paused
        nothing to do
        5300 resumed
        5300 claimed 3
        5300 intended c#1 pay
        5300 done of c#1 by call, settle
        5300 settled 2 c success execution
        5300 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["pay"].seen.lock().unwrap().len(), 1);
}

#[test]
fn a_run_is_paused_before_anybody_took_it_and_its_timeout_has_not_begun() {
    check(
        r#"
        skill pay unsafe: done
        step pay pay
        plan {"timeout_ms": 1000}
        ---
        pause
        drive
        later 5000
        resume
        drive"#,
        "
        0 paused
        nothing to do
        5000 resumed
        5000 claimed 3
        5000 intended pay#1 pay
        5000 done of pay#1 by call, settle
        5000 settled 0 pay success execution
        5000 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_retry_waits_while_the_run_is_paused_and_is_made_at_once_when_its_time_has_come() {
    check(
        r#"
        skill pay idempotent: busy 5000 | done
        step pay pay
        ---
        once
        pause
        drive
        later 4000
        resume
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 failed of pay#1 by call test.server, retry at 5000
        = until 5000
        5000 paused
        nothing to do
        9000 resumed
        9000 claimed 4
        9000 intended pay#2 pay
        9000 done of pay#2 by call, settle
        9000 settled 0 pay success execution
        9000 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn the_timeout_of_a_paused_run_goes_on_and_ends_it() {
    check(
        r#"
        skill slow unsafe: pauses 0 300
        skill pay unsafe: done
        step a slow
        step b pay
        plan {"timeout_ms": 1000}
        ---
        drive
        later 600
        drive
        later 200
        drive"#,
        "
        0 claimed 1
        0 intended a#1 slow
        0 paused
        300 done of a#1 by call, settle
        300 settled 0 a success execution
        = paused
        nothing to do
        1100 claimed 2
        1100 sealed failed run_timeout
        = failed",
    );
}

#[test]
fn a_paused_run_is_cancelled_and_ends() {
    check(
        r#"
        skill slow unsafe: pauses 0 300
        skill pay unsafe: done
        step a slow
        step b pay
        ---
        drive
        cancel"#,
        "
        0 claimed 1
        0 intended a#1 slow
        0 paused
        300 done of a#1 by call, settle
        300 settled 0 a success execution
        = paused
        300 cancel requested
        300 sealed cancelled cancel_requested
        = cancelled",
    );
}

#[test]
fn a_failure_ends_a_paused_run_and_a_plan_that_is_through_is_finished() {
    check(
        r#"
        skill slow unsafe: pauses 0 300
        skill broken read: hang
        step a slow {"needs": []}
        step b broken {"needs": [], "timeout_ms": 200, "retry": {"max_attempts": 1}}
        step c slow
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 slow
        0 intended b#1 broken
        0 paused
        200 failed of b#1 by call engine.timeout, settle
        200 settled 0 b failure timeout engine.timeout
        300 done of a#1 by call, settle
        300 settled 1 a success execution
        300 sealed failed step_failed
        = failed",
    );
    check(
        "
        skill slow unsafe: pauses 0 300
        step a slow
        ---
        drive",
        "
        0 claimed 1
        0 intended a#1 slow
        0 paused
        300 done of a#1 by call, settle
        300 settled 0 a success execution
        300 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_run_that_is_resumed_while_calls_are_under_way_goes_on_beside_them() {
    check(
        r#"
        skill slow unsafe: pauses 0 300
        skill back unsafe: resumes 400 200
        skill pay unsafe: done
        step a slow {"needs": []}
        step b back {"needs": []}
        step c pay {"needs": ["a"]}
        plan {"max_parallel": 2}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 slow
        0 intended b#1 back
        0 paused
        300 done of a#1 by call, settle
        300 settled 0 a success execution
        400 resumed
        400 intended c#1 pay
        400 done of c#1 by call, settle
        400 settled 1 c success execution
        600 done of b#1 by call, settle
        600 settled 2 b success execution
        600 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn what_a_crash_left_open_is_recovered_while_the_run_is_paused() {
    check(
        r#"
        skill look read: done
        skill pay unsafe: done
        step a look {"needs": []}
        step b pay {"needs": []}
        ---
        die 2
        pause
        drive
        resume
        drive"#,
        "
        0 claimed 1
        0 intended a#1 look
        0 intended b#1 pay
        = the store is not available: the process died
        0 paused
        0 claimed 3
        0 unknown of a#1 by recovery engine.interrupted, retry at 0
        0 unknown of b#1 by recovery engine.interrupted, hold
        = paused
        0 resumed
        0 claimed 5
        0 intended a#2 look
        0 done of a#2 by call, settle
        0 settled 0 a success execution
        = waiting for a resolution of b",
    );
}

#[test]
fn a_held_call_is_resolved_while_the_run_is_paused_and_settles() {
    check(
        r#"
        skill pay unsafe: unknown
        step pay pay {"on_error": "continue"}
        step after pay
        ---
        drive
        pause
        resolve pay done
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 unknown of pay#1 by call test.reset, hold
        = waiting for a resolution of pay
        0 paused
        0 resolved pay#1 done
        0 claimed 4
        0 settled 0 pay success resolved test.reset
        = paused",
    );
}

#[test]
fn what_cannot_be_paused_or_resumed_is_refused_and_nothing_is_written() {
    check(
        "
        skill pay unsafe: done
        step pay pay
        ---
        resume
        pause
        pause
        resume
        resume",
        "
        refused: run `r_1` is not paused
        0 paused
        refused: run `r_1` is paused already
        0 resumed
        refused: run `r_1` is not paused",
    );
}
