//! Tokens of key pairs, and every attack on them that has a name.

use std::net::TcpListener;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use orchestrator_common::auth::{Endorser, Level};
use orchestrator_common::config::Settings;
use serde_json::json;

use super::attack_testing::{Guarded, Issuer, admin, encoded, parts, with};
use crate::testing::{SECRET, TestApi};

const INVALID: &str = "the token is not valid";

#[tokio::test]
async fn the_bearer_of_a_token_by_the_private_key_is_let_in() {
    for issuer in Issuer::all() {
        let api = issuer.api().await;
        api.lets_in(&issuer.token(&admin())).await;
        // With one key, its name is no matter.
        let mut header = issuer.header();
        header.kid = Some("../../etc/passwd' OR 1=1".to_owned());
        header.typ = Some("application/AT+JWT".to_owned());
        api.lets_in(&issuer.token_with(&header, &admin())).await;
    }
}

#[tokio::test]
async fn a_public_key_whose_lines_are_written_as_one_is_understood() {
    let issuer = Issuer::with(Algorithm::ES256);
    let one_line = Issuer {
        public_pem: issuer.public_pem.trim().replace('\n', "\\n"),
        ..Issuer::with(Algorithm::ES256)
    };
    one_line.api().await.lets_in(&issuer.token(&admin())).await;
}

