//! A process of the orchestrator, started from its program, that tests kill, freeze and stop.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::eventually;
use crate::private_servers::Folder;

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: String,
    folder: Folder,
}

impl Process {
    /// Starts `program` with nothing in its environment but `variables`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, variables: &BTreeMap<String, String>) -> std::io::Result<Self> {
        let folder = Folder::new(None)?;
        let log = "log".to_owned();
        let said = File::create(folder.path().join(&log))?;
        let child = Command::new(program)
            .env_clear()
            .envs(variables)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        Ok(Self { child, log, folder })
    }

    /// What it has said so far, on both outputs.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(&self.log)).unwrap_or_default()
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it had ended before: then the test does not test what it says.
    pub fn kill(&mut self) {
        self.must_run();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP: it does nothing any more, and keeps all that it has.
    ///
    /// # Panics
    /// When it had ended before.
    pub fn freeze(&mut self) {
        self.must_run();
        signal(self.child.id(), "STOP");
    }

    /// SIGCONT: it goes on where it was.
    ///
    /// # Panics
    /// When it had ended before.
    pub fn go_on(&mut self) {
        self.must_run();
        signal(self.child.id(), "CONT");
    }

    /// SIGTERM; waits until it has ended.
    ///
    /// # Panics
    /// When it had ended before, or does not end.
    pub async fn stop(mut self) -> ExitStatus {
        self.must_run();
        signal(self.child.id(), "TERM");
        let mut ended = None;
        eventually("the process stops", async || {
            ended = self.child.try_wait().unwrap_or_default();
            ended.is_some()
        })
        .await;
        ended.unwrap_or_default()
    }

    fn must_run(&mut self) {
        let ended = self.child.try_wait().unwrap_or_default();
        assert!(ended.is_none(), "{ended:?}: {}", self.said());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("-- {}", self.folder.end_of(&self.log));
        }
    }
}

/// Sends a signal by its name; one that cannot be sent finds no process, which its parent sees.
pub(crate) fn signal(process: u32, name: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status();
}
