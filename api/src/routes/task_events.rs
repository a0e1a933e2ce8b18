//! `GET /orchestrator/tasks/{task_id}/events`: server-sent events.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use hyper::body::Bytes;
use orchestrator_common::domain::{TaskDocument, TaskId};
use orchestrator_common::waiting::WaitingReader;
use poem::http::header;
use poem::{Body, IntoResponse, Response};
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, OpenApi};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::Tag;
use crate::auth::{Caller, Read};
use crate::problem::{ApiError, Reading, Refusal};
use crate::service::Service;
use crate::task_changes::task_in_path;
use crate::task_reader::FoundTask;
use crate::task_waiting::standing;
use crate::views::TaskView;

/// Time between two signs of life on a stream without news: shorter than what proxies allow.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a stream lasts; whoever wants more resumes it, with a token that still holds.
const MAX_DURATION: Duration = Duration::from_secs(3_600);

pub(super) struct TaskEvents(pub(super) Arc<Service>);

/// A stream of events.
struct Events(Body);

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type(Self::CONTENT_TYPE)
            .header(header::CACHE_CONTROL, "no-cache")
            // Proxies that collect answers before they pass them on must not do so here.
            .header("X-Accel-Buffering", "no")
            .body(self.0)
    }
}

impl Payload for Events {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            items: Some(Box::new(TaskView::schema_ref())),
            ..MetaSchema::new_with_format("array", "event-stream")
        }))
    }

    fn register(registry: &mut Registry) {
        TaskView::register(registry);
    }
}

/// What there is to tell of a task.
#[derive(ApiResponse)]
enum Told {
    /// Events named `task.` and the status, each with the task as its data.
    #[oai(status = 200)]
    Stream(Events),
    /// The outcome was told before, under the identifier that `Last-Event-ID` names: there will be no more events.
    #[oai(status = 204)]
    NothingMore,
}

#[OpenApi(tag = "Tag::Tasks")]
impl TaskEvents {
    /// Follow a task
    ///
    /// Server-sent events: first where the task stands, then each change of its status, until its outcome ends the
    /// stream. A stream that was cut is resumed with `Last-Event-ID`, which browsers send by themselves: it begins with
    /// where the task stands now, unless that is what was told last. What happened in between is left out.
    #[oai(
        path = "/orchestrator/tasks/:task_id/events",
        method = "get",
        operation_id = "task_events"
    )]
    async fn follow(
        &self,
        _caller: Caller<Read>,
        /// The task: a UUID.
        task_id: Path<String>,
        /// The identifier of the last event that was received.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Result<Told, Refusal<Reading>> {
        let task_id = task_in_path(&task_id)?;
        let waiting = self.0.waiting.clone();
        let place = waiting
            .try_acquire_owned()
            .map_err(|_full| ApiError::Overloaded)?;
        let reader = self.0.readers.register(task_id);
        let found = self.0.tasks.read_in_turn(task_id, None).await?;
        let found = found.ok_or_else(|| ApiError::NoSuchTask(task_id.to_string()))?;
        if found.0.status.is_terminal() && Some(event_id(&found.0)) == last_event_id.0 {
            return Ok(Told::NothingMore);
        }
        let follower = Follower {
            service: Arc::clone(&self.0),
            task_id,
            reader,
            news: Some(found),
            told: last_event_id.0,
            ends_at: Instant::now() + MAX_DURATION,
            _place: place,
        };
        Ok(Told::Stream(Events(Body::from_bytes_stream(
            follower.frames(),
        ))))
    }
}

/// Tells one reader what becomes of a task.
struct Follower {
    service: Arc<Service>,
    task_id: TaskId,
    reader: WaitingReader,
    /// What was read and not yet told.
    news: Option<FoundTask>,
    /// The identifier of the latest event.
    told: Option<String>,
    ends_at: Instant,
    /// Its place among those that may wait at once.
    _place: OwnedSemaphorePermit,
}

impl Follower {
    fn frames(self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        futures::stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            let (frame, is_last) = follower.next().await?;
            Some((Ok(frame), (!is_last).then_some(follower)))
        })
    }

    /// The next frame, and whether it is the last one; `None` when the stream ends without one.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        loop {
            if let Some((document, queue_position)) = self.news.take() {
                self.reader.saw(standing(&document));
                let is_last = document.status.is_terminal();
                let id = event_id(&document);
                if self.told.as_ref() != Some(&id) {
                    let frame = frame(&id, TaskView::new(document, queue_position))?;
                    self.told = Some(id);
                    return Some((frame, is_last));
                }
                if is_last {
                    return None;
                }
            }
            let until = self.ends_at.min(Instant::now() + KEEP_ALIVE);
            match timeout_at(until, self.reader.woken()).await {
                Ok(Some(wake)) => {
                    let reading = self.service.tasks.read_in_turn(self.task_id, Some(wake));
                    // Whoever cannot read now waits for the next wake-up.
                    self.news = reading.await.ok().flatten();
                }
                Ok(None) => return None,
                Err(_elapsed) if Instant::now() >= self.ends_at => return None,
                Err(_elapsed) => return Some((Bytes::from_static(b": still here\n\n"), false)),
            }
        }
    }
}

/// Names where a task stands; another time at the same status has another name.
fn event_id(document: &TaskDocument) -> String {
    let since = document.completed_at.or(document.started_at);
    let since = since.unwrap_or(document.submitted_at).as_micros();
    format!("{}-{}-{since}", document.status, document.attempt)
}

fn frame(id: &str, view: TaskView) -> Option<Bytes> {
    let status = view.status();
    // JSON as serde writes it has no line ends.
    let data = serde_json::to_string(&view).ok()?;
    let frame = format!("id: {id}\nevent: task.{status}\ndata: {data}\n\n");
    Some(frame.into())
}
