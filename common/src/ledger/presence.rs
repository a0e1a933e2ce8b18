//! Who is there: a worker's own sign of life, and what it can see of the others.
//!
//! With PostgreSQL a worker holds an advisory lock on a session of its own. The server frees the lock when the process
//! dies, so that its end shows at once; a lock also stays with a process that hangs, so silence counts as well.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use sea_orm::{
    ColumnTrait, DatabaseBackend, DbErr, EntityTrait, QueryFilter, QuerySelect, RuntimeErr,
    sea_query::Expr,
};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use uuid::Uuid;

use super::entity::{tasks, workers};
use super::{Connections, Ledger, LedgerError, WorkerRecord};
use crate::domain::{Timestamp, WorkerId};

/// How long making the session may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A worker's standing in the ledger; dropping it gives up the lock.
#[derive(Debug)]
pub struct Presence {
    ledger: Ledger,
    worker: WorkerRecord,
    /// Holds the lock; none with SQLite, or when it broke.
    session: Option<PgConnection>,
    exposed: bool,
}

/// What the ledger thought of a worker that gave a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// It was known and still is.
    Known,
    /// It was not known: it is new, or others gave it up as lost and took its tasks.
    Stranger,
}

/// Another worker, as far as the ledger knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which worker.
    pub worker_id: WorkerId,
    /// Its latest sign of life, by its own clock: good for telling two from each other, not for measuring time.
    /// `None` for one that is only known by what it runs.
    pub heartbeat_at: Option<Timestamp>,
    /// Whether its process holds its lock; always with SQLite, which has no such locks.
    pub locked: bool,
}

impl Presence {
    /// Gives a sign of life, and takes the lock again if its session broke.
    ///
    /// Waits for some time while the server does not answer on an unbroken session, which keeps the lock. Dropping the
    /// future gives up the session, because nobody knows in what state it is then.
    ///
    /// # Errors
    /// When the ledger does not take it; [`Self::is_exposed`] says what others may make of that.
    pub async fn beat(&mut self) -> Result<Welcome, LedgerError> {
        let result = if self.is_shared() {
            let ledger = self.ledger.clone();
            ledger.within(|_db| self.beat_on_session()).await
        } else {
            self.update_row().await
        };
        self.exposed = result
            .as_ref()
            .is_err_and(|error| self.is_shared() && !server_is_away(error));
        if result? {
            return Ok(Welcome::Known);
        }
        // Others may have its tasks already, so a failure to write the row is no reason to carry on.
        self.exposed = true;
        self.ledger
            .heartbeat(&self.worker, Timestamp::now())
            .await?;
        self.exposed = false;
        Ok(Welcome::Stranger)
    }

    /// Whether, since the latest beat failed, others may see this worker without its lock.
    ///
    /// Not while the server itself is away: it then answers nobody, and others start to watch anew when it is back.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// Removes the worker from the ledger and gives up its lock: it stopped in order, with nothing left running.
    ///
    /// # Errors
    /// When the ledger does not take it.
    pub async fn leave(self) -> Result<(), LedgerError> {
        let signed_off = self.ledger.sign_off(self.worker.worker_id).await;
        if let Some(session) = self.session {
            // Without the goodbye the server notices the closed connection just as well.
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, session.close()).await;
        }
        signed_off
    }

    /// As [`Ledger::is_shared`].
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.ledger.is_shared()
    }

    /// Returns whether the worker's row was there.
    async fn beat_on_session(&mut self) -> Result<bool, LedgerError> {
        // Taken out, and put back only after success: a session that broke or was left in the middle is of no use.
        if let Some(session) = self.session.take()
            && let Ok(known) = self.beat_on(session).await
        {
            return Ok(known);
        }
        let session = tokio::time::timeout(CONNECT_TIMEOUT, self.open_session())
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut));
        match session {
            Ok(session) => self.beat_on(session).await,
            Err(error) => Err(error),
        }
        .map_err(connection_error)
    }

    async fn beat_on(&mut self, mut session: PgConnection) -> Result<bool, sqlx::Error> {
        let sql = "UPDATE workers SET heartbeat_at = $1 WHERE worker_id = $2::uuid";
        let updated = sqlx::query(sql)
            .bind(Timestamp::now().as_micros())
            .bind(self.worker.worker_id.to_string())
            .execute(&mut session)
            .await?;
        self.session = Some(session);
        Ok(updated.rows_affected() > 0)
    }

    async fn open_session(&self) -> Result<PgConnection, sqlx::Error> {
        let options = session_options(self.ledger.access.session_options());
        let mut session = options.connect().await?;
        // Shared, so that it never waits for a session of this worker that the server still takes for alive.
        sqlx::query("SELECT pg_advisory_lock_shared($1)")
            .bind(lock_key(self.worker.worker_id))
            .execute(&mut session)
            .await?;
        Ok(session)
    }

    async fn update_row(&self) -> Result<bool, LedgerError> {
        let sql = "UPDATE workers SET heartbeat_at = $1 WHERE worker_id = $2";
        let values = [
            Timestamp::now().as_micros().into(),
            self.worker.worker_id.uuid().into(),
        ];
        let updated = self.ledger.within(|db| db.execute(sql, values)).await?;
        Ok(updated > 0)
    }
}

