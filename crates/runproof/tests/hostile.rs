//! Hostile conditions, with the real binary: what it says, and that nothing is written, lost or taken down with it.
//!
//! What is shown where, so that nothing is shown twice:
//!
//! | condition | test |
//! |---|---|
//! | full disk, file limit, `/dev/full`, read-only folder, files of somebody else | `hostile/disk.rs` |
//! | the disk fills up inside a transaction | `runproof-store/tests/disk/batch.rs` |
//! | a head that cannot be kept | `runproof-store/tests/disk/engine.rs` |
//! | what is no database, or may not be written, as the store says it | `runproof-store/tests/sqlite/open.rs` |
//! | second engine on the file | `cli.rs`, `a_second_process_works_through_the_one_that_is_the_engine`; `runproof-store/tests/sqlite/open.rs` |
//! | killed at any moment | `crash.rs`, `runproof-store/tests/crash.rs` |
//! | clock that jumps back | `hostile/surroundings.rs`; the decision: `runproof-engine/tests/scenarios.rs`, `times_never_go_back_in_the_record` |
//! | home, key, trust file, checkpoint, database, variables, requests that are damaged or missing | `hostile/surroundings.rs` |
//! | database put back to an older state | `tamper/whole.rs` |
//! | plan of 4 MiB and more, depth 5,000, duplicate members, fraction, U+0000 in a value, not UTF-8 | `refusals.rs`, `plans_that_are_no_json_or_beyond_the_limits_are_refused` |
//! | numbers that JSON does not have, marks, half characters; a name with U+0000; arguments that are not UTF-8 | `hostile/values.rs` |
//! | answers: 10 MB, depth 1,000, not UTF-8, U+0000, `NaN`, `1e999`, duplicate members | `hostile/values.rs`; by status and method: `runproof-skills/tests/http_bodies.rs` |
//! | parameters and outputs that cannot be recorded | `runproof-engine/tests/scenarios.rs` |
//! | bundle with a changed, deleted or doubled byte, with lines swapped | `tamper/bundle.rs`, `runproof-proof/tests/main/mutation.rs` |
//! | bundle that is cut, endless, deep, a folder, compressed; hostile trust file, key and head | `hostile/files.rs` |
//! | Postgres down, frozen, read only, full, out of connections, slow, unprotected, another schema, another role | `postgres/hostile.rs`, `postgres/migrate.rs`, `postgres/roles.rs` |
//! | text that drives the terminal | `cli.rs`, `what_people_wrote_cannot_drive_the_terminal` |

mod disk;
mod files;
mod surroundings;
mod values;

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Home, Ran, TENANT, ran, text};

/// Runs a command that has to fail with this exit code and error code, and say what to do.
fn refused(command: &mut Command, code: i32, error: &str) -> Value {
    let ran = calm(command);
    let said = if ran.stdout.starts_with('{') { ran.json()["error"]["code"].clone() } else { Value::Null };
    assert_eq!((ran.code, said), (code, json!(error)), "{command:?}: {ran:?}");
    let object = ran.json()["error"].clone();
    assert!(object["hint"].is_string() || object["findings"].is_array(), "{command:?}: it says what to do: {object:#}");
    object
}

/// Runs a command with `--json`; it may fail, and must not panic.
fn calm(command: &mut Command) -> Ran {
    let ran = ran(command.arg("--json"));
    assert!(!ran.stderr.contains("panicked") && ran.code >= 0 && ran.code != 101, "{command:?}: {ran:?}");
    ran
}

/// Every run of the home ends, and is proved; answers how many there are.
fn every_run_is_whole(home: &Home) -> usize {
    home.ok(&["worker", "--drain"]);
    let runs = home.ok(&["list-runs", "--limit", "1000"])["runs"].as_array().unwrap().clone();
    for run in &runs {
        let (code, proof) = home.run_json(&["proof", &text(&run["run_id"]), "--tenant-id", TENANT]);
        assert_eq!((code, &proof["verdict"]), (0, &json!("VERIFIED")), "{run:#}\n{:#}", proof["findings"]);
    }
    runs.len()
}
