//! Takes dead letters from their queue into the ledger, where they can be listed, read and replayed; see ADR 8.

use std::time::Duration;

use orchestrator_common::domain::{DeadLetter, Timestamp};
use orchestrator_common::ledger::{Ledger, LedgerError};
use orchestrator_common::messaging::{Consumer, Message, ack_all, read_dead_letter};
use tokio_util::sync::CancellationToken;

/// Letters in hand at the same time; each may be as large as the broker allows.
pub(super) const PREFETCH: u16 = 16;
/// How long to wait before a ledger that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// Keeps letters until `stop`; what is in hand then stays with the broker.
pub(super) async fn keep_all(
    mut consumer: Consumer,
    ledger: Ledger,
    max_body_bytes: usize,
    stop: CancellationToken,
) {
    loop {
        let messages = consumer.recv_batch(usize::from(PREFETCH)).await;
        if messages.is_empty() {
            return;
        }
        let now = Timestamp::now();
        let letters: Vec<DeadLetter> = messages
            .iter()
            .map(|message| read_dead_letter(message, max_body_bytes, now))
            .collect();
        if keep(&ledger, &letters, &messages, &stop).await {
            ack_all(messages).await;
        }
    }
}

/// Repeats until the ledger has the letters; `false` when the process stops or they were lost to another one before.
async fn keep(
    ledger: &Ledger,
    letters: &[DeadLetter],
    messages: &[Message],
    stop: &CancellationToken,
) -> bool {
    loop {
        match ledger.keep_dead_letters(letters).await {
            Ok(()) => return true,
            Err(error @ LedgerError::Unavailable(_)) => {
                tracing::debug!(%error, "the ledger does not take dead letters; they stay with the broker");
            }
            Err(error @ (LedgerError::Unacceptable(_) | LedgerError::Corrupt(_))) => {
                tracing::error!(%error, "the ledger refuses dead letters; they stay with the broker");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return false,
        }
        if !messages.iter().any(Message::is_current) {
            return false;
        }
    }
}
