//! Where the tasks of an agent run.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "agent_instances")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub instance_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub agent_id: String,
    #[sea_orm(column_type = "Text")]
    pub endpoint: String,
    #[sea_orm(column_type = "Text")]
    pub state: String,
    pub capacity: Option<i32>,
    pub running: i32,
    pub created_at: i64,
    pub last_health_check: Option<i64>,
    pub memory_usage_mb: Option<f64>,
    pub ordinal: Option<i32>,
    #[sea_orm(column_type = "Text", nullable)]
    pub made_as: Option<String>,
    pub weight: i32,
    pub draining: bool,
    pub turn: i64,
    pub learnt_limit: Option<i32>,
    pub limit_lowered_at: i64,
    pub latency_short: f64,
    pub latency_long: f64,
    pub latency_samples: i32,
    #[sea_orm(column_type = "Text")]
    pub circuit: String,
    pub circuit_since: i64,
    pub circuit_until: Option<i64>,
    pub circuit_failures: i32,
    pub failure_rate: f64,
    pub circuit_openings: i32,
    pub probe_at: Option<i64>,
    pub probe_failures: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
