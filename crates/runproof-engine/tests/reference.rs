//! References in templates: how they are read, what takes their place, and what is refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use runproof_engine::reference::{
    MAX_RESOLVED, Reference, ReferenceError, ResolveError, Root, Segment, references, resolve,
};
use serde_json::{Value, json};

/// Outputs of the steps that the tests refer to.
fn outputs() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        (
            "fetch",
            json!({
                "status": 200,
                "ok": true,
                "nothing": null,
                "title": "A {{ goal }} B",
                "items": [{ "id": 7 }, { "id": 8 }, { "id": 9 }],
                "odd }} \"name\"": "odd",
                "big": 9_007_199_254_740_993_u64,
                "half": 0.5,
                "two": 2.0,
            }),
        ),
        ("a.b:c", json!("dotted")),
        ("hidden", json!({ "mail": "<REDACTED_EMAIL>", "login": "<REDACTED>", "fine": 1, "list": ["to <REDACTED>"] })),
        ("evil", json!({ "whole": "secret://DB", "tail": "_ROOT", "scheme": "secret:", "rest": "//DB", "path": "/x" })),
        ("large", json!({ "text": "x".repeat(MAX_RESOLVED - 2), "half": "x".repeat(MAX_RESOLVED / 2 + 1) })),
        ("many", Value::Object((0..14).map(|n| (format!("m{n:02}"), json!(n))).collect())),
    ])
}

fn resolved(template: &Value) -> Result<Value, ResolveError> {
    let outputs = outputs();
    resolve(template, &|root| match root {
        Root::Step(id) => outputs.get(id.as_str()).map(Cow::Borrowed),
        Root::StepStatus(id) => outputs.contains_key(id.as_str()).then(|| Cow::Owned(json!("success"))),
        Root::Output(key) => (key == "prices").then(|| Cow::Owned(json!({ "lamp": 1990 }))),
        Root::Inputs => Some(Cow::Owned(json!({ "n": 2, "it's": { "x": [1] } }))),
        Root::Item => Some(Cow::Owned(json!({ "id": 8 }))),
        Root::ItemIndex => Some(Cow::Owned(json!(1))),
        Root::Goal => Some(Cow::Owned(json!("sell \"it\""))),
        Root::RunId => Some(Cow::Owned(json!("r_1"))),
        Root::Tenant => Some(Cow::Owned(json!("acme"))),
        Root::Agent => None,
    })
}

fn check(template: Value, expected: Value) {
    assert_eq!(resolved(&template), Ok(expected), "{template}");
}

fn check_refused(template: Value, expected: &str) {
    match resolved(&template) {
        Ok(value) => panic!("{template} resolved to {value}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{template}"),
    }
}

#[test]
fn a_whole_string_reference_keeps_its_type() {
    check(json!("{{ steps.fetch.output.status }}"), json!(200));
    check(json!("{{steps.fetch.output.ok}}"), json!(true));
    check(json!("{{ steps.fetch.output.nothing }}"), json!(null));
    check(json!("{{\tsteps.fetch.output.half\n}}"), json!(0.5));
    check(json!("{{ steps.fetch.output.big }}"), json!(9_007_199_254_740_993_u64));
    check(json!("{{ steps.fetch.output.items }}"), json!([{ "id": 7 }, { "id": 8 }, { "id": 9 }]));
    check(json!(["{{ steps.fetch.output.items[0] }}"]), json!([{ "id": 7 }]));
    check(json!({ "a": { "b": "{{ steps[\"a.b:c\"].output }}" } }), json!({ "a": { "b": "dotted" } }));
    check(json!("{{ goal }}"), json!("sell \"it\""));
    check(json!("{{ run.id }}"), json!("r_1"));
}

#[test]
fn a_scalar_inside_a_longer_string_is_written_as_text() {
    check(json!("id={{ steps.fetch.output.items[1].id }};"), json!("id=8;"));
    check(json!("{{ steps.fetch.output.ok }}/{{ steps.fetch.output.half }}"), json!("true/0.5"));
    check(json!("{{ steps.fetch.output.two }}{{ steps.fetch.output.big }}"), json!("29007199254740993"));
    check(json!(" {{ run.tenant }}"), json!(" acme"));
    check(json!("é{{ goal }}é"), json!("ésell \"it\"é"));
}

