//! The tests of the stores, in one binary: one conformance suite for all of them, what SQLite promises beyond it, crashes
//! at every write, random plans against a reference interpreter, replay, and what the servers behind the tests must be.

#![expect(clippy::unwrap_used, reason = "everything here is a test, and a panic is how a test fails")]

mod cluster;
mod conformance;
mod crash;
mod disk;
#[path = "../../runproof-engine/tests/doubles.rs"]
#[expect(dead_code, reason = "the stories of the engine use the rest")]
mod doubles;
mod kv;
mod model;
mod on_postgres;
mod postgres;
mod postgres_schema;
mod replay;
mod servers;
mod sqlite;
mod support;
