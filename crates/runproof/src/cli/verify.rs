//! `verify`: checks a bundle offline. Needs no home, no database and no network.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use runproof_engine::replay;
use runproof_proof::bundle::{Bundle, MAX_BUNDLE};
use runproof_proof::note::NoteVerifier;
use runproof_proof::report::{Report, Style};
use runproof_proof::trust::Trust;
use runproof_proof::verify;

use crate::error::{AppError, Code};
use crate::output::Output;

/// Checks a proof bundle offline. The key has to come from somewhere that the author of the file does not control.
#[derive(Args)]
pub(super) struct Verify {
    /// Bundle
    file: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    style: ReportStyle,
}

/// What the verifier brings.
#[derive(Args)]
pub(super) struct TrustArgs {
    /// Verification key of the log: `<name>+<key id>+<base64>`
    #[arg(long, conflicts_with = "trust")]
    key: Option<String>,
    /// Trust file (default: for a file to check, the one that `RUNPROOF_TRUST` names; for the database, the home's)
    #[arg(long)]
    trust: Option<PathBuf>,
    /// A signed checkpoint that you know: an older bundle is then `ROLLED_BACK`, another history FORKED
    #[arg(long)]
    known_head: Option<PathBuf>,
}

/// How a report is printed.
#[derive(Args, Clone, Copy)]
pub(super) struct ReportStyle {
    /// For each check, say what it proves and what it does not
    #[arg(long)]
    pub(super) explain: bool,
    /// Show a row for every event
    #[arg(long)]
    pub(super) events: bool,
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, AppError> {
    let cannot = |error: std::io::Error| {
        AppError::new(Code::FileUnreadable, format!("cannot read `{}`: {error}", path.display()))
            .hint("check the path and the permissions")
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

impl Verify {
    pub(super) fn run(self, output: Output) -> Result<u8, AppError> {
        let trust = self.trust.read(trust_from_environment)?;
        let bytes = read_file(&self.file, MAX_BUNDLE)?;
        let report = check(&bytes, &trust);
        print(output, &report, self.style);
        Ok(report.verdict().exit_code())
    }
}

impl TrustArgs {
    /// Keys and heads. `otherwise` gives the keys when nothing here names any.
    pub(super) fn read(&self, otherwise: impl FnOnce() -> Result<Trust, AppError>) -> Result<Trust, AppError> {
        let mut trust = match (&self.key, &self.trust) {
            (Some(key), _) => {
                let key = NoteVerifier::parse(key).map_err(|error| {
                    AppError::new(Code::KeyInvalid, format!("--key: {error}"))
                        .hint("the operator prints it with `runproof key show`")
                })?;
                Trust::in_key("--key", key)
            }
            (None, Some(path)) => trust_file(path)?,
            (None, None) => otherwise()?,
        };
        if let Some(path) = &self.known_head {
            let note = read_file(path, 64 * 1024)?;
            trust.add_head(&note).map_err(|error| {
                AppError::new(Code::HeadInvalid, format!("`{}`: {error}", path.display()))
                    .hint("a signed checkpoint, as `runproof log checkpoint` prints it")
            })?;
        }
        Ok(trust)
    }
}

/// The file that `RUNPROOF_TRUST` names; without it, no key.
pub(super) fn trust_from_environment() -> Result<Trust, AppError> {
    match std::env::var_os("RUNPROOF_TRUST").filter(|path| !path.is_empty()) {
        Some(path) => trust_file(Path::new(&path)),
        None => Ok(Trust::default()),
    }
}

fn trust_file(path: &Path) -> Result<Trust, AppError> {
    let bytes = read_file(path, 1024 * 1024)?;
    let source = format!("--trust {}", path.display());
    Trust::parse(&source, &bytes).map_err(|error| {
        AppError::new(Code::TrustInvalid, format!("`{}`: {error}", path.display()))
            .hint("a trust file is JSON of the format `runproof.trust/v1`; `runproof init` writes one")
    })
}

/// Verifies bytes, and runs the decisions again where the values are shown.
pub(super) fn check(bytes: &[u8], trust: &Trust) -> Report {
    match Bundle::parse(bytes) {
        Ok(bundle) => {
            let mut report = verify::examine(&bundle, trust);
            replay::check(&bundle, &mut report);
            report
        }
        Err(_) => verify::verify(bytes, trust),
    }
}

/// Prints a report.
pub(super) fn print(output: Output, report: &Report, style: ReportStyle) {
    let style = Style { colour: output.colour(), events: style.events || output.verbose, explain: style.explain };
    output.print(&report.to_json(), || report.to_text(style));
}
