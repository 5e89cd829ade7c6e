//! `kv_store`: values of a tenant that outlive a run. Reads through a port and answers its writes as data; the committer
//! applies them together with the outcome, so that each happens exactly once, or not at all.
//!
//! Every write is guarded by what was read. When somebody else was faster, the commit refuses and the driver calls again.

mod request;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runproof_engine::ports::{Clock, KeyValues, Stored};
use runproof_engine::skill::{
    Attempt, AttemptResult, CostModel, Dispatch, EffectClass, ErrorCategory, ErrorCode, Guard, Idempotency, Limits,
    Manifest, ParamFinding, Skill, Write,
};
use serde_json::{Value, json};

use crate::attempt::{attempt, failure, not_done};
use crate::params::{Stage, sentence};
use request::{Operation, Request};

/// Largest value, as JSON.
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// A value and the parameters around it.
const MAX_INPUT_BYTES: usize = MAX_VALUE_BYTES + 4 * 1024;
/// A value grows when what is private in it gives way to markers.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;
/// Largest magnitude of a number that every JSON reader keeps exact.
const MAX_INTEGER: i64 = 9_007_199_254_740_991;

const fn code(code: &'static str, category: ErrorCategory, retryable: bool, meaning: &'static str) -> ErrorCode {
    ErrorCode { code, category, retryable, meaning }
}

const INVALID_PARAMS: ErrorCode =
    code("kv.invalid_params", ErrorCategory::Validation, false, "the parameters are wrong");
const NOT_A_NUMBER: ErrorCode =
    code("kv.not_a_number", ErrorCategory::Validation, false, "`incr` or `decr` of a value that is no whole number");
const OVERFLOW: ErrorCode =
    code("kv.overflow", ErrorCategory::Validation, false, "the number would go beyond 2^53 - 1");
const UNREADABLE: ErrorCode =
    code("kv.unreadable", ErrorCategory::Internal, false, "what is stored is not a value that this skill wrote");
const UNAVAILABLE: ErrorCode = code("kv.unavailable", ErrorCategory::Transient, true, "the store could not be read");
/// The driver answers this one.
const CONTENDED: ErrorCode =
    code("kv.contended", ErrorCategory::Transient, true, "others wrote the key until the time of the attempt was over");

/// The skill.
pub(crate) struct KvStore {
    manifest: Manifest,
    values: Arc<dyn KeyValues>,
    clock: Arc<dyn Clock>,
}

impl KvStore {
    /// The skill, over the values of a store. The clock says what has expired.
    pub(crate) fn new(values: Arc<dyn KeyValues>, clock: Arc<dyn Clock>) -> Self {
        Self { manifest: manifest(), values, clock }
    }
}

fn manifest() -> Manifest {
    Manifest {
        name: "kv_store",
        version: "1.0.0",
        description: "Keeps values of the tenant between runs, counts, and lets them expire.",
        input_schema: input_schema(),
        output_schema: json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "minProperties": 1,
            "properties": {
                "found": {"type": "boolean", "description": "Whether the key was there: get, delete, exists, ttl, expire."},
                "created": {"type": "boolean", "description": "Whether the key was not there before: set."},
                "value": {"description": "get: the value, or `default`, or null. incr, decr: the number afterwards."},
                "ttl_seconds": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "description": "ttl: seconds that are left, rounded up; null when the key is not there or never expires."
                }
            }
        }),
        effects: &[EffectClass::Read, EffectClass::Transactional],
        idempotency: Idempotency::NotNeeded,
        cost: CostModel::Free,
        secret_params: &[],
        limits: Limits {
            max_input_bytes: MAX_INPUT_BYTES,
            max_output_bytes: MAX_OUTPUT_BYTES,
            default_timeout: Duration::from_secs(10),
            max_timeout: Duration::from_secs(60),
        },
        errors: &[INVALID_PARAMS, NOT_A_NUMBER, OVERFLOW, UNREADABLE, UNAVAILABLE, CONTENDED],
        test_only: false,
    }
}

fn input_schema() -> Value {
    let only_for = |operations: &[&str], parameter: &str| {
        json!({
            "if": {"required": ["operation"], "properties": {"operation": {"enum": operations}}},
            "else": {"properties": {parameter: false}}
        })
    };
    let needed_for = |operation: &str, parameter: &str| {
        json!({
            "if": {"required": ["operation"], "properties": {"operation": {"const": operation}}},
            "then": {"required": [parameter]}
        })
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["operation", "key"],
        "properties": {
            "operation": {"enum": ["get", "set", "delete", "exists", "ttl", "incr", "decr", "expire"]},
            "key": {"type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[^\\u0000]*$"},
            "namespace": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$", "description": "Keeps keys apart within the tenant; `default` when absent."},
            "value": {"description": "set: any JSON, at most 64 KiB."},
            "default": {"description": "get: the value when there is none."},
            "ttl_seconds": {"type": "integer", "minimum": 1, "maximum": 31_536_000, "description": "set, expire: the key is gone after so many seconds."},
            "amount": {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER, "description": "incr, decr: 1 when absent."}
        },
        "allOf": [
            only_for(&["set"], "value"),
            only_for(&["get"], "default"),
            only_for(&["set", "expire"], "ttl_seconds"),
            only_for(&["incr", "decr"], "amount"),
            needed_for("set", "value"),
            needed_for("expire", "ttl_seconds")
        ]
    })
}

