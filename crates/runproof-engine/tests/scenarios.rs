//! Stories of one run, told in a small language and checked against everything that came to be recorded.
//!
//! ```text
//! skill NAME EFFECT: ANSWER | ANSWER …   what it does when it is called; the last answer is repeated
//!                                        (`after MS JSON`: done, but later)
//! probe NAME: done | not_done | unknown | hang
//! step ID SKILL {…}                      a step, with further members of its JSON
//! plan {…}                               further members of the plan
//! secret NAME VALUE                      a secret that the worker has
//! ---
//! drive                                  claim it if it is due, and drive it until it ends or waits for somebody
//! once                                   the same, and stop where it waits for a time
//! cancel                                 somebody cancels it while nobody drives it
//! resolve STEP done|not_done             somebody says what came of a step
//! die N                                  once, and die instead of making the Nth append; another process takes over
//! clock N                                the clock goes back by N milliseconds
//! later N                                N milliseconds pass
//! ```
//! Times are milliseconds since the run was created. After each story the whole record is examined and replayed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use runproof_engine::admission::{RunRequest, StreamHead, admit, open};
use runproof_engine::decide::{Command, Context, Decision, decide};
use runproof_engine::driver::{DriveError, Driver, Left};
use runproof_engine::ports::{Append, Blind, Claim, Claimed, Clock as _, Entropy as _, Journal as _};
use runproof_engine::run::{CallId, Run, WaitReason};
use runproof_engine::skill::{EffectClass, Guard, Probe, Skills, Write};
use runproof_engine::{projection, replay};
use runproof_proof::event::{Body, Event, Resolution};
use runproof_proof::finding::{Code, Verdict};
use runproof_proof::trust::Trust;
use runproof_proof::verify::examine;
use serde_json::{Map, Value, json};

use crate::book::Book;
use crate::doubles::{Answer, Cancel, FakeClock, START, Scripted, Seeds, Vault, block_on, operator};

/// A story that is being told.
pub(crate) struct Story {
    pub(crate) book: Arc<Book>,
    clock: Arc<FakeClock>,
    seeds: Arc<Seeds>,
    cancel: Arc<Cancel>,
    pub(crate) skills: BTreeMap<String, Arc<Scripted>>,
    driver: Driver,
    told: usize,
    /// What it told so far.
    pub(crate) out: String,
}

/// Plays a story and compares what it told with what was expected, line by line, without indentation.
pub(crate) fn check(script: &str, expected: &str) -> Ended {
    let lines = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let story = play(script);
    let (told, expected) = (lines(&story.out), lines(expected));
    assert!(told == expected, "told:\n{told}\n\nexpected:\n{expected}\n");
    audit(&story.book);
    Ended { run: story.book.load(), skills: story.skills, book: story.book }
}

/// What is left when a story is over.
pub(crate) struct Ended {
    pub(crate) run: Run,
    pub(crate) skills: BTreeMap<String, Arc<Scripted>>,
    book: Arc<Book>,
}

/// The record is what an honest engine writes: a verifier finds nothing but what the record itself admits.
pub(crate) fn audit(book: &Book) {
    let bundle = book.bundle();
    let mut report = examine(&bundle, &Trust::default());
    let replayed = replay::check(&bundle, &mut report);
    assert!(replayed.findings.is_empty(), "replay: {:#?}", replayed.findings);
    assert_eq!(replayed.skipped, 0);
    let unexpected: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| {
            !matches!(finding.code, Code::OutcomeUnknown | Code::CheckpointMissing | Code::RunOpen | Code::RunNoSteps)
        })
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_ne!(report.verdict(), Verdict::Tampered);
}

/// Plays a story to its end.
pub(crate) fn play(script: &str) -> Story {
    let (setting, acts) = script.split_once("---").expect("a story has a setting and acts");
    let cancel = Arc::new(Cancel::default());
    let mut skills: BTreeMap<String, Arc<Scripted>> = BTreeMap::new();
    let (mut steps, mut secrets, mut plan) = (Vec::new(), BTreeMap::new(), json!({"schema": "runproof.plan/v1"}));
    for line in setting.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "skill" => {
                let (head, answers) = rest.split_once(": ").unwrap();
                let (name, effect) = head.split_once(' ').unwrap();
                let answers = answers.split(" | ").map(answer).collect();
                let skill = Scripted::new(name, EffectClass::parse(effect).unwrap(), answers, &cancel);
                skills.insert(name.to_owned(), skill);
            }
            "probe" => {
                let (name, probes) = rest.split_once(": ").unwrap();
                skills[name].probes(probes.split(" | ").map(probe).collect());
            }
            "step" => steps.push(step(rest)),
            "plan" => plan.as_object_mut().unwrap().extend(serde_json::from_str::<Map<_, _>>(rest).unwrap()),
            "secret" => {
                let (name, value) = rest.split_once(' ').unwrap();
                secrets.insert(name.to_owned(), value.to_owned());
            }
            other => panic!("no such setting: {other}"),
        }
    }
    plan["steps"] = Value::Array(steps);
    let mut story = begin(plan, skills, Vault(secrets), cancel);
    for act in acts.lines().map(str::trim).filter(|line| !line.is_empty()) {
        story.act(act);
    }
    story
}

