//! The one place with the names of exchanges, queues and routing keys, and how they are declared.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use uuid::Uuid;

use crate::config::{ConfigError, RabbitMqSettings};

/// Seconds after which a doorbell says nothing that the sweep has not found by itself.
const DOORBELL_LIFE_MILLIS: i64 = 60_000;
/// More doorbells than this say nothing new: a worker with room claims for all agents.
const DOORBELL_LIMIT: i64 = 10_000;
/// Redeliveries before the broker itself dead-letters a message.
///
/// Stated because RabbitMQ 4 would otherwise stop at 20, which a flapping network reaches with blameless messages.
const DELIVERY_LIMIT: i64 = 1_000;

/// Where messages are consumed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Commands `task.*`.
    Tasks,
    /// Commands `agent.*` and `workflow.*`.
    Lifecycle,
    /// "Agent X has runnable work", for whichever worker has room.
    Doorbell,
    /// What every worker must hear; each has a queue of its own that lives as long as its connection.
    Control,
    /// What could not be understood.
    DeadLetters,
}

/// The names of this deployment.
#[derive(Clone, Debug)]
pub struct Topology {
    commands: ShortString,
    events: ShortString,
    control: ShortString,
    dead: ShortString,
    tasks: ShortString,
    lifecycle: ShortString,
    doorbell: ShortString,
    dead_letter: ShortString,
    queue_type: &'static str,
}

impl Topology {
    /// Puts the configured prefix before every name.
    ///
    /// # Errors
    /// When the prefix is too long for AMQP's names of 255 bytes.
    pub fn new(settings: &RabbitMqSettings) -> Result<Self, ConfigError> {
        let prefix = &settings.prefix;
        let name = |plain: &str| {
            // The control queues end in a UUID; 100 bytes leave room for every suffix.
            let fits = prefix.len() <= 100;
            let named = ShortString::try_new(format!("{prefix}orchestrator.{plain}")).ok();
            named
                .filter(|_| fits)
                .ok_or_else(|| ConfigError::new("RABBITMQ_PREFIX", "must have at most 100 bytes"))
        };
        Ok(Self {
            commands: name("commands")?,
            events: name("events")?,
            control: name("control")?,
            dead: name("dead")?,
            tasks: name("tasks")?,
            lifecycle: name("lifecycle")?,
            doorbell: name("doorbell")?,
            dead_letter: name("dead-letter")?,
            queue_type: if settings.quorum { "quorum" } else { "classic" },
        })
    }

    /// The topic exchange that takes every command.
    #[must_use]
    pub fn commands(&self) -> &ShortString {
        &self.commands
    }

    /// The topic exchange that gives out every event.
    #[must_use]
    pub fn events(&self) -> &ShortString {
        &self.events
    }

    /// The fanout exchange that reaches every worker.
    #[must_use]
    pub fn control(&self) -> &ShortString {
        &self.control
    }

    /// The fanout exchange of dead letters.
    #[must_use]
    pub fn dead(&self) -> &ShortString {
        &self.dead
    }

    /// The queue behind `source`; control queues have a new name each time, see [`Self::declare_control`].
    #[must_use]
    pub fn queue(&self, source: Source) -> &ShortString {
        match source {
            Source::Tasks => &self.tasks,
            Source::Lifecycle => &self.lifecycle,
            Source::Doorbell => &self.doorbell,
            Source::Control => &self.control,
            Source::DeadLetters => &self.dead_letter,
        }
    }

    /// Every exchange that [`Self::declare`] makes.
    #[must_use]
    pub fn exchanges(&self) -> [&ShortString; 4] {
        [&self.commands, &self.events, &self.control, &self.dead]
    }

    /// Every queue that [`Self::declare`] makes.
    #[must_use]
    pub fn queues(&self) -> [&ShortString; 4] {
        [
            &self.tasks,
            &self.lifecycle,
            &self.doorbell,
            &self.dead_letter,
        ]
    }

