//! Messages whose sender's key cannot be had: who waits for it, and who holds nobody up.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use orchestrator_common::config::{Secret, Settings};
use orchestrator_common::domain::{Origin, TaskId};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::json;

use super::*;

/// Checks whose issuer cannot be reached.
fn checks() -> Checks {
    let variables = [
        ("REQUIRE_AUTH", "true"),
        ("JWT_SECRET", "Zk3v9Qp1Lx7Wm5Rt8Ny2Bc6Hd4Jf0GsA"),
        ("JWT_ALGORITHM", "EdDSA"),
        ("JWT_JWKS_URL", "http://127.0.0.1:1/keys"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::from_variables(BTreeMap::from(variables)).unwrap();
    Checks {
        endorser: Endorser::new(&settings.auth).unwrap().unwrap(),
        verifier: Arc::new(Verifier::new(&settings.auth).unwrap()),
    }
}

fn from(authorization: String) -> Received {
    Received {
        command: Command::CancelTask {
            task_id: TaskId::generate(),
            reason: None,
        },
        correlation_id: None,
        reply_to: None,
        traceparent: None,
        origin: Arc::new(Origin::new("broker", None)),
        authorization: Some(Secret::new(authorization)),
    }
}

#[tokio::test]
async fn messages_with_keys_that_cannot_be_had_wait_but_not_all_of_them_and_nobody_for_them() {
    let checks = checks();
    let endorsed = from(checks.endorser.endorse("api", Level::Write).unwrap());
    let signing = KeyPair::generate_for(&PKCS_ED25519)
        .unwrap()
        .serialize_pem();
    let signing = EncodingKey::from_ed_pem(signing.as_bytes()).unwrap();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("invented".to_owned());
    let token = encode(
        &header,
        &json!({"sub": "s", "exp": 99_999_999_999_u64}),
        &signing,
    );
    let invented = from(format!("Bearer {}", token.unwrap()));
    // Until it was just tried to fetch the keys.
    let header = invented.authorization.as_ref().unwrap().expose();
    while checks.verifier.verify(header).now_or_never() != Some(Err(TokenError::NoKeys)) {
        assert!(checks.verifier.verify(header).await.is_err());
    }

    let admission = Admission::new(Some(checks));
    let mut waiting = Box::pin(join_all(
        (0..MAX_WAITING).map(|_| admission.check(&invented)),
    ));
    assert!(futures::poll!(&mut waiting).is_pending());
    let further = admission.check(&invented).now_or_never();
    let refusal = further.expect("it does not wait").unwrap_err();
    assert_eq!(refusal.reason, Reason::Unauthorized);
    assert!(refusal.detail.contains("cannot be fetched"), "{refusal}");
    assert_eq!(admission.check(&endorsed).now_or_never(), Some(Ok(None)));
}
