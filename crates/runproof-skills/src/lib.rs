//! The built-in skills: what touches the world. Nothing here decides, retries, redacts, logs or stores.
//!
//! In reading order: [`registry`] lists the skills of a process; [`egress`] says which addresses they may reach;
//! `transport` makes one HTTP request and says what a failure means for its effect; `builtin` holds one skill per
//! file, each with its manifest; `params` reads their parameters and reports every finding at once; [`path`] is the
//! small path language of `json_transform`; `strict_json` takes foreign JSON into the canonical profile.

mod attempt;
mod builtin;
pub mod egress;
mod params;
pub mod path;
pub mod registry;
mod strict_json;
mod transport;
