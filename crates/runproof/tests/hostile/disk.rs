//! A disk that is full, or that may not be written.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{calm, every_run_is_whole, refused};
use crate::support::{AGENT, Home, TENANT, ran, text};

/// Somebody who is not root, for whom modes of files count.
const NOBODY: u32 = 65_534;

const RUN: [&str; 7] = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", "say hello"];

/// The program in a process whose files cannot grow beyond this many blocks of the shell.
fn limited(home: &Home, blocks: u32, arguments: &[&str]) -> Command {
    let program = home.command(arguments);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -f {blocks}; exec \"$0\" \"$@\""));
    command.arg(program.get_program()).args(program.get_args()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).current_dir(home.folder());
    command
}

// Full ----------------------------------------------------------------------------------------------------------------

#[test]
fn files_that_cannot_grow_lose_no_run_that_was_reported_and_leave_none_in_pieces() {
    let home = Home::initialised();
    let (mut reported, mut refusals) = (Vec::new(), 0);
    for blocks in (0..=640).step_by(32) {
        let ran = calm(&mut limited(&home, blocks, &RUN));
        match ran.code {
            0 => reported.push(text(&ran.json()["run_id"])),
            8 => {
                let code = ran.error_code();
                assert!(["store.unavailable", "store.outcome_unknown"].contains(&code.as_str()), "{blocks}: {ran:?}");
                refusals += 1;
            }
            _ => panic!("{blocks} blocks: {ran:?}"),
        }
    }
    assert!(refusals > 2 && !reported.is_empty(), "the limits cut at several places: {refusals}, {}", reported.len());
    let runs = every_run_is_whole(&home);
    assert!(runs >= reported.len());
    for id in reported {
        assert_eq!(home.ok(&["get-run", &id])["status"], "succeeded");
    }
}

#[test]
fn an_init_that_finds_no_room_is_finished_by_the_next_one() {
    for blocks in [0, 1, 16, 64, 200] {
        let home = Home::empty();
        let ran = calm(&mut limited(&home, blocks, &["init"]));
        assert!(ran.code == 0 || ran.code == 8, "{blocks}: {ran:?}");
        if ran.code == 8 {
            let code = ran.error_code();
            assert!(["store.unavailable", "home.io"].contains(&code.as_str()), "{blocks}: {ran:?}");
        }
        home.ok(&["init"]);
        home.ok(&["create-tenant", "--id", TENANT]);
        home.ok(&["create-agent", "--name", AGENT, "--tenant-id", TENANT]);
        assert_eq!(home.run_goal("say hello", &[]).0, 0, "{blocks}");
        assert_eq!(every_run_is_whole(&home), 1);
    }
}

/// A file system of its own, with too little room. Mounting needs a namespace, which some containers deny: there the
/// file limits above are what shows it, and this test says so.
#[test]
fn a_full_file_system_loses_no_run_that_was_reported_and_leaves_none_in_pieces() {
    let home = Home::initialised();
    let (small, after) = (tempfile::tempdir().unwrap(), Home::empty());
    let script = r#"
        mount -t tmpfs -o size=400k none "$SMALL" || exit 77
        cp -a "$RUNPROOF_HOME"/. "$SMALL" && export RUNPROOF_HOME="$SMALL"
        for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            "$0" "$@" > "$AFTER/turn"; echo "$? $(tr -d '\n' < "$AFTER/turn")"
        done
        cp -a "$SMALL"/. "$AFTER""#;
    let program = home.command(&RUN);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script]).arg(program.get_program()).args(RUN).arg("--json");
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("SMALL", small.path()).env("AFTER", after.folder());
    let ran = ran(&mut command);
    if ran.code == 77 || ran.stderr.contains("unshare failed") {
        assert!(ran.stderr.contains("denied") || ran.stderr.contains("not permitted"), "{ran:?}");
        let said = format!("\nno file system can be mounted here, the file limits stand in: {}", ran.stderr);
        return std::io::stderr().write_all(said.as_bytes()).unwrap();
    }
    assert!(ran.code == 0 && !ran.stderr.contains("panicked"), "{ran:?}");
    let turns: Vec<(&str, &str)> = ran.stdout.lines().filter_map(|line| line.split_once(' ')).collect();
    let done = turns.iter().filter(|(code, _)| *code == "0").count();
    let full = turns.iter().filter(|(code, said)| *code == "8" && said.contains("full")).count();
    assert_eq!((turns.len(), done + turns.iter().filter(|(code, _)| *code == "8").count()), (20, 20), "{turns:#?}");
    assert!(full > 0, "the disk was full at some time: {turns:#?}");
    assert!(every_run_is_whole(&after) >= done);
}