impl Ledger {
    /// Whether several processes can use it at the same time; a SQLite ledger is one process's own.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.backend() == DatabaseBackend::Postgres
    }

    /// A worker that is about to give its first sign of life.
    #[must_use]
    pub fn presence(&self, worker: WorkerRecord) -> Presence {
        Presence {
            ledger: self.clone(),
            worker,
            session: None,
            exposed: false,
        }
    }

    /// Every worker but `own` that the ledger knows of.
    ///
    /// One that was given up as lost, went on unaware and then died has no row, only what it ran.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn other_workers(&self, own: WorkerId) -> Result<Vec<Sighting>, LedgerError> {
        self.within(|db| self.look_at_others(db, own)).await
    }

    async fn look_at_others(
        &self,
        db: &Connections,
        own: WorkerId,
    ) -> Result<Vec<Sighting>, LedgerError> {
        let known: Vec<(Uuid, i64)> = workers::Entity::find()
            .select_only()
            .column(workers::Column::WorkerId)
            .column(workers::Column::HeartbeatAt)
            .filter(workers::Column::WorkerId.ne(own.uuid()))
            .into_tuple()
            .all(&db.read)
            .await?;
        let busy: Vec<Option<Uuid>> = tasks::Entity::find()
            .select_only()
            .column(tasks::Column::WorkerId)
            .distinct()
            .filter(Expr::cust("status = 'running'"))
            .filter(tasks::Column::WorkerId.ne(own.uuid()))
            .into_tuple()
            .all(&db.read)
            .await?;
        // After the rows: a worker takes its lock before it writes its row.
        let held = self.held_locks(db).await?;
        let locked = |id: Uuid| {
            held.as_ref()
                .is_none_or(|held| held.contains(&lock_key(id.into())))
        };
        let rows: HashSet<Uuid> = known.iter().map(|(id, _)| *id).collect();
        let rowless: BTreeSet<Uuid> = busy
            .into_iter()
            .flatten()
            .filter(|id| !rows.contains(id))
            .collect();
        let sighting = |id: Uuid, heartbeat_at: Option<i64>| Sighting {
            worker_id: id.into(),
            heartbeat_at: heartbeat_at.map(Timestamp::from_micros),
            locked: locked(id),
        };
        let known = known.into_iter().map(|(id, at)| sighting(id, Some(at)));
        Ok(known
            .chain(rowless.into_iter().map(|id| sighting(id, None)))
            .collect())
    }

    /// The advisory locks that sessions of this database hold; `None` where there are none to hold.
    async fn held_locks(&self, db: &Connections) -> Result<Option<HashSet<i64>>, LedgerError> {
        if !self.is_shared() {
            return Ok(None);
        }
        // `pg_locks` splits the key in two halves. A sub-identifier of 1 marks keys of one number.
        let sql = "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' \
                   AND objsubid = 1 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let rows = db.query(sql, []).await?;
        let keys: Result<HashSet<i64>, DbErr> =
            rows.iter().map(|row| row.try_get_by_index(0)).collect();
        Ok(Some(keys?))
    }
}

/// The low half of the identifier, which is random.
fn lock_key(worker_id: WorkerId) -> i64 {
    worker_id.uuid().as_u64_pair().1.cast_signed()
}

fn session_options(options: PgConnectOptions) -> PgConnectOptions {
    options
        .application_name("agent-orchestrator presence")
        .options([
            // A sign of life that a crash of the server forgets was worth nothing.
            ("synchronous_commit", "off"),
            // The server clears away the session of a host that lost its power or its network. Not sooner than the
            // silence that a worker is allowed: the lock is for what ends at once.
            ("tcp_keepalives_idle", "15"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "30000"),
        ])
}

fn connection_error(error: sqlx::Error) -> LedgerError {
    LedgerError::from(DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

/// Whether nobody can reach the server now: it refuses connections, or is starting or stopping.
fn server_is_away(error: &LedgerError) -> bool {
    let LedgerError::Unavailable(DbErr::Conn(RuntimeErr::SqlxError(error))) = error else {
        return false;
    };
    match &**error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        error => error
            .as_database_error()
            .and_then(|error| error.code())
            .is_some_and(|code| matches!(&*code, "57P02" | "57P03")),
    }
}
