//! The embedded default as a process of its own: a new folder, a free port, and an end with the measurement.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use crate::connection::{Connection, Target};
use crate::orchestrator;

/// How long the process may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running `agent-orchestrator` without any service beside it. Killed, and its folder removed, when dropped.
#[derive(Debug)]
pub struct Embedded {
    child: Child,
    folder: Folder,
    /// Where it listens, without a token.
    pub target: Target,
    /// When the process was started.
    pub started: Instant,
}

impl Embedded {
    /// Starts `program` with the settings of the embedded default and `variables` on top.
    ///
    /// It inherits nothing of the environment but `PATH`: what is measured does not depend on the caller's settings.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, variables: &[(String, String)]) -> Result<Self> {
        let folder = Folder::create()?;
        let log = File::create(folder.0.join("log"))?;
        let port = free_port()?;
        let started = Instant::now();
        let child = Command::new(program)
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .env("AGENT_ORCHESTRATOR_HOST", "127.0.0.1")
            .env("AGENT_ORCHESTRATOR_PORT", port.to_string())
            .env("ORCHESTRATOR_DATA_DIR", folder.0.join("data"))
            .envs(variables.iter().cloned())
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start; is it built?", program.display()))?;
        let target = Target {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            token: None,
        };
        Ok(Self {
            child,
            folder,
            target,
            started,
        })
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is ready and returns a connection to it.
    ///
    /// # Errors
    /// When it ends instead, or is not ready within a minute; with the end of its log.
    pub async fn ready(&mut self) -> Result<Connection> {
        loop {
            if let Ok(mut connection) = Connection::open(&self.target).await
                && orchestrator::is_ready(&mut connection).await?
            {
                return Ok(connection);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "it ended before it was ready ({status}):\n{}",
                    self.log_end()
                );
            }
            if self.started.elapsed() > READY_WITHIN {
                bail!("not ready after {READY_WITHIN:?}:\n{}", self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = fs::read_to_string(self.folder.0.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Nothing is left to do about a process that is already gone. Its folder is dropped after it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new folder that is removed when dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self> {
        let path = env::temp_dir().join(format!("agent-orchestrator-bench-{}", Uuid::now_v7()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody listens on, outside the range that Linux gives to outgoing connections: such a one could be
/// taken between this moment and the start of the program.
fn free_port() -> Result<u16> {
    for port in 20_000..30_000_u16 {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("no free port from 20000 to 29999")
}
