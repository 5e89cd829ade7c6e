//! Plans as YAML: the same JSON, or a refusal with its place.

use proptest::prelude::*;
use runproof_engine::plan::{self, Format};
use serde_json::{Value, json};

fn read(text: &str) -> Result<Value, String> {
    Format::Yaml.read(text.as_bytes())
}

const PLAN: &str = r#"
# what people write
schema: runproof.plan/v1
name: "two: steps"
steps:
- id: a
  skill: look
  with:
    n: 3
    list: [yes, no, on, off]
    long: |
      first
      second
- id: b
  skill: look
  needs: []
  with:
    text: '{{ goal }}'
    none:
    also: ~
"#;

#[test]
fn a_plan_in_yaml_is_the_plan_in_json() {
    let got = read(PLAN).unwrap();
    let first = json!({"n": 3, "list": ["yes", "no", "on", "off"], "long": "first\nsecond\n"});
    assert_eq!(
        got,
        json!({
            "schema": "runproof.plan/v1", "name": "two: steps",
            "steps": [
                {"id": "a", "skill": "look", "with": first},
                {"id": "b", "skill": "look", "needs": [], "with": {"text": "{{ goal }}", "none": null, "also": null}},
            ],
        })
    );
    assert!(plan::parse(&got).is_ok());
}

