//! Whether traces are exported: the standard variables of OpenTelemetry, of which the SDK reads the details itself.

use url::Url;

use crate::config::{ConfigError, Reader};

/// Where a collector is: of any kind of telemetry, and of traces alone.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
];
const PROTOCOL: &str = "http/protobuf";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// The sampler without which the SDK would say nothing and take this one.
const DEFAULT_SAMPLER: &str = "parentbased_always_on";
const SAMPLERS: [&str; 6] = [
    DEFAULT_SAMPLER,
    "parentbased_always_off",
    "parentbased_traceidratio",
    "always_on",
    "always_off",
    "traceidratio",
];

/// What is done with traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// Whether they are recorded and sent to a collector.
    pub exported: bool,
}

impl TraceOptions {
    /// Exports when a collector is named (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`), unless
    /// `OTEL_SDK_DISABLED` or `OTEL_TRACES_EXPORTER=none` forbid it. What the SDK would silently replace is refused.
    ///
    /// # Errors
    /// The first variable with an unacceptable value, and what it accepts.
    pub fn from_reader(env: &Reader) -> Result<Self, ConfigError> {
        let disabled = env.boolean("OTEL_SDK_DISABLED", false)?;
        let exporter = env.one_of("OTEL_TRACES_EXPORTER", "otlp", &["otlp", "none"])?;
        let mut is_named = false;
        for variable in ENDPOINTS {
            let Some(endpoint) = env.optional(variable) else {
                continue;
            };
            let usable = Url::parse(&endpoint)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !usable {
                let accepts = "must be the address of a collector such as http://127.0.0.1:4318";
                return Err(ConfigError::new(variable, accepts));
            }
            is_named = true;
        }
        for variable in PROTOCOLS {
            env.one_of(variable, PROTOCOL, &[PROTOCOL])?;
        }
        let sampler = env.one_of(SAMPLER, DEFAULT_SAMPLER, &SAMPLERS)?;
        let share = env.optional(SAMPLER_ARG).map(|text| text.parse::<f64>());
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        if sampler.ends_with("traceidratio") && !share.is_none_or(|read| read.is_ok_and(is_share)) {
            let accepts = "must be a number from 0 to 1, the share of traces to export";
            return Err(ConfigError::new(SAMPLER_ARG, accepts));
        }
        Ok(Self {
            exported: is_named && !disabled && exporter == "otlp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(pairs: &[(&str, &str)]) -> Result<bool, String> {
        let variables = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let options = TraceOptions::from_reader(&Reader::new(variables));
        options
            .map(|options| options.exported)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn traces_are_exported_when_a_collector_is_named_and_nothing_forbids_it() {
        let collector = (ENDPOINTS[0], "http://127.0.0.1:4318");
        assert_eq!(exported(&[]), Ok(false));
        assert_eq!(exported(&[collector]), Ok(true));
        assert_eq!(
            exported(&[(ENDPOINTS[1], "https://a.b/v1/traces")]),
            Ok(true)
        );
        for forbidden in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(exported(&[collector, forbidden]), Ok(false));
        }
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_accepted() {
        let ratio = (SAMPLER, "parentbased_traceidratio");
        for (bad, accepts) in [
            (
                vec![(ENDPOINTS[0], "collector:4318")],
                "must be the address",
            ),
            (vec![(ENDPOINTS[1], "collector")], "must be the address"),
            (vec![(PROTOCOLS[0], "grpc")], "must be one of http/protobuf"),
            (vec![(SAMPLER, "sometimes")], "must be one of parentbased_"),
            (vec![(SAMPLER_ARG, "1.5"), ratio], "must be a number"),
            (vec![(SAMPLER_ARG, "half"), ratio], "must be a number"),
        ] {
            let error = exported(&bad).unwrap_err();
            assert!(
                error.starts_with(&format!("{} {accepts}", bad[0].0)),
                "{error}"
            );
        }
        assert_eq!(exported(&[(SAMPLER_ARG, "0.25"), ratio]), Ok(false));
    }
}
