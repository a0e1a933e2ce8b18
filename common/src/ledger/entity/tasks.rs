//! Tasks, from acceptance to outcome.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tasks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub task_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub agent_id: String,
    #[sea_orm(column_type = "Text")]
    pub task_type: String,
    #[sea_orm(column_type = "Text")]
    pub task_data: String,
    #[sea_orm(column_type = "Text")]
    pub status: String,
    pub priority: i32,
    pub timeout_seconds: i32,
    #[sea_orm(column_type = "Text", nullable)]
    pub callback_url: Option<String>,
    pub max_attempts: i32,
    pub attempt: i32,
    pub claims: i32,
    pub crashes: i32,
    pub submitted_at: i64,
    pub run_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub started_at: Option<i64>,
    pub completed_at: Option<i64>,
    pub worker_id: Option<Uuid>,
    pub instance_id: Option<Uuid>,
    pub cancel_requested: bool,
    #[sea_orm(column_type = "Text", nullable)]
    pub result: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_code: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_message: Option<String>,
    pub tokens_used: Option<i64>,
    pub cost_estimate: Option<f64>,
    pub parent_task_id: Option<Uuid>,
    #[sea_orm(column_type = "Text", nullable)]
    pub metadata: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub correlation_id: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub reply_to: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub traceparent: Option<String>,
    pub fingerprint: Option<Vec<u8>>,
    #[sea_orm(column_type = "Text", nullable)]
    pub session_id: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub submitted_by: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub request_id: Option<String>,
    pub workflow_run_id: Option<Uuid>,
    pub may_run_until: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
