//! Who gets in, and who does not.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use poem::Body;
use poem::http::Method;
use serde_json::{Value, json};

use crate::testing::{Received, SECRET, TestApi};

fn in_an_hour() -> u64 {
    get_current_timestamp() + 3_600
}

fn signed_with(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(algorithm), claims, &key).unwrap()
}

fn token(claims: &Value) -> String {
    signed_with(Algorithm::HS256, SECRET, claims)
}

fn admin() -> Value {
    json!({"sub": "s", "roles": ["admin"], "type": "access", "exp": in_an_hour()})
}

async fn list_agents(authorization: &str) -> Received {
    TestApi::with_auth()
        .await
        .send(
            Method::GET,
            "/orchestrator/agents",
            &[("authorization", authorization)],
            Body::empty(),
        )
        .await
}

/// Past authentication a request meets the unreachable ledger.
async fn assert_let_in(claims: &Value) {
    list_agents(&format!("Bearer {}", token(claims)))
        .await
        .problem(503);
}

async fn assert_refused(authorization: &str, detail: &str) {
    let received = list_agents(authorization).await;
    assert_eq!(received.problem(401)["detail"], detail);
    assert!(
        received
            .header("www-authenticate")
            .contains("invalid_token")
    );
    assert!(
        !received.text.contains("eyJ"),
        "the token shows: {}",
        received.text
    );
}

/// `claims` with changes; a change to `null` removes the claim.
fn changed(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[tokio::test]
async fn tokens_of_both_issuers_let_in() {
    assert_let_in(&admin()).await;
    let second = json!({"user_id": "u", "username": "x", "role": "viewer", "permissions": ["read"],
        "exp": in_an_hour(), "iat": get_current_timestamp()});
    assert_let_in(&second).await;
}

#[tokio::test]
async fn without_a_token_the_challenge_says_what_is_needed() {
    let received = TestApi::with_auth().await.get("/orchestrator/agents").await;
    received.problem(401);
    assert_eq!(
        received.header("www-authenticate"),
        r#"Bearer realm="agent-orchestrator""#
    );
}

#[tokio::test]
async fn other_schemes_and_garbage_are_refused() {
    assert_refused(
        "Basic dXNlcjpwYXNz",
        "the header Authorization must hold a bearer token",
    )
    .await;
    assert_refused(
        "Bearer",
        "the header Authorization must hold a bearer token",
    )
    .await;
    for garbage in ["Bearer x", "Bearer a.b.c", "Bearer ..", "bearer  "] {
        assert_refused(garbage, "the token is not valid").await;
    }
}

#[tokio::test]
async fn a_token_signed_with_another_key_is_refused() {
    let other = signed_with(
        Algorithm::HS256,
        "another-key-of-more-than-32-bytes",
        &admin(),
    );
    assert_refused(&format!("Bearer {other}"), "the token is not valid").await;
}

#[tokio::test]
async fn the_algorithm_is_pinned() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let other = signed_with(algorithm, SECRET, &admin());
        assert_refused(&format!("Bearer {other}"), "the token is not valid").await;
    }
    // The header of a good token is replaced: by none without a signature, and by an asymmetric algorithm over the
    // same HMAC, which is what a confused verifier would fall for.
    let good = token(&admin());
    let (_, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let rs256 = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
    for forged in [
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{rs256}.{payload}.{signature}"),
    ] {
        assert_refused(&format!("Bearer {forged}"), "the token is not valid").await;
    }
}

#[tokio::test]
async fn a_token_outside_its_time_is_refused() {
    let refuse = async |changes: Value, detail: &str| {
        let token = token(&changed(admin(), changes));
        assert_refused(&format!("Bearer {token}"), detail).await;
    };
    let now = get_current_timestamp();
    refuse(json!({"exp": now - 120}), "the token has expired").await;
    refuse(
        json!({"exp": null}),
        "the token lacks a claim that is needed: exp",
    )
    .await;
    refuse(
        json!({"exp": "soon"}),
        "the token lacks a claim that is needed: exp",
    )
    .await;
    refuse(json!({"nbf": now + 600}), "the token is not valid yet").await;
    assert_let_in(&changed(admin(), json!({"nbf": now - 600}))).await;
}

