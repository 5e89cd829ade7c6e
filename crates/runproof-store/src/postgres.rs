//! The Postgres store: many processes on many machines, one database.

pub mod migrate;
pub mod protections;
