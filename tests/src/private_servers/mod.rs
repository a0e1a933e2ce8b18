//! PostgreSQL, RabbitMQ and Redis for one test alone, which may kill and restart them; gone with the test.
//!
//! They need the programs of Debian's packages, which are there where `tests/services/up` has installed the services.
//! Where services are named by variables only, `start` says that the test is skipped, and returns nothing.

mod folder;
mod postgres;
mod rabbitmq;
mod redis;

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use uuid::Uuid;

use crate::eventually_within;

pub use folder::Folder;
pub use postgres::PrivatePostgres;
pub use rabbitmq::PrivateRabbitMq;
pub use redis::PrivateRedis;

/// Ports of private servers are below those that the system gives to clients, so that none is taken while its server
/// is away.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How long a server may take to start: a broker takes many seconds of processor time.
const START_PATIENCE: Duration = Duration::from_secs(90);

/// A free port.
fn free_port() -> u16 {
    loop {
        let random = Uuid::new_v4().as_u64_pair().0 % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(random).unwrap_or(0);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The first of these programs that is installed; says so when none is.
fn installed(service: &str, places: &[PathBuf]) -> Option<PathBuf> {
    let found = places.iter().find(|place| place.is_file()).cloned();
    if found.is_none() {
        eprintln!(
            "SKIPPED: this test starts a {service} of its own, whose program is not installed here \
             (`make services` installs it where no {service} is named by variable)"
        );
    }
    found
}

/// User and group of a system account; nothing when this process could not become it, or there is none.
fn account(name: &str) -> Option<(u32, u32)> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    if !is_root {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let account = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(fields)
    })?;
    let mut numbers = account.skip(1).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A command in `folder`, as the owner of that folder, with nothing of this process's environment but the path.
fn command(program: &Path, folder: &Folder) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null());
    if let Some((user, group)) = folder.owner() {
        command.uid(user).gid(group);
    }
    command
}

/// A server process that is killed when dropped.
#[derive(Debug)]
struct Server(Child);

impl Server {
    /// Starts it with its output in a file of `folder`.
    fn start(mut command: Command, folder: &Folder) -> std::io::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.path().join("log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        Ok(Self(command.spawn()?))
    }

    /// Waits until it answers to `question`.
    ///
    /// # Panics
    /// When it ends instead, or takes too long.
    async fn answers(&mut self, name: &str, mut question: impl AsyncFnMut() -> bool) {
        eventually_within(START_PATIENCE, &format!("{name} answers"), async || {
            let ended = self.0.try_wait();
            assert!(matches!(ended, Ok(None)), "{name} ended: {ended:?}");
            question().await
        })
        .await;
    }

    /// Sends a signal by name and waits for the end.
    fn end_by(&mut self, signal: &str) {
        crate::process::signal(self.0.id(), signal);
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
