//! The whole ledger: `log verify`, proofs that leave the database, and what somebody who can write to the file cannot
//! hide from them.

mod proofs;
mod resume;
mod scene;
mod whole;