#[tokio::test]
async fn only_access_tokens_with_a_subject_are_taken() {
    for kind in [json!("refresh"), json!("mfa_temp"), json!(""), json!(5)] {
        let token = token(&changed(admin(), json!({"type": kind})));
        assert_refused(
            &format!("Bearer {token}"),
            "the token is not an access token",
        )
        .await;
    }
    let nobody = token(&changed(admin(), json!({"sub": null})));
    assert_refused(&format!("Bearer {nobody}"), "the token names no subject").await;
}

#[tokio::test]
async fn an_oversized_token_is_refused_unread() {
    let long = token(&changed(admin(), json!({"padding": "x".repeat(9_000)})));
    assert_refused(&format!("Bearer {long}"), "the token is too long").await;
}

#[tokio::test]
async fn a_second_authorization_header_is_refused() {
    let good = format!("Bearer {}", token(&admin()));
    let twice = [
        ("authorization", good.as_str()),
        ("authorization", "Bearer x"),
    ];
    TestApi::with_auth()
        .await
        .send(Method::GET, "/orchestrator/agents", &twice, Body::empty())
        .await
        .problem(401);
}

/// The level that the design gives each kind of operation.
fn expected_level(method: &str, path: &str) -> &'static str {
    match (method, path) {
        (_, path) if path.contains("audit") || path.contains("dead-letters") => "admin",
        ("get", _) => "read",
        (_, path) if path.contains("task") || path.contains("workflow") => "write",
        _ => "admin",
    }
}

#[tokio::test]
async fn every_operation_demands_its_level_and_no_other_will_do() {
    let api = TestApi::with_auth().await;
    let document: Value = serde_json::from_str(&crate::openapi_document()).unwrap();
    let paths: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_value(document["paths"].clone()).unwrap();
    let mut checked = 0;
    for (path, operations) in paths
        .iter()
        .filter(|(path, _)| path.starts_with("/orchestrator/"))
    {
        for (method, operation) in operations {
            assert!(
                operation["security"].is_array(),
                "{method} {path} is not documented as secured"
            );
            let http_method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let address = path
                .replace("{agent_id}", "a")
                .replace("{task_id}", "t")
                .replace("{letter_id}", "l");
            api.send(http_method.clone(), &address, &[], Body::empty())
                .await
                .problem(401);

            let needed = expected_level(method, path);
            for level in ["read", "write", "admin", "delete"] {
                let claims = json!({"sub": "s", "permissions": [level], "exp": in_an_hour()});
                let header = format!("Bearer {}", token(&claims));
                let received = api
                    .send(
                        http_method.clone(),
                        &address,
                        &[("authorization", &header)],
                        Body::empty(),
                    )
                    .await;
                if level == needed || level == "admin" {
                    assert!(
                        !matches!(received.status.as_u16(), 401 | 403),
                        "{method} {path} {level}"
                    );
                } else {
                    let problem = received.problem(403);
                    assert!(
                        problem["detail"].as_str().unwrap().contains(needed),
                        "{method} {path}"
                    );
                    assert!(
                        received
                            .header("www-authenticate")
                            .contains("insufficient_scope")
                    );
                }
            }
            checked += 1;
        }
    }
    assert!(checked >= 11, "only {checked} operations were found");
}

#[tokio::test]
async fn health_and_pages_stay_open_and_metrics_unless_told_otherwise() {
    let api = TestApi::with_auth().await;
    for path in [
        "/health/live",
        "/metrics",
        "/docs",
        "/redoc",
        "/openapi.json",
    ] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    assert_ne!(api.get("/health").await.status, 401);
    assert_ne!(api.get("/health/ready").await.status, 401);

    let closed = TestApi::with_variables(&[("METRICS_REQUIRE_AUTH", "true")]).await;
    closed.get("/metrics").await.problem(401);
    let reader = json!({"sub": "s", "role": "viewer", "exp": in_an_hour()});
    let header = format!("Bearer {}", token(&reader));
    let received = closed
        .send(
            Method::GET,
            "/metrics",
            &[("authorization", &header)],
            Body::empty(),
        )
        .await;
    assert_eq!(received.status, 200);
}

#[tokio::test]
async fn without_authentication_a_token_is_not_looked_at() {
    let received = TestApi::new()
        .await
        .send(
            Method::GET,
            "/orchestrator/agents",
            &[("authorization", "Bearer nonsense")],
            Body::empty(),
        )
        .await;
    received.problem(503);
}

#[tokio::test]
async fn a_body_is_not_read_for_a_caller_who_may_not_send_it() {
    let received = TestApi::with_auth()
        .await
        .post("/orchestrator/execute-task", &json!({"nonsense": true}))
        .await;
    received.problem(401);
}
