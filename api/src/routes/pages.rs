//! The documentation pages. They fetch nothing from outside, so that they work without a network.

use hyper::body::Bytes;
use poem::http::{StatusCode, header};
use poem::{Body, Response};
use poem_openapi::{OpenApi, OpenApiService};

/// What the page of ReDoc would fetch from outside.
const OUTSIDE_FONTS: &str = r#"<link href="https://fonts.googleapis.com/css?family=Montserrat:300,400,700|Roboto:300,400,700" rel="stylesheet">"#;

pub(super) struct Pages {
    document: Bytes,
    swagger_ui: Bytes,
    redoc: Bytes,
}

impl Pages {
    /// The pages for the endpoints of `service`.
    pub(super) fn of<A: OpenApi>(service: &OpenApiService<A, ()>) -> Self {
        Self {
            document: service.spec().into(),
            swagger_ui: service.swagger_ui_html().into(),
            redoc: service.redoc_html().replace(OUTSIDE_FONTS, "").into(),
        }
    }
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
    async fn document(&self) -> Response {
        page("application/json", &self.document)
    }

    #[oai(path = "/docs", method = "get", hidden)]
    async fn swagger_ui(&self) -> Response {
        page("text/html; charset=utf-8", &self.swagger_ui)
    }

    #[oai(path = "/redoc", method = "get", hidden)]
    async fn redoc(&self) -> Response {
        page("text/html; charset=utf-8", &self.redoc)
    }
}

fn page(content_type: &str, content: &Bytes) -> Response {
    Response::builder()
        .content_type(content_type)
        .header(header::CACHE_CONTROL, "public, max-age=300")
        .body(Body::from_bytes(content.clone()))
}
