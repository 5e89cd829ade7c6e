//! `json_transform`: picks values out of a JSON value by path, or gives it as it is. Pure: no clock, no network, no state.
//!
//! A missing value is a failure, never a silent `null`; only `defaults` say otherwise.

use std::time::Duration;

use async_trait::async_trait;
use runproof_engine::skill::{
    Attempt, AttemptResult, CostModel, Dispatch, EffectClass, ErrorCategory, ErrorCode, Idempotency, Limits, Manifest,
    ParamFinding, Skill,
};
use serde_json::{Map, Value, json};

use crate::attempt::{attempt, done, failure, not_done};
use crate::params::{Reader, Stage, sentence, size};
use crate::path::Path;

const MAX_INPUT_BYTES: usize = 1024 * 1024;
/// A mapping can name a large value many times, so the output has a limit of its own.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = 32;

const INVALID_PARAMS: ErrorCode = ErrorCode {
    code: "json.invalid_params",
    category: ErrorCategory::Validation,
    retryable: false,
    meaning: "the parameters are wrong",
};
const INPUT_TOO_LARGE: ErrorCode = ErrorCode {
    code: "json.input_too_large",
    category: ErrorCategory::Validation,
    retryable: false,
    meaning: "the parameters are larger than 1 MiB or nest deeper than 32 levels",
};
const OUTPUT_TOO_LARGE: ErrorCode = ErrorCode {
    code: "json.output_too_large",
    category: ErrorCategory::Validation,
    retryable: false,
    meaning: "the output is larger than 1 MiB",
};
const PATH_INVALID: ErrorCode = ErrorCode {
    code: "json.path_invalid",
    category: ErrorCategory::Validation,
    retryable: false,
    meaning: "a path in `mapping` is not a path",
};
const PATH_NOT_FOUND: ErrorCode = ErrorCode {
    code: "json.path_not_found",
    category: ErrorCategory::Validation,
    retryable: false,
    meaning: "a path leads to no value and has no default",
};

/// The skill.
pub(crate) struct JsonTransform {
    manifest: Manifest,
}

impl JsonTransform {
    /// The skill; it has nothing to set up.
    pub(crate) fn new() -> Self {
        Self { manifest: manifest() }
    }
}

fn manifest() -> Manifest {
    Manifest {
        name: "json_transform",
        version: "1.0.0",
        description: "Picks values out of a JSON value by path, such as `items[0].name`, or gives it as it is.",
        input_schema: json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "required": ["payload"],
            "dependentRequired": {"defaults": ["mapping"]},
            "properties": {
                "payload": {"description": "The value to pick from. Without `mapping` it is the output."},
                "mapping": {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {"type": "string", "minLength": 1},
                    "description": "Output name to path: `a.b[0].c`, where a negative index counts from the end."
                },
                "defaults": {"type": "object", "description": "Output name to the value used when its path leads nowhere."}
            }
        }),
        output_schema: json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "description": "An object with the names of `mapping`; without one the payload, whatever it is."
        }),
        effects: &[EffectClass::Pure],
        idempotency: Idempotency::NotNeeded,
        cost: CostModel::Free,
        secret_params: &[],
        limits: Limits {
            max_input_bytes: MAX_INPUT_BYTES,
            max_output_bytes: MAX_OUTPUT_BYTES,
            default_timeout: Duration::from_secs(5),
            max_timeout: Duration::from_secs(60),
        },
        errors: &[INVALID_PARAMS, INPUT_TOO_LARGE, OUTPUT_TOO_LARGE, PATH_INVALID, PATH_NOT_FOUND],
        test_only: false,
    }
}

#[async_trait]
impl Skill for JsonTransform {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn effect(&self, _params: &Value) -> EffectClass {
        EffectClass::Pure
    }

    fn check(&self, params: &Value) -> Vec<ParamFinding> {
        match Request::read(params, Stage::Planned) {
            Ok(_) => Vec::new(),
            Err(refusal) => refusal.findings,
        }
    }

