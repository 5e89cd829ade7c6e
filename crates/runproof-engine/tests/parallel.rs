//! Stories of runs whose steps run side by side: graphs, conditions, lists, and how they end. The language is that of
//! [`crate::scenarios`].

use runproof_engine::decide::{Command, Context, Next, decide};
use runproof_engine::skill::Skills;
use runproof_proof::event::{EndReason, EndStatus};
use serde_json::json;

use crate::scenarios::{audit, check, play};

#[test]
fn steps_that_need_nothing_of_each_other_run_side_by_side_and_a_join_waits_for_both() {
    let ended = check(
        r#"
        skill slow read: after 30 {"n": 1}
        skill fast read: after 10 {"n": 2}
        skill join read: done
        step a slow {"needs": []}
        step b fast {"needs": []}
        step c join {"needs": ["a", "b"], "with": {"a": "{{ steps.a.output.n }}", "b": "{{ steps.b.output.n }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 slow
        0 intended b#1 fast
        10 done of b#1 by call, settle
        10 settled 0 b success execution
        30 done of a#1 by call, settle
        30 settled 1 a success execution
        30 intended c#1 join
        30 done of c#1 by call, settle
        30 settled 2 c success execution
        30 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["join"].seen.lock().unwrap()[0].params, json!({"a": 1, "b": 2}));
}

#[test]
fn no_more_calls_are_under_way_than_the_plan_allows() {
    check(
        r#"
        skill look read: after 10
        plan {"max_parallel": 2}
        step a look {"needs": []}
        step b look {"needs": []}
        step c look {"needs": []}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 look
        0 intended b#1 look
        10 done of a#1 by call, settle
        10 settled 0 a success execution
        10 intended c#1 look
        10 done of b#1 by call, settle
        10 settled 1 b success execution
        20 done of c#1 by call, settle
        20 settled 2 c success execution
        20 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_step_whose_condition_is_false_is_skipped_and_what_needs_it_runs() {
    check(
        r#"
        skill look read: done {"n": 1}
        step a look
        step b look {"when": "steps.a.output.n > 1"}
        step c look {"when": "steps.b.status == 'skipped'"}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 look
        0 done of a#1 by call, settle
        0 settled 0 a success execution
        0 settled 1 b skipped skipped when.false
        0 intended c#1 look
        0 done of c#1 by call, settle
        0 settled 2 c success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_condition_that_cannot_be_evaluated_fails_the_step() {
    check(
        r#"
        skill look read: done {"n": 1}
        step a look
        step b look {"when": "steps.a.output.missing > 1", "on_error": "continue"}
        step c look {"when": "steps.a.output.n"}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 look
        0 done of a#1 by call, settle
        0 settled 0 a success execution
        0 settled 1 b failure reference when.failed
        0 settled 2 c failure reference when.failed
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn a_failure_waits_for_what_is_under_way_and_begins_nothing() {
    check(
        r#"
        skill pay unsafe: failed
        skill slow read: after 50
        skill busy read: busy
        step a slow {"needs": []}
        step b busy {"needs": []}
        step c pay {"needs": []}
        step d slow {"needs": ["a"]}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 slow
        0 intended b#1 busy
        0 intended c#1 pay
        0 failed of b#1 by call test.server, retry at 460.377
        0 failed of c#1 by call test.server, settle
        0 settled 0 c failure server test.server
        0 settled 1 b failure server test.server
        50 done of a#1 by call, settle
        50 settled 2 a success execution
        50 sealed failed step_failed
        = failed",
    );
}

#[test]
fn a_run_that_failed_waits_for_the_word_on_a_call_that_nobody_knows_the_end_of() {
    check(
        r#"
        skill pay unsafe: unknown
        skill other unsafe: failed
        step a pay {"needs": []}
        step b other {"needs": []}
        ---
        drive
        resolve a done
        drive"#,
        "
        0 claimed 1
        0 intended a#1 pay
        0 intended b#1 other
        0 unknown of a#1 by call test.reset, hold
        0 failed of b#1 by call test.server, settle
        0 settled 0 b failure server test.server
        = waiting for a resolution of a
        0 resolved a#1 done
        0 claimed 3
        0 settled 1 a success resolved test.reset
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn other_branches_go_on_while_one_waits_for_a_person() {
    check(
        r#"
        skill pay unsafe: unknown
        skill look read: done
        step a pay {"needs": []}
        step b look {"needs": []}
        step c look {"needs": ["b"]}
        ---
        drive
        resolve a not_done
        drive"#,
        "
        0 claimed 1
        0 intended a#1 pay
        0 intended b#1 look
        0 unknown of a#1 by call test.reset, hold
        0 done of b#1 by call, settle
        0 settled 0 b success execution
        0 intended c#1 look
        0 done of c#1 by call, settle
        0 settled 1 c success execution
        = waiting for a resolution of a
        0 resolved a#1 not_done
        0 claimed 3
        0 settled 2 a failure resolved test.reset
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn a_list_makes_one_call_for_each_element_and_gives_the_list_of_their_outputs() {
    let ended = check(
        r#"
        skill list read: done {"ids": [7, 8, 9]}
        skill look read: after 30 {"of": 7} | after 10 {"of": 8} | after 10 {"of": 9}
        skill join read: done
        step ids list
        step each look {"foreach": {"items": "{{ steps.ids.output.ids }}", "concurrency": 2}, "with": {"id": "{{ item }}", "at": "{{ item_index }}"}}
        step all join {"with": {"of": "{{ steps.each.output }}", "second": "{{ steps.each.output[1].of }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended ids#1 list
        0 done of ids#1 by call, settle
        0 settled 0 ids success execution
        0 expanded each to 3
        0 intended each/0#1 look
        0 intended each/1#1 look
        10 done of each/1#1 by call, settle
        10 settled 1 each/1 success execution
        10 intended each/2#1 look
        30 done of each/0#1 by call, settle
        30 settled 2 each/0 success execution
        40 done of each/2#1 by call, settle
        40 settled 3 each/2 success execution
        40 settled 4 each success execution
        40 intended all#1 join
        40 done of all#1 by call, settle
        40 settled 5 all success execution
        40 sealed succeeded plan_completed
        = succeeded",
    );
    let params: Vec<_> = ended.skills["look"].seen.lock().unwrap().iter().map(|seen| seen.params.clone()).collect();
    assert_eq!(params, [json!({"id": 7, "at": 0}), json!({"id": 8, "at": 1}), json!({"id": 9, "at": 2})]);
    let joined = ended.skills["join"].seen.lock().unwrap()[0].params.clone();
    assert_eq!(joined, json!({"of": [{"of": 7}, {"of": 8}, {"of": 9}], "second": 8}));
}

#[test]
fn an_empty_list_is_done_at_once() {
    check(
        r#"
        skill look read: done
        step each look {"foreach": []}
        step after look {"with": {"of": "{{ steps.each.output }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 expanded each to 0
        0 settled 0 each success execution
        0 intended after#1 look
        0 done of after#1 by call, settle
        0 settled 1 after success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn an_element_that_fails_is_null_in_the_list_where_the_plan_goes_on() {
    let ended = check(
        r#"
        skill look read: done {"ok": 0} | failed | done {"ok": 2}
        skill join read: done
        plan {"max_parallel": 1}
        step each look {"foreach": ["a", "b", "c"], "on_error": "continue"}
        step all join {"when": "steps.each.status == 'failure'", "with": {"of": "{{ steps.each.output }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 expanded each to 3
        0 intended each/0#1 look
        0 done of each/0#1 by call, settle
        0 settled 0 each/0 success execution
        0 intended each/1#1 look
        0 failed of each/1#1 by call test.server, settle
        0 settled 1 each/1 failure server test.server
        0 intended each/2#1 look
        0 done of each/2#1 by call, settle
        0 settled 2 each/2 success execution
        0 settled 3 each failure server foreach.items_failed
        0 intended all#1 join
        0 done of all#1 by call, settle
        0 settled 4 all success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["join"].seen.lock().unwrap()[0].params, json!({"of": [{"ok": 0}, null, {"ok": 2}]}));
}

#[test]
fn a_fallback_takes_the_place_of_an_element_and_has_a_key_of_its_own() {
    let ended = check(
        r#"
        skill card unsafe: failed | done {"paid": 1}
        skill cash unsafe: done {"paid": "cash"}
        skill join read: done
        plan {"max_parallel": 1}
        step each card {"foreach": [5, 6], "on_error": "fallback", "fallback": {"skill": "cash", "with": {"sum": "{{ item }}"}}}
        step all join {"with": {"of": "{{ steps.each.output }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 expanded each to 2
        0 intended each/0#1 card
        0 failed of each/0#1 by call test.server, settle
        0 settled 0 each/0 failure server test.server
        0 intended each/0.fallback#1 cash
        0 done of each/0.fallback#1 by call, settle
        0 settled 1 each/0.fallback success execution
        0 intended each/1#1 card
        0 done of each/1#1 by call, settle
        0 settled 2 each/1 success execution
        0 settled 3 each success execution
        0 intended all#1 join
        0 done of all#1 by call, settle
        0 settled 4 all success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["cash"].seen.lock().unwrap()[0].params, json!({"sum": 5}));
    assert_eq!(ended.skills["join"].seen.lock().unwrap()[0].params, json!({"of": [{"paid": "cash"}, {"paid": 1}]}));
    let keys: Vec<String> = ["card", "cash"]
        .iter()
        .flat_map(|skill| {
            ended.skills[*skill].seen.lock().unwrap().iter().map(|seen| seen.key.clone()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{keys:?}");
}

#[test]
fn an_element_that_fails_breaks_the_run_unless_the_plan_says_otherwise() {
    check(
        r#"
        skill look read: failed
        plan {"max_parallel": 2}
        step each look {"foreach": [1, 2, 3]}
        step after look
        ---
        drive"#,
        "
        0 claimed 1
        0 expanded each to 3
        0 intended each/0#1 look
        0 intended each/1#1 look
        0 failed of each/0#1 by call test.server, settle
        0 settled 0 each/0 failure server test.server
        0 failed of each/1#1 by call test.server, settle
        0 settled 1 each/1 failure server test.server
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn what_is_no_list_or_too_long_fails_the_step() {
    check(
        r#"
        skill list read: done {"ids": "seven"}
        skill look read: done
        step ids list
        step each look {"foreach": "{{ steps.ids.output.ids }}", "on_error": "continue"}
        step after look {"foreach": "{{ steps.ids.output.none }}"}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended ids#1 list
        0 done of ids#1 by call, settle
        0 settled 0 ids success execution
        0 settled 1 each failure validation foreach.not_a_list
        0 settled 2 after failure reference reference.unresolved
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn the_runs_timeout_cuts_off_what_is_under_way() {
    check(
        r#"
        skill pay unsafe: hang
        skill look read: hang
        plan {"timeout_ms": 2000}
        step a pay {"needs": []}
        step b look {"needs": []}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 pay
        0 intended b#1 look
        2000 unknown of a#1 by call engine.run_timeout, hold
        2000 settled 0 a unknown timeout engine.run_timeout
        2000 failed of b#1 by call engine.run_timeout, retry at 2416.995
        2000 settled 1 b failure timeout engine.run_timeout
        2000 sealed failed run_timeout
        = failed",
    );
}

#[test]
fn the_runs_timeout_ends_a_run_that_waits() {
    check(
        r#"
        skill pay unsafe: unknown
        plan {"timeout_ms": 2000}
        step a pay
        ---
        drive
        later 1999
        drive
        later 1
        drive"#,
        "
        0 claimed 1
        0 intended a#1 pay
        0 unknown of a#1 by call test.reset, hold
        = waiting for a resolution of a
        nothing to do
        2000 claimed 2
        2000 settled 0 a unknown network test.reset
        2000 sealed failed run_timeout
        = failed",
    );
}

#[test]
fn a_cancellation_cuts_off_every_call_and_each_is_on_record() {
    check(
        r#"
        skill pay unsafe: hang
        skill look read: hang
        skill busy read: busy
        skill stop read: cancelled
        step a pay {"needs": []}
        step b look {"needs": []}
        step c busy {"needs": []}
        step d stop {"needs": []}
        step e look {"needs": ["a"]}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 pay
        0 intended b#1 look
        0 intended c#1 busy
        0 intended d#1 stop
        0 failed of c#1 by call test.server, retry at 324.833
        0 cancel requested
        0 settled 0 c failure server test.server
        0 failed of d#1 by call engine.cancelled, retry at 279.237
        0 settled 1 d failure interrupted engine.cancelled
        0 unknown of a#1 by call engine.cancelled, hold
        0 settled 2 a unknown interrupted engine.cancelled
        0 failed of b#1 by call engine.cancelled, retry at 416.995
        0 settled 3 b failure interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
}

#[test]
fn whoever_takes_over_finds_out_about_every_open_attempt() {
    check(
        r#"
        skill pay unsafe: after 20
        skill ask probeable: after 20
        probe ask: done
        skill look read: after 20 {"n": 1}
        step a pay {"needs": []}
        step b ask {"needs": []}
        step c look {"needs": []}
        step d look {"needs": ["c"], "with": {"n": "{{ steps.c.output.n }}"}}
        ---
        die 2
        drive
        resolve a not_done
        drive"#,
        "
        0 claimed 1
        0 intended a#1 pay
        0 intended b#1 ask
        0 intended c#1 look
        = the store is not available: the process died
        20 claimed 2
        20 unknown of a#1 by recovery engine.interrupted, hold
        20 done of b#1 by probe, settle
        20 settled 0 b success execution
        20 unknown of c#1 by recovery engine.interrupted, retry at 20
        20 intended c#2 look
        40 done of c#2 by call, settle
        40 settled 1 c success execution
        40 intended d#1 look
        60 done of d#1 by call, settle
        60 settled 2 d success execution
        = waiting for a resolution of a
        60 resolved a#1 not_done
        60 claimed 4
        60 settled 3 a failure resolved engine.interrupted
        60 sealed failed step_failed
        = failed",
    );
}

#[test]
fn outputs_have_the_names_that_the_plan_gives_them() {
    let ended = check(
        r#"
        skill list read: done {"n": 4}
        skill join read: done
        step ids list {"output_key": "numbers"}
        step all join {"with": {"n": "{{ outputs.numbers.n }}", "twice": "{{ outputs.numbers.n * 2 }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended ids#1 list
        0 done of ids#1 by call, settle
        0 settled 0 ids success execution
        0 intended all#1 join
        0 done of all#1 by call, settle
        0 settled 1 all success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["join"].seen.lock().unwrap()[0].params, json!({"n": 4, "twice": 8}));
}

#[test]
fn a_template_that_names_the_output_of_a_skipped_step_fails() {
    check(
        r#"
        skill look read: done {"n": 1}
        step a look
        step b look {"when": "false"}
        step c look {"with": {"n": "{{ steps.b.output.n }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 look
        0 done of a#1 by call, settle
        0 settled 0 a success execution
        0 settled 1 b skipped skipped when.false
        0 settled 2 c failure reference reference.unresolved
        0 sealed failed step_failed
        = failed",
    );
}

/// A call that nobody may repeat, and then a list of pure calls with large answers.
fn large_list(acts: &str) -> String {
    let text = "x".repeat(400_000);
    format!(
        r#"
        skill pay unsafe: done
        skill count pure: done "{text}"
        step a pay
        step b count {{"foreach": [1, 2, 3, 4, 5, 6, 7, 8, 9], "needs": ["a"]}}
        ---
        {acts}"#
    )
}

#[test]
fn pure_calls_do_not_hold_back_more_than_fits_into_one_append() {
    let whole = play(&large_list("drive"));
    assert!(whole.out.ends_with("= succeeded\n"), "{}", whole.out);
    audit(&whole.book);
    let largest = whole.book.largest_append();
    assert!(largest < 3_000_000, "an append of {largest} bytes");
}

#[test]
fn a_crash_among_pure_calls_loses_no_outcome_that_was_written_and_repeats_only_them() {
    let story = play(&large_list("die 3\ndrive"));
    assert!(story.out.ends_with("= succeeded\n"), "{}", story.out);
    audit(&story.book);
    assert_eq!(story.skills["pay"].seen.lock().unwrap().len(), 1, "{}", story.out);
    assert!(story.out.contains("unknown of b/3#1 by recovery engine.interrupted, retry at 0"), "{}", story.out);
}

#[test]
fn a_step_whose_condition_is_true_waits_for_a_place_and_then_begins() {
    check(
        r#"
        skill look read: after 10 {"n": 1}
        plan {"max_parallel": 1}
        step a look
        step b look {"needs": []}
        step c look {"needs": ["a"], "when": "steps.a.output.n == 1"}
        step d look {"needs": ["a"], "when": "steps.a.output.n == 2"}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 look
        10 done of a#1 by call, settle
        10 settled 0 a success execution
        10 intended b#1 look
        10 settled 1 d skipped skipped when.false
        20 done of b#1 by call, settle
        20 settled 2 b success execution
        20 intended c#1 look
        30 done of c#1 by call, settle
        30 settled 3 c success execution
        30 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_run_that_grows_too_large_for_a_bundle_ends() {
    let ended = check(
        r#"
        skill pay unsafe: unknown
        step a pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended a#1 pay
        0 unknown of a#1 by call test.reset, hold
        = waiting for a resolution of a",
    );
    let advance = |bytes: u64| {
        let mut run = ended.run.clone();
        run.bytes = bytes;
        let context = Context { now: run.last_at, seed: [7; 32], facts: &Skills::default() };
        decide(&run, Command::Advance, &context).unwrap()
    };
    assert!(matches!(advance((160 << 20) - 1).next, Next::Wait(..)));
    let decision = advance(160 << 20);
    assert_eq!(decision.next, Next::Ended(EndStatus::Failed));
    assert_eq!(decision.run.seal.unwrap().0.reason, EndReason::LimitReached);
    assert_eq!(decision.run.sums.unknown, 1, "what nobody knows stays said");
}