#[test]
fn a_plain_scalar_means_what_it_means_in_json_and_everything_else_is_text() {
    for (text, expected) in [
        ("true", json!(true)),
        ("null", json!(null)),
        ("~", json!(null)),
        ("-12", json!(-12)),
        ("0", json!(0)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("'1'", json!("1")),
        ("\"true\"", json!("true")),
        ("yes", json!("yes")),
        ("Off", json!("Off")),
        ("2024-01-31", json!("2024-01-31")),
        ("12:30:00", json!("12:30:00")),
        ("1_000", json!("1_000")),
        ("1.2.3", json!("1.2.3")),
        ("0b11", json!("0b11")),
        ("secret://TOKEN", json!("secret://TOKEN")),
        ("e5", json!("e5")),
        (".", json!(".")),
        ("-", json!([null])),
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_readers_of_yaml_disagree_about_is_refused_and_not_guessed() {
    for text in
        ["0123", "-007", "+1", "0x1F", "0o17", ".5", "1.", "True", "FALSE", "Null", ".inf", "-.INF", ".NaN", "1e999"]
    {
        let error = read(&format!("a: {text}")).unwrap_err();
        assert!(error.contains("in quotes") && error.ends_with("at line 1 column 4"), "{text}: {error}");
        assert_eq!(read(&format!("a: '{text}'")).unwrap(), json!({"a": text}));
    }
}

#[test]
fn what_yaml_has_and_json_has_not_is_refused_with_its_place() {
    for (text, what, place) in [
        ("a: 1\nb: 2\na: 3", "`a` is given twice", "line 3 column 1"),
        ("x:\n  - {k: 1, k: 2}", "`k` is given twice", "line 2 column"),
        ("a: &x 1", "anchors and aliases", "line 1 column"),
        ("a: &x [1]\nb: *x", "anchors and aliases", "line 1 column"),
        ("a: *x", "anchors and aliases", "line 1 column"),
        ("a: !!str 1", "tags are not read", "line 1 column"),
        ("a: !secret {b: 1}", "tags are not read", "line 1 column"),
        ("a: ! 1", "tags are not read", "line 1 column"),
        ("1: a", "a key is a text", "line 1 column 1"),
        ("true: a", "a key is a text", "line 1 column 1"),
        ("~: a", "a key is a text", "line 1 column 1"),
        ("? [1]\n: a", "a key is a text", "line 1 column 3"),
        ("a:\n  <<: {b: 1}", "merge keys", "line 2 column 3"),
        ("a: 1\n---\nb: 2", "a second document", "line 2 column 1"),
        ("%YAML 1.2\n---\na: 1", "directive", "line 1 column 1"),
        ("a: [1", "", "line"),
        ("a: 'x", "", "line"),
        ("a: b: c", "", "line 1"),
        ("a:\n\tb: 1", "", "line 2"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(what) && error.contains(place), "{text}: {error}");
    }
    assert!(read("").unwrap_err().contains("nothing"));
    assert!(read("# only a comment\n").unwrap_err().contains("nothing"));
    assert!(Format::Yaml.read(b"a: \xff").unwrap_err().contains("UTF-8"));
}

#[test]
fn braces_without_quotes_are_refused_with_the_hint_that_quotes_are_missing() {
    let hint = "; put quotes around a text with `{{` in it";
    for text in
        ["url: {{ goal }}", "url: {{ goal }}/x", "a: {url: {{ goal }}}", "a: {url: to {{ goal }}}", "- {{ size([1]) }}"]
    {
        let problem = read(text).unwrap_err();
        assert!(problem.ends_with(hint), "{text}: {problem}");
    }
    for text in ["{url: \"{{ goal }}\", url: 1}", "[a]: 1", "a: 1\na: '{{ goal }}'"] {
        let problem = read(text).unwrap_err();
        assert!(!problem.contains(hint), "{text}: {problem}");
    }
}

#[test]
fn a_document_of_more_than_a_mebibyte_is_refused() {
    let fits = format!("a: {}", "x".repeat(1024 * 1024 - 3));
    assert!(read(&fits).is_ok());
    assert!(read(&format!("{fits}x")).unwrap_err().contains("1048577 bytes"));
}

#[test]
fn any_depth_is_an_error_and_never_the_end_of_the_process() {
    for depth in [129, 1_000, 100_000] {
        let flow = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&flow).is_err(), "flow {depth}");
        assert!(Format::Json.read(flow.as_bytes()).is_err(), "json {depth}");
        assert!(Format::Json.read("{\"a\":".repeat(depth).as_bytes()).is_err(), "json objects {depth}");
        assert!(read(&"- ".repeat(depth)).is_err(), "block {depth}");
        assert!(read(&"{a: ".repeat(depth)).is_err(), "open mappings {depth}");
        assert!(read(&"? ".repeat(depth)).is_err(), "keys {depth}");
    }
    assert!(read(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).is_ok());
    // Deeper than a plan can be recorded: the parser lets it pass, the plan is refused.
    let deep = read(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).unwrap();
    let value = json!({"schema": "runproof.plan/v1", "steps": [{"id": "a", "skill": "look", "with": {"deep": deep}}]});
    assert_eq!(plan::parse(&value).unwrap_err()[0].code, "plan.value");
}

#[test]
fn the_form_of_a_document_is_told_by_its_extension_and_else_by_its_first_character() {
    for (extension, bytes, expected) in [
        (Some("json"), "a: 1", Format::Json),
        (Some("YAML"), "{}", Format::Yaml),
        (Some("yml"), "{}", Format::Yaml),
        (Some("txt"), " \n{}", Format::Json),
        (None, "{}", Format::Json),
        (None, "schema: x", Format::Yaml),
        (None, "", Format::Yaml),
    ] {
        assert_eq!(Format::of(extension, bytes.as_bytes()), expected, "{extension:?} {bytes}");
    }
}

/// JSON values with texts that YAML could take for something else.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~\n\té]{0,12}",
        prop::sample::select(vec![
            "yes",
            "0123",
            "~",
            "null",
            "1e3",
            "- x",
            "a: b",
            "# c",
            "&a",
            "!t",
            "<<",
            "{{ goal }}"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(text.clone(), inner, 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn json_read_as_yaml_is_the_same_value(value in any_json()) {
        prop_assert_eq!(read(&value.to_string()), Ok(value.clone()));
        prop_assert_eq!(read(&format!("{value:#}\n")), Ok(value));
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "[-?:,\\[\\]{}#&*!|>'\"%@`~<=. \n\tab01]{0,60}") {
        if let Ok(value) = read(&text) {
            prop_assert_eq!(Format::Json.read(value.to_string().as_bytes()), Ok(value));
        }
    }
}
