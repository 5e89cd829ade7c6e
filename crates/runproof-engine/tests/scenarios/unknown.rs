//! Effects of which nobody knows whether they happened: held, repeated, assumed, asked about.

use super::*;

#[test]
fn an_unknown_effect_that_must_not_be_repeated_waits_for_a_person() {
    for (effect, resolution) in [("unsafe", "done"), ("probeable", "done")] {
        check(
            &format!(
                "
                skill pay {effect}: unknown
                skill look read: done
                step pay pay
                step after look
                ---
                drive
                drive
                resolve after done
                resolve pay {resolution}
                resolve pay {resolution}
                drive"
            ),
            "
            0 claimed 1
            0 intended pay#1 pay
            0 unknown of pay#1 by call test.reset, hold
            = waiting for a resolution of pay
            nothing to do
            refused: step `after` of run `r_1` does not wait for a resolution
            0 resolved pay#1 done
            refused: step `pay` of run `r_1` does not wait for a resolution
            0 claimed 5
            0 settled 0 pay success resolved test.reset
            0 intended after#1 look
            0 done of after#1 by call, settle
            0 settled 1 after success execution
            0 sealed succeeded plan_completed
            = succeeded",
        );
    }
}

#[test]
fn a_person_who_says_not_done_settles_the_step_as_failed() {
    check(
        r#"
        skill pay unsafe: unknown
        step pay pay
        ---
        drive
        resolve pay not_done
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 unknown of pay#1 by call test.reset, hold
        = waiting for a resolution of pay
        0 resolved pay#1 not_done
        0 claimed 3
        0 settled 0 pay failure resolved test.reset
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn an_unknown_effect_that_may_be_repeated_is_repeated_and_held_only_when_attempts_are_used_up() {
    check(
        r#"
        skill pay idempotent: unknown
        step pay pay {"retry": {"max_attempts": 2, "initial_delay_ms": 100, "max_delay_ms": 100}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 unknown of pay#1 by call test.reset, retry at 70.651
        70.651 intended pay#2 pay
        70.651 unknown of pay#2 by call test.reset, hold
        = waiting for a resolution of pay",
    );
}

#[test]
fn an_unknown_effect_that_cannot_matter_ends_as_a_failure_and_nobody_is_asked() {
    for effect in ["read", "transactional"] {
        check(
            &r#"
            skill look EFFECT: unknown
            step look look {"retry": {"max_attempts": 2, "initial_delay_ms": 100, "max_delay_ms": 100}}
            ---
            drive"#
                .replace("EFFECT", effect),
            "
            0 claimed 1
            0 intended look#1 look
            0 unknown of look#1 by call test.reset, retry at 91.274
            91.274 intended look#2 look
            91.274 unknown of look#2 by call test.reset, settle
            91.274 settled 0 look failure network test.reset
            91.274 sealed failed step_failed
            = failed",
        );
    }
}

#[test]
fn on_unknown_retry_repeats_even_what_is_unsafe() {
    for effect in ["unsafe", "probeable"] {
        check(
            &r#"
            skill pay EFFECT: unknown | done
            step pay pay {"on_unknown": "retry", "retry": {"initial_delay_ms": 0, "max_delay_ms": 0}}
            ---
            drive"#
                .replace("EFFECT", effect),
            "
            0 claimed 1
            0 intended pay#1 pay
            0 unknown of pay#1 by call test.reset, retry at 0
            0 intended pay#2 pay
            0 done of pay#2 by call, settle
            0 settled 0 pay success execution
            0 sealed succeeded plan_completed
            = succeeded",
        );
    }
}

#[test]
fn on_unknown_retry_holds_when_attempts_are_used_up() {
    check(
        r#"
        skill pay unsafe: unknown
        step pay pay {"on_unknown": "retry", "retry": {"max_attempts": 2, "initial_delay_ms": 0, "max_delay_ms": 0}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 unknown of pay#1 by call test.reset, retry at 0
        0 intended pay#2 pay
        0 unknown of pay#2 by call test.reset, hold
        = waiting for a resolution of pay",
    );
}

#[test]
fn on_unknown_assume_done_goes_on_as_if_it_had_happened() {
    for effect in ["unsafe", "probeable"] {
        check(
            &r#"
            skill pay EFFECT: unknown
            step pay pay {"on_unknown": "assume_done"}
            ---
            drive"#
                .replace("EFFECT", effect),
            "
            0 claimed 1
            0 intended pay#1 pay
            0 unknown of pay#1 by call test.reset, settle
            0 settled 0 pay success execution test.reset
            0 sealed succeeded plan_completed
            = succeeded",
        );
    }
}

#[test]
fn on_unknown_assume_done_is_the_last_resort_of_what_can_be_repeated() {
    check(
        r#"
        skill pay idempotent: unknown
        step pay pay {"on_unknown": "assume_done", "retry": {"max_attempts": 2, "initial_delay_ms": 0, "max_delay_ms": 0}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 unknown of pay#1 by call test.reset, retry at 0
        0 intended pay#2 pay
        0 unknown of pay#2 by call test.reset, settle
        0 settled 0 pay success execution test.reset
        0 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn on_unknown_fail_settles_as_a_failure() {
    for effect in ["unsafe", "probeable"] {
        check(
            &r#"
            skill pay EFFECT: unknown
            step pay pay {"on_unknown": "fail"}
            ---
            drive"#
                .replace("EFFECT", effect),
            "
            0 claimed 1
            0 intended pay#1 pay
            0 unknown of pay#1 by call test.reset, settle
            0 settled 0 pay failure network test.reset
            0 sealed failed step_failed
            = failed",
        );
    }
}

#[test]
fn a_receiver_that_says_done_settles_an_unknown_call() {
    check(
        r#"
        skill pay probeable: unknown
        probe pay: done
        step pay pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 done of pay#1 by probe, settle
        0 settled 0 pay success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_receiver_that_always_says_not_done_uses_up_the_attempts() {
    check(
        r#"
        skill pay probeable: unknown
        probe pay: not_done
        step pay pay {"retry": {"max_attempts": 2, "initial_delay_ms": 100, "max_delay_ms": 100}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        1000 not_done of pay#1 by probe probe.not_done, retry at 1070.651
        1070.651 intended pay#2 pay
        2070.651 not_done of pay#2 by probe probe.not_done, settle
        2070.651 settled 0 pay failure transient probe.not_done
        2070.651 sealed failed step_failed
        = failed",
    );
}

#[test]
fn a_receiver_that_never_answers_a_probe_leaves_the_effect_unknown() {
    check(
        r#"
        skill pay probeable: unknown
        probe pay: hang
        step pay pay {"timeout_ms": 500}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        500 unknown of pay#1 by call test.reset, hold
        = waiting for a resolution of pay",
    );
}
