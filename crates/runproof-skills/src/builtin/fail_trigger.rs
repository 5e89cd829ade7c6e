//! `__fail_trigger__`: fails as it is told, so that retries, fallbacks and crashes can be tried out.
//!
//! Touches nothing; whatever effect class it is told to have, it has none. Registered only when the operator asks.

use std::time::Duration;

use async_trait::async_trait;
use runproof_engine::skill::{
    Attempt, AttemptResult, CostModel, Dispatch, EffectClass, ErrorCategory, ErrorCode, Failure, Idempotency, Limits,
    Manifest, ParamFinding, Skill,
};
use serde_json::{Value, json};

use crate::attempt::{attempt, done, failure, not_done};
use crate::params::{Reader, Stage, sentence};

const MAX_DELAY_MS: u64 = 60_000;
const MAX_FAIL_ATTEMPTS: u64 = 1_000_000;
const MAX_INPUT_BYTES: usize = 64 * 1024;
const MAX_MESSAGE_CHARS: usize = 1_000;
const MAX_DEPTH: usize = 4;

const fn code(code: &'static str, category: ErrorCategory, retryable: bool, meaning: &'static str) -> ErrorCode {
    ErrorCode { code, category, retryable, meaning }
}

const INVALID_PARAMS: ErrorCode =
    code("fail_trigger.invalid_params", ErrorCategory::Validation, false, "the parameters are wrong");
const BUDGET_EXCEEDED: ErrorCode =
    code("fail_trigger.budget_exceeded", ErrorCategory::Policy, false, "asked to fail with BUDGET_EXCEEDED");
const EXECUTION_TIMEOUT: ErrorCode =
    code("fail_trigger.execution_timeout", ErrorCategory::Timeout, true, "asked to fail with EXECUTION_TIMEOUT");
const STEP_FAILURE: ErrorCode =
    code("fail_trigger.step_failure", ErrorCategory::Client, false, "asked to fail with STEP_FAILURE");
const RETRY_EXHAUSTED: ErrorCode =
    code("fail_trigger.retry_exhausted", ErrorCategory::Transient, false, "asked to fail with RETRY_EXHAUSTED");
const SKILL_ERROR: ErrorCode =
    code("fail_trigger.skill_error", ErrorCategory::Transient, true, "asked to fail with SKILL_ERROR");
const OTHER: ErrorCode =
    code("fail_trigger.other", ErrorCategory::Internal, false, "asked to fail with a code of the caller's");

/// The first system's codes.
const CODES: &[(&str, &ErrorCode)] = &[
    ("BUDGET_EXCEEDED", &BUDGET_EXCEEDED),
    ("EXECUTION_TIMEOUT", &EXECUTION_TIMEOUT),
    ("STEP_FAILURE", &STEP_FAILURE),
    ("RETRY_EXHAUSTED", &RETRY_EXHAUSTED),
    ("SKILL_ERROR", &SKILL_ERROR),
];

const CLASSES: &[(&str, EffectClass)] = &[
    ("pure", EffectClass::Pure),
    ("read", EffectClass::Read),
    ("idempotent", EffectClass::Idempotent),
    ("transactional", EffectClass::Transactional),
    ("probeable", EffectClass::Probeable),
    ("unsafe", EffectClass::Unsafe),
];

/// What an attempt that is to fail answers.
#[derive(Clone, Copy)]
enum Answer {
    Failed,
    NotDone,
    Unknown,
    Done,
}

const ANSWERS: &[(&str, Answer)] =
    &[("failed", Answer::Failed), ("not_done", Answer::NotDone), ("unknown", Answer::Unknown), ("done", Answer::Done)];

/// The skill.
pub(crate) struct FailTrigger {
    manifest: Manifest,
}

impl FailTrigger {
    /// The skill; it has nothing to set up.
    pub(crate) fn new() -> Self {
        Self { manifest: manifest() }
    }
}

