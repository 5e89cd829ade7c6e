//! What the database itself has to refuse, and whether it still does: row policies, triggers, functions, and the role of
//! this connection. Asked at start. What has to be there is read from the migrations, so no list here can fall behind.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::migrate::POSTGRES;

/// What was found out about a database and a connection to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protections {
    /// What is missing, each with what mends it. An engine must not start.
    pub missing: Vec<String>,
    /// What does not hold against this connection, in sentences for people.
    pub given_up: Vec<String>,
    /// Who is connected.
    pub role: Role,
}

/// The role of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Nothing is refused to a superuser.
    pub is_superuser: bool,
    /// Row policies do not count for it.
    pub bypasses_row_policies: bool,
    /// It is the owner of the tables, or a member of the owner.
    pub owns_tables: bool,
    /// It may do what `runproof_engine` may.
    pub is_engine: bool,
}

impl Role {
    /// What does not hold against it.
    fn given_up(&self) -> Vec<String> {
        let Self { name, .. } = self;
        let mut given_up = Vec::new();
        if self.is_superuser {
            given_up.push(format!(
                "`{name}` is a superuser: row policies do not hold against it, and it can switch every trigger off"
            ));
        } else if self.bypasses_row_policies {
            given_up.push(format!("`{name}` has BYPASSRLS: row policies do not hold against it"));
        }
        if self.owns_tables && !self.is_superuser {
            given_up.push(format!(
                "`{name}` owns the tables: it sees every tenant, and can remove row policies and triggers"
            ));
        }
        given_up
    }
}

/// A trigger that has to be there: table, name, and the statement that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trigger {
    /// Table that it guards.
    pub table: &'static str,
    /// Name.
    pub name: &'static str,
    /// The statement that makes it.
    pub sql: &'static str,
}

/// A function that has to be there, with exactly this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// Name.
    pub name: &'static str,
    /// What is between the quotes of its body.
    pub body: &'static str,
    /// It runs as its owner.
    pub is_definer: bool,
}

/// Statements of the migrations that begin with `start`, without that, up to `end`.
fn statements(start: &'static str, end: &'static str) -> impl Iterator<Item = &'static str> {
    let texts = POSTGRES.iter().flat_map(move |(_, _, sql)| sql.split(start).skip(1));
    texts.map(move |text| text.split(end).next().unwrap_or(text))
}

fn name(text: &'static str) -> &'static str {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or(text)
}

/// Every table that the migrations make, in order.
pub fn tables() -> Vec<&'static str> {
    statements("\nCREATE TABLE public.", ";\n").map(name).collect()
}

/// Tables with rows of tenants: those that row policies guard.
pub fn tables_of_tenants() -> Vec<&'static str> {
    let of_tenants = |text: &&str| text.contains("\n    tenant_id ") || text.starts_with("tenants ");
    statements("\nCREATE TABLE public.", ";\n").filter(of_tenants).map(name).collect()
}

/// Every trigger that the migrations make; of one that a later migration makes anew, the last.
pub fn triggers() -> Vec<Trigger> {
    let trigger = |sql: &'static str| {
        let table = sql.split(" ON public.").nth(1).unwrap_or_default();
        Trigger { table: name(table), name: name(sql), sql }
    };
    let mut all: Vec<Trigger> = Vec::new();
    for made in statements("\nCREATE TRIGGER ", ";").map(trigger) {
        all.retain(|before| (before.table, before.name) != (made.table, made.name));
        all.push(made);
    }
    all
}

/// Every function that the migrations make.
pub fn functions() -> Vec<Function> {
    let function = |text: &'static str| {
        let (head, body) = text.split_once("AS $$").unwrap_or((text, ""));
        Function { name: name(text), body, is_definer: head.contains("SECURITY DEFINER") }
    };
    statements("\nCREATE FUNCTION public.", "$$;").map(function).collect()
}

/// Checks a database that is at head.
///
/// # Errors
/// The database could not be asked.
pub async fn check(client: &Client) -> Result<Protections, Error> {
    let role = role(client).await?;
    let mut missing = row_policies(client).await?;
    missing.extend(triggers_that_do_not_hold(client).await?);
    missing.extend(functions_that_differ(client).await?);
    if !(role.is_superuser || role.owns_tables || role.is_engine) {
        let Role { name, .. } = &role;
        missing.push(format!("`{name}` is not a member of `runproof_engine`: GRANT runproof_engine TO \"{name}\""));
    }
    Ok(Protections { missing, given_up: role.given_up(), role })
}

