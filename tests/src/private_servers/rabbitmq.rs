//! A RabbitMQ of the test's own.

use std::path::PathBuf;

use lapin::{Connection, ConnectionProperties};

use super::{Folder, Server, account, command, free_port, installed};
/// A running broker with the login guest/guest, a node name, a port mapper and a folder of its own.
#[derive(Debug)]
pub struct PrivateRabbitMq {
    server: Option<Server>,
    _port_mapper: Server,
    folder: Folder,
    program: PathBuf,
    ports: Ports,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    clients: u16,
    nodes: u16,
    mapper: u16,
}

impl PrivateRabbitMq {
    /// Starts one; `None` when it is not installed.
    ///
    /// # Errors
    /// When it is installed and cannot be started.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let broker = [PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server")];
        let mapper = [PathBuf::from("/usr/bin/epmd")];
        let programs = installed("RabbitMQ", &broker)
            .and_then(|broker| Some((broker, installed("RabbitMQ", &mapper)?)));
        let Some((program, mapper)) = programs else {
            return Ok(None);
        };
        let folder = Folder::new(account("rabbitmq"))?;
        let ports = Ports {
            clients: free_port(),
            nodes: free_port(),
            mapper: free_port(),
        };
        let mut mapper = command(&mapper, &folder);
        mapper.args(["-address", "127.0.0.1", "-port", &ports.mapper.to_string()]);
        let mut started = Self {
            server: None,
            _port_mapper: Server::start(mapper, &folder)?,
            folder,
            program,
            ports,
        };
        started.start_again().await?;
        Ok(Some(started))
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports.clients)
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again, with what it had written.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let folder = self.folder.path();
        let node = format!("orchestrator-{}@localhost", self.ports.clients);
        let mut broker = command(&self.program, &self.folder);
        broker
            .env("RABBITMQ_NODENAME", node)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.ports.clients.to_string())
            .env("RABBITMQ_DIST_PORT", self.ports.nodes.to_string())
            .env("ERL_EPMD_PORT", self.ports.mapper.to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
            .env("RABBITMQ_LOG_BASE", folder.join("logs"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none");
        let mut server = Server::start(broker, &self.folder)?;
        let question = async || {
            let properties = ConnectionProperties::default();
            Connection::connect(&self.url(), properties).await.is_ok()
        };
        server.answers("RabbitMQ", question).await;
        self.server = Some(server);
        Ok(())
    }
}

impl Drop for PrivateRabbitMq {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- RabbitMQ\n{}", self.folder.end_of("log"));
        }
    }
}
