//! `explain`: the page of a code, or the list of all codes. Needs no home, no database and no network.

use clap::Args;
use runproof_proof::finding::printable;
use serde_json::json;

use crate::error::{AppError, Code};
use crate::explain::{FAMILIES, Page, find, nearest};
use crate::output::{Output, table};

/// Says what a code or a verdict means, why it comes up and what to do; without one, lists all of them.
#[derive(Args)]
pub(super) struct Explain {
    /// Code or verdict, as it was printed
    code: Option<String>,
}

impl Explain {
    pub(super) fn run(self, output: Output) -> Result<u8, AppError> {
        match &self.code {
            None => list(output),
            Some(code) => show(output, find(code).ok_or_else(|| unknown(code))?),
        }
        Ok(0)
    }
}

fn show(output: Output, page: &Page) {
    let value = json!({ "code": page.code, "title": page.title(), "page": page.text });
    output.print(&value, || page.text.to_owned());
}

fn list(output: Output) {
    let families: Vec<_> = FAMILIES
        .iter()
        .map(|family| {
            let codes: Vec<_> =
                family.pages.iter().map(|page| json!({ "code": page.code, "title": page.title() })).collect();
            json!({ "name": family.name, "codes": codes })
        })
        .collect();
    output.print(&json!({ "families": families }), || {
        let rows = |pages: &[Page]| {
            let rows: Vec<_> = pages.iter().map(|page| vec![page.code.to_owned(), page.title().to_owned()]).collect();
            table(&["CODE", "MEANING"], &rows)
        };
        let family = |name: &str, pages| format!("{name}\n{}", rows(pages));
        FAMILIES.iter().map(|one| family(one.name, one.pages)).collect::<Vec<_>>().join("\n")
    });
}

fn unknown(code: &str) -> AppError {
    let near = nearest(code);
    let hint = if near.is_empty() {
        "runproof explain lists every code".to_owned()
    } else {
        format!("did you mean {}? runproof explain lists every code", near.join(", "))
    };
    AppError::new(Code::ExplainUnknown, format!("there is no code `{}`", printable(code))).hint(hint)
}
