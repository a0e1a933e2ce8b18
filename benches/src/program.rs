//! A program under measurement: started with nothing but the settings that are given, ended with the measurement.

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

/// How long a program may take until it is ready, or until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
    /// When it was started.
    pub started: Instant,
}

impl Program {
    /// Starts the program at `path` in `folder`, with a log there under its own name.
    ///
    /// It inherits nothing of the environment but `PATH`: what is measured does not depend on the caller's settings.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        path: &Path,
        arguments: &[&str],
        folder: &Path,
        variables: &[(String, String)],
    ) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let log_path = folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&log_path)?;
        let started = Instant::now();
        let child = Command::new(path)
            .args(arguments)
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(variables.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start; is it built?", path.display()))?;
        Ok(Self {
            child,
            log: log_path,
            started,
        })
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the API at `target` says that it is ready, and returns a connection to it.
    ///
    /// # Errors
    /// When the program ends instead, or the API is not ready within a minute; with the end of its log.
    pub async fn ready(&mut self, target: &Target) -> Result<Connection> {
        let asked = Instant::now();
        loop {
            if let Ok(mut connection) = Connection::open(target).await
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
            if asked.elapsed() > PATIENCE {
                bail!("not ready after {PATIENCE:?}:\n{}", self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the program has done its work and ended by itself.
    ///
    /// # Errors
    /// When it says that it failed, with the end of its log, or does not end within a minute.
    pub async fn done(&mut self) -> Result<()> {
        while self.started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("it failed ({status}):\n{}", self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("it has not ended after {PATIENCE:?}:\n{}", self.log_end())
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing is left to do about a process that is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new folder that is removed when dropped.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// Makes one among the system's temporary files.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn create() -> Result<Self> {
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

/// A loopback address that nobody listens on, with a port outside the range that Linux gives to outgoing connections:
/// such a one could be taken between this moment and the start of the program.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    for port in 20_000..30_000_u16 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("no free port from 20000 to 29999")
}

/// The program `name` that was built beside this one.
///
/// # Errors
/// When this program does not know where it is.
pub fn built(name: &str) -> Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name(name))
}

/// `NAME=VALUE`, as an argument of a command.
///
/// # Errors
/// When there is no `=`.
pub fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("must be NAME=VALUE".to_owned()),
    }
}

/// Settings as variables of an environment.
#[must_use]
pub fn variables<const N: usize>(settings: [(&str, String); N]) -> Vec<(String, String)> {
    settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
