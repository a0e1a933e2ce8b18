//! Where the API listens, and what it takes from whom.

use url::Url;

use super::{ConfigError, Reader};

/// Where and how the API listens.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Address to bind.
    pub host: String,
    /// Port to bind.
    pub port: u16,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Whether `/metrics` needs a token when authentication is on.
    pub metrics_require_auth: bool,
    /// How often one caller may call; `None` for as often as they like.
    pub rate_limit: Option<RateLimit>,
    /// The web sites whose pages may call.
    pub allowed_origins: AllowedOrigins,
}

/// How often one caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per second in the long run.
    pub per_second: u32,
    /// Requests at once, after a pause.
    pub burst: u32,
}

/// The web sites whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every web site.
    Any,
    /// These, as browsers write them: `https://console.example`.
    These(Vec<String>),
}

impl AllowedOrigins {
    /// Whether pages of `origin`, the value of the header of that name, may call.
    #[must_use]
    pub fn allow(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(origins) => origins.iter().any(|allowed| allowed == origin),
        }
    }
}

pub(super) fn http(env: &Reader) -> Result<HttpSettings, ConfigError> {
    Ok(HttpSettings {
        host: env.text("AGENT_ORCHESTRATOR_HOST", "0.0.0.0")?,
        port: env.number("AGENT_ORCHESTRATOR_PORT", 8200, 0, 65_535)?,
        max_body_bytes: env.number("MAX_BODY_BYTES", 1_048_576, 1_024, 67_108_864)?,
        metrics_require_auth: env.boolean("METRICS_REQUIRE_AUTH", false)?,
        rate_limit: rate_limit(env)?,
        allowed_origins: allowed_origins(env)?,
    })
}

fn rate_limit(env: &Reader) -> Result<Option<RateLimit>, ConfigError> {
    const RATE: &str = "RATE_LIMIT_PER_SECOND";
    const BURST: &str = "RATE_LIMIT_BURST";
    let per_second = env.number(RATE, 0, 0, 1_000_000)?;
    let burst = env.number(BURST, per_second.max(1), 1, 1_000_000)?;
    if per_second > 0 {
        return Ok(Some(RateLimit { per_second, burst }));
    }
    if env.optional(BURST).is_some() {
        let accepts = format!("must be 1 or more when {BURST} is set");
        return Err(ConfigError::new(RATE, accepts));
    }
    Ok(None)
}

fn allowed_origins(env: &Reader) -> Result<AllowedOrigins, ConfigError> {
    const NAME: &str = "CORS_ALLOWED_ORIGINS";
    let listed = env.optional(NAME).unwrap_or_default();
    if listed.trim() == "*" {
        return Ok(AllowedOrigins::Any);
    }
    let origins = listed.split(',').map(str::trim).filter(|it| !it.is_empty());
    let origins = origins.map(|text| origin(text).ok_or(text));
    let origins = origins.collect::<Result<_, _>>().map_err(|_| {
        ConfigError::new(
            NAME,
            "must be * or a list of origins such as https://console.example, separated by commas",
        )
    })?;
    Ok(AllowedOrigins::These(origins))
}

/// A scheme, a host and perhaps a port, and nothing else; as browsers write it.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let origin = url.origin().ascii_serialization();
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let bare = bare && url.username().is_empty() && url.password().is_none();
    let is_web = matches!(url.scheme(), "http" | "https");
    (is_web && bare && !text.ends_with('/') && !text.contains('*')).then_some(origin)
}
