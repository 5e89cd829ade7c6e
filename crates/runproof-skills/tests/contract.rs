//! What every skill must hold, whatever it does. A new skill brings its cases and calls [`contract`].

use std::collections::BTreeSet;
use std::sync::Arc;

use jsonschema::Validator;
use runproof_engine::skill::{Attempt, AttemptResult, CostModel, EffectClass, Failure, Manifest, Skill};
use serde_json::{Value, json};

use crate::calls::dispatch;

/// Parameters, and whether the skill takes them.
pub(crate) struct Case {
    params: Value,
    accepted: bool,
    /// A schema cannot say what is wrong with these.
    beyond_schema: bool,
}

/// Parameters that the skill takes. They are called, unless they hold a placeholder.
pub(crate) fn accepted(params: Value) -> Case {
    Case { params, accepted: true, beyond_schema: false }
}

/// Parameters that the skill refuses, and its schema too.
pub(crate) fn refused(params: Value) -> Case {
    Case { params, accepted: false, beyond_schema: false }
}

/// Parameters that the skill refuses for a reason that no schema can express.
pub(crate) fn refused_beyond_schema(params: Value) -> Case {
    Case { params, accepted: false, beyond_schema: true }
}

/// Holds a skill to its manifest in every case.
pub(crate) async fn contract(skill: &Arc<dyn Skill>, cases: &[Case]) {
    let manifest = skill.manifest();
    let input = schema(&manifest.input_schema);
    let output = schema(&manifest.output_schema);
    check_manifest(manifest);
    assert!(cases.iter().any(|case| case.accepted) && cases.iter().any(|case| !case.accepted), "cases of both kinds");
    for case in cases {
        check_params(skill, &input, case);
        if holds_placeholder(&case.params) {
            continue;
        }
        let attempt = skill.invoke(&dispatch(manifest.name, case.params.clone())).await;
        check_attempt(manifest, &output, case, &attempt);
        let writes = attempt.writes.is_empty() || skill.effect(&case.params) == EffectClass::Transactional;
        assert!(writes, "only a transactional call writes: {}", case.params);
    }
}

fn schema(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).expect("a schema of draft 2020-12")
}

