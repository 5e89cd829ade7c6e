//! Replay over recorded runs: whatever an honest engine records comes out the same again, and no decision can be changed
//! without its place being named, even by somebody who makes all hashes and the seal agree afterwards.

mod graph;

use std::sync::Arc;

use proptest::prelude::*;
use runproof_engine::decide::Command;
use runproof_engine::driver::Left;
use runproof_engine::ports::{Clock as _, StoreError};
use runproof_engine::replay;
use runproof_engine::skill::{EffectClass, Guard, Probe, Skill, Write};
use runproof_proof::bundle::{Bundle, Entry};
use runproof_proof::event::{Event, Resolution};
use runproof_proof::finding::{Code, Finding, Verdict};
use runproof_proof::hash::Hash;
use runproof_proof::merkle::Frontier;
use runproof_proof::payload::{Payload, PayloadLine};
use runproof_proof::report::Check;
use runproof_proof::trust::Trust;
use runproof_proof::verify::examine;
use runproof_proof::{canonical, commit};
use runproof_store::Store;
use runproof_store::faults::{Fault, FaultPlan, Faulty};
use serde_json::{Value, json};

use crate::doubles::{Answer, Cancel, FakeClock, START, Scripted, Seeds, block_on, operator};
use crate::model::bundles;
use crate::on_postgres::OnPostgres;
use crate::support::*;

/// A plan, what its skills answer, and what people and crashes do to the run.
#[derive(Clone, Debug)]
struct Tale {
    steps: Vec<Value>,
    answers: Vec<Vec<Answer>>,
    probes: Vec<Option<Probe>>,
    crash: Option<(u64, Fault)>,
    person: Person,
}

/// What a person does about a run that waits.
#[derive(Clone, Copy, Debug)]
enum Person {
    SaysDone,
    SaysNotDone,
    Cancels,
}

const SKILLS: [EffectClass; 6] = [
    EffectClass::Pure,
    EffectClass::Read,
    EffectClass::Idempotent,
    EffectClass::Transactional,
    EffectClass::Probeable,
    EffectClass::Unsafe,
];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"n": 7, "list": [1, {"deep": null}], "flag": true})),
        Just(json!({"n": "text"})),
        Just(json!(["only", "a", "list"])),
        Just(json!({"api_key": "k-1234567890", "n": 1})),
        Just(Value::Null),
        Just(json!({"half": 0.5})),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        5 => value().prop_map(Answer::Done),
        1 => value().prop_map(|value| Answer::Writes(value, vec![Write::Put { key: "k".to_owned(), value: b"1".to_vec(), expires_at: None, guard: Guard::Any }])),
        2 => any::<bool>().prop_map(|retryable| Answer::Failed { retryable, retry_after_ms: None }),
        1 => Just(Answer::Failed { retryable: true, retry_after_ms: Some(90_000) }),
        1 => Just(Answer::Says("it said \u{0} and more".to_owned())),
        1 => Just(Answer::NotDone),
        2 => Just(Answer::Unknown),
        1 => Just(Answer::Hangs),
        1 => Just(Answer::Cancelled),
        1 => (0u64..5000).prop_map(Answer::Costs),
    ]
}

fn skill() -> impl Strategy<Value = String> {
    prop_oneof![12 => (0..SKILLS.len()).prop_map(|index| SKILLS[index].word().to_owned()), 1 => Just("gone".to_owned())]
}

fn with(place: usize) -> impl Strategy<Value = Value> {
    let earlier = (0..place.max(1))
        .prop_map(move |step| if place == 0 { "goal".to_owned() } else { format!("steps.s_{step}.output") });
    prop_oneof![
        Just(json!({})),
        Just(json!({"fixed": [1, 2], "goal": "{{ goal }} of {{ run.agent }}"})),
        earlier.clone().prop_map(|from| json!({"whole": format!("{{{{ {from} }}}}")})),
        (1..place.max(2)).prop_map(move |step| if place == 0 {
            json!({})
        } else {
            json!({"n": format!("{{{{ steps.s_{}.output.n }}}}", step - 1), "k": 1})
        }),
        Just(json!({"wrong": "on purpose"})),
    ]
}

