//! What a Postgres server said, as people need it: the five letters of its answer decide the code.

use runproof_store::migrate::MigrateError;
use runproof_store::postgres::OpenError;
use runproof_store::postgres::sequencer::SequenceError;

use super::{AppError, Code};

/// Who to ask when nobody answers.
const UNREACHABLE: &str = "see that the server or the pooler is up at this host and port, and that nothing between keeps \
                           the connection away";

impl Code {
    /// Whether it is what a server said, or that none answers: a server comes back, and is mended.
    pub fn is_of_a_server(self) -> bool {
        matches!(
            self,
            Self::DatabaseUnreachable
                | Self::DatabaseAuthentication
                | Self::DatabaseUnknown
                | Self::DatabaseConnections
                | Self::DatabasePrivilege
                | Self::DatabaseReadOnly
                | Self::DatabaseDiskFull
                | Self::DatabaseTimeout
                | Self::DatabaseTls
        )
    }
}

const AGAIN: &str = "nothing was applied; see to what the server said, then again: runproof migrate";
const MIGRATE_AS: &str =
    "migrate as a role that may create tables in schema public; what it may not do itself, an administrator does";

/// Code and next step for what a server, a pooler or the network said. `None` when it says nothing of its own.
pub(super) fn said(problem: &str) -> Option<(Code, &'static str)> {
    let has = |words: &[&str]| words.iter().any(|word| problem.contains(word));
    // A pooler gives one code for everything (08P01), and says more in words.
    let code = match sqlstate(problem) {
        Some("28P01" | "28000") => Code::DatabaseAuthentication,
        Some("3D000") => Code::DatabaseUnknown,
        Some("53300") => Code::DatabaseConnections,
        Some("42501") => Code::DatabasePrivilege,
        Some("25006") => Code::DatabaseReadOnly,
        Some("53100") => Code::DatabaseDiskFull,
        Some("57014" | "55P03") => Code::DatabaseTimeout,
        Some("57P01" | "57P02" | "57P03") => Code::DatabaseUnreachable,
        _ if has(&["no such database"]) || (has(&["database \""]) && has(&["does not exist"])) => Code::DatabaseUnknown,
        _ if has(&["no such user", "authentication failed", "password missing", "SASL"]) => {
            Code::DatabaseAuthentication
        }
        _ if has(&["no more connections allowed", "query_wait_timeout", "too many connections"]) => {
            Code::DatabaseConnections
        }
        _ if has(&["has not answered for", "no connection in time"]) => Code::DatabaseTimeout,
        _ if has(&["TLS", "certificate"]) => Code::DatabaseTls,
        Some(code) if code.starts_with("08") => Code::DatabaseUnreachable,
        None if has(&["error connecting to server", "connection closed", "error communicating with the server"]) => {
            Code::DatabaseUnreachable
        }
        Some(_) | None => return None,
    };
    Some((code, hint(code)))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only what a server can say has a step of its own here")]
fn hint(code: Code) -> &'static str {
    match code {
        Code::DatabaseAuthentication => {
            "check user and password in DATABASE_URL, and what pg_hba.conf or the pooler's auth_file says of this user"
        }
        Code::DatabaseUnknown => {
            "check the name at the end of DATABASE_URL, or make it: createdb NAME, then runproof migrate"
        }
        Code::DatabaseConnections => {
            "connect through a pooler, or raise max_connections (server) or max_client_conn and default_pool_size (PgBouncer)"
        }
        Code::DatabasePrivilege => {
            "an administrator has to make this user a member of the role that it needs: GRANT runproof_engine TO …"
        }
        Code::DatabaseReadOnly => "connect to the primary, and see that default_transaction_read_only is off",
        Code::DatabaseDiskFull => {
            "make room on the disk of the database; what is recorded is whole, and runs go on from there"
        }
        Code::DatabaseTimeout => "see what keeps the database busy (pg_stat_activity, pg_locks), then try again",
        Code::DatabaseTls => {
            "sslmode=disable where the network is trusted, or SSL_CERT_FILE=/path/to/ca.pem for a certificate of your own authority"
        }
        _ => UNREACHABLE,
    }
}

/// The five letters at the end of what the store made of a server's answer.
fn sqlstate(problem: &str) -> Option<&str> {
    let (_, end) = problem.rsplit_once('[')?;
    let code = end.strip_suffix(']')?;
    (code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())).then_some(code)
}