fn check_manifest(manifest: &Manifest) {
    let name = manifest.name.as_bytes();
    let first = name.first().is_some_and(|byte| byte.is_ascii_lowercase() || *byte == b'_');
    let rest = name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
    assert!(first && rest && name.len() <= 64, "name `{}`", manifest.name);
    let numbers: Vec<_> = manifest.version.split('.').collect();
    let plain = |number: &&str| number.parse::<u32>().is_ok_and(|value| value.to_string() == **number);
    assert!(numbers.len() == 3 && numbers.iter().all(plain), "version `{}`", manifest.version);
    let description = manifest.description.strip_suffix('.').expect("a description that ends as a sentence");
    assert!(!description.is_empty() && !description.contains(". "), "one sentence: {description}");
    assert_eq!(manifest.input_schema["type"], "object");
    for schema in [&manifest.input_schema, &manifest.output_schema] {
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
    assert_eq!(manifest.input_schema["additionalProperties"], json!(false), "unknown parameters are refused");
    assert!(!manifest.effects.is_empty());
    for secret in manifest.secret_params {
        let known = *secret == "*" || !manifest.input_schema["properties"][secret].is_null();
        assert!(known, "secret parameter `{secret}` is not a parameter");
    }
    check_codes(manifest);
    let limits = &manifest.limits;
    assert!((1..=16 * 1024 * 1024).contains(&limits.max_input_bytes));
    assert!((1..=16 * 1024 * 1024).contains(&limits.max_output_bytes));
    assert!(!limits.default_timeout.is_zero() && limits.default_timeout <= limits.max_timeout);
}

fn check_codes(manifest: &Manifest) {
    let codes: BTreeSet<_> = manifest.errors.iter().map(|error| error.code).collect();
    assert_eq!(codes.len(), manifest.errors.len(), "error codes are unique");
    for error in manifest.errors {
        let parts: Vec<_> = error.code.split('.').collect();
        let plain = |part: &&str| {
            let letters = part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            !part.is_empty() && letters
        };
        assert!(parts.len() == 2 && parts.iter().all(plain), "code `{}`", error.code);
        assert!(!error.meaning.is_empty(), "code `{}` has a meaning", error.code);
    }
}

fn check_params(skill: &Arc<dyn Skill>, input: &Validator, case: &Case) {
    let (params, manifest) = (&case.params, skill.manifest());
    let findings = skill.check(params);
    assert_eq!(findings.is_empty(), case.accepted, "`check` of {params}: {findings:?}");
    if !case.beyond_schema && !holds_placeholder(params) {
        assert_eq!(input.is_valid(params), case.accepted, "the input schema and `check` agree on {params}");
    }
    let effect = skill.effect(params);
    assert!(manifest.effects.contains(&effect), "{effect:?} of {params} is not in the manifest");
    assert_eq!(skill.effect(params), effect, "the same parameters, the same class");
    if let Value::Object(members) = params {
        let mut members = members.clone();
        members.insert("no_such_parameter".to_owned(), json!(1));
        let findings = skill.check(&Value::Object(members));
        assert!(findings.iter().any(|finding| finding.path == "no_such_parameter"), "{findings:?}");
    }
}

fn check_attempt(manifest: &Manifest, output: &Validator, case: &Case, attempt: &Attempt) {
    let params = &case.params;
    match (manifest.cost, attempt.cost_microcents) {
        (CostModel::Free, cost) => assert_eq!(cost, 0),
        (CostModel::PerAttempt(each), cost) => assert!(cost == 0 || cost == each, "{cost} for {params}"),
        (CostModel::Metered(most), cost) => assert!(cost <= most, "{cost} for {params}"),
    }
    match &attempt.result {
        AttemptResult::Done { output: value } => {
            assert!(case.accepted, "{params} was refused by `check` and done by `invoke`");
            check_output(manifest, output, value);
        }
        AttemptResult::NotDone(failure) => check_failure(manifest, failure),
        AttemptResult::Failed(failure) | AttemptResult::Unknown(failure) => {
            assert!(case.accepted, "{params} was refused by `check` and tried by `invoke`");
            check_failure(manifest, failure);
        }
    }
    if !case.accepted {
        assert_eq!(attempt.cost_microcents, 0, "what is refused costs nothing: {params}");
    }
}

/// Holds a failure to the manifest.
pub(crate) fn check_failure(manifest: &Manifest, failure: &Failure) {
    let documented = manifest.errors.iter().find(|error| error.code == failure.code);
    let documented = documented.unwrap_or_else(|| panic!("`{}` is not in the manifest", failure.code));
    assert_eq!(failure.category, documented.category, "{failure:?}");
    assert!(documented.retryable || !failure.retryable, "more retryable than documented: {failure:?}");
    assert!(!failure.message.is_empty() && !failure.message.ends_with('.'), "{failure:?}");
}

/// Holds an output to its schema, its limit and the canonical profile.
pub(crate) fn check_output(manifest: &Manifest, schema: &Validator, output: &Value) {
    let errors: Vec<_> = schema.iter_errors(output).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?} in {output}");
    assert!(serde_json::to_vec(output).expect("JSON").len() <= manifest.limits.max_output_bytes);
    check_canonical(output, 64);
}

fn check_canonical(value: &Value, depth: usize) {
    let check_text = |text: &str| assert!(!text.contains('\0'), "U+0000 in {text:?}");
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => {
            let integer = number.as_i64().unwrap_or_else(|| panic!("{number} is not an integer"));
            assert!(integer.unsigned_abs() < 1 << 53, "{number} is beyond 2^53 - 1");
        }
        Value::String(text) => check_text(text),
        Value::Array(items) => {
            assert!(depth > 0, "nested too deeply");
            items.iter().for_each(|item| check_canonical(item, depth - 1));
        }
        Value::Object(members) => {
            assert!(depth > 0, "nested too deeply");
            for (name, member) in members {
                check_text(name);
                check_canonical(member, depth - 1);
            }
        }
    }
}

fn holds_placeholder(params: &Value) -> bool {
    let text = params.to_string();
    text.contains("{{") || text.contains("secret://")
}
