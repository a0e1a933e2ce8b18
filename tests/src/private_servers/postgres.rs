//! A PostgreSQL of the test's own.

use std::path::{Path, PathBuf};

use sea_orm::{ConnectionTrait, Database, DbErr};

use super::{Folder, Server, account, command, free_port, installed};

/// A running server with an empty database `test`; it trusts whoever can reach it.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Option<Server>,
    folder: Folder,
    programs: PathBuf,
    port: u16,
}

impl PrivatePostgres {
    /// Starts one; `None` when it is not installed.
    ///
    /// # Errors
    /// When it is installed and cannot be started.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(initdb) = installed("PostgreSQL", &installations()) else {
            return Ok(None);
        };
        let programs = initdb.parent().unwrap_or(Path::new("/")).to_owned();
        // It refuses to run as root.
        let folder = Folder::new(account("postgres"))?;
        let mut initdb = command(&initdb, &folder);
        initdb
            .args(["--pgdata", "data", "--username", "postgres"])
            .args(["--auth", "trust", "--encoding", "UTF8"])
            .args(["--no-locale", "--no-sync"]);
        let output = initdb.output()?;
        if !output.status.success() {
            anyhow::bail!("initdb: {}", String::from_utf8_lossy(&output.stderr));
        }
        let mut started = Self {
            server: None,
            folder,
            programs,
            port: free_port(),
        };
        started.start_again().await?;
        started.execute("CREATE DATABASE test").await?;
        Ok(Some(started))
    }

    /// The address of the database `test`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("test")
    }

    /// Ends it as a crash does: nothing is written in order, every connection breaks.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            // SIGKILL would leave its helper processes behind for a while; on this signal they quit as abruptly.
            server.end_by("QUIT");
        }
    }

    /// Starts it after a crash, with what it had written.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut postgres = command(&self.programs.join("postgres"), &self.folder);
        let port = self.port.to_string();
        postgres.args(["-D", "data", "-p", &port, "-h", "127.0.0.1"]);
        for setting in [
            "unix_socket_directories=",
            "max_connections=80",
            // What the process has handed to the system survives its end; only the machine's would lose it.
            "fsync=off",
        ] {
            postgres.args(["-c", setting]);
        }
        let mut server = Server::start(postgres, &self.folder)?;
        let question = async || self.execute("SELECT 1").await.is_ok();
        server.answers("PostgreSQL", question).await;
        self.server = Some(server);
        Ok(())
    }

    /// Runs a statement as the superuser, in the database `postgres`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn execute(&self, sql: &str) -> Result<(), DbErr> {
        let connection = Database::connect(self.url_of("postgres")).await?;
        let executed = connection.execute_unprepared(sql).await;
        connection.close().await?;
        executed.map(|_| ())
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- PostgreSQL\n{}", self.folder.end_of("log"));
        }
        self.crash();
    }
}

/// `initdb` of every installed version, the newest first.
fn installations() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let mut places: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin/initdb"))
        .collect();
    places.sort();
    places.reverse();
    places
}