impl From<OpenError> for AppError {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        let (code, hint) = match &error {
            OpenError::Unreachable { problem, .. } => said(problem).unwrap_or((Code::DatabaseUnreachable, UNREACHABLE)),
            OpenError::NotMigrated { status, .. } => match status.current {
                Some(found) if found > status.head => {
                    (Code::StoreSchema, "use the version of runproof that migrated it, or a newer one")
                }
                Some(_) | None => (Code::StoreNotMigrated, "runproof migrate"),
            },
            OpenError::Migrate { source: MigrateError::Checksum(_) | MigrateError::Newer { .. }, .. } => {
                (Code::StoreSchema, "use the version of runproof that migrated this database, or a newer one")
            }
            OpenError::Migrate { source: MigrateError::Postgres(error), .. } => {
                match error.code().map(|state| state.code()) {
                    Some("42501") => (Code::DatabasePrivilege, MIGRATE_AS),
                    said_code => {
                        said(&format!("[{}]", said_code.unwrap_or_default())).unwrap_or((Code::MigrateFailed, AGAIN))
                    }
                }
            }
            OpenError::Migrate { source: MigrateError::Sqlite(_), .. } => (Code::MigrateFailed, AGAIN),
            OpenError::Unprotected { .. } => (
                Code::StoreUnprotected,
                "run what is named, as the owner of the tables; runproof migrate --status lists all of it",
            ),
            OpenError::Setting { .. } => {
                (Code::DatabaseSetting, "change the setting, or connect elsewhere, then try again")
            }
            OpenError::NoLedger(_) => (Code::StoreMissing, "runproof init"),
            OpenError::OtherKey { .. } | OpenError::Sequence(SequenceError::OtherKey { .. }) => (
                Code::StoreOtherKey,
                "use the RUNPROOF_HOME that this database was made with, or a home without log.key",
            ),
            OpenError::Sequence(SequenceError::NotRolledBack) => {
                (Code::StoreNotRolledBack, "nothing has to be acknowledged")
            }
            OpenError::Sequence(SequenceError::RolledBack { .. }) => {
                (Code::StoreRolledBack, "put the newer database back; if it is lost: runproof log acknowledge-rollback")
            }
            OpenError::Sequence(SequenceError::NotKept(_)) => {
                (Code::HomeIo, "check the path, the permissions and the disk of RUNPROOF_HOME")
            }
            OpenError::Sequence(SequenceError::Store(error)) | OpenError::Store(error) => return error.clone().into(),
        };
        Self::new(code, text).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, said};

    fn check(problem: &str, expected: Option<Code>) {
        assert_eq!(said(problem).map(|(code, _)| code), expected, "{problem}");
    }

    #[test]
    fn what_a_server_says_has_a_code_of_its_own() {
        check("password authentication failed for user \"me\" [28P01]", Some(Code::DatabaseAuthentication));
        check("database \"x\" does not exist [3D000]", Some(Code::DatabaseUnknown));
        check("sorry, too many clients already [53300]", Some(Code::DatabaseConnections));
        check("permission denied for table runs [42501]", Some(Code::DatabasePrivilege));
        check("cannot execute INSERT in a read-only transaction [25006]", Some(Code::DatabaseReadOnly));
        check("could not extend file: No space left on device [53100]", Some(Code::DatabaseDiskFull));
        check("canceling statement due to statement timeout [57014]", Some(Code::DatabaseTimeout));
        check("the database system is starting up [57P03]", Some(Code::DatabaseUnreachable));
    }

    #[test]
    fn what_a_pooler_says_in_words_is_understood() {
        check("no such database: x [08P01]", Some(Code::DatabaseUnknown));
        check("database \"x\" does not exist [08P01]", Some(Code::DatabaseUnknown));
        check("no such user [08P01]", Some(Code::DatabaseAuthentication));
        check("no more connections allowed (max_client_conn) [08P01]", Some(Code::DatabaseConnections));
        check("query_wait_timeout [08P01]", Some(Code::DatabaseConnections));
        check("server conn crashed? [08P01]", Some(Code::DatabaseUnreachable));
    }

    #[test]
    fn what_says_nothing_of_a_server_has_no_code() {
        check("database or disk is full", None);
        check("duplicate key value violates unique constraint [23505]", None);
        check("the head of the ledger moved under its lock", None);
    }
}
