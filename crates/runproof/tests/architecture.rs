//! The shape of the workspace: which crate may know which, and that the pages name what the code has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use runproof_proof::finding::{Code, Verdict};
use serde_json::Value;

use crate::support::text;

/// Packages in the lock file, ours included. Raise it knowingly: every dependency is read by somebody, or by nobody.
const MOST_PACKAGES: usize = 330;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names that each crate of the workspace depends on directly, tests excepted.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let direct = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"] != "dev").map(|dependency| text(&dependency["name"])).collect()
    };
    packages.iter().map(|package| (text(&package["name"]), direct(package))).collect()
}

#[test]
fn no_crate_knows_what_its_edge_forbids() {
    let edges = edges();
    let names: Vec<&str> = edges.keys().map(String::as_str).collect();
    assert_eq!(names, ["runproof", "runproof-engine", "runproof-proof", "runproof-skills", "runproof-store"]);
    for (name, ours) in [
        ("runproof-proof", &[][..]),
        ("runproof-engine", &["runproof-proof"]),
        ("runproof-store", &["runproof-engine", "runproof-proof"]),
        ("runproof-skills", &["runproof-engine"]),
        ("runproof", &["runproof-engine", "runproof-proof", "runproof-skills", "runproof-store"]),
    ] {
        let got: Vec<&str> =
            edges[name].iter().map(String::as_str).filter(|dependency| dependency.starts_with("runproof")).collect();
        assert_eq!(got, ours, "{name}");
    }
    for (name, forbidden) in [
        (
            "runproof-proof",
            &[
                "tokio",
                "rusqlite",
                "reqwest",
                "getrandom",
                "rand",
                "hyper",
                "async-trait",
                "jiff",
                "chrono",
                "uuid",
                "regex",
            ][..],
        ),
        ("runproof-engine", &["tokio", "rusqlite", "reqwest", "hyper", "getrandom", "rand"]),
        ("runproof-store", &["reqwest", "hyper", "ed25519-dalek"]),
        ("runproof-skills", &["rusqlite", "ed25519-dalek", "getrandom"]),
    ] {
        for dependency in forbidden {
            assert!(!edges[name].contains(*dependency), "{name} may not depend on {dependency}");
        }
    }
}

#[test]
fn the_format_stays_free_of_clock_disk_network_and_chance_through_others_too() {
    // What the lock file says about everything below `runproof-proof`.
    let lock = read("Cargo.lock");
    let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap().trim_end_matches('"');
        let list =
            package.split_once("dependencies = [").map_or("", |(_, rest)| rest.split(']').next().unwrap_or_default());
        let names = list
            .lines()
            .filter_map(|line| line.trim().trim_matches([',', '"']).split(' ').next())
            .filter(|name| !name.is_empty());
        below.entry(name).or_default().extend(names);
    }
    let dev: BTreeSet<&str> = ["proptest", "ct-merkle", "serde_json_canonicalizer", "tempfile"].into();
    let (mut reached, mut pending) = (BTreeSet::new(), vec!["runproof-proof"]);
    while let Some(name) = pending.pop() {
        if reached.insert(name) {
            let next = below.get(name).into_iter().flatten().copied();
            pending.extend(next.filter(|next| name != "runproof-proof" || !dev.contains(next)));
        }
    }
    assert!(reached.contains("sha2"), "the lock file was read: {reached:?}");
    for name in ["tokio", "rusqlite", "reqwest", "hyper", "mio", "socket2", "jiff", "chrono"] {
        assert!(!reached.contains(name), "runproof-proof reaches {name}");
    }
}

#[test]
fn the_number_of_dependencies_stays_below_the_cap() {
    let count = read("Cargo.lock").matches("[[package]]").count();
    assert!(count <= MOST_PACKAGES, "{count} packages, the cap is {MOST_PACKAGES}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
    all
}

fn every_source(kind: &str) -> Vec<PathBuf> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap().flatten().map(|entry| entry.path().join(kind));
    let all: Vec<PathBuf> = crates.filter(|folder| folder.exists()).flat_map(|folder| sources(&folder)).collect();
    assert!(!all.is_empty());
    all
}

