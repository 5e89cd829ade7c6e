//! The judge over histories that are made up: it has to say what is wrong with each, and nothing about an honest one.

use runproof_engine::draft::Committer;
use runproof_proof::canonical;
use runproof_proof::event::Event;
use serde_json::{Value, json};

use super::*;
use crate::chaos::scenario::PlannedStep;

const RUN: &str = "run-a";

/// Writes events that follow each other.
#[derive(Default)]
struct Pen {
    events: Vec<Event>,
}

fn committed(value: &Value) -> Value {
    let commitment = Committer::new(&[7; 32], 0).commit("value", value).unwrap();
    serde_json::to_value(commitment).unwrap()
}

impl Pen {
    /// The next event, at so many seconds.
    fn write(&mut self, second: u64, kind: &str, body: Value) {
        let prev = self.events.last().map_or(runproof_proof::hash::Hash::ZERO, Event::leaf_hash);
        let event = json!({
            "at": second * 1_000_000, "body": body, "kind": kind, "log": "chaos.test/log", "prev": prev,
            "seq": self.events.len(), "stream": format!("run/{RUN}"), "tenant": "chaos-a", "v": 1,
        });
        let bytes = canonical::to_bytes(&event).unwrap();
        self.events.push(Event::decode(&bytes).unwrap_or_else(|error| panic!("{kind}: {error}")));
    }

    fn opened() -> Self {
        let mut pen = Self::default();
        let actor = json!({ "authenticated_by": "none", "type": "system" });
        pen.write(0, "run.created", json!({
            "actor": actor, "agent": "monkey", "engine": { "build": "x", "version": "1" }, "goal": committed(&json!("g")),
            "origin_system_id": "chaos", "planner": { "name": "static", "version": "1" },
            "policy_set": "builtin/empty@1", "run_id": RUN, "run_no": 1,
        }));
        pen.write(
            0,
            "run.planned",
            json!({
                "plan": committed(&json!({})), "plan_digest": runproof_proof::hash::Hash::ZERO, "step_count": 1,
            }),
        );
        pen
    }

    fn claim(mut self, second: u64, epoch: u64, worker: &str) -> Self {
        self.write(second, "run.claimed", json!({ "epoch": epoch, "worker": worker }));
        self
    }

    fn intend(mut self, second: u64, effect: &str, attempt: u32) -> Self {
        self.write(
            second,
            "step.intended",
            json!({
                "attempt": attempt, "cost_limit_microcents": 0, "effect": effect,
                "gate": { "decision": "allow", "policy_set": "builtin/empty@1" }, "idempotency_key": "k",
                "params": committed(&json!({})), "plan_index": 0, "skill": "http_call", "skill_version": "1",
                "step_id": "s0", "timeout_us": 1000,
            }),
        );
        self
    }

    fn answer(mut self, second: u64, attempt: u32, outcome: &str, then: &str, via: &str) -> Self {
        let mut body = json!({
            "attempt": attempt, "cost_microcents": 0, "duration_us": 1, "evidence": "executed", "outcome": outcome,
            "retryable": false, "step_id": "s0", "then": then, "via": via,
        });
        if then == "retry" {
            body["retry_at"] = json!(second * 1_000_000);
        }
        self.write(second, "step.returned", body);
        self
    }

    fn settle(mut self, second: u64, attempts: u32, status: &str) -> Self {
        self.write(
            second,
            "step.settled",
            json!({
                "attempts": attempts, "category": "execution", "cost_microcents": 0, "duration_us": 1, "plan_index": 0,
                "skill": "http_call", "status": status, "step_id": "s0", "step_index": 0,
            }),
        );
        self
    }

    fn seal(mut self, second: u64) -> Self {
        let count = self.events.len();
        self.write(
            second,
            "run.sealed",
            json!({
                "event_count": count, "reason": "plan_completed", "run_root": runproof_proof::hash::Hash::ZERO,
                "status": "succeeded", "step_count": 1,
                "totals": { "attempts": 1, "cost_microcents": 0, "duration_us": 1, "resolved": 0, "unknown": 0 },
            }),
        );
        self
    }
}

