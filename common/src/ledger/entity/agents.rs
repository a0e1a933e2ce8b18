//! Agents: what every dispatch locks and rewrites.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "agents")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub agent_id: String,
    #[sea_orm(column_type = "Text")]
    pub desired: String,
    #[sea_orm(column_type = "Text")]
    pub status: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub status_reason: Option<String>,
    pub max_concurrent_sessions: Option<i32>,
    pub running: i32,
    pub queued: i64,
    pub sessions: i64,
    pub completed: i64,
    pub failed: i64,
    pub busy_micros: i64,
    pub tokens: i64,
    pub cost: f64,
    pub registered_at: i64,
    pub started_at: Option<i64>,
    pub reconcile_at: Option<i64>,
    pub start_failures: i32,
    pub lease_worker: Option<Uuid>,
    pub lease_until: Option<i64>,
    pub instances_wanted: i32,
    #[sea_orm(column_type = "Text")]
    pub load_balancing: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
