//! Callers with tokens, at full strength: over HTTP, straight to the broker, and while their issuer is away.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use orchestrator_common::config::Settings;
use orchestrator_common::domain::TaskId;
use orchestrator_tests::eventually;
use orchestrator_tests::full_api::FullApi;
use orchestrator_tests::full_worker::FullStrength;
use orchestrator_tests::surface::{Strength, Surface, run, run_as};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

const SECRET: &str = "Zk3v9Qp1Lx7Wm5Rt8Ny2Bc6Hd4Jf0GsA";
const LETTERS: &str = "/orchestrator/dead-letters";

fn claims(role: &str) -> Value {
    json!({"sub": "alice", "role": role, "exp": get_current_timestamp() + 3_600})
}

/// What an issuer that shares the secret signs.
fn shared(header: &Header, claims: &Value) -> String {
    encode(header, claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A key of an issuer that publishes its keys.
struct Key {
    id: &'static str,
    signing: EncodingKey,
    entry: Value,
}

impl Key {
    fn named(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let signing = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let entry = Jwk::from_encoding_key(&signing, Algorithm::ES256).unwrap();
        let mut entry = serde_json::to_value(entry).unwrap();
        entry["kid"] = id.into();
        Self { id, signing, entry }
    }

    fn token(&self, role: &str) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        encode(&header, &claims(role), &self.signing).unwrap()
    }
}

async fn publish(issuer: &MockServer, keys: &[&Key]) {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.entry).collect();
    issuer.reset().await;
    let answer = ResponseTemplate::new(200).set_body_json(json!({"keys": keys}));
    Mock::given(method("GET"))
        .respond_with(answer)
        .mount(issuer)
        .await;
}

fn servers(surface: &Surface) -> &FullStrength {
    surface.servers().expect("full strength")
}

/// Sends a task for the agent `a` to the broker, as somebody with `token`.
async fn send(surface: &Surface, token: Option<&str>) -> anyhow::Result<TaskId> {
    let task_id = TaskId::generate();
    let task = json!({"task_id": task_id, "agent_id": "a", "task_type": "t", "task_data": {}});
    let mut headers = FieldTable::default();
    if let Some(token) = token {
        let value = AMQPValue::LongString(format!("Bearer {token}").into());
        headers.insert("authorization".into(), value);
    }
    let properties = BasicProperties::default().with_headers(headers);
    let body = task.to_string();
    servers(surface)
        .send_raw("task.execute", properties, body.as_bytes())
        .await?;
    Ok(task_id)
}

async fn is_done(surface: &Surface, task_id: TaskId) {
    let address = format!("/orchestrator/tasks/{task_id}");
    surface.until(&address, "completed").await;
}

