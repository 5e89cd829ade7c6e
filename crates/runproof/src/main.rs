//! The `runproof` program: parses, dispatches, prints the error, and gives the exit code.

use std::process::ExitCode;

/// A run is many small pieces of memory: a twelfth of this process's time for one is saved by an allocator made for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runproof::cli::main()
}
