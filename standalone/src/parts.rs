//! Making the parts of the embedded default out of the settings, and the one that also runs alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use orchestrator_common::config::{
    BrainFactorySettings, DatabaseSettings, HttpSettings, LlmPrices, Settings,
};
use orchestrator_common::domain::SettlementRules;
use orchestrator_common::ledger::{Ledger, LedgerOptions};
use orchestrator_migration::schema;
use tokio::net::TcpListener;

use crate::DataDir;
use crate::brain_factory::{BrainFactory, BrainFactoryOptions, TokenPrices};

/// How long another worker on a shared PostgreSQL ledger may be silent.
const SILENCE: Duration = Duration::from_secs(15);

/// The ledger of the process, and what it means for other workers in it.
pub(crate) struct OpenLedger {
    pub(crate) ledger: Ledger,
    /// Held for as long as the process lives, when the ledger is a file.
    pub(crate) data_dir: Option<DataDir>,
    pub(crate) silence: Duration,
}

/// Opens the ledger that the settings name, with its schema up to date.
pub(crate) async fn open_ledger(settings: &Settings) -> anyhow::Result<OpenLedger> {
    let options = LedgerOptions {
        max_concurrent_sessions: settings.agents.max_concurrent_sessions,
        auto_start: settings.agents.auto_start,
        rules: SettlementRules::default(),
    };
    let opened = if settings.database.configured {
        let DatabaseSettings {
            url,
            max_connections,
            ..
        } = &settings.database;
        let ledger = Ledger::open_postgres(url, *max_connections, options).await;
        let ledger = ledger?;
        // It is opened on first use.
        ledger
            .ping()
            .await
            .context("PostgreSQL (DATABASE_URL or POSTGRES_*) does not answer")?;
        OpenLedger {
            ledger,
            data_dir: None,
            silence: SILENCE,
        }
    } else {
        let data_dir = DataDir::hold(&settings.data_dir)?;
        let ledger = Ledger::open_sqlite(&data_dir.ledger_file(), options).await;
        let ledger = ledger.with_context(|| {
            format!(
                "the ledger {} cannot be opened",
                data_dir.ledger_file().display()
            )
        })?;
        OpenLedger {
            ledger,
            data_dir: Some(data_dir),
            silence: SILENCE,
        }
    };
    schema::bring_up(opened.ledger.connection())
        .await
        .context("the ledger's schema could not be brought up to date")?;
    Ok(opened)
}

/// Binds the API's address.
pub(crate) async fn bind(http: &HttpSettings) -> anyhow::Result<TcpListener> {
    let address = (http.host.as_str(), http.port);
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "AGENT_ORCHESTRATOR_HOST and AGENT_ORCHESTRATOR_PORT must name an address that is free on this machine; \
             {}:{} is not",
            http.host, http.port
        )
    })
}

/// The built-in Brain Factory, reachable from this machine only.
pub(crate) async fn built_in_brain_factory(settings: &Settings) -> anyhow::Result<BrainFactory> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .context("no port for the built-in Brain Factory")?;
    brain_factory_on(listener, settings)
}

/// The built-in Brain Factory for workers in other processes: on `BRAIN_FACTORY_HOST`, by default reachable from this
/// machine only, and `BRAIN_FACTORY_PORT`.
///
/// # Errors
/// When the address is not free on this machine.
pub async fn brain_factory_alone(settings: &Settings) -> anyhow::Result<BrainFactory> {
    let BrainFactorySettings {
        url, configured, ..
    } = &settings.brain_factory;
    let named = url.host_str().filter(|_| *configured);
    let host = named.unwrap_or("127.0.0.1");
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let listener = TcpListener::bind(&address).await.with_context(|| {
        format!(
            "BRAIN_FACTORY_HOST and BRAIN_FACTORY_PORT must name an address that is free on this machine; {address} \
             is not"
        )
    })?;
    brain_factory_on(listener, settings)
}

fn brain_factory_on(listener: TcpListener, settings: &Settings) -> anyhow::Result<BrainFactory> {
    let options = BrainFactoryOptions {
        llm: settings.llm.clone(),
        prices: settings
            .llm
            .as_ref()
            .and_then(|llm| llm.prices)
            .map(token_prices),
        simulation: settings.brain_factory.simulation,
        ..BrainFactoryOptions::default()
    };
    Ok(BrainFactory::build(listener, options)?)
}

fn token_prices(prices: LlmPrices) -> TokenPrices {
    TokenPrices {
        input_per_million: prices.input,
        output_per_million: prices.output,
    }
}
