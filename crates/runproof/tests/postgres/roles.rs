//! Roles: people and programs with a login of their own, who may do what the groups of the migration say.

use serde_json::json;

use super::{Scene, Way, ran, sql, with_password};
use crate::support::{AGENT, TENANT, text};

const RUN: [&str; 7] = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", "say hello"];

/// A login that is a member of a group. It goes when this is dropped.
struct Login<'a> {
    scene: &'a Scene,
    name: String,
}

impl<'a> Login<'a> {
    fn member_of(scene: &'a Scene, group: &str) -> Self {
        let login = Self::new(scene, group);
        scene.sql(&format!("GRANT {group} TO {}", login.name));
        login
    }

    fn new(scene: &'a Scene, what: &str) -> Self {
        let database = &scene.sql("SELECT current_database()")[0][0];
        let name = format!("{what}_of_{database}");
        scene.sql(&format!("CREATE ROLE {name} LOGIN"));
        Self { scene, name }
    }

    /// What this login sees, under the settings of a session.
    fn sql(&self, statement: &str) -> Result<Vec<Vec<String>>, String> {
        super::asked(&with_password(&self.scene.raw_url(), &self.name), statement)
    }
}

impl Drop for Login<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        if !std::thread::panicking() {
            sql(&self.scene.raw_url(), &format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}"));
        }
    }
}

#[test]
fn an_engine_runs_everything_and_gives_nothing_up() {
    for way in [Way::Direct, Way::Pooled] {
        let scene = Scene::empty(way).initialised();
        let engine = Login::member_of(&scene, "runproof_engine");
        scene.ok(&mut scene.as_role(&engine.name, &["create-tenant", "--id", "second"]));
        scene.ok(&mut scene.as_role(&engine.name, &["create-agent", "--name", "two", "--tenant-id", "second"]));
        let spoken = ran(&mut scene.as_role(&engine.name, &RUN));
        assert_eq!((spoken.code, spoken.stderr.as_str()), (0, ""), "{way:?}: nothing is given up: {spoken:?}");
        assert!(spoken.stdout.contains("Proof:   VERIFIED"), "{way:?}: {spoken:?}");
        let queued = scene.ok(&mut scene.as_role(&engine.name, &[&RUN[..], &["--no-wait"]].concat()));
        scene.ok(&mut scene.as_role(&engine.name, &["worker", "--drain"]));
        let id = text(&queued["run_id"]);
        let proof = scene.ok(&mut scene.as_role(&engine.name, &["proof", &id, "--tenant-id", TENANT]));
        assert_eq!(proof["verdict"], "VERIFIED");
        only_one_tenant_at_a_time(&scene, &engine);
        let status = scene.ok(&mut scene.as_role(&engine.name, &["migrate", "--status"]));
        assert_eq!((&status["given_up"], &status["missing"]), (&json!([]), &json!([])));
        assert_eq!(scene.every_run_is_whole(), 2);
    }
}

#[test]
fn an_engine_may_not_migrate() {
    let scene = Scene::empty(Way::Direct).initialised();
    let engine = Login::member_of(&scene, "runproof_engine");
    let other = Scene::empty(Way::Direct);
    let mut migrating = other.migrating(&[]);
    migrating.env("DATABASE_URL", other.url.replacen("://runproof:", &format!("://{}:", engine.name), 1));
    let said = scene.refused(&mut migrating, 8, "database.privilege");
    assert!(said.contains("permission denied"), "{said}");
}

