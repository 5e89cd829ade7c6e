//! The lists of codes are what the source gives: no code without its line, no line without its code.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;
use runproof_engine::codes::{FAILURES, REFUSALS};

/// Dotted words in the source that are places or names, and no codes.
const NO_CODES: &[&str] =
    &["run.id", "run.tenant", "run.agent", "payload.params", "payload.plan", "payload.inputs", "payload.items"];

fn dotted_words(folder: &Path, found: &mut BTreeSet<String>) {
    let pattern = Regex::new(r#""([a-z_]+\.[a-z0-9_]+)""#).unwrap();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            dotted_words(&path, found);
        } else if path.file_name().is_some_and(|name| name != "codes.rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.extend(code.flat_map(|line| pattern.captures_iter(line).map(|found| found[1].to_owned())));
        }
    }
}

#[test]
fn every_code_in_the_source_is_listed_and_every_listed_code_is_in_the_source() {
    let mut found = BTreeSet::new();
    dotted_words(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.retain(|word| !NO_CODES.contains(&word.as_str()));
    let listed: BTreeSet<String> = REFUSALS.iter().chain(FAILURES).map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(found, listed, "left: in the source, right: in src/codes.rs (a word that is no code goes to NO_CODES)");
    assert_eq!(listed.len(), REFUSALS.len() + FAILURES.len(), "no code is in both lists");
}
