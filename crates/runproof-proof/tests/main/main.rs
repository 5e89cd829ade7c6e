//! Tests of the format: samples, vectors, properties and mutations, in one binary.

mod bundles;
mod generate;
mod journal;
mod mutation;
mod properties;
mod runs;
mod samples;
mod vectors;
