//! Expressions: what can be written, what they give, and what is refused.

use std::borrow::Cow;
use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use runproof_engine::expression::Expression;
use runproof_engine::reference::{ResolveError, Root};
use serde_json::{Value, json};

/// The values that the tests name.
fn values() -> Value {
    json!({
        "shop": {
            "items": [
                { "id": 1, "name": "lamp", "price": 1990, "tags": ["new"] },
                { "id": 2, "name": "chair", "price": 4950, "tags": [] },
                { "id": 3, "name": "desk", "price": 19900, "tags": ["new", "big"] },
            ],
            "open": true,
            "none": null,
            "half": 0.5,
            "two": 2.0,
            "large": 9_007_199_254_740_993_u64,
            "huge": 18_446_744_073_709_551_615_u64,
            "a-b": "dashed",
            "stock": { "lamp": 3, "chair": 0, "desk": 7 },
        },
        "hidden": { "mail": "<REDACTED_EMAIL>", "rows": [{ "mail": "<REDACTED_EMAIL>", "n": 1 }, { "mail": "a", "n": 2 }] },
        "evil": { "whole": "secret://DB", "scheme": "secret:", "rest": "//DB" },
    })
}

fn lookup<'a>(values: &'a Value, root: &Root) -> Option<Cow<'a, Value>> {
    match root {
        Root::Step(id) => values.get(id).map(Cow::Borrowed),
        Root::StepStatus(id) => values.get(id).map(|_| Cow::Owned(json!("success"))),
        Root::Output(key) => (key == "prices").then(|| Cow::Borrowed(&values["shop"]["stock"])),
        Root::Inputs => Some(Cow::Owned(json!({ "limit": 2, "words": ["a", "b"], "empty": {} }))),
        Root::Item => Some(Cow::Owned(json!({ "id": 2, "name": "chair" }))),
        Root::ItemIndex => Some(Cow::Owned(json!(1))),
        Root::Goal => Some(Cow::Owned(json!("sell lamps"))),
        Root::RunId => Some(Cow::Owned(json!("r_1"))),
        Root::Tenant => Some(Cow::Owned(json!("acme"))),
        Root::Agent => None,
    }
}

fn evaluated_over(text: &str, values: &Value) -> Result<Value, ResolveError> {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    expression.evaluate("$.when", &|root| lookup(values, root))
}

fn evaluated(text: &str) -> Result<Value, ResolveError> {
    evaluated_over(text, &values())
}

fn check(text: &str, expected: Value) {
    assert_eq!(evaluated(text), Ok(expected), "{text}");
}

