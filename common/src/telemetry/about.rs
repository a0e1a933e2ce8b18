//! What a line of the log is about: the request or the task that is being worked on, added to every line that is written
//! meanwhile.

use std::fmt;

use opentelemetry::trace::TraceId;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::traceparent;
use crate::domain::TaskId;

tokio::task_local! {
    static ABOUT: About;
}

/// A request or a task that is being worked on.
#[derive(Clone, Debug)]
pub struct About {
    request_id: Option<Box<str>>,
    task_id: Option<TaskId>,
    trace_id: Option<TraceId>,
}

impl About {
    /// A request, by its id, and its trace.
    #[must_use]
    pub fn request(request_id: &str, traceparent: &str) -> Self {
        Self {
            request_id: Some(request_id.into()),
            task_id: None,
            trace_id: trace_id(traceparent),
        }
    }

    /// A task and its trace.
    #[must_use]
    pub fn task(task_id: TaskId, traceparent: Option<&str>) -> Self {
        Self {
            request_id: None,
            task_id: Some(task_id),
            trace_id: traceparent.and_then(trace_id),
        }
    }

    fn write(&self, mut field: impl FnMut(&str, &dyn fmt::Display) -> fmt::Result) -> fmt::Result {
        let Self {
            request_id,
            task_id,
            trace_id,
        } = self;
        if let Some(request_id) = request_id {
            field("request_id", request_id)?;
        }
        if let Some(task_id) = task_id {
            field("task_id", task_id)?;
        }
        if let Some(trace_id) = trace_id {
            field("trace_id", trace_id)?;
        }
        Ok(())
    }
}

fn trace_id(text: &str) -> Option<TraceId> {
    traceparent::trace_id(text).and_then(|id| TraceId::from_hex(id).ok())
}

/// Does `work`; every line that it writes says what it is about.
///
/// Not an `async fn`, which would hold `work` twice.
pub fn about<F: Future>(what: About, work: F) -> impl Future<Output = F::Output> {
    ABOUT.scope(what, work)
}

/// Lines that say what they are about.
pub(super) struct Telling<F> {
    pub(super) format: F,
    pub(super) form: Form,
}

/// The form of a line, and where its new fields go.
pub(super) enum Form {
    /// A JSON object, and into it. Request ids and the other identifiers need no escaping.
    Json,
    /// Text, and to its end.
    Text,
}

impl<S, N, F> FormatEvent<S, N> for Telling<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Ok(known) = ABOUT.try_with(About::clone) else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        let whole = Writer::new(&mut line);
        self.format.format_event(context, whole, event)?;
        let line = line.trim_end_matches('\n');
        match self.form {
            Form::Json => {
                writer.write_str(line.strip_suffix('}').unwrap_or(line))?;
                known.write(|name, value| write!(writer, ",\"{name}\":\"{value}\""))?;
                writer.write_str("}\n")
            }
            Form::Text => {
                writer.write_str(line)?;
                known.write(|name, value| write!(writer, " {name}={value}"))?;
                writer.write_char('\n')
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::fmt::format::{Format, JsonFields};

    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Where the lines of a test go.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn all(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A line about nothing, one about a request, and one about a task of no valid trace.
    async fn say(task_id: TaskId) {
        tracing::info!("first");
        let request = About::request("request-1", TRACEPARENT);
        about(request, async { tracing::info!(n = 1, "second") }).await;
        let task = About::task(task_id, Some("nonsense"));
        about(task, async { tracing::info!("third") }).await;
    }

    #[tokio::test]
    async fn a_line_of_json_says_what_it_is_about() {
        let (lines, task_id) = (Lines::default(), TaskId::generate());
        let writer = lines.clone();
        let format = Format::default()
            .json()
            .flatten_event(true)
            .without_time()
            .with_target(false);
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(Telling {
                format,
                form: Form::Json,
            })
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        say(task_id).await;
        let lines: Vec<Value> = lines
            .all()
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({"level": "INFO", "message": "first"}),
                json!({"level": "INFO", "message": "second", "n": 1, "request_id": "request-1",
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}),
                json!({"level": "INFO", "message": "third", "task_id": task_id}),
            ]
        );
    }

    #[tokio::test]
    async fn a_line_of_text_says_what_it_is_about_at_its_end() {
        let (lines, task_id) = (Lines::default(), TaskId::generate());
        let writer = lines.clone();
        let format = Format::default()
            .with_ansi(false)
            .without_time()
            .with_target(false);
        let subscriber = tracing_subscriber::fmt()
            .event_format(Telling {
                format,
                form: Form::Text,
            })
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        say(task_id).await;
        let expected = [
            " INFO first".to_owned(),
            " INFO second n=1 request_id=request-1 trace_id=4bf92f3577b34da6a3ce929d0e0e4736"
                .to_owned(),
            format!(" INFO third task_id={task_id}"),
        ];
        assert_eq!(lines.all(), expected);
    }
}
