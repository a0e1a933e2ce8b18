//! `GET /orchestrator/dead-letters`, and what can be done with one of them.

use std::sync::Arc;

use orchestrator_common::commands::ReplayError;
use orchestrator_common::domain::{DeadLetter, Faults, LetterId, Timestamp};
use orchestrator_common::ledger::LetterQuery;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::Tag;
use crate::auth::{Administer, Caller};
use crate::problem::{ApiError, Cancelling, Reading, Refusal};
use crate::service::{Service, patiently, take, take_text};
use crate::views::{
    Answer, DeadLetterChanged, DeadLetterList, DeadLetterView, LetterCursor, Loose, PageSize, Wire,
};

pub(super) struct DeadLetters(pub(super) Arc<Service>);

#[OpenApi(tag = "Tag::Operations")]
impl DeadLetters {
    /// List dead letters
    ///
    /// Messages that were not accepted, newest first, without their bodies. There are none without RabbitMQ.
    #[oai(
        path = "/orchestrator/dead-letters",
        method = "get",
        operation_id = "list_dead_letters"
    )]
    async fn list(
        &self,
        _caller: Caller<Administer>,
        /// Only those that were put aside for this reason.
        reason: Query<Option<String>>,
        /// At most this many.
        limit: Query<Option<Loose<PageSize<100>>>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<Loose<LetterCursor>>>,
    ) -> Result<Answer<DeadLetterList>, Refusal<Reading>> {
        let mut faults = Faults::default();
        let PageSize(limit) = take("limit", limit.0, &mut faults).unwrap_or_default();
        let before = take("cursor", cursor.0, &mut faults).map(|cursor| cursor.0);
        let query = LetterQuery {
            reason: take_text("reason", reason.0, &mut faults),
            before,
            // One more than is shown tells whether there is a next page.
            limit: limit + 1,
        };
        let query = faults.none_or(query)?;
        let mut letters = patiently(self.0.ledger.dead_letters(&query)).await?;
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = letters.len() > shown;
        letters.truncate(shown);
        let last = letters.last().filter(|_| has_more);
        let next = last.map(|last| LetterCursor((last.received_at, last.letter_id)).to_string());
        Ok(Answer(DeadLetterList {
            count: letters.len(),
            dead_letters: letters.into_iter().map(DeadLetterView::from).collect(),
            next_cursor: next,
        }))
    }

    /// Get a dead letter
    ///
    /// One that was not accepted, with its body: as JSON where it is JSON.
    #[oai(
        path = "/orchestrator/dead-letters/:letter_id",
        method = "get",
        operation_id = "get_dead_letter"
    )]
    async fn get(
        &self,
        _caller: Caller<Administer>,
        /// The letter: a UUID.
        letter_id: Path<String>,
    ) -> Result<Answer<DeadLetterView>, Refusal<Reading>> {
        let letter = self.find(&letter_id).await?;
        Ok(Answer(DeadLetterView::with_body(letter)))
    }

    /// Replay a dead letter
    ///
    /// Sends the message again as it came, with the authority of whoever replays it. One that was replayed and did not come
    /// back is not sent again. One that is refused again is listed again.
    #[oai(
        path = "/orchestrator/dead-letters/:letter_id/replay",
        method = "post",
        operation_id = "replay_dead_letter"
    )]
    async fn replay(
        &self,
        caller: Caller<Administer>,
        /// The letter: a UUID.
        letter_id: Path<String>,
    ) -> Result<Answer<DeadLetterChanged>, Refusal<Cancelling>> {
        let letter = self.find(&letter_id).await?;
        let id = letter.letter_id;
        if letter.replayed_at.is_some() {
            return Ok(changed(
                id,
                "the letter was replayed before and did not come back",
            ));
        }
        if !letter.is_whole() {
            return Err(ApiError::NotReplayable("its body was too large to be kept").into());
        }
        let origin = caller.origin();
        // A crash in between leaves it unnoted: sending it twice is one task, since it keeps its name.
        self.0
            .commands
            .replay(&letter, &origin)
            .await
            .map_err(|error| match error {
                ReplayError::Unroutable => ApiError::NotReplayable("no queue takes such a message"),
                ReplayError::Unavailable { retry_after } => ApiError::Unavailable(retry_after),
            })?;
        let ledger = self.0.ledger.by(origin);
        let noting = ledger.note_replay(&letter, &caller.name, Timestamp::now());
        patiently(noting).await?;
        Ok(changed(id, "the letter was sent again"))
    }

    /// Discard a dead letter
    ///
    /// Throws the message away for good.
    #[oai(
        path = "/orchestrator/dead-letters/:letter_id",
        method = "delete",
        operation_id = "discard_dead_letter"
    )]
    async fn discard(
        &self,
        caller: Caller<Administer>,
        /// The letter: a UUID.
        letter_id: Path<String>,
    ) -> Result<Answer<DeadLetterChanged>, Refusal<Cancelling>> {
        let id = letter_in_path(&letter_id)?;
        let ledger = self.0.ledger.by(caller.origin());
        if patiently(ledger.discard_dead_letter(id)).await? {
            Ok(changed(id, "the letter was thrown away"))
        } else {
            Err(ApiError::NoSuchLetter(letter_id.0).into())
        }
    }
}

impl DeadLetters {
    async fn find(&self, text: &str) -> Result<DeadLetter, ApiError> {
        let letter = patiently(self.0.ledger.dead_letter(letter_in_path(text)?)).await?;
        letter.ok_or_else(|| ApiError::NoSuchLetter(text.to_owned()))
    }
}

/// A letter id from a path; what is not a UUID is the name of no letter.
fn letter_in_path(text: &str) -> Result<LetterId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::NoSuchLetter(text.to_owned()))
}

fn changed(letter_id: LetterId, message: &str) -> Answer<DeadLetterChanged> {
    Answer(DeadLetterChanged {
        success: true,
        letter_id: Wire(letter_id),
        message: message.to_owned(),
    })
}
