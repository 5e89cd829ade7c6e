//! The `runproof` program: parses, dispatches, prints the error, and gives the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    runproof::cli::main()
}
