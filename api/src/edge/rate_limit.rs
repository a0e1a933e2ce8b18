//! How often one caller may call. Memory is bounded however many callers there are: those of whom nothing was heard for
//! long, and the rarest when there are too many, are forgotten, and begin anew.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::future::Cache;
use orchestrator_common::config::RateLimit;

use crate::auth::Identity;

/// Callers that are remembered.
const MAX_CALLERS: u64 = 65_536;

/// Counts requests per caller: the generic cell rate algorithm.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    /// The time that one request stands for, in nanoseconds.
    cost: u64,
    /// How far ahead of time a caller may be, in nanoseconds.
    tolerance: u64,
    began: Instant,
    /// For each caller when all their requests so far would have come at the rate, in nanoseconds since the beginning.
    callers: Cache<u64, Arc<AtomicU64>>,
    hasher: RandomState,
}

impl RateLimiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self::remembering(MAX_CALLERS, limit)
    }

    fn remembering(callers: u64, limit: RateLimit) -> Self {
        let cost = 1_000_000_000 / u64::from(limit.per_second.max(1));
        let tolerance = cost * u64::from(limit.burst.max(1) - 1);
        // Who waited this long begins anew in any case.
        let idle = Duration::from_nanos(tolerance + cost) + Duration::from_secs(1);
        Self {
            cost,
            tolerance,
            began: Instant::now(),
            callers: Cache::builder()
                .max_capacity(callers)
                .time_to_idle(idle)
                .build(),
            hasher: RandomState::new(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When there were too many: how long to wait.
    pub(crate) async fn count(
        &self,
        identity: &Identity,
        address: Option<SocketAddr>,
    ) -> Result<(), Duration> {
        let elapsed = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.count_at(self.caller(identity, address), elapsed).await
    }

    async fn count_at(&self, caller: u64, now: u64) -> Result<(), Duration> {
        let due = self
            .callers
            .get_with(caller, async { Arc::default() })
            .await;
        let counted = due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            let due = due.max(now);
            (due - now <= self.tolerance).then_some(due + self.cost)
        });
        match counted {
            Ok(_before) => Ok(()),
            Err(due) => Err(Duration::from_nanos(due - now - self.tolerance)),
        }
    }

    /// The token's subject, else the network address. A hash, since a subject may be long.
    fn caller(&self, identity: &Identity, address: Option<SocketAddr>) -> u64 {
        match identity {
            Identity::Known { subject, .. } => self.hasher.hash_one(("subject", subject)),
            Identity::Anyone | Identity::Refused { .. } | Identity::Undecided => {
                let network = address.map(|address| network_of(address.ip()));
                self.hasher.hash_one(("network", network))
            }
        }
    }
}

/// An address of IPv4; of IPv6 its network of 64 bits, all of which one caller has.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use orchestrator_common::auth::Levels;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limiter(per_second: u32, burst: u32) -> RateLimiter {
        RateLimiter::new(RateLimit { per_second, burst })
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(text.parse().unwrap(), 1))
    }

    #[tokio::test]
    async fn a_burst_is_let_through_and_then_the_rate() {
        let limiter = limiter(10, 3);
        for _ in 0..3 {
            assert_eq!(limiter.count_at(1, SECOND).await, Ok(()));
        }
        let wait = Duration::from_millis(100);
        assert_eq!(limiter.count_at(1, SECOND).await, Err(wait));
        // What was refused does not count.
        assert_eq!(limiter.count_at(1, SECOND).await, Err(wait));
        assert_eq!(limiter.count_at(1, SECOND + SECOND / 10).await, Ok(()));
        assert!(limiter.count_at(1, SECOND + SECOND / 10).await.is_err());
        // After a pause the burst is there again, and no more than that.
        let later = 100 * SECOND;
        for _ in 0..3 {
            assert_eq!(limiter.count_at(1, later).await, Ok(()));
        }
        assert!(limiter.count_at(1, later).await.is_err());
    }

    #[tokio::test]
    async fn one_caller_does_not_use_up_what_another_may() {
        let limiter = limiter(1, 1);
        assert!(limiter.count_at(1, 0).await.is_ok() && limiter.count_at(1, 0).await.is_err());
        assert!(limiter.count_at(2, 0).await.is_ok());
    }

    #[tokio::test]
    async fn a_caller_is_a_subject_or_else_a_network() {
        let limiter = limiter(1, 1);
        let known = |subject: &str| Identity::Known {
            subject: subject.to_owned(),
            levels: Levels::default(),
        };
        let caller = |identity: &Identity, at: &str| limiter.caller(identity, address(at));
        let anyone = Identity::Anyone;
        assert_eq!(
            caller(&known("a"), "10.0.0.1"),
            caller(&known("a"), "10.0.0.2")
        );
        assert_ne!(
            caller(&known("a"), "10.0.0.1"),
            caller(&known("b"), "10.0.0.1")
        );
        assert_ne!(caller(&anyone, "10.0.0.1"), caller(&anyone, "10.0.0.2"));
        assert_eq!(
            caller(&anyone, "::ffff:10.0.0.1"),
            caller(&anyone, "10.0.0.1")
        );
        assert_eq!(
            caller(&anyone, "2001:db8::1"),
            caller(&anyone, "2001:db8::ffff:2")
        );
        assert_ne!(
            caller(&anyone, "2001:db8::1"),
            caller(&anyone, "2001:db8:0:1::1")
        );
    }

    #[tokio::test]
    async fn of_many_callers_not_all_are_remembered_and_who_calls_often_is() {
        let limit = RateLimit {
            per_second: 1,
            burst: 200,
        };
        let limiter = RateLimiter::remembering(100, limit);
        let often = u64::MAX;
        for caller in 0..10_000 {
            assert_eq!(limiter.count_at(caller, 0).await, Ok(()));
            if caller % 20 == 0 {
                let _ = limiter.count_at(often, 0).await;
            }
        }
        limiter.callers.run_pending_tasks().await;
        assert!(limiter.callers.entry_count() <= 100);
        assert!(limiter.count_at(often, 0).await.is_err());
    }
}
