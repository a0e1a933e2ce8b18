//! The audit log as callers see it.

use orchestrator_common::domain::{AuditEntry, AuditOutcome, Timestamp};
use orchestrator_common::ledger::AuditPage;
use poem_openapi::Object;
use poem_openapi::registry::MetaSchema;
use serde::Serialize;

use super::{QueryValue, Wire, WireSchema};

/// Who did what.
#[derive(Debug, Object, Serialize)]
pub(crate) struct AuditEntryView {
    /// Grows from entry to entry.
    seq: i64,
    /// When.
    at: Wire<Timestamp>,
    /// Who: the subject of a token, `anonymous` when authentication is off, `unknown` when the token was not acceptable,
    /// `worker:` and its id when a worker acts by itself; of a message without a token its `user_id` or `app_id`, else
    /// `broker`.
    actor: String,
    /// What was done or happened, such as `task.accept`, `agent.start`, `agent.active`, `instance.lost` or
    /// `message.dead_letter`; of a refused request its method and the template of its
    /// address.
    action: String,
    /// The agent, task, worker or dead letter; of a refused request its path.
    resource: String,
    /// What it came to.
    outcome: Wire<AuditOutcome>,
    /// Finds the request in the logs.
    #[oai(nullable)]
    request_id: Option<String>,
    /// What else there is to say, such as why it was refused.
    #[oai(nullable)]
    detail: Option<String>,
}

impl From<(i64, AuditEntry)> for AuditEntryView {
    fn from((seq, entry): (i64, AuditEntry)) -> Self {
        Self {
            seq,
            at: Wire(entry.at),
            actor: entry.origin.actor,
            action: entry.action,
            resource: entry.resource,
            outcome: Wire(entry.outcome),
            request_id: entry.origin.request_id,
            detail: entry.detail,
        }
    }
}

/// A page of the audit log.
#[derive(Debug, Object, Serialize)]
pub(crate) struct AuditList {
    /// Newest first.
    entries: Vec<AuditEntryView>,
    /// How many are on this page.
    count: usize,
    /// Gets the next page as `cursor`; absent on the last one. A page with a rare filter may hold fewer entries than were
    /// asked for, or none, before the last one.
    #[oai(nullable)]
    next_cursor: Option<String>,
}

impl From<AuditPage> for AuditList {
    fn from(page: AuditPage) -> Self {
        let entries: Vec<_> = page.entries.into_iter().map(AuditEntryView::from).collect();
        Self {
            count: entries.len(),
            entries,
            next_cursor: page.next.map(|seq| seq.to_string()),
        }
    }
}

/// Where a page of the audit log ends and the next one begins.
pub(crate) struct AuditCursor(pub(crate) i64);

impl WireSchema for AuditCursor {
    fn schema() -> MetaSchema {
        MetaSchema {
            pattern: Some("^[0-9]{1,18}$".to_owned()),
            ..MetaSchema::new("string")
        }
    }
}

impl QueryValue for AuditCursor {
    const ACCEPTS: &'static str = "must be the next_cursor of a page";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl WireSchema for AuditOutcome {
    fn schema() -> MetaSchema {
        MetaSchema {
            enum_items: Self::ALL
                .iter()
                .map(|outcome| outcome.as_str().into())
                .collect(),
            ..MetaSchema::new("string")
        }
    }
}

impl QueryValue for AuditOutcome {
    const ACCEPTS: &'static str = "must be done or refused";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
