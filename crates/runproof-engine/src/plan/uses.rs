//! What a step refers to, where, and whether it may.

use std::collections::BTreeMap;

use runproof_proof::finding::printable;
use serde_json::Value;

use super::graph::Graph;
use super::reader::Reader;
use super::step::Draft;
use super::{InputKind, OnError, Step};
use crate::redact::Walk;
use crate::reference::{self, Reference, ReferenceError, ReferenceFault, Root, Segment};

/// One reference in a step.
pub(super) struct Use {
    /// JSON path of the text that holds it.
    pub(super) path: String,
    /// What it refers to.
    pub(super) reference: Reference,
    /// Where in the step it stands.
    pub(super) place: Place,
}

/// Where in a step a reference stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In `when`.
    When,
    /// In the items of `foreach`.
    Items,
    /// In `with` or `fallback.with`.
    Params,
}

/// Everything that a step refers to.
#[derive(Default)]
pub(super) struct Uses {
    /// All of it, in the order of the document.
    pub(super) all: Vec<Use>,
    /// Again what stands inside a longer text.
    embedded: Vec<Use>,
    /// What cannot be read.
    unreadable: Vec<ReferenceError>,
}

/// Gathers what a step refers to.
pub(super) fn of(step: &Step, raw: &Value, path: &str) -> Uses {
    let mut uses = Uses::default();
    let mut templates = Vec::new();
    if let Some(when) = &step.when {
        let of_when = when.references().iter().cloned();
        uses.all.extend(of_when.map(|reference| Use { path: format!("{path}.when"), reference, place: Place::When }));
    }
    if let Some(foreach) = &step.foreach {
        let long = raw.get("foreach").is_some_and(Value::is_object);
        let path = format!("{path}.foreach{}", if long { ".items" } else { "" });
        templates.push((&foreach.items, path, Place::Items));
    }
    templates.push((&step.with, format!("{path}.with"), Place::Params));
    if let OnError::Fallback { with, .. } = &step.on_error {
        templates.push((with, format!("{path}.fallback.with"), Place::Params));
    }
    for (template, path, place) in templates {
        // Text by text, so that one which cannot be read does not hide the others.
        let mut walk = Walk::new(template);
        while let Some(at) = walk.next_place() {
            if !at.value.as_str().is_some_and(|text| text.contains("{{")) {
                continue;
            }
            let inner = walk.path(&at);
            let path = format!("{path}{}", inner.strip_prefix('$').unwrap_or(&inner));
            let here = |reference| Use { path: path.clone(), reference, place };
            match reference::references(at.value) {
                Ok(found) => {
                    uses.all.extend(found.into_iter().map(|(_, reference)| here(reference)));
                    let embedded = at.value.as_str().map(reference::embedded).unwrap_or_default();
                    uses.embedded.extend(embedded.into_iter().map(here));
                }
                Err(error) => uses.unreadable.push(ReferenceError { path, ..error }),
            }
        }
    }
    uses
}

/// The input that a reference names, if it names one alone.
pub(super) fn input_name(reference: &Reference) -> Option<&str> {
    match reference.path.first() {
        Some(Segment::Name(name)) => Some(name),
        Some(Segment::Index(_)) | None => None,
    }
}

/// Names of the declared inputs, and what each may be as far as its declaration can be read.
pub(super) type Declared<'a> = BTreeMap<&'a str, Option<InputKind>>;

/// Finds every reference that a step may not make.
pub(super) fn check(reader: &mut Reader, drafts: &[Draft<'_>], graph: &Graph, inputs: &Declared<'_>) {
    let mut steps = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (position, draft) in drafts.iter().enumerate() {
        if let Some(id) = draft.id.as_deref() {
            steps.entry(id).or_insert(position);
        }
        if let Some(key) = draft.step.as_ref().and_then(|step| step.output_key.as_deref()) {
            keys.entry(key).or_insert(position);
        }
    }
    let names = Names { steps, keys, inputs, graph };
    for (position, draft) in drafts.iter().enumerate() {
        let Some(step) = &draft.step else { continue };
        reader.at_step(Some(position));
        let uses = of(step, draft.raw, &draft.path);
        for error in uses.unreadable {
            let hint = if matches!(error.fault, ReferenceFault::Expression(_)) {
                "expressions look like {{ size(steps.fetch.output.items) + 1 }}"
            } else {
                "references look like {{ steps.fetch.output.id }}"
            };
            reader.find("plan.reference", error.path.clone(), error.to_string(), hint);
        }
        for one in uses.all {
            if let Err((message, hint)) = names.judge(&one, position, step) {
                reader.find("plan.reference", one.path, message, hint);
            }
        }
        for one in uses.embedded {
            if let Some(kind) = names.never_text(&one.reference) {
                let message =
                    format!("`{}` is of type {kind} and cannot stand inside a longer text", one.reference.text);
                let hint = "let the text be this reference alone, or name a text, number or boolean in it";
                reader.find("plan.reference", one.path, message, hint);
            }
        }
    }
}

/// What the steps of a plan can be called by.
struct Names<'a> {
    steps: BTreeMap<&'a str, usize>,
    keys: BTreeMap<&'a str, usize>,
    inputs: &'a Declared<'a>,
    graph: &'a Graph,
}

impl Names<'_> {
    /// Whether the step at a position may refer to this; message and hint if not.
    fn judge(&self, one: &Use, position: usize, step: &Step) -> Result<(), (String, &'static str)> {
        match &one.reference.root {
            Root::Step(id) | Root::StepStatus(id) => {
                let Some(other) = self.steps.get(id.as_str()) else {
                    return Err((format!("there is no step `{}`", printable(id)), "the id of another step"));
                };
                self.before(*other, position, id)
            }
            Root::Output(key) => {
                let Some(other) = self.keys.get(key.as_str()) else {
                    let message = format!("no step has the output_key `{}`", printable(key));
                    return Err((message, "give one to the step that is meant"));
                };
                self.before(*other, position, key)
            }
            Root::Inputs => match input_name(&one.reference) {
                Some(name) if !self.inputs.contains_key(name) => {
                    Err((format!("there is no input `{}`", printable(name)), "declare it under `inputs`"))
                }
                None if self.inputs.is_empty() => {
                    Err(("the plan has no inputs".to_owned(), "declare them under `inputs`"))
                }
                Some(_) | None => Ok(()),
            },
            Root::Item | Root::ItemIndex if one.place == Place::Params && step.foreach.is_some() => Ok(()),
            Root::Item | Root::ItemIndex => {
                let message = format!("`{}` has no value here", one.reference.root);
                Err((message, "it is there in `with` and `fallback.with` of a step with `foreach`"))
            }
            Root::Goal | Root::RunId | Root::Tenant | Root::Agent => Ok(()),
        }
    }

    /// The declared type of an input that is named as a whole and can only be a list or an object.
    fn never_text(&self, reference: &Reference) -> Option<InputKind> {
        match (&reference.root, reference.path.as_slice()) {
            (Root::Inputs, []) => Some(InputKind::Object),
            (Root::Inputs, [Segment::Name(name)]) => {
                let kind = self.inputs.get(name.as_str()).copied().flatten();
                kind.filter(|kind| matches!(kind, InputKind::List | InputKind::Object))
            }
            (_, _) => None,
        }
    }

    fn before(&self, other: usize, position: usize, name: &str) -> Result<(), (String, &'static str)> {
        if self.graph.comes_before(other, position) {
            return Ok(());
        }
        let message = format!("`{}` is not done before this step", printable(name));
        Err((message, "a step can only use what it needs, or what that needs: see `needs`"))
    }
}