#[test]
fn an_auditor_reads_everything_and_writes_nothing() {
    let scene = Scene::empty(Way::Pooled).initialised();
    let auditor = Login::member_of(&scene, "runproof_auditor");
    let run = scene.ok(&mut scene.run_command(&[]));
    let id = text(&run["run_id"]);
    let proof = scene.ok(&mut scene.as_role(&auditor.name, &["proof", &id, "--tenant-id", TENANT]));
    assert_eq!(proof["verdict"], "VERIFIED");
    assert_eq!(scene.ok(&mut scene.as_role(&auditor.name, &["log", "verify"]))["verdict"], "VERIFIED");
    let listed = scene.ok(&mut scene.as_role(&auditor.name, &["list-runs"]));
    assert_eq!(listed["runs"][0]["run_id"], run["run_id"]);
    assert_eq!(scene.ok(&mut scene.as_role(&auditor.name, &["get-run", &id]))["status"], "succeeded");

    let before = scene.rows();
    for command in
        [&RUN[..], &["worker", "--drain"], &["create-tenant", "--id", "other"], &["cancel", &id, "--tenant-id", TENANT]]
    {
        let said = scene.refused(&mut scene.as_role(&auditor.name, command), 8, "store.unprotected");
        assert!(said.contains(&format!("GRANT runproof_engine TO \"{}\"", auditor.name)), "{said}");
    }
    assert_eq!(scene.rows(), before, "nothing was written");
}

#[test]
fn the_api_sees_the_tenant_that_its_transaction_names_and_no_other() {
    let scene = Scene::empty(Way::Direct).initialised();
    scene.ok(&mut scene.home.command(&["create-tenant", "--id", "second"]));
    scene.ok(&mut scene.run_command(&[]));
    let api = Login::member_of(&scene, "runproof_api");
    let runs = "SELECT tenant_id FROM public.runs";
    assert!(api.sql(runs).unwrap().is_empty(), "nothing named is nothing seen");
    let named = |tenant: &str| format!("BEGIN; SET LOCAL runproof.tenants = '{tenant}'; {runs}; COMMIT");
    assert_eq!(api.sql(&named(TENANT)).unwrap(), [[TENANT]]);
    assert!(api.sql(&named("second")).unwrap().is_empty());
    let denied = api.sql("SELECT * FROM public.kv").unwrap_err();
    assert!(denied.contains("permission denied"), "{denied}");

    let listed = scene.ok(&mut scene.as_role(&api.name, &["list-runs", "--tenant-id", TENANT]));
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1);
    scene.refused(&mut scene.as_role(&api.name, &RUN), 8, "store.unprotected");
    only_one_tenant_at_a_time(&scene, &api);
}

/// Who may not see all tenants is not told that there are none.
fn only_one_tenant_at_a_time(scene: &Scene, login: &Login<'_>) {
    for command in [&["list-runs"][..], &["list-agents"], &["get-run", "r"], &["last"], &["log", "verify"]] {
        let said = scene.refused(&mut scene.as_role(&login.name, command), 8, "database.one_tenant");
        assert!(said.contains("sees one tenant at a time"), "{said}");
    }
}

#[test]
fn an_owner_who_is_no_superuser_works_and_says_what_that_gives_up() {
    let scene = Scene::empty(Way::Direct);
    let owner = Login::new(&scene, "owner");
    scene.sql(&format!("GRANT CREATE ON SCHEMA public TO {}", owner.name));
    let as_owner = |arguments: &[&str]| scene.as_role(&owner.name, arguments);
    let mut migrating = as_owner(&["migrate"]);
    scene.ok(migrating.env("DB_ROLE", "staging"));
    scene.ok(&mut as_owner(&["init"]));
    scene.ok(&mut as_owner(&["create-tenant", "--id", TENANT]));
    scene.ok(&mut as_owner(&["create-agent", "--name", AGENT, "--tenant-id", TENANT]));
    let spoken = ran(&mut as_owner(&RUN));
    assert_eq!(spoken.code, 0, "{spoken:?}");
    let note = format!("note: evaluation only: `{}` owns the tables", owner.name);
    assert_eq!(spoken.stderr.matches(&note).count(), 1, "{}", spoken.stderr);
    let status = scene.ok(&mut as_owner(&["migrate", "--status"]));
    assert!(text(&status["given_up"][0]).contains("owns the tables"), "{status:#}");
}

#[test]
fn a_login_without_a_group_is_told_what_it_lacks() {
    let scene = Scene::empty(Way::Direct).initialised();
    let nobody = Login::new(&scene, "nobody");
    let said = scene.refused(&mut scene.as_role(&nobody.name, &RUN), 8, "database.privilege");
    assert!(said.contains("permission denied"), "{said}");
}
