//! An orchestrator of which every fault is known, to see what the measurement makes of it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use orchestrator_benches::connection::Target;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What goes wrong with the task of this number, counted from 0 in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    NeverEnds(usize),
    Fails(usize),
    IsRefused(usize),
}

/// How often each task was asked for, by task, and whom the tasks were for.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) asked: HashMap<String, usize>,
    pub(crate) agents: Vec<String>,
}

pub(crate) struct Fake {
    pub(crate) target: Target,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Fake {
    /// Listens until the test's runtime ends.
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let seen = shared.clone();
                let service = service_fn(move |request| answer(request, fault, seen.clone()));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        let target = Target {
            address,
            token: None,
        };
        Self { target, seen }
    }
}

async fn answer(
    request: Request<Incoming>,
    fault: Fault,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (status, document) = if parts.method == Method::POST {
        accept(&serde_json::from_slice(&body).unwrap(), fault, &seen)
    } else {
        show(parts.uri.path(), fault, &seen)
    };
    let mut answer = Response::new(Full::from(document.to_string()));
    *answer.status_mut() = status.try_into().unwrap();
    Ok(answer)
}

fn accept(body: &Value, fault: Fault, seen: &Mutex<Seen>) -> (u16, Value) {
    let mut seen = seen.lock().unwrap();
    let number = seen.agents.len();
    seen.agents
        .push(body["agent_id"].as_str().unwrap().to_owned());
    if fault == Fault::IsRefused(number) {
        return (503, json!({"title": "nothing durable can take it"}));
    }
    seen.asked.insert(number.to_string(), 0);
    (200, json!({"task_id": number.to_string()}))
}

/// A task has its outcome when it is asked for the second time.
fn show(path: &str, fault: Fault, seen: &Mutex<Seen>) -> (u16, Value) {
    let task_id = path.rsplit('/').next().unwrap();
    let mut seen = seen.lock().unwrap();
    let Some(asked) = seen.asked.get_mut(task_id) else {
        return (404, json!({}));
    };
    *asked += 1;
    let number: usize = task_id.parse().unwrap();
    let status = if fault == Fault::NeverEnds(number) || *asked == 1 {
        "running"
    } else if fault == Fault::Fails(number) {
        "failed"
    } else {
        "completed"
    };
    (
        200,
        json!({"status": status, "completed_at": "2999-01-01T00:00:00Z"}),
    )
}
