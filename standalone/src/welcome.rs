//! What a newcomer reads when the embedded default has started.

use crate::Embedded;

/// Says where everything is, and how to do the main job in three calls.
#[must_use]
pub fn welcome(embedded: &Embedded) -> String {
    let mut address = embedded.address();
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let url = format!("http://{address}");
    let data = embedded.ledger_file().map_or_else(
        || "PostgreSQL".to_owned(),
        |file| file.display().to_string(),
    );
    let brain = match (
        &embedded.settings().llm,
        embedded.settings().brain_factory.configured,
    ) {
        (_, true) => format!("{}", embedded.settings().brain_factory.url),
        (Some(llm), false) => format!("built in, thinking with {} at {}", llm.model, llm.base_url),
        (None, false) => {
            "built in, without a language model (set LLM_BASE_URL and LLM_MODEL for one)".to_owned()
        }
    };
    let token = if embedded.settings().auth.required {
        " -H \"Authorization: Bearer $TOKEN\""
    } else {
        ""
    };
    format!(
        r#"Agent Orchestrator {version} is ready.

  API     {url}
  Docs    {url}/docs (Swagger UI), {url}/redoc, {url}/openapi.json
  Data    {data}
  Brain   {brain}

Register an agent, give it a task, read the result:

  curl -s{token} {url}/orchestrator/register -H 'Content-Type: application/json' -d '{REGISTER}'

  TASK=$(curl -s{token} {url}/orchestrator/execute-task -H 'Content-Type: application/json' -d '{EXECUTE}' | sed 's/.*"task_id":"\([^"]*\)".*/\1/')

  curl -s{token} {url}/orchestrator/tasks/$TASK

Ctrl-C finishes what runs and stops; everything is there again at the next start.
"#,
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// The service description's underwriting agent, with a graph that it runs when there is no language model.
const REGISTER: &str = r#"{"agent_id":"underwriting_agent_01","agent_name":"Underwriting Assistant","domain":"underwriting","brain_config":{"persona":{"role":"Underwriting Analyst","expertise":["risk"],"personality":"balanced"},"reasoningPattern":"react","components":[{"id":"credit","type":"rule","config":{"when":{"path":"credit_score","op":"gte","value":700},"score":2}},{"id":"loan","type":"rule","config":{"when":{"path":"loan_amount","op":"lte","value":500000},"score":1}},{"id":"verdict","type":"decision","config":{"thresholds":[{"min":3,"decision":"approve"},{"min":1,"decision":"refer"},{"max":1,"decision":"decline"}]}}],"connections":[{"from":"credit","to":"verdict"},{"from":"loan","to":"verdict"}]},"deployment_id":"deploy_001"}"#;

/// The service description's risk assessment.
const EXECUTE: &str = r#"{"agent_id":"underwriting_agent_01","task_type":"risk_assessment","task_data":{"applicant_id":"APP001","loan_amount":500000,"credit_score":720},"priority":5,"timeout_seconds":300}"#;