/// Waits until as many letters are there as wanted, and returns them.
async fn letters(surface: &Surface, wanted: usize) -> Vec<Value> {
    eventually(&format!("{wanted} letters are there"), async || {
        surface.get(LETTERS).await.body["count"] == wanted
    })
    .await;
    let listed = surface.get(LETTERS).await.body;
    listed["dead_letters"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_an_administrator_replays_is_carried_out_with_authentication_on()
-> anyhow::Result<()> {
    let token = |role: &str| shared(&Header::default(), &claims(role));
    let auth = [("REQUIRE_AUTH", "true"), ("JWT_SECRET", SECRET)];
    run_as(
        Strength::Full,
        &auth,
        Some(&token("admin")),
        async |surface| {
            // Without a token it is refused, and whoever replays it vouches for it.
            let task_id = send(surface, None).await?;
            let letter = letters(surface, 1).await.remove(0);
            assert_eq!(letter["reason"], "unauthorized");
            let replay = format!("{LETTERS}/{}/replay", letter["letter_id"].as_str().unwrap());
            let at = surface.api.address();
            let nobody = FullApi::at(at);
            let user = FullApi::at(at).bearing(Some(&token("user")));
            for (caller, status) in [(nobody, 401), (user, 403)] {
                assert_eq!(caller.get(LETTERS).await.status, status);
                assert_eq!(caller.post(&replay, &json!({})).await.status, status);
            }
            let task = format!("/orchestrator/tasks/{task_id}");
            assert_eq!(surface.get(&task).await.status, 404);

            let replayed = surface.post(&replay, &json!({})).await;
            assert_eq!(replayed.status, 200, "{}", replayed.body);
            is_done(surface, task_id).await;
            let read = surface
                .get(&format!(
                    "{LETTERS}/{}",
                    letter["letter_id"].as_str().unwrap()
                ))
                .await;
            assert_eq!(
                (&read.body["replayed_by"], &read.body["times"]),
                (&json!("alice"), &json!(1))
            );
            Ok(())
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_have_keys_of_their_issuer_and_our_processes_a_secret() -> anyhow::Result<()> {
    let issuer = MockServer::start().await;
    let (key, next, foreign) = (Key::named("1"), Key::named("2"), Key::named("1"));
    publish(&issuer, &[&key]).await;
    let address = issuer.uri();
    let auth = [
        ("REQUIRE_AUTH", "true"),
        ("JWT_ALGORITHM", "ES256"),
        ("JWT_JWKS_URL", address.as_str()),
        ("JWT_SECRET", SECRET),
    ];
    run_as(
        Strength::Full,
        &auth,
        Some(&key.token("admin")),
        async |surface| {
            // Over HTTP: the API lets the caller in, and vouches for the task before the worker.
            let submitted = surface.submit(json!({})).await?;
            surface.until(&submitted, "completed").await;
            // Straight to the broker.
            is_done(surface, send(surface, Some(&key.token("user"))).await?).await;

            // What knows the secret is no caller, and what callers have does not vouch.
            let endorsement = Header {
                typ: Some("endorsement+jwt".to_owned()),
                ..Header::default()
            };
            let mut message = claims("admin");
            message["type"] = "message".into();
            let refused = [
                shared(&Header::default(), &claims("admin")),
                shared(&endorsement, &claims("admin")),
                shared(&Header::default(), &message),
                foreign.token("admin"),
                key.token("viewer"),
            ];
            for token in &refused {
                send(surface, Some(token)).await?;
            }
            for letter in letters(surface, refused.len()).await {
                assert_eq!(letter["reason"], "unauthorized");
            }
            let http = |token: &str| FullApi::at(surface.api.address()).bearing(Some(token));
            for token in &refused[..4] {
                assert_eq!(http(token).get("/orchestrator/agents").await.status, 401);
            }

            // A message with a key that is not known yet waits until it is.
            publish(&issuer, &[&key, &next]).await;
            is_done(surface, send(surface, Some(&next.token("user"))).await?).await;
            letters(surface, refused.len()).await;
            Ok(())
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_issuer_is_away_nobody_is_let_in_and_once_its_keys_are_known_it_may_be()
-> anyhow::Result<()> {
    run(Strength::Full, &[], async |surface| {
        let issuer = MockServer::start().await;
        let address = issuer.uri();
        let variables = [
            ("REQUIRE_AUTH", "true"),
            ("JWT_ALGORITHM", "ES256"),
            ("JWT_JWKS_URL", address.as_str()),
            ("JWT_SECRET", SECRET),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut settings = servers(surface).settings.clone();
        settings.auth = Settings::from_variables(variables.into())?.auth;
        let key = Key::named("1");
        let api = FullApi::start(settings)
            .await
            .bearing(Some(&key.token("admin")));
        eventually("it knows that it can let nobody in", async || {
            api.get("/health/ready").await.body["dependencies"]["token_keys"]["status"] == "down"
        })
        .await;
        assert_eq!(api.get("/health/ready").await.status, 503);
        assert_eq!(api.get("/health/live").await.status, 200);
        let refused = api.get("/orchestrator/agents").await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.retry_after.is_some());

        publish(&issuer, &[&key]).await;
        eventually("it is ready", async || {
            api.get("/health/ready").await.status == 200
        })
        .await;
        assert_eq!(api.get("/orchestrator/agents").await.status, 200);

        // From now on the issuer may be away.
        issuer.reset().await;
        assert_eq!(api.get("/orchestrator/agents").await.status, 200);
        assert_eq!(api.get("/health/ready").await.status, 200);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_default_needs_no_secret_where_callers_have_a_public_key() -> anyhow::Result<()>
{
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let (public, private) = (pair.public_key_pem(), pair.serialize_pem());
    let auth = [
        ("REQUIRE_AUTH", "true"),
        ("JWT_ALGORITHM", "EdDSA"),
        ("JWT_PUBLIC_KEY", public.as_str()),
    ];
    let signing = EncodingKey::from_ed_pem(private.as_bytes()).unwrap();
    let token = encode(&Header::new(Algorithm::EdDSA), &claims("admin"), &signing).unwrap();
    run_as(Strength::Embedded, &auth, Some(&token), async |surface| {
        let submitted = surface.submit(json!({})).await?;
        surface.until(&submitted, "completed").await;
        let nobody = FullApi::at(surface.api.address());
        assert_eq!(nobody.get(&submitted).await.status, 401);
        Ok(())
    })
    .await
}
