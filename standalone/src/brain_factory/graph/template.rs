//! A template: text with `{{path}}` placeholders.

use serde_json::Value;

use super::super::findings::Fault;
use super::component::Names;
use super::path::Path;
use super::run::{GraphError, Output, Scope};

pub(super) struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Placeholder(Path),
}

impl Template {
    pub(super) fn read(settings: &Value, field: &str, names: &Names<'_>) -> Result<Self, Fault> {
        let (name, text) = ["template", "text"]
            .iter()
            .find_map(|name| Some((*name, settings.get(name)?.as_str()?)))
            .ok_or_else(|| Fault::new(format!("{field}.template"), "A template needs its text"))?;
        let fault = |message: String| Fault::new(format!("{field}.{name}"), message);
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (path, after) = after
                .split_once("}}")
                .ok_or_else(|| fault("A placeholder is not closed with }}".to_owned()))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Placeholder(Path::read(path, names).map_err(fault)?));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    pub(super) fn references(&self) -> Vec<usize> {
        let paths = self.0.iter().filter_map(|piece| match piece {
            Piece::Placeholder(path) => path.reference(),
            Piece::Text(_) => None,
        });
        paths.collect()
    }

    /// The text with every placeholder filled; at most `room` bytes.
    pub(super) fn run(
        &self,
        component: &str,
        room: usize,
        scope: &Scope<'_>,
    ) -> Result<Output, GraphError> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Placeholder(path) => {
                    let found = path.find(scope);
                    match found.ok_or_else(|| GraphError::missing(component, path))? {
                        Value::String(text) => filled.push_str(text),
                        other => filled.push_str(&other.to_string()),
                    }
                }
            }
            if filled.len() > room {
                return Err(GraphError::too_large(component));
            }
        }
        let size = filled.len();
        Ok(Output::of_size(Value::String(filled), size))
    }
}
