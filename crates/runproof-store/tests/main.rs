//! The tests of the stores, in one binary: one conformance suite for all of them, what SQLite promises beyond it, crashes
//! at every write, and replay.

mod conformance;
mod crash;
mod disk;
#[path = "../../runproof-engine/tests/doubles.rs"]
mod doubles;
mod replay;
mod sqlite;
mod support;