fn check_fails(text: &str, expected: &str) {
    match evaluated(text) {
        Err(ResolveError::Expression { expression, path, problem }) => {
            assert_eq!((expression.as_str(), path.as_str(), problem.as_str()), (text, "$.when", expected));
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn check_refused(text: &str, expected: &str) {
    match Expression::parse(text) {
        Ok(expression) => panic!("{text} was read: {expression:?}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{text}"),
    }
}

fn check_references(text: &str, expected: &[&str]) {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let found: Vec<&str> = expression.references().iter().map(|reference| reference.text.as_str()).collect();
    assert_eq!(found, expected, "{text}");
}
#[test]
fn an_expression_sees_the_values_that_it_names() {
    check("steps.shop.output.open", json!(true));
    check("steps[\"shop\"].output.items[0].name", json!("lamp"));
    check("steps.shop.output.items[-1].id", json!(3));
    check("steps.shop.output[\"a-b\"]", json!("dashed"));
    check("steps.shop.output.items[inputs.limit].id", json!(3));
    check("inputs.words[item_index]", json!("b"));
    check("steps.shop.status == 'success'", json!(true));
    check("outputs.prices.lamp + outputs[\"prices\"].desk", json!(10));
    check("inputs.words", json!(["a", "b"]));
    check("item.name + '-' + string(item_index)", json!("chair-1"));
    check("goal + run.id + run.tenant", json!("sell lampsr_1acme"));
}

#[test]
fn operators_keep_int_and_double_apart_but_compare_them() {
    check("5 / 2", json!(2));
    check("-5 / 2", json!(-2));
    check("-5 % 2", json!(-1));
    check("steps.shop.output.half * 4.0", json!(2));
    check("double(item_index) / 2.0 == 0.5", json!(true));
    check_fails("steps.shop.output.half * 4", "an operator cannot take `float` and `int`");
    check_fails("1 + 1u", "an operator cannot take `int` and `uint`");
    check_fails("'a' + 1", "an operator cannot take `string` and `int`");
    check_fails("[1] - 1", "a value is a `list`, and a `number` is needed");
    check("1 == 1.0 && 1 == 1u && 1 < 1.5 && 1u < 2 && 1 in [1.0]", json!(true));
    check("steps.shop.output.huge > 9223372036854775807", json!(true));
    check("'1' == 1 || null == false || [] == {}", json!(false));
    check("{'a': 1, 'b': 2} == {'b': 2, 'a': 1.0}", json!(true));
    check("steps.shop.output.items[0] in steps.shop.output.items", json!(true));
    check("'lamp' in steps.shop.output.stock", json!(true));
    check("false < true && 'a' < 'b'", json!(true));
    check_fails("[1] + {'b': 1, 'a': 2}", "a value is a `map`, and a `list` is needed");
    check_fails("[1] < [2]", "`<` cannot take `list` and `list`");
    check("true ? 'a' : 1", json!("a"));
    check("!(goal < 'a') && [1] + [2] == [1, 2]", json!(true));
    check_fails("9223372036854775807 + 1", "a number is too large");
    check_fails("1 / (item_index - 1)", "it divides by zero");
    check_fails("goal && true", "`&&` cannot take `string` and `bool`");
    check_fails("goal ? 1 : 2", "a value is a `string`, and a `bool` is needed");
}

#[test]
fn functions_and_macros_are_these() {
    check("size(goal) + goal.size() + size(inputs.words) + size(outputs.prices)", json!(25));
    check("goal.contains('la') && goal.startsWith('sell') && goal.endsWith('s')", json!(true));
    check("[string(1), string(1.5), string(true), string('a')]", json!(["1", "1.5", "true", "a"]));
    check("[int('7'), int(2.9), int(-2.9), int(3)]", json!([7, 2, -2, 3]));
    check("double('1.5') + double(1) == 2.5", json!(true));
    check("steps.shop.output.items.filter(i, i.price > 2000).map(i, i.name)", json!(["chair", "desk"]));
    check("steps.shop.output.items.map(i, 'new' in i.tags, i.id)", json!([1, 3]));
    check("steps.shop.output.items.all(i, i.price > 2000)", json!(false));
    check("steps.shop.output.items.exists(i, i.price > 2000)", json!(true));
    check("steps.shop.output.items.exists_one(i, size(i.tags) == 2)", json!(true));
    check("[].all(x, false) && ![].exists(x, true)", json!(true));
    let text = "steps.shop.output.items.map(i, {'id': i.id, 'left': steps.shop.output.stock[i.name]})[1]";
    check(text, json!({ "id": 2, "left": 0 }));
    check_fails("int('x')", "`int`: string parse error: invalid digit found in string");
    check_fails("string(null)", "`string` cannot take `null_type`");
}

#[test]
fn a_value_that_is_not_there_is_an_error_only_where_it_is_needed() {
    check("has(steps.shop.output.stock)", json!(true));
    check("has(steps.shop.output.x) || has(inputs.empty.x)", json!(false));
    check("has(steps.shop.output.x) && steps.shop.output.x.y > 1", json!(false));
    check("has(steps.later.output)", json!(false));
    check("true || steps.later.output.x", json!(true));
    check("steps.shop.output.items.exists(i, has(i.x))", json!(false));
    check_fails("item.x", "there is no `x` in `item.x`, only `id`, `name`");
    check_fails("inputs.words[5]", "there is no `[5]` in `inputs.words[5]`, only a list of length 2");
    check_fails("has(item.x.y)", "there is no `x` in `item.x.y`, only `id`, `name`");
    check_fails("steps.later.output == 1", "nothing is known of `steps.later.output`");
    check_fails("has(steps.later.output.x)", "nothing is known of `steps.later.output`");
    check_fails("steps.shop.output.items.filter(i, i.x == 1)", "there is no `x`");
    check_fails("[1, 2][-1]", "an index is outside its list");
    check_fails("inputs.words[item_index + 1]", "an index is outside its list");
}

#[test]
fn a_result_must_be_a_value_that_can_be_recorded() {
    check("steps.shop.output.two", json!(2));
    check("9007199254740991.0 - 0.0", json!(9_007_199_254_740_991_u64));
    check("-9007199254740991", json!(-9_007_199_254_740_991_i64));
    check("{'a': [null, -0.0]}", json!({ "a": [null, 0] }));
    const BEYOND: &str = "its result has a number beyond 2^53 - 1";
    for text in ["9007199254740992", "-9007199254740992", "9007199254740992.0", "[9007199254740992u]"] {
        check_fails(text, BEYOND);
    }
    check_fails("steps.shop.output.huge", BEYOND);
    check_fails("{'a': 0.5}", "its result has a number that is not whole; `int(x)` cuts the fraction off");
    check_fails("1.0 / 0.0", "its result is infinite or no number");
    check_fails("{1: 2}", "its result has an object name that is no text");
    check_fails("{'a': 1, 'a': 2}", "an object has a name twice");
}

#[test]
fn what_is_no_expression_is_refused_with_what_to_write() {
    const NAMES: &str = "a value begins with `steps`, `outputs`, `inputs`, `item`, `item_index`, `goal` or `run`";
    const FUNCTIONS: &str = "there are `size`, `contains`, `startsWith`, `endsWith`, `string`, `int`, `double`, `has`, \
                             `all`, `exists`, `exists_one`, `map` and `filter`";
    check_refused("  ", "it is empty");
    check_refused("{{ goal }}", "it stands between `{{` and `}}`, which only templates have");
    check_refused("1 +", "syntax error at 1:4: mismatched input end");
    check_refused("1\n+ 'a' 'b'", "syntax error at 2:7: extraneous input ''b''");
    check_refused("has(goal)", "syntax error at 1:5: invalid argument to has() macro");
    check_refused("a.?b", "syntax error at 1:2: unsupported syntax '.?'");
    for name in ["x", "step", "int", ".goal", "google"] {
        check_refused(&format!("{name} == 1"), &format!("there is no `{name}`; {NAMES}"));
    }
    check_refused("[1].map(x, x) == x", &format!("there is no `x`; {NAMES}"));
    check_refused("outputs", "`outputs` alone is no value; write `outputs.KEY`");
    check_refused("run.goal", "`run` alone is no value; write `run.id`, `run.tenant` or `run.agent`");
    check_refused("goal.x", "`goal` has no members");
    check_refused("steps.a.status.x", "`steps.a.status` has no members");
    for (text, name) in [
        ("timestamp('2026-01-01T00:00:00Z')", "timestamp"),
        ("duration('1s')", "duration"),
        ("goal.matches('a+')", "matches"),
        ("type(1)", "type"),
        ("dyn(1)", "dyn"),
        ("bytes('a')", "bytes"),
        ("optional.none()", "none"),
        ("now()", "now"),
        ("steps.a()", "a"),
    ] {
        check_refused(text, &format!("there is no function `{name}`; {FUNCTIONS}"));
    }
    check_refused("size(1, 2)", "write `size(x)` or `x.size()`");
    check_refused("contains(goal, 'a')", "write `text.contains(part)`");
    check_refused("inputs.words.map(x)", "write `list.map(x, value)` or `list.map(x, test, value)`");
    check_refused("[1].map(goal, 1)", "`goal` is a value and cannot be the variable of a macro");
    check_refused("b'x'", "there are no bytes here");
    check_refused("Point{x: 1}", "there are no messages here");
}

#[test]
fn a_step_is_named_by_its_output_or_its_status() {
    const STEP: &str = "`steps` alone is no value; write `steps.ID.output` or `steps.ID.status`; `steps[\"a-b\"]` for an \
                        id with a dash";
    for text in ["steps", "steps.a", "steps[goal].output", "steps.a-b.output", "steps.a.outputs", "has(steps.a)"] {
        check_refused(text, STEP);
    }
}

#[test]
fn macros_over_lists_follow_one_another_and_do_not_nest() {
    const NESTED: &str = "`map`, `filter`, `all`, `exists` and `exists_one` cannot stand inside one another";
    check_refused("[[1]].map(x, x.map(y, y))", NESTED);
    check_refused("[1].all(x, [2].exists(y, y == x))", NESTED);
    check("[1, 2].filter(x, x > 1).map(x, [x]).exists(x, x == [2])", json!(true));
    check("[1].all(x, x == 1) && [2].all(x, x == 2)", json!(true));
}

#[test]
fn an_expression_has_a_length_and_a_depth() {
    const DEEP: &str = "it nests more than 16 brackets or 64 operators deep";
    check(&format!("'{}'.size()", "é".repeat(1024 - 9)), json!(1015));
    check_refused(&"é".repeat(1025), "it has 1025 characters, more than 1024");
    check(&format!("{}1{}", "(".repeat(16), ")".repeat(16)), json!(1));
    check_refused(&format!("{}1{}", "(".repeat(17), ")".repeat(17)), DEEP);
    check_refused(&format!("{}1{}", "[".repeat(1000), "]".repeat(20)), DEEP);
    check(&format!("size('{}')", "(".repeat(40)), json!(40));
    check(&vec!["1"; 64].join("+"), json!(64));
    check_refused(&vec!["1"; 65].join("+"), DEEP);
    check_refused(&format!("{}1", "true?1:".repeat(70)), DEEP);
    on_a_small_stack(|| {
        check_refused(&format!("{}1", "true?1:".repeat(140)), DEEP);
        // The check before the parser takes the brackets for text.
        check_refused(&format!("r'\\' + {}1{}", "(".repeat(500), ")".repeat(500)), DEEP);
        check_refused(&format!("r'\\' + {}", "[".repeat(1000)), DEEP);
    });
}

#[test]
fn references_are_the_longest_paths_that_depend_on_no_value() {
    check_references("steps.a.output.items.filter(i, i.price > 3)", &["steps.a.output.items"]);
    check_references("steps.a.output.items[0][-1][\"x y\"].z == 1", &["steps.a.output.items[0][-1][\"x y\"].z"]);
    check_references("steps.a.output.items[item_index].x", &["steps.a.output.items", "item_index"]);
    check_references("steps[\"a.b\"].output + steps.c.status", &["steps[\"a.b\"].output", "steps.c.status"]);
    let has = "has(steps.a.output.x) ? steps.a.output.x : outputs.b.c";
    check_references(has, &["steps.a.output.x", "steps.a.output.x", "outputs.b.c"]);
    check_references("inputs.a + inputs.a + goal + run.id", &["inputs.a", "goal", "run.id"]);
    check_references("[item].map(x, x.y + item.z)", &["item", "item.z"]);
    check_references("steps.a.output.name.size() + size(steps.a.output)", &["steps.a.output.name", "steps.a.output"]);
    check_references("{'a': 1}.a", &[]);
}

#[test]
fn a_redacted_value_is_refused() {
    let check_redacted = |text: &str, named: &str| match evaluated(text) {
        Err(ResolveError::Redacted { reference, .. }) => assert_eq!(reference, named),
        other => panic!("{text}: {other:?}"),
    };
    check_redacted("steps.hidden.output.mail == 'a'", "steps.hidden.output.mail");
    check_redacted("true || steps.hidden.output.mail.x", "steps.hidden.output.mail.x");
    check_redacted("has(steps.hidden.output.mail.x)", "steps.hidden.output.mail.x");
    for text in [
        "steps.hidden.output.rows[0]",
        "steps.hidden.output.rows.map(r, 'to ' + r.mail)",
        "{'<REDACTED>': 1}",
        "'<REDACT' + 'ED>'",
    ] {
        check_redacted(text, text);
    }
    check("has(steps.hidden.output.mail)", json!(true));
    check("steps.hidden.output.rows.filter(r, r.mail == 'a').map(r, r.n)", json!([2]));
    check("steps.hidden.output.rows.exists(r, r.mail == '<REDACTED_EMAIL>')", json!(true));
}

#[test]
fn a_result_cannot_name_a_secret() {
    for text in [
        "steps.evil.output.whole",
        "[steps.evil.output]",
        "{steps.evil.output.whole: 1}",
        "steps.evil.output.scheme + steps.evil.output.rest",
        "'secret://DB'",
    ] {
        assert!(matches!(evaluated(text), Err(ResolveError::NamesSecret { .. })), "{text}");
    }
    check("steps.evil.output.whole.startsWith('secret:')", json!(true));
}

#[test]
fn an_error_never_shows_a_secret() {
    let error = Expression::parse("AKIAIOSFODNN7EXAMPLE == 1").unwrap_err();
    assert!(error.to_string().starts_with("there is no `<REDACTED_AWS_KEY>`"), "{error}");
    let error = evaluated("'AKIAIOSFODNN7EXAMPLE' + 1").unwrap_err();
    assert!(error.to_string().starts_with("`'<REDACTED_AWS_KEY>' + 1` at `$.when` has no value"), "{error}");
}

/// Values as large as an expression may see, and larger ones.
fn large() -> Value {
    let rows: Vec<Value> = (0..1000).map(|n| json!({ "id": n, "name": format!("row {n}") })).collect();
    json!({
        "list": { "rows": rows, "ids": (0..1000).collect::<Vec<i32>>(), "longer": vec![0; 1001] },
        "text": { "long": "x".repeat(60_000), "longest": "x".repeat(65_536 - 2), "longer": "x".repeat(65_536 - 1) },
        "wide": (0..6000).map(|n| (format!("m{n}"), json!(1))).collect::<serde_json::Map<_, _>>(),
    })
}

#[test]
fn what_an_expression_sees_is_limited() {
    let check_over = |text: &str, expected: Result<Value, &str>| {
        let found = evaluated_over(text, &large()).map_err(|error| match error {
            ResolveError::Expression { problem, .. } => problem,
            error @ (ResolveError::Unreadable(_)
            | ResolveError::Unknown { .. }
            | ResolveError::Missing { .. }
            | ResolveError::NotText { .. }
            | ResolveError::Redacted { .. }
            | ResolveError::NamesSecret { .. }
            | ResolveError::TooLarge { .. }) => panic!("{error}"),
        });
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    };
    const TOO_MUCH: &str = "the values that it names are larger than 65536 bytes";
    check_over("size(steps.text.output.longest)", Ok(json!(65_534)));
    check_over("size(steps.text.output.longer)", Err(TOO_MUCH));
    check_over("size(steps.text.output.longest) > item_index", Err(TOO_MUCH));
    check_over("has(steps.text.output.longer)", Ok(json!(true)));
    check_over("size(steps.list.output.ids)", Ok(json!(1000)));
    check_over(
        "steps.list.output.longer[0] + size(steps.list.output.longer)",
        Err("`steps.list.output.longer` has a list of 1001 elements, more than 1000"),
    );
    check_over("(steps.list.output.ids + [1]).all(i, true)", Err("a list has more than 1000 elements"));
    check_over("steps.wide.output.all(k, true)", Err("a list has more than 1000 elements"));
}

#[test]
fn a_result_has_at_most_a_mebibyte() {
    let text = format!("[{}]", vec!["steps.text.output.long"; 18].join(","));
    match evaluated_over(&text, &large()) {
        Err(ResolveError::TooLarge { path }) => assert_eq!(path, "$.when"),
        other => panic!("{:?}", other.map(|value| value.to_string().len())),
    }
}

/// Runs a test on the stack that a worker thread has.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(test).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_work_of_an_expression_is_limited() {
    let row = |part: &str, count: usize, between: &str| vec![part; count].join(between);
    let (ids, rows) = ("steps.list.output.ids", "steps.list.output.rows");
    let (long, wide) = ("steps.text.output.long", "steps.wide.output");
    let refused = [
        format!("[0]{}", row(".map(i,[i,i,i])", 30, "")),
        format!("['ab']{}", row(".map(i,i+i)", 30, "")),
        format!("{ids}.map(i, [{}])", row("i", 400, ",")),
        format!("{ids}.map(i, {long})"),
        format!("{ids}.all(i, {wide} == {wide})"),
        format!("{ids}.all(i, {} || true)", row(&format!("{wide} != {wide}"), 20, "||")),
        format!("{ids}.all(i, {} || true)", row(&format!("{rows} + 1 == 1"), 20, "||")),
        format!("{ids}.all(i, {})", row(&format!("size({long}) > 0"), 20, "&&")),
        format!("{ids}.all(i, {})", row(&format!("!{long}.contains('xxxxxxxxy')"), 12, "&&")),
        format!("{ids}.exists_one(i, {})", row(&format!("i in {ids}"), 12, "&&")),
    ];
    let allowed = [
        (format!("{ids}.filter(i, i in {ids}).size()"), json!(1000)),
        (format!("{rows}.map(r, {{'id': r.id * 2, 'name': r.name + '!'}}).size()"), json!(1000)),
        (format!("{ids}.all(i, {})", row("i*i*i*i >= 0", 55, "&&")), json!(true)),
        (format!("{ids}.all(i, {} || true)", row("{}-1 == 1/0", 60, "||")), json!(true)),
        (format!("{ids}{}.size()", row(".map(i,i)", 50, "")), json!(1000)),
        (format!("{ids}.map(i, {})[1]", row("i", 60, "-")), json!(-58)),
    ];
    on_a_small_stack(move || {
        let values = large();
        for text in refused {
            match evaluated_over(&text, &values) {
                Err(ResolveError::Expression { problem, .. }) => assert_eq!(problem, "it is too much work", "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for (text, expected) in allowed {
            assert_eq!(evaluated_over(&text, &values), Ok(expected), "{text}");
        }
    });
}

#[test]
fn maps_are_gone_through_in_the_order_of_their_keys() {
    // The evaluator's own order is another one each time.
    for _ in 0..20 {
        check("steps.shop.output.stock.map(k, k)", json!(["chair", "desk", "lamp"]));
        check("{'b': 1, 'a': 2, 'd': 3, 'c': 4}.filter(k, k != 'c')", json!(["a", "b", "d"]));
        check("{'b': 1, 'a': 2, 'd': 3, 'c': 4}.map(k, k + 'x')", json!(["ax", "bx", "cx", "dx"]));
        check_fails("{'a': 0.5, 1: 2}", "its result has an object name that is no text");
        check_fails(
            "{'a': 0.5, 'b': 9007199254740992}",
            "its result has a number that is not whole; `int(x)` cuts the fraction off",
        );
        check_fails(
            "{'b': 1, 'a': 'x'}.map(k, {'b': 1, 'a': 'x'}[k] + 1)",
            "an operator cannot take `string` and `int`",
        );
    }
}

/// Texts made of what the language is made of, and of what it is not.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "steps",
        "a",
        "goal",
        "inputs",
        "item",
        "x",
        ".",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ",",
        "?",
        ":",
        "+",
        "-",
        "*",
        "/",
        "%",
        "!",
        "!=",
        "==",
        "=",
        "<",
        "<=",
        "&&",
        "&",
        "||",
        "|",
        " in ",
        "'x'",
        "\"y\"",
        "'",
        "\"",
        "'''",
        "`",
        "\\",
        "0",
        "1u",
        "0x",
        "1.5",
        "1e9",
        "9223372036854775808",
        "true",
        "null",
        ".map(",
        ".filter(",
        "has(",
        ".all(",
        "x,",
        "size(",
        "r'",
        "b'a'",
        "//",
        "\n",
        " ",
        "é",
        "\0",
        "@",
        "#",
        "for",
        "A{a:1}",
        "[[[[",
        "((((",
        "{{",
        "!!!!",
        "----",
        "goal.goal.goal.goal",
        "1+1+1+1+1+1",
        "1?1:1?1:",
        "[0][0][0][0]",
    ]);
    let mixed = prop::collection::vec(piece.clone(), 0..24).prop_map(|pieces| pieces.concat());
    let long =
        (prop::collection::vec(piece, 1..4), 1..400_usize).prop_map(|(pieces, times)| pieces.concat().repeat(times));
    prop_oneof![8 => mixed, 2 => long, 1 => any::<String>()].prop_map(|text| text.chars().take(1024).collect())
}

/// Expressions that are well formed, over whatever `item` is.
fn well_formed() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "item",
        "item.a",
        "item.b",
        "item.a.b",
        "item[0]",
        "item[-1]",
        "item_index",
        "goal",
        "inputs.words",
        "x",
        "1",
        "0",
        "-3",
        "2u",
        "0.5",
        "'a'",
        "''",
        "true",
        "null",
        "[]",
        "{}",
        "9223372036854775807",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator =
            prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", " in ", "&&", "||"]);
        let one = prop::sample::select(vec![
            "!(#)",
            "-(#)",
            "size(#)",
            "string(#)",
            "int(#)",
            "double(#)",
            "has((#).a)",
            "(#).a",
            "(#)[0]",
            "[#, 1]",
            "{'a': #}",
        ]);
        let two = prop::sample::select(vec![
            "(#).map(x, $)",
            "(#).filter(x, $)",
            "(#).all(x, $)",
            "(#).exists(x, $)",
            "(#).exists_one(x, $)",
            "(#)[$]",
            "(#).contains($)",
            "{#: $}",
            "(#) ? $ : 1",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("({left}){operator}({right})")),
            (one, inner.clone()).prop_map(|(form, value)| form.replace('#', &value)),
            (two, inner.clone(), inner).prop_map(|(form, left, right)| form.replace('$', &right).replace('#', &left)),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        prop::sample::select(vec!["", "a", "b", "<REDACTED>", "secret://A", "7"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let member = (prop::sample::select(vec!["a", "b", "c", "d", "a-b"]).prop_map(str::to_owned), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::Array),
            prop::collection::vec(member, 0..5).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// The same value with the members of its objects put in from the last to the first.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(reversed).collect(),
        Value::Object(members) => members.iter().rev().map(|(name, member)| (name.clone(), reversed(member))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn over_item(expression: &Expression, item: &Value) -> Result<Value, ResolveError> {
    let values = values();
    expression.evaluate("$", &|root| {
        if *root == Root::Item { Some(Cow::Borrowed(item)) } else { lookup(&values, root) }
    })
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) })
}

#[test]
fn no_text_makes_the_parser_or_the_evaluator_panic() {
    on_a_small_stack(|| {
        let read = Cell::new(0);
        let result = runner(8_000).run(&hostile(), |text| {
            if let Ok(expression) = Expression::parse(&text) {
                read.set(read.get() + 1);
                drop(over_item(&expression, &json!([{ "a": 1 }])));
            }
            Ok(())
        });
        result.unwrap();
        assert!(read.get() > 20, "only {} were read", read.get());
    });
}

#[test]
fn the_same_expression_over_the_same_value_is_the_same() {
    on_a_small_stack(|| {
        let (read, given) = (Cell::new(0), Cell::new(0));
        let result = runner(3_000).run(&(well_formed(), any_value()), |(text, item)| {
            let Ok(expression) = Expression::parse(&text) else { return Ok(()) };
            read.set(read.get() + 1);
            let first = over_item(&expression, &item);
            given.set(given.get() + u32::from(first.is_ok()));
            prop_assert_eq!(&over_item(&expression, &item), &first, "{}", &text);
            let again = Expression::parse(&text).unwrap();
            prop_assert_eq!(&again, &expression);
            prop_assert_eq!(&over_item(&again, &reversed(&item)), &first, "{}", &text);
            Ok(())
        });
        result.unwrap();
        assert!(read.get() > 500 && given.get() > 100, "{} read, {} with a value", read.get(), given.get());
    });
}
