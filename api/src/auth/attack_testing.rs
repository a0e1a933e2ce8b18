//! What the tests of attacks on tokens share: issuers with key pairs, and the API that they are for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use poem::Body;
use poem::http::Method;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::testing::{Received, TestApi};

/// An issuer with a key pair, and an API that was given the public half.
pub(super) struct Issuer {
    pub(super) algorithm: Algorithm,
    pub(super) public_pem: String,
    pub(super) signing: EncodingKey,
}

impl Issuer {
    pub(super) fn with(algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::RS256 => &PKCS_RSA_SHA256,
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            _ => &PKCS_ED25519,
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        let pem = pair.serialize_pem();
        let signing = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        Self {
            algorithm,
            public_pem: pair.public_key_pem(),
            signing: signing.unwrap(),
        }
    }

    pub(super) fn all() -> [Self; 3] {
        [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].map(Self::with)
    }

    pub(super) async fn api(&self) -> Guarded {
        self.api_with(&[]).await
    }

    pub(super) async fn api_with(&self, more: &[(&str, &str)]) -> Guarded {
        let name = format!("{:?}", self.algorithm);
        let own = [
            ("JWT_ALGORITHM", name.as_str()),
            ("JWT_PUBLIC_KEY", self.public_pem.as_str()),
        ];
        Guarded(TestApi::with_variables(&[&own, more].concat()).await)
    }

    /// The public half as DER.
    pub(super) fn der(&self) -> Vec<u8> {
        let lines = self
            .public_pem
            .lines()
            .filter(|line| !line.starts_with('-'));
        STANDARD.decode(lines.collect::<String>()).unwrap()
    }

    /// The public half as an entry of a key set.
    pub(super) fn jwk(&self) -> Jwk {
        if self.algorithm != Algorithm::EdDSA {
            return Jwk::from_encoding_key(&self.signing, self.algorithm).unwrap();
        }
        let der = self.der();
        let x = URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
        serde_json::from_value(json!({"kty": "OKP", "crv": "Ed25519", "x": x})).unwrap()
    }

    pub(super) fn header(&self) -> Header {
        Header::new(self.algorithm)
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    pub(super) fn token_with(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.signing).unwrap()
    }
}

/// An API that lets in whom it can check.
pub(super) struct Guarded(pub(super) TestApi);

impl Guarded {
    pub(super) async fn ask(&self, authorization: &str) -> Received {
        self.ask_at("/orchestrator/agents", &[("authorization", authorization)])
            .await
    }

    pub(super) async fn ask_at(&self, path: &str, headers: &[(&str, &str)]) -> Received {
        self.0.send(Method::GET, path, headers, Body::empty()).await
    }

    /// Past authentication a request meets the unreachable ledger.
    pub(super) async fn lets_in(&self, token: &str) {
        let received = self.ask(&format!("Bearer {token}")).await;
        assert_eq!(received.status, 503, "{}", received.text);
    }

    pub(super) async fn refuses(&self, token: &str, reason: &str) {
        let received = self.ask(&format!("Bearer {token}")).await;
        assert_eq!(received.problem(401)["detail"], reason, "{token}");
    }
}

pub(super) fn admin() -> Value {
    json!({"sub": "s", "role": "admin", "type": "access", "exp": get_current_timestamp() + 3_600})
}

pub(super) fn with(changes: &Value) -> Value {
    let mut claims = admin();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

pub(super) fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// The parts of a token: header, payload, signature.
pub(super) fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().unwrap()
}