fn answer(text: &str) -> Answer {
    let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let json = || if rest.is_empty() { Value::Null } else { serde_json::from_str(rest).unwrap() };
    match word {
        "done" => Answer::Done(json()),
        "after" => {
            let (ms, json) = rest.split_once(' ').unwrap_or((rest, "null"));
            Answer::After(ms.parse().unwrap(), serde_json::from_str(json).unwrap())
        }
        "writes" => Answer::Writes(
            json(),
            vec![Write::Put { key: "k".to_owned(), value: b"1".to_vec(), expires_at: None, guard: Guard::Any }],
        ),
        "failed" => Answer::Failed { retryable: false, retry_after_ms: None },
        "busy" => Answer::Failed { retryable: true, retry_after_ms: rest.parse().ok() },
        "says" => Answer::Says(rest.replace("\\0", "\0")),
        "costs" => Answer::Costs(rest.parse().unwrap()),
        "not_done" => Answer::NotDone,
        "unknown" => Answer::Unknown,
        "hang" => Answer::Hangs,
        "cancelled" => Answer::Cancelled,
        other => panic!("no such answer: {other}"),
    }
}

fn probe(text: &str) -> Option<Probe> {
    match text.trim() {
        "done" => Some(Probe::Done { output: json!({"probed": true}) }),
        "not_done" => Some(Probe::NotDone),
        "unknown" => Some(Probe::Unknown),
        "hang" => None,
        other => panic!("no such answer of a receiver: {other}"),
    }
}