#[test]
fn a_bundle_that_cannot_be_written_is_an_error_and_the_run_stays_proved() {
    let home = Home::initialised();
    let run = home.run_goal("say hello", &[]).1;
    let id = text(&run["run_id"]);
    let before = home.dump();
    let missing = home.path("no/such/folder/b.runproof");
    for path in ["/dev/full", home.folder().to_str().unwrap(), &missing, "/proc/b.runproof"] {
        for arguments in [&["proof", &id, "--tenant-id", TENANT, "--bundle", path][..], &["last", "--bundle", path]] {
            let error = refused(&mut home.command(arguments), 2, "file.unwritable");
            assert!(text(&error["message"]).contains(path), "it names the file: {error:#}");
        }
    }
    assert_eq!(home.dump(), before);
    assert_eq!(every_run_is_whole(&home), 1);
}

// Read-only -----------------------------------------------------------------------------------------------------------

/// A copy of the program where everybody may start it: the folder of the build may be for one user alone.
fn for_everybody() -> &'static Path {
    static COPY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = COPY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        mode(folder.path(), 0o755);
        let path = folder.path().join("runproof");
        std::fs::copy(env!("CARGO_BIN_EXE_runproof"), &path).unwrap();
        mode(&path, 0o755);
        (folder, path)
    });
    path
}

/// Gives everything in the home to somebody for whom modes count, and runs the program as that user.
fn as_somebody(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        let ours = command;
        command = Command::new(for_everybody());
        command.args(ours.get_args()).env_clear();
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).current_dir(home.folder());
        let files = std::fs::read_dir(home.folder()).unwrap().map(|entry| entry.unwrap().path());
        for path in files.chain([home.folder().to_owned()]) {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_read_only_folder_is_named_and_nothing_is_written_or_lost() {
    let home = Home::initialised();
    home.run_goal("say hello", &[]);
    let (before, names) = (home.dump(), names(home.folder()));
    mode(home.folder(), 0o555);
    for arguments in
        [&RUN[..], &["worker", "--drain"], &["create-tenant", "--id", "zen"], &["cancel", "some-run"], &["migrate"]]
    {
        let error = refused(&mut as_somebody(&home, arguments), 8, "store.unavailable");
        assert!(text(&error["message"]).contains("runproof.db"), "{arguments:?}: it names the file: {error:#}");
    }
    assert_eq!(self::names(home.folder()), names);
    mode(home.folder(), 0o755);
    assert_eq!(home.dump(), before);
    assert_eq!(calm(&mut as_somebody(&home, &RUN)).code, 0, "it works again");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

#[test]
fn an_init_where_nothing_may_be_made_makes_nothing() {
    let home = Home::empty();
    mode(home.folder(), 0o555);
    let below = home.path("below");
    let database = format!("sqlite://{}", home.path("deep/runproof.db"));
    for (name, value, code) in
        [("RUNPROOF_HOME", below.as_str(), "home.io"), ("RUNPROOF_HOME", "/proc/runproof", "home.io")]
    {
        let mut command = as_somebody(&home, &["init"]);
        refused(command.env(name, value), 8, code);
    }
    assert!(names(home.folder()).is_empty());
    mode(home.folder(), 0o755);
    let other = tempfile::tempdir().unwrap();
    mode(other.path(), 0o777);
    mode(home.folder(), 0o555);
    let mut command = as_somebody(&home, &["init"]);
    command.env("RUNPROOF_HOME", other.path().join("home")).env("DATABASE_URL", database);
    refused(&mut command, 8, "store.unavailable");
    assert!(names(home.folder()).is_empty());
    mode(home.folder(), 0o755);
}

#[test]
fn a_key_that_may_not_be_read_is_named_and_not_replaced() {
    let home = Home::initialised();
    let key = home.folder().join("log.key");
    let (before, text_before) = (home.dump(), std::fs::read(&key).unwrap());
    mode(&key, 0o000);
    for arguments in [&RUN[..], &["key", "show"], &["init"], &["worker", "--drain"]] {
        let error = refused(&mut as_somebody(&home, arguments), 8, "home.io");
        assert!(text(&error["message"]).contains("log.key"), "{error:#}");
        assert_ne!(error["hint"], "runproof init", "there is a key");
    }
    mode(&key, 0o600);
    assert_eq!((home.dump(), std::fs::read(&key).unwrap()), (before, text_before));
}
