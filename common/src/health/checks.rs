//! How the services answer for themselves: each check is a round trip, not a look at what is remembered of a connection.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::DependencyCheck;
use crate::cache::Cache;
use crate::ledger::Ledger;
use crate::messaging::{Consuming, Publisher};

/// Asks the ledger.
#[derive(Debug)]
pub struct LedgerCheck(pub Ledger);

impl DependencyCheck for LedgerCheck {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        async { self.0.ping().await.map_err(|e| e.to_string()) }.boxed()
    }
}

/// Asks the broker over the connection that publishes.
#[derive(Debug)]
pub struct PublishingCheck(pub Publisher);

impl DependencyCheck for PublishingCheck {
    fn name(&self) -> &'static str {
        "rabbitmq"
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

/// Asks the broker over the connection that consumes.
#[derive(Debug)]
pub struct ConsumingCheck(pub Consuming);

impl DependencyCheck for ConsumingCheck {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            let answer = self.0.probe().await;
            answer.map(|_latency| ()).map_err(|e| e.to_string())
        }
        .boxed()
    }
}

/// Asks Redis.
#[derive(Debug)]
pub struct CacheCheck(pub Cache);

impl DependencyCheck for CacheCheck {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        async { self.0.ping().await.map_err(|e| e.to_string()) }.boxed()
    }
}