    async fn invoke(&self, dispatch: &Dispatch) -> Attempt {
        match Request::read(dispatch.params(), Stage::Resolved) {
            Ok(request) => transform(&request),
            Err(refusal) => not_done(failure(refusal.code, sentence(&refusal.findings))),
        }
    }
}

struct Request<'a> {
    payload: &'a Value,
    /// Output name and path, in the order of the names; without it the payload is the output.
    mapping: Option<Vec<(&'a str, Path)>>,
    defaults: Option<&'a Map<String, Value>>,
}

struct Refusal {
    code: &'static ErrorCode,
    findings: Vec<ParamFinding>,
}

impl<'a> Request<'a> {
    fn read(params: &'a Value, stage: Stage) -> Result<Self, Refusal> {
        let mut reader = Reader::new(params, stage);
        let fits = reader.within(params, MAX_DEPTH, MAX_INPUT_BYTES);
        reader.need("payload");
        let payload = reader.any("payload").unwrap_or(&Value::Null);
        let defaults = reader.object("defaults");
        let mut bad_paths = Vec::new();
        let mapping = reader.object("mapping");
        let paths = mapping.map(|mapping| paths(&mut reader, mapping, &mut bad_paths));
        if defaults.is_some() && params.get("mapping").is_none() {
            reader.find("defaults", "needs `mapping`");
        }
        if let (Some(mapping), Some(defaults)) = (mapping, defaults) {
            for name in defaults.keys().filter(|name| !mapping.contains_key(*name)) {
                reader.find(format!("defaults.{name}"), "is a default for an output that `mapping` does not name");
            }
        }
        let mut findings = reader.finish();
        let code = match (fits, findings.is_empty()) {
            (false, _) => &INPUT_TOO_LARGE,
            (true, true) => &PATH_INVALID,
            (true, false) => &INVALID_PARAMS,
        };
        findings.append(&mut bad_paths);
        if !findings.is_empty() {
            return Err(Refusal { code, findings });
        }
        Ok(Self { payload, mapping: paths, defaults })
    }
}

fn paths<'a>(
    reader: &mut Reader<'a>,
    mapping: &'a Map<String, Value>,
    bad_paths: &mut Vec<ParamFinding>,
) -> Vec<(&'a str, Path)> {
    if mapping.is_empty() {
        reader.find("mapping", "names no output");
    }
    let mut paths = Vec::with_capacity(mapping.len());
    for (name, text) in mapping {
        if reader.is_open(text) {
            continue;
        }
        let Some(text) = text.as_str() else {
            reader.find(format!("mapping.{name}"), "must be a path");
            continue;
        };
        match Path::parse(text) {
            Ok(path) => paths.push((name.as_str(), path)),
            Err(error) => {
                bad_paths.push(ParamFinding { path: format!("mapping.{name}"), message: format!("{error}: `{text}`") });
            }
        }
    }
    paths
}

fn transform(request: &Request<'_>) -> Attempt {
    let Some(mapping) = &request.mapping else { return done(request.payload.clone()) };
    let mut output = Map::new();
    let mut missing = Vec::new();
    for (name, path) in mapping {
        let default = || request.defaults.and_then(|defaults| defaults.get(*name));
        match path.get(request.payload).or_else(default) {
            Some(value) => {
                output.insert((*name).to_owned(), value.clone());
            }
            None => missing.push(format!("path `{path}` not found for key `{name}`")),
        }
    }
    if !missing.is_empty() {
        return attempt(AttemptResult::Failed(failure(&PATH_NOT_FOUND, missing.join("; "))), 0);
    }
    let output = Value::Object(output);
    if size(&output) > MAX_OUTPUT_BYTES {
        let message = format!("output is larger than {MAX_OUTPUT_BYTES} bytes");
        return attempt(AttemptResult::Failed(failure(&OUTPUT_TOO_LARGE, message)), 0);
    }
    done(output)
}
