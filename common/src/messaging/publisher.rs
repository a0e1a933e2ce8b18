//! Confirmed publishing for many concurrent callers, with errors instead of waiting when the broker is away.
//!
//! One task keeps the connection; a few lanes, each owning a channel, take what is waiting as a batch and await its
//! confirms. While one lane awaits, the next fills: batches grow with the load and a lone publish waits for nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::lane::Lane;
use super::link::{Broker, Link, LinkError, Pauses};
use super::outgoing::Outgoing;
use super::topology::{Source, Topology};
use crate::domain::NewTask;

/// Why a message is not in the broker's hands, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It was not sent: there is no connection, or the broker takes nothing now.
    #[error("the broker is not available")]
    Unavailable,
    /// It was not sent: too many are waiting before it.
    #[error("too many messages wait for the broker")]
    Full,
    /// No queue takes messages of this kind.
    #[error("no queue takes the message")]
    Unroutable,
    /// The broker said that it could not take it.
    #[error("the broker refused the message")]
    Refused,
    /// It holds something that JSON cannot express.
    #[error("it cannot be put into a message")]
    Unsayable,
    /// The connection broke before the broker confirmed it: it may have arrived all the same.
    #[error("the connection broke before the message was confirmed")]
    NotConfirmed,
    /// The broker did not confirm it in time: it may arrive all the same, even later.
    #[error("the message was not confirmed in time")]
    TimedOut,
}

/// How much is sent at once and for how long it is waited.
#[derive(Clone, Copy, Debug)]
pub struct PublisherOptions {
    /// Channels that publish side by side.
    pub lanes: usize,
    /// Messages and tasks that one lane sends before it waits for their confirms.
    pub batch: usize,
    /// Messages that may wait for a lane.
    pub waiting: usize,
    /// How long a caller waits.
    pub timeout: Duration,
    /// How long a batch may go unconfirmed before the connection is given up.
    pub stall: Duration,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            lanes: 2,
            batch: 256,
            waiting: 10_000,
            timeout: Duration::from_secs(5),
            stall: Duration::from_secs(5),
        }
    }
}

/// What is to be published, and who waits for its fate.
pub(super) struct Request {
    pub(super) load: Load,
    pub(super) fate: oneshot::Sender<Fate>,
}

/// What is to be published.
#[allow(
    clippy::large_enum_variant,
    reason = "what is small here waits for moments only"
)]
pub(super) enum Load {
    /// A message.
    Message(Outgoing),
    /// A task, which shares a message with others that wait beside it.
    Task(AuthorizedTask),
}

/// A task and the `authorization` that lets workers take it.
pub(super) struct AuthorizedTask {
    pub(super) task: Arc<NewTask>,
    pub(super) authorization: Option<Arc<str>>,
}

/// What became of a message.
pub(super) type Fate = Result<(), PublishError>;

/// What waits for a lane; shared by all lanes, so that whichever is free takes it.
pub(super) type Waiting = Arc<Mutex<mpsc::Receiver<Request>>>;

/// Publishes; cheap to clone. See [`PublishError`] for what can go wrong, and how sure that is.
#[derive(Clone, Debug)]
pub struct Publisher {
    requests: mpsc::Sender<Request>,
    link: watch::Receiver<Option<Arc<Link>>>,
    topology: Arc<Topology>,
    timeout: Duration,
}

impl Publisher {
    /// Starts the task that connects, declares the topology, publishes, and reconnects until `shutdown`; it then sends
    /// what is waiting and ends.
    #[must_use]
    pub fn start(
        broker: Broker,
        topology: Arc<Topology>,
        options: PublisherOptions,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (requests, waiting) = mpsc::channel(options.waiting.max(1));
        let (state, link) = watch::channel(None);
        let publisher = Self {
            requests,
            link,
            topology: Arc::clone(&topology),
            timeout: options.timeout,
        };
        let keeper = Keeper {
            broker,
            topology,
            options,
            waiting: Arc::new(Mutex::new(waiting)),
            state,
            shutdown,
        };
        (publisher, tokio::spawn(keeper.run()))
    }

    /// Publishes one message; `Ok` means that the broker has it, on disk where the message asks for that.
    ///
    /// # Errors
    /// See [`PublishError`]. After `NotConfirmed` and `TimedOut` the message may still arrive, so that whoever sends it
    /// again (or elsewhere) needs the receiver to recognise its `message_id` or `task_id`.
    pub async fn publish(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        self.fate_of(Load::Message(outgoing)).await
    }

    /// Publishes a task; with those that wait at the same time it goes in one message, if their `authorization` is the
    /// same. `Ok` means what it means for [`Self::publish`].
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn publish_task(
        &self,
        task: Arc<NewTask>,
        authorization: Option<Arc<str>>,
    ) -> Result<(), PublishError> {
        let task = AuthorizedTask {
            task,
            authorization,
        };
        self.fate_of(Load::Task(task)).await
    }

    async fn fate_of(&self, load: Load) -> Fate {
        let deadline = Instant::now() + self.timeout;
        let answer = self.hand_in(load, deadline).await?;
        fate_of(answer, deadline).await
    }

