//! Records that no engine writes, of which every hash agrees: replay names what gives them away.

use runproof_engine::draft::Draft;
use runproof_engine::replay::{self, Replay};
use runproof_engine::run::Run;
use runproof_engine::{plan, planner};
use runproof_proof::bundle::Bundle;
use runproof_proof::event::*;
use runproof_proof::payload::PayloadLine;
use runproof_proof::report::Check;
use runproof_proof::trust::Trust;
use runproof_proof::verify::examine;
use serde_json::{Value, json};

use crate::book::Book;
use crate::doubles::{START, operator};
use crate::scenarios::play;

const LOG: &str = "example.org/log";

/// A run that somebody else writes: created, and then whatever they like.
fn forge(planner: (&str, &str), goal: &str, write: impl FnOnce(&mut Draft)) -> Bundle {
    let mut draft = Draft::new(Run::new(LOG, "t_1", "r_1"), START, [3; 32]);
    let goal = json!(goal);
    draft
        .push(|c| {
            Ok(RunCreated {
                actor: operator(),
                agent: "a_1".to_owned(),
                beacon: None,
                engine: Engine { build: "test".to_owned(), version: "0".to_owned() },
                goal: c.commit("goal", &goal)?,
                origin_system_id: "tests".to_owned(),
                parent_run_id: None,
                plan_digest: None,
                planner: Versioned { name: planner.0.to_owned(), version: planner.1.to_owned() },
                policy_set: "builtin/empty@1".to_owned(),
                retry_of: None,
                run_id: "r_1".to_owned(),
                run_no: 1,
                synthetic_scenario_id: None,
            })
        })
        .unwrap();
    write(&mut draft);
    Book::new(&draft.run, draft.lines).bundle()
}

fn planned(draft: &mut Draft, plan: &Value, inputs: Option<&Value>) {
    let (plan_digest, step_count) = (plan::digest(plan).unwrap(), plan["steps"].as_array().unwrap().len() as u64);
    draft
        .push(|c| {
            let inputs = c.commit_some("inputs", inputs)?;
            Ok(RunPlanned { inputs, plan: c.commit("plan", plan)?, plan_digest, step_count })
        })
        .unwrap();
}

fn settled(draft: &mut Draft, step_id: &str, error: Option<&Value>) {
    let step_index = draft.run.steps.len() as u64;
    draft
        .push(|c| {
            Ok(StepSettled {
                attempts: 0,
                category: "skipped".to_owned(),
                code: Some("when.false".to_owned()),
                cost_microcents: 0,
                duration_us: 0,
                error: c.commit_some("error", error)?,
                item: None,
                plan_index: 0,
                skill: "look".to_owned(),
                status: StepStatus::Skipped,
                step_id: step_id.to_owned(),
                step_index,
            })
        })
        .unwrap();
}

fn sealed(draft: &mut Draft, status: EndStatus, reason: EndReason, error: Option<&Value>) {
    let run = &draft.run;
    let (event_count, run_root, step_count) = (run.next_seq, run.frontier.root(), run.steps.len() as u64);
    let totals = Totals { attempts: 0, cost_microcents: 0, duration_us: 0, resolved: 0, unknown: 0 };
    draft
        .push(|c| {
            let error = c.commit_some("error", error)?;
            Ok(RunSealed { error, event_count, reason, run_root, status, step_count, totals })
        })
        .unwrap();
}

fn places(bundle: &Bundle) -> Vec<String> {
    let Replay { findings, .. } = replay::replay(bundle);
    findings.iter().map(|finding| format!("{} {}", finding.seq.unwrap(), finding.place)).collect()
}

fn skipped_plan() -> Value {
    json!({"schema": "runproof.plan/v1", "steps": [{"id": "a", "skill": "look", "when": "false"}]})
}

#[test]
fn a_run_without_a_plan_ends_as_failed_or_cancelled_and_in_no_other_way() {
    let end = |status, reason, cancel: bool| {
        let error = json!("there was no plan");
        places(&forge(planner::STUB, "http://", |draft| {
            if cancel {
                draft.push(|_| Ok(RunCancelRequested { actor: operator(), reason: None })).unwrap();
            }
            sealed(draft, status, reason, (!cancel).then_some(&error));
        }))
    };
    assert!(end(EndStatus::Failed, EndReason::PlannerFailed, false).is_empty());
    assert!(end(EndStatus::Cancelled, EndReason::CancelRequested, true).is_empty());
    assert_eq!(
        end(EndStatus::Succeeded, EndReason::PlanCompleted, false),
        ["1 $.body.reason", "1 $.body.status"],
        "nothing was done, and it succeeded"
    );
    assert_eq!(end(EndStatus::Failed, EndReason::PlannerFailed, true)[0], "2 $.body.reason");
}

#[test]
fn no_step_of_a_run_without_a_plan_settles() {
    let mut draft = Draft::new(Run::new(LOG, "t_1", "r_1"), START, [3; 32]);
    let bundle = forge(planner::STUB, "http://", |_| {});
    draft.run.apply(&bundle.entries[0].event, bundle.entries[0].leaf, &std::collections::BTreeMap::new()).unwrap();
    let settled = StepSettled {
        attempts: 0,
        category: "execution".to_owned(),
        code: None,
        cost_microcents: 0,
        duration_us: 0,
        error: None,
        item: None,
        plan_index: 0,
        skill: "pay".to_owned(),
        status: StepStatus::Success,
        step_id: "pay".to_owned(),
        step_index: 0,
    };
    assert!(draft.push(|_| Ok(settled)).is_err());
}