#[test]
fn statuses_outputs_inputs_and_items_are_named_alike() {
    check(json!("{{ steps.fetch.status }}"), json!("success"));
    check(json!("{{ steps[\"a.b:c\"].status }}!"), json!("success!"));
    check(json!("{{ outputs.prices }}"), json!({ "lamp": 1990 }));
    check(json!("{{ outputs[\"prices\"].lamp }}"), json!(1990));
    check(json!("{{ inputs.n }}"), json!(2));
    check(json!("{{ inputs[\"it's\"].x[-1] }}"), json!(1));
    check(json!("{{ item }}"), json!({ "id": 8 }));
    check(json!("{{ item.id }}-{{ item_index }}"), json!("8-1"));
    check_refused(
        json!("{{ outputs.stock }}"),
        "`{{ outputs.stock }}` at `$` has no value: nothing is known of `outputs.stock`",
    );
}

#[test]
fn what_is_no_path_is_an_expression() {
    check(json!("{{ item_index + 1 }}"), json!(2));
    check(json!("{{ item_index-1 }}"), json!(0));
    check(json!("{{ steps.fetch.output.items[item_index].id == item.id }}"), json!(true));
    check(json!("{{ steps.fetch.output.items[item_index] }}"), json!({ "id": 8 }));
    check(json!("{{ steps.fetch.output.items.map(i, i.id) }}"), json!([7, 8, 9]));
    check(json!("{{ size(goal) > 3 ? 'long' : 'short' }}: {{ inputs.n * 2 }} {{ !true }}"), json!("long: 4 false"));
    check(json!("{{ item.id in [7, 8] }}"), json!(true));
    check(json!("{{ [item.id, 'a'] }}"), json!([8, "a"]));
    check(json!("{{ -item_index }}"), json!(-1));
    let long = format!("{{{{ {}1 }}}}", "1 + ".repeat(40) + &" ".repeat(500));
    check(json!(long), json!(41));
}

#[test]
fn braces_and_quotes_inside_an_expression_do_not_close_it() {
    check(json!("{{ {'a': {'b': 1}} }}"), json!({ "a": { "b": 1 } }));
    check(json!("{{{'a': {'b': item.id}}}}"), json!({ "a": { "b": 8 } }));
    check(json!("{{ {'}}': '\\'}}'} }}"), json!({ "}}": "'}}" }));
    check(json!("{{ 'it' + \"'s }}\" }} {{ goal }}"), json!("it's }} sell \"it\""));
}

#[test]
fn the_result_of_an_expression_is_held_to_the_rules_of_a_value() {
    check_refused(
        json!({ "url": "x{{ [item] + [] }}" }),
        "`{{ [item] + [] }}` at `$.url` is a list and cannot stand inside a longer string",
    );
    check_refused(
        json!(["{{ steps.hidden.output.mail + '' }}"]),
        "`{{ steps.hidden.output.mail }}` at `$[0]` was redacted: a secret cannot travel through an output, use \
         `secret://`",
    );
    check_refused(
        json!("{{ item.x + 1 }}"),
        "`item.x + 1` at `$` has no value: there is no `x` in `item.x`, only `id`",
    );
    for template in ["{{ 'secret:' + '//DB' }}", "secret:{{ '/' + '/DB' }}", "secret://API{{ '_' + 'ROOT' }}"] {
        match resolved(&json!(template)) {
            Err(ResolveError::NamesSecret { path, .. }) => assert_eq!(path, "$", "{template}"),
            other => panic!("{template}: {other:?}"),
        }
    }
    let half = "{{ [steps.large.output.half].map(x, x) }}";
    assert!(matches!(resolved(&json!(half)), Err(ResolveError::Expression { .. })));
    let list = format!("{{{{ [{}] }}}}", vec!["goal"; 100].join(","));
    let path = "$[748]".to_owned();
    assert_eq!(resolved(&json!(vec![list; 2000])), Err(ResolveError::TooLarge { path }));
}