fn step(text: &str) -> Value {
    let mut words = text.splitn(3, ' ');
    let mut step = json!({"id": words.next().unwrap(), "skill": words.next().unwrap()});
    let more: Value = words.next().map_or_else(|| json!({}), |json| serde_json::from_str(json).unwrap());
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

fn request(plan: Option<Value>) -> RunRequest {
    RunRequest {
        run_id: "r_1".to_owned(),
        tenant: "t_1".to_owned(),
        agent: "a_1".to_owned(),
        goal: "tell a story".to_owned(),
        plan,
        inputs: None,
        origin_system_id: "tests".to_owned(),
        actor: operator(),
        synthetic_scenario_id: None,
        idempotency_key: None,
    }
}

fn begin(plan: Value, skills: BTreeMap<String, Arc<Scripted>>, vault: Vault, cancel: Arc<Cancel>) -> Story {
    let (clock, seeds) = (FakeClock::new(), Arc::new(Seeds::default()));
    let admitted = admit(request(Some(plan))).unwrap_or_else(|findings| panic!("{findings:#?}"));
    let opening = open(&admitted, "example.org/log", &StreamHead::default(), 1, clock.now(), seeds.seed()).unwrap();
    let book = Arc::new(Book::new(&opening.run, opening.lines));
    let mut registry = Skills::default();
    for skill in skills.values() {
        skill.clock.set(Arc::clone(&clock)).ok();
        registry.register(Arc::clone(skill) as _).unwrap();
    }
    let driver = Driver {
        journal: Arc::clone(&book) as _,
        skills: registry,
        clock: Arc::clone(&clock) as _,
        entropy: Arc::clone(&seeds) as _,
        secrets: Arc::new(vault),
        observer: Arc::new(Blind),
    };
    Story { book, clock, seeds, cancel, skills, driver, told: 2, out: String::new() }
}

impl Story {
    fn act(&mut self, act: &str) {
        let words: Vec<&str> = act.split(' ').collect();
        match words.as_slice() {
            ["drive"] => while self.once() {},
            ["once"] => {
                self.once();
            }
            ["die", nth] => {
                self.book.die_at(nth.parse().unwrap());
                self.once();
                self.book.give_back();
            }
            ["clock", back] => self.clock.set(self.clock.now() - back.parse::<u64>().unwrap() * 1000),
            ["later", ms] => self.clock.move_to(self.clock.now() + ms.parse::<u64>().unwrap() * 1000),
            ["cancel"] => {
                self.cancel.ask();
                let claimed = block_on(self.book.claim_run("w_1", "t_1", "r_1")).unwrap();
                self.run(claimed);
            }
            ["resolve", step, resolution] => self.resolve(step, Resolution::parse(resolution).unwrap()),
            other => panic!("no such act: {other:?}"),
        }
    }

    /// Drives once; answers whether only time stands in the way of going on.
    fn once(&mut self) -> bool {
        let claimed = block_on(self.book.claim("w_1", self.clock.now(), 1)).unwrap();
        match self.run(claimed.into_iter().next()) {
            Some(Left::Until(at)) => {
                self.clock.move_to(at);
                true
            }
            Some(Left::Ended(_) | Left::Waiting(_)) | None => false,
        }
    }

    fn run(&mut self, claimed: Option<Claimed>) -> Option<Left> {
        let Some(claimed) = claimed else {
            self.out.push_str("nothing to do\n");
            return None;
        };
        let driven = block_on(self.driver.drive(claimed, self.cancel.as_ref()));
        self.tell();
        let (run, left) = match driven {
            Ok(driven) => driven,
            Err(DriveError::Store(error)) => {
                writeln!(self.out, "= {error}").unwrap();
                return None;
            }
            Err(error) => panic!("{error}\n{}", self.out),
        };
        assert_eq!(format!("{run:?}"), format!("{:?}", self.book.load()), "what was driven is what is stored");
        match &left {
            Left::Ended(status) => writeln!(self.out, "= {status}"),
            Left::Until(at) => writeln!(self.out, "= until {}", ms(*at)),
            Left::Waiting(WaitReason::Resolution(step)) => writeln!(self.out, "= waiting for a resolution of {step}"),
            Left::Waiting(other) => writeln!(self.out, "= waiting: {other:?}"),
        }
        .unwrap();
        Some(left)
    }

    fn resolve(&mut self, step: &str, resolution: Resolution) {
        let claimed = block_on(self.book.claim_run("w_1", "t_1", "r_1")).unwrap();
        let Some(Claimed { run, fence }) = claimed else {
            self.out.push_str("nothing to do\n");
            return;
        };
        let command = Command::Resolve {
            call: CallId::parse(step).unwrap(),
            resolution,
            actor: operator(),
            reason: "asked them".to_owned(),
        };
        let context = Context { now: self.clock.now(), seed: self.seeds.seed(), facts: &self.driver.skills };
        let decided = decide(&run, command, &context);
        let (lines, after) = match decided {
            Ok(Decision { lines, run, .. }) => (lines, run),
            Err(refusal) => {
                writeln!(self.out, "refused: {refusal}").unwrap();
                (Vec::new(), run.clone())
            }
        };
        let append = Append {
            tenant: run.tenant.clone(),
            run_id: run.id.clone(),
            fence,
            expected_seq: run.next_seq,
            expected_head: run.head,
            rows: projection::changes(&run, &after),
            lines: lines.into(),
            writes: Vec::new(),
            claim: Claim::Release(self.clock.now()),
        };
        block_on(self.book.append(append)).unwrap();
        self.tell();
    }

    /// Tells the events that are new.
    fn tell(&mut self) {
        let lines = self.book.lines();
        for line in &lines[self.told..] {
            let event = Event::decode(&line.bytes).unwrap();
            writeln!(self.out, "{} {}", ms(event.at), told(&event.body)).unwrap();
        }
        self.told = lines.len();
    }
}

fn ms(at: u64) -> String {
    let passed = at - START;
    if passed.is_multiple_of(1000) {
        (passed / 1000).to_string()
    } else {
        format!("{}.{:03}", passed / 1000, passed % 1000)
    }
}

fn told(body: &Body) -> String {
    let name = |step: &str, item: &Option<String>| {
        item.as_ref().map_or_else(|| step.to_owned(), |item| format!("{step}/{item}"))
    };
    let word = |word: Option<&str>| word.map(|word| format!(" {word}")).unwrap_or_default();
    #[expect(clippy::wildcard_enum_match_arm, reason = "what these stories never hold is told by its kind")]
    match body {
        Body::RunClaimed(body) => format!("claimed {}", body.epoch),
        Body::RunCancelRequested(_) => "cancel requested".to_owned(),
        Body::StepIntended(body) => {
            format!("intended {}#{} {}", name(&body.step_id, &body.item), body.attempt, body.skill)
        }
        Body::StepReturned(body) => {
            let retry = body.retry_at.map(|at| format!(" at {}", ms(at))).unwrap_or_default();
            let (code, via) = (word(body.code.as_deref()), body.via);
            format!(
                "{} of {}#{} by {via}{code}, {}{retry}",
                body.outcome,
                name(&body.step_id, &body.item),
                body.attempt,
                body.then
            )
        }
        Body::StepResolved(body) => {
            format!("resolved {}#{} {}", name(&body.step_id, &body.item), body.attempt, body.resolution)
        }
        Body::StepSettled(body) => {
            let code = word(body.code.as_deref());
            format!(
                "settled {} {} {} {}{code}",
                body.step_index,
                name(&body.step_id, &body.item),
                body.status,
                body.category
            )
        }
        Body::StepExpanded(body) => format!("expanded {} to {}", body.step_id, body.count),
        Body::RunSealed(body) => format!("sealed {} {}", body.status, body.reason),
        other => other.kind().to_owned(),
    }
}

#[test]
fn a_failed_attempt_is_repeated_with_backoff_and_completed_steps_are_not() {
    let ended = check(
        r#"
        skill look read: done {"id": 7}
        skill pay idempotent: busy | busy | done
        step first look
        step second pay {"retry": {"max_attempts": 3, "initial_delay_ms": 2000, "max_delay_ms": 8000}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended first#1 look
        0 done of first#1 by call, settle
        0 settled 0 first success execution
        0 intended second#1 pay
        0 failed of second#1 by call test.server, retry at 1457.656
        = until 1457.656
        1457.656 claimed 2
        1457.656 intended second#2 pay
        1457.656 failed of second#2 by call test.server, retry at 5373.385
        = until 5373.385
        5373.385 claimed 3
        5373.385 intended second#3 pay
        5373.385 done of second#3 by call, settle
        5373.385 settled 1 second success execution
        5373.385 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["look"].seen.lock().unwrap().len(), 1);
    let keys: Vec<String> = ended.skills["pay"].seen.lock().unwrap().iter().map(|seen| seen.key.clone()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "one key for all attempts: {keys:?}");
}

#[test]
fn attempts_that_are_used_up_end_the_step() {
    check(
        r#"
        skill pay idempotent: busy
        step only pay {"retry": {"max_attempts": 2, "initial_delay_ms": 100, "max_delay_ms": 100}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended only#1 pay
        0 failed of only#1 by call test.server, retry at 61.346
        61.346 intended only#2 pay
        61.346 failed of only#2 by call test.server, settle
        61.346 settled 0 only failure server test.server
        61.346 sealed failed step_failed
        = failed",
    );
}

#[test]
fn the_receivers_wish_to_wait_longer_is_granted() {
    check(
        r#"
        skill pay idempotent: busy 90000 | done
        step only pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended only#1 pay
        0 failed of only#1 by call test.server, retry at 90000
        = until 90000
        90000 claimed 2
        90000 intended only#2 pay
        90000 done of only#2 by call, settle
        90000 settled 0 only success execution
        90000 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn on_error_abort_fails_the_run_at_once() {
    check(
        r#"
        skill pay unsafe: failed
        skill look read: done
        step first pay
        step second look
        ---
        drive"#,
        "
        0 claimed 1
        0 intended first#1 pay
        0 failed of first#1 by call test.server, settle
        0 settled 0 first failure server test.server
        0 sealed failed step_failed
        = failed",
    );
}

#[test]
fn on_error_continue_goes_on_with_the_next_step() {
    check(
        r#"
        skill pay unsafe: failed
        skill look read: done
        step first pay {"on_error": "continue"}
        step second look
        ---
        drive"#,
        "
        0 claimed 1
        0 intended first#1 pay
        0 failed of first#1 by call test.server, settle
        0 settled 0 first failure server test.server
        0 intended second#1 look
        0 done of second#1 by call, settle
        0 settled 1 second success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
}

#[test]
fn a_fallback_takes_the_place_of_a_failed_step_under_another_key() {
    let ended = check(
        r#"
        skill card unsafe: failed
        skill cash unsafe: done {"receipt": 9}
        skill look read: done
        step pay card {"on_error": "fallback", "fallback": {"skill": "cash", "with": {"for": "{{ goal }}"}}}
        step after look {"with": {"receipt": "{{ steps.pay.output.receipt }}"}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 card
        0 failed of pay#1 by call test.server, settle
        0 settled 0 pay failure server test.server
        0 intended pay/fallback#1 cash
        0 done of pay/fallback#1 by call, settle
        0 settled 1 pay/fallback success execution
        0 intended after#1 look
        0 done of after#1 by call, settle
        0 settled 2 after success execution
        0 sealed succeeded plan_completed
        = succeeded",
    );
    assert_eq!(ended.skills["look"].seen.lock().unwrap()[0].params, json!({"receipt": 9}));
    let (card, cash) = (ended.skills["card"].seen.lock().unwrap(), ended.skills["cash"].seen.lock().unwrap());
    assert_ne!(card[0].key, cash[0].key);
}

#[test]
fn a_fallback_that_fails_fails_the_run() {
    check(
        r#"
        skill card unsafe: failed
        skill cash unsafe: failed
        step pay card {"on_error": "fallback", "fallback": {"skill": "cash"}}
        step after cash
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 card
        0 failed of pay#1 by call test.server, settle
        0 settled 0 pay failure server test.server
        0 intended pay/fallback#1 cash
        0 failed of pay/fallback#1 by call test.server, settle
        0 settled 1 pay/fallback failure server test.server
        0 sealed failed step_failed
        = failed",
    );
}

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

#[test]
fn a_queued_run_is_cancelled_before_anything_is_called() {
    let ended = check(
        r#"
        skill pay unsafe: done
        step pay pay
        ---
        cancel
        drive"#,
        "
        0 cancel requested
        0 sealed cancelled cancel_requested
        = cancelled
        nothing to do",
    );
    assert!(ended.skills["pay"].seen.lock().unwrap().is_empty());
}

#[test]
fn a_run_that_waits_for_a_retry_is_cancelled_with_the_failure_it_had() {
    check(
        r#"
        skill pay idempotent: busy
        step pay pay {"retry": {"initial_delay_ms": 5000}}
        ---
        once
        cancel"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 failed of pay#1 by call test.server, retry at 4156.894
        = until 4156.894
        4156.894 cancel requested
        4156.894 settled 0 pay failure server test.server
        4156.894 sealed cancelled cancel_requested
        = cancelled",
    );
}

#[test]
fn a_run_that_waits_for_a_resolution_is_cancelled_with_the_effect_unknown_to_the_end() {
    check(
        r#"
        skill pay unsafe: unknown
        step pay pay
        ---
        drive
        cancel"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 unknown of pay#1 by call test.reset, hold
        = waiting for a resolution of pay
        0 cancel requested
        0 settled 0 pay unknown network test.reset
        0 sealed cancelled cancel_requested
        = cancelled",
    );
}

#[test]
fn a_run_is_cancelled_while_a_call_is_under_way() {
    check(
        r#"
        skill pay unsafe: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 unknown of pay#1 by call engine.cancelled, hold
        0 settled 0 pay unknown interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
    check(
        r#"
        skill pay idempotent: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 unknown of pay#1 by call engine.cancelled, retry at 0
        0 settled 0 pay unknown interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
    check(
        r#"
        skill pay read: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 failed of pay#1 by call engine.cancelled, retry at 421.463
        0 settled 0 pay failure interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
    check(
        r#"
        skill pay transactional: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 failed of pay#1 by call engine.cancelled, retry at 421.463
        0 settled 0 pay failure interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
    check(
        r#"
        skill pay pure: cancelled
        step pay pay
        step after pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        0 cancel requested
        0 failed of pay#1 by call engine.cancelled, retry at 421.463
        0 settled 0 pay failure interrupted engine.cancelled
        0 sealed cancelled cancel_requested
        = cancelled",
    );
}

#[test]
fn an_attempt_that_takes_too_long_is_cut_off() {
    check(
        r#"
        skill look read: hang | done
        step look look {"timeout_ms": 700, "retry": {"initial_delay_ms": 0, "max_delay_ms": 0}}
        ---
        drive"#,
        "
        0 claimed 1
        0 intended look#1 look
        700 failed of look#1 by call engine.timeout, retry at 700
        700 intended look#2 look
        700 done of look#2 by call, settle
        700 settled 0 look success execution
        700 sealed succeeded plan_completed
        = succeeded",
    );
    check(
        r#"
        skill pay unsafe: hang
        step pay pay
        ---
        drive"#,
        "
        0 claimed 1
        0 intended pay#1 pay
        10000 unknown of pay#1 by call engine.timeout, hold
        = waiting for a resolution of pay",
    );
}

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
    assert!(block_on(book.claim("w_1", u64::MAX, 1)).unwrap().is_empty());
}
