//! `agent-orchestrator`: the whole orchestrator in one process, and operators' commands.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    agent_orchestrator::cli::run().await
}
