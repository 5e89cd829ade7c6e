//! Claims about the path language.

use runproof_skills::path::{Path, PathError};
use serde_json::{Value, json};

fn check(text: &str, expected: Option<Value>) {
    let value = json!({"a": {"b": [{"c": 1}, {"c": 2}], "n": null}, "list": [[1, 2], [3]], "x y": true});
    let path = Path::parse(text).expect("a path");
    assert_eq!(path.get(&value).cloned(), expected, "{text}");
    assert_eq!(path.to_string(), text);
}

#[test]
fn a_path_leads_through_members_and_items() {
    check("a.b[0].c", Some(json!(1)));
    check("a.b[1]", Some(json!({"c": 2})));
    check("list[0][1]", Some(json!(2)));
    check("x y", Some(json!(true)));
    check("a.n", Some(Value::Null));
}

#[test]
fn a_negative_index_counts_from_the_end() {
    check("a.b[-1].c", Some(json!(2)));
    check("list[-2][-1]", Some(json!(2)));
    check("a.b[-3]", None);
}

#[test]
fn a_path_that_leads_nowhere_finds_nothing() {
    for text in ["b", "a.b.c", "a[0]", "a.b[2]", "a.n.x", "a.b[9223372036854775807]", "a.b[-9223372036854775808]"] {
        check(text, None);
    }
}

#[test]
fn a_path_may_begin_with_an_index() {
    let path = Path::parse("[0].a").expect("a path");
    assert_eq!(path.get(&json!([{"a": 1}])), Some(&json!(1)));
}

#[test]
fn a_bad_path_says_what_is_wrong() {
    let check = |text: &str, expected| assert_eq!(Path::parse(text), Err(expected), "{text}");
    check("", PathError::Empty);
    for text in [".a", "a.", "a..b", "."] {
        check(text, PathError::EmptyName);
    }
    check("a.[0]", PathError::EmptyName);
    for text in ["a[]", "a[x]", "a[+1]", "a[1 ]", "a[-]", "a[9223372036854775808]", "a[[0]]"] {
        check(text, PathError::BadIndex);
    }
    for text in ["a[", "a[0", "a]", "a[0]b", "a[0]]", "]"] {
        check(text, PathError::MisplacedBracket);
    }
}
