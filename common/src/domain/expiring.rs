//! What is not kept for ever.

/// What is deleted some time after it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expiring {
    /// Tasks with an outcome that nobody has to be told any more.
    Tasks,
    /// Ended attempts at tasks.
    Sessions,
    /// Callbacks that were made or given up.
    Callbacks,
    /// Dead letters.
    DeadLetters,
    /// Entries of the audit log.
    Audit,
}

impl Expiring {
    /// Each of them.
    pub const ALL: [Self; 5] = [
        Self::Tasks,
        Self::Sessions,
        Self::Callbacks,
        Self::DeadLetters,
        Self::Audit,
    ];

    /// For metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Sessions => "sessions",
            Self::Callbacks => "callbacks",
            Self::DeadLetters => "dead_letters",
            Self::Audit => "audit",
        }
    }
}
