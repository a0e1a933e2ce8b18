//! The public keys that an issuer publishes: fetched at once, again in the background, and when a token names a key
//! that is not known, but then at most once in some seconds. While fetching fails, the keys that are known stay.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::TokenError;
use crate::brain_factory::{HttpClient, document, http_client};
use crate::config::KeyPairAlgorithm;
use crate::health::DependencyCheck;

/// The largest key set, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// How much longer than fetching may take a token waits for what comes of it.
const MOMENT: Duration = Duration::from_millis(500);

/// When keys are fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long fetching may take.
    pub(super) patience: Duration,
    /// The least time between two fetches, whatever tokens come, and the time to the next one when one failed.
    pub(super) cool_down: Duration,
    /// The time between two fetches without a reason: how long a key that was withdrawn is still taken.
    pub(super) refresh: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            cool_down: Duration::from_secs(10),
            refresh: Duration::from_secs(300),
        }
    }
}

/// The keys that an issuer publishes. Clones share them; they are fetched for as long as there is one.
#[derive(Clone)]
pub struct KeySet {
    known: watch::Receiver<Known>,
    wanted: Arc<Notify>,
    pace: Pace,
    _following: Arc<AbortOnDropHandle<()>>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").finish_non_exhaustive()
    }
}

/// What came of fetching.
#[derive(Default)]
struct Known {
    keys: Option<Keys>,
    latest: Option<Attempt>,
}

#[derive(Clone, Copy)]
struct Attempt {
    ended: Instant,
    succeeded: bool,
}

/// Keys of one algorithm.
struct Keys {
    by_id: HashMap<String, DecodingKey>,
    /// The key of a set that has no other.
    only: Option<DecodingKey>,
}

impl KeySet {
    /// Begins to fetch the keys at `address`; must be called within a Tokio runtime.
    pub(super) fn follow(algorithm: KeyPairAlgorithm, address: Url, pace: Pace) -> Self {
        if address.scheme() == "http" {
            tracing::warn!(
                "JWT_JWKS_URL is not encrypted: whoever is between here and there can let in whom they like"
            );
        }
        let (tell, known) = watch::channel(Known::default());
        let wanted = Arc::new(Notify::new());
        let source = Source { algorithm, address };
        let following = tokio::spawn(follow(source, tell, Arc::clone(&wanted), pace));
        Self {
            known,
            wanted,
            pace,
            _following: Arc::new(AbortOnDropHandle::new(following)),
        }
    }

    /// The key that a token names by `id`. One that is not known is looked for once, unless that was just done.
    pub(super) async fn key(&self, id: Option<&str>) -> Result<DecodingKey, TokenError> {
        let mut known = self.known.clone();
        let latest = {
            let known = known.borrow_and_update();
            if let Some(found) = known.find(id) {
                return found;
            }
            known.latest
        };
        if latest.is_some_and(|latest| latest.ended.elapsed() < self.pace.cool_down) {
            return Err(not_found(latest));
        }
        // The first fetch is on its way in any case.
        if latest.is_some() {
            self.wanted.notify_one();
        }
        let _ = timeout(self.pace.patience + MOMENT, known.changed()).await;
        let known = known.borrow();
        known
            .find(id)
            .unwrap_or_else(|| Err(not_found(known.latest)))
    }

    /// Whether any keys are known: without them nobody can be let in.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known.borrow().keys.is_some()
    }
}

/// A key that is looked for in vain is unknown to the issuer, as far as the issuer answers.
fn not_found(latest: Option<Attempt>) -> TokenError {
    if latest.is_some_and(|latest| latest.succeeded) {
        TokenError::UnknownKey
    } else {
        TokenError::NoKeys
    }
}

impl Known {
    /// The key, or why there can be none; `None` when it may be one that has yet to be fetched.
    fn find(&self, id: Option<&str>) -> Option<Result<DecodingKey, TokenError>> {
        let keys = self.keys.as_ref()?;
        match id {
            Some(id) => keys.by_id.get(id).cloned().map(Ok),
            None => Some(keys.only.clone().ok_or(TokenError::Unacceptable(
                "the token does not name the key that it is signed with (kid)",
            ))),
        }
    }
}

/// The latest attempt to fetch the keys, as a dependency.
impl DependencyCheck for KeySet {
    fn name(&self) -> &'static str {
        "token_keys"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            let mut known = self.known.clone();
            let tried = known.wait_for(|known| known.latest.is_some()).await;
            let succeeded = tried.is_ok_and(|known| known.latest.is_some_and(|it| it.succeeded));
            if succeeded {
                Ok(())
            } else {
                Err("the keys at JWT_JWKS_URL could not be fetched".to_owned())
            }
        }
        .boxed()
    }
}

/// Where keys come from.
struct Source {
    algorithm: KeyPairAlgorithm,
    address: Url,
}

/// Fetches until nobody wants to know any more.
async fn follow(source: Source, tell: watch::Sender<Known>, wanted: Arc<Notify>, pace: Pace) {
    let mut client = None;
    let mut succeeded = true;
    loop {
        let fetched = source.fetch(&mut client, pace.patience).await;
        match &fetched {
            Ok(keys) => {
                let keys = keys.by_id.len();
                tracing::debug!(keys, "the keys at JWT_JWKS_URL are fetched");
            }
            Err(reason) if succeeded => {
                tracing::warn!(%reason, "the keys at JWT_JWKS_URL cannot be fetched; those that are known stay");
            }
            Err(reason) => tracing::debug!(%reason, "the keys at JWT_JWKS_URL cannot be fetched"),
        }
        succeeded = fetched.is_ok();
        tell.send_modify(|known| {
            known.latest = Some(Attempt {
                ended: Instant::now(),
                succeeded,
            });
            if let Ok(keys) = fetched {
                known.keys = Some(keys);
            }
        });
        sleep(pace.cool_down).await;
        if succeeded {
            let _ = timeout(
                pace.refresh.saturating_sub(pace.cool_down),
                wanted.notified(),
            )
            .await;
        }
    }
}

impl Source {
    async fn fetch(
        &self,
        client: &mut Option<HttpClient>,
        patience: Duration,
    ) -> Result<Keys, String> {
        let client = match client {
            Some(client) => client,
            None => client.insert(http_client().map_err(|error| error.to_string())?),
        };
        let document = document(client, &self.address, MAX_BYTES, patience).await?;
        self.read(&document)
    }

    /// The keys of `document` that are for our algorithm; the others are not our concern.
    fn read(&self, document: &[u8]) -> Result<Keys, String> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document =
            serde_json::from_slice(document).map_err(|_| "what is there is no key set")?;
        let mut by_id = HashMap::new();
        let mut unnamed = Vec::new();
        for entry in document.keys {
            let Ok(entry) = serde_json::from_value::<Jwk>(entry) else {
                continue;
            };
            let Some(key) = self.algorithm.key_in_set(&entry) else {
                continue;
            };
            match entry.common.key_id {
                Some(id) => {
                    by_id.entry(id).or_insert(key);
                }
                None => unnamed.push(key),
            }
        }
        let only = match (by_id.len(), unnamed.len()) {
            (0, 0) => return Err(format!("there is no key for {}", self.algorithm)),
            (1, 0) => by_id.values().next().cloned(),
            (0, 1) => unnamed.pop(),
            _ => None,
        };
        Ok(Keys { by_id, only })
    }
}

#[cfg(test)]
#[path = "key_set_tests.rs"]
mod tests;
