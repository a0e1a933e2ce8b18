//! The status of tasks, as documents that readers get without the ledger being asked.

use std::sync::LazyLock;

use redis::aio::ConnectionManager;
use redis::{Cmd, ErrorKind, RedisResult, Script, ServerErrorKind};

use super::keys::{FINISHED_SECONDS, LIVE_SECONDS};
use super::{Cache, CacheUnavailable};
use crate::domain::{TaskId, TaskStatus};

/// Digits of the age that an entry begins with, before its document.
const AGE_DIGITS: usize = 12;

/// Writers race (API, several workers, redeliveries), so the comparison has to happen inside Redis.
static NEWER_WINS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("newer_wins.lua")));

/// What readers get to see of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedStatus {
    /// The task.
    pub task_id: TaskId,
    /// Attempts started so far.
    pub attempt: u32,
    /// Where it stands.
    pub status: TaskStatus,
    /// The document that readers get, JSON.
    pub document: String,
}

impl CachedStatus {
    /// Grows over the life of a task: a later attempt is newer, and so is a later state of the same attempt.
    ///
    /// A snoozed task goes back to `queued` without a new attempt; readers of the cache see it `running` until it moves
    /// on. A finished task that is retried by hand has to be forgotten first, since an outcome is the newest there is.
    const fn age(&self) -> u64 {
        let state = match self.status {
            TaskStatus::Scheduled => 0,
            TaskStatus::Queued => 1,
            TaskStatus::Running => 2,
            TaskStatus::Retrying => 3,
            TaskStatus::Completed
            | TaskStatus::Failed
            | TaskStatus::TimedOut
            | TaskStatus::Cancelled => 4,
        };
        // Widening; `u64::from` is not const.
        self.attempt as u64 * 8 + state
    }

    /// What is stored: the age, then the document.
    fn entry(&self) -> String {
        format!("{:0AGE_DIGITS$}{}", self.age(), self.document)
    }

    const fn seconds_to_live(&self) -> u64 {
        if self.status.is_terminal() {
            FINISHED_SECONDS
        } else {
            LIVE_SECONDS
        }
    }
}

impl Cache {
    /// Writes the status of tasks in one round trip; a newer status that is already there stays.
    ///
    /// # Errors
    /// When Redis does not take them; some may have been written.
    pub async fn put_many(&self, statuses: &[CachedStatus]) -> Result<(), CacheUnavailable> {
        if statuses.is_empty() {
            return Ok(());
        }
        // One script for all: Redis spends more on starting a script than on a comparison.
        let mut command = redis::cmd("EVALSHA");
        command.arg(NEWER_WINS.get_hash()).arg(statuses.len());
        for status in statuses {
            command.arg(self.keys.task(status.task_id));
        }
        for status in statuses {
            command.arg(status.entry()).arg(status.seconds_to_live());
        }
        self.run(|connection| run_script(&command, connection))
            .await
    }

    /// Writes the status of tasks that have just been accepted, in one round trip; whatever is there already is newer.
    ///
    /// # Errors
    /// As [`Self::put_many`].
    pub async fn put_accepted(&self, statuses: &[CachedStatus]) -> Result<(), CacheUnavailable> {
        if statuses.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for status in statuses {
            pipeline
                .cmd("SET")
                .arg(self.keys.task(status.task_id))
                .arg(status.entry())
                .arg("NX")
                .arg("EX")
                .arg(status.seconds_to_live())
                .ignore();
        }
        self.run(|mut connection| {
            let pipeline = &pipeline;
            async move { pipeline.query_async(&mut connection).await }
        })
        .await
    }

    /// The document of a task; `None` when it is not known here, which says nothing about whether it exists.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn get(&self, task_id: TaskId) -> Result<Option<String>, CacheUnavailable> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.task(task_id));
        let entry: Option<String> = self.command(&command).await?;
        // What is no entry of ours is as good as absent.
        Ok(entry.and_then(|entry| entry.get(AGE_DIGITS..).map(str::to_owned)))
    }

    /// Forgets a task, so that an older status can be written again.
    ///
    /// # Errors
    /// When Redis does not take it.
    pub async fn forget(&self, task_id: TaskId) -> Result<(), CacheUnavailable> {
        let mut command = redis::cmd("DEL");
        command.arg(self.keys.task(task_id));
        self.command(&command).await
    }
}

async fn run_script(command: &Cmd, mut connection: ConnectionManager) -> RedisResult<()> {
    match command.query_async(&mut connection).await {
        // A restarted Redis knows no scripts.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            NEWER_WINS
                .prepare_invoke()
                .load_async(&mut connection)
                .await?;
            command.query_async(&mut connection).await
        }
        written => written,
    }
}
