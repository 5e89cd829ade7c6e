//! The servers of a trial: a Postgres of its own, and a PgBouncer in front of it, in a folder of their own.
//!
//! They keep what is committed when processes die, which is what a trial does to them; `fsync` is off, because the
//! machine itself goes on.

use std::fs::{File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::failed;
use crate::error::AppError;

/// Superuser of the trial's server.
const OWNER: &str = "runproof";
/// Database of the trial: the one that a new server has.
const DATABASE: &str = "postgres";
/// How long a server may take to start, to recover or to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ports below those that the kernel gives to outgoing connections: a server that is down finds its port free again.
const PORTS: std::ops::Range<u16> = 10_240..32_768;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Folder with `initdb` and `postgres`.
    bin: PathBuf,
    /// `pgbouncer`, when there is one.
    pub pooler: Option<PathBuf>,
}

impl Programs {
    /// Looks in `given`, or else in the `PATH` and where Debian installs Postgres.
    ///
    /// # Errors
    /// [`AppError`] when there is no Postgres.
    pub fn find(given: Option<&Path>) -> Result<Self, AppError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let pooler_folders = folders.iter().cloned().chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")]);
        let pooler = pooler_folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file());
        match given {
            Some(folder) => folders = vec![folder.to_owned()],
            None => folders.extend(installed()),
        }
        let is_whole = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
        let bin = folders.into_iter().find(is_whole).ok_or_else(|| match given {
            Some(folder) => failed(format!("`{}` holds no `initdb` and `postgres`", folder.display())),
            None => failed("found no Postgres here to start and to crash").hint(
                "install it, or name its programs with --pg-bin, a database with --database-url, or --store sqlite",
            ),
        })?;
        Ok(Self { bin, pooler })
    }
}

/// Folders of the versions that Debian installs, newest first.
fn installed() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, folder)| folder).collect()
}

/// Another user, because root may not run a server.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// The user `postgres`, if we are root: who owns what we have just made says who we are.
    fn for_servers(ours: &Path) -> Result<Option<Self>, AppError> {
        let metadata = std::fs::metadata(ours).map_err(|error| failed(format!("`{}`: {error}", ours.display())))?;
        if metadata.uid() != 0 {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let numbers = users.lines().find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some(Self { user: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
        });
        let missing = || {
            failed("root may not run a server, and there is no user `postgres` to run it")
                .hint("be another user, or name a database with --database-url")
        };
        numbers.map(Some).ok_or_else(missing)
    }
}

/// Running servers; they end when this is dropped.
pub struct Servers {
    programs: Programs,
    folder: PathBuf,
    account: Option<Account>,
    port: u16,
    postgres: Child,
    pooler: Option<(u16, Child)>,
}

impl Servers {
    /// Makes a cluster in `folder`, which is ours and empty, and starts the servers. Blocks until they are ready.
    ///
    /// # Errors
    /// [`AppError`] names the log that says why not.
    pub fn start(programs: Programs, folder: &Path, with_pooler: bool) -> Result<Self, AppError> {
        let account = Account::for_servers(folder)?;
        let cannot = |error: std::io::Error| failed(format!("cannot prepare `{}`: {error}", folder.display()));
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(cannot)?;
        if let Some(account) = account {
            chown(folder, Some(account.user), Some(account.group)).map_err(cannot)?;
        }
        let mut initdb = command(&programs.bin.join("initdb"), folder, account, "initdb.log")?;
        initdb.arg("-D").arg(folder.join("data")).args(["-U", OWNER, "--auth=trust", "--locale=C", "--encoding=UTF8"]);
        let made = initdb.arg("--no-sync").status().map_err(cannot)?;
        if !made.success() {
            return Err(failed(format!("initdb failed: see `{}`", folder.join("initdb.log").display())));
        }
        let port = free_port()?;
        let postgres = start_postgres(&programs, folder, account, port)?;
        let mut servers = Self { programs, folder: folder.to_owned(), account, port, postgres, pooler: None };
        servers.await_postgres()?;
        if with_pooler {
            servers.start_pooler(free_port()?)?;
        }
        Ok(servers)
    }

    /// URL of the database without anything in between.
    pub fn direct_url(&self) -> String {
        format!("postgres://{OWNER}@127.0.0.1:{}/{DATABASE}?sslmode=disable", self.port)
    }

    /// URL of the database as the workers reach it.
    pub fn url(&self) -> String {
        let port = self.pooler.as_ref().map_or(self.port, |(port, _)| *port);
        format!("postgres://{OWNER}@127.0.0.1:{port}/{DATABASE}?sslmode=disable")
    }

    /// Whether a pooler stands in between.
    pub fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// Ends Postgres at once, as a crash does, and starts it again. Blocks until it has recovered.
    ///
    /// # Errors
    /// [`AppError`] when it does not come back.
    pub fn crash_postgres(&mut self) -> Result<(), AppError> {
        signal(&self.postgres, "QUIT")?;
        self.postgres.wait().map_err(|error| failed(format!("Postgres did not end: {error}")))?;
        self.postgres = start_postgres(&self.programs, &self.folder, self.account, self.port)?;
        self.await_postgres()
    }

    /// Kills the pooler and starts it again.
    ///
    /// # Errors
    /// [`AppError`] when it does not come back.
    pub fn crash_pooler(&mut self) -> Result<(), AppError> {
        let Some((port, mut child)) = self.pooler.take() else { return Ok(()) };
        end(&mut child);
        self.start_pooler(port)
    }

