//! Resolving names to addresses that may be called. The connector connects to what comes out of here and asks nobody
//! again, so that a name cannot mean one thing to the check and another to the connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::domain::{CallbackTargets, NotAllowed};

/// Resolves names as the operating system does, and leaves out addresses that may not be called.
#[derive(Clone, Debug)]
pub(super) struct Screened(pub(super) Arc<CallbackTargets>);

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unresolved {
    /// The name has none.
    #[error("the host name could not be resolved")]
    NoAnswer(#[source] io::Error),
    /// It has only such as may not be called. Which ones is not said: whoever reads this may not be meant to know.
    #[error(transparent)]
    NotAllowed(NotAllowed),
}

impl Service<Name> for Screened {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Unresolved>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let targets = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let mut addresses: Vec<SocketAddr> = found.map_err(Unresolved::NoAnswer)?.collect();
            addresses.retain(|address| targets.allow(name.as_str(), address.ip()));
            if addresses.is_empty() {
                return Err(Unresolved::NotAllowed(NotAllowed::NotPublic));
            }
            Ok(addresses.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(allowed: &str) -> Result<Vec<SocketAddr>, Unresolved> {
        let targets = CallbackTargets::parse(allowed).unwrap();
        let name = "localhost".parse().unwrap();
        Screened(Arc::new(targets))
            .call(name)
            .await
            .map(Iterator::collect)
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_has_none() {
        let refused = resolve("elsewhere").await;
        assert!(
            matches!(refused, Err(Unresolved::NotAllowed(_))),
            "{refused:?}"
        );
        assert!(!resolve("localhost").await.unwrap().is_empty());
        let only = resolve("127.0.0.1").await.unwrap();
        assert_eq!(only, ["127.0.0.1:0".parse().unwrap()]);
    }
}
