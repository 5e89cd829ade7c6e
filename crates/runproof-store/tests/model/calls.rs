//! One call of a step: what follows what came of its attempts. From `docs/guide/plans.md` and `ARCHITECTURE.md`.

use std::ops::RangeInclusive;

use runproof_engine::skill::EffectClass;
use serde_json::Value;

use super::plan::{OnUnknown, Step};

/// One of the calls of a step. In the order in which calls are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId {
    pub(crate) step: usize,
    pub(crate) element: Option<usize>,
    pub(crate) fallback: bool,
}

/// What is known of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Done(Value),
    /// It failed, or was not done.
    Failed(Trouble),
    Unknown(Trouble),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) category: String,
    pub(crate) code: String,
    pub(crate) retryable: bool,
}

/// What follows an outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Then {
    Settle,
    Retry,
    Hold,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) phase: Phase,
    pub(super) attempts: u32,
    /// Outcomes that count against `max_attempts`.
    pub(super) failures: u32,
    pub(super) cost_microcents: u64,
    pub(super) trouble: Option<Trouble>,
    /// Nobody knows whether the last attempt took effect.
    pub(super) doubt: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Phase {
    #[default]
    Open,
    RetryAt(u64),
    Held,
    /// It can settle: status, category and output.
    Ready(&'static str, String, Option<Value>),
    /// It has settled: category, and the output if it succeeded.
    Settled(String, Option<Value>),
}

impl CallId {
    pub(super) fn own(step: usize) -> Self {
        Self { step, element: None, fallback: false }
    }

    pub(super) fn of(step: usize, element: usize) -> Self {
        Self { step, element: Some(element), fallback: false }
    }

    pub(super) fn its_fallback(self) -> Self {
        Self { fallback: true, ..self }
    }

    /// The item in events and rows.
    pub(crate) fn item(self) -> Option<String> {
        match (self.element, self.fallback) {
            (None, false) => None,
            (None, true) => Some("fallback".to_owned()),
            (Some(element), false) => Some(element.to_string()),
            (Some(element), true) => Some(format!("{element}.fallback")),
        }
    }
}

impl Call {
    pub(super) fn category(&self) -> String {
        self.trouble.as_ref().map_or("execution".to_owned(), |trouble| trouble.category.clone())
    }

    /// An attempt ended: what follows.
    pub(super) fn hear(&mut self, step: &Step, heard: Heard, retry_at: u64) -> Then {
        self.doubt = matches!(heard, Heard::Unknown(_));
        let (then, success, output) = match &heard {
            Heard::Done(output) => {
                self.trouble = None;
                (Then::Settle, true, Some(output.clone()))
            }
            Heard::Failed(trouble) | Heard::Unknown(trouble) => {
                let interrupted = trouble.category == "interrupted";
                self.failures += u32::from(!interrupted);
                let left = self.failures < step.max_attempts;
                self.trouble = Some(trouble.clone());
                match heard {
                    Heard::Unknown(_) => unknown(step, interrupted, left),
                    Heard::Done(_) | Heard::Failed(_) if interrupted || (trouble.retryable && left) => {
                        (Then::Retry, false, None)
                    }
                    Heard::Done(_) | Heard::Failed(_) => (Then::Settle, false, None),
                }
            }
        };
        self.phase = match then {
            Then::Retry => Phase::RetryAt(retry_at),
            Then::Hold => Phase::Held,
            Then::Settle if success => Phase::Ready("success", "execution".to_owned(), output),
            Then::Settle => Phase::Ready("failure", self.category(), None),
        };
        then
    }

    /// How long to wait before the next attempt: up to half is taken off. After an interruption there is no wait.
    pub(super) fn delay_us(&self, step: &Step) -> RangeInclusive<u64> {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.category == "interrupted") {
            return 0..=0;
        }
        let most = step.delay_ms.max(30_000);
        let full = (step.delay_ms << (self.failures - 1)).min(most) * 1_000;
        full / 2..=full
    }

    /// A person said what came of it.
    pub(super) fn resolve(&mut self, done: bool) {
        let (status, output) = if done { ("success", Some(Value::Null)) } else { ("failure", None) };
        self.phase = Phase::Ready(status, "resolved".to_owned(), output);
        self.doubt = false;
    }
}

/// Whether an effect of this class is still there when the call is over.
pub(super) fn lasts(effect: EffectClass) -> bool {
    match effect {
        EffectClass::Pure | EffectClass::Read | EffectClass::Transactional => false,
        EffectClass::Idempotent | EffectClass::Probeable | EffectClass::Unsafe => true,
    }
}

/// What follows an attempt of which nobody knows whether it took effect, with success and output when it settles.
fn unknown(step: &Step, interrupted: bool, left: bool) -> (Then, bool, Option<Value>) {
    let may_repeat = match step.effect {
        EffectClass::Pure | EffectClass::Read | EffectClass::Transactional | EffectClass::Idempotent => {
            interrupted || left
        }
        EffectClass::Probeable | EffectClass::Unsafe => step.on_unknown == OnUnknown::Retry && left,
    };
    match (may_repeat, step.on_unknown) {
        (true, _) => (Then::Retry, false, None),
        // Nobody is asked about what leaves nothing behind.
        (false, OnUnknown::Hold | OnUnknown::Retry) if !lasts(step.effect) => (Then::Settle, false, None),
        (false, OnUnknown::Hold | OnUnknown::Retry) => (Then::Hold, false, None),
        (false, OnUnknown::AssumeDone) => (Then::Settle, true, Some(Value::Null)),
        (false, OnUnknown::Fail) => (Then::Settle, false, None),
    }
}
