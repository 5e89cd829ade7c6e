//! `list-skills`.

use std::sync::Arc;

use clap::Args;
use runproof_skills::registry::NoKeyValues;
use serde_json::json;

use crate::app::App;
use crate::error::AppError;
use crate::output::{Output, table};

/// Lists the skills that plans can use.
#[derive(Args)]
pub(super) struct ListSkills {}

impl ListSkills {
    pub(super) fn run(self, output: Output) -> Result<u8, AppError> {
        let skills = App::from_environment()?.skills(Arc::new(NoKeyValues))?;
        let values: Vec<_> = skills
            .iter()
            .map(|skill| {
                let manifest = skill.manifest();
                let effects: Vec<&str> = manifest.effects.iter().map(|effect| effect.word()).collect();
                json!({
                    "name": manifest.name, "version": manifest.version, "description": manifest.description, "effects": effects,
                    "input_schema": manifest.input_schema, "output_schema": manifest.output_schema,
                    "errors": manifest.errors.iter().map(|error| error.code).collect::<Vec<_>>(),
                    "default_timeout_ms": manifest.limits.default_timeout.as_millis() as u64,
                })
            })
            .collect();
        output.print(&json!({ "skills": values }), || {
            let rows: Vec<Vec<String>> = skills
                .iter()
                .map(|skill| {
                    let manifest = skill.manifest();
                    let effects: Vec<&str> = manifest.effects.iter().map(|effect| effect.word()).collect();
                    vec![
                        manifest.name.to_owned(),
                        manifest.version.to_owned(),
                        effects.join(" "),
                        manifest.description.to_owned(),
                    ]
                })
                .collect();
            table(&["SKILL", "VERSION", "EFFECTS", "DESCRIPTION"], &rows)
        });
        Ok(0)
    }
}