    /// Publishes many at once, each with its own fate, in the same order.
    pub async fn publish_all(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        let deadline = Instant::now() + self.timeout;
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            answers.push(self.hand_in(Load::Message(message), deadline).await);
        }
        let mut fates = Vec::with_capacity(answers.len());
        for answer in answers {
            fates.push(match answer {
                Ok(answer) => fate_of(answer, deadline).await,
                Err(error) => Err(error),
            });
        }
        fates
    }

    /// Puts something among what is waiting for a lane; returns where its fate will be told.
    async fn hand_in(
        &self,
        load: Load,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Fate>, PublishError> {
        let (fate, answer) = oneshot::channel();
        let request = Request { load, fate };
        match self.requests.try_send(request) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Closed(_)) => Err(PublishError::Unavailable),
            Err(TrySendError::Full(request)) => {
                match timeout_at(deadline, self.requests.send(request)).await {
                    Ok(Ok(())) => Ok(answer),
                    Ok(Err(_)) => Err(PublishError::Unavailable),
                    Err(_) => Err(PublishError::Full),
                }
            }
        }
    }

    /// Whether there is a connection that takes messages, as far as is known without asking.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let link = self.link.borrow();
        link.as_ref()
            .is_some_and(|link| link.is_up() && !link.is_blocked())
    }

    /// Proves the connection by a question to the broker; returns how long the answer took.
    ///
    /// # Errors
    /// When there is no connection or no answer within two seconds.
    pub async fn probe(&self) -> Result<Duration, LinkError> {
        let link = self.link.borrow().clone();
        match link {
            Some(link) => link.probe(self.topology.queue(Source::Tasks)).await,
            None => Err(LinkError::Unreachable("not connected".to_owned())),
        }
    }
}

async fn fate_of(answer: oneshot::Receiver<Fate>, deadline: Instant) -> Fate {
    match timeout_at(deadline, answer).await {
        Ok(Ok(fate)) => fate,
        Ok(Err(_)) => Err(PublishError::NotConfirmed),
        Err(_) => Err(PublishError::TimedOut),
    }
}

/// Keeps the connection and the lanes alive.
struct Keeper {
    broker: Broker,
    topology: Arc<Topology>,
    options: PublisherOptions,
    waiting: Waiting,
    state: watch::Sender<Option<Arc<Link>>>,
    shutdown: CancellationToken,
}

impl Keeper {
    async fn run(self) {
        let mut pauses = Pauses::new();
        while !self.shutdown.is_cancelled() {
            let link = tokio::select! {
                link = self.broker.connect_at_last(&self.topology, &mut pauses) => Arc::new(link),
                () = self.refuse_all() => break,
                () = self.shutdown.cancelled() => break,
            };
            let ended = self.publish_over(&link).await;
            self.state.send_replace(None);
            if let Err(error) = ended {
                tracing::warn!(%error, "the connection for publishing is given up");
            }
            self.wait_out_alarm(&link).await;
            tokio::select! {
                () = link.give_up() => {}
                () = self.refuse_all() => {}
            }
        }
        // Nobody will take what still waits: its senders are told.
        let mut waiting = self.waiting.lock().await;
        waiting.close();
        while let Some(request) = waiting.recv().await {
            let _gone = request.fate.send(Err(PublishError::Unavailable));
        }
    }

    /// Runs the lanes until one of them fails, the connection is gone, or the shutdown is complete.
    async fn publish_over(&self, link: &Arc<Link>) -> Result<(), LinkError> {
        let mut lanes = JoinSet::new();
        for _ in 0..self.options.lanes.max(1) {
            let lane = Lane {
                channel: Lane::open(link).await?,
                link: Arc::clone(link),
                topology: Arc::clone(&self.topology),
                waiting: Arc::clone(&self.waiting),
                batch: self.options.batch.max(1),
                stall: self.options.stall,
                shutdown: self.shutdown.clone(),
            };
            lanes.spawn(lane.run());
        }
        self.state.send_replace(Some(Arc::clone(link)));
        loop {
            let ended = tokio::select! {
                ended = lanes.join_next() => ended,
                () = link.wait_down() => return Err(LinkError::Unreachable("disconnected".into())),
            };
            match ended {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(panic)) => return Err(LinkError::Unreachable(panic.to_string())),
                None => return Ok(()),
            }
        }
    }

    /// Tells callers at once that there is no connection, for as long as this is polled.
    async fn refuse_all(&self) {
        let mut waiting = self.waiting.lock().await;
        while let Some(request) = waiting.recv().await {
            let _gone = request.fate.send(Err(PublishError::Unavailable));
        }
    }

    /// Keeps a blocked connection instead of replacing it: a new one would have to be blocked by a publish again before
    /// anybody knew, and every such publish costs its caller the whole time-out.
    async fn wait_out_alarm(&self, link: &Link) {
        let over = async {
            while link.is_up() && link.is_blocked() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = over => {}
            () = self.refuse_all() => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}
