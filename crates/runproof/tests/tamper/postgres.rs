//! The same on Postgres: a superuser with triggers off and without constraints changes one thing.
//!
//! Each change is made in place, proved in this process, and taken back with the saved row, because a copy of the
//! database for each would take a tenth of a second. Every column of every row is changed, one edit each, and four of
//! events and values; all edits of each cell are tried on the embedded store, whose proof is the same code.

use std::sync::OnceLock;

use runproof::prove::prove;
use runproof_proof::trust::Trust;
use runproof_store::postgres::{Address, PgStore};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::rows::flipped;
use super::scene::{Fault, OTHER, Said, none_of};
use crate::cluster::{self, Database};
use crate::support::{AGENT, Home, Leg, TENANT, eventually, sample_steps, text};

/// Tables that hold evidence or follow from it.
const TABLES: &[&str] = &[
    "agents",
    "aos_trace_steps",
    "aos_traces",
    "checkpoints",
    "erasures",
    "leaves",
    "ledger_tiles",
    "run_seals",
    "runs",
    "tenants",
    "transitions",
];

/// Runs of two tenants, and the database as it was when only the first was over.
struct Scene {
    home: Home,
    older: Database,
    trust: Trust,
    runs: Vec<(String, String)>,
}

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let home = Home::on(Leg::Postgres);
        home.ok(&["create-tenant", "--id", OTHER]);
        home.ok(&["create-agent", "--name", AGENT, "--tenant-id", OTHER]);
        let mut runs = Vec::new();
        let mut keep = |run: &Value| runs.push((text(&run["tenant_id"]), text(&run["run_id"])));
        keep(&home.run_plan(sample_steps(), &["--goal", "a bit of everything"]).1);
        let name = &home.postgres.as_ref().unwrap().name;
        let older = cluster::copy_of(name);
        keep(&home.run_plan(json!([{ "id": "only", "skill": "no_such_skill" }]), &[]).1);
        let plan = home.plan(sample_steps());
        keep(&home.ok(&["run", "--tenant-id", OTHER, "--agent-id", AGENT, "--plan", &plan, "--synthetic", "drill"]));
        // Another pass settles what is placed: then a place that is missing at the end was deleted.
        let settled = "SELECT settled_id >= (SELECT max(id) FROM public.transitions) FROM public.ledger_head";
        eventually("everything is settled", || {
            home.ok(&["worker", "--drain"]);
            (home.sql(settled)[0][0] == "t").then_some(())
        });
        let trust = home.home().trust().unwrap();
        Scene { older, trust, runs, home }
    })
}

/// A copy of the database, a session that nothing stops, and a reader.
struct Copy {
    runtime: Runtime,
    raw: Client,
    store: PgStore,
    _database: Database,
}

/// What a change is about.
struct Change<'a> {
    table: &'a str,
    column: Option<&'a str>,
    is_key: bool,
    case: String,
    make: String,
    undo: String,
}

