//! A Brain Factory with its agents that does nothing but take its time: what is measured is the orchestrator.
//!
//! It honours `Idempotency-Key` as an agent should that is paid by the call: a repeated call joins the first one, or gets
//! its answer. And it keeps count of what it was asked, so that a measurement can tell what was lost or done twice.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

/// A running Brain Factory, on a thread of its own; it ends with the process.
#[derive(Debug)]
pub struct Brain {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
}

/// What a Brain Factory was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of agents.
    pub calls: u64,
    /// Calls that began to work, rather than joining an earlier one or repeating its answer.
    pub paid: u64,
    /// Calls under way now.
    pub now: u64,
    /// The most calls that were ever under way.
    pub most: u64,
}

impl Brain {
    /// Starts one whose agents answer each task after `delay`.
    ///
    /// # Errors
    /// When no port or thread is to be had.
    pub fn start(delay: Duration) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counts = Arc::default();
        let service = Arc::new(Service {
            address,
            delay,
            counts: Arc::clone(&counts),
            first_calls: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("brain".to_owned())
            .spawn(move || runtime.block_on(serve(listener, service)))
            .context("no thread for the brain")?;
        Ok(Self { address, counts })
    }

    /// What it was asked up to now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The work on one task, which every call for it awaits.
type Work = Shared<BoxFuture<'static, ()>>;

struct Service {
    address: SocketAddr,
    delay: Duration,
    counts: Arc<Mutex<Counts>>,
    first_calls: Mutex<HashMap<String, Work>>,
}

async fn serve(listener: std::net::TcpListener, service: Arc<Service>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = Arc::clone(&service);
        let answer = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        tokio::spawn(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer),
        );
    }
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let agent_id = path
            .strip_prefix("/agents/")
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default()
            .to_owned();
        let action = path.rsplit('/').next().unwrap_or_default();
        match (request.method(), action) {
            (&Method::POST, "execute") => self.execute(request).await,
            (&Method::POST, "generate-agent") => self.generate(request).await,
            (&Method::GET, "health") => answer(json!({"status": "healthy"}).to_string()),
            (&Method::GET, "status") => answer(
                json!({"agent_id": agent_id, "status": {"state": "ready"}, "active_tasks": []})
                    .to_string(),
            ),
            (&Method::DELETE, _) => answer(json!({"termination_status": "success"}).to_string()),
            _ => refusal(StatusCode::NOT_FOUND),
        }
    }

    async fn generate(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        #[derive(Deserialize)]
        struct Asked {
            agent_config: Config,
        }
        #[derive(Deserialize)]
        struct Config {
            agent_id: String,
        }
        let Some(Asked { agent_config }) = read(request).await else {
            return refusal(StatusCode::UNPROCESSABLE_ENTITY);
        };
        let agent_id = agent_config.agent_id;
        answer(
            json!({
                "success": true,
                "agent_endpoint": format!("http://{}/agents/{agent_id}", self.address),
                "agent_id": agent_id,
                "status": "ready",
                "validation_results": [],
                "creation_metadata": {},
            })
            .to_string(),
        )
    }

    async fn execute(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        #[derive(Deserialize)]
        struct Asked {
            task_id: String,
        }
        let key = request
            .headers()
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok())
            .map(str::to_owned);
        let Some(Asked { task_id }) = read(request).await else {
            return refusal(StatusCode::UNPROCESSABLE_ENTITY);
        };
        let _call = Call::begin(&self.counts);
        // Without a delay nothing could be joined, and remembering every task would be what is measured.
        match key {
            Some(key) if !self.delay.is_zero() => self.work_of(key).await,
            _ => {
                self.count(|counts| counts.paid += 1);
                // Even the shortest sleep lasts a millisecond.
                if !self.delay.is_zero() {
                    tokio::time::sleep(self.delay).await;
                }
            }
        }
        answer(
            json!({
                "task_id": task_id,
                "status": "completed",
                "result": {"answer": "approved"},
                "execution_time": self.delay.as_secs_f64(),
                "confidence_score": 1.0,
                "metadata": {"tokens_used": 100, "cost_estimate": 0.001},
            })
            .to_string(),
        )
    }

    /// The work that the first call with this key began; it goes on when that call's connection breaks.
    fn work_of(&self, key: String) -> Work {
        let mut first_calls = self
            .first_calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first_calls
            .entry(key)
            .or_insert_with(|| {
                self.count(|counts| counts.paid += 1);
                let working = tokio::spawn(tokio::time::sleep(self.delay));
                // Sleeping does not fail.
                working.map(|_| ()).boxed().shared()
            })
            .clone()
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A call under way; a caller who goes away ends it.
struct Call(Arc<Mutex<Counts>>);

impl Call {
    fn begin(counts: &Arc<Mutex<Counts>>) -> Self {
        let mut locked = counts.lock().unwrap_or_else(PoisonError::into_inner);
        locked.calls += 1;
        locked.now += 1;
        locked.most = locked.most.max(locked.now);
        Self(Arc::clone(counts))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now -= 1;
    }
}

async fn read<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Option<T> {
    let body = request.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

fn answer(document: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(document));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Connection, Target};

    async fn execute(brain: SocketAddr, task_id: &str) -> serde_json::Value {
        let target = Target {
            address: brain,
            token: None,
        };
        let mut connection = Connection::open(&target).await.unwrap();
        let body = json!({"task_id": task_id, "description": "d"}).to_string();
        let headers = [("idempotency-key", task_id)];
        let answered = connection
            .call_with(Method::POST, "/agents/a/execute", Some(body), &headers)
            .await;
        let (status, answer) = answered.unwrap();
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&answer).unwrap()
    }

    #[tokio::test]
    async fn a_repeated_call_joins_the_first_and_is_not_paid_again() {
        let brain = Brain::start(Duration::from_millis(100)).unwrap();
        let calls = ["one", "one", "two"].map(|task_id| execute(brain.address, task_id));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer["status"], "completed");
        }
        execute(brain.address, "one").await;
        let counts = brain.counts();
        assert_eq!((counts.calls, counts.paid, counts.now), (4, 2, 0));
        assert_eq!(counts.most, 3);
    }
}
