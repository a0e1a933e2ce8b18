//! The messages of hostile publishers, straight to the broker.

use anyhow::{Context, Result};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::json;
use uuid::Uuid;

use super::requests::AGENT;
use super::tokens::Tokens;

/// Messages that may be unconfirmed at a time.
const UNCONFIRMED: usize = 500;
/// The task that is sent over and over again, and is one task.
const REPEATED: &str = "00000000-0000-7000-8000-00000000beef";

/// Somebody who may publish.
#[derive(Debug)]
pub struct Publisher {
    connection: Connection,
    channel: Channel,
    prefix: String,
}

/// A message on its way.
struct Message {
    key: &'static str,
    authorization: Option<String>,
    message_id: Option<String>,
    body: Vec<u8>,
}

impl Publisher {
    /// Connects to the broker at `address`, for the orchestrator whose names begin with `prefix`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(address: &str, prefix: &str) -> Result<Self> {
        let connection = Connection::connect(address, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            connection,
            channel,
            prefix: prefix.to_owned(),
        })
    }

    /// Sends `number` messages; returns how many tasks the ledger may have from them: the good ones among bad ones.
    ///
    /// # Errors
    /// When the broker does not take them.
    pub async fn send(&self, number: u64, tokens: &Tokens) -> Result<u64> {
        let exchange = ShortString::from(format!("{}orchestrator.commands", self.prefix));
        let mut confirms = Vec::with_capacity(UNCONFIRMED);
        let mut good = u64::from(number > 0);
        for n in 0..number {
            let (message, brings) = message(n, tokens);
            good += brings;
            let mut headers = FieldTable::default();
            if let Some(token) = message.authorization {
                headers.insert("authorization".into(), AMQPValue::LongString(token.into()));
            }
            headers.insert(
                "x-submitted-by".into(),
                AMQPValue::LongString("root".into()),
            );
            let mut properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_headers(headers);
            if let Some(id) = message.message_id {
                properties = properties.with_message_id(id.into());
            }
            let options = BasicPublishOptions::default();
            let key = message.key.into();
            let publishing = self.channel.basic_publish(
                exchange.clone(),
                key,
                options,
                &message.body,
                properties,
            );
            confirms.push(publishing.await?);
            if confirms.len() >= UNCONFIRMED {
                for confirm in confirms.drain(..) {
                    confirm.await?;
                }
            }
        }
        for confirm in confirms {
            confirm.await?;
        }
        Ok(good)
    }

    /// How many messages wait in the queue of tasks, of commands on agents, and of dead letters.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn waiting(&self) -> Result<u32> {
        let mut waiting = 0;
        for queue in ["tasks", "lifecycle", "dead-letter"] {
            let name = format!("{}orchestrator.{queue}", self.prefix);
            let options = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let asked = self
                .channel
                .queue_declare(name.into(), options, FieldTable::default());
            waiting += asked.await.context(queue)?.message_count();
        }
        Ok(waiting)
    }

    /// Says good-bye.
    ///
    /// # Errors
    /// When the broker does not.
    pub async fn close(self) -> Result<()> {
        self.connection.close(200, "done".into()).await?;
        Ok(())
    }
}

/// The message number `n`, and how many tasks it may bring beside the repeated one.
fn message(n: u64, tokens: &Tokens) -> (Message, u64) {
    let good = format!("Bearer {}", tokens.good);
    let task =
        |id: &str| json!({"task_id": id, "agent_id": AGENT, "task_type": "t", "task_data": {}});
    let new = Uuid::now_v7().to_string();
    let plain = |key, body: Vec<u8>| Message {
        key,
        authorization: Some(good.clone()),
        message_id: None,
        body,
    };
    let variant = usize::try_from(n / 16).unwrap_or(0);
    match n % 16 {
        0 => (plain("task.execute", b"\x00\xff\xfe garbage".to_vec()), 0),
        1 => (plain("task.execute", b"{\"agent_id\":".to_vec()), 0),
        2 => (plain("task.explode", b"{}".to_vec()), 0),
        3 => (
            plain(
                "agent.start",
                json!({"kind": "agent.stop", "agent_id": AGENT})
                    .to_string()
                    .into(),
            ),
            0,
        ),
        4 => (
            plain("task.execute", json!({"version": 99}).to_string().into()),
            0,
        ),
        // A few that are larger than anything may be, and many that are deep.
        5 if variant.is_multiple_of(500) => (plain("task.execute", vec![b'x'; 2 * 1_048_576]), 0),
        5 => {
            let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
            (plain("task.execute", deep.into()), 0)
        }
        6 => {
            let mut wrong = task(&new);
            wrong["priority"] = json!(n);
            wrong["surprise"] = json!(true);
            (plain("task.execute", wrong.to_string().into()), 0)
        }
        // The same over and over: one task.
        7 => (plain("task.execute", task(REPEATED).to_string().into()), 0),
        8 => {
            let members = json!({"tasks": [1, null, "x", {"agent_id": AGENT}, task("no-uuid")]});
            (plain("task.execute_batch", members.to_string().into()), 0)
        }
        // One good among bad ones.
        9 => {
            let members = json!({"tasks": [{}, task(&new), {"agent_id": 7}]});
            (plain("task.execute_batch", members.to_string().into()), 1)
        }
        10 => (plain("task.execute_batch", b"{\"tasks\": []}".to_vec()), 0),
        11 => (
            plain(
                "task.cancel",
                json!({"task_id": [REPEATED]}).to_string().into(),
            ),
            0,
        ),
        12 => (
            plain(
                "agent.register",
                json!({"agent_id": "../../x", "brain_config": 7})
                    .to_string()
                    .into(),
            ),
            0,
        ),
        13 => {
            let token = tokens.bad[variant % tokens.bad.len()].clone();
            let message = Message {
                authorization: Some(token),
                ..plain("task.execute", task(&new).to_string().into())
            };
            (message, 0)
        }
        14 => {
            let message = Message {
                authorization: None,
                message_id: Some(new.clone()),
                ..plain(
                    "agent.unregister",
                    json!({"agent_id": AGENT}).to_string().into(),
                )
            };
            (message, 0)
        }
        _ => {
            let unknown = json!({"agent_id": "nobody", "task_type": "t", "task_data": {}});
            (plain("task.execute", unknown.to_string().into()), 0)
        }
    }
}