#[async_trait]
impl Skill for KvStore {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn effect(&self, params: &Value) -> EffectClass {
        match params.get("operation").and_then(Value::as_str) {
            Some("get" | "exists" | "ttl") => EffectClass::Read,
            Some(_) | None => EffectClass::Transactional,
        }
    }

    fn check(&self, params: &Value) -> Vec<ParamFinding> {
        Request::read(params, Stage::Planned).err().unwrap_or_default()
    }

    async fn invoke(&self, dispatch: &Dispatch) -> Attempt {
        let request = match Request::read(dispatch.params(), Stage::Resolved) {
            Ok(request) => request,
            Err(findings) => return not_done(failure(&INVALID_PARAMS, sentence(&findings))),
        };
        match self.values.read(&dispatch.call().tenant, &request.key).await {
            Ok(stored) => perform(&request, stored, self.clock.now()),
            Err(error) => not_done(failure(&UNAVAILABLE, error.to_string())),
        }
    }
}

/// What the operation answers and writes, given what was stored at this time, in microseconds.
fn perform(request: &Request<'_>, stored: Option<Stored>, now: u64) -> Attempt {
    // An expired key is as good as absent, but the guard is about what is stored: a new value takes the place of exactly
    // this row.
    let guard = stored.as_ref().map_or(Guard::Absent, |stored| Guard::Version(stored.version));
    let live = stored.filter(|stored| stored.expires_at.is_none_or(|at| at > now));
    let found = live.is_some();
    let put = |value: Vec<u8>, expires_at| Write::Put { key: request.key.clone(), value, expires_at, guard };
    let (output, write) = match &request.operation {
        Operation::Get(default) => match live.as_ref().map(value).unwrap_or(Ok((*default).clone())) {
            Ok(value) => (json!({"found": found, "value": value}), None),
            Err(unreadable) => return unreadable,
        },
        Operation::Exists => (json!({"found": found}), None),
        Operation::Ttl => {
            let left = live.and_then(|stored| stored.expires_at).map(|at| (at - now).div_ceil(MICROSECONDS));
            (json!({"found": found, "ttl_seconds": left}), None)
        }
        Operation::Set(value, seconds) => {
            let expires_at = seconds.map(|seconds| after(now, seconds));
            (json!({"created": !found}), Some(put(value.to_string().into_bytes(), expires_at)))
        }
        Operation::Add(amount) => {
            let before = live.as_ref().map(value).unwrap_or(Ok(json!(0)));
            let sum = match before.and_then(|before| add(&before, *amount)) {
                Ok(sum) => sum,
                Err(refusal) => return refusal,
            };
            let expires_at = live.and_then(|stored| stored.expires_at);
            (json!({"value": sum}), Some(put(sum.to_string().into_bytes(), expires_at)))
        }
        Operation::Expire(seconds) => {
            let write = live.map(|stored| put(stored.value, Some(after(now, *seconds))));
            (json!({"found": found}), write)
        }
        Operation::Delete => (json!({"found": found}), live.map(|_| Write::Delete { key: request.key.clone(), guard })),
    };
    // Whoever writes also takes away some of what has expired, so that it does not stay for ever.
    let writes = write.into_iter().flat_map(|write| [write, Write::DeleteExpired { until: now }]).collect();
    Attempt { writes, ..attempt(AttemptResult::Done { output }, 0) }
}

const MICROSECONDS: u64 = 1_000_000;

fn after(now: u64, seconds: u64) -> u64 {
    now.saturating_add(seconds.saturating_mul(MICROSECONDS))
}

fn value(stored: &Stored) -> Result<Value, Attempt> {
    let unreadable = |message: &str| attempt(AttemptResult::Failed(failure(&UNREADABLE, message)), 0);
    if stored.value.len() > MAX_OUTPUT_BYTES / 2 {
        return Err(unreadable("the stored value is too large"));
    }
    serde_json::from_slice(&stored.value).map_err(|_| unreadable("the stored value is not JSON"))
}

fn add(before: &Value, amount: i64) -> Result<i64, Attempt> {
    let refuse = |code: &ErrorCode, message: &str| Err(attempt(AttemptResult::Failed(failure(code, message)), 0));
    let Some(number) = before.as_i64() else { return refuse(&NOT_A_NUMBER, "the stored value is no whole number") };
    match number.checked_add(amount).filter(|sum| (-MAX_INTEGER..=MAX_INTEGER).contains(sum)) {
        Some(sum) => Ok(sum),
        None => refuse(&OVERFLOW, "the number would go beyond 2^53 - 1"),
    }
}