fn step(place: usize) -> impl Strategy<Value = Value> {
    let on_error = prop_oneof![
        2 => Just(None).boxed(),
        3 => Just(Some(("continue", None))).boxed(),
        2 => (skill(), with(place)).prop_map(|(skill, with)| Some(("fallback", Some(json!({"skill": skill, "with": with}))))).boxed(),
    ];
    let on_unknown = prop::sample::select(vec!["hold", "retry", "assume_done", "fail"]);
    (skill(), with(place), 1u64..4, prop::sample::select(vec![0u64, 300, 4000]), on_error, on_unknown, any::<bool>()).prop_map(
        move |(skill, with, attempts, delay, on_error, on_unknown, hurried)| {
            let retry = json!({"max_attempts": attempts, "initial_delay_ms": delay, "max_delay_ms": delay * 2});
            let mut step = json!({"id": format!("s_{place}"), "skill": skill, "with": with, "retry": retry, "on_unknown": on_unknown});
            if hurried {
                step["timeout_ms"] = json!(1500);
            }
            if let Some((word, fallback)) = on_error {
                step["on_error"] = json!(word);
                if let Some(fallback) = fallback {
                    step["fallback"] = fallback;
                }
            }
            step
        },
    )
}

fn tale() -> impl Strategy<Value = Tale> {
    let probe = prop_oneof![
        Just(Some(Probe::Done { output: json!({"n": 1}) })),
        Just(Some(Probe::NotDone)),
        Just(Some(Probe::Unknown)),
        Just(None),
    ];
    let steps = (1usize..6).prop_flat_map(|count| (0..count).map(step).collect::<Vec<_>>());
    let answers = prop::collection::vec(prop::collection::vec(answer(), 1..4), SKILLS.len());
    let crash = prop::option::of((2u64..9, prop::sample::select(vec![Fault::Before, Fault::After])));
    let person = prop::sample::select(vec![Person::SaysDone, Person::SaysNotDone, Person::Cancels]);
    (steps, answers, prop::collection::vec(probe, 1..3), crash, person)
        .prop_map(|(steps, answers, probes, crash, person)| Tale { steps, answers, probes, crash, person })
}

/// Drives the tale to its end; answers its proof.
fn live(tale: &Tale, begin: fn() -> Box<dyn Subject>) -> (Box<dyn Subject>, Bundle) {
    let mut subject = begin();
    populate(subject.store().as_ref());
    let (clock, seeds, cancel) = (FakeClock::new(), Arc::new(Seeds::default()), Arc::new(Cancel::default()));
    let skills: Vec<Arc<dyn Skill>> = SKILLS
        .iter()
        .zip(&tale.answers)
        .map(|(effect, answers)| {
            let skill = Scripted::new(effect.word(), *effect, answers.clone(), &cancel);
            skill.probes(tale.probes.clone());
            skill as Arc<dyn Skill>
        })
        .collect();
    let process = |store: Arc<dyn Store>| Process {
        cancel: Arc::clone(&cancel),
        ..Process::new(store as _, skills.clone(), &clock, &seeds)
    };
    let opened = claimed(open(subject.store().as_ref(), TENANT, "r_1", plan(Value::Array(tale.steps.clone()))));
    if let Some((nth, fault)) = tale.crash {
        let lived = process(Arc::new(Faulty::new(subject.store(), FaultPlan::new(nth, fault)))).drive(opened);
        assert!(matches!(lived, Ok(_) | Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))), "{lived:?}");
        clock.set(clock.now() - 5_000_000); // the next process runs where the clock is behind
    } else {
        process(subject.store()).drive(opened).unwrap();
    }
    subject.restart();
    end(subject.as_ref(), &process(subject.store()), tale.person);
    let bundle = bundle(subject.store().as_ref(), TENANT, "r_1");
    (subject, bundle)
}

