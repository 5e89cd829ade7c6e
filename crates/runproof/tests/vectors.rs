//! The second verifier, in another language and written from `docs/spec` alone, agrees with ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Home, TENANT, text};

fn python() -> Command {
    let mut command = Command::new(std::env::var("RUNPROOF_PYTHON").unwrap_or_else(|_| "python3".to_owned()));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifier").join(name)
}

/// Runs a script that ends with `N passed, 0 failed`.
fn check(command: &mut Command) {
    let output = command.output().expect("python3 is there: scripts/test installs it");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.trim_end().lines().last().unwrap_or_default();
    let passed: u32 = last.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && last.ends_with(" 0 failed") && passed > 0, "{text}\n{errors}");
}

#[test]
fn the_second_verifier_agrees_on_every_vector() {
    check(python().arg(script("vectors.py")));
}

#[test]
fn the_second_verifier_agrees_on_a_real_bundle_and_on_its_mutations() {
    let home = Home::initialised();
    let (bundle, key) = home.sealed_bundle();
    compare(bundle.to_str().unwrap(), &key, "150");
}

#[test]
fn the_second_verifier_agrees_on_a_run_with_steps_side_by_side_and_on_its_mutations() {
    let home = Home::initialised();
    let (code, run) = home.run_graph(&[]);
    assert_eq!(code, 0, "{run:#}");
    let bundle = home.path("graph.runproof");
    home.ok(&["proof", &text(&run["run_id"]), "--tenant-id", TENANT, "--bundle", &bundle]);
    compare(&bundle, &home.vkey(), "150");
}

/// Compares the two on a bundle and so many mutations of it.
fn compare(bundle: &str, key: &str, mutations: &str) {
    check(python().arg(script("compare.py")).args([bundle, key, env!("CARGO_BIN_EXE_runproof"), mutations]));
}