#[test]
fn the_expressions_of_a_template_share_their_work() {
    let template = "{{ inputs.many.filter(x, x in inputs.many).size() }}";
    let with_many = |template: &Value| {
        let inputs = json!({ "many": (0..1000).collect::<Vec<i32>>() });
        resolve(template, &|root| (*root == Root::Inputs).then_some(Cow::Borrowed(&inputs)))
    };
    assert_eq!(with_many(&json!([template, template])), Ok(json!([1000, 1000])));
    match with_many(&json!(vec![template; 100])) {
        Err(ResolveError::Expression { path, problem, .. }) => {
            assert_eq!((path.as_str(), problem.as_str()), ("$[3]", "it is too much work"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_that_is_neither_path_nor_expression_is_judged_as_what_it_looks_like() {
    const NAMES: &str = "a value begins with `steps`, `outputs`, `inputs`, `item`, `item_index`, `goal` or `run`";
    for (meant, inner, fault) in [
        ("an expression", "inputs.x +", "syntax error at 1:11: mismatched input end".to_owned()),
        ("an expression", "step.a.output == 1", format!("there is no `step`; {NAMES}")),
        ("an expression", "steps.a.output.x > 1 && y", format!("there is no `y`; {NAMES}")),
        ("an expression", "'a' in x", format!("there is no `x`; {NAMES}")),
        ("a reference", "goal == 'a", "`{{` is never closed; write `\\{{` for two braces".to_owned()),
        ("a reference", "outputs", "the `output_key` of a step must follow `outputs.`".to_owned()),
        ("a reference", "outputs[0]", "the `output_key` of a step must follow `outputs.`".to_owned()),
        ("a reference", "item_index.x", "unexpected `.x`".to_owned()),
        ("a reference", "steps.a.status.x", "unexpected `.x`".to_owned()),
        ("a reference", "steps.a-b.outputs", "`.output` or `.status` must follow the step id".to_owned()),
        ("a reference", "inputs.words[x]", "`[…]` must hold an integer or a JSON string".to_owned()),
    ] {
        let template = format!("{{{{ {inner} }}}}");
        check_no(meant, &template, &template, &fault);
    }
}

#[test]
fn an_index_may_count_from_the_end() {
    for (index, id) in [("0", 7), ("2", 9), ("-1", 9), ("-3", 7)] {
        check(json!(format!("{{{{ steps.fetch.output.items[{index}].id }}}}")), json!(id));
    }
}

#[test]
fn any_member_name_can_be_quoted() {
    check(json!("{{ steps.fetch.output[\"status\"] }}"), json!(200));
    check(json!("{{ steps[\"fetch\"].output[\"items\"][0][\"id\"] }}"), json!(7));
    check(json!(r#"{{ steps.fetch.output["odd }} \"name\""] }}"#), json!("odd"));
    check(json!(r#"{{ steps.fetch.output["\u0073tatus"] }}"#), json!(200));
}

#[test]
fn what_was_put_in_is_not_a_template() {
    check(json!("{{ steps.fetch.output.title }}"), json!("A {{ goal }} B"));
    check(json!("x {{ steps.fetch.output.title }}"), json!("x A {{ goal }} B"));
}

#[test]
fn escaped_braces_and_object_names_are_not_references() {
    check(json!(r"\{{ goal }}"), json!("{{ goal }}"));
    check(json!(r"a \{{{{ run.id }} b"), json!("a {{r_1 b"));
    check(json!(r"\\{{ x"), json!(r"\{{ x"));
    check(json!({ "{{ goal }}": 1 }), json!({ "{{ goal }}": 1 }));
    check(json!("}} { { } } \\"), json!("}} { { } } \\"));
}

#[test]
fn a_missing_value_is_an_error_that_says_what_is_there() {
    for (reference, expected) in [
        ("steps.later.output.x", "has no value: nothing is known of `steps.later.output`"),
        ("steps[\"x.y\"].output", "has no value: nothing is known of `steps[\"x.y\"].output`"),
        ("run.agent", "has no value: nothing is known of `run.agent`"),
        ("steps.fetch.output.items[3]", "has no value: there is no `[3]`, only a list of length 3"),
        ("steps.fetch.output.items[-4]", "has no value: there is no `[-4]`, only a list of length 3"),
        ("steps.fetch.output.items.id", "has no value: there is no `id`, only a list of length 3"),
        ("steps.fetch.output.items[0].x.y", "has no value: there is no `x`, only `id`"),
        ("steps.fetch.output.items[0][0]", "has no value: there is no `[0]`, only `id`"),
        ("steps.fetch.output.status.x", "has no value: there is no `x`, only a number"),
        ("steps.fetch.output.nothing.x", "has no value: there is no `x`, only null"),
        (
            "steps.many.output.x",
            "has no value: there is no `x`, only `m00`, `m01`, `m02`, `m03`, `m04`, `m05`, `m06`, `m07`, `m08`, `m09` \
             and 4 more",
        ),
    ] {
        for template in [format!("{{{{ {reference} }}}}"), format!("x {{{{ {reference} }}}}")] {
            let expected = format!("`{{{{ {reference} }}}}` at `$.a[1]` {expected}");
            check_refused(json!({ "a": [0, template] }), &expected);
        }
    }
}

#[test]
fn a_value_without_a_text_form_cannot_stand_inside_a_longer_string() {
    for (member, found) in [("nothing", "null"), ("items", "a list"), ("items[0]", "an object")] {
        check_refused(
            json!({ "url": format!("x{{{{ steps.fetch.output.{member} }}}}") }),
            &format!(
                "`{{{{ steps.fetch.output.{member} }}}}` at `$.url` is {found} and cannot stand inside a longer string"
            ),
        );
    }
}

#[test]
fn a_redacted_value_is_refused() {
    for reference in [
        "steps.hidden.output",
        "steps.hidden.output.mail",
        "steps.hidden.output.list",
        "steps.hidden.output.login.token",
        "steps.hidden.output.login[0]",
    ] {
        let expected = format!(
            "`{{{{ {reference} }}}}` at `$[0]` was redacted: a secret cannot travel through an output, use `secret://`"
        );
        check_refused(json!([format!("{{{{ {reference} }}}}")]), &expected);
    }
    check_refused(
        json!("to: {{ steps.hidden.output.mail }}"),
        "`{{ steps.hidden.output.mail }}` at `$` was redacted: a secret cannot travel through an output, use `secret://`",
    );
    check(json!("{{ steps.hidden.output.fine }}"), json!(1));
}

#[test]
fn an_output_cannot_name_a_secret() {
    for template in [
        "{{ steps.evil.output.whole }}",
        "{{ steps.evil.output }}",
        "Bearer {{ steps.evil.output.whole }}",
        "secret://API{{ steps.evil.output.tail }}",
        "{{ steps.evil.output.scheme }}{{ steps.evil.output.rest }}",
        "secret:{{ steps.evil.output.rest }}",
        "secret://{{ steps.evil.output.tail }}",
    ] {
        match resolved(&json!(template)) {
            Err(ResolveError::NamesSecret { path, .. }) => assert_eq!(path, "$", "{template}"),
            other => panic!("{template}: {other:?}"),
        }
    }
    check(json!("secret://API{{ steps.evil.output.path }}"), json!("secret://API/x"));
    check(json!("secret://API {{ goal }}"), json!("secret://API sell \"it\""));
    check(json!(["secret://API", "{{ goal }}"]), json!(["secret://API", "sell \"it\""]));
}

#[test]
fn a_result_over_the_limit_is_refused() {
    let whole = "{{ steps.large.output.text }}";
    check(json!(whole), json!("x".repeat(MAX_RESOLVED - 2)));
    let too_large = |path: &str| Err(ResolveError::TooLarge { path: path.to_owned() });
    assert_eq!(resolved(&json!([whole])), too_large("$"));
    assert_eq!(resolved(&json!([whole, whole])), too_large("$[1]"));
    let half = "{{ steps.large.output.half }}";
    assert_eq!(resolved(&json!({ "a": format!("{half}{half}") })), too_large("$.a"));
    assert_eq!(resolved(&json!(vec![whole; 10_000])), too_large("$[1]"));
}

fn check_unreadable(text: &str, found: &str, fault: &str) {
    check_no("a reference", text, found, fault);
}

fn check_no(meant: &str, text: &str, found: &str, fault: &str) {
    let value = json!({ "steps": [{ "x-y": [text] }] });
    let error = references(&value).expect_err("the reference cannot be read");
    assert_eq!(error.to_string(), format!("`{found}` at `$.steps[0][\"x-y\"][0]` is not {meant}: {fault}"));
    assert_eq!(resolved(&value), Err(ResolveError::Unreadable(error)));
}

#[test]
fn an_unreadable_reference_is_an_error_that_names_its_place() {
    const ROOT: &str = "it must begin with `steps.<id>.output`, `steps.<id>.status`, `outputs.<key>`, `inputs`, `item`, \
                        `item_index`, `goal`, `run.id`, `run.tenant` or `run.agent`";
    const STEP: &str = "the step id must be letters, digits, `_` or `-`, at most 64; write others as `steps[\"a.b\"]`";
    const NAME: &str = "a name of letters, digits, `_` or `-` must follow `.`; write others as `[\"any name\"]`";
    const INDEX: &str = "`[…]` must hold an integer or a JSON string";
    const OUTPUT: &str = "`.output` or `.status` must follow the step id";
    for (inner, fault) in [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("x", ROOT),
        ("step.a.output", ROOT),
        ("run", ROOT),
        ("run.goal", ROOT),
        ("'goal'", ROOT),
        ("goals", ROOT),
        ("goal.x", "unexpected `.x`"),
        ("goal | upper", "unexpected ` | upper`"),
        ("run.id[0]", "unexpected `[0]`"),
        ("steps", STEP),
        ("steps.", STEP),
        ("steps[0].output", STEP),
        ("steps[\"\"].output", STEP),
        ("steps[\"a b\"].output", STEP),
        ("steps.a", OUTPUT),
        ("steps.a.b.output", OUTPUT),
        ("steps.a.outputs", OUTPUT),
        ("steps.a[\"output\"]", OUTPUT),
        ("steps.a.output.", NAME),
        ("steps.a.output..b", NAME),
        ("steps.a.output.b c", "unexpected ` c`"),
        ("steps.a.output.é", NAME),
        ("steps.a.output[]", INDEX),
        ("steps.a.output[x]", INDEX),
        ("steps.a.output[1.5]", INDEX),
        ("steps.a.output[+1]", INDEX),
        ("steps.a.output[-0]", INDEX),
        ("steps.a.output[01]", INDEX),
        ("steps.a.output[99999999999999999999]", INDEX),
        ("steps.a.output[1", INDEX),
        ("steps.a.output[\"b\"", INDEX),
        ("steps.a.output[\"b\" ]", INDEX),
        ("steps.a.output[\"\\x\"]", INDEX),
    ] {
        let reference = format!("{{{{{inner}}}}}");
        check_unreadable(&format!("a {reference} b"), &reference, fault);
    }
}

#[test]
fn a_reference_that_is_never_closed_is_an_error() {
    const FAULT: &str = "`{{` is never closed; write `\\{{` for two braces";
    check_unreadable("a {{ goal", "{{ goal", FAULT);
    check_unreadable("{{ goal }", "{{ goal }", FAULT);
    check_unreadable("{{ steps[\"a}}", "{{ steps[\"a}}", FAULT);
}

#[test]
fn a_reference_of_more_than_512_characters_is_an_error() {
    let longest = format!("steps.a.output.{}", "b".repeat(512 - 15));
    assert_eq!(references(&json!(format!("{{{{ {longest} }}}}"))).map(|found| found.len()), Ok(1));
    let reference = format!("{{{{{longest}b}}}}");
    let shown: String = reference.chars().take(80).collect();
    check_unreadable(&reference, &format!("{shown}…"), "it has 513 characters, more than 512");
}

#[test]
fn an_error_never_shows_a_secret() {
    let error = references(&json!("{{ AKIAIOSFODNN7EXAMPLE }}")).unwrap_err();
    assert_eq!(error.text, "{{ <REDACTED_AWS_KEY> }}");
}

#[test]
fn references_are_listed_with_their_places() {
    let value = json!({
        "with": { "url": "{{ goal }}/{{ steps.a-1.output }}", "n": 1 },
        "all": "{{ outputs.b.c }} {{ size(steps.a.output.d) > inputs.n }}",
        "items": ["no", { "{{ x": "{{ steps[\"a.b\"].output.c[-1][\"d e\"] }}" }, "\\{{ y }}"],
    });
    let named = |root, name: &str, text: &str| {
        let path = vec![Segment::Name(name.to_owned())];
        ("$.all".to_owned(), Reference { root, path, text: text.to_owned() })
    };
    let expected = [
        named(Root::Output("b".to_owned()), "c", "outputs.b.c"),
        named(Root::Step("a".to_owned()), "d", "steps.a.output.d"),
        named(Root::Inputs, "n", "inputs.n"),
        (
            "$.items[1][\"{{ x\"]".to_owned(),
            Reference {
                root: Root::Step("a.b".to_owned()),
                path: vec![Segment::Name("c".to_owned()), Segment::Index(-1), Segment::Name("d e".to_owned())],
                text: "steps[\"a.b\"].output.c[-1][\"d e\"]".to_owned(),
            },
        ),
        ("$.with.url".to_owned(), Reference { root: Root::Goal, path: vec![], text: "goal".to_owned() }),
        (
            "$.with.url".to_owned(),
            Reference { root: Root::Step("a-1".to_owned()), path: vec![], text: "steps.a-1.output".to_owned() },
        ),
    ];
    assert_eq!(references(&value), Ok(expected.to_vec()));
}

#[test]
fn depth_does_not_matter() {
    let text = format!("{}\"{{{{ goal }}}}\"{}", "[".repeat(120), "]".repeat(120));
    let value: Value = serde_json::from_str(&text).unwrap();
    let path = format!("${}", "[0]".repeat(120));
    assert_eq!(references(&value).map(|found| found[0].0.clone()), Ok(path));
    let expected = format!("{}\"sell \\\"it\\\"\"{}", "[".repeat(120), "]".repeat(120));
    assert_eq!(resolved(&value).map(|value| value.to_string()), Ok(expected));
}

fn value() -> impl Strategy<Value = Value> {
    let piece = prop::sample::select(vec![
        "{",
        "{{",
        "}}",
        "\\",
        "\"",
        " ",
        "goal",
        "run.id",
        "steps",
        ".",
        "fetch",
        "output",
        "[",
        "]",
        "-1",
        "0",
        "items",
        "{{ goal }}",
        "{{ steps.fetch.output.items[0].id }}",
        "{{ inputs.n + 1 }}",
        " == ",
        "'",
        "item",
        "secret://",
        "é",
        "$",
    ]);
    let text = prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat());
    let leaf =
        prop_oneof![text.clone().prop_map(Value::String), any::<i64>().prop_map(|n| json!(n)), Just(json!(null))];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(text.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether a string inside holds `{{`; object names do not count.
fn has_braces(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(items) => items.iter().any(has_braces),
        Value::Object(members) => members.values().any(has_braces),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn a_template_without_references_is_unchanged(value in value()) {
        if !has_braces(&value) {
            prop_assert_eq!(references(&value), Ok(vec![]));
            prop_assert_eq!(resolved(&value), Ok(value));
        }
    }

    #[test]
    fn what_admission_cannot_read_is_never_resolved(value in value()) {
        let read: Result<Vec<(String, Reference)>, ReferenceError> = references(&value);
        match (read, resolved(&value)) {
            (Ok(_), Err(ResolveError::Unreadable(error))) => prop_assert!(false, "{}", error),
            (Err(error), Ok(_)) => prop_assert!(false, "{}", error),
            _ => {}
        }
    }
}
