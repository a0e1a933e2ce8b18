//! Health of the broker and the cache.

use futures::FutureExt;
use futures::future::BoxFuture;
use orchestrator_common::cache::Cache;
use orchestrator_common::messaging::Publisher;

use crate::health::{Carries, DependencyCheck};

/// Asks the broker over the connection that publishes.
#[derive(Debug)]
pub struct BrokerCheck(pub Publisher);

impl DependencyCheck for BrokerCheck {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn carries(&self) -> Carries {
        Carries {
            accepting: true,
            reading: false,
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            if !self.0.is_connected() {
                return Err("there is no connection that takes messages".to_owned());
            }
            let answer = self.0.probe().await;
            answer.map(|_latency| ()).map_err(|e| e.to_string())
        }
        .boxed()
    }
}

/// Asks Redis. Alone it carries nothing: it accepts no task, and knows only the latest ones.
#[derive(Debug)]
pub struct CacheCheck(pub Cache);

impl DependencyCheck for CacheCheck {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn carries(&self) -> Carries {
        Carries::default()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        async { self.0.ping().await.map_err(|e| e.to_string()) }.boxed()
    }
}
