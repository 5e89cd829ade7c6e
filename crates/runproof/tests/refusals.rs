//! What is refused: with every finding at once, a code and a hint, and nothing written.

use serde_json::{Value, json};

use crate::support::{AGENT, Home, Receiver, TENANT, text};

/// Runs a command that has to be refused with this code, and expects every row as before.
fn refused(home: &Home, arguments: &[&str], code: &str) -> Value {
    let before = home.dump();
    let ran = home.run(&[arguments, &["--json"]].concat());
    assert_eq!(ran.code, 7, "{arguments:?}: {ran:?}");
    let error = ran.json()["error"].clone();
    assert_eq!(error["code"], code, "{arguments:?}: {error:#}");
    assert_eq!(home.dump(), before, "{arguments:?} wrote something");
    error
}

fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--tenant-id", TENANT, "--agent-id", AGENT][..], more].concat()
}

/// Codes and paths of the findings of a refused plan.
fn findings(home: &Home, plan: &str) -> Vec<(String, String)> {
    let file = home.file("bad.json", plan);
    let error = refused(home, &run(&["--plan", &file]), "request.refused");
    let findings = error["findings"].as_array().unwrap();
    findings.iter().map(|finding| (text(&finding["code"]), text(&finding["path"]))).collect()
}

fn with_steps(steps: Value) -> String {
    json!({ "schema": "runproof.plan/v1", "steps": steps }).to_string()
}

fn good_step() -> Value {
    json!({ "id": "a", "skill": "json_transform", "with": { "payload": { "x": 1 }, "mapping": { "y": "x" } } })
}

// Who and where from --------------------------------------------------------------------------------------------------

#[test]
fn a_run_without_tenant_agent_or_goal_is_a_usage_error() {
    let home = Home::initialised();
    let before = home.dump();
    for arguments in [
        &["run", "--agent-id", AGENT, "--goal", "g"][..],
        &["run", "--tenant-id", TENANT, "--goal", "g"],
        &["run", "--tenant-id", TENANT, "--agent-id", AGENT],
        &["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", "no-such-file.json"],
    ] {
        let ran = home.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
    }
    assert_eq!(home.dump(), before);
}

#[test]
fn an_unknown_tenant_or_agent_is_refused_with_the_command_that_makes_it() {
    let home = Home::initialised();
    let error = refused(&home, &["run", "--tenant-id", "nobody", "--agent-id", AGENT, "--goal", "g"], "tenant.missing");
    assert_eq!(error["hint"], "runproof create-tenant --id nobody");
    let error = refused(&home, &["run", "--tenant-id", TENANT, "--agent-id", "nobody", "--goal", "g"], "agent.missing");
    assert_eq!(error["hint"], "runproof create-agent --name nobody --tenant-id acme");
    home.ok(&["create-tenant", "--id", "zen"]);
    refused(&home, &["run", "--tenant-id", "zen", "--agent-id", AGENT, "--goal", "g"], "agent.missing");
    refused(&home, &["create-tenant", "--id", "zen"], "tenant.exists");
    refused(&home, &["create-agent", "--name", AGENT, "--tenant-id", TENANT], "agent.exists");
    refused(&home, &["create-agent", "--name", "x", "--tenant-id", "nobody"], "tenant.missing");
}

#[test]
fn ids_that_are_none_are_refused() {
    let home = Home::initialised();
    let long = "x".repeat(65);
    for bad in ["", " ", "a b", "a/b", "../x", "a\u{e9}", "a\nb", "'; DROP TABLE runs; --", &long] {
        refused(&home, &["create-tenant", "--id", bad], "request.id");
        refused(&home, &["create-agent", "--name", "x", "--id", bad, "--tenant-id", TENANT], "request.id");
        refused(&home, &["run", "--tenant-id", bad, "--agent-id", AGENT, "--goal", "g"], "request.refused");
        refused(&home, &["run", "--tenant-id", TENANT, "--agent-id", bad, "--goal", "g"], "request.refused");
        refused(&home, &run(&["--goal", "g", "--idempotency-key", bad]), "request.refused");
        refused(&home, &run(&["--goal", "g", "--synthetic", bad]), "request.refused");
    }
    refused(&home, &["create-agent", "--name", "legacy-unknown", "--tenant-id", TENANT], "request.id");
    refused(
        &home,
        &[
            "create-agent",
            "--name",
            "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ",
            "--id",
            "x",
            "--tenant-id",
            TENANT,
        ],
        "name.literal_secret",
    );
}