#[tokio::test]
async fn a_token_signed_with_what_is_public_or_ours_is_refused() {
    for issuer in Issuer::all() {
        let api = issuer.api().await;
        let pem = issuer.public_pem.as_str();
        let der = issuer.der();
        for secret in [
            pem.as_bytes(),
            pem.trim().as_bytes(),
            &der,
            b"",
            SECRET.as_bytes(),
        ] {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let key = EncodingKey::from_secret(secret);
                let forged = encode(&Header::new(algorithm), &admin(), &key).unwrap();
                api.refuses(&forged, INVALID).await;
                // The same under the name of the right algorithm.
                let [_, payload, signature] = parts(&forged);
                let header = encoded(&json!({"alg": issuer.algorithm, "typ": "JWT"}));
                api.refuses(&format!("{header}.{payload}.{signature}"), INVALID)
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn a_token_that_says_it_is_signed_otherwise_or_not_at_all_is_refused() {
    for issuer in Issuer::all() {
        let api = issuer.api().await;
        let good = issuer.token(&admin());
        let [_, payload, signature] = parts(&good);
        for algorithm in [
            "none", "None", "NONE", "nOnE", "", "RS384", "RS512", "PS256", "ES384", "ES512",
            "HS256", "Ed448", "rs256", "es256",
        ] {
            let header = encoded(&json!({"alg": algorithm, "typ": "JWT"}));
            api.refuses(&format!("{header}.{payload}.{signature}"), INVALID)
                .await;
            api.refuses(&format!("{header}.{payload}."), INVALID).await;
        }
        for header in [
            json!({"typ": "JWT"}),
            json!({"alg": null}),
            json!([]),
            json!("x"),
        ] {
            let header = encoded(&header);
            api.refuses(&format!("{header}.{payload}.{signature}"), INVALID)
                .await;
        }
    }
}

#[tokio::test]
async fn a_token_that_was_changed_or_cut_is_refused() {
    for issuer in Issuer::all() {
        let api = issuer.api().await;
        let good = issuer.token(&admin());
        let [header, payload, signature] = parts(&good);
        let other = encoded(&with(&json!({"sub": "somebody else"})));
        let zeroes = URL_SAFE_NO_PAD.encode([0; 64]);
        for changed in [
            format!("{header}.{other}.{signature}"),
            format!("{header}.{payload}.{zeroes}"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}"),
            format!("{header}..{signature}"),
            format!("{good}."),
            format!("{good}.{signature}"),
            format!("{good}="),
            format!("{header}.{payload}={signature}"),
            format!(" {good} x"),
            format!("{good},{good}"),
        ] {
            api.refuses(&changed, INVALID).await;
        }
        // A claim that is there twice: who reads the first would see another role than who reads the last.
        let twice = r#"{"sub":"s","role":"viewer","role":"admin","exp":99999999999}"#;
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(twice));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &issuer.signing, issuer.algorithm);
        api.refuses(&format!("{message}.{}", signature.unwrap()), INVALID)
            .await;
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_or_points_to_is_not_looked_at() {
    let bait = TcpListener::bind("127.0.0.1:0").unwrap();
    bait.set_nonblocking(true).unwrap();
    let address = format!("http://{}/keys", bait.local_addr().unwrap());
    for issuer in Issuer::all() {
        let api = issuer.api().await;
        let attacker = Issuer::with(issuer.algorithm);
        api.refuses(&attacker.token(&admin()), INVALID).await;
        let mut header = issuer.header();
        header.jku = Some(address.clone());
        header.x5u = Some(address.clone());
        header.x5c = Some(vec!["AAAA".to_owned()]);
        header.kid = Some(address.clone());
        header.jwk = Some(attacker.jwk());
        api.refuses(&attacker.token_with(&header, &admin()), INVALID)
            .await;
        api.lets_in(&issuer.token_with(&header, &admin())).await;
    }
    assert!(bait.accept().is_err(), "somebody looked for keys");
}

#[tokio::test]
async fn a_token_with_an_extension_that_must_be_understood_is_refused() {
    for issuer in Issuer::all() {
        let api = issuer.api().await;
        for crit in [vec![], vec!["exp".to_owned()], vec!["b64".to_owned()]] {
            let mut header = issuer.header();
            header.crit = Some(crit);
            header.extras.insert("b64", false);
            api.refuses(&issuer.token_with(&header, &admin()), INVALID)
                .await;
        }
    }
}

#[tokio::test]
async fn a_token_outside_its_time_is_refused() {
    let now = get_current_timestamp();
    for issuer in Issuer::all() {
        let api = issuer.api().await;
        for (changes, reason) in [
            (json!({"exp": now - 120}), "the token has expired"),
            (json!({"exp": 0}), "the token has expired"),
            (json!({"nbf": now + 600}), "the token is not valid yet"),
            (json!({"nbf": "later"}), INVALID),
            (
                json!({"exp": null}),
                "the token lacks a claim that is needed: exp",
            ),
            (
                json!({"exp": "99999999999"}),
                "the token lacks a claim that is needed: exp",
            ),
            (
                json!({"exp": -1}),
                "the token lacks a claim that is needed: exp",
            ),
        ] {
            api.refuses(&issuer.token(&with(&changes)), reason).await;
        }
    }
}

#[tokio::test]
async fn only_tokens_for_access_are_taken_and_they_name_somebody() {
    let other = "the token is not an access token";
    for issuer in Issuer::all() {
        let api = issuer.api().await;
        for changes in [
            json!({"type": "refresh"}),
            json!({"type": "mfa_temp"}),
            json!({"type": "message"}),
            json!({"type": "ACCESS"}),
            json!({"type": ["access"]}),
            json!({"typ": "Refresh"}),
            json!({"typ": "ID"}),
            json!({"typ": "Offline"}),
        ] {
            api.refuses(&issuer.token(&with(&changes)), other).await;
        }
        api.lets_in(&issuer.token(&with(&json!({"typ": "Bearer"}))))
            .await;
        for kind in ["logout+jwt", "endorsement+jwt", "dpop+jwt", "JOSE"] {
            let mut header = issuer.header();
            header.typ = Some(kind.to_owned());
            api.refuses(&issuer.token_with(&header, &admin()), other)
                .await;
        }
        for nobody in [json!({"sub": null}), json!({"sub": ""})] {
            let token = issuer.token(&with(&nobody));
            api.refuses(&token, "the token names no subject").await;
        }
        let long = issuer.token(&with(&json!({"padding": "x".repeat(8_200)})));
        api.refuses(&long, "the token is too long").await;
    }
}

#[tokio::test]
async fn a_token_is_for_us_and_of_our_issuer_if_we_say_who_that_is() {
    let issuer = Issuer::with(Algorithm::EdDSA);
    let api = issuer.api().await;
    let audience = "the token is for another audience";
    let for_others = issuer.token(&with(&json!({"aud": "others"})));
    api.refuses(&for_others, audience).await;
    api.lets_in(&issuer.token(&with(&json!({"iss": "anybody"}))))
        .await;

    let strict = [("JWT_ISSUER", "https://us"), ("JWT_AUDIENCE", "agents")];
    let api = issuer.api_with(&strict).await;
    let ours = json!({"iss": "https://us", "aud": ["other", "agents"]});
    api.lets_in(&issuer.token(&with(&ours))).await;
    for (changes, reason) in [
        (
            json!({"iss": "https://us"}),
            "the token lacks a claim that is needed: aud",
        ),
        (
            json!({"aud": "agents"}),
            "the token lacks a claim that is needed: iss",
        ),
        (json!({"iss": "https://us", "aud": "others"}), audience),
        (json!({"iss": "https://us", "aud": []}), audience),
        (
            json!({"iss": "https://us/", "aud": "agents"}),
            "the token is of another issuer",
        ),
    ] {
        api.refuses(&issuer.token(&with(&changes)), reason).await;
    }
}

#[tokio::test]
async fn a_token_comes_in_one_header_of_one_scheme_and_nowhere_else() {
    let issuer = Issuer::with(Algorithm::ES256);
    let api = issuer.api().await;
    let token = issuer.token(&admin());
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let received = api.ask(&format!("{scheme} {token}")).await;
        assert_eq!(received.status, 503, "{scheme}");
    }
    for header in [
        token.clone(),
        format!("Bearer{token}"),
        format!("Bearer\t{token}"),
        format!("Token {token}"),
        format!("JWT {token}"),
        format!("Basic {token}"),
        format!("Bearer: {token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer {token}, Bearer {token}"),
        "Bearer ".to_owned(),
        String::new(),
    ] {
        assert_eq!(api.ask(&header).await.status, 401, "{header}");
    }
    let good = format!("Bearer {token}");
    let twice = [("authorization", good.as_str()), ("Authorization", &good)];
    let received = api.ask_at("/orchestrator/agents", &twice).await;
    let detail = "there is more than one Authorization header";
    assert_eq!(received.problem(401)["detail"], detail);

    for parameter in ["access_token", "token", "jwt", "authorization"] {
        let path = format!("/orchestrator/agents?{parameter}={token}");
        let cookie = format!("{parameter}={token}");
        let elsewhere = [
            ("cookie", cookie.as_str()),
            ("x-access-token", &token),
            ("proxy-authorization", &good),
        ];
        let received = api.ask_at(&path, &elsewhere).await;
        let problem = received.problem(401);
        assert!(problem["detail"].as_str().unwrap().contains("is needed"));
        assert!(!received.text.contains("eyJ"), "{}", received.text);
    }
}

#[tokio::test]
async fn what_vouches_for_messages_lets_nobody_in() {
    for algorithm in ["HS256", "EdDSA"] {
        let issuer = Issuer::with(Algorithm::EdDSA);
        let variables = [
            ("REQUIRE_AUTH", "true"),
            ("JWT_SECRET", SECRET),
            ("JWT_ALGORITHM", algorithm),
            ("JWT_PUBLIC_KEY", issuer.public_pem.as_str()),
        ];
        // HS256 has no public key.
        let variables = &variables[..if algorithm == "HS256" { 3 } else { 4 }];
        let settings = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = Settings::from_variables(settings.collect()).unwrap();
        let endorser = Endorser::new(&settings.auth).unwrap().unwrap();
        let endorsed = endorser.endorse("s", Level::Admin).unwrap();
        let api = Guarded(TestApi::with(variables, crate::Limits::default(), vec![]).await);
        assert_eq!(api.ask(&endorsed).await.status, 401);
        // Nor does it under another name.
        let endorsed = endorsed.strip_prefix("Bearer ").unwrap();
        let [_, payload, signature] = parts(endorsed);
        let header = encoded(&json!({"alg": "HS256", "typ": "JWT"}));
        api.refuses(&format!("{header}.{payload}.{signature}"), INVALID)
            .await;
    }
}

#[tokio::test]
async fn while_keys_cannot_be_fetched_the_caller_is_told_to_come_back_and_probes_are_answered() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", silent.local_addr().unwrap());
    drop(silent);
    let variables = [
        ("JWT_ALGORITHM", "ES256"),
        ("JWT_JWKS_URL", address.as_str()),
    ];
    let api = Guarded(TestApi::with_variables(&variables).await);
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("1".to_owned());
    let token = Issuer::with(Algorithm::ES256).token_with(&header, &admin());
    let authorization = format!("Bearer {token}");
    let received = api.ask(&authorization).await;
    let problem = received.problem(503);
    assert_eq!(received.header("retry-after"), "2");
    assert!(problem["type"].as_str().unwrap().ends_with(":unavailable"));
    let probe = [("authorization", authorization.as_str())];
    assert_eq!(api.ask_at("/health/live", &probe).await.status, 200);
    let health = api.ask_at("/health", &probe).await;
    assert_eq!(health.status, 503);
    assert_eq!(
        health.json()["dependencies"]["token_keys"]["status"],
        "down"
    );
    api.ask_at("/orchestrator/agents", &[]).await.problem(401);
}
