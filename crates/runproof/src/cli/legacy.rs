//! `legacy-root`: the first system's digest, so that people who hold one of its reports can check the number in it.

use std::path::PathBuf;

use clap::Args;
use runproof_proof::finding::printable;
use runproof_proof::report::legacy_root;
use serde::Deserialize;
use serde_json::json;

use super::verify::read_file;
use crate::error::{AppError, Code};
use crate::output::{Output, table};

/// Computes the first system's digest of the runs in a file. It is shown for comparison and proves nothing.
#[derive(Args)]
pub(super) struct LegacyRoot {
    /// JSON list of `{"run_id", "steps": [[index, skill, status], …], "root_hash"?}`
    file: PathBuf,
}

#[derive(Deserialize)]
struct LegacyRun {
    run_id: String,
    steps: Vec<(u64, String, String)>,
    root_hash: Option<String>,
}

impl LegacyRoot {
    pub(super) fn run(self, output: Output) -> Result<u8, AppError> {
        let bytes = read_file(&self.file, 64 * 1024 * 1024)?;
        let runs: Vec<LegacyRun> = serde_json::from_slice(&bytes).map_err(|error| {
            AppError::new(Code::LegacyFile, format!("`{}`: {}", self.file.display(), printable(&error.to_string())))
                .hint("a JSON list of {\"run_id\", \"steps\": [[0, \"http_call\", \"success\"]]}")
        })?;
        let mut all = true;
        let mut rows = Vec::new();
        for run in &runs {
            let root = legacy_root(
                &run.run_id,
                run.steps.iter().map(|(index, skill, status)| (*index, skill.as_str(), status.as_str())),
            )
            .hex();
            let matches = run.root_hash.as_ref().map(|expected| *expected == root);
            all &= matches != Some(false);
            rows.push((run.run_id.clone(), root, matches));
        }
        let values: Vec<_> = rows
            .iter()
            .map(|(run_id, root, matches)| json!({ "run_id": run_id, "legacy_root_hash": root, "matches": matches }))
            .collect();
        output.print(&json!({ "runs": values }), || {
            let word = |matches: &Option<bool>| match matches {
                Some(true) => "matches",
                Some(false) => "DIFFERS",
                None => "",
            };
            let rows: Vec<Vec<String>> = rows
                .iter()
                .map(|(run_id, root, matches)| vec![printable(run_id), root.clone(), word(matches).to_owned()])
                .collect();
            table(&["RUN", "LEGACY ROOT HASH", ""], &rows)
        });
        Ok(if all { 0 } else { 20 })
    }
}
