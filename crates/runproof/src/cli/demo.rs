//! placeholder
use clap::Args;
use crate::error::AppError;
use crate::output::Output;
/// See a run
#[derive(Args)]
pub(super) struct Demo {}
impl Demo {
    pub(super) async fn run(self, _output: Output) -> Result<u8, AppError> { Ok(0) }
}