impl Copy {
    fn of(name: &str, leg: Leg) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let database = cluster::copy_of(name);
        let raw = runtime.block_on(cluster::connect(&database.direct_url())).unwrap();
        let freed = "SET session_replication_role = replica;
            ALTER TABLE public.transitions ALTER id DROP IDENTITY;
            DO $$ DECLARE c record; BEGIN
                FOR c IN SELECT conrelid::regclass AS at, conname FROM pg_constraint
                         WHERE contype = 'c' AND connamespace = 'public'::regnamespace LOOP
                    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.at, c.conname);
                END LOOP;
            END $$";
        runtime.block_on(raw.batch_execute(freed)).unwrap();
        let url = if leg == Leg::Pooled { database.pooled_url() } else { database.direct_url() };
        let address = Address::parse(&url).unwrap();
        let store = runtime.block_on(PgStore::open_reader(&address, runtime.handle())).unwrap();
        Self { runtime, raw, store, _database: database }
    }

    fn new(leg: Leg) -> Self {
        Self::of(&scene().home.postgres.as_ref().unwrap().name, leg)
    }

    fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let messages =
            self.runtime.block_on(self.raw.simple_query(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
        };
        messages.into_iter().filter_map(row).collect()
    }

    fn texts(&self, sql: &str) -> Vec<String> {
        self.rows(sql).into_iter().map(|row| row[0].clone().unwrap()).collect()
    }

    /// Whether the server lets even a superuser do it.
    fn does(&self, sql: &str) -> bool {
        self.runtime.block_on(self.raw.batch_execute(sql)).is_ok()
    }

    fn prove(&self, (tenant, run): &(String, String)) -> Said {
        match self.runtime.block_on(prove(&self.store, tenant, run, &scene().trust, None)) {
            Ok(Some(proof)) => Said::Report(Box::new(proof.report)),
            Ok(None) => Said::NotFound,
            Err(error) => Said::Error(error.to_string()),
        }
    }

    /// Makes the change, judges what `proof` says of the run, and takes it back. `None`: it could not be made.
    fn judge(&self, run: &(String, String), change: &Change<'_>) -> Option<Vec<Fault>> {
        if !self.does(&change.make) {
            return None;
        }
        let said = self.prove(run);
        assert!(self.does(&change.undo), "{}", change.undo);
        let named = match change.column {
            Some(column) if !change.is_key => said.names(change.table, column),
            _ => said.names_table(change.table),
        };
        let kind = format!("{}.{}", change.table, change.column.unwrap_or("*"));
        Some(said.fault(&kind, &change.case, named).into_iter().collect())
    }

    /// Everything was taken back.
    fn is_sound(&self) {
        for run in &scene().runs {
            let said = self.prove(run);
            assert_eq!(said.word(), "VERIFIED", "{:?}", said.places());
        }
    }

    fn columns(&self, table: &str) -> Vec<(String, String)> {
        let sql = format!(
            "SELECT attname, atttypid::regtype::text FROM pg_attribute
             WHERE attrelid = 'public.{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
        );
        self.rows(&sql).into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect()
    }

    fn key(&self, table: &str) -> Vec<String> {
        self.texts(&format!(
            "SELECT a.attname FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
             WHERE i.indisprimary AND i.indrelid = 'public.{table}'::regclass"
        ))
    }

    /// The rows of a table that a run rests on, by their keys: conditions over the old values.
    fn keys_of(&self, table: &str, (tenant, run): &(String, String)) -> Vec<Vec<(String, String)>> {
        let condition = match table {
            "transitions" => format!(
                "tenant_id = '{tenant}' AND (stream = 'run/{run}' OR stream = 'tenant/{tenant}' AND strpos(events, '{run}') > 0)"
            ),
            "leaves" => format!("tenant_id = '{tenant}' AND stream = 'run/{run}'"),
            "runs" => format!("tenant_id = '{tenant}' AND id = '{run}'"),
            "agents" => format!("tenant_id = '{tenant}'"),
            "tenants" => format!("id = '{tenant}'"),
            "checkpoints" => "size = (SELECT max(size) FROM public.checkpoints)".to_owned(),
            "ledger_tiles" => "true".to_owned(),
            _ => format!("tenant_id = '{tenant}' AND run_id = '{run}'"),
        };
        let key = self.key(table);
        let list: Vec<String> = key.iter().map(|column| format!("{column}::text")).collect();
        let sql = format!("SELECT {} FROM public.{table} WHERE {condition} ORDER BY 1, 2", list.join(", "));
        let sql = if key.len() == 1 { sql.replace("1, 2", "1") } else { sql };
        self.rows(&sql).into_iter().map(|row| key.iter().cloned().zip(row.into_iter().flatten()).collect()).collect()
    }
}

fn quoted(value: Option<&str>) -> String {
    value.map_or("NULL".to_owned(), |value| format!("'{}'", value.replace('\'', "''")))
}

fn condition(key: &[(String, String)]) -> String {
    let parts = key.iter().map(|(column, value)| format!("{column} = {}", quoted(Some(value))));
    parts.collect::<Vec<_>>().join(" AND ")
}

/// The key once one column has another value.
fn moved(key: &[(String, String)], column: &str, value: Option<&str>) -> Vec<(String, String)> {
    let other = |(name, old): &(String, String)| {
        (name.clone(), if name == column { value.unwrap_or_default().to_owned() } else { old.clone() })
    };
    key.iter().map(other).collect()
}

/// Small changes to a value of a type.
fn edits(kind: &str, value: Option<&str>) -> Vec<String> {
    match (kind, value) {
        ("bigint", None) => vec!["1".to_owned()],
        ("bigint", Some(number)) => {
            let number: i64 = number.parse().unwrap();
            vec![(number + 1).to_string(), (number ^ 8).to_string(), (-number - 1).to_string()]
        }
        ("bytea", Some(hex)) => (2..6).map(|part| flipped(hex, hex.len() - part)).collect(),
        (_, None) => vec!["x".to_owned()],
        (_, Some(text)) => {
            let length = text.chars().count();
            let mut all: Vec<String> = (0..4).map(|part| flipped(text, length * part / 4)).collect();
            all.extend([format!("{text} "), String::new()]);
            all.retain(|edit| edit != text);
            all
        }
    }
}