#[test]
fn a_blank_or_legacy_origin_is_refused() {
    let home = Home::initialised();
    for bad in ["", " ", "\t", "legacy-migration", "two words"] {
        let error = refused(&home, &run(&["--goal", "say hello", "--origin-system-id", bad]), "request.refused");
        assert_eq!(error["findings"][0]["code"], "request.origin", "{error:#}");
    }
    let error = refused(&home, &run(&["--goal", "g", "--origin-system-id", "legacy-migration"]), "request.refused");
    assert_eq!(
        error["findings"][0]["message"],
        "origin_system_id cannot be 'legacy-migration' for new runs (use real system identifier)"
    );
}

// Goals ---------------------------------------------------------------------------------------------------------------

#[test]
fn a_blank_goal_a_huge_one_and_one_with_a_secret_are_refused() {
    let home = Home::initialised();
    let code = |goal: &str| {
        let error = refused(&home, &run(&["--goal", goal]), "request.refused");
        assert!(
            !error.to_string().contains("AKIAIOSFODNN7EXAMPLE") && !error.to_string().contains("hunter2hunter2"),
            "{error:#}"
        );
        text(&error["findings"][0]["code"])
    };
    assert_eq!(code(""), "request.goal");
    assert_eq!(code(" \n\t "), "request.goal");
    assert_eq!(code(&"x".repeat(10_001)), "request.goal");
    assert_eq!(code("copy the bucket with AKIAIOSFODNN7EXAMPLE"), "goal.literal_secret");
    assert_eq!(code("log in with {\"password\": \"hunter2hunter2\"} and look"), "goal.literal_secret");
    assert_eq!(code("log in with password=hunter2hunter2 and look"), "goal.literal_secret");
    assert_eq!(code("fetch https://joe:hunter2hunter2@example.com/x"), "goal.literal_secret");
    assert_eq!(home.run_goal(&"x".repeat(10_000), &["--no-wait"]).0, 0, "the limit itself is allowed");
}

#[test]
fn a_goal_from_which_the_stub_can_make_no_plan_fails_sealed_and_provable() {
    let home = Home::initialised();
    for goal in ["fetch http:// please", "fetch https://example.com/{{goal}}"] {
        let (code, run) = home.run_goal(goal, &[]);
        assert_eq!(
            (code, &run["status"], &run["termination_reason"]),
            (3, &json!("failed"), &json!("planner_failed")),
            "{goal}: {run:#}"
        );
        assert_eq!((&run["plan_stored"], run["error"].is_string()), (&json!(false), true));
        let (code, proof) = home.proof(&run);
        assert_eq!(
            (code, &proof["verdict"], &proof["chain_length"], &proof["run_reason"]),
            (0, &json!("VERIFIED"), &json!(0), &json!("planner_failed"))
        );
    }
}

// Plans ---------------------------------------------------------------------------------------------------------------

#[test]
fn a_bad_plan_is_refused_with_everything_that_is_wrong_with_it() {
    let home = Home::initialised();
    let plan = json!({ "schema": "runproof.plan/v9", "colour": "red", "steps": [
        { "id": "a b", "skill": "", "with": [] },
        { "id": "b", "skill": "json_transform", "on_error": "panic", "on_unknown": "guess", "retry": { "max_attempts": 0, "forever": true } },
        { "id": "b", "skill": "json_transform", "with": { "payload": "{{ steps.later.output }}", "mapping": { "x": "x" } }, "on_error": "fallback" },
        "not a step",
    ]});
    let found = findings(&home, &plan.to_string());
    for (code, path) in [
        ("plan.schema", "$.schema"),
        ("plan.unknown_field", "$.colour"),
        ("plan.id", "$.steps[0].id"),
        ("plan.value", "$.steps[0].skill"),
        ("plan.type", "$.steps[0].with"),
        ("plan.value", "$.steps[1].on_error"),
        ("plan.value", "$.steps[1].on_unknown"),
        ("plan.value", "$.steps[1].retry.max_attempts"),
        ("plan.unknown_field", "$.steps[1].retry.forever"),
        ("plan.duplicate_id", "$.steps[2].id"),
        ("plan.reference", "$.steps[2].with.payload"),
        ("plan.missing", "$.steps[2].fallback"),
        ("plan.type", "$.steps[3]"),
    ] {
        assert!(found.contains(&(code.to_owned(), path.to_owned())), "{code} at {path} is missing: {found:#?}");
    }
    let page = home.run(&run(&["--plan", &home.path("bad.json")]));
    assert_eq!((page.code, page.stdout.as_str()), (7, ""));
    assert!(page.stderr.contains("$.steps[1].on_error") && page.stderr.contains("hint: "), "{}", page.stderr);
}

