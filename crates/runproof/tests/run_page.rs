//! What `run` and `get-run` show of a run: outputs, why steps failed, what it waits for.

use serde_json::{Value, json};

use crate::support::{AGENT, Home, TENANT, text};

/// Computes a value.
fn compute(id: &str, payload: &Value) -> Value {
    json!({"id": id, "skill": "json_transform", "with": {"payload": {"it": payload}, "mapping": {"it": "it"}}})
}

/// Steps that come out as `members` says.
fn fails(id: &str, members: &Value) -> Value {
    let mut with = json!({"error_code": "SKILL_ERROR", "effect": "read"});
    with.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({"id": id, "skill": "__fail_trigger__", "on_error": "continue", "retry": {"max_attempts": 1}, "with": with})
}

fn with(mut step: Value, field: &str, value: Value) -> Value {
    step[field] = value;
    step
}

/// The page of a run of these steps, and its id.
fn page(home: &Home, steps: Value) -> (String, String) {
    let plan = home.plan(steps);
    let page = home.run(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan]).stdout;
    let id = page.split_once("Run ID:  ").unwrap().1.split(' ').next().unwrap().to_owned();
    (page, id)
}

#[test]
fn the_output_of_a_step_is_printed_by_its_id_or_its_name_and_all_outputs_by_id() {
    let home = Home::initialised();
    let named = with(compute("sum", &json!(5)), "output_key", json!("total"));
    let each = with(compute("each", &json!("{{ item }}")), "foreach", json!([1, 2]));
    let (_, run) = home.run_plan(json!([named, each, fails("lost", &json!({}))]), &[]);
    let id = text(&run["run_id"]);
    let all = json!({"sum": {"it": 5}, "each": [{"it": 1}, {"it": 2}]});
    for (name, expected) in
        [(&["sum"][..], &all["sum"]), (&["total"], &all["sum"]), (&["each"], &all["each"]), (&[], &all)]
    {
        let printed = home.run(&[&["get-run", &id, "--output"], name].concat());
        assert_eq!((printed.code, printed.stderr.as_str()), (0, ""), "{name:?}");
        assert_eq!(&printed.json(), expected, "{name:?}");
        assert_eq!(&home.ok(&[&["get-run", &id, "--output"], name].concat()), expected, "--json says the same");
    }
}

#[test]
fn an_output_that_is_not_there_is_an_error_that_names_those_that_are() {
    let home = Home::initialised();
    let (_, run) = home.run_plan(json!([compute("sum", &json!(5)), fails("lost", &json!({}))]), &[]);
    for (name, problem) in [("lost", "its status is failure"), ("nobody", "no step and no output_key `nobody`")] {
        let missing = home.run(&["get-run", &text(&run["run_id"]), "--output", name, "--json"]);
        let error = missing.json()["error"].clone();
        assert_eq!((missing.code, text(&error["code"]).as_str()), (2, "output.missing"));
        assert!(text(&error["message"]).contains(problem), "{error}");
        assert_eq!(error["hint"], "steps with an output: sum");
    }
    let (_, queued) = home.run_goal("later", &["--no-wait"]);
    let early = home.run(&["get-run", &text(&queued["run_id"]), "--output", "note", "--json"]);
    assert_eq!(early.json()["error"]["hint"], "no step of this run has an output");
}

#[test]
fn named_outputs_are_in_the_object_and_at_the_end_of_the_page() {
    let home = Home::initialised();
    let long: Vec<u32> = (0..100).collect();
    let steps = json!([
        with(compute("a", &json!(5)), "output_key", json!("total")),
        with(compute("b", &json!(long)), "output_key", json!("numbers")),
        compute("c", &json!("only for this plan")),
        with(fails("d", &json!({})), "output_key", json!("lost")),
    ]);
    let (page, id) = page(&home, steps);
    let (_, end) = page.split_once("\ntotal:\n{\n  \"it\": 5\n}\n\nnumbers:\n{\n  \"it\": [\n    0,\n").unwrap();
    assert!(end.ends_with(&format!("    17,\nall of it: runproof get-run {id} --output b\n")), "{page}");
    assert!(!page.contains("only for this plan") && !page.contains("lost:\n"), "{page}");
    let shown = home.ok(&["get-run", &id]);
    assert_eq!(shown["outputs"], json!({"total": {"it": 5}, "numbers": {"it": long}}));
    assert!(home.run(&["get-run", &id]).stdout.ends_with(end), "get-run ends as run does");
}

#[test]
fn what_an_answer_holds_cannot_drive_the_terminal() {
    let home = Home::initialised();
    let hostile = json!("\u{9b}2J \u{202e}txt \u{7f} ü 😀");
    let (page, id) = page(&home, json!([with(compute("a", &hostile), "output_key", json!("k"))]));
    for shown in [page, home.run(&["get-run", &id]).stdout, home.run(&["get-run", &id, "--output", "a"]).stdout] {
        assert!(!shown.contains(['\u{9b}', '\u{202e}', '\u{7f}']) && shown.contains("\\u009b2J \\u202etxt"), "{shown}");
        assert!(shown.contains("ü 😀"), "{shown}");
    }
    assert_eq!(home.ok(&["get-run", &id])["outputs"]["k"]["it"], hostile, "the value stays the same");
}

