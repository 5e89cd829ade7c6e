//! What has to be said before a Postgres database is migrated: which one it is meant to be, and for production that it is
//! meant. The texts are those of the first system.

use crate::app::variable;
use crate::error::{AppError, Code};
use crate::output::harmless;

/// What a database is for, as whoever migrates it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Staging,
    Prod,
}

/// The way is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    role: Role,
    /// Who runs the database, for the record (`DB_AUTHORITY`).
    authority: Option<String>,
}

impl Gate {
    /// Reads what the environment says.
    ///
    /// # Errors
    /// [`AppError`]: nothing may be applied.
    pub(super) fn from_environment() -> Result<Self, AppError> {
        let confirmed = variable("CONFIRM_PROD_MIGRATIONS")?.is_some_and(|value| value == "true");
        Self::open(variable("DB_ROLE")?.as_deref(), confirmed, variable("DB_AUTHORITY")?)
    }

    fn open(role: Option<&str>, confirmed: bool, authority: Option<String>) -> Result<Self, AppError> {
        let role = match role {
            None => {
                return Err(AppError::new(Code::MigrateRoleMissing, "DB_ROLE must be set (staging|prod|replica)")
                    .hint("DB_ROLE=staging DB_AUTHORITY=local runproof migrate; first, runproof migrate --dry-run"));
            }
            Some("staging") => Role::Staging,
            Some("prod") if confirmed => Role::Prod,
            Some("prod") => {
                let text = "DB_ROLE=prod requires CONFIRM_PROD_MIGRATIONS=true for safety";
                return Err(AppError::new(Code::MigrateUnconfirmed, text)
                    .hint("see what it would do: runproof migrate --dry-run; then set CONFIRM_PROD_MIGRATIONS=true"));
            }
            Some("replica") => {
                let text = "DB_ROLE=replica does not allow migrations (read-only)";
                return Err(AppError::new(Code::MigrateReplica, text)
                    .hint("migrate the primary: replicas get the schema from it"));
            }
            Some(other) => {
                let text = format!("DB_ROLE={} is not valid. Use: staging|prod|replica", harmless(other));
                return Err(AppError::new(Code::MigrateRoleInvalid, text)
                    .hint("DB_ROLE=staging DB_AUTHORITY=local runproof migrate"));
            }
        };
        Ok(Self { role, authority })
    }

    /// The role, as it is written.
    pub(super) fn role(&self) -> &'static str {
        match self.role {
            Role::Staging => "staging",
            Role::Prod => "prod",
        }
    }

    /// Who runs the database, as whoever migrates it says.
    pub(super) fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or("not said")
    }

    /// A sentence, when the role and the place of the database do not go together. It stops nothing.
    pub(super) fn warning(&self, host: &str) -> Option<String> {
        match (self.role, is_local(host)) {
            (Role::Prod, true) => Some(format!("DB_ROLE=prod, but `{host}` is this machine")),
            (Role::Staging, false) => Some(format!("DB_ROLE=staging, but `{host}` is another machine")),
            (Role::Prod, false) | (Role::Staging, true) => None,
        }
    }
}

/// There is a role and no database for it.
pub(super) fn no_database() -> AppError {
    AppError::new(Code::MigrateNoDatabase, "DATABASE_URL must be set for migrations")
        .hint("export DATABASE_URL=postgres://…, or unset DB_ROLE for the embedded store")
}

/// Whether a host is this machine: a name for it, a loopback address, or the folder of a socket.
fn is_local(host: &str) -> bool {
    let is_loopback = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    host == "localhost" || host.ends_with(".localhost") || host.starts_with('/') || is_loopback
}

#[cfg(test)]
mod tests {
    use super::Gate;

    fn check(role: Option<&str>, confirmed: bool, expected: Result<&str, &str>) {
        let opened = Gate::open(role, confirmed, None);
        assert_eq!(opened.as_ref().map(Gate::role).map_err(|error| error.message.as_str()), expected);
    }

    #[test]
    fn the_texts_are_those_of_the_first_system() {
        check(None, false, Err("DB_ROLE must be set (staging|prod|replica)"));
        check(Some("dev"), true, Err("DB_ROLE=dev is not valid. Use: staging|prod|replica"));
        check(Some("Prod"), true, Err("DB_ROLE=Prod is not valid. Use: staging|prod|replica"));
        check(Some("replica"), true, Err("DB_ROLE=replica does not allow migrations (read-only)"));
        check(Some("prod"), false, Err("DB_ROLE=prod requires CONFIRM_PROD_MIGRATIONS=true for safety"));
        check(Some("prod"), true, Ok("prod"));
        check(Some("staging"), false, Ok("staging"));
    }

    #[test]
    fn a_role_and_a_place_that_do_not_go_together_are_warned_of() {
        let warned = |role, host| Gate::open(Some(role), true, None).unwrap().warning(host).is_some();
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "/run/postgresql", "db.localhost"] {
            assert!(warned("prod", host) && !warned("staging", host), "{host}");
        }
        for host in ["db.example", "10.0.0.7", "localhost.example", "fd00::1"] {
            assert!(!warned("prod", host) && warned("staging", host), "{host}");
        }
    }
}
