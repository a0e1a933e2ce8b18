//! Servers that speak TLS: a terminator in front of one that does not, with certificates made for the test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use uuid::Uuid;

/// Authorities that may vouch for a server, made for one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub certificate: String,
    file: PathBuf,
}

impl Authority {
    /// Makes one that nobody has heard of, and writes its certificate into a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "an authority of the tests");
        parameters.distinguished_name = name;
        let certificate = parameters.self_signed(&key)?.pem();
        let file = std::env::temp_dir().join(format!("authority-{}.pem", Uuid::new_v4().simple()));
        std::fs::write(&file, &certificate)?;
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            certificate,
            file,
        })
    }

    /// The file with its certificate.
    #[must_use]
    pub fn file(&self) -> String {
        self.file.display().to_string()
    }

    /// What a server at 127.0.0.1 shows.
    fn server(&self) -> anyhow::Result<ServerConfig> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        parameters.subject_alt_names = vec![SanType::IpAddress(here)];
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(config)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// How a connection comes to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// It begins with TLS.
    Tls,
    /// The client asks for TLS first, as PostgreSQL's do.
    Postgres,
}

/// Speaks TLS to clients and plainly to one server; it ends when dropped.
#[derive(Debug)]
pub struct TlsTerminator {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsTerminator {
    /// Listens on a free port of 127.0.0.1, vouched for by `authority`, and forwards to `server`.
    ///
    /// # Errors
    /// When no port can be bound, or the certificate cannot be made.
    pub async fn in_front_of(
        server: &str,
        greeting: Greeting,
        authority: &Authority,
    ) -> anyhow::Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(authority.server()?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = server.to_owned();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tokio::spawn(async move {
                    if let Err(error) = forward(client, &acceptor, &server, greeting).await {
                        tracing::debug!(%error, "a connection over TLS ended");
                    }
                });
            }
        });
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsTerminator {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    mut client: TcpStream,
    acceptor: &TlsAcceptor,
    server: &str,
    greeting: Greeting,
) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    if greeting == Greeting::Postgres {
        // The eight bytes that ask for TLS.
        let mut question = [0; 8];
        client.read_exact(&mut question).await?;
        client.write_all(b"S").await?;
    }
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
