//! Keys that an issuer publishes: how they are found, how often they are fetched, and what happens when they cannot be.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::auth::{Bearer, Verifier};
use crate::config::Settings;

/// A pair of P-256 keys, made for these tests.
pub(super) struct Pair {
    signing: EncodingKey,
    entry: Value,
}

impl Pair {
    fn named(id: &str) -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

        let random = aws_lc_rs::rand::SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let signing = EncodingKey::from_ec_der(pair.as_ref());
        let entry = Jwk::from_encoding_key(&signing, Algorithm::ES256).unwrap();
        let mut entry = serde_json::to_value(entry).unwrap();
        entry["kid"] = id.into();
        Self { signing, entry }
    }

    fn token(&self, id: Option<&str>) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = id.map(str::to_owned);
        let claims = json!({"sub": "s", "role": "viewer", "exp": get_current_timestamp() + 3_600});
        format!(
            "Bearer {}",
            encode(&header, &claims, &self.signing).unwrap()
        )
    }
}

/// An issuer that publishes whatever it is told.
struct Issuer(MockServer);

impl Issuer {
    async fn publishing(keys: &[&Value]) -> Self {
        let issuer = Self(MockServer::start().await);
        issuer.publish(keys).await;
        issuer
    }

    async fn publish(&self, keys: &[&Value]) {
        self.answer(ResponseTemplate::new(200).set_body_json(json!({"keys": keys})))
            .await;
    }

    async fn answer(&self, answer: ResponseTemplate) {
        self.0.reset().await;
        let keys = Mock::given(method("GET")).and(path("/jwks/"));
        keys.respond_with(answer).mount(&self.0).await;
    }

    async fn fetches(&self) -> usize {
        self.0.received_requests().await.unwrap().len()
    }

    fn verifier(&self, pace: Pace) -> Verifier {
        verifier(&format!("{}/jwks/", self.0.uri()), pace)
    }
}