/// Goes on until the run is over; a person helps where one has to.
fn end(subject: &dyn Subject, process: &Process, person: Person) {
    for _ in 0..40 {
        process.drive_all_due();
        let run = load(subject.store().as_ref(), TENANT, "r_1");
        let Some((runproof_engine::run::WaitReason::Resolution(call), _)) = run.wait_since() else {
            assert!(run.seal.is_some(), "nothing is due, and the run is {}", run.status().word());
            return;
        };
        let resolution = match person {
            Person::SaysDone => Resolution::Done,
            Person::SaysNotDone => Resolution::NotDone,
            Person::Cancels => {
                process.cancel.ask();
                let claimed = block_on(process.journal.claim_run(WORKER, TENANT, "r_1")).unwrap().unwrap();
                let (_, left) = process.drive(claimed).unwrap();
                assert!(matches!(left, Left::Ended(_)));
                return;
            }
        };
        let command = Command::Resolve { call, resolution, actor: operator(), reason: "asked".to_owned() };
        process.apply(TENANT, "r_1", command).unwrap().unwrap();
    }
    panic!("the run never ends");
}

/// What somebody does who can write everything but the log's signature: changes the event at `seq`, and makes every hash
/// and the seal agree with it.
fn forged(bundle: &Bundle, seq: usize, edit: &dyn Fn(&mut Value, Option<&mut Payload>)) -> Bundle {
    let mut out = bundle.clone();
    out.anchor = None;
    out.header.anchored = false;
    let (mut prev, mut frontier) = (Hash::ZERO, Frontier::default());
    for (place, Entry { event, leaf: hash, payload }) in out.entries.iter_mut().enumerate() {
        let mut value: Value = serde_json::from_slice(&event.encode()).unwrap();
        if place == seq {
            let mut edited = payload.as_ref().map(PayloadLine::decode);
            edit(&mut value, edited.as_mut());
            *payload = edited.map(|payload| PayloadLine::parse(&payload.encode().unwrap()).unwrap());
        }
        value["prev"] = json!(prev.hex());
        if value["kind"] == "run.sealed" {
            value["body"]["run_root"] = json!(frontier.root().hex());
        }
        *event =
            Event::decode(&canonical::to_bytes(&value).unwrap()).unwrap_or_else(|error| panic!("{error}: {value}"));
        *hash = event.leaf_hash();
        frontier.push(*hash);
        prev = *hash;
    }
    out
}

/// What replay finds in a forgery of which every hash agrees.
fn found(bundle: &Bundle, seq: usize, edit: &dyn Fn(&mut Value, Option<&mut Payload>)) -> Vec<Finding> {
    let forgery = forged(bundle, seq, edit);
    let bytes = forgery.encode().unwrap();
    let forgery = Bundle::parse(&bytes).unwrap();
    let mut report = examine(&forgery, &Trust::default());
    let hashes = [Code::ChainLink, Code::PayloadMismatch, Code::SealRoot];
    assert!(!report.findings.iter().any(|finding| hashes.contains(&finding.code)), "{:#?}", report.findings);
    let before = report.findings.len();
    replay::check(&forgery, &mut report);
    let findings = report.findings.split_off(before);
    assert!(findings.iter().all(|finding| finding.code.verdict() == Verdict::Tampered));
    findings
}