#[test]
fn a_failed_step_says_why_and_how_to_read_more() {
    let home = Home::initialised();
    let message = format!("\u{1b}[31m{}", "because ".repeat(100));
    let steps = json!([
        fails("first", &json!({"error_message": message})),
        fails("second", &json!({"error_message": "it is closed"})),
        compute("third", &json!("{{ steps.first.output.x }}")),
    ]);
    let (page, id) = page(&home, steps);
    let (_, below) = page.split_once("CENTS\n").unwrap();
    let why: Vec<&str> = below.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    assert!(why[0].starts_with("first: \\u{1b}[31mbecause ") && why[0].ends_with('…'), "{page}");
    assert!(why[0].chars().count() < 330, "{page}");
    assert_eq!(why[1..3], ["    hint: runproof explain fail_trigger.skill_error", "second: it is closed"]);
    let shown = home.ok(&["get-run", &id]);
    assert_eq!(shown["steps"][1]["error"], "it is closed", "the object says it too");
    assert!(why[3].starts_with("third: ") && why[3].contains("steps.first.output"), "{page}");
    assert_eq!(why[4..], ["    hint: runproof explain reference.unresolved"]);
    assert!(home.run(&["get-run", &id]).stdout.ends_with(&format!("{}\n", why.join("\n"))), "get-run says the same");
}

#[test]
fn the_table_is_in_the_order_of_the_plan_and_each_list_in_its_own() {
    let home = Home::initialised();
    let slow = with(fails("slow", &json!({"delay_ms": 300})), "needs", json!([]));
    let fast = with(with(compute("fast", &json!("{{ item }}")), "needs", json!([])), "foreach", json!([1, 2, 3]));
    let (page, _) = page(&home, json!([slow, fast]));
    let (_, table) = page.split_once("CENTS\n").unwrap();
    let shown: Vec<String> =
        table.lines().take(5).map(|line| line.split("  ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(shown, ["4 slow", "0 fast (0)", "1 fast (1)", "2 fast (2)", "3 fast"], "{page}");
}

#[test]
fn a_held_call_says_what_to_ask_and_how_to_answer() {
    let home = Home::initialised();
    let unknown = json!({"effect": "unsafe", "result": "unknown", "error_message": "nobody saw it"});
    let (page, id) = page(&home, json!([with(fails("pay", &unknown), "foreach", json!(["a", "b"]))]));
    assert!(page.contains("\nWaits:   for somebody to say what came of `pay#0`, `pay#1`\n"), "{page}");
    let shown = home.ok(&["get-run", &id]);
    let held = shown["held"].as_array().unwrap().clone();
    assert_eq!(held.len(), 2, "{shown:#}");
    for (item, call) in (0..).zip(&held) {
        let expected = json!({"step": "pay", "item": item.to_string(), "skill": "__fail_trigger__", "attempt": 1,
                              "idempotency_key": call["idempotency_key"], "since": call["since"]});
        assert_eq!(call, &expected);
        let (key, since) = (text(&call["idempotency_key"]), text(&call["since"]));
        let told = format!("pay#{item}: nobody knows what came of attempt 1 of __fail_trigger__, since {since}: ");
        let (_, rest) = page.split_once(&told).unwrap_or_else(|| panic!("no `{told}` in {page}"));
        assert!(
            rest.starts_with(&format!("nobody saw it\n    ask the receiver for the idempotency key {key}\n")),
            "{page}"
        );
    }
    for (item, word) in [(0, "done"), (1, "not-done")] {
        let line = page.lines().find(|line| line.contains(&format!("pay#{item} {word} "))).unwrap();
        let (_, command) = line.split_once("runproof ").unwrap();
        let (words, reason) = command.split_once(" --reason ").unwrap();
        let words: Vec<&str> = words.split(' ').chain(["--reason", reason.trim_matches('\'')]).collect();
        home.ok(&words);
    }
    assert_eq!(home.ok(&["get-run", &id])["held"], json!([]));
    home.ok(&["worker", "--drain"]);
    let steps = home.ok(&["get-run", &id])["steps"].clone();
    assert_eq!((&steps[0]["status"], &steps[1]["status"]), (&json!("success"), &json!("failure")), "{steps:#}");
}

#[test]
fn one_is_counted_as_one() {
    let home = Home::initialised();
    home.run_goal("later", &["--no-wait"]);
    for expected in ["1 run driven\n", "0 runs driven\n"] {
        assert_eq!(home.run(&["worker", "--drain"]).stdout, expected);
    }
    let plan = home.plan(json!([{"id": "a", "skill": "look", "colour": "red"}]));
    assert!(home.run(&["plan", "check", &plan]).stdout.ends_with("refused: 1 error, 0 warnings\n"));
}
