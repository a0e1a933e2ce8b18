//! Whom the edge lets through to the handlers: the bounds of a head, how often a caller may call, and pages of web sites.

use poem::Body;
use poem::http::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;
use crate::Limits;
use crate::testing::{Received, SECRET, TestApi};

async fn with(variables: &[(&str, &str)]) -> TestApi {
    TestApi::with(variables, Limits::default(), vec![]).await
}

async fn get_with(api: &TestApi, path: &str, headers: &[(&str, &str)]) -> Received {
    api.send(Method::GET, path, headers, Body::empty()).await
}

#[tokio::test]
async fn an_address_that_is_too_long_is_a_problem_that_does_not_repeat_it() {
    let api = TestApi::new().await;
    let limit = Limits::default().uri_bytes;
    let long = format!("/orchestrator/agents?x={}", "x".repeat(limit - 23));
    assert_eq!(long.len(), limit);
    api.get(&long).await.problem(503);
    let received = api.get(&format!("{long}x")).await;
    let problem = received.problem(414);
    assert_eq!(
        problem["type"],
        "urn:agent-orchestrator:problem:address_too_long"
    );
    let received = api.get(&format!("/{}", "x".repeat(limit))).await;
    received.problem(414);
    assert!(received.text.len() < 2_000, "{}", received.text);
}

#[tokio::test]
async fn headers_that_are_too_many_or_too_large_are_a_problem() {
    let api = TestApi::new().await;
    let limits = Limits::default();
    let many: Vec<String> = (0..=limits.headers).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let all_but_one = &many[..limits.headers];
    assert_eq!(get_with(&api, "/docs", all_but_one).await.status, 200);
    let problem = get_with(&api, "/docs", &many).await.problem(431);
    assert!(problem["detail"].as_str().unwrap().contains("64 headers"));
    let large = "x".repeat(limits.header_bytes);
    let received = get_with(&api, "/docs", &[("x-large", &large)]).await;
    let problem = received.problem(431);
    assert!(problem["detail"].as_str().unwrap().contains("16384 bytes"));
}

#[tokio::test]
async fn json_that_nests_too_deeply_is_refused_without_being_read_to_its_end() {
    let api = TestApi::new().await;
    let nested = |depth: usize| {
        let data = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"agent_id": "a", "task_type": "t", "task_data": {{"x": {data}}}}}"#)
    };
    let post = async |body: String| {
        let headers = [("content-type", "application/json")];
        let path = "/orchestrator/execute-task";
        api.send(Method::POST, path, &headers, body).await
    };
    assert_eq!(post(nested(62)).await.status, 200);
    post(nested(63)).await.problem(422);
    // More than any parser's stack would hold.
    post(nested(200_000)).await.problem(400);
}

