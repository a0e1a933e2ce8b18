//! Reflection: a draft, a critique of it, and a revised answer.

use super::ReasoningError;
use super::dialogue::Dialogue;

pub(super) async fn reason(
    dialogue: &mut Dialogue<'_>,
    system: &str,
    task: &str,
) -> Result<String, ReasoningError> {
    let draft = dialogue.ask("draft", system, task).await?;
    let question = format!(
        "{task}\n\nA draft of the answer:\n{draft}\n\nCriticise the draft: what is wrong, missing or unclear? Do not rewrite it."
    );
    let critique = dialogue.ask_plainly("critique", system, &question).await?;
    let question = format!(
        "{task}\n\nA draft of the answer:\n{draft}\n\nA critique of it:\n{critique}\n\nWrite the final answer, improved by the critique. Give only the answer."
    );
    dialogue.ask("revision", system, &question).await
}
