//! Two limits for the load, measured with what it wrote: the same rows in a plain loop, and the bare bytes in one table.
//!
//! Neither decides, signs, hashes or talks to another thread. The statements, the schema with its triggers and the
//! settings of the connection are those of the store.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use runproof::runtime;
use runproof_engine::projection::rfc3339;
use runproof_proof::hash::leaf;
use runproof_store::sqlite;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::Outcome;

macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("../../../runproof-store/sql/sqlite/", $name, ".sql"))
    };
}

/// What the store wrote in one job: statements with their values.
#[derive(Default)]
pub(crate) struct Job {
    statements: Vec<(&'static str, Vec<Value>)>,
    events: u64,
    bytes: Vec<u8>,
}

/// How fast a loop was.
#[derive(Default)]
pub(crate) struct Limit {
    /// Jobs written.
    pub(crate) jobs: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Of every transaction.
    pub(crate) commits: Vec<Duration>,
}

impl Limit {
    /// Adds another round of the same loop.
    pub(crate) fn add(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.elapsed += other.elapsed;
        self.commits.extend(other.commits);
    }

    /// Jobs a second.
    pub(crate) fn speed(&self) -> f64 {
        self.jobs as f64 / self.elapsed.as_secs_f64()
    }
}

/// Reads back what a load wrote, in the order of the ledger, job by job.
pub(crate) fn jobs(database: &Path, most: usize) -> Outcome<Vec<Job>> {
    let db = Connection::open(database)?;
    let runs = by_run(&db, "runs", "id", 29)?;
    let traces = by_run(&db, "aos_traces", "run_id", 13)?;
    let steps = by_run(&db, "aos_trace_steps", "run_id", 22)?;
    let seals = by_run(&db, "run_seals", "run_id", 14)?;
    let mut heads: HashMap<String, (i64, String)> = HashMap::new();
    let (mut jobs, mut job) = (Vec::new(), Job::default());
    let mut statement = db.prepare("SELECT * FROM transitions WHERE stream <> 'log' ORDER BY first_leaf")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (stream, first_seq, count): (String, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let (events, payloads): (String, String) = (row.get(5)?, row.get(6)?);
        let head = leaf(events.rsplit('\n').next().unwrap_or_default().as_bytes()).hex();
        let place = |value: &str| Value::from(value.to_owned());
        let tenant: Value = row.get(1)?;
        let Some(run) = stream.strip_prefix("run/") else {
            // The tenant's stream names the run; the run's first events follow in the same job.
            let moved =
                vec![tenant.clone(), place(&stream), (first_seq + count).into(), place(&head), 1.into(), 1.into()];
            job.transition(row, &events, &payloads)?;
            job.put(sql!("write_head"), moved);
            if first_seq < 2 {
                jobs.push(std::mem::take(&mut job)); // the tenant and its agent
            }
            continue;
        };
        let ended = &runs[run][0];
        let owner = place("worker");
        let key = vec![tenant.clone(), place(run)];
        if first_seq == 0 {
            job.transition(row, &events, &payloads)?;
            job.put(sql!("insert_run"), as_opened(ended, &[(8, "queued")], &[19], &[23, 24, 25, 27, 28]));
            job.put(sql!("insert_trace"), as_opened(&traces[run][0], &[(4, "running")], &[], &[7, 8]));
            let (agent, priority) = (ended[3].clone(), 5.into());
            let queued = vec![owner, 1.into(), count.into(), place(&head), Value::Null, priority, agent];
            job.put(sql!("enqueue_run"), [key, queued].concat());
        } else {
            let (seq, before) = heads[run].clone();
            let fence = [key, vec![owner.clone(), 1.into(), seq.into(), before.into()]].concat();
            let ends = events.contains("\"run.sealed\"");
            if ends {
                job.put(sql!("end_run"), fence);
            } else {
                let moved = vec![owner, Value::Null, (first_seq + count).into(), place(&head)];
                job.put(sql!("move_run"), [fence, moved].concat());
            }
            job.transition(row, &events, &payloads)?;
            if let Some(index) = settled(&events) {
                job.put(sql!("insert_step"), steps[run][index].clone());
            }
            if ends {
                job.put(sql!("update_run"), ended.clone());
                job.put(sql!("complete_trace"), traces[run][0][..9].to_vec());
                job.put(sql!("insert_seal"), seals[run][0].clone());
            } else if events.contains("\"run.claimed\"") {
                job.put(sql!("update_run"), as_opened(ended, &[(8, "running")], &[], &[23, 24, 25, 28]));
            }
        }
        heads.insert(run.to_owned(), (first_seq + count, head));
        jobs.push(std::mem::take(&mut job));
        if jobs.len() >= most {
            break;
        }
    }
    Ok(jobs)
}

impl Job {
    fn put(&mut self, sql: &'static str, values: Vec<Value>) {
        self.statements.push((sql, values));
    }

