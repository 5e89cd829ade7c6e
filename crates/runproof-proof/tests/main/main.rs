//! Tests of the format: samples, vectors, properties and mutations, in one binary.

mod samples;
