//! Tests of the program as its users meet it.

mod acceptance;
mod architecture;
mod cli;
mod crash;
mod refusals;
mod secrets;
mod support;
mod tamper;
mod vectors;
