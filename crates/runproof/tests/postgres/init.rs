//! `init` on Postgres: home, key and ledger, and nothing that somebody else has.

use super::{Scene, WAYS, Way, ended, ran, started};
use crate::support::{Home, text};

fn files(home: &Home) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(home.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn init_applies_no_schema_and_makes_nothing_without_one() {
    let scene = Scene::empty(Way::Pooled);
    scene.refused(&mut scene.home.command(&["init"]), 8, "store.not_migrated");
    assert!(files(&scene.home).is_empty(), "{:?}", files(&scene.home));
    assert_eq!(scene.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), 0);
}

#[test]
fn init_again_and_at_once_makes_one_key_and_one_ledger() {
    for way in WAYS {
        let scene = Scene::empty(way);
        scene.ok(&mut scene.migrating(&[]));
        let children: Vec<_> = (0..4).map(|_| started(&mut scene.home.command(&["init", "--json"]))).collect();
        let said: Vec<_> = children.into_iter().map(ended).collect();
        assert!(said.iter().all(|ran| ran.code == 0), "{way:?}: {said:?}");
        assert_eq!(said.iter().filter(|ran| ran.json()["created"] == true).count(), 1, "one of them made the key");
        let key = scene.home.vkey();
        assert!(said.iter().all(|ran| ran.json()["vkey"] == key.as_str()), "{said:?}");
        assert_eq!(scene.sql("SELECT vkey FROM public.ledger"), [[key]]);
        scene.ok(&mut scene.home.command(&["init"]));
        assert_eq!(scene.number("SELECT count(*) FROM public.transitions WHERE stream = 'log'"), 1);
        scene.every_run_is_whole();
    }
}

#[test]
fn another_key_than_the_ledgers_is_refused_and_none_is_made() {
    let scene = Scene::empty(Way::Direct).initialised();
    let stranger = Home::empty().with("DATABASE_URL", &scene.url);
    scene.refused(&mut stranger.command(&["init"]), 8, "store.other_key");
    assert!(files(&stranger).is_empty(), "{:?}", files(&stranger));
    // A home that has a key, for another database.
    ran(stranger.command(&["init"]).env_remove("DATABASE_URL"));
    assert!(stranger.folder().join("log.key").exists());
    scene.refused(&mut stranger.command(&["init"]), 8, "store.other_key");
    let said = scene.refused(&mut stranger.command(&["create-tenant", "--id", "other"]), 8, "store.other_key");
    assert!(said.contains(&scene.home.vkey()), "{said}");
    assert_eq!(scene.sql("SELECT id FROM public.tenants"), [["acme"]]);
}

#[test]
fn a_home_that_signed_another_ledger_begins_none() {
    let scene = Scene::empty(Way::Pooled).initialised();
    let other = Scene::empty(Way::Pooled);
    scene.ok(&mut other.migrating(&[]));
    let url = &other.url;
    scene.refused(scene.home.command(&["init"]).env("DATABASE_URL", url), 8, "init.ledger_missing");
    assert_eq!(other.number("SELECT count(*) FROM public.ledger"), 0);
}

#[test]
fn one_url_for_everything_works_and_says_what_it_gives_up() {
    let scene = Scene::empty(Way::Pooled).initialised();
    for command in [
        &mut scene.home.command(&["init"]),
        &mut scene.run_command(&[]),
        &mut scene.home.command(&["worker", "--drain"]),
    ] {
        let ran = ran(command);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.stderr.matches("note: evaluation only: `runproof` is a superuser").count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn whoever_has_no_key_records_and_another_process_signs() {
    let scene = Scene::empty(Way::Direct).initialised();
    let keyless = Home::empty().with("DATABASE_URL", &scene.url);
    std::fs::copy(scene.home.path("trust.json"), keyless.path("trust.json")).unwrap();
    let command = ["run", "--tenant-id", "acme", "--agent-id", "scout", "--goal", "say hello"];
    let alone = ran(&mut keyless.command(&command));
    assert_eq!(alone.code, 0, "{alone:?}");
    assert!(alone.stdout.contains("UNANCHORED"), "{}", alone.stdout);
    assert_eq!(alone.stderr.matches("note: there is no log key at").count(), 1, "{}", alone.stderr);

    let mut signer = started(&mut scene.home.command(&["worker"]));
    let beside = ran(keyless.command(&command).arg("--json"));
    signer.kill().unwrap();
    ended(signer);
    assert_eq!((beside.code, text(&beside.json()["proof"]["verdict"]).as_str()), (0, "VERIFIED"), "{beside:?}");
    assert_eq!(scene.every_run_is_whole(), 2);
}