/// Changes every column of the rows that a run rests on.
fn every_cell(run: &(String, String), least: usize) {
    let copy = Copy::new(Leg::Postgres);
    let (mut faults, mut cases, mut turn) = (Vec::new(), 0, 0);
    for table in TABLES {
        let columns = copy.columns(table);
        for key in copy.keys_of(table, run) {
            for (column, kind) in &columns {
                let read = format!("SELECT {column}::text FROM public.{table} WHERE {}", condition(&key));
                let old = copy.rows(&read)[0][0].clone();
                let mut all = edits(kind, old.as_deref());
                let rotation = turn % all.len();
                all.rotate_left(rotation);
                turn += 1;
                let most = if matches!(column.as_str(), "events" | "payloads" | "note" | "hashes") { 4 } else { 1 };
                for new in all.into_iter().take(most) {
                    let set = |value: Option<&str>, at: &[(String, String)]| {
                        format!("UPDATE public.{table} SET {column} = {} WHERE {}", quoted(value), condition(at))
                    };
                    let change = Change {
                        table,
                        column: Some(column),
                        is_key: key.iter().any(|(name, _)| name == column)
                            || column.ends_with("run_id")
                            || matches!(column.as_str(), "tenant_id" | "stream" | "first_seq"),
                        case: format!("{table} {} {column} -> {new:.60}", condition(&key)),
                        make: set(Some(&new), &key),
                        undo: set(old.as_deref(), &moved(&key, column, Some(&new))),
                    };
                    if let Some(found) = copy.judge(run, &change) {
                        cases += 1;
                        faults.extend(found);
                    }
                }
            }
        }
    }
    none_of(&faults, cases, least);
    copy.is_sound();
}

#[test]
fn a_changed_cell_of_a_successful_run_is_found_and_named() {
    every_cell(&scene().runs[0], 250);
}

#[test]
fn a_changed_cell_of_a_synthetic_run_of_another_tenant_is_found_and_named() {
    every_cell(&scene().runs[2], 250);
}

/// Each row that belongs to the run is gone, once; through the pooler, because it is read the same way.
#[test]
fn a_deleted_row_is_found_and_named_through_the_pooler() {
    let copy = Copy::new(Leg::Pooled);
    let (mut faults, mut cases) = (Vec::new(), 0);
    for run in &scene().runs {
        // Without its newest checkpoint a database is an older one: see below.
        for table in TABLES.iter().filter(|table| **table != "checkpoints") {
            let names: Vec<String> = copy.columns(table).into_iter().map(|(name, _)| name).collect();
            for key in copy.keys_of(table, run) {
                let change = Change {
                    table,
                    column: None,
                    is_key: true,
                    case: format!("{table} {}", condition(&key)),
                    make: format!(
                        "CREATE TEMP TABLE saved AS SELECT {0} FROM public.{table} WHERE {1}; DELETE FROM public.{table} WHERE {1}",
                        names.join(", "),
                        condition(&key)
                    ),
                    undo: format!(
                        "INSERT INTO public.{table} ({0}) SELECT {0} FROM saved; DROP TABLE saved",
                        names.join(", ")
                    ),
                };
                faults.extend(copy.judge(run, &change).expect("a superuser may delete"));
                cases += 1;
            }
        }
    }
    none_of(&faults, cases, 60);
    copy.is_sound();
}

#[test]
fn a_row_that_is_there_twice_is_found_and_named() {
    let copy = Copy::new(Leg::Postgres);
    let twins = [
        ("aos_trace_steps", "step_index", "step_index + 100"),
        ("aos_trace_steps", "trace_id", "'other'"),
        ("aos_traces", "trace_id", "trace_id || 'x'"),
        ("run_seals", "tenant_id", "'ghost'"),
        ("runs", "tenant_id", "'ghost'"),
        ("transitions", "first_seq", "first_seq + 1000"),
    ];
    let (mut faults, mut cases) = (Vec::new(), 0);
    for run in &scene().runs {
        for (table, column, value) in twins {
            let names: Vec<String> = copy.columns(table).into_iter().map(|(name, _)| name).collect();
            for key in copy.keys_of(table, run) {
                let values: Vec<String> = names
                    .iter()
                    .map(|name| match name.as_str() {
                        _ if name == column => value.to_owned(),
                        "id" if table == "transitions" => "id + 100000".to_owned(),
                        _ => name.clone(),
                    })
                    .collect();
                let change = Change {
                    table,
                    column: None,
                    is_key: true,
                    case: format!("{table} {} with {column} = {value}", condition(&key)),
                    make: format!(
                        "INSERT INTO public.{table} ({}) SELECT {} FROM public.{table} WHERE {}",
                        names.join(", "),
                        values.join(", "),
                        condition(&key)
                    ),
                    undo: {
                        let read = format!("SELECT ({value})::text FROM public.{table} WHERE {}", condition(&key));
                        let twin = copy.rows(&read)[0][0].clone();
                        format!("DELETE FROM public.{table} WHERE {}", condition(&moved(&key, column, twin.as_deref())))
                    },
                };
                faults.extend(copy.judge(run, &change).expect("a superuser may insert"));
                cases += 1;
            }
        }
    }
    none_of(&faults, cases, 20);
    copy.is_sound();
}