async fn role(client: &Client) -> Result<Role, Error> {
    let sql = "
        SELECT r.rolname::text, r.rolsuper, r.rolbypassrls,
            EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.relnamespace = 'public'::regnamespace
                AND c.relname = ANY ($1) AND pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE')),
            EXISTS (SELECT 1 FROM pg_catalog.pg_roles e
                WHERE e.rolname = 'runproof_engine' AND pg_catalog.pg_has_role(r.oid, e.oid, 'USAGE'))
        FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";
    let row = client.query_typed_one(sql, &[(&tables(), Type::TEXT_ARRAY)]).await?;
    Ok(Role {
        name: row.try_get(0)?,
        is_superuser: row.try_get(1)?,
        bypasses_row_policies: row.try_get(2)?,
        owns_tables: row.try_get(3)?,
        is_engine: row.try_get(4)?,
    })
}

/// Row security on every table of tenants, its three policies, and no other.
async fn row_policies(client: &Client) -> Result<Vec<String>, Error> {
    let sql = "
        SELECT t.name, coalesce(c.relrowsecurity AND c.relforcerowsecurity, false),
            array(SELECT p.polname::text FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid ORDER BY p.polname)
        FROM unnest($1::text[]) t (name) LEFT JOIN pg_catalog.pg_class c
            ON c.relnamespace = 'public'::regnamespace AND c.relname = t.name";
    let mut missing = Vec::new();
    for row in client.query_typed(sql, &[(&tables_of_tenants(), Type::TEXT_ARRAY)]).await? {
        let (table, is_forced, policies): (String, bool, Vec<String>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if !is_forced {
            missing.push(format!(
                "row security is off: ALTER TABLE public.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
            ));
        }
        for policy in ["of_tenants", "of_readers", "of_owner"] {
            if !policies.iter().any(|found| found == policy) {
                missing.push(format!("policy `{policy}` of `{table}` is missing: see migration 0003_workers"));
            }
        }
        for policy in policies.iter().filter(|name| !["of_tenants", "of_readers", "of_owner"].contains(&name.as_str()))
        {
            missing.push(format!("policy `{policy}` is not ours: DROP POLICY \"{policy}\" ON public.{table}"));
        }
    }
    Ok(missing)
}

/// Triggers that are not there, are off, or are off in this session.
async fn triggers_that_do_not_hold(client: &Client) -> Result<Vec<String>, Error> {
    let sql = "
        SELECT c.relname::text, t.tgname::text, t.tgenabled IN ('O', 'A')
        FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal";
    let mut found = Vec::new();
    for row in client.query_typed(sql, &[]).await? {
        found.push((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?, row.try_get::<_, bool>(2)?));
    }
    let mut missing = Vec::new();
    for Trigger { table, name, sql } in triggers() {
        match found.iter().find(|(on, called, _)| on == table && called == name) {
            Some((.., true)) => {}
            Some((.., false)) => {
                missing.push(format!("trigger `{name}` is off: ALTER TABLE public.{table} ENABLE TRIGGER {name}"));
            }
            None => missing.push(format!("trigger `{name}` is missing: CREATE TRIGGER {sql}")),
        }
    }
    let origin = "SELECT current_setting('session_replication_role') = 'origin'";
    if !client.query_typed_one(origin, &[]).await?.try_get::<_, bool>(0)? {
        missing.push("triggers are off in this session: ALTER ROLE … RESET session_replication_role".to_owned());
    }
    Ok(missing)
}

/// Functions that are not there, have another text, or do not run as whom they should.
async fn functions_that_differ(client: &Client) -> Result<Vec<String>, Error> {
    let sql = "
        SELECT p.proname::text, p.prosrc, p.prosecdef FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.proname = ANY ($1)";
    let wanted = functions();
    let names: Vec<&str> = wanted.iter().map(|function| function.name).collect();
    let mut found = Vec::new();
    for row in client.query_typed(sql, &[(&names, Type::TEXT_ARRAY)]).await? {
        found.push((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?, row.try_get::<_, bool>(2)?));
    }
    let mut differing = Vec::new();
    for Function { name, body, is_definer } in wanted {
        let same =
            |(called, text, definer): &(String, String, bool)| called == name && text == body && *definer == is_definer;
        let of_name = found.iter().filter(|(called, ..)| called == name).count();
        if of_name != 1 || !found.iter().any(same) {
            differing.push(format!("function `{name}` is not the one of the migrations: make it as they do"));
        }
    }
    Ok(differing)
}
