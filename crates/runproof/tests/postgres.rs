//! The program on Postgres, directly and through PgBouncer, as its users meet it. Needs both (CONTRIBUTING, "Postgres").

mod hostile;
mod init;
mod migrate;
mod roles;
mod rollback;
mod runs;

use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tokio_postgres::SimpleQueryMessage;

use crate::cluster::{self, Database, Own, fresh_database};
use crate::support::{AGENT, Home, Ran, TENANT, runtime};

/// In every URL that a program gets here. No server asks for it, and no program may show it.
const PASSWORD: &str = "pa55-w0rd-of-nobody";

const GOAL: &str = "Run proof v4 validation run";

/// How a program reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Pooled,
}

const WAYS: [Way; 2] = [Way::Direct, Way::Pooled];

/// Where a scene plays: in a database of the shared server, or on a server of its own.
enum Place {
    Shared(Database),
    Own(Own),
}

/// A home whose programs work on a Postgres database.
struct Scene {
    home: Home,
    place: Place,
    url: String,
}

/// A URL with the password in it.
fn with_password(url: &str, role: &str) -> String {
    url.replacen("://runproof@", &format!("://{role}:{PASSWORD}@"), 1)
}

impl Scene {
    /// An empty database, and a home in which nothing was made.
    fn empty(way: Way) -> Self {
        let database = fresh_database();
        let url = if way == Way::Direct { database.direct_url() } else { database.pooled_url() };
        Self::over(Place::Shared(database), &url)
    }

    /// The same on a server of its own, with these options of `scripts/postgres start`.
    fn own(way: Way, options: &[&str]) -> Self {
        let own = Own::start(options);
        let url = if way == Way::Direct { own.direct_url("runproof") } else { own.pooled_url("runproof") };
        Self::over(Place::Own(own), &url)
    }

    fn over(place: Place, url: &str) -> Self {
        let url = with_password(url, "runproof");
        let home = Home::empty().with("DATABASE_URL", &url).with("USE_POSTGRES_TRACES", "true");
        Self { home, place, url }
    }

    /// With schema, ledger, one tenant and one agent.
    fn initialised(self) -> Self {
        self.ok(&mut self.migrating(&[]));
        self.ok(&mut self.home.command(&["init"]));
        self.ok(&mut self.home.command(&["create-tenant", "--id", TENANT]));
        self.ok(&mut self.home.command(&["create-agent", "--name", AGENT, "--tenant-id", TENANT]));
        self
    }

    /// Where a superuser goes past the program.
    fn raw_url(&self) -> String {
        match &self.place {
            Place::Shared(database) => database.direct_url(),
            Place::Own(own) => own.direct_url("runproof"),
        }
    }

    fn server(&self) -> &Own {
        match &self.place {
            Place::Own(own) => own,
            Place::Shared(_) => panic!("this scene shares its server"),
        }
    }

    /// `migrate`, with the gate open.
    fn migrating(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(&[&["migrate"], arguments].concat());
        command.env("DB_ROLE", "staging").env("DB_AUTHORITY", "local");
        command
    }

    /// A command under the URL of another role.
    fn as_role(&self, role: &str, arguments: &[&str]) -> Command {
        let mut command = self.home.command(arguments);
        command.env("DATABASE_URL", self.url.replacen("://runproof:", &format!("://{role}:"), 1));
        command
    }

    fn run_command(&self, more: &[&str]) -> Command {
        let command = ["run", "--agent-id", AGENT, "--goal", GOAL, "--tenant-id", TENANT];
        self.home.command(&[&command[..], more].concat())
    }

    /// Runs a program with `--json`. Whatever it says, the password is not in it.
    fn ran(&self, command: &mut Command) -> Ran {
        ran(command.arg("--json"))
    }

    fn ok(&self, command: &mut Command) -> Value {
        let ran = self.ran(command);
        assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
        ran.json()
    }

    /// Runs a program that has to fail with this exit code and error code, and say what to do. Answers its message.
    fn refused(&self, command: &mut Command, code: i32, error: &str) -> String {
        let ran = self.ran(command);
        let said = ran.json()["error"].clone();
        assert_eq!((ran.code, said["code"].as_str()), (code, Some(error)), "{command:?}: {said:#}");
        assert!(said["hint"].is_string(), "{command:?}: it says what to do: {said:#}");
        said["message"].as_str().unwrap().to_owned()
    }

    /// Rows of a statement, as text, past the program.
    fn sql(&self, statement: &str) -> Vec<Vec<String>> {
        sql(&self.raw_url(), statement)
    }

    fn number(&self, statement: &str) -> u64 {
        self.sql(statement)[0][0].parse().unwrap()
    }

    /// Every row of every table that a run writes, counted.
    fn rows(&self) -> Vec<u64> {
        ["transitions", "runs", "aos_traces", "run_queue", "tenants", "agents"]
            .map(|table| self.number(&format!("SELECT count(*) FROM public.{table}")))
            .to_vec()
    }

    /// Every run ends, and is proved; so is the whole ledger. Answers how many runs there are.
    fn every_run_is_whole(&self) -> usize {
        self.ok(&mut self.home.command(&["worker", "--drain"]));
        let runs =
            self.ok(&mut self.home.command(&["list-runs", "--limit", "1000"]))["runs"].as_array().unwrap().clone();
        for run in &runs {
            let id = run["run_id"].as_str().unwrap();
            let proof = self.ok(&mut self.home.command(&["proof", id, "--tenant-id", TENANT]));
            assert_eq!(proof["verdict"], "VERIFIED", "{run:#}");
        }
        assert_eq!(self.ok(&mut self.home.command(&["log", "verify"]))["verdict"], "VERIFIED");
        runs.len()
    }
}

/// Runs a program. Whatever it says, the password is not in it.
fn ran(command: &mut Command) -> Ran {
    let ran = crate::support::ran(command);
    assert!(!format!("{ran:?}").contains(PASSWORD), "{command:?} shows a password: {ran:?}");
    assert!(!ran.stderr.contains("panicked") && ran.code != 101, "{command:?}: {ran:?}");
    ran
}

/// Starts a program that goes on by itself.
fn started(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a program did that was started before.
fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let ran =
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!format!("{ran:?}").contains(PASSWORD), "a password is shown: {ran:?}");
    ran
}

/// Rows of a statement as text, from whoever serves this URL.
fn sql(url: &str, statement: &str) -> Vec<Vec<String>> {
    asked(url, statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
}

fn asked(url: &str, statement: &str) -> Result<Vec<Vec<String>>, String> {
    runtime().block_on(async {
        let said = |error: tokio_postgres::Error| {
            error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
        };
        let messages = cluster::connect(url).await.map_err(said)?.simple_query(statement).await.map_err(said)?;
        let row = |message| {
            let SimpleQueryMessage::Row(row) = message else { return None };
            Some((0..row.len()).map(|column| row.get(column).unwrap_or("NULL").to_owned()).collect())
        };
        Ok(messages.into_iter().filter_map(row).collect())
    })
}
