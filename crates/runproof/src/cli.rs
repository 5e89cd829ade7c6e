//! The command line: one file for each command, one match here.

mod admin;
mod chaos;
mod demo;
mod explain;
mod init;
mod inputs;
mod legacy;
mod limit;
mod list;
mod log;
mod migrate;
mod plan;
mod proof;
mod retention;
mod run;
mod skills;
mod steer;
mod verify;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::app::App;
use crate::engine::{ANSWER_TIMEOUT, Command, Done, Engine, POLL, decode, encode};
use crate::error::{AppError, Code};
use crate::output::Output;

/// Runs AI-agent plans durably, and gives anyone a proof of the run that they can check offline.
#[derive(Parser)]
#[command(name = "runproof", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
    #[command(flatten)]
    globals: Globals,
}

const AFTER_HELP: &str = "\
First minute:  runproof demo
First run:     runproof init
               runproof create-tenant --id acme
               runproof create-agent --name scout --tenant-id acme
               runproof run --tenant-id acme --agent-id scout --goal 'say hello'
               runproof last

Environment:   RUNPROOF_HOME          keys and the default database (default ~/.runproof)
               DATABASE_URL           sqlite://PATH or postgres://USER@HOST/DATABASE (default: RUNPROOF_HOME/runproof.db)
               RUNPROOF_EGRESS_ALLOW  private hosts, host:port or CIDR that http_call may reach
               RUNPROOF_SECRET_NAME   value of secret://NAME in plans
               RUNPROOF_TRUST         trust file for verify

Exit codes:    0 succeeded or VERIFIED, 1 internal, 2 usage, 3 failed, 4 halted, 5 waiting, 6 cancelled,
               7 refused (nothing was written), 8 store not available; proof, verify and log: 10-13, 20-23, 30, 31";

#[derive(Args, Clone, Copy)]
struct Globals {
    /// Print one JSON object on stdout
    #[arg(long, global = true)]
    json: bool,
    /// Say more on stderr
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Make the home, the log key and the database
    Init(init::Init),
    /// Bring the database to the schema of this version
    Migrate(migrate::Migrate),
    /// Create a tenant
    CreateTenant(admin::CreateTenant),
    /// Create an agent
    CreateAgent(admin::CreateAgent),
    /// List agents
    ListAgents(list::ListAgents),
    /// List the skills that plans can use
    ListSkills(skills::ListSkills),
    /// Judge a plan without running it
    #[command(subcommand)]
    Plan(plan::Plan),
    /// Run a goal or a plan, and wait for the end
    Run(run::Run),
    /// Work on queued runs until stopped
    Worker(worker::Worker),
    /// List the workers of a shared database
    ListWorkers(worker::ListWorkers),
    /// Show the limits on runs that are going at once
    Limits(limit::Limits),
    /// Set the most runs of a tenant or an agent that are going at once
    SetLimit(limit::SetLimit),
    /// Show one run
    GetRun(list::GetRun),
    /// List runs, newest first
    ListRuns(list::ListRuns),
    /// Cancel a run
    Cancel(steer::Cancel),
    /// Let a run begin nothing more until it is resumed
    Pause(steer::Pause),
    /// Let a paused run go on
    Resume(steer::Resume),
    /// Say whether an attempt of unknown outcome took effect
    Resolve(steer::Resolve),
    /// Check a run in the database against its evidence, and export its bundle
    Proof(proof::Proof),
    /// Move closed runs into their archives
    Archive(retention::Archive),
    /// Put tombstones in place of archives
    Purge(retention::Purge),
    /// Put a legal hold on a run: nothing of it is removed
    Hold(retention::Hold),
    /// Release the legal hold on a run
    ReleaseHold(retention::ReleaseHold),
    /// List the legal holds of a tenant
    Holds(retention::Holds),
    /// Check a proof bundle offline, with a key that you got elsewhere
    Verify(verify::Verify),
    /// Export and verify the newest run, and say how somebody else can
    Last(proof::Last),
    /// Show the log's key
    #[command(subcommand)]
    Key(log::Key),
    /// Look at the ledger
    #[command(subcommand)]
    Log(log::Log),
    /// Compute the first system's digest of the runs in a file
    LegacyRoot(legacy::LegacyRoot),
    /// See a run, its proof, and tampering found, in one minute and without network
    Demo(demo::Demo),
    /// Prove on this machine that nothing is lost when processes, connections and servers die
    Chaos(chaos::Chaos),
    /// Say what a code or a verdict means and what to do about it
    Explain(explain::Explain),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return no_command(&error),
    };
    let output = Output { json: cli.globals.json, verbose: cli.globals.verbose };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(async {
                refuse_to_die_of_file_limits();
                dispatch(cli.command, output).await
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        }
        Err(error) => Err(AppError::new(Code::InternalRuntime, format!("cannot start the program's threads: {error}"))
            .hint("see that the machine has memory and processes left")),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// A file that may not grow further is a full disk: an error of the write, and no reason to be killed in the middle.
fn refuse_to_die_of_file_limits() {
    const SIGXFSZ: i32 = 25;
    let caught = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ));
    drop(caught); // the handler stays; where it cannot be set, being killed is a crash, and those lose nothing
}

