//! References: JSON pointers into a run, such as `/steps/credit/result/score`, `/input/applicant` or `/item`.

use std::collections::HashMap;

use serde_json::Value;

/// The steps of a definition by their names.
pub(super) type Names<'a> = HashMap<&'a str, usize>;

/// What of a step a reference reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What came out of it; of a fan-out the list of what came out of its children, in their order.
    Result,
    /// The name of where it stands.
    Status,
    /// Why it failed: an object of `code` and `message`.
    Error,
}

/// Where a reference begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The run's input.
    Input,
    /// The element of the list that a child of a fan-out is for.
    Item,
    /// The place of that element, from 0.
    Index,
    /// A step, by its place in the definition.
    Step(usize, Part),
}

/// A JSON pointer into a run, and what stands in when it leads nowhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    text: String,
    pub(super) source: Source,
    /// The JSON pointer within the source.
    pub(super) within: String,
    pub(super) default: Option<Value>,
}

impl Reference {
    /// Reads a pointer; the error says what is wrong with it.
    pub(super) fn parse(text: &str, names: &Names<'_>) -> Result<Self, String> {
        let mut tokens = text.splitn(3, '/');
        let (Some(""), Some(root)) = (tokens.next(), tokens.next()) else {
            return Err(Self::accepts());
        };
        let rest = tokens.next();
        let within = |rest: Option<&str>| rest.map_or(String::new(), |rest| format!("/{rest}"));
        let (source, within) = match root {
            "input" => (Source::Input, within(rest)),
            "item" => (Source::Item, within(rest)),
            "index" if rest.is_none() => (Source::Index, String::new()),
            "steps" => {
                let mut tokens = rest.unwrap_or_default().splitn(3, '/');
                let step = tokens.next().unwrap_or_default();
                let Some(place) = names.get(step) else {
                    return Err(format!("refers to {step:?}, which is no step"));
                };
                let part = match tokens.next() {
                    Some("result") => Part::Result,
                    Some("status") => Part::Status,
                    Some("error") => Part::Error,
                    Some(_) | None => {
                        return Err(
                            "must go on with /result, /status or /error after the step".into()
                        );
                    }
                };
                (Source::Step(*place, part), within(tokens.next()))
            }
            _ => return Err(Self::accepts()),
        };
        if has_bad_escape(&within) {
            return Err("must be a JSON pointer, in which ~ is written ~0".into());
        }
        Ok(Self {
            text: text.to_owned(),
            source,
            within,
            default: None,
        })
    }

    fn accepts() -> String {
        "must be a JSON pointer that begins with /input, /steps/ID/result, /steps/ID/status, /steps/ID/error, or, within \
         for_each, /item or /index"
            .into()
    }

    /// The same, with what stands in when it leads nowhere.
    pub(super) fn or_else(self, default: Option<Value>) -> Self {
        Self { default, ..self }
    }

    /// The pointer as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The step that it reads, if it reads one.
    pub(super) const fn step(&self) -> Option<usize> {
        match self.source {
            Source::Step(step, _) => Some(step),
            Source::Input | Source::Item | Source::Index => None,
        }
    }

    /// Whether it has a meaning only for a child of a fan-out.
    pub(super) const fn is_of_child(&self) -> bool {
        matches!(self.source, Source::Item | Source::Index)
    }
}

fn has_bad_escape(pointer: &str) -> bool {
    let mut escapes = pointer.split('~').skip(1);
    escapes.any(|after| !after.starts_with(['0', '1']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_begins_somewhere_known() {
        let names = Names::from([("a", 3)]);
        let read = |text| Reference::parse(text, &names);
        let step = read("/steps/a/result/x/0").unwrap();
        assert_eq!(
            (step.source, step.within.as_str()),
            (Source::Step(3, Part::Result), "/x/0")
        );
        assert_eq!(read("/input").unwrap().within, "");
        assert_eq!(read("/item/a~1b").unwrap().within, "/a~1b");
        for bad in [
            "",
            "input",
            "/",
            "/steps",
            "/steps/a",
            "/steps/a/x",
            "/steps/b/result",
            "/index/0",
            "/input/~2",
            "/x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
