//! One run with inputs, lists, a condition and a join: every decision about them is made again, and what is withheld is
//! skipped and said.

use runproof_engine::admission::admit;
use runproof_engine::replay;
use runproof_proof::bundle::{Bundle, Entry};
use runproof_proof::finding::{Code, Finding, Verdict};
use runproof_proof::trust::Trust;
use runproof_proof::verify::examine;
use serde_json::{Value, json};

use super::{found, recommit, renumber, values, withheld};
use crate::doubles::{START, block_on};
use crate::support::*;

/// A run with inputs, steps side by side, a list, another of which an element fails, a step that is skipped, and a join.
fn wide() -> Bundle {
    let subject = InMemory::begin();
    populate(subject.store().as_ref());
    let plan = json!({
        "schema": "runproof.plan/v1",
        "inputs": {"list": {"type": "list"}, "limit": {"type": "integer", "default": 3}},
        "steps": [
            {"id": "look", "skill": "look", "needs": []},
            {"id": "side", "skill": "sum", "needs": [], "with": {"limit": "{{ inputs.limit }}"}},
            {"id": "each", "skill": "look", "needs": ["look"], "foreach": "{{ inputs.list }}",
             "with": {"item": "{{ item }}", "n": "{{ steps.look.output.n }}"}},
            {"id": "some", "skill": "gone", "needs": [], "foreach": ["x"], "on_error": "continue"},
            {"id": "never", "skill": "look", "needs": ["look"], "when": "steps.look.output.n < inputs.limit"},
            {"id": "join", "skill": "pay", "needs": ["side", "each", "some", "never"],
             "with": {"all": "{{ steps.each.output.map(x, x.n) }}", "never": "{{ steps.never.status }}"}},
        ],
    });
    let mut asked = request(TENANT, "r_1", Some(plan));
    asked.inputs = Some(json!({"list": ["a", "b"]}));
    let process = Process::plain(subject.store() as _);
    let admitted = admit(asked).unwrap();
    let opened = block_on(subject.store().open_run(admitted, Some(WORKER.to_owned()), stamp(START))).unwrap();
    process.drive(claimed(opened)).unwrap();
    let report = prove(subject.as_ref(), TENANT, "r_1");
    assert_verdict(&report, Verdict::Verified);
    bundle(subject.store().as_ref(), TENANT, "r_1")
}

/// The event of a kind that is about a call, written `step` or `step#item`.
fn event_of(bundle: &Bundle, kind: &str, call: &str) -> usize {
    let (step, item) = call.split_once('#').map_or((call, None), |(step, item)| (step, Some(item)));
    let is_it = |entry: &Entry| {
        let body = serde_json::to_value(&entry.event.body).unwrap();
        let item_is = body.get("item").and_then(Value::as_str) == item;
        entry.event.body.kind() == kind && body["step_id"] == step && item_is
    };
    bundle.entries.iter().position(is_it).unwrap_or_else(|| panic!("no {kind} of {call}"))
}

/// Where replay first finds something.
fn first(findings: &[Finding]) -> (Code, Option<u64>, &str) {
    let first = findings.first().expect("something is found");
    (first.code, first.seq, &first.place)
}

#[test]
fn replay_names_what_was_changed_in_a_run_with_steps_side_by_side() {
    let bundle = wide();
    for (kind, call, field, to) in [
        ("step.expanded", "each", "count", json!(3)),
        ("step.expanded", "each", "plan_index", json!(3)),
        ("step.intended", "each#1", "item", json!("0")),
        ("step.intended", "each#1", "plan_index", json!(3)),
        ("step.settled", "never", "status", json!("success")),
        ("step.settled", "never", "category", json!("execution")),
        ("step.settled", "each#1", "status", json!("failure")),
        ("step.settled", "each", "status", json!("failure")),
        ("step.settled", "some", "status", json!("success")),
        ("step.settled", "some", "code", json!("skill.not_found")),
        ("step.settled", "some", "category", json!("client")),
    ] {
        let seq = event_of(&bundle, kind, call);
        let findings = found(&bundle, seq, &|event, _| event["body"][field] = to.clone());
        let place = format!("$.body.{field}");
        assert_eq!(first(&findings), (Code::ReplayDecision, Some(seq as u64), place.as_str()), "{kind} of {call}");
    }
}

