//! The tests of the engine, in one binary: stories of runs, the fold under any sequence of events, plans, redaction.

mod book;
mod doubles;
mod fold;
mod plans;
mod redact;
mod reference;
mod scenarios;
