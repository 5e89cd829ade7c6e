//! Tests of the format: samples, vectors, properties, mutations and the specification's text, in one binary.

#![expect(clippy::unwrap_used, reason = "everything here is a test, and a panic is how a test fails")]
#![expect(clippy::disallowed_methods, reason = "the vectors are files")]

mod bundles;
mod generate;
mod journal;
mod mutation;
mod order;
mod properties;
mod runs;
mod samples;
mod spec;
mod vectors;
