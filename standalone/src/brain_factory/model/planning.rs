//! Planning and Multi-Agent: a plan, each of its steps, and an answer that combines them.
//!
//! Multi-Agent is the same with a specialist's role for each step, played by the one model.

use serde::Deserialize;
use std::fmt::Write;

use super::ReasoningError;
use super::dialogue::Dialogue;

/// The most steps of a plan that are carried out.
const MAX_STEPS: usize = 8;

#[derive(Deserialize)]
struct Plan {
    steps: Vec<Planned>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Planned {
    Task(String),
    Assigned {
        #[serde(default)]
        role: Option<String>,
        #[serde(alias = "step", alias = "description")]
        task: String,
    },
}

impl Planned {
    fn task(&self) -> &str {
        match self {
            Self::Task(task) | Self::Assigned { task, .. } => task,
        }
    }

    fn role(&self) -> Option<&str> {
        match self {
            Self::Task(_) => None,
            Self::Assigned { role, .. } => role.as_deref(),
        }
    }
}

pub(super) async fn reason(
    dialogue: &mut Dialogue<'_>,
    system: &str,
    task: &str,
    in_roles: bool,
) -> Result<String, ReasoningError> {
    let plan = plan(dialogue, system, task, in_roles).await?;
    let mut done = String::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let number = index + 1;
        let system = match step.role().filter(|_| in_roles) {
            Some(role) => format!("{system}\nFor now you work in the role of {role}."),
            None => system.to_owned(),
        };
        let question = format!(
            "{task}\n\nResults of the earlier steps:\n{}\nCarry out step {number} only: {}",
            if done.is_empty() { "none\n" } else { &done },
            step.task()
        );
        let result = dialogue
            .ask(&format!("step {number}"), &system, &question)
            .await?;
        // Writing to a String cannot fail.
        let _ = writeln!(done, "{number}. {}: {result}", step.task());
    }
    let question = format!(
        "{task}\n\nResults of all steps:\n{done}\nCombine them into the final answer. Give only the answer."
    );
    dialogue.ask_plainly("combination", system, &question).await
}

/// A plan, asked for once more when the first cannot be read.
async fn plan(
    dialogue: &mut Dialogue<'_>,
    system: &str,
    task: &str,
    in_roles: bool,
) -> Result<Plan, ReasoningError> {
    let form = if in_roles {
        r#"{"steps": [{"role": "who does it", "task": "what to do"}]}"#
    } else {
        r#"{"steps": ["what to do"]}"#
    };
    let question = format!(
        "{task}\n\nDo not solve it yet. Plan at most {MAX_STEPS} steps that lead to the answer. Reply with JSON only, of this form: {form}"
    );
    for _ in 0..2 {
        let text = dialogue.ask_plainly("plan", system, &question).await?;
        if let Some(plan) = read(&text) {
            return Ok(plan);
        }
    }
    Err(ReasoningError::NoPlan)
}

/// The plan in a reply, which may be wrapped in prose or a code fence.
fn read(text: &str) -> Option<Plan> {
    let json = text.get(text.find('{')?..=text.rfind('}')?)?;
    let mut plan: Plan = serde_json::from_str(json).ok()?;
    plan.steps.truncate(MAX_STEPS);
    (!plan.steps.is_empty()).then_some(plan)
}