#[test]
fn replay_names_a_list_its_elements_and_inputs_that_were_exchanged() {
    let bundle = wide();
    let (list, element) = (event_of(&bundle, "step.expanded", "each"), event_of(&bundle, "step.intended", "each#1"));
    let side = event_of(&bundle, "step.intended", "side");
    let first_element = event_of(&bundle, "step.intended", "each#0");
    let (look, planned) = (event_of(&bundle, "step.returned", "look"), 1);
    let check = |seq: usize, field: &str, change: &dyn Fn(&mut Value), (named, place): (usize, &str)| {
        let findings = found(&bundle, seq, &|event, payload| recommit(event, payload, field, change));
        assert_eq!(first(&findings), (Code::ReplayInput, Some(named as u64), place), "{field} of event {seq}");
    };
    check(list, "items", &|items| items[1] = json!("c"), (list, "payload.items"));
    check(element, "params", &|params| params["item"] = json!("c"), (element, "payload.params.item"));
    check(planned, "inputs", &|inputs| inputs["list"][1] = json!("c"), (list, "payload.items"));
    check(planned, "inputs", &|inputs| inputs["limit"] = json!(4), (side, "payload.params.limit"));
    check(look, "output", &|output| output["n"] = json!(8), (first_element, "payload.params.n"));
    // A limit above what was seen: the step would not have been skipped.
    let never = event_of(&bundle, "step.settled", "never");
    let findings = found(&bundle, planned, &|event, payload| {
        recommit(event, payload, "inputs", &|inputs| inputs["limit"] = json!(8));
    });
    assert!(findings.iter().any(|finding| finding.seq == Some(never as u64)), "{findings:#?}");
}

#[test]
fn replay_names_two_intents_in_another_order() {
    let bundle = wide();
    for (one, two) in [("look", "side"), ("each#0", "each#1")] {
        let (one, two) = (event_of(&bundle, "step.intended", one), event_of(&bundle, "step.intended", two));
        let mut swapped = bundle.clone();
        swapped.entries.swap(one, two);
        let swapped = renumber(&swapped);
        let mut report = examine(&swapped, &Trust::default());
        assert!(!report.findings.iter().any(|finding| finding.code == Code::StructureOrder), "{:#?}", report.findings);
        let replayed = replay::check(&swapped, &mut report);
        assert_eq!(replayed.findings.first().map(|finding| finding.seq), Some(Some(one as u64)), "{replayed:#?}");
        assert_eq!(report.verdict(), Verdict::Tampered);
    }
}

#[test]
fn replay_says_what_it_skips_where_a_list_an_input_or_an_output_is_withheld() {
    let bundle = wide();
    let whole = replay::replay(&bundle);
    assert_eq!((whole.findings.len(), whole.skipped), (0, 0), "{whole:#?}");
    let (list, element) = (event_of(&bundle, "step.expanded", "each"), event_of(&bundle, "step.intended", "each#1"));
    for (seq, field, skips) in [
        (1, "inputs", true),
        (1, "plan", true),
        (list, "items", true),
        (event_of(&bundle, "step.returned", "look"), "output", true),
        (event_of(&bundle, "step.returned", "each#0"), "output", true),
        (0, "goal", false),
        (element, "params", false),
        (event_of(&bundle, "step.returned", "join"), "output", false),
    ] {
        let hidden = withheld(&bundle, &[(seq, field)]);
        let mut report = examine(&hidden, &Trust::default());
        let replayed = replay::check(&hidden, &mut report);
        assert!(replayed.findings.is_empty(), "{field} of event {seq}: {replayed:#?}");
        assert_eq!(replayed.skipped > 0, skips, "{field} of event {seq}: {replayed:?}");
        assert_eq!(replayed.decisions + replayed.skipped, whole.decisions, "{field} of event {seq}");
        assert_ne!(report.verdict(), Verdict::Tampered);
    }
    let all = values(&bundle);
    let replayed = replay::replay(&withheld(&bundle, &all));
    assert!(replayed.findings.is_empty() && replayed.skipped > 0, "{replayed:#?}");
}
