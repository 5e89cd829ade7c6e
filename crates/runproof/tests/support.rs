//! What the tests of the program share: a home of its own for every test, the real binary, a loopback receiver, and the
//! database as somebody sees it who may write to the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runproof_engine::replay;
use runproof_proof::bundle::Bundle;
use runproof_proof::report::Report;
use runproof_proof::trust::Trust;
use runproof_proof::verify;
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{self, Database};

pub(crate) const TENANT: &str = "acme";
pub(crate) const AGENT: &str = "scout";

/// How long a test waits for another process before it says that nothing happened.
const DEADLINE: Duration = Duration::from_secs(30);

/// A store, and the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leg {
    /// The embedded store.
    Sqlite,
    /// Postgres itself.
    Postgres,
    /// Postgres through PgBouncer in transaction mode.
    Pooled,
}

/// One `RUNPROOF_HOME`, with the environment of the programs that are started in it.
pub(crate) struct Home {
    folder: TempDir,
    variables: BTreeMap<String, String>,
    /// Where the store is on Postgres.
    pub(crate) postgres: Option<Database>,
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {self:?}"))
    }

    /// The stable code of the error that was printed as JSON.
    pub(crate) fn error_code(&self) -> String {
        text(&self.json()["error"]["code"])
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

impl Home {
    /// A folder in which nothing was made yet.
    pub(crate) fn empty() -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in
            [("RUNPROOF_EGRESS_ALLOW", "127.0.0.1"), ("RUNPROOF_TEST_SKILLS", "true"), ("USER", "tester")]
        {
            variables.insert(name.to_owned(), value.to_owned());
        }
        Self { folder: TempDir::new().unwrap(), variables, postgres: None }
    }

    /// A home with one tenant and one agent, on this store.
    pub(crate) fn on(leg: Leg) -> Self {
        if leg == Leg::Sqlite {
            return Self::initialised();
        }
        let database = cluster::fresh_database();
        let url = if leg == Leg::Postgres { database.direct_url() } else { database.pooled_url() };
        let gate = [("DATABASE_URL", url.as_str()), ("DB_ROLE", "staging"), ("DB_AUTHORITY", "local")];
        let mut home = gate.iter().fold(Self::empty(), |home, (name, value)| home.with(name, value));
        home.postgres = Some(database);
        home.ok(&["migrate"]);
        home.populate();
        home
    }

    fn populate(&self) {
        self.ok(&["init"]);
        self.ok(&["create-tenant", "--id", TENANT]);
        self.ok(&["create-agent", "--name", AGENT, "--tenant-id", TENANT]);
    }

    /// A home with one tenant and one agent.
    pub(crate) fn initialised() -> Self {
        let home = Self::empty();
        home.populate();
        home
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder().join("runproof.db")
    }

    pub(crate) fn open(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    /// The program with a clean environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runproof"));
        command.env_clear().env("RUNPROOF_HOME", self.folder()).envs(&self.variables);
        command.args(arguments).stdin(Stdio::null()).current_dir(self.folder());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments))
    }

    /// Runs with `--json`.
    pub(crate) fn run_json(&self, arguments: &[&str]) -> (i32, Value) {
        let ran = self.run(&[arguments, &["--json"]].concat());
        (ran.code, ran.json())
    }

    /// Runs, and expects exit code 0.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Value {
        let (code, value) = self.run_json(arguments);
        assert_eq!(code, 0, "{arguments:?}: {value:#}");
        value
    }

    /// Writes a plan file of these steps and returns its path.
    pub(crate) fn plan(&self, steps: Value) -> String {
        self.file("plan.json", &json!({ "schema": "runproof.plan/v1", "steps": steps }).to_string())
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs a plan of the standard tenant to wherever it gets, and returns exit code and object.
    pub(crate) fn run_plan(&self, steps: Value, more: &[&str]) -> (i32, Value) {
        let plan = self.plan(steps);
        let arguments = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan];
        self.run_json(&[&arguments[..], more].concat())
    }

    /// Runs [`graph_plan`] and returns exit code and object.
    pub(crate) fn run_graph(&self, more: &[&str]) -> (i32, Value) {
        let plan = self.file("graph.json", &graph_plan().to_string());
        let arguments = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--plan", &plan, "--input", "word=lamp"];
        self.run_json(&[&arguments[..], more].concat())
    }

    pub(crate) fn run_goal(&self, goal: &str, more: &[&str]) -> (i32, Value) {
        let arguments = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", goal];
        self.run_json(&[&arguments[..], more].concat())
    }

    pub(crate) fn proof(&self, run: &Value) -> (i32, Value) {
        self.run_json(&["proof", &text(&run["run_id"]), "--tenant-id", &text(&run["tenant_id"])])
    }

    /// The home as the library sees it.
    pub(crate) fn home(&self) -> runproof::home::Home {
        runproof::home::Home::at(self.folder().to_owned())
    }

    /// Runs a plan with a retry, a fallback and every kind of value, and exports it. Answers the file and the key.
    pub(crate) fn sealed_bundle(&self) -> (PathBuf, String) {
        let (code, run) = self.run_plan(sample_steps(), &[]);
        assert_eq!(code, 0, "{run:#}");
        let path = self.folder().join("sample.runproof");
        self.ok(&["proof", &text(&run["run_id"]), "--tenant-id", TENANT, "--bundle", path.to_str().unwrap()]);
        (path, self.vkey())
    }

    pub(crate) fn vkey(&self) -> String {
        text(&self.ok(&["key", "show"])["vkey"])
    }

    /// Starts a worker that goes on until it is dropped.
    pub(crate) fn worker(&self) -> Worker {
        let mut child = self.command(&["worker"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("working on"), "the worker did not start: {line}");
        Worker { child }
    }

    /// What the program of the distribution makes of this SQL: `sqlite3`, or `psql` as the owner of the database.
    pub(crate) fn client(&self, sql: &str) -> Ran {
        let Some(database) = &self.postgres else { return self.sqlite3(sql) };
        let mut command = Command::new("psql");
        command.args(["-X", "-At", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]).arg(database.direct_url());
        ran(command.stdin(Stdio::null()))
    }

    /// Where the store is, as the program names it.
    pub(crate) fn place(&self) -> String {
        match self.postgres {
            None => self.database().display().to_string(),
            Some(_) => self.variables["DATABASE_URL"].clone(),
        }
    }

    /// How the store's program prints what is true.
    pub(crate) fn yes(&self) -> &'static str {
        if self.postgres.is_some() { "t" } else { "1" }
    }

    /// What `sqlite3`, the program of the distribution, makes of this SQL.
    pub(crate) fn sqlite3(&self, sql: &str) -> Ran {
        let mut command = Command::new("sqlite3");
        command.args(["-batch", "-bail"]).arg(self.database()).arg(sql).stdin(Stdio::null());
        ran(&mut command)
    }

    /// Rows as [`Self::client`] prints them; fails when it refuses.
    pub(crate) fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        let ran = self.client(sql);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{sql}");
        ran.stdout.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }

    /// Every row of every table, in order: equal before and after means that nothing was written.
    pub(crate) fn dump(&self) -> String {
        if self.postgres.is_none() {
            return dump(&self.open());
        }
        let tables = self.sql("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public' ORDER BY 1");
        let rows = |table: &String| self.client(&format!("SELECT t::text FROM public.{table} AS t ORDER BY 1")).stdout;
        tables.iter().map(|table| format!("{}\n{}", table[0], rows(&table[0]))).collect()
    }
}

