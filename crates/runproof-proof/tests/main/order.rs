//! What a run without its plan still gives away: calls that no plan asks for, and ends that do not fit.

use runproof_proof::event::{AttemptOutcome, EndReason, EndStatus, StepStatus, Then};
use runproof_proof::finding::{Code, Finding};
use runproof_proof::verify;
use serde_json::json;

use crate::bundles::trust;
use crate::runs::{self, Attempt, RUN, Run, TENANT, attempt};

fn done() -> [Attempt; 1] {
    [attempt(json!({}), AttemptOutcome::Done, json!(1))]
}

fn failed() -> [Attempt; 1] {
    [attempt(json!({}), AttemptOutcome::Failed, json!("503"))]
}

fn completed(run: Run<'_>) {
    run.seal(EndStatus::Succeeded, EndReason::PlanCompleted);
}

/// Places of what is wrong with the order of a run, which must be all that is wrong with its bundle.
fn unplanned(write: impl FnOnce(Run<'_>)) -> Vec<String> {
    let mut journal = runs::ledger();
    write(Run::create(&mut journal, TENANT, RUN, json!("Refund")));
    let report = verify(&journal.bundle(TENANT, RUN).encode().unwrap(), &trust(Some("trust.json")));
    let place = |finding: &Finding| {
        assert_eq!(finding.code, Code::StructureOrder, "{finding:?}");
        finding.place.clone()
    };
    report.findings.iter().map(place).collect()
}

/// The same for a run with a plan of two steps.
fn wrong(write: impl FnOnce(Run<'_>)) -> Vec<String> {
    unplanned(|mut run| {
        run.plan(&json!({"steps": [{"id": "a"}, {"id": "b"}]}));
        write(run);
    })
}

#[test]
fn lists_fallbacks_and_skipped_steps_are_honest() {
    let lists = wrong(|mut run| {
        run.expand("a", 0, 11);
        run.step("a#0", 0, &failed());
        run.step("a#10", 0, &done());
        run.step("a#0.fallback", 0, &done());
        run.settle("a", 0, 0, 0, StepStatus::Success);
        run.step("b", 1, &failed());
        run.step("b#fallback", 1, &done());
        completed(run);
    });
    let without_calls = wrong(|mut run| {
        run.settle("a", 0, 0, 0, StepStatus::Skipped);
        run.expand("b", 1, 0);
        run.settle("b", 1, 0, 0, StepStatus::Success);
        completed(run);
    });
    let longest = wrong(|mut run| {
        run.expand("a", 0, 1_000);
        run.step("a#999", 0, &failed());
        run.seal(EndStatus::Failed, EndReason::StepFailed);
    });
    assert_eq!([lists, without_calls, longest].concat(), [""; 0]);
}

#[test]
fn a_step_succeeds_without_an_attempt_only_after_its_list() {
    for (call, status, expected) in [
        ("a", StepStatus::Success, &["$.body.attempts"][..]),
        ("b#0", StepStatus::Success, &["$.body.attempts"]),
        ("b", StepStatus::Success, &[]),
        ("a", StepStatus::Failure, &[]),
        ("b#0", StepStatus::Failure, &[]),
    ] {
        let found = wrong(|mut run| {
            run.expand("b", 1, 1);
            run.settle(call, u32::from(call != "a"), 0, 0, status);
            completed(run);
        });
        assert_eq!(found, expected, "{call} {status}");
    }
}

#[test]
fn nothing_of_a_step_comes_before_the_one_plan() {
    let plan = json!({"steps": [{"id": "a"}, {"id": "b"}]});
    let before = unplanned(|mut run| {
        run.step("a", 0, &done());
        run.expand("b", 1, 0);
        run.plan(&plan);
        completed(run);
    });
    assert_eq!(before, ["$.kind"; 3], "intended, settled, expanded");
    let twice = wrong(|mut run| {
        run.plan(&plan);
        completed(run);
    });
    assert_eq!(twice, ["$.kind"]);
}

#[test]
fn a_list_comes_once_before_the_calls_and_is_not_too_long() {
    let twice = wrong(|mut run| {
        run.expand("a", 0, 1);
        run.expand("a", 0, 1);
        completed(run);
    });
    let after_call = wrong(|mut run| {
        run.step("a", 0, &done());
        run.expand("a", 0, 1);
        completed(run);
    });
    let after_skip = wrong(|mut run| {
        run.settle("a", 0, 0, 0, StepStatus::Skipped);
        run.expand("a", 0, 1);
        completed(run);
    });
    assert_eq!([twice, after_call, after_skip], [["$.body.step_id"]; 3]);
    let long = wrong(|mut run| {
        run.expand("a", 0, 1_001);
        completed(run);
    });
    assert_eq!(long, ["$.body.count"]);
}

#[test]
fn an_item_names_an_element_or_the_fallback_of_a_failed_call() {
    // `a` has a list of three, of which the first failed and the second succeeded; `b` succeeded.
    for item in [
        "a#3",
        "a#02",
        "a#+2",
        "a#-1",
        "a#99999999999999999999",
        "a#",
        "a#x",
        "a#fallback",
        "a#.fallback",
        "a#1.fallback",
        "a#2.fallback",
        "a#3.fallback",
        "a#00.fallback",
        "a#0.fallback.fallback",
        "b#0",
        "b#fallback",
        "b#0.fallback",
    ] {
        let found = wrong(|mut run| {
            run.expand("a", 0, 3);
            run.step("a#0", 0, &failed());
            run.step("a#1", 0, &done());
            run.step("b", 1, &done());
            run.step(item, u32::from(item.starts_with('b')), &done());
            completed(run);
        });
        assert_eq!(found, ["$.body.item"; 2], "{item}: intended and settled");
    }
    let own = wrong(|mut run| {
        run.expand("a", 0, 3);
        run.step("a", 0, &done());
        completed(run);
    });
    assert_eq!(own, ["$.body.item"], "a step with a list has no call of its own");
}

#[test]
fn a_step_has_one_position_and_a_position_one_step() {
    let moved = wrong(|mut run| {
        run.intend("a", 0, 1, json!({}));
        run.returned("a", 1, &done()[0], Then::Settle);
        run.settle("a", 1, 1, done()[0].cost, StepStatus::Success);
        completed(run);
    });
    assert_eq!(moved, ["$.body.plan_index"]);
    let shared = wrong(|mut run| {
        run.expand("a", 0, 0);
        run.settle("b", 0, 0, 0, StepStatus::Skipped);
        completed(run);
    });
    assert_eq!(shared, ["$.body.step_id"]);
    let beyond = wrong(|mut run| {
        run.settle("c", 2, 0, 0, StepStatus::Skipped);
        completed(run);
    });
    assert_eq!(beyond, ["$.body.plan_index"]);
}

#[test]
fn a_reason_goes_with_one_status() {
    let all_statuses = [EndStatus::Succeeded, EndStatus::Failed, EndStatus::Halted, EndStatus::Cancelled];
    for (reason, fitting) in [
        (EndReason::PlanCompleted, EndStatus::Succeeded),
        (EndReason::StepFailed, EndStatus::Failed),
        (EndReason::RunTimeout, EndStatus::Failed),
        (EndReason::LimitReached, EndStatus::Failed),
        (EndReason::GateFailed, EndStatus::Halted),
        (EndReason::PolicyHalt, EndStatus::Halted),
        (EndReason::BudgetExhausted, EndStatus::Halted),
        (EndReason::CancelRequested, EndStatus::Cancelled),
    ] {
        for status in all_statuses {
            let found = wrong(|mut run| {
                run.cancel();
                run.seal(status, reason);
            });
            let expected: &[&str] = if status == fitting { &[] } else { &["$.body.reason"] };
            assert_eq!(found, expected, "{status} {reason}");
        }
    }
}

#[test]
fn a_reason_goes_with_what_happened() {
    let nobody_cancelled = wrong(|run| run.seal(EndStatus::Cancelled, EndReason::CancelRequested));
    let planned_all_the_same = wrong(|run| run.seal(EndStatus::Failed, EndReason::PlannerFailed));
    let nothing_to_complete = unplanned(completed);
    assert_eq!([nobody_cancelled, planned_all_the_same, nothing_to_complete], [["$.body.reason"]; 3]);
    assert!(unplanned(|run| run.seal(EndStatus::Failed, EndReason::PlannerFailed)).is_empty());
}

#[test]
fn nothing_begins_while_a_run_is_paused_and_what_is_under_way_ends() {
    let honest = wrong(|mut run| {
        run.expand("a", 0, 1);
        run.intend("a#0", 0, 1, json!({}));
        run.pause();
        run.returned("a#0", 1, &done()[0], Then::Settle);
        run.settle("a#0", 0, 1, done()[0].cost, StepStatus::Success);
        run.settle("a", 0, 0, 0, StepStatus::Success);
        run.resume();
        run.pause();
        run.resume();
        run.step("b", 1, &done());
        completed(run);
    });
    assert_eq!(honest, [""; 0]);
    type Begin = fn(&mut Run<'_>);
    let begun: [(&str, Begin); 5] = [
        ("a call", |run| {
            run.intend("a", 0, 1, json!({}));
            run.returned("a", 1, &failed()[0], Then::Settle);
            run.settle("a", 0, 1, failed()[0].cost, StepStatus::Failure);
        }),
        ("a list", |run| run.expand("a", 0, 1)),
        ("a step that is skipped", |run| run.settle("a", 0, 0, 0, StepStatus::Skipped)),
        ("an element that cannot be tried", |run| {
            run.resume();
            run.expand("a", 0, 1);
            run.pause();
            run.settle("a#0", 0, 0, 0, StepStatus::Failure);
        }),
        ("another pause", |run| run.pause()),
    ];
    for (what, begin) in begun {
        let found = wrong(|mut run| {
            run.pause();
            begin(&mut run);
            run.seal(EndStatus::Failed, EndReason::StepFailed);
        });
        assert_eq!(found, ["$.kind"], "{what}");
    }
    let resumed = wrong(|mut run| {
        run.resume();
        completed(run);
    });
    assert_eq!(resumed, ["$.kind"], "nobody paused it");
}