/// Two rows after each other exchange a column: the order of a run, of its places, and what is at them.
#[test]
fn rows_in_another_order_are_found_and_named() {
    let copy = Copy::new(Leg::Postgres);
    let (mut faults, mut cases) = (Vec::new(), 0);
    for run in &scene().runs {
        for (table, columns) in [
            ("aos_trace_steps", &["step_index", "skill_name", "duration_us", "step_id"][..]),
            ("transitions", &["first_seq", "events", "payloads", "stream", "id"]),
            ("leaves", &["first_leaf", "first_seq", "stream", "transition_id"]),
        ] {
            for pair in copy.keys_of(table, run).windows(2) {
                for column in columns {
                    let read = |key: &[(String, String)]| {
                        let sql = format!("SELECT {column}::text FROM public.{table} WHERE {}", condition(key));
                        copy.rows(&sql)[0][0].clone()
                    };
                    let (one, two) = (read(&pair[0]), read(&pair[1]));
                    if one == two {
                        continue;
                    }
                    let parked =
                        if columns.contains(column) && one.as_deref().is_some_and(|one| one.parse::<i64>().is_ok()) {
                            "-7"
                        } else {
                            "parked"
                        };
                    let set = |from: &[(String, String)], value: Option<&str>| {
                        format!("UPDATE public.{table} SET {column} = {} WHERE {}", quoted(value), condition(from))
                    };
                    let swap = |first: &[(String, String)],
                                second: &[(String, String)],
                                to_first: &Option<String>,
                                to_second: &Option<String>| {
                        [
                            set(first, Some(parked)),
                            set(second, to_second.as_deref()),
                            set(&moved(first, column, Some(parked)), to_first.as_deref()),
                        ]
                        .join("; ")
                    };
                    let (first, second) =
                        (moved(&pair[0], column, two.as_deref()), moved(&pair[1], column, one.as_deref()));
                    let change = Change {
                        table,
                        column: None,
                        is_key: true,
                        case: format!("{column} of {table} {} and the next", condition(&pair[0])),
                        make: swap(&pair[0], &pair[1], &two, &one),
                        undo: swap(&first, &second, &one, &two),
                    };
                    if let Some(found) = copy.judge(run, &change) {
                        faults.extend(found);
                        cases += 1;
                    }
                }
            }
        }
    }
    none_of(&faults, cases, 60);
    copy.is_sound();
}