#[test]
fn what_the_plan_schema_does_not_support_yet_is_refused_with_its_path() {
    let home = Home::initialised();
    for (member, value) in [
        ("depends_on", json!(["x"])),
        ("approval", json!({})),
        ("budget", json!({})),
        ("compensate", json!({})),
        ("output_schema", json!({})),
    ] {
        let mut step = good_step();
        step[member] = value;
        let path = format!("$.steps[0].{member}");
        assert_eq!(findings(&home, &with_steps(json!([step]))), [("plan.unsupported".to_owned(), path)]);
    }
    for member in ["budget", "outputs", "context"] {
        let mut plan: Value = serde_json::from_str(&with_steps(json!([good_step()]))).unwrap();
        plan[member] = json!(1);
        assert_eq!(findings(&home, &plan.to_string()), [("plan.unsupported".to_owned(), format!("$.{member}"))]);
    }
    let mut step = good_step();
    step["retry"] = json!({ "max_attempts": 2, "jitter": "full" });
    assert_eq!(
        findings(&home, &with_steps(json!([step]))),
        [("plan.unsupported".to_owned(), "$.steps[0].retry.jitter".to_owned())]
    );
}

#[test]
fn a_literal_secret_in_a_plan_is_refused_and_not_repeated() {
    let home = Home::initialised();
    let call = |with: Value| with_steps(json!([{ "id": "a", "skill": "http_call", "with": with }]));
    for (plan, path) in [
        (
            call(
                json!({ "url": "https://example.com", "headers": { "authorization": "Bearer abcdefghijklmnop0123" } }),
            ),
            "$.steps[0].with.headers.authorization",
        ),
        (call(json!({ "url": "https://joe:hunter2hunter2@example.com/" })), "$.steps[0].with.url"),
        (
            call(json!({ "url": "https://example.com", "method": "POST", "body": { "password": "hunter2hunter2" } })),
            "$.steps[0].with.body.password",
        ),
        (
            call(json!({ "url": "https://example.com", "method": "POST", "text": "key AKIAIOSFODNN7EXAMPLE" })),
            "$.steps[0].with.text",
        ),
    ] {
        let found = findings(&home, &plan);
        assert!(found.contains(&("plan.literal_secret".to_owned(), path.to_owned())), "{path}: {found:?}");
        let ran = home.run(&run(&["--plan", &home.path("bad.json")]));
        for secret in ["hunter2hunter2", "AKIAIOSFODNN7EXAMPLE", "abcdefghijklmnop0123"] {
            assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
        }
    }
    let wrong_name = call(json!({ "url": "https://example.com", "headers": { "x-key": "secret://api-token" } }));
    assert!(findings(&home, &wrong_name).iter().any(|(code, _)| code == "plan.secret_reference"));
}

