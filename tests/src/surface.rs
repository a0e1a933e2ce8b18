//! The HTTP surface of a whole orchestrator: the embedded default, or API and worker at full strength around real servers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agent_orchestrator::Embedded;
use orchestrator_common::config::Settings;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::eventually;
use crate::full_api::{Answer, FullApi};
use crate::full_worker::{FullStrength, RunningWorker};

/// How an orchestrator is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// One process, SQLite, no servers.
    Embedded,
    /// API and worker around PostgreSQL, RabbitMQ and Redis.
    Full,
}

/// A running orchestrator with the agent `a`, which runs one task at a time.
pub struct Surface {
    /// Its API.
    pub api: FullApi,
    parts: Parts,
}

enum Parts {
    Embedded {
        folder: PathBuf,
        stop: CancellationToken,
        handle: JoinHandle<anyhow::Result<()>>,
    },
    Full {
        servers: Box<FullStrength>,
        worker: RunningWorker,
    },
}

/// Runs one test on a new orchestrator, and removes what it left when the test passed.
///
/// # Panics
/// When it does not start.
pub async fn run(
    strength: Strength,
    variables: &[(&str, &str)],
    test: impl AsyncFnOnce(&Surface) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    run_as(strength, variables, None, test).await
}

/// As [`run`], with a token that allows everything.
///
/// # Panics
/// When it does not start.
pub async fn run_as(
    strength: Strength,
    variables: &[(&str, &str)],
    token: Option<&str>,
    test: impl AsyncFnOnce(&Surface) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let surface = Surface::start(strength, variables, token).await?;
    test(&surface).await?;
    surface.remove().await
}

/// Makes every test of a file once per strength: `on_both_strengths!(variables; name_of_a_function, …)` of
/// `async fn name(surface: &Surface) -> anyhow::Result<()>`.
#[macro_export]
macro_rules! on_both_strengths {
    ($variables:expr; $($name:ident),* $(,)?) => {
        mod embedded {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> anyhow::Result<()> {
                $crate::surface::run($crate::surface::Strength::Embedded, $variables, super::$name).await
            })*
        }
        mod full_strength {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> anyhow::Result<()> {
                $crate::surface::run($crate::surface::Strength::Full, $variables, super::$name).await
            })*
        }
    };
}

impl Surface {
    async fn start(
        strength: Strength,
        variables: &[(&str, &str)],
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut surface = match strength {
            Strength::Embedded => Self::embedded(variables).await?,
            Strength::Full => {
                let mut servers = FullStrength::start().await?;
                let changed = settings(variables)?;
                servers.settings.agents = changed.agents;
                servers.settings.http = changed.http;
                servers.settings.auth = changed.auth;
                servers.settings.callbacks = changed.callbacks;
                let worker = servers.worker(100).await?;
                Self {
                    api: FullApi::start(servers.settings.clone()).await,
                    parts: Parts::Full {
                        servers: Box::new(servers),
                        worker,
                    },
                }
            }
        };
        surface.api = surface.api.bearing(token);
        let agent = json!({"agent_id": "a", "max_concurrent_sessions": 1});
        eventually("the orchestrator is healthy", async || {
            surface.get("/health").await.body["status"] == "healthy"
        })
        .await;
        let registered = surface.post("/orchestrator/register", &agent).await;
        anyhow::ensure!(registered.status == 200, "{}", registered.body);
        Ok(surface)
    }

    async fn embedded(variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("surface-{}", Uuid::new_v4().simple()));
        let data_dir = folder.display().to_string();
        let own = [("ORCHESTRATOR_DATA_DIR", data_dir.as_str())];
        let embedded = Embedded::build(settings(&[variables, &own].concat())?).await?;
        let address = embedded.address();
        let stop = CancellationToken::new();
        let handle = tokio::spawn(embedded.run_until_stopped(stop.clone()));
        Ok(Self {
            api: FullApi::at(address),
            parts: Parts::Embedded {
                folder,
                stop,
                handle,
            },
        })
    }

    /// The servers, at full strength.
    #[must_use]
    pub fn servers(&self) -> Option<&FullStrength> {
        match &self.parts {
            Parts::Embedded { .. } => None,
            Parts::Full { servers, .. } => Some(servers),
        }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.api.get(path).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.api.post(path, body).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.api.send(self.api.request(Method::DELETE, path)).await
    }

    /// Submits a task for the agent `a` that behaves as `simulate` says; returns its address.
    ///
    /// # Errors
    /// When it was not accepted.
    pub async fn submit(&self, simulate: Value) -> anyhow::Result<String> {
        self.submit_with(simulate, json!({})).await
    }

    /// As [`Self::submit`], with further fields of the request.
    ///
    /// # Errors
    /// When it was not accepted.
    pub async fn submit_with(&self, simulate: Value, more: Value) -> anyhow::Result<String> {
        let mut task =
            json!({"agent_id": "a", "task_type": "t", "task_data": {"_simulate": simulate}});
        for (field, value) in more.as_object().into_iter().flatten() {
            task[field] = value.clone();
        }
        let accepted = self.post("/orchestrator/execute-task", &task).await;
        anyhow::ensure!(accepted.status == StatusCode::OK, "{}", accepted.body);
        let address = accepted.body["task_status_endpoint"].as_str();
        Ok(address.unwrap_or_default().to_owned())
    }

    /// Waits until the task at `address` is `status`, and returns it.
    pub async fn until(&self, address: &str, status: &str) -> Value {
        eventually(&format!("{address} is {status}"), async || {
            self.get(address).await.body["status"] == status
        })
        .await;
        self.get(address).await.body
    }

    async fn remove(self) -> anyhow::Result<()> {
        drop(self.api);
        match self.parts {
            Parts::Embedded {
                folder,
                stop,
                handle,
            } => {
                stop.cancel();
                handle.await??;
                std::fs::remove_dir_all(folder)?;
            }
            Parts::Full { servers, worker } => {
                worker.stop().await?;
                servers.remove().await;
            }
        }
        Ok(())
    }
}

fn settings(variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
    let own = [
        ("AGENT_ORCHESTRATOR_HOST", "127.0.0.1"),
        ("AGENT_ORCHESTRATOR_PORT", "0"),
        ("BRAIN_FACTORY_SIMULATION", "true"),
        ("SHUTDOWN_GRACE_SECONDS", "5"),
    ];
    let all = own.iter().chain(variables);
    let all = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Ok(Settings::from_variables(all.collect::<BTreeMap<_, _>>())?)
}
