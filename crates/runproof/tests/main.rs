//! Tests of the program as its users meet it.

#![expect(clippy::unwrap_used, reason = "everything here is a test, and a panic is how a test fails")]

mod acceptance;
mod architecture;
mod cli;
mod crash;
mod kv;
mod refusals;
mod secrets;
mod support;
mod tamper;
mod vectors;
