//! What a process says of itself: logs, and traces if they are asked for.
//!
//! Logs go to standard error, so that commands can print their answers to standard output. Traces go to an OpenTelemetry
//! collector (OTLP over HTTP). Both belong to the process: they are started once, and nothing has to hand them on.

mod about;
mod export;
mod log_options;
mod span;
mod trace_options;
pub mod traceparent;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, JsonFields};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{ConfigError, Reader};

use about::{Form, Telling};

pub use about::{About, about};
pub use log_options::LogOptions;
pub use span::Span;
pub use trace_options::TraceOptions;

/// How a process says what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryOptions {
    /// Its logs.
    pub logs: LogOptions,
    /// Its traces.
    pub traces: TraceOptions,
}

impl TelemetryOptions {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// The first variable with an unacceptable value, and what it accepts.
    pub fn from_process_environment() -> Result<Self, ConfigError> {
        let env = Reader::new(std::env::vars().collect());
        Ok(Self {
            logs: LogOptions::from_reader(&env)?,
            traces: TraceOptions::from_reader(&env)?,
        })
    }
}

/// Keeps traces going; dropped last of all, it sends what is left of them, for a moment at most.
#[derive(Debug)]
#[must_use = "traces end when it is dropped"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            export::flush(&provider);
        }
    }
}

/// Starts logs and traces for the whole process and says which service starts. What runs already is left as it is.
///
/// # Errors
/// When traces are asked for and cannot be made with what the variables say.
pub fn init(service: &'static str, options: &TelemetryOptions) -> Result<Telemetry, ConfigError> {
    let LogOptions { filter, json } = &options.logs;
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr);
    let started = if *json {
        let format = Format::default().json().flatten_event(true);
        let started = started.fmt_fields(JsonFields::new());
        let form = Form::Json;
        let started = started.event_format(Telling { format, form });
        started.finish().try_init()
    } else {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let format = Format::default().with_ansi(!no_colour);
        let form = Form::Text;
        let started = started.event_format(Telling { format, form });
        started.finish().try_init()
    };
    // It fails only when logging has been started before, and then there is nothing left to do.
    if started.is_ok() {
        tracing::info!(service, version = env!("CARGO_PKG_VERSION"), "starting");
    }
    if !options.traces.exported {
        return Ok(Telemetry(None));
    }
    let provider = export::provider(service)?;
    span::start(service, &provider);
    Ok(Telemetry(Some(provider)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_twice_is_harmless() {
        let options = TelemetryOptions {
            logs: LogOptions {
                filter: "off".into(),
                json: true,
            },
            traces: TraceOptions { exported: false },
        };
        let _first = init("first", &options).unwrap();
        let _second = init("second", &options).unwrap();
    }
}
