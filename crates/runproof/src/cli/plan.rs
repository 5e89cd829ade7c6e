//! `plan`: judges plans without running them. Needs no home, no database and no network.

mod check;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use runproof_engine::plan::{self, Format};
use runproof_engine::skill::Skills;
use runproof_proof::finding::printable;
use runproof_skills::egress::Egress;
use runproof_skills::registry::{NoKeyValues, Options, Ports, builtin};
use serde_json::Value;

use super::verify::read_file;
use crate::error::{AppError, Code};
use crate::output::Output;
use crate::runtime::SystemClock;

const MAX_PLAN_FILE: usize = 4 * 1024 * 1024;

/// Looks at plans.
#[derive(Subcommand)]
pub(super) enum Plan {
    /// Say everything that is wrong with a plan, and what it can do at most
    Check(check::Check),
    /// Print the JSON Schema of plans
    Schema,
    /// Print a plan as runproof.plan/v1 in JSON, converted if it is one of the first system
    Convert(Convert),
}

/// Prints a plan as runproof.plan/v1.
#[derive(Args)]
pub(super) struct Convert {
    /// Plan as a JSON or YAML file; `-` reads stdin
    file: PathBuf,
}

impl Plan {
    pub(super) fn run(self, output: Output) -> Result<u8, AppError> {
        match self {
            Self::Check(command) => command.run(output),
            Self::Schema => {
                let schema = serde_json::from_str(plan::JSON_SCHEMA)
                    .map_err(|error| AppError::new(Code::EngineFault, error.to_string()))?;
                output.print(&schema, || plan::JSON_SCHEMA.to_owned());
                Ok(0)
            }
            Self::Convert(Convert { file }) => {
                let given = read(&file)?;
                let plan = if plan::legacy::is_legacy(&given) { plan::legacy::convert(&given)? } else { given };
                output.print(&plan, || format!("{plan:#}\n"));
                Ok(0)
            }
        }
    }
}

/// Reads a plan, in JSON or YAML; `-` is stdin.
pub(super) fn read(path: &Path) -> Result<Value, AppError> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let stdin = std::io::stdin().lock().take(MAX_PLAN_FILE as u64 + 1).read_to_end(&mut bytes);
        stdin.map_err(|error| AppError::new(Code::FileUnreadable, format!("cannot read stdin: {error}")))?;
        bytes
    } else {
        read_file(path, MAX_PLAN_FILE)?
    };
    let format = Format::of(path.extension().and_then(|extension| extension.to_str()), &bytes);
    let value =
        if bytes.len() > MAX_PLAN_FILE { Err(format!("more than {MAX_PLAN_FILE} bytes")) } else { format.read(&bytes) };
    value.map_err(|problem| {
        let message = format!("plan `{}`: {}; nothing was written", path.display(), printable(&problem));
        AppError::new(Code::PlanUnreadable, message)
            .hint("a plan is JSON or YAML in UTF-8, at most 4 MiB, without a member given twice")
    })
}

/// The skills of this program, for their checks only: nothing is reached with them.
fn skills() -> Result<Skills, AppError> {
    let test_skills = std::env::var("RUNPROOF_TEST_SKILLS").is_ok_and(|value| value == "true");
    let ports = Ports { key_values: Arc::new(NoKeyValues), clock: Arc::new(SystemClock) };
    builtin(&Options { egress: Egress::default(), test_skills }, &ports)
        .map_err(|error| AppError::new(Code::SkillsSetup, error.to_string()))
}
