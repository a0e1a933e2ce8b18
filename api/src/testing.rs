//! The API of unit tests: the real thing behind the sockets, with commands that are recorded instead of carried out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use orchestrator_common::commands::{AcceptError, Accepted, CommandSink, TaskChange};
use orchestrator_common::config::Settings;
use orchestrator_common::domain::{AgentId, NewTask, SettlementRules, TaskStatus};
use orchestrator_common::ledger::{Ledger, LedgerOptions};
use orchestrator_common::metrics::Metrics;
use orchestrator_common::waiting::WaitingReaders;
use orchestrator_migration::{Migrator, MigratorTrait};
use poem::http::{HeaderMap, Method, StatusCode};
use poem::{Body, Request};
use serde_json::Value;
use uuid::Uuid;

use crate::application::edge;
use crate::edge::Edge;
use crate::{ApiContext, Dependency, Limits};

/// The key of [`TestApi::with_auth`].
pub(crate) const SECRET: &str = "Zk3v9Qp1Lx7Wm5Rt8Ny2Bc6Hd4Jf0GsA";

/// A folder of its own, removed in the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make() -> Self {
        let path = std::env::temp_dir().join(format!("orchestrator-api-{}", Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The ledger that a test meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestLedger {
    /// One without tables: no operation succeeds.
    Broken,
    /// A real one.
    Working,
}

async fn open(ledger: TestLedger, folder: &Folder, settings: &Settings) -> Ledger {
    let options = LedgerOptions {
        max_concurrent_sessions: settings.agents.max_concurrent_sessions,
        auto_start: settings.agents.auto_start,
        rules: SettlementRules::default(),
    };
    let opened = Ledger::open_sqlite(&folder.0.join("ledger.db"), options)
        .await
        .unwrap();
    if ledger == TestLedger::Working {
        Migrator::up(opened.connection(), None).await.unwrap();
    }
    opened
}

/// What a submitted task meets.
#[derive(Clone, Debug, Default)]
pub(crate) enum Fate {
    #[default]
    Accepted,
    Refused(AcceptError),
    Panic,
    /// It is never answered.
    Stuck,
}

/// Records commands.
#[derive(Debug, Default)]
pub(crate) struct RecordedCommands {
    pub(crate) fate: Mutex<Fate>,
    pub(crate) tasks: Mutex<Vec<NewTask>>,
    /// The agents that a change was announced of.
    pub(crate) changed: Mutex<Vec<String>>,
    /// What was told about tasks.
    pub(crate) told: Mutex<Vec<TaskChange>>,
}

impl RecordedCommands {
    pub(crate) fn only_task(&self) -> NewTask {
        let tasks = self.tasks.lock().unwrap();
        assert_eq!(tasks.len(), 1);
        tasks[0].clone()
    }
}

impl CommandSink for RecordedCommands {
    fn execute(&self, task: NewTask) -> BoxFuture<'_, Result<Accepted, AcceptError>> {
        let fate = self.fate.lock().unwrap().clone();
        Box::pin(async move {
            match fate {
                Fate::Accepted => {
                    let accepted = Accepted {
                        task_id: task.task_id,
                        status: TaskStatus::Queued,
                        queue_position: Some(3),
                        repeated: false,
                    };
                    self.tasks.lock().unwrap().push(task);
                    Ok(accepted)
                }
                Fate::Refused(error) => Err(error),
                Fate::Panic => panic!("a secret detail"),
                Fate::Stuck => std::future::pending().await,
            }
        })
    }

    fn agent_changed(&self, agent_id: &AgentId) {
        self.changed.lock().unwrap().push(agent_id.to_string());
    }

    fn workflows_changed(&self) {}

    fn task_changed(&self, change: TaskChange) -> BoxFuture<'_, ()> {
        self.told.lock().unwrap().push(change);
        Box::pin(std::future::ready(()))
    }
}

/// What came back.
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Asserts that this is a complete problem document with this status, and returns it.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert_eq!(problem["error"], problem["title"]);
        assert_eq!(problem["message"], problem["detail"]);
        for field in ["type", "title", "detail", "instance"] {
            assert!(
                problem[field].as_str().is_some_and(|text| !text.is_empty()),
                "{problem}"
            );
        }
        problem
    }

    /// The fields that a 422 names.
    pub(crate) fn faulty_fields(&self) -> Vec<String> {
        let problem = self.problem(422);
        let errors = problem["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The API without sockets.
pub(crate) struct TestApi {
    pub(crate) edge: Arc<Edge>,
    pub(crate) commands: Arc<RecordedCommands>,
    pub(crate) ledger: Ledger,
    /// Removed after the edge, whose ledger lies in it.
    _folder: Folder,
}

impl TestApi {
    pub(crate) async fn new() -> Self {
        Self::with(&[], Limits::default(), vec![]).await
    }

    pub(crate) async fn with_working_ledger() -> Self {
        Self::build(TestLedger::Working, &[], Limits::default(), vec![]).await
    }

    pub(crate) async fn with_auth() -> Self {
        Self::with_variables(&[]).await
    }

    /// With authentication and further variables.
    pub(crate) async fn with_variables(variables: &[(&str, &str)]) -> Self {
        let auth = [("REQUIRE_AUTH", "true"), ("JWT_SECRET", SECRET)];
        Self::with(&[&auth, variables].concat(), Limits::default(), vec![]).await
    }

    pub(crate) async fn with(
        variables: &[(&str, &str)],
        limits: Limits,
        dependencies: Vec<Dependency>,
    ) -> Self {
        Self::build(TestLedger::Broken, variables, limits, dependencies).await
    }

    async fn build(
        ledger: TestLedger,
        variables: &[(&str, &str)],
        limits: Limits,
        dependencies: Vec<Dependency>,
    ) -> Self {
        let variables: BTreeMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Arc::new(Settings::from_variables(variables).unwrap());
        let commands = Arc::new(RecordedCommands::default());
        let folder = Folder::make();
        let ledger = open(ledger, &folder, &settings).await;
        let context = ApiContext {
            ledger: ledger.clone(),
            commands: commands.clone(),
            metrics: Arc::new(Metrics::new(settings.agents.metrics_enabled).unwrap()),
            settings,
            dependencies,
            readers: WaitingReaders::default(),
            limits,
        };
        Self {
            edge: Arc::new(edge(context, None).0),
            commands,
            ledger,
            _folder: folder,
        }
    }

    pub(crate) fn fate(self, fate: Fate) -> Self {
        *self.commands.fate.lock().unwrap() = fate;
        self
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Received {
        let mut request = Request::builder().method(method).uri_str(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.edge.answer(request.body(body.into())).await;
        let (parts, body) = response.into_parts();
        Received {
            status: parts.status,
            headers: parts.headers,
            text: body.into_string().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Received {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Received {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Received {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.send(Method::POST, path, &headers, body.to_string())
            .await
    }
}

/// Limits that a test does not want to wait for.
pub(crate) fn impatient() -> Limits {
    let soon = Duration::from_millis(50);
    Limits {
        head_time: soon,
        body_time: soon,
        request_time: soon,
        write_time: soon,
        ..Limits::default()
    }
}
