//! Somebody who can write to the database file, past every trigger, changes one thing: `proof` never says VERIFIED, and
//! names the place. The same for every byte of a bundle.

mod bundle;
mod postgres;
mod rows;
pub(crate) mod scene;
mod whole;

pub(crate) use rows::KINDS;