    /// Waits until the server says that it is ready, in its own file.
    fn await_postgres(&mut self) -> Result<(), AppError> {
        let started = Instant::now();
        let pid = self.postgres.id().to_string();
        loop {
            let status = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
            let mut lines = status.lines();
            if lines.next() == Some(pid.as_str()) && lines.nth(6).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let ended = self.postgres.try_wait().ok().flatten().is_some();
            if ended || started.elapsed() > PATIENCE {
                let log = self.folder.join("postgres.log");
                return Err(failed(format!("Postgres does not start: see `{}`", log.display())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn start_pooler(&mut self, port: u16) -> Result<(), AppError> {
        let Some(program) = &self.programs.pooler else { return Err(failed("found no `pgbouncer`")) };
        let users = self.folder.join("users.txt");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\nauth_user = {OWNER}\npool_mode = transaction\n\
             default_pool_size = 20\nmax_client_conn = 500\nserver_login_retry = 0.2\nquery_wait_timeout = 15\n",
            self.port,
            users.display()
        );
        let file = self.folder.join("pgbouncer.ini");
        let written =
            std::fs::write(&users, format!("\"{OWNER}\" \"\"\n")).and_then(|()| std::fs::write(&file, settings));
        written.map_err(|error| failed(format!("cannot write `{}`: {error}", file.display())))?;
        let mut child = command(program, &self.folder, self.account, "pgbouncer.log")?
            .arg("-q")
            .arg(&file)
            .spawn()
            .map_err(|error| failed(format!("cannot start `{}`: {error}", program.display())))?;
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if child.try_wait().ok().flatten().is_some() || started.elapsed() > PATIENCE {
                end(&mut child);
                let log = self.folder.join("pgbouncer.log");
                return Err(failed(format!("PgBouncer does not start: see `{}`", log.display())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.pooler = Some((port, child));
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Some((_, child)) = &mut self.pooler {
            end(child);
        }
        // Not killed: its processes would outlive it for a moment, in a folder that may be removed next.
        if signal(&self.postgres, "QUIT").is_err() {
            self.postgres.kill().ok();
        }
        self.postgres.wait().ok();
    }
}

fn end(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}

/// Sends a signal to a child that has not been waited for: the number is still its own.
///
/// # Errors
/// [`AppError`] when it cannot be sent.
pub(super) fn signal(child: &Child, name: &str) -> Result<(), AppError> {
    let script = format!("kill -s {name} {}", child.id());
    let sent = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
    match sent {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(failed(format!("cannot send SIG{name} to process {}", child.id()))),
        Err(error) => Err(failed(format!("cannot run `sh`: {error}"))),
    }
}

/// A command that runs as whoever may run servers, in their folder, and writes into a log there.
fn command(program: &Path, folder: &Path, account: Option<Account>, log: &str) -> Result<Command, AppError> {
    let path = folder.join(log);
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|error| failed(format!("cannot write `{}`: {error}", path.display())))?;
    let copy = file.try_clone().map_err(|error| failed(format!("cannot write `{}`: {error}", path.display())))?;
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).stdout(file).stderr(copy);
    // The settings of somebody's own Postgres are not for this one.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    // A signal that a terminal sends to us is not for the servers: they end when the trial does.
    command.process_group(0);
    if let Some(account) = account {
        command.uid(account.user).gid(account.group);
    }
    Ok(command)
}

fn start_postgres(programs: &Programs, folder: &Path, account: Option<Account>, port: u16) -> Result<Child, AppError> {
    let port = format!("port={port}");
    let settings = [
        port.as_str(),
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "shared_buffers=64MB",
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=on",
    ];
    let mut command = command(&programs.bin.join("postgres"), folder, account, "postgres.log")?;
    command.arg("-D").arg(folder.join("data"));
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.spawn().map_err(|error| failed(format!("cannot start Postgres: {error}")))
}

fn free_port() -> Result<u16, AppError> {
    let mut dice = super::dice::Dice::new(crate::runtime::now());
    let span = u64::from(PORTS.end - PORTS.start);
    let candidates = (0..200).map(|_| PORTS.start + u16::try_from(dice.below(span)).unwrap_or(0));
    let mut free = candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().ok_or_else(|| failed("found no free port on loopback"))
}

/// Where a URL of the user's leads, as `HOST:PORT`, and the same URL through `proxy` and without encryption, which the
/// proxy could not look into. `None` when it is no URL with a host.
pub fn through(url: &str, proxy: std::net::SocketAddr) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
    if place.is_empty() || place.contains(',') || place.starts_with('%') || place.starts_with('/') {
        return None;
    }
    let has_port = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let upstream = if has_port { place.to_owned() } else { format!("{place}:5432") };
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    let kept: Vec<&str> = query.split('&').filter(|part| !part.is_empty() && !part.starts_with("sslmode=")).collect();
    let query: String = kept.iter().map(|part| format!("&{part}")).collect();
    Some((upstream, format!("{scheme}://{user}{proxy}/{path}?sslmode=disable{query}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_through_the_proxy_with_everything_else_as_it_was() {
        let proxy = std::net::SocketAddr::from(([127, 0, 0, 1], 7));
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(upstream, url)| (upstream.to_owned(), url.to_owned()));
            assert_eq!(through(url, proxy), expected, "{url}");
        };
        check(
            "postgres://me:pw@db.example:6432/runs?application_name=x&sslmode=require",
            Some(("db.example:6432", "postgres://me:pw@127.0.0.1:7/runs?sslmode=disable&application_name=x")),
        );
        check("postgresql://localhost/runs", Some(("localhost:5432", "postgresql://127.0.0.1:7/runs?sslmode=disable")));
        check("postgres://u@[::1]/runs", Some(("[::1]:5432", "postgres://u@127.0.0.1:7/runs?sslmode=disable")));
        check("postgres:///runs?host=/tmp", None);
        check("postgres://a,b/runs", None);
        check("runs", None);
    }
}
