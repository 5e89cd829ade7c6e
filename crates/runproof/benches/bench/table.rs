//! The one table: a measure in each line, a column for each number of runs at a time.

use serde_json::{Value, json};

/// What was measured.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: &'static str,
    /// Label of the column, empty when there is only one, and the number.
    cells: Vec<(String, f64)>,
    aim: String,
}

impl Table {
    /// Adds a measure with a single number.
    pub(crate) fn one(&mut self, name: &str, unit: &'static str, value: f64, aim: &str) {
        self.cell(name, unit, String::new(), value, aim);
    }

    /// Adds a number to a measure with several columns.
    pub(crate) fn cell(&mut self, name: &str, unit: &'static str, label: String, value: f64, aim: &str) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.cells.push((label, value));
            return;
        }
        let (name, aim) = (name.to_owned(), aim.to_owned());
        self.rows.push(Row { name, unit, cells: vec![(label, value)], aim });
    }

    /// As text: a heading wherever the columns change.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut labels: Vec<&str> = Vec::new();
        for row in &self.rows {
            let of: Vec<&str> = row.cells.iter().map(|(label, _)| label.as_str()).collect();
            if of != labels {
                let heading: String = of.iter().map(|label| format!("{label:>10}")).collect();
                let title = if of == [""] { "one at a time" } else { "runs at a time" };
                text += &format!("\n{title:<58} {:>5}{heading}  aim\n", "");
                labels = of;
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
            json!({ "measure": row.name, "unit": row.unit, "aim": row.aim, "values": values })
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
