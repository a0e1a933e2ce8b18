//! How an orchestrator, a worker or a Brain Factory is.

use serde_json::Value;

use super::Failure;
use super::client::Client;
use super::output::Output;

pub(super) async fn ask(client: &Client, out: Output) -> Result<(), Failure> {
    let (status, report) = client.look("/health").await?;
    let state = report["status"].as_str().unwrap_or("unknown");
    if out.json || report.is_null() {
        out.json(&report)?;
    } else {
        let mut facts = vec![("status".to_owned(), Value::from(state))];
        // The API has dependencies, a worker parts.
        for (name, part) in ["dependencies", "parts"]
            .iter()
            .filter_map(|list| report[list].as_object())
            .flatten()
        {
            facts.push((name.clone(), part["status"].clone()));
        }
        out.facts(&facts)?;
    }
    match status {
        200..=299 => Ok(()),
        _ => Err(Failure::Unfit(format!(
            "it cannot do its job: {state} (status {status})"
        ))),
    }
}
