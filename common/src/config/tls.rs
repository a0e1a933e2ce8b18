//! Encrypted connections, and whom to trust for them.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{ConfigError, Reader};

/// That connections are encrypted; the server's certificate is always checked, its name included.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates (PEM) of the authorities that vouch for the server; `None` for those that the system trusts.
    pub authorities: Option<String>,
}

/// What a switch and a file of authorities say.
pub(super) fn read(switch: &str, file: &str, env: &Reader) -> Result<Option<Tls>, ConfigError> {
    let on = env.boolean(switch, false)?;
    let authorities = readable(file, env)?.map(|(_, certificates)| certificates);
    if authorities.is_some() && !on {
        let accepts = format!("must be true when {file} is set");
        return Err(ConfigError::new(switch, accepts));
    }
    Ok(on.then_some(Tls { authorities }))
}

/// The path that `variable` names, if it does, and the certificates in it.
pub(super) fn readable(
    variable: &str,
    env: &Reader,
) -> Result<Option<(String, String)>, ConfigError> {
    let Some(path) = env.optional(variable) else {
        return Ok(None);
    };
    let certificates = std::fs::read_to_string(&path).unwrap_or_default();
    let mut found = CertificateDer::pem_slice_iter(certificates.as_bytes()).peekable();
    if found.peek().is_none() || !found.all(|certificate| certificate.is_ok()) {
        let accepts = "must name a readable file with certificates in PEM";
        return Err(ConfigError::new(variable, accepts));
    }
    Ok(Some((path, certificates)))
}
