//! The format of runproof and its offline verification: what is true can be checked by anyone.
//!
//! No clock, disk, network, randomness or SQL: bytes and a trust file go in, a report comes out.
//! Reading order: [`canonical`], [`event`], [`commit`], [`merkle`], [`note`], [`bundle`], [`mod@verify`].

pub mod bundle;
pub mod canonical;
pub mod checkpoint;
pub mod commit;
pub mod event;
pub mod finding;
pub mod hash;
pub mod merkle;
pub mod note;
pub mod payload;
pub mod report;
pub mod structure;
pub mod trust;
pub mod verify;

pub use verify::verify;
