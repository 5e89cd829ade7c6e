//! A database that is older than what was signed.

use super::{Scene, Way, asked};
use crate::cluster::direct_url;
use crate::support::text;

#[test]
fn an_older_database_is_refused_until_the_loss_is_on_record() {
    let scene = Scene::empty(Way::Direct).initialised();
    scene.ran(&mut scene.run_command(&[]));
    let name = scene.sql("SELECT current_database()")[0][0].clone();
    let older = format!("{name}_older");
    let admin = direct_url("postgres");
    asked(&admin, &format!("CREATE DATABASE {older} TEMPLATE {name}")).unwrap();
    scene.ran(&mut scene.run_command(&[]));
    let size = scene.ok(&mut scene.home.command(&["log", "verify"]))["tree_size"].as_u64().unwrap();
    let lost_size = size.to_string();
    let url = scene.url.replace(&name, &older);
    let on_older = |arguments: &[&str]| {
        let mut command = scene.home.command(arguments);
        command.env("DATABASE_URL", &url);
        command
    };
    let acknowledge = ["log", "acknowledge-rollback", "--lost-size", &lost_size];
    scene.refused(&mut scene.home.command(&acknowledge), 7, "store.not_rolled_back");
    let said = scene.refused(&mut on_older(&["worker", "--drain"]), 8, "store.rolled_back");
    assert!(said.contains(&lost_size), "it names what is lost: {said}");
    scene.ok(&mut on_older(&acknowledge));
    scene.ok(&mut on_older(&["worker", "--drain"]));
    assert_eq!(text(&scene.ok(&mut on_older(&["log", "verify"]))["verdict"]), "VERIFIED");
    let run = ["run", "--agent-id", crate::support::AGENT, "--goal", "after it", "--tenant-id", crate::support::TENANT];
    let after = scene.ran(&mut on_older(&run)).json();
    assert_eq!(text(&after["proof"]["verdict"]), "VERIFIED", "{after:#}");
    asked(&admin, &format!("DROP DATABASE {older} WITH (FORCE)")).unwrap();
}