    fn transition(&mut self, row: &rusqlite::Row<'_>, events: &str, payloads: &str) -> Outcome<()> {
        let values = (0..7).map(|column| row.get(column)).collect::<Result<Vec<Value>, _>>()?;
        self.events += row.get::<_, u64>(4)?;
        self.bytes.extend_from_slice(events.as_bytes());
        self.bytes.extend_from_slice(payloads.as_bytes());
        self.put(sql!("insert_transition"), values);
        Ok(())
    }
}

/// Position of the step that settles in these events.
pub(crate) fn settled(events: &str) -> Option<usize> {
    let (_, rest) = events.split_once("\"step_index\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A row as it was when the run was opened: some words differ, some numbers are 0, some columns are NULL.
fn as_opened(row: &[Value], words: &[(usize, &str)], zeros: &[usize], nulls: &[usize]) -> Vec<Value> {
    let mut row = row.to_vec();
    for (index, word) in words {
        row[*index] = Value::from((*word).to_owned());
    }
    zeros.iter().for_each(|index| row[*index] = 0.into());
    nulls.iter().for_each(|index| row[*index] = Value::Null);
    row
}

/// Rows of a table by run, the stored columns in their order.
fn by_run(db: &Connection, table: &str, key: &str, columns: usize) -> Outcome<HashMap<String, Vec<Vec<Value>>>> {
    let order = if table == "aos_trace_steps" { "step_index" } else { key };
    let mut statement = db.prepare(&format!("SELECT {key}, * FROM {table} ORDER BY {order}"))?;
    let mut rows = statement.query([])?;
    let mut found: HashMap<String, Vec<Vec<Value>>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let values = (1..=columns).map(|column| row.get(column)).collect::<Result<_, _>>()?;
        found.entry(row.get(0)?).or_default().push(values);
    }
    Ok(found)
}

/// A database with the store's schema and the settings of its writer.
fn connect(path: &Path) -> Outcome<Connection> {
    sqlite::create(path, &rfc3339(runtime::now()))?;
    let db = Connection::open(path)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "secure_delete", "ON")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Writes the jobs into a fresh database, `batch` in a transaction, for at most that time.
pub(crate) fn same_rows(folder: &Path, jobs: &[Job], batch: f64, time: Duration) -> Outcome<Limit> {
    let db = connect(&folder.join("same-rows.db"))?;
    let (mut leaves, hashes) = (1, [7u8; 256 * 32]);
    timed(&db, jobs, batch, time, |db, jobs| {
        for (sql, values) in jobs.iter().flat_map(|job| &job.statements) {
            if db.prepare_cached(sql)?.execute(params_from_iter(values))? != 1 {
                return Err(format!("a statement did not write one row: {sql}").into());
            }
        }
        // Leaf hashes of the batch: the tile that they fill, and the one that they begin.
        let end = leaves + jobs.iter().map(|job| job.events).sum::<u64>();
        for tile in leaves / 256..=end / 256 {
            let width = if tile == end / 256 { end % 256 } else { 256 };
            if width > 0 {
                db.prepare_cached(sql!("write_tile"))?.execute((0, tile, &hashes[..width as usize * 32]))?;
            }
        }
        leaves = end;
        Ok(())
    })
}

/// Writes the bytes of the jobs into a table of one column, `batch` rows in a transaction, for at most that time.
pub(crate) fn bare(folder: &Path, jobs: &[Job], batch: f64, time: Duration) -> Outcome<Limit> {
    let db = connect(&folder.join("bare.db"))?;
    db.execute_batch("CREATE TABLE bare (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT")?;
    timed(&db, jobs, batch, time, |db, jobs| {
        for job in jobs {
            db.prepare_cached("INSERT INTO bare (bytes) VALUES (?1)")?.execute([&job.bytes])?;
        }
        Ok(())
    })
}

fn timed(
    db: &Connection,
    jobs: &[Job],
    batch: f64,
    time: Duration,
    mut write: impl FnMut(&Connection, &[Job]) -> Outcome<()>,
) -> Outcome<Limit> {
    let mut limit = Limit::default();
    let started = Instant::now();
    let mut done = 0;
    while done < jobs.len() && started.elapsed() < time {
        // The batches of the load were not all of one size: their mean is kept.
        let end = (batch * (limit.commits.len() + 1) as f64).round() as usize;
        let end = end.clamp(done + 1, jobs.len());
        let begun = Instant::now();
        db.execute_batch("BEGIN IMMEDIATE")?;
        write(db, &jobs[done..end])?;
        db.execute_batch("COMMIT")?;
        limit.commits.push(begun.elapsed());
        done = end;
    }
    limit.jobs = done as u64;
    limit.elapsed = started.elapsed();
    Ok(limit)
}
