//! Showing answers: tables and sentences for people, JSON for programs. What is on its way is said on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::Failure;

/// How answers are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// As the API's JSON.
    pub(super) json: bool,
}

impl Output {
    /// The API's JSON.
    pub(super) fn json(self, value: &Value) -> Result<(), Failure> {
        write(&format!("{value:#}\n"))
    }

    /// Either the API's JSON, or a sentence.
    pub(super) fn said(self, value: &Value, sentence: &str) -> Result<(), Failure> {
        if self.json {
            self.json(value)
        } else {
            write(&format!("{sentence}\n"))
        }
    }

    /// Lines of a name and a value.
    pub(super) fn facts(self, facts: &[(String, Value)]) -> Result<(), Failure> {
        let width = facts
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let lines = facts.iter().filter(|(_, value)| !value.is_null());
        let lines = lines.map(|(name, value)| format!("{name:<width$}  {}\n", cell(value)));
        write(&lines.collect::<String>())
    }

    /// A line for each row; a column is its title and where its value is, as a JSON pointer.
    pub(super) fn table(self, columns: &[(&str, &str)], rows: &[Value]) -> Result<(), Failure> {
        let titles = columns
            .iter()
            .map(|(title, _)| (*title).to_owned())
            .collect();
        let of = |row: &Value| -> Vec<String> {
            let cells = columns
                .iter()
                .map(|(_, pointer)| row.pointer(pointer).unwrap_or(&Value::Null));
            cells.map(cell).collect()
        };
        let lines: Vec<Vec<String>> = std::iter::once(titles).chain(rows.iter().map(of)).collect();
        let widths: Vec<usize> = (0..columns.len())
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let text = lines.iter().map(|line| {
            let cells = line
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        });
        write(&text.collect::<String>())
    }

    /// What goes on, for people who wait; nothing for programs.
    pub(super) fn progress(self, text: &str) {
        if !self.json && io::stderr().is_terminal() {
            // Who cannot be told is not held up for it.
            let _ = write!(io::stderr(), "\r{text}\u{1b}[K");
        }
    }

    /// Ends what [`Self::progress`] said.
    pub(super) fn progress_done(self) {
        self.progress("");
    }
}

/// The objects of a list.
pub(super) fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.replace(['\n', '\r', '\t'], " "),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.3}"),
            Some(_) | None => number.to_string(),
        },
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A reader that went away, such as `head`, is no failure.
fn write(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
