//! Every code has a page and every page has a code; `explain` prints them; errors look the same everywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runproof::error::Code;
use runproof::explain::{FAMILIES, Page};
use runproof::runtime::SystemClock;
use runproof_engine::codes::{FAILURES, REFUSALS};
use runproof_proof::finding::{self, Verdict};
use runproof_skills::egress::Egress;
use runproof_skills::registry::{NoKeyValues, Options, Ports, builtin};
use serde_json::json;

use crate::support::{AGENT, Home, TENANT, ran, text};

fn pages() -> impl Iterator<Item = &'static Page> {
    FAMILIES.iter().flat_map(|family| family.pages)
}

/// Every code that anything can print: the program, the engine, the skills, the verifier.
fn codes() -> BTreeSet<&'static str> {
    let options = Options { egress: Egress::parse("").unwrap(), test_skills: true };
    let ports = Ports { key_values: Arc::new(NoKeyValues), clock: Arc::new(SystemClock) };
    let skills = builtin(&options, &ports).unwrap();
    let mut codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    codes.extend(REFUSALS.iter().chain(FAILURES).map(|(code, _)| *code));
    codes.extend(skills.iter().flat_map(|skill| skill.manifest().errors).map(|error| error.code));
    codes.extend(finding::Code::ALL.iter().map(|code| code.word()));
    codes.extend(Verdict::ALL.iter().map(|verdict| verdict.word()));
    codes
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The program's own sources, without the table of codes.
fn sources(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            all.extend(sources(&path));
        } else if !path.ends_with("error/code.rs") {
            all.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    all
}

// Pages ---------------------------------------------------------------------------------------------------------------

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let listed: Vec<&str> = pages().map(|page| page.code).collect();
    let pages: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(listed.len(), pages.len(), "no page is listed twice");
    assert_eq!(codes(), pages, "left: what can be printed, right: explain/pages.rs");
    let files = std::fs::read_dir(root().join("docs/errors")).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(files, pages.into_iter().map(str::to_owned).collect(), "left: docs/errors, right: explain/pages.rs");
}

#[test]
fn every_page_says_what_happened_why_and_what_to_do() {
    for page in pages() {
        let code = page.code;
        let (head, rest) = page.text.split_once("\n\n## Why\n\n").unwrap_or_else(|| panic!("{code}: no `## Why`"));
        let (why, to_do) =
            rest.split_once("\n\n## What to do\n\n").unwrap_or_else(|| panic!("{code}: no `## What to do`"));
        assert_eq!(head, format!("# {code}\n\n{}", page.title()), "the code, then one line");
        assert!(page.title().ends_with('.') && page.title().len() <= 100, "{code}: {}", page.title());
        assert!(why.len() > 20 && to_do.len() > 5 && page.text.ends_with('\n'), "{code}: {}", page.text);
        assert!(page.text.lines().all(|line| line.chars().count() <= 120), "{code}: a line is too long");
        assert!(page.text.lines().count() <= 30, "{code}: a page is short");
    }
}

#[test]
fn every_command_on_a_page_exists() {
    let definition = runproof::cli::definition();
    let mut seen = 0;
    for page in pages() {
        for quoted in page.text.split('`').skip(1).step_by(2) {
            let Some(command) = quoted.strip_prefix("runproof ") else { continue };
            let word = command.split_whitespace().next().unwrap_or_default();
            let known = word.starts_with("--") || word == "COMMAND" || definition.find_subcommand(word).is_some();
            assert!(known, "{}: `{quoted}`", page.code);
            seen += 1;
        }
    }
    assert!(seen > 40, "the pages name commands: {seen}");
}

// Codes in the source -------------------------------------------------------------------------------------------------

#[test]
fn every_code_of_the_program_is_given_somewhere() {
    let sources = sources(&root().join("crates/runproof/src")).concat();
    for code in Code::ALL {
        let variant = format!("Code::{code:?}");
        let used = sources
            .match_indices(&variant)
            .any(|(at, _)| !sources[at + variant.len()..].starts_with(|next: char| next.is_ascii_alphanumeric()));
        assert!(used, "nothing gives `{}`", code.word());
    }
}

#[test]
fn messages_begin_small_and_end_without_a_stop() {
    let mut seen = 0;
    for source in sources(&root().join("crates/runproof/src")) {
        for site in source.split("AppError::new(").skip(1) {
            let Some((before, rest)) = site.split_once('"') else { continue };
            let before: String = before.split_whitespace().collect();
            if !before.starts_with("Code::") || !(before.ends_with(',') || before.ends_with(",format!(")) {
                continue; // the message comes from somewhere else
            }
            let message = rest.split('"').next().unwrap_or_default();
            seen += 1;
            let variable = message.starts_with(|first: char| first.is_ascii_uppercase())
                && message.split([' ', '=', ':']).next().is_some_and(|word| word.to_uppercase() == word);
            assert!(variable || !message.starts_with(|first: char| first.is_uppercase()), "`{message}`");
            assert!(!message.ends_with('.') && !message.is_empty(), "`{message}`");
        }
    }
    assert!(seen > 25, "messages were found: {seen}");
}