/// Tails that are cut off, runs that exchange their rows, a row in another tenant, and all rows gone.
#[test]
fn whole_parts_that_are_cut_swapped_or_moved_are_found() {
    let (mixed, failed) = (&scene().runs[0], &scene().runs[1]);
    let cut = |table: &str, count: u32| {
        format!(
            "DELETE FROM public.{table} WHERE (stream, first_seq) IN (SELECT stream, first_seq FROM public.{table}
             WHERE stream = 'run/{}' ORDER BY first_seq DESC LIMIT {count})",
            mixed.1
        )
    };
    let swap = |table: &str, column: &str, prefix: &str| {
        format!(
            "UPDATE public.{table} SET {column} = CASE {column} WHEN '{prefix}{0}' THEN '{prefix}{1}' ELSE '{prefix}{0}' END || '~'
             WHERE {column} IN ('{prefix}{0}', '{prefix}{1}');
             UPDATE public.{table} SET {column} = rtrim({column}, '~') WHERE {column} LIKE '%~'",
            mixed.1, failed.1
        )
    };
    let everything = [
        ("runs", "id", ""),
        ("aos_traces", "run_id", ""),
        ("aos_traces", "trace_id", "trace_"),
        ("aos_trace_steps", "run_id", ""),
        ("aos_trace_steps", "trace_id", "trace_"),
        ("run_seals", "run_id", ""),
        ("transitions", "stream", "run/"),
        ("leaves", "stream", "run/"),
    ];
    let mut all: Vec<(String, Vec<&(String, String)>)> = Vec::new();
    for count in 1..4 {
        all.push((cut("transitions", count), vec![mixed]));
        all.push((cut("leaves", count), vec![mixed]));
        all.push((format!("{}; {}", cut("transitions", count), cut("leaves", count)), vec![mixed]));
    }
    for (table, column, prefix) in everything {
        all.push((swap(table, column, prefix), vec![mixed, failed]));
    }
    all.push((everything.map(|(table, column, prefix)| swap(table, column, prefix)).join("; "), vec![mixed, failed]));
    for (table, condition) in [
        ("runs", format!("id = '{}'", mixed.1)),
        ("aos_traces", format!("run_id = '{}'", mixed.1)),
        ("aos_trace_steps", format!("run_id = '{}'", mixed.1)),
        ("run_seals", format!("run_id = '{}'", mixed.1)),
        ("transitions", format!("stream = 'run/{}'", mixed.1)),
        ("leaves", format!("stream = 'run/{}'", mixed.1)),
    ] {
        let number = if table == "runs" { ", run_no = 100" } else { "" }; // there is a first run in the other one too
        all.push((format!("UPDATE public.{table} SET tenant_id = '{OTHER}'{number} WHERE {condition}"), vec![mixed]));
    }
    for (change, runs) in all {
        let copy = Copy::new(Leg::Postgres);
        assert!(copy.does(&change), "{change}");
        for run in runs {
            let said = copy.prove(run);
            assert!(matches!(said.word(), "TAMPERED" | "INCOMPLETE"), "{change}: {} {:?}", said.word(), said.places());
            assert!(!said.places().is_empty(), "{change}");
        }
    }
}

#[test]
fn an_older_copy_is_rolled_back_and_a_run_whose_rows_are_gone_is_missing() {
    let copy = Copy::of(&scene().older.name, Leg::Pooled);
    let said = copy.prove(&scene().runs[0]);
    assert_eq!(said.word(), "ROLLED_BACK", "{:?}", said.places());
    assert_eq!(copy.prove(&scene().runs[1]).word(), "not found");

    let copy = Copy::new(Leg::Postgres);
    let newest = "DELETE FROM public.checkpoints WHERE size = (SELECT max(size) FROM public.checkpoints)";
    assert!(copy.does(newest));
    let said = copy.prove(&scene().runs[0]);
    assert_eq!(said.word(), "ROLLED_BACK", "{:?}", said.places());

    let copy = Copy::new(Leg::Postgres);
    let run = &scene().runs[1].1;
    for (table, column, value) in [
        ("runs", "id", run.clone()),
        ("aos_traces", "run_id", run.clone()),
        ("aos_trace_steps", "run_id", run.clone()),
        ("run_seals", "run_id", run.clone()),
        ("transitions", "stream", format!("run/{run}")),
        ("leaves", "stream", format!("run/{run}")),
    ] {
        assert!(copy.does(&format!("DELETE FROM public.{table} WHERE {column} = '{value}'")));
    }
    let Said::Report(report) = copy.prove(&scene().runs[1]) else { panic!("no report") };
    let finding = report.decisive().unwrap();
    assert_eq!((report.verdict().word(), finding.code.word()), ("INCOMPLETE", "run.missing"));
    assert!(
        copy.does(&format!(
            "DELETE FROM public.transitions WHERE tenant_id = '{TENANT}' AND strpos(events, '{run}') > 0"
        ))
    );
    assert_eq!(copy.prove(&scene().runs[1]).word(), "not found");
}

/// Nobody has settled anything yet: what comes after a place that is missing still has one.
#[test]
fn a_missing_place_in_the_middle_is_found_before_anything_is_settled() {
    let copy = Copy::new(Leg::Postgres);
    let (_, run) = &scene().runs[0];
    assert!(copy.does("UPDATE public.ledger_head SET settled_id = 0"));
    let places = copy.texts(&format!(
        "SELECT first_leaf::text FROM public.leaves WHERE stream = 'run/{run}' ORDER BY leaves.first_leaf DESC OFFSET 1"
    ));
    assert!(places.len() > 2);
    for place in places {
        let at = format!("FROM public.leaves WHERE first_leaf = {place}");
        let change = Change {
            table: "leaves",
            column: None,
            is_key: true,
            case: at.clone(),
            make: format!("CREATE TEMP TABLE saved AS SELECT * {at}; DELETE {at}"),
            undo: "INSERT INTO public.leaves SELECT * FROM saved; DROP TABLE saved".to_owned(),
        };
        none_of(&copy.judge(&scene().runs[0], &change).expect("a superuser may delete"), 1, 1);
    }
}
