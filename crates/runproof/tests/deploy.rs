//! The files of deploy/: what they call, set and promise is what the program has. Nothing is deployed here.

mod roles;
mod yaml;

use std::path::Path;

use clap::ArgMatches;
use runproof_store::postgres::Address;
use serde_json::Value;

use yaml::documents;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compose() -> Value {
    documents(&read("deploy/compose.yaml")).remove(0)
}

fn kubernetes() -> Vec<Value> {
    documents(&read("deploy/kubernetes.yaml"))
}

const UNITS: [&str; 2] = ["deploy/systemd/runproof-worker@.service", "deploy/systemd/runproof-migrate.service"];
const SETTINGS: [&str; 2] = ["deploy/systemd/worker.env.example", "deploy/systemd/migrate.env.example"];

/// Services of the compose file that run the program.
fn services(compose: &Value) -> impl Iterator<Item = &Value> {
    compose["services"].as_object().unwrap().values().filter(|service| service["image"] == "runproof")
}

/// What Kubernetes makes pods from, with the containers that run the program.
fn pods(objects: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    let pods = objects.iter().filter(|object| object["spec"]["template"].is_object());
    pods.filter_map(|object| {
        let containers = object["spec"]["template"]["spec"]["containers"].as_array()?;
        Some((object, containers.iter().find(|container| container["image"] == "runproof:latest")?))
    })
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The command lines of a unit, without the path of the program.
fn started(unit: &str) -> Vec<Vec<String>> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/runproof "));
    lines.map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// What the program makes of a command line.
fn parsed(words: &[String]) -> ArgMatches {
    let line = std::iter::once("runproof".to_owned()).chain(words.iter().cloned());
    runproof::cli::definition().try_get_matches_from(line).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

#[test]
fn every_command_line_is_one_of_the_program() {
    let (compose, kubernetes) = (compose(), kubernetes());
    let mut lines: Vec<Vec<String>> = services(&compose).map(|service| words(&service["command"])).collect();
    lines.extend(pods(&kubernetes).map(|(_, container)| words(&container["args"])));
    lines.extend(UNITS.iter().flat_map(|unit| started(&read(unit))));
    let image = read("deploy/Dockerfile");
    let check = image.split("CMD [\"runproof\"").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    lines.push(words(&serde_json::from_str(&format!("[{}", check.trim_start_matches(','))).unwrap()));
    let page = read("docs/guide/scaling.md");
    let quoted = page.lines().filter_map(|line| line.strip_prefix("    runproof "));
    lines.extend(quoted.map(|line| line.split(" #").next().unwrap().split_whitespace().map(str::to_owned).collect()));
    assert!(lines.len() > 10, "the files were read: {lines:?}");
    for line in lines {
        parsed(&line);
    }
}

/// Every name that the files give to a variable of the program.
fn variables() -> Vec<String> {
    let keys = |value: &Value| value.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect::<Vec<_>>();
    let (compose, kubernetes) = (compose(), kubernetes());
    let mut names: Vec<String> = services(&compose).flat_map(|service| keys(&service["environment"])).collect();
    for (_, container) in pods(&kubernetes) {
        let set = container["env"].as_array().unwrap().iter();
        names.extend(set.map(|variable| variable["name"].as_str().unwrap().to_owned()));
    }
    let settings =
        kubernetes.iter().find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == "runproof");
    names.extend(keys(&settings.unwrap()["data"]));
    let image = read("deploy/Dockerfile");
    let before = |line: &str| line.split_once('=').map(|(name, _)| name.to_owned());
    names.extend(image.lines().filter_map(|line| before(line.strip_prefix("ENV ")?)));
    for unit in UNITS {
        names.extend(read(unit).lines().filter_map(|line| before(line.strip_prefix("Environment=")?)));
    }
    for file in SETTINGS {
        names.extend(
            read(file)
                .lines()
                .filter(|line| !line.starts_with("# "))
                .filter_map(|line| before(line.trim_start_matches('#'))),
        );
    }
    names.extend(read("deploy/make-secrets").lines().filter_map(|line| before(line.strip_prefix("printf '")?)));
    names
}

#[test]
fn every_variable_is_one_that_the_program_reads() {
    let source: String = ["app", "cli/migrate/gate", "cli/verify", "runtime"]
        .map(|file| read(&format!("crates/runproof/src/{file}.rs")))
        .concat();
    let names = variables();
    for expected in ["DATABASE_URL", "DB_ROLE", "RUNPROOF_HOME", "RUNPROOF_EGRESS_ALLOW", "RUNPROOF_SECRET_SHOP_TOKEN"]
    {
        assert!(names.iter().any(|name| name == expected), "the files were read: {names:?}");
    }
    for name in names {
        let is_secret = name.starts_with("RUNPROOF_SECRET_") && source.contains("\"RUNPROOF_SECRET_{name}\"");
        assert!(is_secret || source.contains(&format!("\"{name}\"")), "nothing reads {name}");
    }
}

/// Seconds that a worker with this command line waits for what is under way; `None` for other commands.
fn drains_for(words: &[String]) -> Option<u64> {
    let matches = parsed(words);
    let (command, worker) = matches.subcommand()?;
    (command == "worker").then(|| *worker.get_one::<u64>("drain_timeout").unwrap())
}

#[test]
fn whoever_stops_a_worker_waits_longer_than_it_drains() {
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().unwrap();
    let (compose, kubernetes) = (compose(), kubernetes());
    let mut waits = Vec::new();
    for service in services(&compose) {
        let Some(drains) = drains_for(&words(&service["command"])) else { continue };
        waits.push((drains, seconds(service["stop_grace_period"].as_str().unwrap())));
    }
    for (object, container) in pods(&kubernetes) {
        let Some(drains) = drains_for(&words(&container["args"])) else { continue };
        let grace = &object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        waits.push((drains, seconds(grace.as_str().unwrap())));
    }
    for unit in UNITS.map(read) {
        let Some(drains) = started(&unit).iter().find_map(|words| drains_for(words)) else { continue };
        let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
        waits.push((drains, seconds(stop)));
    }
    assert_eq!(waits.len(), 5, "two services, two kinds of pods, one unit");
    for (drains, stops) in waits {
        assert!(stops > drains, "a worker that drains for {drains} s is killed after {stops} s");
    }
}

#[test]
fn the_pool_has_a_connection_for_each_of_every_worker() {
    let each = Address::parse("postgres://somebody@localhost/runs").unwrap().connections;
    let pool = |settings: &str| -> usize {
        let size = settings.lines().find_map(|line| line.trim().strip_prefix("default_pool_size = "));
        size.unwrap().parse().unwrap()
    };
    let compose = compose();
    let workers = services(&compose).filter(|service| drains_for(&words(&service["command"])).is_some()).count();
    assert!(workers >= 2 && workers * each <= pool(&read("deploy/pgbouncer.ini")), "{workers} workers of {each}");

    let kubernetes = kubernetes();
    let replicas = |object: &Value| object["spec"]["replicas"].as_str().unwrap().parse::<usize>().unwrap();
    let named = |kind: &str, name: &str| {
        kubernetes.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
    };
    let workers: usize = pods(&kubernetes)
        .filter(|(_, container)| drains_for(&words(&container["args"])).is_some())
        .map(|(object, _)| replicas(object))
        .sum();
    let settings = named("ConfigMap", "pgbouncer")["data"]["pgbouncer.ini"].as_str().unwrap();
    let poolers = replicas(named("Deployment", "pgbouncer"));
    assert!(workers > 2 && workers * each <= pool(settings) * poolers, "{workers} workers of {each}");
}

#[test]
fn the_image_is_built_with_the_pinned_toolchain() {
    let pinned = read("rust-toolchain.toml");
    let channel = pinned.lines().find_map(|line| line.strip_prefix("channel = \"")).unwrap().trim_end_matches('"');
    let image = read("deploy/Dockerfile");
    assert!(image.contains(&format!("FROM rust:{channel}-")), "rust-toolchain.toml says {channel}");
    assert!(image.contains(&format!("RUSTUP_TOOLCHAIN={channel} ")), "rust-toolchain.toml says {channel}");
}
