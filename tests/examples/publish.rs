//! Publishes a task directly to RabbitMQ and waits for its outcome; what `docs/examples/publish.py` does, with lapin.
//!
//! `RABBITMQ_URL` and `RABBITMQ_PREFIX` name the broker and the deployment; `TOKEN` is sent when it is set. The first
//! argument names another file with a task than `docs/examples/risk-assessment.json`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const EXAMPLE: &str = include_str!("../../docs/examples/risk-assessment.json");

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let url = variable("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/%2f");
    let commands = format!("{}orchestrator.commands", variable("RABBITMQ_PREFIX", ""));
    let task = match std::env::args().nth(1) {
        Some(file) => std::fs::read_to_string(&file).context(file)?,
        None => EXAMPLE.to_owned(),
    };

    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let replies = channel
        .queue_declare("".into(), exclusive, FieldTable::default())
        .await?;
    let consuming = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let mut answers = channel
        .basic_consume(
            replies.name().clone(),
            "".into(),
            consuming,
            FieldTable::default(),
        )
        .await?;

    // The message's id becomes the task's id: whoever sends the same message again gets the same task, not another one.
    let task_id = Uuid::now_v7().to_string();
    let mut headers = FieldTable::default();
    if let Ok(token) = std::env::var("TOKEN") {
        let bearer = AMQPValue::LongString(format!("Bearer {token}").into());
        headers.insert("authorization".into(), bearer);
    }
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_message_id(task_id.as_str().into())
        .with_correlation_id(task_id.as_str().into())
        .with_reply_to(replies.name().clone())
        .with_headers(headers);
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let confirmation = channel
        .basic_publish(
            commands.into(),
            "task.execute".into(),
            mandatory,
            task.as_bytes(),
            properties,
        )
        .await?
        .await?;
    match confirmation {
        Confirmation::Ack(None) => println!("published task {task_id}"),
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
            bail!("no queue takes tasks: has no worker ever run with this RABBITMQ_PREFIX?")
        }
        Confirmation::Nack(None) | Confirmation::NotRequested => {
            bail!("the broker did not take the task: send it again with the same message_id")
        }
    }

    // The queue is this connection's own, so that only answers to the one command are in it.
    let answer = tokio::time::timeout(PATIENCE, answers.next())
        .await
        .with_context(|| {
            format!("no outcome in time; the task goes on: GET /orchestrator/tasks/{task_id}")
        })?
        .context("the broker hung up")??;
    // A task event or, for a refusal, a problem document.
    let outcome: serde_json::Value = serde_json::from_slice(&answer.data)?;
    println!("{outcome:#}");
    connection.close(200, "done".into()).await?;
    if outcome["status"] == "completed" {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}