#[test]
fn plans_that_are_no_json_or_beyond_the_limits_are_refused() {
    let home = Home::initialised();
    let deep = |levels: usize| {
        let value = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        with_steps(json!([good_step()])).replace("\"payload\":{\"x\":1}", &format!("\"payload\":{value}"))
    };
    for (what, plan) in [
        ("empty", String::new()),
        ("cut", with_steps(json!([good_step()]))[..40].to_owned()),
        ("two values", format!("{0}{0}", with_steps(json!([good_step()])))),
        ("member twice", r#"{"schema":"runproof.plan/v1","schema":"runproof.plan/v1","steps":[]}"#.to_owned()),
        (
            "member twice within",
            r#"{"schema":"runproof.plan/v1","steps":[{"id":"a","skill":"x","with":{"k":1,"k":2}}]}"#.to_owned(),
        ),
        ("very deep", deep(5_000)),
        ("huge", with_steps(json!([{ "id": "a", "skill": "x", "with": { "text": "y".repeat(4 * 1024 * 1024) } }]))),
    ] {
        let file = home.file("bad.json", &plan);
        let error = refused(&home, &run(&["--plan", &file]), "plan.unreadable");
        assert!(text(&error["message"]).contains("nothing was written"), "{what}: {error}");
    }
    std::fs::write(home.path("bad.json"), [0xff, 0xfe, 0x00]).unwrap();
    refused(&home, &run(&["--plan", &home.path("bad.json")]), "plan.unreadable");
    let large = with_steps(json!([{ "id": "a", "skill": "x", "with": { "text": "y".repeat(1_100_000) } }]));
    assert_eq!(findings(&home, &large)[0].0, "plan.limit");
    let many: Vec<Value> = (0..257).map(|n| json!({ "id": format!("s{n}"), "skill": "x" })).collect();
    assert_eq!(findings(&home, &with_steps(json!(many))), [("plan.limit".to_owned(), "$.steps".to_owned())]);
    for (what, payload) in
        [("NUL", json!("a\u{0}b")), ("fraction", json!(1.5)), ("beyond 2^53", json!(9_007_199_254_740_993_u64))]
    {
        let mut step = good_step();
        step["with"]["payload"] = payload;
        assert_eq!(findings(&home, &with_steps(json!([step]))), [("plan.value".to_owned(), "$".to_owned())], "{what}");
    }
    assert_eq!(findings(&home, &deep(100))[0].0, "plan.value");
    assert_eq!(findings(&home, &with_steps(json!([])))[0].0, "plan.no_steps");
    assert_eq!(findings(&home, "[]")[0], ("plan.type".to_owned(), "$".to_owned()));
    assert_eq!(
        findings(&home, "{}").iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>(),
        ["$.schema", "$.steps"]
    );
}

#[test]
fn a_plan_at_the_limits_runs() {
    let home = Home::initialised();
    let many: Vec<Value> = (0..256)
        .map(|n| {
            let mut step = good_step();
            step["id"] = json!(format!("s{n}"));
            step
        })
        .collect();
    let (code, run) = home.run_plan(json!(many), &[]);
    assert_eq!(
        (code, run["steps"].as_array().map(Vec::len), &run["proof"]["verdict"]),
        (0, Some(256), &json!("VERIFIED"))
    );
}

#[test]
fn egress_to_private_addresses_is_denied_at_execution_unless_allowed() {
    let receiver = Receiver::standard();
    let step = json!([{ "id": "a", "skill": "http_call", "with": { "url": receiver.url("x"), "method": "POST" } }]);
    for allow in ["", "10.0.0.0/8", "127.0.0.1:1", "example.com"] {
        let home = Home::initialised().with("RUNPROOF_EGRESS_ALLOW", allow);
        let (code, run) = home.run_plan(step.clone(), &[]);
        assert_eq!((code, &run["steps"][0]["outcome_code"]), (3, &json!("http.egress_denied")), "`{allow}`: {run:#}");
        assert_eq!(run["proof"]["verdict"], "VERIFIED");
    }
    assert_eq!(receiver.count("/x"), 0);
    for allow in ["127.0.0.1", "127.0.0.0/8", &receiver.address.to_string()] {
        let home = Home::initialised().with("RUNPROOF_EGRESS_ALLOW", allow);
        assert_eq!(home.run_plan(step.clone(), &[]).0, 0, "`{allow}`");
    }
    assert_eq!(receiver.count("/x"), 3);
}

#[test]
fn a_consistency_proof_that_cannot_be_given_is_not_left_out_in_silence() {
    let home = Home::initialised();
    let id = text(&home.run_goal("say hello", &[]).1["run_id"]);
    let path = home.path("x.runproof");
    let error =
        refused(&home, &["proof", &id, "--tenant-id", TENANT, "--bundle", &path, "--since", "999999"], "bundle.since");
    assert!(text(&error["message"]).contains("999999"), "{error}");
    assert!(!std::path::Path::new(&path).exists());
}

// Wrong states --------------------------------------------------------------------------------------------------------

#[test]
fn cancel_and_resolve_are_refused_where_there_is_nothing_to_cancel_or_resolve() {
    let home = Home::initialised();
    let over = text(&home.run_goal("say hello", &[]).1["run_id"]);
    let queued = text(&home.run_goal("say hello", &["--no-wait"]).1["run_id"]);
    let step = json!([{ "id": "pay", "skill": "__fail_trigger__", "with": { "error_code": "STEP_FAILURE", "effect": "unsafe", "result": "unknown" } }]);
    let held = text(&home.run_plan(step, &[]).1["run_id"]);
    refused(&home, &["cancel", &over], "run.over");
    refused(&home, &["resolve", &over, "note", "done", "--reason", "r"], "run.not_waiting");
    refused(&home, &["resolve", &held, "pay", "done", "--reason", "  "], "reason.blank");
    let long = "x".repeat(1_001);
    refused(&home, &["resolve", &held, "pay", "done", "--reason", &long], "reason.invalid");
    refused(&home, &["cancel", &held, "--reason", &long], "reason.invalid");
    for (run, step) in [(&queued, "note"), (&held, "other"), (&held, "")] {
        refused(&home, &["resolve", run, step, "done", "--reason", "r"], "run.not_waiting");
    }
    for arguments in [
        &["cancel", "nobody"][..],
        &["resolve", "nobody", "s", "done", "--reason", "r"],
        &["cancel", &held, "--tenant-id", "zen"],
    ] {
        let ran = home.run(&[arguments, &["--json"]].concat());
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "run.not_found"), "{arguments:?}");
    }
    assert_eq!(home.run(&["resolve", &held, "pay", "perhaps", "--reason", "r"]).code, 2);
    assert_eq!(home.run(&["resolve", &held, "pay", "done"]).code, 2, "a reason is needed");
    home.ok(&["worker", "--drain"]);
    assert_eq!(home.ok(&["get-run", &held])["status"], "waiting");
    home.ok(&["resolve", &held, "pay", "not-done", "--reason", "the receiver has nothing"]);
    home.ok(&["worker", "--drain"]);
    let run = home.ok(&["get-run", &held]);
    assert_eq!(
        (&run["status"], &run["steps"][0]["outcome_category"]),
        (&json!("failed"), &json!("resolved")),
        "{run:#}"
    );
    assert_eq!(home.proof(&run).0, 0);
}

