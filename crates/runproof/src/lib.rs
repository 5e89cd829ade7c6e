//! The edge of runproof: command line, worker, configuration and wiring.
//!
//! Holds no policy, no SQL and no format. Reading order: [`app`] (what is wired to what), [`engine`] (commands and runs
//! of one process), [`worker`] (many runs), [`prove`] (rows against evidence), [`ledger`] (all of it), then one file for each command in
//! [`cli`].

pub mod app;
pub mod chaos;
pub mod cli;
pub mod engine;
pub mod error;
pub mod explain;
pub mod home;
pub mod ledger;
pub mod output;
pub mod prove;
pub mod retention;
pub mod runtime;
pub mod worker;
