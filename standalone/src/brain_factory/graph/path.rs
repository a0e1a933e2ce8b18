//! Where a value is: in the task's input, or in the output of another component.

use serde_json::Value;

use super::component::Names;
use super::run::Scope;

/// A path such as `credit_score`, `applicants[0].income`, `input.score` or `score_rule`.
pub(super) struct Path {
    /// As it was written, for messages.
    pub(super) text: String,
    /// The component whose output it starts in; the task's input when there is none.
    component: Option<usize>,
    segments: Vec<String>,
}

impl Path {
    /// Reads a path; its first segment may be the id of a component or `input`.
    pub(super) fn read(text: &str, names: &Names<'_>) -> Result<Self, String> {
        let bare = text.trim();
        let bare = bare
            .strip_prefix("$.")
            .unwrap_or(bare)
            .replace('[', ".")
            .replace(']', "");
        let mut segments: Vec<String> = bare.split('.').map(|part| part.trim().into()).collect();
        if segments.iter().any(String::is_empty) {
            return Err(format!("'{text}' is not a path such as applicant.income"));
        }
        let component = names.get(segments[0].as_str()).copied();
        if component.is_some() || segments[0] == "input" {
            segments.remove(0);
        }
        Ok(Self {
            text: text.trim().to_owned(),
            component,
            segments,
        })
    }

    /// The component that it reads from, if it is one.
    pub(super) fn reference(&self) -> Option<usize> {
        self.component
    }

    /// The value, if there is one.
    pub(super) fn find<'a>(&self, scope: &'a Scope<'_>) -> Option<&'a Value> {
        let root = match self.component {
            Some(index) => scope.output(index)?,
            None => scope.input(),
        };
        self.segments
            .iter()
            .try_fold(root, |value, segment| match value {
                Value::Object(map) => map.get(segment),
                Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
                _ => None,
            })
    }
}
