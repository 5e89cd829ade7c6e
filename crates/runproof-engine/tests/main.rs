//! The tests of the engine, in one binary: stories of runs, the fold under any sequence of events, plans, redaction.

#![expect(clippy::unwrap_used, reason = "everything here is a test, and a panic is how a test fails")]

mod book;
mod codes;
mod doubles;
mod expression;
mod fold;
mod forged;
mod parallel;
mod plans;
mod plans_expressions;
mod plans_graph;
mod plans_inputs;
mod plans_legacy;
mod plans_schema;
mod plans_yaml;
mod redact;
mod reference;
mod scenarios;