#[test]
fn every_file_says_what_it_is_for() {
    for kind in ["src", "tests"] {
        for path in every_source(kind) {
            let source = std::fs::read_to_string(&path).unwrap();
            assert!(source.starts_with("//! "), "{} does not open with `//! `", path.display());
            let first = source.lines().next().unwrap_or_default();
            assert!(!first.to_lowercase().contains("placeholder"), "{} is a placeholder", path.display());
        }
    }
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    let (todo, unimplemented) = (["todo", "!("].concat(), ["unimplemented", "!("].concat());
    for path in every_source("src") {
        let source = std::fs::read_to_string(&path).unwrap();
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (number, line) in code.enumerate() {
            assert!(!line.contains(&todo) && !line.contains(&unimplemented), "{} line {}", path.display(), number + 1);
        }
    }
}

#[test]
fn no_test_sleeps_in_order_to_wait_or_is_switched_off() {
    let (ignore, panics) = (["#[", "ignore"].concat(), ["#[", "should_panic"].concat());
    for path in every_source("tests") {
        let source = std::fs::read_to_string(&path).unwrap();
        assert!(!source.contains(&ignore) && !source.contains(&panics), "{}", path.display());
    }
}

#[test]
fn only_the_printer_prints() {
    let print = [["print", "ln!("].concat(), ["eprint", "ln!("].concat()];
    for path in every_source("src") {
        let source = std::fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        assert!(!code.iter().any(|line| print.iter().any(|word| line.contains(word.as_str()))), "{}", path.display());
    }
}

#[test]
fn every_verdict_and_finding_code_is_in_the_specification() {
    let page = read("docs/spec/verdicts.md");
    for verdict in Verdict::ALL {
        let row = format!("| {} | {} | {} |", verdict.word(), verdict.exit_code(), verdict.status());
        assert!(page.contains(&row), "{row}");
    }
    for code in Code::ALL {
        let row = format!("| `{}` | {} | {} |", code.word(), code.layer(), code.verdict().word());
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn every_table_and_column_is_in_the_specification_with_its_kind() {
    let page = read("docs/spec/tables.md");
    let home = crate::support::Home::initialised();
    let heading = |kind: &str| match kind {
        "evidence" => "## Evidence",
        "projection" => "## Projections",
        _ => "## Operational",
    };
    for (table, kind) in crate::tamper::KINDS {
        let at = page.find(&format!("### `{table}`")).unwrap_or_else(|| panic!("{table} is not in tables.md"));
        let above = page[..at].lines().rfind(|line| line.starts_with("## ")).unwrap_or_default();
        assert!(above.starts_with(heading(kind)), "{table} stands under `{above}`, it is {kind}");
        let section =
            page[at + 4..].split("\n### ").next().unwrap_or_default().split("\n## ").next().unwrap_or_default();
        for column in home.sql(&format!("SELECT name FROM pragma_table_info('{table}')")) {
            assert!(section.contains(&format!("`{}`", column[0])), "{table}.{} is not in tables.md", column[0]);
        }
    }
}

#[test]
fn the_read_me_names_the_two_commands() {
    let page = read("README.md");
    assert!(page.contains("scripts/test") && page.contains("demo"), "README.md names scripts/test and the demo");
    for file in [
        "ARCHITECTURE.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "rust-toolchain.toml",
        "scripts/test",
        ".ci/run",
    ] {
        assert!(root().join(file).exists(), "{file} is missing");
    }
}

#[test]
fn the_help_names_every_exit_code_and_every_variable() {
    let help = runproof::cli::definition().render_long_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "0 succeeded or VERIFIED",
        "3 failed",
        "4 halted",
        "5 waiting",
        "6 cancelled",
        "7 refused",
        "8 store",
        "10-13, 20-23, 30, 31",
        "DATABASE_URL",
        "RUNPROOF_TRUST",
        "RUNPROOF_SECRET_NAME",
        "RUNPROOF_HOME",
        "RUNPROOF_EGRESS_ALLOW",
    ] {
        assert!(help.contains(words), "{words}");
    }
}
