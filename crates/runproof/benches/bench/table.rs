//! The one table: a measure in each line, a column for each number of runs at a time, or for each way to the database.

use serde_json::{Value, json};

/// What was measured.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    section: String,
}

struct Row {
    /// What it is a part of; empty for the embedded store.
    section: String,
    name: String,
    unit: &'static str,
    /// Label of the column, empty when there is only one, and the number.
    cells: Vec<(String, f64)>,
    aim: String,
}

impl Table {
    /// What follows is about something else. A measure may have the name of another one in another section.
    pub(crate) fn section(&mut self, name: &str) {
        name.clone_into(&mut self.section);
    }

    /// Adds a measure with a single number.
    pub(crate) fn one(&mut self, name: &str, unit: &'static str, value: f64, aim: &str) {
        self.cell(name, unit, String::new(), value, aim);
    }

    /// Adds a number to a measure with several columns.
    pub(crate) fn cell(&mut self, name: &str, unit: &'static str, label: String, value: f64, aim: &str) {
        let same = |row: &&mut Row| row.name == name && row.section == self.section;
        if let Some(row) = self.rows.iter_mut().find(same) {
            row.cells.push((label, value));
            return;
        }
        let (section, name, aim) = (self.section.clone(), name.to_owned(), aim.to_owned());
        self.rows.push(Row { section, name, unit, cells: vec![(label, value)], aim });
    }

    /// As text: a heading wherever the columns change.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut before: (&str, Vec<&str>) = Default::default();
        for row in &self.rows {
            let of = (row.section.as_str(), row.cells.iter().map(|(label, _)| label.as_str()).collect());
            if of != before {
                let heading: String = of.1.iter().map(|label| format!("{label:>10}")).collect();
                let title = match of.0 {
                    "" if of.1 == [""] => "one at a time",
                    "" => "runs at a time",
                    section => section,
                };
                text += &format!("\n{title:<58} {:>5}{heading}  aim\n", "");
                before = of;
            }
            let cells: String = row.cells.iter().map(|(_, value)| format!("{:>10}", number(*value))).collect();
            text += format!("{:<58} {:>5}{cells}  {}", row.name, row.unit, row.aim).trim_end();
            text.push('\n');
        }
        text
    }

    /// As JSON, in the same order.
    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            let values: Vec<Value> =
                row.cells.iter().map(|(label, value)| json!({ "at": label, "value": value })).collect();
            json!({ "section": row.section, "measure": row.name, "unit": row.unit, "aim": row.aim, "values": values })
        };
        json!({ "measures": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

/// Three digits that count, and no more behind the point than make sense.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
