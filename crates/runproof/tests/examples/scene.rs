//! Somebody who follows a page of `examples/`: a shell in a copy of the folder, and the examples' own server.
//!
//! The copy differs from the folder in one thing, the port.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{TENANT, ran, text};

/// The address that the pages and plans name.
const NAMED: &str = "127.0.0.1:8765";

/// How long anything may take that a page waits for.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").canonicalize().unwrap()
}

pub(super) struct Scene {
    pub(super) server: Server,
    shell: Shell,
    copy: TempDir,
    /// The runs that were asked for, in order.
    pub(super) runs: Vec<String>,
}

impl Scene {
    /// The setup of `examples/README.md` is done.
    pub(super) fn new() -> Self {
        let server = Server::start();
        let copy = TempDir::new().unwrap();
        copy_folder(&folder(), copy.path(), &server.address);
        let mut scene = Self { server, shell: Shell::start(copy.path()), copy, runs: Vec::new() };
        for line in commands(&scene.page("README.md")) {
            // The server is there already, at a port of its own.
            if !line.starts_with("python3 server.py") {
                scene.follow_line(&line);
            }
        }
        scene
    }

    pub(super) fn page(&self, name: &str) -> String {
        std::fs::read_to_string(self.copy.path().join(name)).unwrap()
    }

    /// Does what a page says, line by line, and answers what was printed.
    pub(super) fn follow(&mut self, name: &str) -> Vec<String> {
        let page = self.page(name);
        commands(&page).iter().map(|line| self.follow_line(line)).collect()
    }

    /// One line: `RUN_ID` is the newest run; a comment may say which POST to wait for, and with what the line exits.
    pub(super) fn follow_line(&mut self, line: &str) -> String {
        let line = line.replace("RUN_ID", self.runs.last().map_or("", String::as_str));
        if let Some((_, post)) = line.split_once("# at `") {
            self.server.wait_for(post.trim_end_matches('`'));
        }
        let killed = if line.starts_with("kill -9") { 128 + 9 } else { 0 };
        let expected = line.split_once("# exit ").map_or(killed, |(_, code)| code.parse().unwrap());
        let (code, printed) = self.shell.run(&line);
        assert_eq!(code, expected, "{line}\n{printed}");
        if let Some((_, run)) = printed.split_once("Run ID:  ").filter(|_| line.starts_with("runproof run ")) {
            self.runs.push(run.split(' ').next().unwrap().to_owned());
        }
        printed
    }

    /// What a command says as JSON.
    pub(super) fn ask(&mut self, command: &str) -> Value {
        let (_, printed) = self.shell.run(&format!("{command} --json 2>/dev/null"));
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{command}: {error}: {printed}"))
    }

    pub(super) fn run(&mut self, number: usize) -> Value {
        self.ask(&format!("runproof get-run {}", self.runs[number]))
    }

    /// Exports every run, and verifies it with the binary and the key in an empty directory with nothing else.
    pub(super) fn every_bundle_verifies_with_the_binary_and_the_key_alone(&mut self) {
        let key = text(&self.ask("runproof key show")["vkey"]);
        let listed = self.ask("runproof list-runs")["runs"].as_array().unwrap().len();
        assert_eq!(listed, self.runs.len(), "every run of the page is there, and no other");
        for run in self.runs.clone() {
            let elsewhere = TempDir::new().unwrap();
            let bundle = elsewhere.path().join("run.runproof");
            self.follow_line(&format!("runproof proof {run} --tenant-id {TENANT} --bundle {}", bundle.display()));
            let mut verify = Command::new(env!("CARGO_BIN_EXE_runproof"));
            verify.env_clear().current_dir(elsewhere.path());
            let report = ran(verify.args(["verify", "run.runproof", "--key", &key, "--json"]));
            assert_eq!((report.code, text(&report.json()["verdict"])), (0, "VERIFIED".to_owned()), "{report:?}");
        }
    }
}

/// The commands of a page: its indented lines that begin with a program, in order.
fn commands(page: &str) -> Vec<String> {
    let joined = page.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.strip_prefix("    "));
    let programs = ["runproof ", "python3 ", "cd ", "export ", "kill "];
    lines.filter(|line| programs.iter().any(|program| line.starts_with(program))).map(str::to_owned).collect()
}

