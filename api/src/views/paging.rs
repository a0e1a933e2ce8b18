//! Pages of lists: how many, and from where.

use std::fmt;

use orchestrator_common::domain::{TaskId, TaskStatus, Timestamp};
use orchestrator_common::ledger::TaskPlace;
use poem_openapi::registry::MetaSchema;

use super::{QueryValue, WireSchema};

/// How many entries a page holds at most; `DEFAULT` when nothing is asked for.
pub(crate) struct PageSize<const DEFAULT: u32>(pub(crate) u32);

const MAX: u32 = 1_000;

impl<const DEFAULT: u32> Default for PageSize<DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<const DEFAULT: u32> WireSchema for PageSize<DEFAULT> {
    fn schema() -> MetaSchema {
        MetaSchema {
            minimum: Some(1.0),
            maximum: Some(f64::from(MAX)),
            default: Some(DEFAULT.into()),
            ..MetaSchema::new_with_format("integer", "uint32")
        }
    }
}

impl<const DEFAULT: u32> QueryValue for PageSize<DEFAULT> {
    const ACCEPTS: &'static str = "must be a whole number from 1 to 1000";

    fn read(text: &str) -> Option<Self> {
        let size = text.parse().ok()?;
        (1..=MAX).contains(&size).then_some(Self(size))
    }
}

/// Where a page of tasks ends and the next one begins; its form is our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskCursor(pub(crate) TaskPlace);

impl fmt::Display for TaskCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (submitted_at, task_id) = self.0;
        write!(
            f,
            "{}.{}",
            submitted_at.as_micros(),
            task_id.uuid().simple()
        )
    }
}

/// The form of a cursor that is a time in microseconds and a UUID.
pub(super) fn cursor_of_time_and_id() -> MetaSchema {
    MetaSchema {
        pattern: Some("^[0-9]{1,18}[.][0-9a-f]{32}$".to_owned()),
        ..MetaSchema::new("string")
    }
}

impl WireSchema for TaskCursor {
    fn schema() -> MetaSchema {
        cursor_of_time_and_id()
    }
}

impl QueryValue for TaskCursor {
    const ACCEPTS: &'static str = "must be the next_cursor of a page";

    fn read(text: &str) -> Option<Self> {
        let (micros, task_id) = text.split_once('.')?;
        let task_id: TaskId = task_id.parse().ok()?;
        Some(Self((
            Timestamp::from_micros(micros.parse().ok()?),
            task_id,
        )))
    }
}

impl QueryValue for TaskStatus {
    const ACCEPTS: &'static str = "must be one of queued, scheduled, running, retrying, completed, failed, timed_out, cancelled";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl QueryValue for Timestamp {
    const ACCEPTS: &'static str = "must be an RFC 3339 time such as 2026-03-01T12:00:00Z";

    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl QueryValue for TaskId {
    const ACCEPTS: &'static str = "must be a UUID";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