    /// Declares all of it; doing so again changes nothing.
    ///
    /// # Errors
    /// When the broker refuses, for example because a queue of that name exists with another type.
    pub async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        self.exchange(channel, &self.commands, ExchangeKind::Topic)
            .await?;
        self.exchange(channel, &self.events, ExchangeKind::Topic)
            .await?;
        self.exchange(channel, &self.control, ExchangeKind::Fanout)
            .await?;
        // Fanout, so that a dead letter keeps the routing key it came with: a replay needs it.
        self.exchange(channel, &self.dead, ExchangeKind::Fanout)
            .await?;

        let mut plain = FieldTable::default();
        plain.insert("x-queue-type".into(), text(self.queue_type));
        self.durable_queue(channel, &self.dead_letter, plain)
            .await?;
        bind(channel, &self.dead_letter, &self.dead, "").await?;

        for (queue, patterns) in [
            (&self.tasks, &["task.*"][..]),
            (&self.lifecycle, &["agent.*", "workflow.*"]),
        ] {
            self.durable_queue(channel, queue, self.command_queue_arguments())
                .await?;
            for pattern in patterns {
                bind(channel, queue, &self.commands, pattern).await?;
            }
        }

        // Durable although its messages are not: RabbitMQ 4 deprecates transient shared queues.
        let mut doorbell = FieldTable::default();
        doorbell.insert("x-queue-type".into(), text("classic"));
        doorbell.insert(
            "x-max-length".into(),
            AMQPValue::LongLongInt(DOORBELL_LIMIT),
        );
        doorbell.insert("x-overflow".into(), text("drop-head"));
        doorbell.insert(
            "x-message-ttl".into(),
            AMQPValue::LongLongInt(DOORBELL_LIFE_MILLIS),
        );
        self.durable_queue(channel, &self.doorbell, doorbell).await
    }

    /// Declares this connection's own queue on the control exchange and returns its name.
    ///
    /// The name is new each time: after a network failure the broker may hold the old exclusive queue a while longer
    /// and would refuse to declare it again.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn declare_control(&self, channel: &Channel) -> lapin::Result<ShortString> {
        let name: ShortString = format!("{}.{}", self.control, Uuid::new_v4()).into();
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(name.clone(), options, FieldTable::default())
            .await?;
        bind(channel, &name, &self.control, "").await?;
        Ok(name)
    }

    /// What the broker gives up on goes to the dead exchange with its routing key.
    ///
    /// On quorum queues it does so at least once: the queue keeps a message until the dead-letter queue confirmed it.
    /// RabbitMQ ties that to `reject-publish`, which only means something once an operator sets a maximum length by
    /// policy; then publishers are refused and told so, where `drop-head` would lose the oldest task silently. While
    /// the dead-letter queue is unavailable, what the broker gave up on stays in this queue's memory. Classic queues
    /// know only at-most-once; that concerns expiry and the delivery limit alone, since our own dead letters are
    /// published and confirmed before the original is acknowledged.
    fn command_queue_arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text(self.queue_type));
        arguments.insert("x-dead-letter-exchange".into(), text(self.dead.as_str()));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        if self.queue_type == "quorum" {
            arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
            arguments.insert(
                "x-delivery-limit".into(),
                AMQPValue::LongLongInt(DELIVERY_LIMIT),
            );
        }
        arguments
    }

    async fn exchange(
        &self,
        channel: &Channel,
        name: &ShortString,
        kind: ExchangeKind,
    ) -> lapin::Result<()> {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        channel
            .exchange_declare(name.clone(), kind, options, FieldTable::default())
            .await
    }

    async fn durable_queue(
        &self,
        channel: &Channel,
        name: &ShortString,
        arguments: FieldTable,
    ) -> lapin::Result<()> {
        channel
            .queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments)
            .await
            .map(|_| ())
    }
}

async fn bind(
    channel: &Channel,
    queue: &ShortString,
    exchange: &ShortString,
    pattern: &str,
) -> lapin::Result<()> {
    channel
        .queue_bind(
            queue.clone(),
            exchange.clone(),
            pattern.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
