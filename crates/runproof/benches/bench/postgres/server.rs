//! A cluster of its own, durable, with a pooler in front of it, and what it says about the work that it did.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runproof::engine::Engine;
use runproof::home::Home;
use runproof::runtime;
use runproof_engine::ports::Observer;
use runproof_engine::projection::rfc3339;
use runproof_store::Store;
use runproof_store::postgres::{self, Address, PgStore};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_postgres::Client;

use crate::cluster::{self, Own};
use crate::{Outcome, world};

/// Role of every store that is measured: row policies hold for it, as they do in production.
const ROLE: &str = "bench_engine";

/// How a store reaches its database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Postgres itself.
    Direct,
    /// PgBouncer, in transaction mode.
    Pooled,
}

impl Way {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Pooled => "pooled",
        }
    }
}

/// Postgres and PgBouncer. Both end with it.
pub(crate) struct Server {
    own: Own,
    /// A session of the superuser in a database that is not measured.
    pub(crate) admin: Client,
    postmaster: String,
}

/// What Postgres has done so far in one database.
pub(crate) struct Counters {
    /// Transactions that statements of clients committed.
    pub(crate) transactions: i64,
    /// Bytes of the database.
    pub(crate) size: i64,
    /// Bytes of write-ahead log, of the whole cluster.
    pub(crate) wal: i64,
    /// Processor time of all its processes.
    pub(crate) cpu: Duration,
}

impl Server {
    /// Starts both. `durable`: commits wait for the disk.
    pub(crate) async fn start(durable: bool, settings: &[String]) -> Outcome<Self> {
        let mut options: Vec<&str> = if durable { vec!["--fsync"] } else { Vec::new() };
        options.extend(settings.iter().flat_map(|setting| ["-c", setting]));
        let own = Own::start(&options);
        let admin = cluster::connect(&own.direct_url("postgres")).await?;
        let backend: i32 = admin.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let stat = fs::read_to_string(format!("/proc/{backend}/stat"))?;
        let postmaster = fields(&stat).get(1).ok_or("a process has a parent")?.to_string();
        Ok(Self { own, admin, postmaster })
    }

    /// Where the superuser reaches a database.
    pub(crate) fn url(&self, database: &str) -> String {
        self.own.direct_url(database)
    }

    /// Makes a database with the schema of the store. Answers its name, and where the store reaches it.
    pub(crate) async fn database(&self, name: &str, way: Way) -> Outcome<Address> {
        self.admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        postgres::create(&Address::parse(&self.url(name))?, &rfc3339(runtime::now())).await?;
        let role = format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
                 CREATE ROLE {ROLE} LOGIN IN ROLE runproof_engine; END IF; END $$"
        );
        self.admin.batch_execute(&role).await?;
        let url = match way {
            Way::Direct => self.own.direct_url(name),
            Way::Pooled => self.own.pooled_url(name),
        };
        let url = url.replace("//runproof@", &format!("//{ROLE}@"));
        answers(&url).await?;
        Ok(Address::parse(&url)?)
    }

    /// Removes a database, whoever is connected to it.
    pub(crate) async fn remove(&self, name: &str) -> Outcome<()> {
        Ok(self.admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?)
    }

    /// Ends every session of a database, so that what it counted is on the books, and reads these.
    pub(crate) async fn counters(&self, name: &str) -> Outcome<Counters> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
        while self.admin.query_one(end, &[&name]).await?.get::<_, i64>(0) > 0 {
            if Instant::now() > deadline {
                return Err(format!("sessions of `{name}` do not end").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The start of a session counts as one transaction.
        let sql =
            "SELECT xact_commit - sessions, pg_database_size(datname), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
             FROM pg_stat_database WHERE datname = $1";
        let row = self.admin.query_one(sql, &[&name]).await?;
        Ok(Counters { transactions: row.get(0), size: row.get(1), wal: row.get(2), cpu: self.cpu() })
    }

    /// Time on a processor so far, of all processes of Postgres, in steps of 10 ms.
    fn cpu(&self) -> Duration {
        let Ok(processes) = fs::read_dir("/proc") else { return Duration::ZERO };
        let stats = processes.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        let ticks = stats.map(|stat| {
            let fields = fields(&stat);
            let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            if stat.starts_with(&format!("{} ", self.postmaster)) {
                (11..=14).map(ticks).sum() // with the children that ended
            } else if fields.get(1) == Some(&self.postmaster.as_str()) {
                ticks(11) + ticks(12)
            } else {
                0
            }
        });
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }
}

/// Fields behind the name of the program, which may hold blanks: state, parent, and so on.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect()
}

/// Waits until a database answers. For a moment the pooler refuses everybody: it remembers that a database of this name
/// went away, or that a session was ended while it began.
async fn answers(url: &str) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = match cluster::connect(url).await {
            Ok(client) => client.batch_execute("SELECT 1").await,
            Err(error) => Err(error),
        };
        match answer {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return Ok(answer?),
        }
    }
}

/// A home with an engine on a database of its own.
pub(crate) struct PgWorld {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: Arc<PgStore>,
    pub(crate) home: Home,
    address: Address,
    _folder: TempDir,
}

impl PgWorld {
    /// Makes a database, a home, and a tenant. Without `signs`, nothing gets its place.
    pub(crate) async fn new(server: &Server, name: &str, way: Way, signs: bool) -> Outcome<Self> {
        let address = server.database(name, way).await?;
        let folder = tempfile::tempdir()?;
        let home = Home::at(folder.path().to_owned());
        home.create("example.org/bench")?;
        postgres::create_ledger(&address, home.notary()?, runtime::random()).await?;
        let (engine, store) = open(&address, &home, signs, Arc::new(runproof_engine::ports::Blind), None).await?;
        world::create_tenant(&engine, world::TENANT).await?;
        Ok(Self { engine, store, home, address, _folder: folder })
    }

    /// The same, with an engine that has done nothing yet. `bytes` is the size of what a step puts out.
    pub(crate) async fn again(self, signs: bool, observer: Arc<dyn Observer>, bytes: usize) -> Outcome<Self> {
        self.engine.close().await?;
        let (engine, store) = open(&self.address, &self.home, signs, observer, Some(bytes)).await?;
        Ok(Self { engine, store, ..self })
    }
}

async fn open(
    address: &Address,
    home: &Home,
    signs: bool,
    observer: Arc<dyn Observer>,
    bytes: Option<usize>,
) -> Outcome<(Arc<Engine>, Arc<PgStore>)> {
    let notary = if signs { Some(home.notary()?) } else { None };
    let store = Arc::new(PgStore::open_engine(address, &Handle::current(), notary).await?);
    Ok((world::engine(Arc::clone(&store) as Arc<dyn Store>, observer, bytes)?, store))
}

/// Path to the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
