//! What must be done before what: reads `needs`, names cycles, and knows the ancestors of every step.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Plan;
use super::reader::Reader;
use super::step::Draft;

/// What every step needs, by position.
pub(super) struct Graph {
    /// What must be done first, ascending.
    pub(super) needs: Vec<Vec<usize>>,
    /// For each step, which others must be done before it; `None` when the graph is broken.
    before: Option<Vec<Vec<bool>>>,
}

impl Graph {
    /// Reads `needs` of every step. Without it a step needs the one before it in the list.
    pub(super) fn read(reader: &mut Reader, drafts: &[Draft<'_>]) -> Self {
        let mut positions: BTreeMap<&str, usize> = BTreeMap::new();
        for (position, draft) in drafts.iter().enumerate() {
            if let Some(id) = &draft.id {
                positions.entry(id).or_insert(position);
            }
        }
        let mut whole = true;
        let mut needs = Vec::with_capacity(drafts.len());
        for (position, draft) in drafts.iter().enumerate() {
            reader.at_step(Some(position));
            let mut of_step = match draft.raw.get("needs") {
                None => position.checked_sub(1).into_iter().collect(),
                Some(list) => named(reader, list, draft, &positions).unwrap_or_else(|| {
                    whole = false;
                    Vec::new()
                }),
            };
            of_step.sort_unstable();
            needs.push(of_step);
        }
        let order = order(&needs);
        if order.len() < needs.len() {
            cycles(reader, drafts, &needs, order);
            return Self { needs, before: None };
        }
        let before = whole.then(|| ancestors(&needs, &order));
        Self { needs, before }
    }

    /// Whether `earlier` must be done before `later`. In a broken graph, every other step may be.
    pub(super) fn comes_before(&self, earlier: usize, later: usize) -> bool {
        self.before.as_ref().map_or(earlier != later, |before| before[later][earlier])
    }
}

/// Positions of the steps that a list names; `None` when something in it is wrong.
fn named(
    reader: &mut Reader,
    list: &Value,
    draft: &Draft<'_>,
    positions: &BTreeMap<&str, usize>,
) -> Option<Vec<usize>> {
    let path = format!("{}.needs", draft.path);
    let Some(list) = list.as_array() else {
        reader.find("plan.needs", path, "`needs` is a list of step ids", "[\"a\"], or [] for nothing");
        return None;
    };
    let mut out = Vec::with_capacity(list.len());
    for (index, id) in list.iter().enumerate() {
        let place = format!("{path}[{index}]");
        let position = id.as_str().and_then(|id| positions.get(id)).copied();
        match (id.as_str(), position) {
            (None, _) => reader.find("plan.needs", place, "not a step id", "the id of another step, in quotes"),
            (Some(id), _) if draft.id.as_deref() == Some(id) => {
                reader.find("plan.needs", place, format!("`{id}` needs itself"), "remove it");
            }
            (Some(id), None) => {
                let id = runproof_proof::finding::printable(id);
                reader.find("plan.needs", place, format!("there is no step `{id}`"), "the id of another step");
            }
            (Some(id), Some(position)) if out.contains(&position) => {
                reader.find("plan.needs", place, format!("`{id}` is named twice"), "remove one");
            }
            (Some(_), Some(position)) => out.push(position),
        }
    }
    (out.len() == list.len()).then_some(out)
}

/// Positions in an order in which everything that a step needs stands before it. Steps on cycles, and what needs them,
/// are left out.
fn order(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(needs.len());
    let mut done = vec![false; needs.len()];
    loop {
        let before = order.len();
        for position in 0..needs.len() {
            if !done[position] && needs[position].iter().all(|need| done[*need]) {
                done[position] = true;
                order.push(position);
            }
        }
        if order.len() == before {
            return order;
        }
    }
}

fn ancestors(needs: &[Vec<usize>], order: &[usize]) -> Vec<Vec<bool>> {
    let mut before = vec![vec![false; needs.len()]; needs.len()];
    for position in order {
        let mut row = vec![false; needs.len()];
        for need in &needs[*position] {
            row[*need] = true;
            for (mine, theirs) in row.iter_mut().zip(&before[*need]) {
                *mine |= *theirs;
            }
        }
        before[*position] = row;
    }
    before
}

/// Names each cycle once. `order` holds what is on none and needs none.
fn cycles(reader: &mut Reader, drafts: &[Draft<'_>], needs: &[Vec<usize>], order: Vec<usize>) {
    let mut left: Vec<bool> = vec![true; needs.len()];
    for position in order {
        left[position] = false;
    }
    while let Some(start) = left.iter().position(|left| *left) {
        // Every step that is left needs one that is left, so following them comes back to where it was.
        let mut way = vec![start];
        let found = loop {
            let last = way[way.len() - 1];
            let Some(next) = needs[last].iter().copied().find(|need| left[*need]) else { break None };
            if let Some(at) = way.iter().position(|step| *step == next) {
                break Some(way.split_off(at));
            }
            way.push(next);
        };
        let Some(mut cycle) = found else {
            // What it needed was on a cycle that is named already.
            way.iter().for_each(|position| left[*position] = false);
            continue;
        };
        // It is told from the first step in the list that says what it needs.
        let first = cycle.iter().copied().filter(|position| drafts[*position].raw.get("needs").is_some()).min();
        let turn = cycle.iter().position(|position| Some(*position) == first).unwrap_or(0);
        cycle.rotate_left(turn);
        cycle.iter().for_each(|position| left[*position] = false);
        let name = |position: &usize| format!("`{}`", drafts[*position].id.as_deref().unwrap_or_default());
        let names: Vec<String> = cycle.iter().chain(&cycle[..1]).map(name).collect();
        reader.at_step(Some(cycle[0]));
        let path = format!("{}.needs", drafts[cycle[0]].path);
        reader.find("plan.cycle", path, names.join(" needs "), "remove one of these needs");
    }
}

/// The steps in levels: a step stands in the level after the last one that it needs. Steps of one level do not need one
/// another.
pub fn levels(plan: &Plan) -> Vec<Vec<usize>> {
    let needs: Vec<Vec<usize>> = plan.steps.iter().map(|step| step.needs.clone()).collect();
    let mut level = vec![0; needs.len()];
    let mut levels: Vec<Vec<usize>> = Vec::new();
    for position in order(&needs) {
        level[position] = needs[position].iter().map(|need| level[*need] + 1).max().unwrap_or(0);
        if levels.len() <= level[position] {
            levels.resize(level[position] + 1, Vec::new());
        }
        levels[level[position]].push(position);
    }
    for level in &mut levels {
        level.sort_unstable();
    }
    levels
}
