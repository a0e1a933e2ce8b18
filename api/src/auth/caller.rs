//! The caller as a parameter of a handler: a handler that takes one cannot be reached without its level.

use std::marker::PhantomData;

use orchestrator_common::domain::Origin;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::Level;
use crate::edge::RequestScope;

const SCHEME: &str = "bearer";

/// What a handler demands of its caller.
pub(crate) trait Demand: Send + Sync {
    /// The level.
    const LEVEL: Level;
}

/// Demands [`Level::Read`].
#[derive(Debug)]
pub(crate) enum Read {}

impl Demand for Read {
    const LEVEL: Level = Level::Read;
}

/// Demands [`Level::Write`].
#[derive(Debug)]
pub(crate) enum Write {}

impl Demand for Write {
    const LEVEL: Level = Level::Write;
}

/// Demands [`Level::Admin`].
#[derive(Debug)]
pub(crate) enum Administer {}

impl Demand for Administer {
    const LEVEL: Level = Level::Admin;
}

/// A caller who has the level that `D` demands.
#[derive(Debug)]
pub(crate) struct Caller<D> {
    /// The token's subject, or `anonymous` when authentication is off.
    pub(crate) name: String,
    request_id: String,
    demand: PhantomData<D>,
}

impl<D> Caller<D> {
    /// Who asks, for the audit log.
    pub(crate) fn origin(&self) -> Origin {
        Origin::new(&self.name, Some(&self.request_id))
    }
}

impl<'a, D: Demand> ApiExtractor<'a> for Caller<D> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "http",
                description: Some(
                    "A JWT, needed when REQUIRE_AUTH is true, signed with the one algorithm that JWT_ALGORITHM names \
                     (HS256, RS256, ES256 or EdDSA). `exp` is needed; the subject is `sub` or `user_id`; what it allows is taken from `role`/`roles` (viewer: read; user: read and write; \
                     admin: everything), `permissions` and `scope` (read, write, admin).",
                ),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: Some("JWT"),
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let scope = RequestScope::of(request)?;
        let name = scope.identity.demand(D::LEVEL)?.unwrap_or("anonymous");
        Ok(Self {
            name: name.to_owned(),
            request_id: scope.request_id().to_owned(),
            demand: PhantomData,
        })
    }
}