/// Steps with a retry, a failure that is let pass, a fallback and a reference; nothing outside the process is touched.
pub(crate) fn sample_steps() -> Value {
    let retry = json!({ "max_attempts": 2, "initial_delay_ms": 1, "max_delay_ms": 1 });
    json!([
        { "id": "flaky", "skill": "__fail_trigger__", "retry": retry,
          "with": { "error_code": "SKILL_ERROR", "fail_attempts": 1, "effect": "read" } },
        { "id": "optional", "skill": "__fail_trigger__", "on_error": "continue",
          "with": { "error_code": "STEP_FAILURE", "error_message": "no, thank you", "effect": "read" } },
        { "id": "main", "skill": "no_such_skill", "on_error": "fallback",
          "fallback": { "skill": "json_transform", "with": { "payload": { "a": { "b": [1, 2] } }, "mapping": { "x": "a.b[1]" } } } },
        { "id": "sum", "skill": "json_transform",
          "with": { "payload": { "n": "{{ steps.flaky.output.attempt }}", "x": "{{ steps.main.output }}" }, "mapping": { "n": "n", "x": "x.x" } } },
    ])
}

/// Steps side by side: inputs, a list with a fallback for one element, a list of which one element fails, a step that is
/// skipped, values stored for later runs, and a join. Nothing outside the process is touched.
pub(crate) fn graph_plan() -> Value {
    let kv =
        |id: &str, needs: Value, with: Value| json!({ "id": id, "skill": "kv_store", "needs": needs, "with": with });
    let pick = |path: &str| json!({ "payload": "{{ item }}", "mapping": { "n": path } });
    json!({
        "schema": "runproof.plan/v1",
        "name": "side by side",
        "max_parallel": 3,
        "inputs": { "list": { "type": "list", "default": [{ "n": 1 }, { "m": 2 }] }, "word": { "type": "text" } },
        "steps": [
            kv("set", json!([]), json!({ "operation": "set", "key": "word", "value": "{{ inputs.word }}" })),
            kv("count", json!([]), json!({ "operation": "incr", "key": "runs" })),
            { "id": "never", "needs": ["count"], "when": "steps.count.output.value < 0", "skill": "no_such_skill" },
            { "id": "each", "needs": [], "foreach": { "items": "{{ inputs.list }}", "concurrency": 2 },
              "skill": "json_transform", "with": pick("n"),
              "on_error": "fallback", "fallback": { "skill": "json_transform", "with": pick("m") } },
            { "id": "some", "needs": [], "foreach": [0, 1], "on_error": "continue", "skill": "__fail_trigger__",
              "with": { "error_code": "STEP_FAILURE", "effect": "read", "fail_attempts": "{{ item }}" } },
            kv("get", json!(["set"]), json!({ "operation": "get", "key": "word" })),
            { "id": "join", "needs": ["never", "each", "some", "get"], "skill": "json_transform",
              "with": { "payload": { "numbers": "{{ steps.each.output.map(x, x.n) }}", "word": "{{ steps.get.output.value }}",
                                     "never": "{{ steps.never.status }}", "some": "{{ steps.some.status }}" },
                        "mapping": { "numbers": "numbers", "word": "word", "never": "never", "some": "some" } } },
        ],
    })
}