/// A run with one step, which is called once and succeeds.
fn honest(effect: &str) -> Pen {
    let pen = Pen::opened().claim(1, 1, "w1").intend(2, effect, 1);
    pen.answer(3, 1, "done", "settle", "call").settle(3, 1, "success").seal(3)
}

fn class(word: &str) -> EffectClass {
    EffectClass::parse(word).unwrap()
}

/// What was seen of one run with one step, which took effect at these times.
fn seen(effect: &str, pen: Pen, effects: &[u64]) -> Seen {
    let step = PlannedStep { class: class(effect), needs: Vec::new(), goes_on: false, delay_ms: 1, counter: 1 };
    let planned = PlannedRun { number: 0, tenant: "chaos-a".to_owned(), at: Duration::ZERO, steps: vec![step] };
    let tally = Tally { arrivals: effects.len() as u64, effects: effects.to_vec(), keys: ["k".to_owned()].into() };
    let over_network = !matches!(class(effect), EffectClass::Pure | EffectClass::Transactional);
    Seen {
        planned: vec![planned],
        runs: vec![Recorded {
            number: 0,
            tenant: "chaos-a".to_owned(),
            run_id: RUN.to_owned(),
            log: "chaos.test/log".to_owned(),
            events: pen.events,
            verdict: Some((Verdict::Verified, String::new())),
        }],
        tallies: if over_network { [(format!("{effect}/0/s0"), tally)].into() } else { Tallies::default() },
        ledger: Some(Verdict::Verified),
        ..Seen::default()
    }
}

/// The promises that a trial broke, and what is said of the first.
fn check(seen: &Seen, expected: &[Promise], says: &str) {
    let judgement = judge(seen);
    let promises: Vec<Promise> = judgement.breaches.iter().map(|breach| breach.promise).collect();
    assert_eq!(promises, expected, "{:?}", judgement.breaches);
    let first = judgement.breaches.first().map_or("", |breach| breach.what.as_str());
    assert!(first.contains(says), "{first}");
}

#[test]
fn an_honest_history_breaks_no_promise() {
    for effect in ["pure", "read", "idempotent", "probeable", "unsafe"] {
        check(&seen(effect, honest(effect), &[2_500_000]), &[], "");
    }
    let mut counted = seen("transactional", honest("transactional"), &[]);
    counted.counters.insert(("chaos-a".to_owned(), 1), 1);
    check(&counted, &[], "");
}

#[test]
fn a_run_of_which_nothing_is_recorded_is_lost() {
    let nothing = Seen { tallies: Tallies::default(), ..seen("unsafe", Pen::default(), &[]) };
    check(&nothing, &[Promise::NothingLost], "nothing is recorded");
}

#[test]
fn a_run_that_nobody_goes_on_with_is_lost_and_one_that_waits_for_a_person_is_not() {
    let open = Pen::opened().claim(1, 1, "w1").intend(2, "unsafe", 1);
    check(&seen("unsafe", open, &[2_500_000]), &[Promise::NothingLost], "still running");
    check(&seen("pure", Pen::opened(), &[]), &[Promise::NothingLost], "still queued");
    let held = Pen::opened().claim(1, 1, "w1").intend(2, "unsafe", 1).answer(3, 1, "unknown", "hold", "call");
    check(&seen("unsafe", held, &[2_500_000]), &[], "");
}

#[test]
fn a_run_that_was_never_read_is_lost() {
    let unread = Seen { runs: Vec::new(), tallies: Tallies::default(), ..seen("unsafe", honest("unsafe"), &[]) };
    check(&unread, &[Promise::NothingLost], "never read");
}

