//! What a plan may say: every finding at once, each with the path of the thing that is wrong.

use runproof_engine::admission::{RunRequest, admit};
use runproof_engine::plan::{self, OnError, OnUnknown, PlanFinding};
use serde_json::{Value, json};

use crate::doubles::operator;

pub(crate) fn plan(steps: Value) -> Value {
    json!({"schema": "runproof.plan/v1", "steps": steps})
}

pub(crate) fn told(findings: &[PlanFinding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{} {}", finding.code, finding.path)).collect()
}

/// The findings about a plan, as `code path`.
pub(crate) fn check(value: &Value, expected: &[&str]) {
    let findings = plan::parse(value).err().unwrap_or_default();
    assert_eq!(told(&findings), expected, "{value}");
    assert!(findings.iter().all(|finding| !finding.message.is_empty() && !finding.hint.is_empty()), "{findings:?}");
}

#[test]
fn a_plan_that_says_nothing_but_steps_gets_the_documented_defaults() {
    let parsed = plan::parse(&plan(json!([{"id": "a", "skill": "look"}]))).unwrap();
    let step = &parsed.steps[0];
    assert_eq!((step.retry.max_attempts, step.retry.initial_delay_ms, step.retry.max_delay_ms), (3, 500, 30_000));
    assert_eq!((&step.on_error, step.on_unknown, step.timeout_ms), (&OnError::Abort, OnUnknown::Hold, None));
    assert_eq!(step.with, json!({}));
}

#[test]
fn every_field_of_a_later_version_is_refused_by_name_and_path() {
    for field in ["outputs", "budget", "context", "default_retry_policy", "default_on_error"] {
        let mut value = plan(json!([{"id": "a", "skill": "look"}]));
        value[field] = json!({});
        check(&value, &[&format!("plan.unsupported $.{field}")]);
    }
    for field in ["depends_on", "condition", "repeat", "approval", "budget", "compensate", "output_schema"] {
        let mut step = json!({"id": "b", "skill": "look"});
        step[field] = json!(["a"]);
        check(&plan(json!([{"id": "a", "skill": "look"}, step])), &[&format!("plan.unsupported $.steps[1].{field}")]);
    }
    for field in ["strategy", "jitter", "retryable_errors", "max_elapsed_ms"] {
        let step = json!({"id": "a", "skill": "look", "retry": {field: 1}});
        check(&plan(json!([step])), &[&format!("plan.unsupported $.steps[0].retry.{field}")]);
    }
}

#[test]
fn all_findings_about_a_plan_come_at_once() {
    let value = json!({
        "name": 7,
        "budget": 1,
        "colour": "red",
        "steps": [
            {"id": "a b", "skill": "", "with": [], "retry": {"max_attempts": 0, "initial_delay_ms": 9, "max_delay_ms": 1}},
            {"skill": 7, "on_error": "panic", "on_unknown": "guess", "timeout_ms": 0},
            {"id": "c", "skill": "look", "on_error": "fallback"},
            {"id": "d", "skill": "look", "fallback": {"skill": "look"}},
            {"id": "c", "skill": "look", "with": {"x": ["{{ steps.e.output }}"], "y": "{{ steps.d.output }}"}},
            {"id": "e", "skill": "look", "with": {"broken": "{{ steps"}, "needs": ["d"]},
            7,
        ],
    });
    check(
        &value,
        &[
            "plan.unsupported $.budget",
            "plan.unknown_field $.colour",
            "plan.missing $.schema",
            "plan.type $.name",
            "plan.id $.steps[0].id",
            "plan.value $.steps[0].skill",
            "plan.type $.steps[0].with",
            "plan.value $.steps[0].retry.max_attempts",
            "plan.value $.steps[0].retry.max_delay_ms",
            "plan.missing $.steps[1].id",
            "plan.type $.steps[1].skill",
            "plan.value $.steps[1].timeout_ms",
            "plan.value $.steps[1].on_error",
            "plan.value $.steps[1].on_unknown",
            "plan.missing $.steps[2].fallback",
            "plan.value $.steps[3].fallback",
            "plan.duplicate_id $.steps[4].id",
            "plan.reference $.steps[4].with.x[0]",
            "plan.reference $.steps[5].with.broken",
            "plan.type $.steps[6]",
        ],
    );
}

#[test]
fn what_is_not_a_plan_at_all_is_refused() {
    check(&json!([]), &["plan.type $"]);
    check(&json!({"schema": "runproof.plan/v1"}), &["plan.missing $.steps"]);
    check(&json!({"schema": "runproof.plan/v1", "steps": {}}), &["plan.type $.steps"]);
    check(&plan(json!([])), &["plan.no_steps $.steps"]);
    check(&json!({"schema": "runproof.plan/v2", "steps": [{"id": "a", "skill": "b"}]}), &["plan.schema $.schema"]);
}

#[test]
fn limits_and_values_that_cannot_be_recorded_are_refused() {
    let many: Vec<Value> = (0..257).map(|n| json!({"id": format!("s_{n}"), "skill": "look"})).collect();
    check(&plan(json!(many)), &["plan.limit $.steps"]);
    check(&plan(json!(many[..256])), &[]);
    check(&plan(json!([{"id": "a", "skill": "look", "with": {"half": 0.5}}])), &["plan.value $"]);
    let large = "x".repeat(1024 * 1024);
    check(&plan(json!([{"id": "a", "skill": "look", "with": {"text": large}}])), &["plan.limit $"]);
}

#[test]
fn a_literal_secret_in_a_plan_is_refused_with_its_place() {
    let key = concat!("ghp", "_0123456789abcdefghijABCDEFGHIJ012345");
    let findings = plan::parse(&plan(json!([{"id": "a", "skill": "look", "with": {"list": ["x", key]}}]))).unwrap_err();
    assert_eq!(told(&findings), ["plan.literal_secret $.steps[0].with.list[1]"]);
    assert!(findings.iter().all(|finding| !finding.message.contains("0123456789")));
}

#[test]
fn a_step_can_refer_only_to_steps_before_it() {
    let value = plan(json!([
        {"id": "a", "skill": "look", "with": {"self": "{{ steps.a.output }}"}},
        {"id": "b", "skill": "look", "on_error": "fallback", "fallback": {"skill": "look", "with": {"later": "{{ steps.c.output }}"}}},
        {"id": "c", "skill": "look", "with": {"fine": "{{ steps.a.output }} {{ steps.b.output.x }}"}},
    ]));
    check(&value, &["plan.reference $.steps[0].with.self", "plan.reference $.steps[1].fallback.with.later"]);
}

pub(crate) fn request() -> RunRequest {
    RunRequest {
        run_id: "r_1".to_owned(),
        tenant: "t_1".to_owned(),
        agent: "a_1".to_owned(),
        goal: "look around".to_owned(),
        plan: None,
        inputs: None,
        origin_system_id: "tests".to_owned(),
        actor: operator(),
        synthetic_scenario_id: None,
        idempotency_key: None,
        priority: 5,
    }
}

pub(crate) fn refused(change: impl FnOnce(&mut RunRequest)) -> Vec<String> {
    let mut asked = request();
    change(&mut asked);
    told(&admit(asked).err().unwrap_or_default())
}

#[test]
fn a_request_without_tenant_agent_or_origin_is_refused_with_everything_that_is_wrong() {
    assert!(admit(request()).is_ok());
    assert_eq!(
        refused(|asked| asked.origin_system_id = "legacy-migration".to_owned()),
        ["request.origin origin_system_id"]
    );
    assert_eq!(refused(|asked| asked.origin_system_id = " \t".to_owned()), ["request.origin origin_system_id"]);
    assert_eq!(refused(|asked| asked.agent = "legacy-unknown".to_owned()), ["request.agent agent"]);
    let all = refused(|asked| {
        asked.tenant = String::new();
        asked.run_id = "r 1".to_owned();
        asked.agent = "a\u{0}".to_owned();
        asked.origin_system_id = String::new();
        asked.idempotency_key = Some(String::new());
        asked.plan = Some(json!({"steps": 7}));
    });
    for expected in [
        "request.id run_id",
        "request.id tenant",
        "request.id agent",
        "request.origin origin_system_id",
        "request.id idempotency_key",
    ] {
        assert!(all.iter().any(|finding| finding == expected), "{expected} is missing: {all:?}");
    }
    assert!(all.iter().any(|finding| finding.starts_with("plan.")), "{all:?}");
}

#[test]
fn the_same_request_has_the_same_digest_and_another_one_another() {
    let digest = |change: &dyn Fn(&mut RunRequest)| {
        let mut asked = request();
        change(&mut asked);
        admit(asked).unwrap().digest
    };
    let same = digest(&|_| {});
    assert_eq!(same, digest(&|asked| asked.run_id = "r_2".to_owned()), "the run id is made by whoever asks");
    assert_ne!(same, digest(&|asked| asked.goal = "look elsewhere".to_owned()));
    assert_ne!(same, digest(&|asked| asked.agent = "a_2".to_owned()));
    assert_ne!(same, digest(&|asked| asked.tenant = "t_2".to_owned()));
    assert_ne!(same, digest(&|asked| asked.plan = Some(plan(json!([{"id": "a", "skill": "b"}])))));
    assert_ne!(same, digest(&|asked| asked.synthetic_scenario_id = Some("sc".to_owned())));
}
