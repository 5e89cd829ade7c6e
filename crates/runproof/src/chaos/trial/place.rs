//! Where a trial takes place: home, database, and what stands between it and the workers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use runproof_proof::note::NoteVerifier;
use runproof_proof::trust::Trust;
use runproof_skills::egress::Egress;
use serde_json::Value;

use super::super::failed;
use super::super::proxy::Proxy;
use super::super::scenario::{AGENT, tenants};
use super::super::servers::{Programs, Servers, through};
use super::super::workers::Surroundings;
use super::{Options, Pooler, StoreChoice};
use crate::app::{App, database};
use crate::error::AppError;
use crate::home::Home;
use crate::output::Output;

/// A place that is ready: initialised, with tenants and agents.
pub(super) struct Place {
    /// Its own servers, until the storm takes them.
    pub(super) servers: Option<Servers>,
    has_pooler: bool,
    pub(super) proxy: Option<Proxy>,
    /// As the workers see it.
    pub(super) through_proxy: Surroundings,
    /// As the judge sees it: nothing in between that loses anything.
    pub(super) direct: App,
    /// As somebody who opens runs sees it.
    pub(super) opener: App,
    /// The key, kept outside of everything that is tried.
    pub(super) trust: Trust,
    pub(super) lease: Option<Duration>,
    pub(super) description: String,
    pub(super) left_out: Vec<String>,
}

impl Place {
    pub(super) async fn prepare(options: &Options, receiver: SocketAddr, output: Output) -> Result<Self, AppError> {
        let mut left_out = Vec::new();
        let (servers, url, description) = match &options.store {
            StoreChoice::Own(bin) => {
                output.note("starting the servers");
                let servers = tokio::task::block_in_place(|| own_servers(options, bin.as_deref(), &mut left_out))?;
                let description = if servers.has_pooler() { "own Postgres through PgBouncer" } else { "own Postgres" };
                (Some(servers), None, description.to_owned())
            }
            StoreChoice::Given(url) => {
                left_out.push("crashes of the servers, because they are not ours".to_owned());
                (None, Some(url.clone()), "a Postgres that was given".to_owned())
            }
            StoreChoice::Sqlite => {
                left_out.push("everything but kill -9: the embedded store has one process and no network".to_owned());
                (None, None, "the embedded store".to_owned())
            }
        };
        let has_pooler = servers.as_ref().is_some_and(Servers::has_pooler);
        let sqlite = format!("sqlite://{}", options.folder.join("runproof.db").display());
        // The judge does without the pooler: two ways to the same rows.
        let direct_url = servers.as_ref().map(Servers::direct_url).or_else(|| url.clone()).unwrap_or(sqlite.clone());
        let (proxy, worker_url) = match servers.as_ref().map(Servers::url).or(url) {
            None => (None, sqlite),
            Some(url) => {
                let (proxy, url) = behind_proxy(&url).await?;
                (Some(proxy), url)
            }
        };
        let surroundings = |url: &str| Surroundings {
            program: options.program.clone(),
            home: options.folder.join("home"),
            database_url: url.to_owned(),
            egress: receiver.to_string(),
        };
        let direct = surroundings(&direct_url);
        let vkey = tokio::task::block_in_place(|| {
            if proxy.is_some() {
                migrate(&direct, servers.is_some())?;
            }
            initialise(&direct, options.runs)
        })?;
        let key = NoteVerifier::parse(&vkey).map_err(|error| failed(format!("`init` printed no key: {error}")))?;
        let direct = app(&direct)?;
        let lease = direct.reader().await?.lease().map(|terms| terms.lasts);
        let through_proxy = surroundings(&worker_url);
        let opener = app(&through_proxy)?;
        let trust = Trust::in_key("kept outside", key);
        Ok(Self { servers, has_pooler, proxy, through_proxy, direct, opener, trust, lease, description, left_out })
    }

    pub(super) fn has_pooler(&self) -> bool {
        self.has_pooler
    }