#[test]
fn a_plan_that_the_stub_planner_does_not_make_is_named() {
    let bundle = forge(planner::STUB, "say hello", |draft| planned(draft, &skipped_plan(), None));
    assert_eq!(places(&bundle), ["1 $.body.plan_digest"]);
    let bundle = forge(planner::STUB, "say hello", |draft| planned(draft, &planner::stub("say hello").unwrap(), None));
    assert!(places(&bundle).is_empty());
    let error = json!("it did not want to");
    let bundle = forge(planner::STUB, "say hello", |draft| {
        sealed(draft, EndStatus::Failed, EndReason::PlannerFailed, Some(&error));
    });
    assert_eq!(places(&bundle), ["1 $.kind"], "it makes a plan of this goal");
}

#[test]
fn a_given_plan_that_was_not_given_with_the_request_is_named() {
    let bundle = forge(planner::STATIC, "say hello", |draft| planned(draft, &skipped_plan(), None));
    assert_eq!(places(&bundle), ["1 $.body.plan_digest"]);
}

#[test]
fn inputs_that_the_plan_does_not_declare_are_named() {
    let found = |inputs: Option<Value>| {
        let mut plan = skipped_plan();
        plan["inputs"] = json!({"n": {"type": "integer"}});
        places(&forge(("anyone", "1"), "say hello", |draft| planned(draft, &plan, inputs.as_ref())))
    };
    assert!(found(Some(json!({"n": 1}))).is_empty());
    for inputs in [None, Some(json!({"n": "1"})), Some(json!({"n": 1, "m": 1})), Some(json!({})), Some(json!([1]))] {
        assert_eq!(found(inputs.clone()), ["1 payload.inputs"], "{inputs:?}");
    }
}

#[test]
fn a_text_that_the_engine_does_not_write_is_named() {
    let text = json!("all is well");
    let bundle = forge(("anyone", "1"), "say hello", |draft| {
        planned(draft, &skipped_plan(), None);
        settled(draft, "a", Some(&text));
        sealed(draft, EndStatus::Succeeded, EndReason::PlanCompleted, Some(&text));
    });
    assert_eq!(places(&bundle), ["2 $.body.error", "3 $.body.error"]);
}

#[test]
fn replay_claims_nothing_while_a_decision_could_not_be_made_again() {
    let plan = json!({"schema": "runproof.plan/v1", "steps": [{"id": "a", "skill": "look", "when": "goal == 'x'"}]});
    let whole = forge(("anyone", "1"), "say hello", |draft| {
        planned(draft, &plan, None);
        settled(draft, "a", None);
        sealed(draft, EndStatus::Succeeded, EndReason::PlanCompleted, None);
    });
    let result = |bundle: &Bundle| {
        let mut report = examine(bundle, &Trust::default());
        replay::check(bundle, &mut report);
        report.checks().into_iter().find(|check| check.check == Check::Replay.word()).unwrap().result
    };
    assert_eq!(result(&whole), "passed");
    let mut withheld = whole.clone();
    withheld.entries[0].payload = Some(PayloadLine::withheld());
    assert_eq!(result(&withheld), "not_checked");
}

#[test]
fn what_begins_while_the_run_is_paused_is_named() {
    let skips = |resumed: bool| {
        places(&forge(("anyone", "1"), "say hello", |draft| {
            planned(draft, &skipped_plan(), None);
            draft.push(|_| Ok(RunPaused { actor: operator(), reason: None })).unwrap();
            if resumed {
                draft.push(|_| Ok(RunResumed { actor: operator(), reason: None })).unwrap();
            }
            settled(draft, "a", None);
        }))
    };
    assert!(skips(true).is_empty());
    assert_eq!(skips(false), ["3 $.kind"]);
    let plan = json!({"schema": "runproof.plan/v1", "steps": [{"id": "a", "skill": "look"}]});
    let calls = places(&forge(("anyone", "1"), "say hello", |draft| {
        planned(draft, &plan, None);
        draft.push(|_| Ok(RunPaused { actor: operator(), reason: None })).unwrap();
        let params = json!({});
        draft
            .push(|c| {
                Ok(StepIntended {
                    attempt: 1,
                    cost_limit_microcents: 0,
                    effect: EffectClass::Read,
                    gate: GateRecord::new(Decision::Allow, "builtin/empty@1"),
                    idempotency_key: "key".to_owned(),
                    item: None,
                    params: c.commit("params", &params)?,
                    plan_index: 0,
                    skill: "look".to_owned(),
                    skill_version: "1".to_owned(),
                    step_id: "a".to_owned(),
                    timeout_us: 1,
                })
            })
            .unwrap();
    }));
    assert_eq!(calls, ["3 $.kind"]);
}

#[test]
fn a_withheld_value_hides_only_the_decisions_of_the_step_that_names_it() {
    let story = play(
        r#"
        skill look read: done {"n": 1}
        skill pay unsafe: done
        step a look
        step b pay {"with": {"n": "{{steps.a.output.n}}"}}
        step c pay
        step d pay {"with": {"n": "{{steps.c.output.n}}"}, "on_error": "continue"}
        ---
        drive"#,
    );
    let mut bundle = story.book.bundle();
    let whole = replay::replay(&bundle);
    assert_eq!((whole.findings.len(), whole.skipped), (0, 0));
    let answer = bundle.entries.iter_mut().find(|entry| matches!(entry.event.body, Body::StepReturned(_))).unwrap();
    answer.payload = Some(PayloadLine::withheld());
    let replayed = replay::replay(&bundle);
    assert_eq!(replayed.findings, []);
    // The intent of `b` with what it took from `a`, and its settlement.
    assert_eq!((replayed.skipped, replayed.decisions), (2, whole.decisions - 2));
}