fn copy_folder(from: &Path, to: &Path, address: &str) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_file() {
            let content = std::fs::read_to_string(entry.path()).unwrap();
            std::fs::write(target, content.replace(NAMED, address)).unwrap();
        } else if entry.file_name() != "__pycache__" {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target, address);
        }
    }
}

/// `examples/server.py`; killed when dropped, by its own id.
pub(super) struct Server {
    child: Child,
    printed: Receiver<String>,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.arg(folder().join("server.py")).arg("0").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let printed = lines(child.stdout.take().unwrap());
        let first = printed.recv_timeout(DEADLINE).unwrap();
        let address = first.strip_prefix("listening on ").unwrap_or_else(|| panic!("{first}")).to_owned();
        Self { child, printed, address }
    }

    /// Waits until the server prints a line that begins like this: it has received a POST, and not answered yet.
    fn wait_for(&self, post: &str) {
        loop {
            let line = self.printed.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("`{post}`: {error}"));
            if line.starts_with(post) {
                return;
            }
        }
    }

    pub(super) fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Every POST as it came in: `path`, `key`, `body`, and `again` if the key had come before.
    pub(super) fn received(&self) -> Vec<Value> {
        self.get("/received").as_array().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// `sh` in a process group of its own, so that what it started ends with it.
struct Shell {
    child: Child,
    input: ChildStdin,
    printed: Receiver<String>,
}

impl Shell {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RUNPROOF_") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        let binaries = Path::new(env!("CARGO_BIN_EXE_runproof")).parent().unwrap();
        let others = std::env::var("PATH").unwrap();
        let temporary = folder.join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        command.env("PATH", format!("{}:{others}", binaries.display())).env("TMPDIR", temporary);
        command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let printed = lines(child.stdout.take().unwrap());
        let mut shell = Self { child, input, printed };
        shell.run("exec 2>&1");
        shell
    }

    /// Exit code, and what was printed on both outputs.
    fn run(&mut self, line: &str) -> (i32, String) {
        writeln!(self.input, "{line}\nprintf '\\n== exit %s\\n' $?").unwrap();
        let mut printed = String::new();
        loop {
            let next = self.printed.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{line}: {error}\n{printed}"));
            if let Some(code) = next.strip_prefix("== exit ") {
                return (code.parse().unwrap(), printed);
            }
            printed.push_str(&next);
            printed.push('\n');
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        ran(Command::new("sh").args(["-c", &format!("kill -9 -{}", self.child.id())]));
        self.child.wait().unwrap();
    }
}

/// The lines of a stream as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The first fenced block of JSON of a page.
pub(super) fn shown_json(page: &str) -> Value {
    let (_, rest) = page.split_once("```json\n").unwrap();
    serde_json::from_str(rest.split_once("```").unwrap().0).unwrap()
}

/// Asserts that the table of steps that a page shows is that of this run, whatever the order and the time.
pub(super) fn assert_shown_steps(page: &str, run: &Value) {
    let row = |cells: [&dyn Debug; 5]| format!("{cells:?}");
    let rows = page.lines().skip_while(|line| !line.starts_with("    #  STEP")).skip(1);
    let mut shown: Vec<String> = rows
        .map_while(|line| line.strip_prefix("    "))
        .map(|line| {
            let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            row([&cells[1], &cells[2], &cells[3], &cells[4], &cells[5].parse::<u64>().unwrap()])
        })
        .collect();
    let steps = run["steps"].as_array().unwrap().iter();
    let mut got: Vec<String> = steps
        .map(|step| {
            let outcome = step["outcome_code"].as_str().or(step["outcome_category"].as_str()).unwrap();
            let retries = step["retry_count"].as_u64().unwrap();
            row([&text(&step["step_id"]), &text(&step["skill_name"]), &text(&step["status"]), &outcome, &retries])
        })
        .collect();
    shown.sort();
    got.sort();
    assert_eq!(shown, got);
}
