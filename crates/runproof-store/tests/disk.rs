//! More of what the SQLite store promises: batches, replacing, erased copies, signing across restarts, 100,000 events.

mod batch;
mod engine;
mod growth;
mod replace;
