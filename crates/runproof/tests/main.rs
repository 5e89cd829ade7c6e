//! Tests of the program as its users meet it.

#![expect(clippy::unwrap_used, reason = "everything here is a test, and a panic is how a test fails")]

mod acceptance;
mod architecture;
mod chaos;
mod cli;
#[expect(dead_code, reason = "the tests of the store use the rest")]
#[path = "../../runproof-store/tests/cluster.rs"]
mod cluster;
mod crash;
mod deploy;
mod engine;
mod errors;
mod examples;
mod hostile;
mod kv;
mod ledger;
mod plan_check;
mod plan_examples;
mod plan_guide;
mod plan_run;
mod postgres;
mod refusals;
mod retention;
mod run_page;
mod secrets;
mod support;
mod tamper;
mod vectors;
mod worker;