#[test]
fn what_cannot_be_paused_or_resumed_is_refused() {
    let home = Home::initialised();
    let over = text(&home.run_goal("say hello", &[]).1["run_id"]);
    let queued = text(&home.run_goal("say hello", &["--no-wait"]).1["run_id"]);
    refused(&home, &["pause", &over], "run.over");
    refused(&home, &["resume", &over], "run.over");
    refused(&home, &["resume", &queued], "run.not_paused");
    home.ok(&["pause", &queued]);
    refused(&home, &["pause", &queued], "run.paused");
    refused(&home, &["pause", &queued, "--reason", &"x".repeat(1_001)], "reason.invalid");
    assert_eq!(home.run(&["pause", "nobody", "--json"]).error_code(), "run.not_found");
}

#[test]
fn another_tenants_run_can_neither_be_seen_nor_steered() {
    let home = Home::initialised();
    home.ok(&["create-tenant", "--id", "zen"]);
    let mine = text(&home.run_goal("say hello", &["--no-wait"]).1["run_id"]);
    let before = home.dump();
    for arguments in [
        &["proof", &mine, "--tenant-id", "zen"][..],
        &["get-run", &mine, "--tenant-id", "zen"],
        &["cancel", &mine, "--tenant-id", "zen"],
        &["pause", &mine, "--tenant-id", "zen"],
        &["resume", &mine, "--tenant-id", "zen"],
        &["resolve", &mine, "note", "done", "--reason", "r", "--tenant-id", "zen"],
    ] {
        let ran = home.run(&[arguments, &["--json"]].concat());
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "run.not_found"), "{arguments:?}: {ran:?}");
    }
    assert_eq!(home.dump(), before);
    assert_eq!(home.ok(&["list-runs", "--tenant-id", "zen"])["runs"], json!([]));
    assert_eq!(home.ok(&["list-agents", "--tenant-id", "zen"])["agents"], json!([]));
}
