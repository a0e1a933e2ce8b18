//! Whether and where the audit log is forwarded.

use std::fmt;

use hyper::header::HeaderValue;
use url::Url;

use super::{ConfigError, Reader};

/// The platform's audit service.
#[derive(Clone)]
pub struct AuditServiceSettings {
    /// Its base address, such as `http://audit-service:8340`.
    pub url: Url,
    /// What it knows us by.
    pub key: HeaderValue,
}

impl fmt::Debug for AuditServiceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditServiceSettings")
            .finish_non_exhaustive()
    }
}

impl AuditServiceSettings {
    pub(super) fn read(env: &Reader) -> Result<Option<Self>, ConfigError> {
        let Some(url) = env.optional("AUDIT_SERVICE_URL") else {
            return Ok(None);
        };
        let is_usable = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        };
        let url = Url::parse(url.trim()).ok().filter(is_usable);
        let url = url.ok_or_else(|| {
            let accepts = "must be an address such as http://audit-service:8340, without a login";
            ConfigError::new("AUDIT_SERVICE_URL", accepts)
        })?;
        let accepts = "must be the key of visible characters that AUDIT_SERVICE_URL knows us by";
        let refused = || ConfigError::new("AUDIT_SERVICE_API_KEY", accepts);
        let key = env.optional("AUDIT_SERVICE_API_KEY").ok_or_else(refused)?;
        let mut key = HeaderValue::from_str(key.trim()).map_err(|_| refused())?;
        key.set_sensitive(true);
        Ok(Some(Self { url, key }))
    }
}