#[test]
fn an_effect_that_happens_twice_is_a_breach_where_it_must_not() {
    let twice = [2_500_000, 2_600_000];
    check(&seen("unsafe", honest("unsafe"), &twice), &[Promise::NothingRepeated], "s0 took effect 2 times");
    check(&seen("probeable", honest("probeable"), &twice), &[Promise::ProbedNotRepeated], "2 times");
    check(&seen("idempotent", honest("idempotent"), &twice), &[Promise::KeysKept], "2 times");
    check(&seen("read", honest("read"), &twice), &[], "");
}

#[test]
fn a_second_probeable_effect_right_after_a_frozen_worker_woke_is_counted_apart() {
    let mut late = seen("probeable", honest("probeable"), &[2_500_000, 9_000_000]);
    late.woken = vec![8_500_000];
    assert_eq!((judge(&late).late, judge(&late).count(Promise::ProbedNotRepeated)), (1, 0));
    late.woken = vec![5_000_000];
    assert_eq!((judge(&late).late, judge(&late).count(Promise::ProbedNotRepeated)), (0, 1));
}

#[test]
fn a_success_that_never_happened_and_an_effect_that_is_recorded_as_none_are_untrue() {
    check(&seen("unsafe", honest("unsafe"), &[]), &[Promise::RecordTrue], "never happened");
    let denied = Pen::opened().claim(1, 1, "w1").intend(2, "unsafe", 1).answer(3, 1, "failed", "settle", "call");
    let denied = denied.settle(3, 1, "failure").seal(3);
    check(&seen("unsafe", denied, &[2_500_000]), &[Promise::RecordTrue], "recorded as not done");
}

#[test]
fn a_run_that_nobody_opened_is_reported() {
    let mut strange = seen("read", honest("read"), &[2_500_000]);
    strange.strangers.push("run-x".to_owned());
    check(&strange, &[Promise::RecordTrue], "nobody opened");
}

#[test]
fn what_reaches_the_receiver_without_an_intent_is_reported() {
    let mut unannounced = seen("unsafe", honest("unsafe"), &[2_500_000]);
    let tally = unannounced.tallies["unsafe/0/s0"].clone();
    unannounced.tallies.insert("unsafe/0/s5".to_owned(), tally.clone());
    unannounced.tallies.insert("unsafe/9/s0".to_owned(), tally);
    check(&unannounced, &[Promise::IntentFirst, Promise::IntentFirst], "");
}

#[test]
fn a_counter_that_lost_or_gained_is_reported() {
    for count in [0, 2] {
        let mut counted = seen("transactional", honest("transactional"), &[]);
        counted.counters.insert(("chaos-a".to_owned(), 1), count);
        check(&counted, &[Promise::CountersRight], &format!("is {count}, and 1 steps"));
    }
    let mut alone = seen("pure", honest("pure"), &[]);
    alone.counters.insert(("chaos-b".to_owned(), 0), 1);
    check(&alone, &[Promise::CountersRight], "is 1, and 0 steps");
}

#[test]
fn a_proof_that_fails_is_a_chain_break_and_so_is_a_ledger_that_does() {
    let mut broken = seen("pure", honest("pure"), &[]);
    broken.runs[0].verdict = Some((Verdict::Tampered, "chain.prev at 3".to_owned()));
    check(&broken, &[Promise::ChainsWhole], "TAMPERED: chain.prev at 3");
    broken.runs[0].verdict = None;
    check(&broken, &[Promise::ChainsWhole], "no proof");
    let ledger = Seen { ledger: Some(Verdict::Tampered), ..seen("pure", honest("pure"), &[]) };
    check(&ledger, &[Promise::ChainsWhole], "whole ledger is TAMPERED");
    let unseen = Seen { ledger: None, ..seen("pure", honest("pure"), &[]) };
    check(&unseen, &[Promise::ChainsWhole], "whole ledger is nothing");
}

#[test]
fn events_that_do_not_follow_each_other_are_a_chain_break() {
    let mut cut = honest("pure");
    cut.events.remove(3);
    check(&seen("pure", cut, &[]), &[Promise::ChainsWhole], "do not follow");
}

