//! A Redis of the test's own.

use std::path::PathBuf;

use orchestrator_common::config::RedisSettings;

use super::{Folder, Server, command, free_port, installed};

/// A running server that keeps nothing on disk.
#[derive(Debug)]
pub struct PrivateRedis {
    server: Option<Server>,
    folder: Folder,
    program: PathBuf,
    port: u16,
}

impl PrivateRedis {
    /// Starts one; `None` when it is not installed.
    ///
    /// # Errors
    /// When it is installed and cannot be started.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let places = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"];
        let Some(program) = installed("Redis", &places.map(PathBuf::from)) else {
            return Ok(None);
        };
        let mut started = Self {
            server: None,
            folder: Folder::new(None)?,
            program,
            port: free_port(),
        };
        started.start_again().await?;
        Ok(Some(started))
    }

    /// How to reach it.
    #[must_use]
    pub fn settings(&self) -> RedisSettings {
        RedisSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            password: None,
            database: 0,
            tls: None,
        }
    }

    /// Kills it; what it held is lost.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again, empty.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut redis = command(&self.program, &self.folder);
        redis
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"]);
        let mut server = Server::start(redis, &self.folder)?;
        let question = async || self.run("PING").await.is_ok();
        server.answers("Redis", question).await;
        self.server = Some(server);
        Ok(())
    }

    /// Runs a command without arguments.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(&self, name: &str) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(("127.0.0.1", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(name).query_async(&mut connection).await
    }
}