fn words<T>(list: &[(&'static str, T)]) -> Vec<&'static str> {
    list.iter().map(|(word, _)| *word).collect()
}

fn manifest() -> Manifest {
    Manifest {
        name: "__fail_trigger__",
        version: "1.0.0",
        description: "Fails as it is told, for tests.",
        input_schema: json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "required": ["error_code"],
            "properties": {
                "error_code": {"type": "string", "minLength": 1, "maxLength": MAX_MESSAGE_CHARS},
                "error_message": {"type": "string", "maxLength": MAX_MESSAGE_CHARS},
                "delay_ms": {"type": "integer", "minimum": 0, "maximum": MAX_DELAY_MS},
                "effect": {"enum": words(CLASSES), "default": "unsafe"},
                "fail_attempts": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": MAX_FAIL_ATTEMPTS,
                    "description": "Only the first attempts fail; without it every attempt does."
                },
                "result": {"enum": words(ANSWERS), "default": "failed"}
            }
        }),
        output_schema: json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "required": ["attempt"],
            "properties": {"attempt": {"type": "integer", "minimum": 1}}
        }),
        effects: &[
            EffectClass::Pure,
            EffectClass::Read,
            EffectClass::Idempotent,
            EffectClass::Transactional,
            EffectClass::Probeable,
            EffectClass::Unsafe,
        ],
        idempotency: Idempotency::None,
        cost: CostModel::Free,
        secret_params: &[],
        limits: Limits {
            max_input_bytes: MAX_INPUT_BYTES,
            max_output_bytes: 1024,
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_secs(120),
        },
        errors: &[
            INVALID_PARAMS,
            BUDGET_EXCEEDED,
            EXECUTION_TIMEOUT,
            STEP_FAILURE,
            RETRY_EXHAUSTED,
            SKILL_ERROR,
            OTHER,
        ],
        test_only: true,
    }
}

#[async_trait]
impl Skill for FailTrigger {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn effect(&self, params: &Value) -> EffectClass {
        let asked = params.get("effect").and_then(Value::as_str);
        CLASSES.iter().find(|(word, _)| Some(*word) == asked).map_or(EffectClass::Unsafe, |(_, class)| *class)
    }

    fn check(&self, params: &Value) -> Vec<ParamFinding> {
        Order::read(params, Stage::Planned).1
    }

    async fn invoke(&self, dispatch: &Dispatch) -> Attempt {
        let (order, findings) = Order::read(dispatch.params(), Stage::Resolved);
        if !findings.is_empty() {
            return not_done(failure(&INVALID_PARAMS, sentence(&findings)));
        }
        tokio::time::sleep(order.delay).await;
        order.answer(dispatch.call().attempt)
    }
}

/// What the skill was told to do.
struct Order {
    failure: Failure,
    delay: Duration,
    fail_attempts: Option<u64>,
    answer: Answer,
}

impl Order {
    fn read(params: &Value, stage: Stage) -> (Self, Vec<ParamFinding>) {
        let mut reader = Reader::new(params, stage);
        reader.within(params, MAX_DEPTH, MAX_INPUT_BYTES);
        reader.need("error_code");
        let code = short_text(&mut reader, "error_code");
        if code == Some("") {
            reader.find("error_code", "is empty");
        }
        let code = code.unwrap_or_default();
        let message = short_text(&mut reader, "error_message");
        let delay = Duration::from_millis(reader.integer("delay_ms", 0..=MAX_DELAY_MS).unwrap_or(0));
        let fail_attempts = reader.integer("fail_attempts", 0..=MAX_FAIL_ATTEMPTS);
        let answer = reader.word("result", ANSWERS).unwrap_or(Answer::Failed);
        reader.word("effect", CLASSES);
        let known = CODES.iter().find(|(word, _)| *word == code).map_or(&OTHER, |(_, known)| *known);
        let message = message.map_or_else(|| format!("asked to fail with `{code}`"), str::to_owned);
        (Self { failure: failure(known, message), delay, fail_attempts, answer }, reader.finish())
    }

    fn answer(self, number: u32) -> Attempt {
        let succeeds = self.fail_attempts.is_some_and(|failing| u64::from(number) > failing);
        match self.answer {
            Answer::Done => done(json!({"attempt": number})),
            Answer::Failed | Answer::NotDone | Answer::Unknown if succeeds => done(json!({"attempt": number})),
            Answer::Failed => attempt(AttemptResult::Failed(self.failure), 0),
            Answer::NotDone => attempt(AttemptResult::NotDone(self.failure), 0),
            Answer::Unknown => attempt(AttemptResult::Unknown(self.failure), 0),
        }
    }
}

fn short_text<'a>(reader: &mut Reader<'a>, name: &'static str) -> Option<&'a str> {
    let text = reader.text(name)?;
    if text.chars().count() > MAX_MESSAGE_CHARS {
        reader.find(name, format!("is longer than {MAX_MESSAGE_CHARS} characters"));
    }
    Some(text)
}