/// Fields that the engine decides on, by kind.
const DECIDED: &[(&str, &[&str])] = &[
    ("run.planned", &["/plan_digest", "/step_count"]),
    ("step.expanded", &["/count", "/plan_index", "/step_id"]),
    (
        "step.intended",
        &[
            "/idempotency_key",
            "/item",
            "/plan_index",
            "/skill",
            "/step_id",
            "/gate/decision",
            "/gate/policy_set",
            "/attempt",
        ],
    ),
    ("step.returned", &["/then", "/retry_at", "/attempt", "/item", "/step_id"]),
    (
        "step.settled",
        &[
            "/attempts",
            "/category",
            "/code",
            "/cost_microcents",
            "/duration_us",
            "/item",
            "/plan_index",
            "/skill",
            "/status",
            "/step_id",
            "/step_index",
        ],
    ),
    (
        "run.sealed",
        &[
            "/reason",
            "/status",
            "/step_count",
            "/event_count",
            "/totals/attempts",
            "/totals/cost_microcents",
            "/totals/duration_us",
            "/totals/resolved",
            "/totals/unknown",
        ],
    ),
];

/// Another value of the same vocabulary or type.
fn other(field: &str, value: &Value) -> Value {
    let flip = |words: [&str; 2]| json!(if value == words[0] { words[1] } else { words[0] });
    match field {
        "/then" => flip(["settle", "retry"]),
        "/status" if value == "succeeded" || value == "cancelled" => json!("failed"),
        "/status" if value == "failed" => json!("succeeded"),
        "/status" => flip(["success", "failure"]),
        "/item" => json!("999"),
        "/reason" => flip(["plan_completed", "step_failed"]),
        "/gate/decision" => flip(["allow", "warn"]),
        "/plan_digest" => json!("ab".repeat(32)),
        _ => match value {
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::String(text) => json!(format!("{text}x")),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => panic!("{field} is {value}"),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_recorded_honestly_comes_out_the_same_again(tale in tale()) {
        comes_out_the_same_again(&tale, InMemory::begin)?;
    }

    #[test]
    fn no_decision_is_changed_unnoticed(tale in tale(), picks in prop::collection::vec(any::<prop::sample::Index>(), 6)) {
        let (_, bundle) = live(&tale, InMemory::begin);
        each_decision_that_is_changed_is_named(&bundle, &picks)?;
    }
}

// What Postgres gives back is what was recorded: a few tales show it, because replay itself is the same for all stores.
proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_recorded_on_postgres_comes_out_the_same_again(tale in tale()) {
        comes_out_the_same_again(&tale, OnPostgres::direct)?;
    }

    #[test]
    fn whatever_was_recorded_through_the_pooler_comes_out_the_same_again(tale in tale()) {
        comes_out_the_same_again(&tale, OnPostgres::pooled)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_decision_of_a_random_plan_is_changed_unnoticed(bundle in bundles(), picks in prop::collection::vec(any::<prop::sample::Index>(), 12)) {
        each_decision_that_is_changed_is_named(&bundle, &picks)?;
    }

    #[test]
    fn values_that_are_withheld_make_nothing_wrong(bundle in bundles(), picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6)) {
        // Only what a decision can need: nothing depends on the others.
        let needed = |(_, field): &(usize, &str)| matches!(*field, "goal" | "inputs" | "items" | "output");
        let values: Vec<_> = values(&bundle).into_iter().filter(needed).collect();
        let hidden: Vec<(usize, &str)> = picks.iter().map(|pick| values[pick.index(values.len())]).collect();
        let replayed = replay::replay(&withheld(&bundle, &hidden));
        prop_assert!(replayed.findings.is_empty(), "without {hidden:?}: {replayed:#?}");
    }
}

fn comes_out_the_same_again(tale: &Tale, begin: fn() -> Box<dyn Subject>) -> Result<(), TestCaseError> {
    let (subject, bundle) = live(tale, begin);
    let report = prove(subject.as_ref(), TENANT, "r_1");
    prop_assert!(report.verdict() != Verdict::Tampered, "{:#?}", report.findings);
    let replayed = replay::replay(&bundle);
    prop_assert!(replayed.findings.is_empty() && replayed.skipped == 0, "{replayed:#?}");
    audit_ledger(subject.as_ref());
    Ok(())
}

/// Changes one decided field after the other, and expects that replay names the event.
fn each_decision_that_is_changed_is_named(bundle: &Bundle, picks: &[prop::sample::Index]) -> Result<(), TestCaseError> {
    let mut places = Vec::new();
    for (seq, entry) in bundle.entries.iter().enumerate() {
        let fields =
            DECIDED.iter().filter(|(kind, _)| *kind == entry.event.body.kind()).flat_map(|(_, fields)| *fields);
        let body = serde_json::to_value(&entry.event.body).unwrap();
        places.extend(fields.filter(|field| body.pointer(field).is_some()).map(|field| (seq, *field)));
    }
    for pick in picks {
        let (seq, field) = places[pick.index(places.len())];
        let findings = found(bundle, seq, &|event, _| {
            let value = event["body"].pointer_mut(field).unwrap();
            *value = other(field, value);
            if field == "/then" {
                // `retry_at` is there exactly when another attempt follows.
                let body = event["body"].as_object_mut().unwrap();
                if body["then"] == "retry" {
                    body.insert("retry_at".to_owned(), json!(START));
                } else {
                    body.remove("retry_at");
                }
            }
        });
        let there = findings.iter().any(|finding| finding.seq == Some(seq as u64));
        prop_assert!(there, "{field} of event {seq}: {findings:#?}");
    }
    Ok(())
}

/// Every committed value of a bundle, by event and field.
fn values(bundle: &Bundle) -> Vec<(usize, &'static str)> {
    let of = |(seq, entry): (usize, &Entry)| {
        let fields: Vec<_> = entry.event.commitments().into_iter().map(|(field, _)| (seq, field)).collect();
        fields
    };
    bundle.entries.iter().enumerate().flat_map(of).collect()
}

/// The bundle without these values.
fn withheld(bundle: &Bundle, hidden: &[(usize, &str)]) -> Bundle {
    let mut out = bundle.clone();
    for (seq, field) in hidden {
        let payload = &mut out.entries[*seq].payload;
        let rest = payload.as_ref().unwrap().decode().without(field, None).unwrap();
        *payload = Some(PayloadLine::parse(&rest.encode().unwrap()).unwrap());
    }
    Bundle::parse(&out.encode().unwrap()).unwrap()
}

/// A run with a retry, a resolution, a failed step that is passed over, and inputs that come from outputs.
fn eventful() -> Bundle {
    let tale = Tale {
        steps: vec![
            json!({"id": "look", "skill": "read", "retry": {"initial_delay_ms": 2000}}),
            json!({"id": "pay", "skill": "unsafe", "with": {"n": "{{ steps.look.output.n }}", "fixed": 1}, "timeout_ms": 1500}),
            json!({"id": "gone", "skill": "gone", "on_error": "continue"}),
            json!({"id": "note", "skill": "idempotent"}),
        ],
        answers: SKILLS
            .iter()
            .map(|effect| match effect {
                EffectClass::Read => {
                    vec![Answer::Failed { retryable: true, retry_after_ms: None }, Answer::Done(json!({"n": 7}))]
                }
                EffectClass::Unsafe => vec![Answer::Unknown],
                EffectClass::Pure | EffectClass::Idempotent | EffectClass::Transactional | EffectClass::Probeable => {
                    vec![Answer::Done(json!({"ok": true}))]
                }
            })
            .collect(),
        probes: vec![None],
        crash: None,
        person: Person::SaysDone,
    };
    let (subject, bundle) = live(&tale, InMemory::begin);
    assert_verdict(&prove(subject.as_ref(), TENANT, "r_1"), Verdict::Verified);
    bundle
}

/// Changes one field of the first event of a kind; replay names this place and no other before it.
fn names(kind: &str, field: &str, to: Value, code: Code, place: &str) {
    let bundle = eventful();
    let seq = bundle.entries.iter().position(|entry| {
        let body = serde_json::to_value(&entry.event.body).unwrap();
        entry.event.body.kind() == kind && body.pointer(field).is_some_and(|value| *value != to)
    });
    let seq = seq.unwrap_or_else(|| panic!("no {kind} with another {field}"));
    let findings = found(&bundle, seq, &|event, _| *event["body"].pointer_mut(field).unwrap() = to.clone());
    let first = findings.first().unwrap_or_else(|| panic!("{kind} {field}: nothing found"));
    assert_eq!((first.code, first.seq, first.place.as_str()), (code, Some(seq as u64), place), "{findings:#?}");
}

#[test]
fn replay_names_the_json_path_of_a_changed_decision() {
    let decision = |kind: &str, field: &str, to: Value| {
        names(kind, field, to, Code::ReplayDecision, &format!("$.body{}", field.replace('/', ".")));
    };
    decision("step.returned", "/retry_at", json!(START + 1));
    decision("step.returned", "/then", json!("hold"));
    decision("step.settled", "/status", json!("failure"));
    decision("step.settled", "/step_index", json!(9));
    decision("step.settled", "/category", json!("client"));
    decision("step.settled", "/attempts", json!(1));
    decision("step.intended", "/idempotency_key", json!("another"));
    decision("step.intended", "/plan_index", json!(3));
    decision("step.intended", "/gate/decision", json!("warn"));
    decision("run.sealed", "/reason", json!("step_failed"));
    decision("run.sealed", "/status", json!("cancelled"));
    decision("run.sealed", "/totals/cost_microcents", json!(0));
    names("run.planned", "/plan_digest", json!("cd".repeat(32)), Code::ReplayPlan, "$.body.plan_digest");
    names("run.planned", "/step_count", json!(5), Code::ReplayPlan, "$.body.step_count");
}

#[test]
fn a_timeout_longer_than_the_plan_allows_is_named() {
    let bundle = eventful();
    let seq = bundle.entries.iter().position(|entry| matches!(&entry.event.body, runproof_proof::event::Body::StepIntended(body) if body.step_id == "pay")).unwrap();
    let findings = found(&bundle, seq, &|event, _| event["body"]["timeout_us"] = json!(9_000_000));
    assert_eq!(findings.first().map(|finding| finding.place.as_str()), Some("$.body.timeout_us"), "{findings:#?}");
}

/// Changes a value and commits to it again, under the same seed.
fn recommit(event: &mut Value, payload: Option<&mut Payload>, field: &str, change: &dyn Fn(&mut Value)) {
    let Some(Payload::Whole { seed, values }) = payload else { panic!("everything is shown") };
    let value = values.get_mut(field).unwrap();
    change(value);
    event["body"][field] = serde_json::to_value(commit::commit(&seed.0, field, value).unwrap()).unwrap();
}

#[test]
fn a_run_longer_than_what_is_read_ahead_is_replayed_to_its_end() {
    let steps = (0..200).map(|n| json!({"id": format!("s{n}"), "skill": "pure", "with": {"n": n}})).collect();
    let answers = vec![Vec::new(); SKILLS.len()];
    let tale = Tale { steps, answers, probes: Vec::new(), crash: None, person: Person::SaysDone };
    let (_, bundle) = live(&tale, InMemory::begin);
    let replayed = replay::replay(&bundle);
    assert_eq!((replayed.findings, replayed.skipped), (Vec::new(), 0));
    assert_eq!(replayed.decisions, 602, "the plan, three events of each step, and the seal");
    let last = bundle.entries.iter().rposition(|entry| entry.event.body.kind() == "step.intended").unwrap();
    let findings = found(&bundle, last, &|event, payload| {
        recommit(event, payload, "params", &|params| params["n"] = json!(1));
    });
    let places: Vec<(Code, Option<u64>)> = findings.iter().map(|finding| (finding.code, finding.seq)).collect();
    assert_eq!(places, [(Code::ReplayInput, Some(last as u64))]);
}

#[test]
fn replay_names_an_input_that_does_not_follow_from_the_outputs() {
    let bundle = eventful();
    let seq = bundle.entries.iter().position(|entry| matches!(&entry.event.body, runproof_proof::event::Body::StepIntended(body) if body.step_id == "pay")).unwrap();
    for (member, to) in [("n", json!(8)), ("fixed", json!(2))] {
        let findings = found(&bundle, seq, &|event, payload| {
            recommit(event, payload, "params", &|params| params[member] = to.clone());
        });
        let places: Vec<(Code, Option<u64>, &str)> =
            findings.iter().map(|finding| (finding.code, finding.seq, finding.place.as_str())).collect();
        assert_eq!(places, [(Code::ReplayInput, Some(seq as u64), format!("payload.params.{member}").as_str())]);
    }
    // An output that was changed instead is found where it was used.
    let output = bundle.entries.iter().position(|entry| matches!(&entry.event.body, runproof_proof::event::Body::StepReturned(body) if body.output.is_some())).unwrap();
    let findings =
        found(&bundle, output, &|event, payload| recommit(event, payload, "output", &|output| output["n"] = json!(9)));
    assert_eq!(
        findings.first().map(|finding| (finding.seq, finding.place.as_str())),
        Some((Some(seq as u64), "payload.params.n"))
    );
}

#[test]
fn a_plan_that_was_exchanged_afterwards_is_named() {
    let bundle = eventful();
    let findings = found(&bundle, 1, &|event, payload| {
        recommit(event, payload, "plan", &|plan| plan["steps"][1]["on_unknown"] = json!("retry"));
    });
    assert_eq!(
        findings.first().map(|finding| (finding.code, finding.place.as_str())),
        Some((Code::ReplayPlan, "$.body.plan_digest"))
    );
    assert!(
        findings.iter().any(|finding| finding.place == "$.body.then"),
        "with that plan the engine would not have waited: {findings:#?}"
    );
}

#[test]
fn an_event_that_is_taken_out_or_put_in_is_named() {
    let bundle = eventful();
    for seq in 1..bundle.entries.len() {
        let mut shorter = bundle.clone();
        shorter.entries.remove(seq);
        shorter.header.events -= 1;
        let renumbered = renumber(&shorter);
        let mut report = examine(&renumbered, &Trust::default());
        replay::check(&renumbered, &mut report);
        let claim = matches!(bundle.entries[seq].event.body, runproof_proof::event::Body::RunClaimed(_));
        let seal = seq == bundle.entries.len() - 1;
        // Without its seal a run is open; a claim decides nothing and is missed by nobody but the tenant's log.
        assert_eq!(
            report.verdict() == Verdict::Tampered,
            !claim && !seal,
            "without event {seq}: {:#?}",
            report.findings
        );
    }
    let mut longer = bundle.clone();
    let settled = bundle.entries.iter().position(|entry| entry.event.body.kind() == "step.settled").unwrap();
    longer.entries.insert(settled, bundle.entries[settled].clone());
    longer.header.events += 1;
    let renumbered = renumber(&longer);
    let mut report = examine(&renumbered, &Trust::default());
    replay::check(&renumbered, &mut report);
    assert_eq!(report.verdict(), Verdict::Tampered);
    let failed = report.checks().into_iter().find(|check| check.check == Check::Replay.word()).unwrap();
    assert_eq!(failed.result, "failed");
}

/// Makes `seq`, `prev`, the seal's root and its counts agree with the events that are there.
fn renumber(bundle: &Bundle) -> Bundle {
    let mut out = bundle.clone();
    for (seq, Entry { event, leaf: hash, .. }) in out.entries.iter_mut().enumerate() {
        let mut value: Value = serde_json::from_slice(&event.encode()).unwrap();
        value["seq"] = json!(seq);
        if value["kind"] == "run.sealed" {
            value["body"]["event_count"] = json!(seq);
        }
        *event = Event::decode(&canonical::to_bytes(&value).unwrap()).unwrap();
        *hash = event.leaf_hash();
    }
    forged(&out, usize::MAX, &|_, _| {})
}
