//! What goes into a call and what comes out of it, and what cannot be recorded.

use super::*;

#[test]
fn a_skill_that_is_not_found_settles_the_step_and_is_not_tried_again() {
    let ended = check(
        r#"
        step gone nowhere
        ---
        drive"#,
        "
        0 claimed 1
        0 settled 0 gone failure not_found skill.not_found
        0 sealed failed step_failed
        = failed",
    );
    let error = ended.run.steps[0].error.clone().unwrap();
    assert_eq!(*error, json!("Skill not found: nowhere"));
}

#[test]
fn parameters_that_do_not_fit_settle_the_step_before_anything_is_called() {
    let ended = check(
        r#"
        skill pay unsafe: done
        step pay pay {"with": {"wrong": 1}}
        ---
        drive"#,
        "
        0 claimed 1
        0 settled 0 pay failure validation params.invalid
        0 sealed failed step_failed
        = failed",
    );
    assert!(ended.skills["pay"].seen.lock().unwrap().is_empty());
}

#[test]
fn references_keep_the_json_types_of_what_they_name() {
    let ended = check(
        r#"
        skill look read: done {"n": 7, "flag": true, "list": [1, "two"], "nothing": null, "deep": {"a": {"b": 3}}}
        skill pay unsafe: done
        step look look
        step pay pay {"with": {"n": "{{ steps.look.output.n }}", "flag": "{{ steps.look.output.flag }}", "list": "{{ steps.look.output.list }}", "nothing": "{{ steps.look.output.nothing }}", "deep": "{{ steps.look.output.deep }}", "text": "n={{ steps.look.output.n }}", "run": "{{ run.id }}", "who": "{{ run.tenant }}/{{ run.agent }}", "goal": "{{ goal }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended look#1 look
        0 done of look#1 by call, settle
        0 settled 0 look success execution
        0 intended pay#1 pay
        0 done of pay#1 by call, settle
        0 settled 1 pay success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    let params = ended.skills["pay"].seen.lock().unwrap()[0].params.clone();
    let expected = json!({
        "n": 7, "flag": true, "list": [1, "two"], "nothing": null, "deep": {"a": {"b": 3}}, "text": "n=7", "run": "r_1",
        "who": "t_1/a_1", "goal": "tell a story"
    });
    assert_eq!(params, expected);
}

#[test]
fn a_reference_to_what_is_not_there_fails_the_step() {
    check(
        r#"
        skill look read: done {"n": 7}
        skill pay unsafe: done
        step look look
        step pay pay {"with": {"n": "{{ steps.look.output.m }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended look#1 look
        0 done of look#1 by call, settle
        0 settled 0 look success execution
        0 settled 1 pay failure reference reference.unresolved
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn a_reference_to_a_redacted_value_fails_the_step() {
    let ended = check(
        r#"
        skill look read: done {"api_key": "k-123456789", "n": 7}
        skill pay unsafe: done
        step look look
        step pay pay {"with": {"key": "{{ steps.look.output.api_key }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended look#1 look
        0 done of look#1 by call, settle
        0 settled 0 look success execution
        0 settled 1 pay failure reference reference.redacted
        0 sealed failed step_failed
        = failed",
    );
    assert!(ended.skills["pay"].seen.lock().unwrap().is_empty());
    assert!(
        ended
            .book
            .lines()
            .iter()
            .all(|line| !String::from_utf8_lossy(line.payload.as_deref().unwrap_or_default()).contains("k-123456789"))
    );
}

#[test]
fn a_secret_reaches_the_skill_and_never_the_record() {
    let ended = check(
        r#"
        secret TOKEN s3cr3t-v4lu3
        skill pay unsafe: done {"echo": "you sent s3cr3t-v4lu3"}
        step pay pay {"with": {"auth": "secret://TOKEN"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 done of pay#1 by call, settle
        0 settled 0 pay success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["pay"].seen.lock().unwrap()[0].params, json!({"auth": "s3cr3t-v4lu3"}));
    for line in ended.book.lines() {
        assert!(!String::from_utf8_lossy(line.payload.as_deref().unwrap_or_default()).contains("s3cr3t"));
    }
}

#[test]
fn a_missing_secret_fails_the_step_before_anything_is_called() {
    let ended = check(
        r#"
        skill pay unsafe: done
        step pay pay {"with": {"auth": "secret://TOKEN"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 not_done of pay#1 by call secret.missing, settle
        0 settled 0 pay failure secret secret.missing
        0 sealed failed step_failed
        = failed",
    );
    assert!(ended.skills["pay"].seen.lock().unwrap().is_empty());
}

#[test]
fn an_error_text_that_cannot_be_recorded_does_not_stop_the_run() {
    let ended = check(
        r#"
        skill pay unsafe: says broken\0pipe
        step pay pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 failed of pay#1 by call test.said, settle
        0 settled 0 pay failure client test.said
        0 sealed failed step_failed
        = failed",
    );
    assert_eq!(ended.run.error.as_deref(), Some(&json!("step `pay` (pay) failed: test.said")));
}

#[test]
fn an_output_that_cannot_be_recorded_fails_the_step_and_takes_its_writes_with_it() {
    let ended = check(
        r#"
        skill note transactional: writes {"half": 0.5}
        step note note
        ---
        drive"#,
        "
        0 claimed 1
        0 intended note#1 note
        0 failed of note#1 by call engine.output_unrecordable, settle
        0 settled 0 note failure internal engine.output_unrecordable
        0 sealed failed step_failed
        = failed",
    );
    assert_eq!(ended.book.writes(), []);
}

#[test]
fn a_cost_out_of_all_reason_does_not_make_the_run_unreadable() {
    let ended = check(
        r#"
        skill pay unsafe: costs 18446744073709551615
        step pay pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 done of pay#1 by call, settle
        0 settled 0 pay success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.run.sums.cost_microcents, (1 << 53) - 1);
}

#[test]
fn parameters_that_cannot_be_recorded_fail_the_step_instead_of_the_engine() {
    let deep = |levels: usize, core: &str| format!("{}{core}{}", "[".repeat(levels), "]".repeat(levels));
    let script = format!(
        r#"
        skill look read: done {}
        skill pay unsafe: done
        step look look
        step pay pay {{"with": {{"deep": {}}}}}
        ---
        drive"#,
        deep(60, "1"),
        deep(30, r#""{{ steps.look.output }}""#)
    );
    let ended = check(
        &script,
        "
        0 claimed 1
        0 intended look#1 look
        0 done of look#1 by call, settle
        0 settled 0 look success execution
        0 settled 1 pay failure validation params.unrecordable
        0 sealed failed step_failed
        = failed",
    );
    assert!(ended.skills["pay"].seen.lock().unwrap().is_empty());
}

#[test]
fn times_never_go_back_in_the_record() {
    check(
        r#"
        skill pay idempotent: busy | done
        step pay pay {"retry": {"initial_delay_ms": 5000}}
        ---
        once
        clock 20000
        once
        once"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 failed of pay#1 by call test.server, retry at 4156.894
        = until 4156.894
        nothing to do
        nothing to do",
    );
}

#[test]
fn a_planner_that_fails_ends_the_run_on_the_record() {
    let admitted = admit(RunRequest { goal: "fetch http://".to_owned(), ..request(None) }).unwrap();
    let opening = open(&admitted, "example.org/log", &StreamHead::default(), 1, START, [7; 32]).unwrap();
    let kinds: Vec<String> = opening.lines.iter().map(|line| told(&Event::decode(&line.bytes).unwrap().body)).collect();
    assert_eq!(kinds, ["run.created", "sealed failed planner_failed"]);
    let book = Book::new(&opening.run, opening.lines);
    assert_eq!(book.load().error.as_deref(), Some(&json!("the URL in the goal has no host")));
    audit(&book);
    assert!(block_on(book.claim("w_1", u64::MAX, 1)).unwrap().taken.is_empty());
}
