//! Operators' commands about messages that were put aside.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::client::Client;
use super::input::segment;
use super::output::Output;
use super::tasks::each;

const LIST: &str = "/orchestrator/dead-letters";

/// Look at messages that were put aside, and decide what becomes of them.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List letters, newest first
    List {
        /// Only those put aside for this reason, such as unknown_agent
        #[arg(long)]
        reason: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Show one letter with its body
    Show {
        /// The letter
        letter: String,
    },
    /// Send letters again
    Replay(Chosen),
    /// Throw letters away
    Discard(Chosen),
}

/// Which letters.
#[derive(Clone, Debug, Args)]
pub(crate) struct Chosen {
    /// The letters
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    letters: Vec<String>,
    /// All that were put aside
    #[arg(long)]
    all: bool,
    /// Of all, only those put aside for this reason
    #[arg(long, requires = "all")]
    reason: Option<String>,
}

pub(super) async fn run(
    command: DeadLettersCommand,
    client: &Client,
    out: Output,
) -> Result<(), Failure> {
    match command {
        DeadLettersCommand::List { reason, limit } => {
            let all = letters(client, reason, Some(limit)).await?;
            if out.json {
                return out.json(&json!({"count": all.len(), "dead_letters": all}));
            }
            let columns = [
                ("LETTER", "/letter_id"),
                ("RECEIVED", "/received_at"),
                ("REASON", "/reason"),
                ("KEY", "/routing_key"),
                ("MESSAGE", "/message_id"),
                ("TIMES", "/times"),
                ("REPLAYED", "/replayed_at"),
                ("BYTES", "/size_bytes"),
            ];
            out.table(&columns, &all)
        }
        DeadLettersCommand::Show { letter } => out.json(&client.get(&of(&letter, ""), &[]).await?),
        DeadLettersCommand::Replay(chosen) => {
            let chosen = choose(client, chosen).await?;
            each(out, &chosen, async |letter| {
                client.post(&of(letter, "/replay"), None).await
            })
            .await
        }
        DeadLettersCommand::Discard(chosen) => {
            let chosen = choose(client, chosen).await?;
            each(out, &chosen, async |letter| {
                client.delete(&of(letter, ""), &[]).await
            })
            .await
        }
    }
}

fn of(letter: &str, what: &str) -> String {
    format!("{LIST}/{}{what}", segment(letter))
}

async fn letters(
    client: &Client,
    reason: Option<String>,
    limit: Option<u32>,
) -> Result<Vec<Value>, Failure> {
    let query: Vec<_> = reason
        .into_iter()
        .map(|reason| ("reason", reason))
        .collect();
    client.pages(LIST, &query, "dead_letters", limit).await
}

async fn choose(client: &Client, chosen: Chosen) -> Result<Vec<String>, Failure> {
    if !chosen.all {
        return Ok(chosen.letters);
    }
    let all = letters(client, chosen.reason, None).await?;
    let ids = all.iter().filter_map(|letter| letter["letter_id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}
