//! Reads YAML 1.2 that means the same JSON: no anchors, aliases, tags or directives, and one document.
//!
//! A plain scalar means what it means in JSON. Where readers of YAML disagree about one (`0123`, `True`, `.inf`), it is
//! refused and not guessed.

use granit_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Largest document, in bytes.
const MAX_YAML: usize = 1024 * 1024;
/// Deepest nesting of lists and mappings, as in JSON.
const MAX_DEPTH: usize = 128;

/// Parses one YAML document.
///
/// # Errors
/// Text with line and column.
pub(super) fn from_yaml(bytes: &[u8]) -> Result<Value, String> {
    if bytes.len() > MAX_YAML {
        return Err(format!("{} bytes of YAML, at most {MAX_YAML} are allowed", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    let options = granit_parser::options! {
        strict_indentation: true,
        disallow_directives: true,
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| at(text, error.marker(), &error.info()))?;
        builder.event(event).map_err(|problem| at(text, &span.start, &problem))?;
    }
    builder.root.ok_or_else(|| "there is nothing in it".to_owned())
}

fn at(text: &str, marker: &Marker, problem: &str) -> String {
    let line = text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
    let bare = line.split_once("{{").is_some_and(|(before, _)| !before.contains(['"', '\'']));
    let hint = if bare { "; put quotes around a text with `{{` in it" } else { "" };
    format!("{problem} at line {} column {}{hint}", marker.line(), marker.col() + 1)
}

/// Builds the value from the parser's events, without recursion.
#[derive(Default)]
struct Builder {
    root: Option<Value>,
    open: Vec<Open>,
}

/// A list or mapping that is not closed yet.
enum Open {
    List(Vec<Value>),
    Object { members: Map<String, Value>, key: Option<String> },
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err("a second document begins; write one".to_owned()),
            Event::Scalar(text, style, anchor, tag) => {
                untagged(anchor, tag.is_some())?;
                self.scalar(&text, style)
            }
            Event::SequenceStart(_, anchor, tag) => {
                untagged(anchor, tag.is_some())?;
                self.begin(Open::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                untagged(anchor, tag.is_some())?;
                self.begin(Open::Object { members: Map::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(items)) => self.place(Value::Array(items)),
                Some(Open::Object { members, .. }) => self.place(Value::Object(members)),
                None => Err("nothing is open here".to_owned()),
            },
            Event::Alias(_) | Event::UnresolvedAlias(_) | Event::Anchor(..) => {
                Err("anchors and aliases are not read; write the value out".to_owned())
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd => Ok(()),
            // The parser's vocabulary may grow; what is not known here is refused, never left out.
            _ => Err("this kind of YAML is not read".to_owned()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if matches!(self.open.last(), Some(Open::Object { key: None, .. })) {
            return Err("a key is a text, not a list or mapping".to_owned());
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle) -> Result<(), String> {
        let value = if style == ScalarStyle::Plain { plain(text)? } else { Value::String(text.to_owned()) };
        let Some(Open::Object { members, key: key @ None }) = self.open.last_mut() else {
            return self.place(value);
        };
        match value {
            Value::String(name) if style == ScalarStyle::Plain && name == "<<" => {
                Err("merge keys are not read; write the members out".to_owned())
            }
            Value::String(name) if members.contains_key(&name) => {
                Err(format!("`{}` is given twice", runproof_proof::finding::printable(&name)))
            }
            Value::String(name) => {
                *key = Some(name);
                Ok(())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err("a key is a text; put quotes around it".to_owned())
            }
        }
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, value: Value) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Object { members, key }) => {
                let name = key.take().ok_or("a key is a text, not a list or mapping")?;
                members.insert(name, value);
            }
        }
        Ok(())
    }
}

fn untagged(anchor: usize, tagged: bool) -> Result<(), String> {
    if anchor != 0 {
        return Err("anchors and aliases are not read; write the value out".to_owned());
    }
    if tagged { Err("tags are not read; a value has the type that it looks like".to_owned()) } else { Ok(()) }
}

/// What a plain scalar means: its JSON value, or else itself as text.
fn plain(text: &str) -> Result<Value, String> {
    if text.is_empty() || text == "~" {
        return Ok(Value::Null);
    }
    if let Ok(value) = serde_json::from_str::<Value>(text)
        && !value.is_string()
    {
        return Ok(value);
    }
    if is_disputed(text) {
        let shown = runproof_proof::finding::printable(text);
        return Err(format!(
            "`{shown}` means different things to different readers; write it as in JSON, or in quotes"
        ));
    }
    Ok(Value::String(text.to_owned()))
}

/// Whether YAML 1.2 calls this a null, boolean or number that JSON does not write so.
fn is_disputed(text: &str) -> bool {
    if ["null", "true", "false"].iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return true;
    }
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    if [".inf", ".nan"].iter().any(|word| word.eq_ignore_ascii_case(number)) {
        return true;
    }
    let digits = |text: &str, base: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(base));
    if let Some(rest) = number.strip_prefix("0x") {
        return digits(rest, 16);
    }
    if let Some(rest) = number.strip_prefix("0o") {
        return digits(rest, 8);
    }
    let (mantissa, exponent) = number.split_once(['e', 'E']).map_or((number, None), |(a, b)| (a, Some(b)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let exponent_fits =
        exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent), 10));
    !(whole.is_empty() && fraction.is_empty()) && some(whole) && some(fraction) && exponent_fits
}