#[test]
fn an_answer_written_after_a_later_claim_is_stale() {
    let pen = Pen::opened().claim(1, 1, "w1").intend(2, "read", 1).claim(9, 2, "w2");
    let stale = pen.answer(10, 1, "done", "settle", "call").settle(10, 1, "success").seal(10);
    check(&seen("read", stale, &[2_500_000]), &[Promise::NothingStale], "began under epoch 1");
    let pen = Pen::opened().claim(1, 1, "w1").intend(2, "read", 1).claim(9, 2, "w2");
    let recovered = pen.answer(9, 1, "unknown", "retry", "recovery").intend(9, "read", 2);
    let recovered = recovered.answer(10, 2, "done", "settle", "call").settle(10, 2, "success").seal(10);
    check(&seen("read", recovered, &[2_500_000, 9_500_000]), &[], "");
}

#[test]
fn an_epoch_that_is_claimed_twice_or_after_a_later_one_is_stale() {
    let stale = |second: u64| {
        let mut pen = Pen::opened().claim(1, 5, "w1").claim(2, second, "w2");
        pen = pen.intend(3, "pure", 1).answer(3, 1, "done", "settle", "call");
        epochs::stale(&pen.settle(3, 1, "success").events)
    };
    assert!(stale(5)[0].contains("epoch 5 was claimed twice"));
    assert!(stale(4)[0].contains("epoch 4 was claimed at 3, after epoch 5"));
    assert_eq!(stale(6), Vec::<String>::new());
    assert_eq!(stale(9), Vec::<String>::new(), "a person's answer takes an epoch without an event");
}

#[test]
fn an_intent_before_any_claim_is_stale() {
    let pen = Pen::opened().intend(2, "pure", 1);
    assert!(epochs::stale(&pen.events)[0].contains("before any claim"));
}

#[test]
fn a_person_is_not_asked_about_what_can_be_tried_again() {
    let held = Pen::opened().claim(1, 1, "w1").intend(2, "read", 1).answer(3, 1, "unknown", "hold", "call");
    check(&seen("read", held, &[2_500_000]), &[Promise::UnknownRightly], "a person was asked");
}

#[test]
fn recovery_is_the_time_from_the_kill_to_the_next_claim_of_what_the_worker_was_driving() {
    let pen = Pen::opened().claim(1, 1, "w1").intend(2, "read", 1).claim(12, 2, "w2");
    let pen = pen.answer(12, 1, "unknown", "retry", "recovery").intend(12, "read", 2);
    let pen = pen.answer(13, 2, "done", "settle", "call").settle(13, 2, "success").seal(13);
    let runs = seen("read", pen, &[]).runs;
    let kill = |second: u64, name: &str| Killed { at: second * 1_000_000, names: vec![name.to_owned()] };
    let recovery = recovery::measure(&runs, &[kill(3, "w1")]);
    assert_eq!((recovery.count(), recovery.percentile(50)), (1, Some(Duration::from_secs(9))));
    assert_eq!((recovery.over(Duration::from_secs(9)), recovery.over(Duration::from_secs(8))), (0, 1));
    for other in [kill(3, "w2"), kill(14, "w2"), kill(0, "w1")] {
        assert_eq!(recovery::measure(&runs, std::slice::from_ref(&other)).count(), 0, "{other:?}");
    }
    assert_eq!((recovery.lost_again(), recovery.longest_again()), (0, None));
    let pen = Pen::opened().claim(1, 1, "w1").intend(2, "read", 1).claim(23, 5, "w3");
    let pen = pen.answer(23, 1, "unknown", "retry", "recovery").intend(23, "read", 2);
    let again = recovery::measure(&seen("read", pen, &[]).runs, &[kill(3, "w1")]);
    assert_eq!((again.count(), again.lost_again(), again.longest_again()), (0, 1, Some(Duration::from_secs(20))));
    assert_eq!(Recovery::default().percentile(99), None);
}
