//! What starts a run: a definition or the name of a stored one, and its input.

use std::fmt;

use serde_json::{Map, Value};

use super::draft::{Draft, definition_fields};
use super::run::RunId;
use crate::domain::{Faults, Fields, MAX_NESTING, nesting_of};

/// The name of a stored definition: 1–100 characters of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefinitionName(String);

impl DefinitionName {
    /// What a name may look like, for error messages.
    pub const ACCEPTS: &str = "must be 1 to 100 characters of A-Z, a-z, 0-9, '.', '_' and '-'";

    /// Checks and wraps `text`; `None` when it breaks the rule of [`Self::ACCEPTS`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        ((1..=100).contains(&text.len()) && text.bytes().all(allowed))
            .then(|| Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DefinitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which definition a run follows.
#[derive(Debug)]
pub enum RunSource {
    /// One that was sent along.
    Inline {
        /// As it was sent.
        body: Value,
        /// As it was read.
        draft: Box<Draft>,
    },
    /// A stored one: this version, or else the newest.
    Stored(DefinitionName, Option<u32>),
}

/// A request to start a run; an inline definition may still have faults.
#[derive(Debug)]
pub struct RunRequest {
    /// The identifier that the caller chose.
    pub run_id: Option<RunId>,
    /// Which definition it follows.
    pub source: RunSource,
    /// Its input: an object.
    pub input: Value,
}

impl RunRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// Every fault, unless the definition is sent along: its faults wait for what the ledger knows of agents.
    pub fn read(body: Value) -> Result<Self, Faults> {
        if nesting_of(&body) > MAX_NESTING {
            let message = format!("must not nest deeper than {MAX_NESTING} levels");
            return Err(Faults::one("", message));
        }
        let mut fields = Fields::of(body)?;
        let uuid = |text: &str| text.parse::<RunId>().ok();
        let run_id = fields.take_parsed("run_id", "must be a UUID", uuid);
        let is_named = fields.has("name");
        let name = fields.take_parsed("name", DefinitionName::ACCEPTS, DefinitionName::parse);
        let version = fields.take_integer("version", 1, i32::MAX.unsigned_abs());
        let definition = definition_fields(&mut fields);
        let input = fields.take_object("input");
        if is_named && definition.is_some() {
            fields.fault(
                "name",
                "must not be given together with steps: it names a stored definition",
            );
        } else if !is_named && definition.is_none() {
            fields.fault("steps", "is required, or the name of a stored definition");
        }
        if version.is_some() && !is_named {
            fields.fault("version", "must not be given without name");
        }
        let finished = fields.finish();
        let source = match (definition, name) {
            (Some(body), _) => {
                let draft = Draft::read(body.clone());
                if let Err(mut faults) = finished {
                    // Both at once.
                    if let Err(inner) = draft.checked(|_| true, |_| true) {
                        faults.0.extend(inner.0);
                    }
                    return Err(faults);
                }
                let draft = Box::new(draft);
                RunSource::Inline { body, draft }
            }
            (None, Some(name)) => {
                finished?;
                RunSource::Stored(name, version)
            }
            (None, None) => {
                finished?;
                return Err(Faults::one("steps", "is required"));
            }
        };
        Ok(Self {
            run_id,
            source,
            input: Value::Object(input.unwrap_or_else(Map::new)),
        })
    }
}
