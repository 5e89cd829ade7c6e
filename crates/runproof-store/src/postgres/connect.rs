//! Connections: where the database is, the pool, TLS, and what an error says about what happened.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use runproof_engine::ports::StoreError;
use tokio_postgres::config::{Config, Host};
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an operation waits for a free connection of the pool.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// After which time without an acknowledgement the network counts as gone.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a transaction may take before its connection counts as lost. The server gives up earlier by itself.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(45);

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    config: Box<Config>,
    /// Most connections of this process.
    pub connections: usize,
}

impl Address {
    /// Reads a `postgres://` URL or a list of `key=value`.
    ///
    /// # Errors
    /// What is wrong with it, without the password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let mut config = Config::from_str(url).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("it names no host".to_owned());
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        if config.get_application_name().is_none() {
            config.application_name("runproof");
        }
        Ok(Self { config: Box::new(config), connections: 8 })
    }

    /// For people: role, host, port and database, and no password.
    pub fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => self.config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let user = self.config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
        let name = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("postgres://{user}{host}:{port}/{name}")
    }

    /// Every host that it names: names, addresses, or folders of a socket.
    pub fn hosts(&self) -> Vec<String> {
        let named = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        named.chain(self.config.get_hostaddrs().iter().map(ToString::to_string)).collect()
    }

    /// Name of the database.
    pub fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or_default()
    }

    /// A connection that is no pool's, driven by the runtime that this is called on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(super) async fn connect(&self) -> Result<tokio_postgres::Client, StoreError> {
        let (client, connection) = self.config.connect(tls()?).await.map_err(|error| unavailable(&error))?;
        // Whoever uses the client learns of the end of the connection.
        drop(tokio::spawn(connection));
        Ok(client)
    }

    /// A pool of connections; none is made yet.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the machine's certificates cannot be read.
    pub fn pool(&self) -> Result<Pool, StoreError> {
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.as_ref().clone(), tls()?, manager);
        let timeouts =
            Timeouts { wait: Some(WAIT_TIMEOUT), create: Some(CONNECT_TIMEOUT), recycle: Some(CONNECT_TIMEOUT) };
        let pool = Pool::builder(manager).max_size(self.connections).timeouts(timeouts).runtime(Runtime::Tokio1);
        pool.build().map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

/// TLS with the certificates of the machine. Whether it is used, and whether it has to be, says `sslmode` of the URL.
fn tls() -> Result<MakeRustlsConnect, StoreError> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Unavailable(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A connection of the pool.
///
/// # Errors
/// [`StoreError::Unavailable`]: nothing was sent.
pub(super) async fn connection(pool: &Pool) -> Result<Object, StoreError> {
    use deadpool_postgres::PoolError;
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => unavailable(&error),
        PoolError::Timeout(_) => StoreError::Unavailable(
            "no connection in time: the database does not answer, or all connections of this process are in use"
                .to_owned(),
        ),
        PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            StoreError::Unavailable(error.to_string())
        }
    })
}

/// What the server or the network said.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{}{detail} [{}]", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The error, when nothing was written.
pub(super) fn unavailable(error: &tokio_postgres::Error) -> StoreError {
    StoreError::Unavailable(text(error))
}

/// What an error says about the transaction that it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was taken back, and may go through when it is tried again.
    Retry,
    /// It was taken back, and will be again.
    Refused,
    /// Nobody knows whether it is committed.
    Unknown,
}

/// Reads an error of any statement of a transaction, the commit included.
pub(super) fn fate(error: &tokio_postgres::Error) -> Fate {
    let Some(code) = error.code() else { return Fate::Unknown };
    let again = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::OUT_OF_MEMORY,
        SqlState::DISK_FULL,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::INSUFFICIENT_RESOURCES,
        SqlState::CONFIGURATION_LIMIT_EXCEEDED,
    ];
    if again.contains(code) {
        return Fate::Retry;
    }
    // A connection that ends (08) or a server that goes down (57P) may do so after the commit.
    if code.code().starts_with("08") || code.code().starts_with("57P") || code.code().starts_with("XX") {
        return Fate::Unknown;
    }
    Fate::Refused
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn a_place_shows_no_password() {
        let address = Address::parse("postgres://me:secret@db.example:6432/runs?sslmode=require").unwrap();
        assert_eq!(address.place(), "postgres://me@db.example:6432/runs");
        assert_eq!(address.database(), "runs");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_the_password() {
        for url in ["postgres://me:secret@db:port/runs", "postgres://me:secret@db/runs?sslmode=maybe", "postgres://"] {
            let problem = Address::parse(url).unwrap_err();
            assert!(!problem.is_empty() && !problem.contains("secret"), "{problem}");
        }
    }
}
