//! Identifiers that cannot hold an invalid value.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! chosen_identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// What it may look like, for error messages.
            pub const ACCEPTS: &str =
                "must be 1 to 100 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'";

            /// Checks and wraps `text`; `None` when it breaks the rule of [`Self::ACCEPTS`].
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let allowed =
                    |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
                ((1..=100).contains(&text.len()) && text.bytes().all(allowed))
                    .then(|| Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text).ok_or(Self::ACCEPTS)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

chosen_identifier!(
    /// An agent's name for callers: 1–100 characters of `[A-Za-z0-9._:-]`.
    AgentId
);
chosen_identifier!(
    /// A conversation's name, the caller's own: 1–100 characters of `[A-Za-z0-9._:-]`. Tasks that carry the same one
    /// belong together, whatever agents they are for.
    SessionId
);

macro_rules! uuid_identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// A new identifier (UUIDv7: sortable by the time it was made).
            #[must_use]
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7())
            }

            /// The UUID itself.
            #[must_use]
            pub const fn uuid(self) -> uuid::Uuid {
                self.0
            }
        }

        impl From<uuid::Uuid> for $name {
            fn from(uuid: uuid::Uuid) -> Self {
                Self(uuid)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid::Uuid::parse_str(text).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

pub(super) use uuid_identifier;

uuid_identifier!(
    /// A task, for its whole life, whatever number of attempts it takes.
    TaskId
);
uuid_identifier!(
    /// One running worker process; a restarted process is another worker.
    WorkerId
);
uuid_identifier!(
    /// One instance of an agent: a place where its tasks run.
    InstanceId
);

impl TaskId {
    /// The id that every request with the same caller and `Idempotency-Key` gets (UUIDv5 of both).
    #[must_use]
    pub fn from_idempotency_key(caller: &str, key: &str) -> Self {
        const NAMESPACE: Uuid = Uuid::from_u128(0x6f5c_6d7e_3b1a_5e0c_9d53_21b7_4c7f_a801);
        Self(Uuid::new_v5(
            &NAMESPACE,
            format!("{}:{caller}:{key}", caller.len()).as_bytes(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_id_has_one_to_a_hundred_harmless_characters() {
        for good in ["a", "underwriting_agent_01", "team:x.y-z", &"a".repeat(100)] {
            assert!(AgentId::parse(good).is_some(), "{good}");
        }
        for bad in ["", " ", "a b", "a/b", "é", "a\0", &"a".repeat(101)] {
            assert!(AgentId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_idempotency_key_names_one_task_per_caller() {
        let id = TaskId::from_idempotency_key;
        assert_eq!(id("alice", "k1"), id("alice", "k1"));
        assert_ne!(id("alice", "k1"), id("bob", "k1"));
        assert_ne!(id("a", "b:c"), id("a:b", "c"));
    }
}
