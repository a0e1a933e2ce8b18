//! What a caller says of an agent when registering it: any subset beyond `agent_id`.

use serde_json::{Map, Value};
use url::Url;

use super::{AgentId, Faults, Fields, InstanceSpec, LoadBalancing, MAX_NESTING, nesting_of};

/// What `load_balancing` accepts.
const LOAD_BALANCING: &str = "must be least_loaded, round_robin, weighted or sticky";

/// A validated registration. What is absent leaves an existing agent's value as it is.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its identifier.
    pub agent_id: AgentId,
    /// A name for people, at most 200 characters.
    pub agent_name: Option<String>,
    /// The field it works in, at most 100 characters.
    pub domain: Option<String>,
    /// Persona, reasoning pattern, components and connections.
    pub brain_config: Option<Value>,
    /// Its deployment in the Deployment Pipeline, at most 200 characters.
    pub deployment_id: Option<String>,
    /// Its own limit of concurrent sessions, 1–100000.
    pub max_concurrent_sessions: Option<u32>,
    /// Where it runs, when it is not the Brain Factory's to make.
    pub endpoint: Option<Url>,
    /// All places where it runs, 1–100, each with its share; takes the place of those that were registered before.
    pub instances: Option<Vec<InstanceSpec>>,
    /// How its tasks are shared out among its instances.
    pub load_balancing: Option<LoadBalancing>,
    /// Everything else, kept as it came.
    pub extra: Map<String, Value>,
}

impl Registration {
    /// Reads and checks a registration; unknown fields are kept.
    ///
    /// # Errors
    /// Every fault, by field.
    pub fn parse(body: Value) -> Result<Self, Faults> {
        if nesting_of(&body) > MAX_NESTING {
            return Err(Faults::one(
                "",
                format!("must not nest deeper than {MAX_NESTING} levels"),
            ));
        }
        let mut fields = Fields::of(body)?;
        fields.require("agent_id");
        let agent_id = fields.take_parsed("agent_id", AgentId::ACCEPTS, AgentId::parse);
        let agent_name = fields.take_text("agent_name", 1, 200);
        let domain = fields.take_text("domain", 1, 100);
        let brain_config = fields.take_object("brain_config").map(Value::Object);
        let deployment_id = fields.take_text("deployment_id", 1, 200);
        let max_concurrent_sessions = fields.take_integer("max_concurrent_sessions", 1, 100_000);
        let endpoint = fields.take_parsed(
            "endpoint",
            "must be an absolute http or https address",
            super::submission::http_url,
        );
        let instances = InstanceSpec::take_list(&mut fields);
        let load_balancing =
            fields.take_parsed("load_balancing", LOAD_BALANCING, |name| name.parse().ok());
        let extra = fields.finish_keeping_unknown()?;
        let Some(agent_id) = agent_id else {
            return Err(Faults::one("agent_id", AgentId::ACCEPTS));
        };
        Ok(Self {
            agent_id,
            agent_name,
            domain,
            brain_config,
            deployment_id,
            max_concurrent_sessions,
            endpoint,
            instances,
            load_balancing,
            extra,
        })
    }

    /// The places where it runs, if any are named: the list, and `endpoint` among them.
    #[must_use]
    pub fn registered_instances(&self) -> Option<Vec<InstanceSpec>> {
        let single = self.endpoint.as_ref().map(ToString::to_string);
        let mut all = match (&self.instances, &single) {
            (Some(instances), _) => instances.clone(),
            (None, Some(_)) => Vec::new(),
            (None, None) => return None,
        };
        if let Some(endpoint) = single
            && all.iter().all(|spec| spec.endpoint != endpoint)
        {
            all.insert(0, InstanceSpec::at(endpoint));
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_that_the_platform_sends_is_taken() {
        for body in [
            json!({"agent_id": "a", "agent_name": "A", "domain": "d", "deployment_id": "x", "brain_config": {}}),
            json!({"agent_id": "a", "environment": "staging", "deployment_options": {"replicas": 1}}),
            json!({"agent_id": "a", "agent_config": {}, "resource_requirements": {"cpu": "1", "memory": "1Gi"}}),
            json!({"agent_id": "a", "brain_config": null}),
        ] {
            assert!(Registration::parse(body.clone()).is_ok(), "{body}");
        }
    }

    #[test]
    fn unknown_fields_are_kept_and_wrong_ones_named() {
        let kept = Registration::parse(json!({"agent_id": "a", "environment": "staging"})).unwrap();
        assert_eq!(kept.extra["environment"], "staging");
        let faults = Registration::parse(
            json!({"agent_id": "a b", "brain_config": 5, "endpoint": "ftp://x"}),
        )
        .unwrap_err();
        let named: Vec<_> = faults.0.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(named, ["agent_id", "brain_config", "endpoint"]);
    }
}