fn verifier(address: &str, pace: Pace) -> Verifier {
    let variables = [
        ("REQUIRE_AUTH", "true"),
        ("JWT_ALGORITHM", "ES256"),
        ("JWT_JWKS_URL", address),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::from_variables(BTreeMap::from(variables)).unwrap();
    Verifier::at_pace(&settings.auth, pace).unwrap()
}

/// Fetches soon when there is a reason, and never without one.
fn at_will() -> Pace {
    Pace {
        cool_down: Duration::from_millis(5),
        refresh: Duration::from_secs(3_600),
        patience: Duration::from_secs(10),
    }
}

/// Fetches once.
fn once() -> Pace {
    Pace {
        cool_down: Duration::from_secs(3_600),
        ..at_will()
    }
}

/// Repeats a look until it shows what is wanted, for up to 30 s.
async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(seen) = look().await {
            return seen;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about");
}

async fn is_let_in(verifier: &Verifier, token: &str) -> Bearer {
    verifier.verify(token).await.unwrap()
}

#[tokio::test]
async fn a_token_is_checked_with_the_key_that_it_names() {
    let (first, second) = (Pair::named("1"), Pair::named("2"));
    let issuer = Issuer::publishing(&[&first.entry, &second.entry]).await;
    let verifier = issuer.verifier(once());
    assert_eq!(
        is_let_in(&verifier, &first.token(Some("1"))).await.subject,
        "s"
    );
    is_let_in(&verifier, &second.token(Some("2"))).await;
    // Under the name of another key.
    let swapped = verifier.verify(&first.token(Some("2"))).await;
    let invalid = Err(TokenError::Unacceptable("the token is not valid"));
    assert_eq!(swapped, invalid);
    let unnamed = verifier.verify(&first.token(None)).await.unwrap_err();
    assert!(unnamed.to_string().contains("kid"), "{unnamed}");
    assert_eq!(issuer.fetches().await, 1);
}

#[tokio::test]
async fn the_only_key_of_a_set_checks_tokens_that_name_none() {
    let mut pair = Pair::named("1");
    let issuer = Issuer::publishing(&[&pair.entry]).await;
    is_let_in(&issuer.verifier(once()), &pair.token(None)).await;
    pair.entry.as_object_mut().unwrap().remove("kid");
    issuer.publish(&[&pair.entry]).await;
    is_let_in(&issuer.verifier(once()), &pair.token(None)).await;
}

#[tokio::test]
async fn a_key_that_is_new_is_fetched_when_a_token_names_it_and_one_that_is_gone_is_forgotten() {
    let (old, new) = (Pair::named("old"), Pair::named("new"));
    let issuer = Issuer::publishing(&[&old.entry]).await;
    let verifier = issuer.verifier(at_will());
    is_let_in(&verifier, &old.token(Some("old"))).await;
    issuer.publish(&[&new.entry]).await;
    until("the new key is known", async || {
        verifier.verify(&new.token(Some("new"))).await.ok()
    })
    .await;
    let gone = verifier.verify(&old.token(Some("old"))).await;
    assert_eq!(gone, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn a_key_that_was_withdrawn_is_forgotten_though_nobody_asks() {
    let (old, new) = (Pair::named("old"), Pair::named("new"));
    let issuer = Issuer::publishing(&[&old.entry]).await;
    let often = Pace {
        refresh: Duration::from_millis(20),
        ..at_will()
    };
    let verifier = issuer.verifier(often);
    is_let_in(&verifier, &old.token(Some("old"))).await;
    issuer.publish(&[&new.entry]).await;
    until("the old key is forgotten", async || {
        let refused = verifier.verify(&old.token(Some("old"))).await.is_err();
        refused.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_fetches_once() {
    let pair = Pair::named("1");
    let issuer = Issuer::publishing(&[&pair.entry]).await;
    let verifier = Arc::new(issuer.verifier(once()));
    let attacks = (0..500).map(|n| {
        let (verifier, token) = (Arc::clone(&verifier), pair.token(Some(&format!("no-{n}"))));
        tokio::spawn(async move { verifier.verify(&token).await })
    });
    for attack in futures::future::join_all(attacks).await {
        assert_eq!(attack.unwrap(), Err(TokenError::UnknownKey));
    }
    assert_eq!(issuer.fetches().await, 1);
    is_let_in(&verifier, &pair.token(Some("1"))).await;
}

/// An issuer that takes connections and says nothing.
async fn silent() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/jwks/", listener.local_addr().unwrap());
    (listener, address)
}

#[tokio::test]
async fn what_no_key_could_let_in_waits_for_none() {
    let (_silent, address) = silent().await;
    let verifier = verifier(&address, at_will());
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("2".to_owned());
    let key = EncodingKey::from_secret(b"whatever");
    let other_algorithm = encode(&header, &json!({"sub": "s"}), &key).unwrap();
    for token in ["Bearer x", "Basic x", &format!("Bearer {other_algorithm}")] {
        let refused = verifier.verify(token).now_or_never();
        assert!(
            matches!(refused, Some(Err(TokenError::Unacceptable(_)))),
            "{token}"
        );
    }
}

#[tokio::test]
async fn keys_that_are_known_stay_while_they_cannot_be_fetched() {
    let pair = Pair::named("1");
    let issuer = Issuer::publishing(&[&pair.entry]).await;
    let verifier = issuer.verifier(at_will());
    let set = verifier.key_set().unwrap().clone();
    is_let_in(&verifier, &pair.token(Some("1"))).await;
    assert!(set.check().await.is_ok() && set.is_known());
    let too_large = format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(MAX_BYTES));
    let elsewhere = ResponseTemplate::new(302).insert_header("location", "/other");
    for broken in [
        ResponseTemplate::new(500),
        elsewhere,
        ResponseTemplate::new(200).set_body_string("<html>"),
        ResponseTemplate::new(200).set_body_json(json!({"keys": []})),
        ResponseTemplate::new(200).set_body_string(too_large),
    ] {
        issuer.answer(broken).await;
        until("fetching fails", async || {
            let unknown = verifier.verify(&pair.token(Some("2"))).await;
            (unknown == Err(TokenError::NoKeys)).then_some(())
        })
        .await;
        assert!(set.check().await.is_err() && set.is_known());
        is_let_in(&verifier, &pair.token(Some("1"))).await;
        issuer.publish(&[&pair.entry]).await;
        until("fetching succeeds", async || set.check().await.ok()).await;
    }
}

#[tokio::test]
async fn without_any_keys_nobody_is_refused_for_good_and_they_are_fetched_once_they_can_be() {
    let pair = Pair::named("1");
    let issuer = Issuer::publishing(&[]).await;
    let verifier = issuer.verifier(at_will());
    let token = pair.token(Some("1"));
    assert_eq!(verifier.verify(&token).await, Err(TokenError::NoKeys));
    assert!(!verifier.key_set().unwrap().is_known());
    issuer.publish(&[&pair.entry]).await;
    until("the keys are fetched", async || {
        verifier.verify(&token).await.ok()
    })
    .await;
    assert!(verifier.key_set().unwrap().is_known());
}

#[tokio::test]
async fn an_issuer_who_never_answers_is_given_up() {
    let (_silent, address) = silent().await;
    let impatient = Pace {
        patience: Duration::from_millis(50),
        ..at_will()
    };
    let verifier = verifier(&address, impatient);
    let token = Pair::named("1").token(Some("1"));
    assert_eq!(verifier.verify(&token).await, Err(TokenError::NoKeys));
}

#[tokio::test]
async fn only_keys_for_checking_signatures_of_the_algorithm_are_taken() {
    let source = Source {
        algorithm: KeyPairAlgorithm::Es256,
        address: "http://localhost/".parse().unwrap(),
    };
    let good = Pair::named("1").entry;
    let with = |name: &str, value: Value| {
        let mut entry = good.clone();
        entry[name] = value;
        entry
    };
    let count = |entries: &[&Value]| {
        let document = json!({"keys": entries}).to_string();
        source
            .read(document.as_bytes())
            .map(|keys| keys.by_id.len())
    };
    for taken in [
        with("use", "sig".into()),
        with("key_ops", json!(["verify"])),
        with("alg", Value::Null),
        with("x-extra", json!([1])),
    ] {
        assert_eq!(count(&[&taken]), Ok(1), "{taken}");
    }
    let shared = json!({"kty": "oct", "kid": "2", "k": "c2VjcmV0", "alg": "ES256"});
    let hmac = json!({"kty": "oct", "kid": "3", "k": "c2VjcmV0", "alg": "HS256"});
    for left in [
        with("use", "enc".into()),
        with("key_ops", json!(["sign"])),
        with("alg", "ES384".into()),
        with("alg", "HS256".into()),
        with("crv", "P-384".into()),
        with("x", "AAAA".into()),
        with("kty", "RSA".into()),
        shared,
        hmac,
        json!(5),
    ] {
        assert!(count(&[&left]).is_err(), "{left}");
        assert_eq!(count(&[&left, &good]), Ok(1), "{left}");
    }
}
