//! Tokens, good and bad.

use anyhow::Result;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

/// Tokens for an orchestrator that this program has started.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// What it signs and checks with (`JWT_SECRET`).
    pub secret: String,
    /// One that allows everything.
    pub good: String,
    /// Tokens and other values of `Authorization` that allow nothing, each with the scheme.
    pub bad: Vec<String>,
}

impl Tokens {
    /// Makes them around a new secret.
    ///
    /// # Errors
    /// When one cannot be signed.
    pub fn new() -> Result<Self> {
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let other = Uuid::new_v4().to_string();
        let later = get_current_timestamp() + 86_400;
        let admin = |exp: u64| json!({"sub": "hostile", "role": "admin", "exp": exp});
        let sign = |claims: &Value, secret: &str| {
            let key = EncodingKey::from_secret(secret.as_bytes());
            encode(&Header::default(), claims, &key)
        };
        let mut refresh = admin(later);
        refresh["type"] = "refresh".into();
        let stronger = Header::new(Algorithm::HS512);
        let key = EncodingKey::from_secret(secret.as_bytes());
        let good = sign(&admin(later), &secret)?;
        let (head, rest) = good.split_once('.').unwrap_or_default();
        let (claims, signature) = rest.split_once('.').unwrap_or_default();
        // {"alg":"none","typ":"JWT"}
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        let flipped: String = signature.chars().rev().collect();
        let bad = [
            sign(&admin(1), &secret)?,
            sign(&admin(later), &other)?,
            sign(&refresh, &secret)?,
            sign(&json!({"sub": "hostile", "role": "admin"}), &secret)?,
            encode(&stronger, &admin(later), &key)?,
            format!("{none}.{claims}."),
            format!("{head}.{claims}.{flipped}"),
            format!("{head}.{claims}"),
            "x".repeat(8_000),
            String::new(),
            "..".to_owned(),
        ];
        let mut bad: Vec<String> = bad.iter().map(|token| format!("Bearer {token}")).collect();
        bad.extend([format!("Basic {good}"), good.clone()]);
        Ok(Self { secret, good, bad })
    }
}
