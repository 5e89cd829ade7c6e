//! `--input` and `--inputs`: the values that a plan asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use runproof_engine::plan::{self, Format, Input};
use serde_json::{Map, Value};

use super::verify::read_file;
use crate::error::{AppError, Code};

const MAX_INPUTS_FILE: usize = 4 * 1024 * 1024;

/// Values of the plan's inputs.
#[derive(Args)]
pub(super) struct Inputs {
    /// Value of one input, read by its declared type; NAME=@FILE reads JSON from a file
    #[arg(long, value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// Inputs as an object in a JSON or YAML file
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
}

impl Inputs {
    /// Everything that is given, not judged yet; `None` when nothing is.
    pub(super) fn read(&self, declared: &BTreeMap<String, Input>) -> Result<Option<Value>, AppError> {
        let mut all = match &self.inputs {
            None => Map::new(),
            Some(path) => match document(path)? {
                Value::Object(members) => members,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    return Err(invalid(format!("`{}` holds no object", path.display())));
                }
            },
        };
        for given in &self.input {
            let Some((name, text)) = given.split_once('=') else {
                return Err(invalid("--input has no `=`".to_owned()));
            };
            let value = match text.strip_prefix('@') {
                Some(path) => document(Path::new(path))?,
                None => plan::inputs::from_text(declared, name, text),
            };
            if all.insert(name.to_owned(), value).is_some() {
                return Err(invalid(format!("input `{name}` is given twice")));
            }
        }
        Ok((self.inputs.is_some() || !self.input.is_empty()).then_some(Value::Object(all)))
    }
}

fn document(path: &Path) -> Result<Value, AppError> {
    let bytes = read_file(path, MAX_INPUTS_FILE)?;
    if bytes.len() > MAX_INPUTS_FILE {
        return Err(invalid(format!("`{}` has more than {MAX_INPUTS_FILE} bytes", path.display())));
    }
    let format = Format::of(path.extension().and_then(|extension| extension.to_str()), &bytes);
    format.read(&bytes).map_err(|problem| invalid(format!("`{}`: {problem}", path.display())))
}

fn invalid(message: String) -> AppError {
    AppError::new(Code::InputInvalid, message).hint("--input NAME=VALUE, --input NAME=@FILE, or --inputs FILE")
}