/// Runs a program to its end.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let output =
        command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error} (scripts/test installs it)"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub(crate) fn tables(connection: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

fn dump(connection: &Connection) -> String {
    let mut out = String::new();
    for table in tables(connection) {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let width = statement.column_count();
        let rows = statement
            .query_map([], |row| (0..width).map(|index| row.get::<_, Cell>(index)).collect::<Result<Vec<_>, _>>())
            .unwrap();
        let mut lines: Vec<String> = rows.map(|row| format!("{:?}", row.unwrap())).collect();
        lines.sort();
        writeln!(out, "{table} {}\n{}", lines.len(), lines.join("\n")).unwrap();
    }
    out
}

/// A worker process; killed when dropped, by its own id.
pub(crate) struct Worker {
    child: Child,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Asks again until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5)); // another process is at work; there is no signal to wait for
    }
}

/// An address at which nobody listens.
pub(crate) fn dead_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What the receiver answers.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string(),
        }
    }
}

/// A receiver on loopback that remembers what reached it.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Receiver {
    /// `answer` gets the request and how many came to the same path before; `None` closes the connection unanswered.
    pub(crate) fn start(answer: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &kept, answer.as_ref()));
            }
        });
        Self { address, seen }
    }

    /// `/fail/N…` answers 503 to the first N requests, `/status/N` answers N, `/lost` takes the request and hangs up,
    /// `/echo` sends back what it got, anything else is 200 with `{"n": requests to this path, "id": "r-1"}`.
    pub(crate) fn standard() -> Self {
        Self::start(|seen, before| {
            let mut parts = seen.path.split(['/', '?']).skip(1);
            let (word, number) =
                (parts.next().unwrap_or_default(), parts.next().and_then(|part| part.parse::<usize>().ok()));
            match (word, number) {
                ("fail", Some(first)) if before < first => Some(Answer::json(503, &json!({ "error": "busy" }))),
                ("status", Some(status)) => {
                    Some(Answer::json(u16::try_from(status).unwrap(), &json!({ "status": status })))
                }
                ("lost", _) => None,
                ("echo", _) => Some(Answer::json(200, &json!({ "body": seen.body, "headers": seen.headers }))),
                _ => Some(Answer::json(200, &json!({ "n": before + 1, "id": "r-1" }))),
            }
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests came to a path: the effects as the world counts them.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path == path).count()
    }
}

fn serve(
    stream: TcpStream,
    kept: &Mutex<Vec<Seen>>,
    answer: &(dyn Fn(&Seen, usize) -> Option<Answer> + Send + Sync),
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let seen = Seen { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() };
    let before = {
        let mut all = kept.lock().ok()?;
        let before = all.iter().filter(|earlier| earlier.path == seen.path).count();
        all.push(seen.clone());
        before
    };
    let Answer { status, headers, body } = answer(&seen, before)?;
    let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").ok()?;
    }
    write!(text, "\r\n{body}").ok()?;
    reader.get_mut().write_all(text.as_bytes()).ok()
}

/// Judges the bytes of a bundle as `verify` does.
pub(crate) fn judge(bytes: &[u8], trust: &Trust) -> Report {
    match Bundle::parse(bytes) {
        Ok(bundle) => {
            let mut report = verify::examine(&bundle, trust);
            replay::check(&bundle, &mut report);
            report
        }
        Err(_) => verify::verify(bytes, trust),
    }
}

/// A runtime for one test.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
