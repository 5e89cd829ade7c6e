//! Reads the text of a plan, or of inputs, in either of its two forms.

use serde_json::Value;

use super::{json, yaml};

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// The form of a document: by the extension of its file, or else JSON when it begins with `{`.
    pub fn of(extension: Option<&str>, bytes: &[u8]) -> Self {
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("json") => Self::Json,
            Some("yaml" | "yml") => Self::Yaml,
            Some(_) | None if bytes.trim_ascii_start().starts_with(b"{") => Self::Json,
            Some(_) | None => Self::Yaml,
        }
    }

    /// Parses a document; a member that is given twice is refused, and so is one that nests deeper than 128 levels.
    ///
    /// # Errors
    /// Text with line and column.
    pub fn read(self, bytes: &[u8]) -> Result<Value, String> {
        match self {
            Self::Json => json::from_json(bytes),
            Self::Yaml => yaml::from_yaml(bytes),
        }
    }
}
