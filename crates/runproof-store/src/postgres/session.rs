//! One transaction on one connection, and rows as arrays.
//!
//! A pooler gives a connection to somebody else after each transaction: nothing here leaves anything in a session.
//! Statements are unnamed and typed, settings end with the transaction.

use runproof_engine::ports::StoreError;
use runproof_engine::projection::{Cell, Row};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row as Answer};

use super::connect::LOST_AFTER;

/// A parameter with its type, so that the server need not be asked.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Settings of a transaction: every statement looks rows up by keys, a few for each parameter, and is over before another
/// process could help with it. A planner without statistics, or with those of an hour ago, takes the rows of a tenant for
/// few and reads all of them instead.
macro_rules! by_keys {
    () => {
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; \
         SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"
    };
}
pub(super) use by_keys;

/// What begins a transaction that may see these tenants, and looks rows up by their keys.
pub(super) fn begin<'a>(tenants: impl IntoIterator<Item = &'a str>) -> String {
    format!(concat!("BEGIN; {}; ", by_keys!()), settings(tenants))
}

/// What begins a transaction that may see these tenants, and only calls functions: they bring their own settings.
pub(super) fn begin_calls<'a>(tenants: impl IntoIterator<Item = &'a str>) -> String {
    format!("BEGIN; {}", settings(tenants))
}

/// What begins a transaction that reads one state. It may use any plan, but none that has to be compiled: that takes longer
/// than what it could save.
pub(super) fn begin_reading<'a>(tenants: impl IntoIterator<Item = &'a str>) -> String {
    format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; SET LOCAL jit = off", settings(tenants))
}

fn settings<'a>(tenants: impl IntoIterator<Item = &'a str>) -> String {
    let mut tenants: Vec<&str> = tenants.into_iter().collect();
    tenants.sort_unstable();
    tenants.dedup();
    // Ids have no quotes; a tenant that is asked for and is no id must not become SQL.
    let tenants = tenants.join(",").replace('\'', "''").replace('\\', "");
    format!(
        "SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '10s'; SET LOCAL runproof.tenants = '{tenants}'"
    )
}

/// Waits for an answer, but not for ever: a server that is stopped answers nothing and closes nothing.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(LOST_AFTER, work).await {
        Ok(answer) => answer.map_err(Failure::Said),
        Err(_) => Err(Failure::Silence),
    }
}

/// Why a transaction did not end as it should.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server or the network said so.
    Said(Error),
    /// Nobody said anything.
    Silence,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl Failure {
    /// The error, when nothing can have been written.
    pub(super) fn unavailable(&self) -> StoreError {
        StoreError::Unavailable(self.text())
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Said(error) => super::connect::text(error),
            Self::Silence => format!("the database has not answered for {} s", LOST_AFTER.as_secs()),
        }
    }

    /// The SQLSTATE, where the server gave one.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Said(error) => error.code().map(tokio_postgres::error::SqlState::code),
            Self::Silence => None,
        }
    }

    pub(super) fn fate(&self) -> super::connect::Fate {
        match self {
            Self::Said(error) => super::connect::fate(error),
            Self::Silence => super::connect::Fate::Unknown,
        }
    }
}

/// A read in a transaction of its own: begin, the statement and commit are sent together.
pub(super) async fn read(
    client: &Client,
    tenants: &[&str],
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<Answer>, Failure> {
    let begin = begin(tenants.iter().copied());
    in_time(async {
        let (begun, rows, ended) = tokio::join!(biased;
            client.batch_execute(&begin),
            client.query_typed(sql, params),
            client.batch_execute("COMMIT")
        );
        begun?;
        let rows = rows?;
        ended?;
        Ok(rows)
    })
    .await
}

/// One column of many rows, as an array.
enum Column {
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

/// Rows of one table, column by column.
pub(super) struct Columns(Vec<Column>);

impl Columns {
    /// Takes the cells of each row: `i` is an integer, `t` is text.
    ///
    /// # Errors
    /// There are fewer or more, or a cell is of the other type: a fault of the projection.
    pub(super) fn of<'a>(types: &str, rows: impl IntoIterator<Item = &'a Row>) -> Result<Self, StoreError> {
        Self::picked(types, |_| true, rows)
    }

    /// Takes the cells of some columns of each row.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) fn picked<'a>(
        types: &str,
        is_wanted: impl Fn(&str) -> bool,
        rows: impl IntoIterator<Item = &'a Row>,
    ) -> Result<Self, StoreError> {
        let mut columns: Vec<Column> = types
            .chars()
            .map(|kind| if kind == 'i' { Column::Ints(Vec::new()) } else { Column::Texts(Vec::new()) })
            .collect();
        for row in rows {
            let mut cells = row.cells.iter().filter(|(name, _)| is_wanted(name));
            for column in &mut columns {
                let Some((name, cell)) = cells.next() else { return Err(wrong(row.table, "too few columns")) };
                match (column, cell) {
                    (Column::Ints(all), Cell::Int(number)) => all.push(Some(*number)),
                    (Column::Texts(all), Cell::Text(text)) => all.push(Some(text.clone())),
                    (Column::Ints(all), Cell::Null) => all.push(None),
                    (Column::Texts(all), Cell::Null) => all.push(None),
                    (Column::Ints(_) | Column::Texts(_), Cell::Int(_) | Cell::Text(_)) => {
                        return Err(wrong(row.table, name));
                    }
                }
            }
            if let Some((name, _)) = cells.next() {
                return Err(wrong(row.table, name));
            }
        }
        Ok(Self(columns))
    }

    /// The arrays as parameters.
    pub(super) fn params(&self) -> Vec<Param<'_>> {
        fn param(column: &Column) -> Param<'_> {
            match column {
                Column::Ints(all) => (all, Type::INT8_ARRAY),
                Column::Texts(all) => (all, Type::TEXT_ARRAY),
            }
        }
        self.0.iter().map(param).collect()
    }
}

fn wrong(table: &str, what: &str) -> StoreError {
    StoreError::Corrupt { at: table.to_owned(), problem: format!("the projection gave {what} another type") }
}
