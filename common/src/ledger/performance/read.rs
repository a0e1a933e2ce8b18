//! Reading how agents do.

use std::collections::BTreeMap;

use sea_orm::QueryResult;

use super::{HOUR, MINUTE, floor, roll_up, sums};
use crate::domain::{AgentId, Experience, Performance, Timestamp};
use crate::ledger::convert::{agent_id, count};
use crate::ledger::{Ledger, LedgerError};

/// How an agent did since a time.
#[derive(Clone, Debug)]
pub struct WindowPerformance {
    /// Since when: the beginning of a minute or an hour, or when the agent was registered.
    pub since: Timestamp,
    /// How it did.
    pub performance: Performance,
}

/// How an agent did lately and so far, up to now.
#[derive(Clone, Debug)]
pub struct AgentPerformance {
    /// In the last quarter of an hour.
    pub quarter: WindowPerformance,
    /// In the last hour.
    pub hour: WindowPerformance,
    /// In the last 24 hours, from the beginning of an hour on.
    pub day: WindowPerformance,
    /// In the last 7 days, from the beginning of an hour on.
    pub week: WindowPerformance,
    /// Since it was registered.
    pub all: WindowPerformance,
}

impl WindowPerformance {
    fn since(from: i64, registered_at: i64) -> Self {
        Self {
            since: Timestamp::from_micros(from.max(registered_at)),
            performance: Performance::default(),
        }
    }

    /// Adds what was done from `at` on, when that is within.
    fn add(&mut self, at: i64, unit: i64, done: &Performance) {
        if at >= floor(self.since.as_micros(), unit) {
            self.performance.merge(done);
        }
    }
}

impl AgentPerformance {
    fn windows(&mut self) -> [&mut WindowPerformance; 5] {
        let Self {
            quarter,
            hour,
            day,
            week,
            all,
        } = self;
        [quarter, hour, day, week, all]
    }
}

impl Ledger {
    /// How an agent did that was registered at `registered_at`.
    ///
    /// Reads the sums of its hours, of the minutes of the last hours, and the sessions that ended since the last sum, which
    /// is less than two minutes while a worker runs.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn performance(
        &self,
        agent_id: &AgentId,
        registered_at: Timestamp,
        now: Timestamp,
    ) -> Result<AgentPerformance, LedgerError> {
        let (now, registered_at) = (now.as_micros(), registered_at.as_micros());
        let since = |from: i64| WindowPerformance::since(from, registered_at);
        let mut found = AgentPerformance {
            quarter: since(floor(now - HOUR / 4, MINUTE)),
            hour: since(floor(now - HOUR, MINUTE)),
            day: since(floor(now - 24 * HOUR, HOUR)),
            week: since(floor(now - 7 * 24 * HOUR, HOUR)),
            all: since(i64::MIN),
        };
        // Read first: what is summed up meanwhile is then read as sessions, not twice.
        let summed_until = self.summed_up_until().await?;
        let hours_until = floor(summed_until, HOUR);
        for (at, done) in self
            .sums("hours", agent_id, registered_at - HOUR, hours_until)
            .await?
        {
            let AgentPerformance { day, week, all, .. } = &mut found;
            for window in [day, week, all] {
                window.add(at, HOUR, &done);
            }
        }
        let minutes_from = found.hour.since.as_micros().min(hours_until) - MINUTE;
        for (at, done) in self
            .sums("minutes", agent_id, minutes_from, summed_until)
            .await?
        {
            let AgentPerformance {
                quarter,
                hour,
                day,
                week,
                all,
            } = &mut found;
            quarter.add(at, MINUTE, &done);
            hour.add(at, MINUTE, &done);
            if at >= hours_until {
                for window in [day, week, all] {
                    window.add(at, MINUTE, &done);
                }
            }
        }
        let since = summed_until.max(registered_at);
        for (at, done) in self.not_summed_up(agent_id, since).await? {
            for window in found.windows() {
                window.add(at, MINUTE, &done);
            }
        }
        Ok(found)
    }

    /// How every agent did that has ended sessions in the last quarter of an hour, as far as they are summed up.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn lately(
        &self,
        now: Timestamp,
    ) -> Result<BTreeMap<AgentId, Performance>, LedgerError> {
        let sql = "SELECT agent_id, figures FROM performance_minutes WHERE at >= $1";
        let from = floor(now.as_micros() - HOUR / 4, MINUTE);
        let mut lately: BTreeMap<AgentId, Performance> = BTreeMap::new();
        for row in self.within(|db| db.query(sql, [from.into()])).await? {
            let agent_id = agent_id(&row.try_get_by_index::<String>(0)?)?;
            let figures = roll_up::figures(&row.try_get_by_index::<String>(1)?)?;
            lately.entry(agent_id).or_default().merge(&figures);
        }
        Ok(lately)
    }

    /// How agents did with tasks of `task_type` so far.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn experience(
        &self,
        task_type: &str,
    ) -> Result<Vec<(AgentId, Experience)>, LedgerError> {
        let sql = "SELECT agent_id, completed, failed FROM agent_experience WHERE task_type = $1";
        let rows = self.within(|db| db.query(sql, [task_type.into()])).await?;
        let experience = |row: &QueryResult| {
            let done = Experience {
                completed: count("completed", row.try_get_by_index(1)?)?,
                failed: count("failed", row.try_get_by_index(2)?)?,
            };
            Ok((agent_id(&row.try_get_by_index::<String>(0)?)?, done))
        };
        rows.iter().map(experience).collect()
    }

    /// Until when sessions are summed up, in microseconds.
    async fn summed_up_until(&self) -> Result<i64, LedgerError> {
        let sql = "SELECT counted_until FROM tallies WHERE name = $1";
        let rows = self
            .within(|db| db.query(sql, [roll_up::TALLY.into()]))
            .await?;
        Ok(match rows.first() {
            Some(row) => row.try_get_by_index(0)?,
            None => 0,
        })
    }

    async fn sums(
        &self,
        unit: &str,
        agent_id: &AgentId,
        from: i64,
        until: i64,
    ) -> Result<Vec<(i64, Performance)>, LedgerError> {
        let sql = format!(
            "SELECT at, figures FROM performance_{unit} WHERE agent_id = $1 AND at >= $2 AND at < $3"
        );
        let values = [agent_id.as_str().into(), from.into(), until.into()];
        let rows = self.within(|db| db.query(&sql, values)).await?;
        let sum = |row: &QueryResult| {
            let figures = roll_up::figures(&row.try_get_by_index::<String>(1)?)?;
            Ok((row.try_get_by_index(0)?, figures))
        };
        rows.iter().map(sum).collect()
    }

    /// What ended since `from`, by minute.
    async fn not_summed_up(
        &self,
        agent_id: &AgentId,
        from: i64,
    ) -> Result<BTreeMap<i64, Performance>, LedgerError> {
        let columns = &*sums::COLUMNS;
        let sql = format!(
            "SELECT ended_at / {MINUTE} AS minute, {columns} FROM sessions WHERE agent_id = $1 AND ended_at >= $2 \
             GROUP BY 1, 2, 3, 4, 5"
        );
        let values = [agent_id.as_str().into(), from.into()];
        let mut minutes: BTreeMap<i64, Performance> = BTreeMap::new();
        for row in self.within(|db| db.query(&sql, values)).await? {
            let minute: i64 = row.try_get_by_index(0)?;
            sums::add(minutes.entry(minute * MINUTE).or_default(), &row, 1)?;
        }
        Ok(minutes)
    }
}
