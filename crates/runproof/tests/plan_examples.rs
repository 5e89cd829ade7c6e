//! The examples of the guide are plans: every fenced block of `docs/guide/plans.md` that holds one.

use crate::support::Home;

/// The examples, each with the extension of its file.
fn examples() -> Vec<(&'static str, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/plans.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found = Vec::new();
    for (at, fence) in page.match_indices("```").step_by(2) {
        let (word, rest) = page[at + fence.len()..].split_once('\n').unwrap();
        let (body, _) = rest.split_once("```").unwrap();
        match word {
            "yaml" => found.push(("yaml", body.to_owned())),
            "json" => found.push(("json", body.to_owned())),
            _ => panic!("a block of another kind: {word}"),
        }
    }
    assert!(found.len() >= 4, "{found:?}");
    found
}

#[test]
fn every_example_of_the_guide_is_valid_without_a_warning() {
    let home = Home::empty();
    for (extension, example) in examples() {
        let file = home.file(&format!("example.{extension}"), &example);
        let checked = home.ok(&["plan", "check", &file]);
        assert_eq!(checked["findings"], serde_json::json!([]), "{example}");
    }
}
