//! `chaos`: proves on this machine that nothing is lost when processes, connections and servers die.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::chaos::dice::Dice;
use crate::chaos::failed;
use crate::chaos::report::Report;
use crate::chaos::trial::{Options, Pooler, StoreChoice, carry_out, make_folder};
use crate::error::{AppError, Code};
use crate::output::{Output, json};
use crate::runtime;
use crate::worker::stop::Stops;

/// Kills workers, cuts connections and crashes servers of its own while runs go on, and proves that nothing is lost and
/// nothing unsafe repeated. Touches nothing but its own folder and the database that it is given.
#[derive(Args)]
pub(super) struct Chaos {
    /// Which plans and faults; the same number gives the same ones, at times that the machine shifts a little (default: a
    /// random one)
    #[arg(long)]
    seed: Option<u64>,
    /// How many runs
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    runs: u32,
    /// Worker processes; the embedded store has one
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    workers: u32,
    /// Most runs of a worker at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    concurrency: u32,
    /// How long runs are opened and faults injected, in seconds; the runs end after that
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// Which store
    #[arg(long, value_enum, default_value_t = Kind::Postgres)]
    store: Kind,
    /// An empty Postgres database to use instead of one that it starts itself; then no server is crashed
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Folder with `initdb` and `postgres` (default: the PATH, and /usr/lib/postgresql)
    #[arg(long, value_name = "DIR", conflicts_with = "database_url")]
    pg_bin: Option<PathBuf>,
    /// Whether PgBouncer stands between the workers and its own Postgres
    #[arg(long, value_enum, default_value_t = Pooler::Auto, conflicts_with = "database_url")]
    pooler: Pooler,
    /// New folder in which home, logs, servers and report stay (default: a temporary one, which stays if a promise was
    /// broken)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Postgres
    Postgres,
    /// The embedded store: one worker, and only `kill -9`
    Sqlite,
}

impl Chaos {
    pub(super) async fn run(self, output: Output) -> Result<u8, AppError> {
        let store = match (self.store, self.database_url) {
            (Kind::Sqlite, None) => StoreChoice::Sqlite,
            (Kind::Sqlite, Some(_)) => {
                return Err(failed("--database-url names a Postgres database, and --store sqlite none"));
            }
            (Kind::Postgres, Some(url)) => StoreChoice::Given(url),
            (Kind::Postgres, None) => StoreChoice::Own(self.pg_bin),
        };
        let name = format!("runproof-chaos-{}", runtime::new_id());
        let folder = self.keep.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
        make_folder(&folder)?;
        let folder = folder.canonicalize().map_err(|error| failed(format!("`{}`: {error}", folder.display())))?;
        let program = std::env::current_exe().map_err(|error| failed(format!("cannot find this program: {error}")))?;
        let options = Options {
            seed: self.seed.unwrap_or_else(|| Dice::new(runtime::now()).below(1_000_000)),
            runs: self.runs,
            workers: self.workers,
            concurrency: self.concurrency,
            lasts: Duration::from_secs(self.seconds),
            store,
            pooler: self.pooler,
            program,
            folder: folder.clone(),
        };
        let mut stops = Stops::new();
        // What is dropped ends its processes: none of them outlives the trial.
        let ended = tokio::select! {
            ended = carry_out(&options, output) => ended,
            () = stops.wanted() => Err(AppError::new(Code::ChaosInterrupted, "interrupted; nothing is said about promises")
                .hint("the same --seed begins the same trial again")),
        };
        finish(&folder, self.keep.is_some(), ended, output)
    }
}

/// Prints the report; removes the folder if nobody needs it.
fn finish(folder: &Path, keep: bool, ended: Result<Report, AppError>, output: Output) -> Result<u8, AppError> {
    let report = ended.inspect_err(|_| output.note(&format!("what is left is in {}", folder.display())))?;
    let value = report.to_json();
    if keep || !report.is_clean() {
        let path = folder.join("report.json");
        std::fs::write(&path, json(&value))
            .map_err(|error| failed(format!("cannot write `{}`: {error}", path.display())))?;
        output.note(&format!("home, logs, database and report.json are in {}", folder.display()));
    } else if let Err(error) = std::fs::remove_dir_all(folder) {
        output.note(&format!("`{}` could not be removed: {error}", folder.display()));
    }
    output.print(&value, || report.to_text());
    Ok(u8::from(!report.is_clean()))
}