// What is printed -----------------------------------------------------------------------------------------------------

#[test]
fn an_error_carries_its_code_in_brackets_and_as_an_object_with_its_kind() {
    let home = Home::empty();
    let page = home.run(&["list-runs"]);
    let database = home.database();
    let expected =
        format!("error[store.missing]: there is no database at `{}`\nhint: runproof init\n", database.display());
    assert_eq!((page.code, page.stderr), (8, expected));
    let error = home.run(&["list-runs", "--json"]).json()["error"].clone();
    let message = format!("there is no database at `{}`", database.display());
    assert_eq!(error, json!({ "kind": "store", "code": "store.missing", "message": message, "hint": "runproof init" }));
}

#[test]
fn a_wrong_command_line_has_a_code_too() {
    let home = Home::initialised();
    let before = home.dump();
    let page = home.run(&["run", "--tenant-id", TENANT, "--goal", "g"]);
    assert_eq!((page.code, page.stdout.as_str()), (2, ""));
    assert!(page.stderr.starts_with("error[usage.argument]: ") && page.stderr.contains("--agent-id"), "{page:?}");
    assert!(page.stderr.contains("Usage: runproof run"), "{page:?}");
    for arguments in [
        &["run", "--tenant-id", TENANT, "--goal", "g", "--json"][..],
        &["no-such-command", "--json"],
        &["list-runs", "--limit", "many", "--json"],
        &["worker", "--concurrency", "0", "--json"],
        &["--json"],
    ] {
        let ran = home.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        assert_eq!(ran.error_code(), "usage.argument", "{arguments:?}");
        assert!(ran.json()["error"]["hint"].is_string(), "{arguments:?}: {ran:?}");
    }
    assert_eq!(home.dump(), before);
}

// explain -------------------------------------------------------------------------------------------------------------

#[test]
fn explain_prints_the_page_of_every_code_that_an_error_shows() {
    let home = Home::initialised();
    let refused = home.run(&["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", " ", "--json"]);
    let error = &refused.json()["error"];
    for code in [&error["code"], &error["findings"][0]["code"]] {
        let page = home.run(&["explain", &text(code)]);
        let file = std::fs::read_to_string(root().join(format!("docs/errors/{}.md", text(code)))).unwrap();
        assert_eq!((page.code, page.stdout), (0, file));
    }
    assert_eq!(home.ok(&["explain", "verified"])["code"], "VERIFIED", "capitals do not matter");
}

#[test]
fn explain_needs_no_home_and_lists_every_code_with_its_line() {
    let home = Home::empty();
    let run = |arguments: &[&str]| ran(home.command(arguments).env_clear().current_dir("/"));
    let list = run(&["explain"]);
    assert_eq!((list.code, list.stderr.as_str()), (0, ""));
    for page in pages() {
        let line = list.stdout.lines().find(|line| line.split(' ').next() == Some(page.code));
        assert!(line.is_some_and(|line| line.ends_with(page.title())), "{}: {line:?}", page.code);
    }
    let object = run(&["explain", "--json"]).json();
    let listed = object["families"].as_array().unwrap().iter().flat_map(|family| family["codes"].as_array().unwrap());
    assert_eq!(listed.count(), pages().count());
    let one = run(&["explain", "store.busy", "--json"]).json();
    assert_eq!((&one["code"], one["page"].is_string()), (&json!("store.busy"), true));
}

#[test]
fn a_misspelt_code_is_answered_with_the_nearest_ones() {
    let home = Home::empty();
    for (word, near) in [
        ("store.mising", "store.missing"),
        ("plan.duplicate", "plan.duplicate_id"),
        ("store.mis", "store.missing"),
        ("egress_denied", "http.egress_denied"),
        ("TEMPERED", "TAMPERED"),
    ] {
        let ran = home.run(&["explain", word, "--json"]);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "explain.unknown"), "{word}");
        assert!(text(&ran.json()["error"]["hint"]).contains(near), "{word}: {ran:?}");
    }
    for word in ["", "\u{1b}[31mred", &"x".repeat(100_000)] {
        let ran = home.run(&["explain", word]);
        assert_eq!(ran.code, 2, "{word:.20}");
        assert!(!ran.stderr.contains('\u{1b}') && ran.stderr.len() < 1_000, "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
}
