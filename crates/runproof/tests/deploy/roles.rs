//! The roles of deploy/roles.sql are enough for what each is for. On a server of its own: roles belong to all databases.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::cluster::Own;
use crate::support::{AGENT, Home, TENANT, ran};

/// Runs deploy/roles.sh, as the Postgres image does.
fn make_roles(server: &Own) {
    let secrets = tempfile::tempdir().unwrap();
    for name in ["owner", "worker", "api", "auditor", "retention"] {
        std::fs::write(secrets.path().join(format!("{name}_password")), format!("it's {name}")).unwrap();
    }
    let url = server.direct_url("runproof");
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap();
    let postgres = std::env::var("RUNPROOF_POSTGRES_BIN").unwrap_or("/usr/lib/postgresql/15/bin".to_owned());
    let path = format!("{postgres}:{}", std::env::var("PATH").unwrap());
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/roles.sh"));
    script.arg(secrets.path()).env("PATH", path).env("PGHOST", "127.0.0.1").env("PGPORT", port);
    let made = ran(script.env("PGUSER", "runproof").env("PGDATABASE", "runproof"));
    assert_eq!(made.code, 0, "{made:?}");
}

#[test]
fn the_owner_migrates_workers_work_and_auditors_read() {
    let server = Own::start(&[]);
    make_roles(&server);
    make_roles(&server);
    let home = Home::empty();
    let command = |role: &str, url: String, arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("DATABASE_URL", url.replacen("://runproof@", &format!("://{role}@"), 1));
        command
    };
    let ok = |command: &mut Command| {
        let ran = ran(command.arg("--json"));
        assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
        ran.json()
    };
    let (direct, pooled) = (|| server.direct_url("runproof"), || server.pooled_url("runproof"));

    let refused = ran(command("runproof_worker", direct(), &["migrate"]).env("DB_ROLE", "staging"));
    assert_eq!(refused.code, 8, "only the owner changes the schema: {refused:?}");
    ok(command("runproof_owner", direct(), &["migrate"]).env("DB_ROLE", "staging"));
    ok(&mut command("runproof_worker", pooled(), &["init"]));
    ok(&mut command("runproof_worker", pooled(), &["create-tenant", "--id", TENANT]));
    ok(&mut command("runproof_worker", pooled(), &["create-agent", "--name", AGENT, "--tenant-id", TENANT]));
    let status = ok(&mut command("runproof_worker", pooled(), &["migrate", "--status"]));
    assert_eq!((&status["given_up"], &status["missing"]), (&json!([]), &json!([])));
    let run = ["run", "--tenant-id", TENANT, "--agent-id", AGENT, "--goal", "say hello", "--no-wait"];
    ok(&mut command("runproof_worker", pooled(), &run));
    assert_eq!(ok(&mut command("runproof_worker", pooled(), &["worker", "--drain"]))["driven"], 1);
    assert_eq!(ok(&mut command("runproof_audit", direct(), &["log", "verify"]))["verdict"], "VERIFIED");
}
