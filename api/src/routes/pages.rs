//! The documentation pages. They fetch nothing from outside, so that they work without a network, and browsers are told
//! to run no script but theirs.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use poem::http::{StatusCode, header};
use poem::{Body, IntoResponse, Response};
use poem_openapi::{OpenApi, OpenApiService};
use sha2::{Digest, Sha256};

use crate::document;

/// What the page of ReDoc would fetch from outside.
const OUTSIDE_FONTS: &str = r#"<link href="https://fonts.googleapis.com/css?family=Montserrat:300,400,700|Roboto:300,400,700" rel="stylesheet">"#;
/// Where the page of Swagger UI says how to begin.
const OPTIONS: &str = "deepLinking: true,";
/// The same, without having a service elsewhere look at the document.
const OPTIONS_WITHOUT_VALIDATOR: &str = "deepLinking: true, validatorUrl: null,";

pub(super) struct Pages {
    document: Bytes,
    swagger_ui: Page,
    redoc: Page,
}

/// A page, and what its browser lets it do.
struct Page {
    content: Bytes,
    policy: String,
}

impl Page {
    fn of(content: String) -> Self {
        Self {
            policy: policy_of(&content),
            content: content.into(),
        }
    }
}

impl Pages {
    /// The pages for the endpoints of `service`.
    pub(super) fn of<A: OpenApi>(service: &OpenApiService<A, ()>) -> Self {
        let spec = service.spec();
        let document = document::completed(&spec);
        let swagger_ui = service.swagger_ui_html().replace(&spec, &document);
        let redoc = service.redoc_html().replace(&spec, &document);
        Self {
            swagger_ui: Page::of(swagger_ui.replace(OPTIONS, OPTIONS_WITHOUT_VALIDATOR)),
            redoc: Page::of(redoc.replace(OUTSIDE_FONTS, "")),
            document: document.into(),
        }
    }
}

/// Lets a page run the scripts that it brings, style itself, draw what it has, and call us; and nothing else.
fn policy_of(page: &str) -> String {
    let mut policy =
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; \
                      connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; script-src"
            .to_owned();
    for script in scripts(page) {
        let _ = write!(
            policy,
            " 'sha256-{}'",
            STANDARD.encode(Sha256::digest(script))
        );
    }
    policy
}

/// What stands in the `script` elements of a page.
fn scripts(page: &str) -> impl Iterator<Item = &str> {
    let mut rest = page;
    std::iter::from_fn(move || {
        let (_, tag) = rest.split_once("<script")?;
        let (_, content) = tag.split_once('>')?;
        let (script, after) = content.split_once("</script")?;
        rest = after;
        Some(script)
    })
}

#[OpenApi]
impl Pages {
    #[oai(path = "/", method = "get", hidden)]
    async fn home(&self) -> Response {
        Response::builder()
            .status(StatusCode::TEMPORARY_REDIRECT)
            .header(header::LOCATION, "/docs")
            .finish()
    }

    #[oai(path = "/openapi.json", method = "get", hidden)]
    async fn openapi(&self) -> Response {
        cached("application/json", &self.document)
    }

    #[oai(path = "/docs", method = "get", hidden)]
    async fn swagger_ui(&self) -> Response {
        page(&self.swagger_ui)
    }

    #[oai(path = "/redoc", method = "get", hidden)]
    async fn redoc(&self) -> Response {
        page(&self.redoc)
    }
}

fn page(page: &Page) -> Response {
    cached("text/html; charset=utf-8", &page.content)
        .with_header(header::CONTENT_SECURITY_POLICY, &page.policy)
        .into_response()
}

fn cached(content_type: &str, content: &Bytes) -> Response {
    Response::builder()
        .content_type(content_type)
        .header(header::CACHE_CONTROL, "public, max-age=300")
        .body(Body::from_bytes(content.clone()))
}
