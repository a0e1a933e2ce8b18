//! A rule: gives one value when its condition holds and another when not.

use std::sync::Arc;

use serde_json::Value;

use super::super::findings::Fault;
use super::component::Names;
use super::condition::Condition;
use super::run::{GraphError, Output, Scope};

pub(super) struct Rule {
    when: Condition,
    then: Output,
    otherwise: Output,
}

impl Rule {
    pub(super) fn read(settings: &Value, field: &str, names: &Names<'_>) -> Result<Self, Fault> {
        let (name, condition) = ["when", "condition"]
            .iter()
            .find_map(|name| Some((*name, settings.get(name)?)))
            .ok_or_else(|| Fault::new(format!("{field}.when"), "A rule needs a condition"))?;
        let when = Condition::read(condition, &format!("{field}.{name}"), names)?;
        let score = settings.get("score");
        if score.is_some_and(|score| !score.is_number()) {
            return Err(Fault::new(format!("{field}.score"), "A score is a number"));
        }
        let (hit, miss) = match score {
            Some(score) => (score.clone(), Value::from(0)),
            None => (Value::Bool(true), Value::Bool(false)),
        };
        let written = |name: &str, default| {
            Output::constant(Arc::new(settings.get(name).cloned().unwrap_or(default)))
        };
        Ok(Self {
            when,
            then: written("then", hit),
            otherwise: written("else", miss),
        })
    }

    pub(super) fn references(&self) -> Vec<usize> {
        self.when.references()
    }

    pub(super) fn run(&self, component: &str, scope: &Scope<'_>) -> Result<Output, GraphError> {
        let holds = self.when.holds(component, scope)?;
        Ok(if holds { &self.then } else { &self.otherwise }.clone())
    }
}