/// A command line without a command: somebody asked for help, or it is wrong.
fn no_command(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(problem) => {
            let (problem, usage) = problem.split_once("\n\n").unwrap_or((problem, ""));
            let problem: Vec<&str> = problem.lines().map(str::trim).collect();
            let mut error = AppError::new(Code::UsageArgument, problem.join(" "));
            if json {
                error = error.hint("runproof --help"); // people get the usage line of the command, which says more
            }
            Output { json, verbose: false }.usage(&error, usage);
            ExitCode::from(error.kind.exit_code())
        }
        None => error.exit(),
    }
}

async fn dispatch(verb: Verb, output: Output) -> Result<u8, AppError> {
    match verb {
        Verb::Init(command) => command.run(output).await,
        Verb::Migrate(command) => command.run(output).await,
        Verb::CreateTenant(command) => command.run(output).await,
        Verb::CreateAgent(command) => command.run(output).await,
        Verb::ListAgents(command) => command.run(output).await,
        Verb::ListSkills(command) => command.run(output),
        Verb::Plan(command) => command.run(output),
        Verb::Run(command) => command.run(output).await,
        Verb::Worker(command) => command.run(output).await,
        Verb::ListWorkers(command) => command.run(output).await,
        Verb::Limits(command) => command.run(output).await,
        Verb::SetLimit(command) => command.run(output).await,
        Verb::GetRun(command) => command.run(output).await,
        Verb::ListRuns(command) => command.run(output).await,
        Verb::Cancel(command) => command.run(output).await,
        Verb::Pause(command) => command.run(output).await,
        Verb::Resume(command) => command.run(output).await,
        Verb::Resolve(command) => command.run(output).await,
        Verb::Proof(command) => command.run(output).await,
        Verb::Archive(command) => command.run(output).await,
        Verb::Purge(command) => command.run(output).await,
        Verb::Hold(command) => command.run(output).await,
        Verb::ReleaseHold(command) => command.run(output).await,
        Verb::Holds(command) => command.run(output).await,
        Verb::Verify(command) => command.run(output),
        Verb::Last(command) => command.run(output).await,
        Verb::Key(command) => command.run(output),
        Verb::Log(command) => command.run(output).await,
        Verb::LegacyRoot(command) => command.run(output),
        Verb::Demo(command) => command.run(output).await,
        Verb::Chaos(command) => command.run(output).await,
        Verb::Explain(command) => command.run(output),
    }
}

/// The command line's definition, for the reference page and its test.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// After how many polls a waiting process looks whether it has to be the engine itself.
const TAKE_OVER_EVERY: u32 = 10;

/// Carries out a command: here, when no other process is the only engine; otherwise by leaving it a request.
async fn execute(app: &App, output: Output, command: Command) -> Result<Done, AppError> {
    let Some(engine) = app.engine(output).await? else { return request(app, output, &command).await };
    let done = engine.execute(command).await;
    close(&engine, output).await;
    done
}

/// Says what people have to know about how this process works on the store.
fn remark(engine: &Engine, output: Output) {
    for remark in &engine.remarks {
        output.note(&format!("note: {remark}"));
    }
}

/// Lets go of what an engine holds. What it did is durable already: a failure here is for people to know.
async fn close(engine: &Engine, output: Output) {
    if let Err(error) = engine.close().await {
        output.note(&format!("what is done is recorded; the last word to the store failed: {error}"));
    }
}

/// Leaves a request for the engine and waits for the answer.
async fn request(app: &App, output: Output, command: &Command) -> Result<Done, AppError> {
    let store = app.reader().await?;
    let tenant = command.tenant();
    let id = store.leave_request(tenant, None, &encode(command)?).await?;
    let started = std::time::Instant::now();
    let mut turns = 0u32;
    while started.elapsed() < ANSWER_TIMEOUT {
        turns += 1;
        // The engine may have ended before it came to this request: then this process answers it.
        if turns.is_multiple_of(TAKE_OVER_EVERY)
            && let Some(engine) = app.engine(output).await?
        {
            engine.answer_requests().await?;
        }
        if let Some(answer) = store.take_answer(tenant, id).await? {
            return decode(id, &answer);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(AppError::new(
        Code::RequestUnanswered,
        format!("the engine has not answered request {id} yet; it stays queued"),
    )
    .hint("see that a worker is running, then look with `runproof list-runs`"))
}
