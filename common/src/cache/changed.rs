//! Wake-ups: "these tasks have changed", for readers that wait for news of them.
//!
//! A wake-up can be lost (a reconnect, a busy server), so whoever waits also looks at the ledger now and then.

use std::collections::VecDeque;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{Stream, StreamExt};
use redis::Client;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::time::timeout;

use super::{Cache, CacheUnavailable, RESPONSE_TIMEOUT};
use crate::domain::TaskId;

/// A subscription that was silent this long is asked whether it still lives.
const SILENCE: Duration = Duration::from_secs(10);

impl Cache {
    /// Tells waiting readers that tasks have changed, in one message.
    ///
    /// # Errors
    /// When Redis does not take it.
    pub async fn notify_changed(&self, tasks: &[TaskId]) -> Result<(), CacheUnavailable> {
        if tasks.is_empty() {
            return Ok(());
        }
        let named: Vec<_> = tasks.iter().map(ToString::to_string).collect();
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.keys.changed()).arg(named.join(" "));
        self.command(&command).await
    }

    /// Tasks as they change, from now on and across reconnects; never ends.
    pub fn subscribe_changed(&self) -> impl Stream<Item = TaskId> + Send + use<> {
        let listener = Listener {
            client: self.client.clone(),
            channel: self.keys.changed(),
            subscription: None,
            waiting: VecDeque::new(),
            pauses: pauses(),
            connected_before: false,
        };
        futures::stream::unfold(listener, |mut listener| async move {
            let task_id = listener.next().await;
            Some((task_id, listener))
        })
        .boxed()
    }
}

struct Listener {
    client: Client,
    channel: String,
    subscription: Option<(PubSubSink, PubSubStream)>,
    waiting: VecDeque<TaskId>,
    pauses: ExponentialBackoff,
    connected_before: bool,
}

impl Listener {
    async fn next(&mut self) -> TaskId {
        loop {
            if let Some(task_id) = self.waiting.pop_front() {
                return task_id;
            }
            match &mut self.subscription {
                None => self.connect().await,
                Some((sink, stream)) => match timeout(SILENCE, stream.next()).await {
                    Ok(Some(message)) => {
                        self.pauses = pauses();
                        let named: String = message.get_payload().unwrap_or_default();
                        let ids = named.split(' ').filter_map(|id| id.parse::<TaskId>().ok());
                        self.waiting.extend(ids);
                    }
                    Ok(None) => self.subscription = None,
                    Err(_) => {
                        let lives = timeout(RESPONSE_TIMEOUT, sink.ping::<redis::Value>()).await;
                        if !matches!(lives, Ok(Ok(_))) {
                            self.subscription = None;
                        }
                    }
                },
            }
        }
    }

    async fn connect(&mut self) {
        // Also before the first reconnect, for a server that accepts connections only to drop them.
        if std::mem::replace(&mut self.connected_before, true) {
            let pause = self.pauses.next().unwrap_or(Duration::from_secs(5));
            tokio::time::sleep(pause).await;
        }
        let connecting = timeout(2 * RESPONSE_TIMEOUT, async {
            let (mut sink, stream) = self.client.get_async_pubsub().await?.split();
            sink.subscribe(&self.channel).await?;
            Ok::<_, redis::RedisError>((sink, stream))
        });
        self.subscription = connecting.await.ok().and_then(Result::ok);
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
        .build()
}