#[tokio::test]
async fn a_caller_who_calls_too_often_is_told_when_to_call_again() {
    let limit = [("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "3")];
    let api = with(&limit).await;
    let received = loop {
        let received = api.get("/orchestrator/agents").await;
        if received.status != 503 {
            break received;
        }
    };
    let problem = received.problem(429);
    assert_eq!(problem["type"], "urn:agent-orchestrator:problem:too_often");
    assert_eq!(received.header("retry-after"), "1");
    for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
        for _ in 0..10 {
            assert_ne!(api.get(path).await.status, 429, "{path}");
        }
    }
    let text = api.get("/metrics").await.text;
    assert!(
        text.contains(r#"errors_total{type="too_often"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn whoever_has_a_token_is_counted_for_themselves() {
    let variables = [
        ("REQUIRE_AUTH", "true"),
        ("JWT_SECRET", SECRET),
        // So slowly that no test is slow enough for it.
        ("RATE_LIMIT_PER_SECOND", "1"),
        ("RATE_LIMIT_BURST", "1"),
    ];
    let api = with(&variables).await;
    let token = |subject: &str| {
        let exp = jsonwebtoken::get_current_timestamp() + 3_600;
        let claims = json!({"sub": subject, "role": "viewer", "exp": exp});
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key);
        format!("Bearer {}", token.unwrap())
    };
    let ask = async |header: String| {
        get_with(&api, "/orchestrator/agents", &[("authorization", &header)])
            .await
            .status
    };
    // Until one is refused: a slow machine may take longer than a second for each.
    let refused = async |subject: &str| {
        for _ in 0..1_000 {
            if ask(token(subject)).await == 429 {
                return;
            }
        }
        panic!("{subject} may call as often as they like");
    };
    refused("a").await;
    assert_eq!(ask(token("b")).await, 503);
    // Without an acceptable token the address counts, for all of them together.
    let mut statuses = Vec::new();
    for n in 0..1_000 {
        statuses.push(ask(format!("Bearer invented-{n}")).await);
        if statuses.last().is_some_and(|status| *status == 429) {
            break;
        }
    }
    assert_eq!(statuses.first().unwrap().as_u16(), 401);
    assert_eq!(statuses.last().unwrap().as_u16(), 429);
}

const ORIGIN: &str = "https://console.example";

async fn question(api: &TestApi, origin: &str) -> Received {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let path = "/orchestrator/execute-task";
    api.send(Method::OPTIONS, path, &headers, Body::empty())
        .await
}

fn allowed_origin(received: &Received) -> Option<&str> {
    let value = received.headers.get("access-control-allow-origin");
    value.map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn pages_of_other_web_sites_may_not_call_unless_they_are_named() {
    let closed = TestApi::new().await;
    let received = question(&closed, ORIGIN).await;
    received.problem(405);
    assert_eq!(allowed_origin(&received), None);
    let received = get_with(&closed, "/health/live", &[("origin", ORIGIN)]).await;
    assert_eq!(allowed_origin(&received), None);

    let open = with(&[("CORS_ALLOWED_ORIGINS", ORIGIN)]).await;
    let received = question(&open, ORIGIN).await;
    assert_eq!(received.status, 204);
    assert_eq!(allowed_origin(&received), Some(ORIGIN));
    assert!(
        received
            .header("access-control-allow-headers")
            .contains("Authorization")
    );
    assert_eq!(
        received.header("access-control-allow-methods"),
        "GET, POST, DELETE"
    );
    assert!(
        !received
            .headers
            .contains_key("access-control-allow-credentials")
    );
    // Also what is refused can be read.
    let received = get_with(&open, "/orchestrator/agents", &[("origin", ORIGIN)]).await;
    received.problem(503);
    assert_eq!(allowed_origin(&received), Some(ORIGIN));
    assert!(
        received
            .header("access-control-expose-headers")
            .contains("Retry-After")
    );
    assert_eq!(received.header("vary"), "Origin");

    for other in [
        "https://evil.example",
        "https://console.example.evil.example",
        "null",
    ] {
        let received = question(&open, other).await;
        received.problem(405);
        assert_eq!(allowed_origin(&received), None, "{other}");
        assert_eq!(received.header("vary"), "Origin");
    }
    let any = with(&[("CORS_ALLOWED_ORIGINS", "*")]).await;
    assert_eq!(allowed_origin(&question(&any, ORIGIN).await), Some("*"));
}

#[tokio::test]
async fn a_question_needs_no_token() {
    let api = TestApi::with_variables(&[("CORS_ALLOWED_ORIGINS", ORIGIN)]).await;
    assert_eq!(question(&api, ORIGIN).await.status, 204);
    let received = get_with(&api, "/orchestrator/agents", &[("origin", ORIGIN)]).await;
    received.problem(401);
    assert_eq!(allowed_origin(&received), Some(ORIGIN));
}

#[tokio::test]
async fn a_change_that_a_browser_sends_for_another_web_site_is_refused() {
    let api = with(&[("CORS_ALLOWED_ORIGINS", ORIGIN)]).await;
    let post = async |headers: &[(&str, &str)]| {
        let headers = [&[("host", "localhost:8200")], headers].concat();
        let body = json!({"agent_id": "a", "task_type": "t", "task_data": {}});
        let path = "/orchestrator/execute-task";
        api.send(Method::POST, path, &headers, body.to_string())
            .await
    };
    for foreign in [
        &[("origin", "https://evil.example")][..],
        &[
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "same-site"),
        ],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
    ] {
        let problem = post(foreign).await.problem(403);
        assert_eq!(
            problem["type"],
            "urn:agent-orchestrator:problem:foreign_origin"
        );
    }
    assert!(api.commands.tasks.lock().unwrap().is_empty());
    for own in [
        &[][..],
        &[("origin", "http://localhost:8200")],
        &[
            ("origin", "https://localhost:8200"),
            ("sec-fetch-site", "same-origin"),
        ],
        // Behind a proxy that changes the name of the host.
        &[
            ("origin", "https://agents.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[("sec-fetch-site", "none")],
        &[("origin", ORIGIN), ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(post(own).await.status, 200, "{own:?}");
    }
    // Looking is harmless: the page cannot read the answer.
    let look = [("origin", "https://evil.example")];
    assert_eq!(get_with(&api, "/health/live", &look).await.status, 200);
}

#[tokio::test]
async fn every_answer_tells_browsers_what_not_to_do_with_it() {
    let api = TestApi::new().await;
    let says = |received: &Received, name: &'static str, value: &'static str| {
        let name = HeaderName::from_static(name);
        let all: Vec<_> = received.headers.get_all(name).iter().collect();
        assert_eq!(all, [HeaderValue::from_static(value)]);
    };
    for path in ["/health/live", "/orchestrator/agents", "/nowhere", "/docs"] {
        let received = api.get(path).await;
        says(&received, "x-content-type-options", "nosniff");
        says(&received, "x-frame-options", "DENY");
        says(&received, "referrer-policy", "no-referrer");
        if path != "/docs" {
            let policy = "default-src 'none'; frame-ancestors 'none'";
            says(&received, "content-security-policy", policy);
            says(&received, "cache-control", "no-store");
        }
    }
}