    /// How many workers there can be.
    pub(super) fn workers(&self, wanted: u32) -> u32 {
        if self.lease.is_some() { wanted } else { 1 }
    }
}

fn own_servers(options: &Options, bin: Option<&Path>, left_out: &mut Vec<String>) -> Result<Servers, AppError> {
    let programs = Programs::find(bin)?;
    let with_pooler = match (options.pooler, &programs.pooler) {
        (Pooler::On | Pooler::Auto, Some(_)) => true,
        (Pooler::On, None) => return Err(failed("found no `pgbouncer`").hint("install it, or leave --pooler out")),
        (Pooler::Auto, None) => {
            left_out.push("crashes of the pooler, because there is no `pgbouncer` here".to_owned());
            false
        }
        (Pooler::Off, _) => {
            left_out.push("crashes of the pooler, because there is to be none".to_owned());
            false
        }
    };
    let folder = options.folder.join("servers");
    std::fs::create_dir(&folder).map_err(|error| failed(format!("cannot create `{}`: {error}", folder.display())))?;
    Servers::start(programs, &folder, with_pooler)
}

async fn behind_proxy(url: &str) -> Result<(Proxy, String), AppError> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let refused = || {
        failed("the database URL names no single host, so nothing can stand in between")
            .hint("postgres://USER:PASSWORD@HOST:PORT/DATABASE")
    };
    let (upstream, _) = through(url, nowhere).ok_or_else(refused)?;
    let proxy = Proxy::start(upstream).await?;
    let (_, url) = through(url, proxy.address()).ok_or_else(refused)?;
    Ok((proxy, url))
}

/// Says what a database is for; `migrate` wants to know.
const ABOUT_DATABASE: &[&str] = &["DB_ROLE", "DB_AUTHORITY", "CONFIRM_PROD_MIGRATIONS"];

/// Makes the schema. What our own database is for we know; of one that was given only its owner can say it.
fn migrate(surroundings: &Surroundings, is_ours: bool) -> Result<(), AppError> {
    let mut migrate = surroundings.command(&["migrate", "--json"]);
    if is_ours {
        migrate.env("DB_ROLE", "staging").env("DB_AUTHORITY", "chaos");
    } else {
        migrate.envs(ABOUT_DATABASE.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    }
    ended(migrate, "migrate").map(drop)
}

/// Makes ledger, tenants and agents, by the commands that a person uses. Answers the key.
fn initialise(surroundings: &Surroundings, runs: u32) -> Result<String, AppError> {
    let made = command(surroundings, &["init", "--json"])?;
    for tenant in tenants(runs) {
        command(surroundings, &["create-tenant", "--id", &tenant, "--json"])?;
        command(surroundings, &["create-agent", "--name", AGENT, "--tenant-id", &tenant, "--json"])?;
    }
    let vkey = made.get("vkey").and_then(Value::as_str);
    vkey.map(str::to_owned).ok_or_else(|| failed("`init` printed no key"))
}

fn command(surroundings: &Surroundings, arguments: &[&str]) -> Result<Value, AppError> {
    ended(surroundings.command(arguments), &arguments.join(" "))
}

/// What a command of the program printed, once it has ended well.
fn ended(mut command: std::process::Command, words: &str) -> Result<Value, AppError> {
    let output = command.output().map_err(|error| failed(format!("cannot run `runproof {words}`: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    if output.status.success() && value.is_object() {
        return Ok(value);
    }
    let said = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let error = failed(format!("`runproof {words}`: {}", said("/error/message").unwrap_or("it did not say why")));
    Err(said("/error/hint").map_or(error.clone(), |hint| error.hint(hint)))
}

fn app(surroundings: &Surroundings) -> Result<App, AppError> {
    let egress = Egress::parse(&surroundings.egress).map_err(|error| failed(error.to_string()))?;
    Ok(App {
        home: Home::at(surroundings.home.clone()),
        database: database(&surroundings.database_url)?,
        egress,
        test_skills: false,
    })
}
