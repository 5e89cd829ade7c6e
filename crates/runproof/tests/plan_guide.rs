//! The guide names every finding that a plan or a request can have.

#[test]
fn every_code_of_a_finding_is_in_the_guide() {
    let page = include_str!("../../../docs/guide/plans.md");
    let mut found = 0;
    for folder in ["plan", "plan/legacy", ""] {
        let folder = format!("{}/../runproof-engine/src/{folder}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            let source = std::fs::read_to_string(entry.path()).unwrap();
            for word in source.split('"').filter(|word| is_code(word)) {
                assert!(page.contains(&format!("`{word}`")), "{word} in {}", entry.path().display());
                found += 1;
            }
        }
    }
    assert!(found > 30, "{found}");
}

fn is_code(word: &str) -> bool {
    let family = ["plan.", "inputs.", "request.", "goal."].iter().find_map(|family| word.strip_prefix(family));
    family.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}
