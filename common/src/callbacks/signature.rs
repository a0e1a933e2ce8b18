//! Signatures after Standard Webhooks: receivers see that a callback is ours, unchanged, and not an old one sent again.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// Marks a secret that is written in base64.
const PREFIX: &str = "whsec_";

/// The least number of bytes of a key.
const MIN_BYTES: usize = 24;

/// The key that signs callbacks; cheap to clone.
#[derive(Clone)]
pub struct SigningKey(Arc<hmac::Key>);

impl SigningKey {
    /// What [`Self::parse`] accepts.
    pub const ACCEPTS: &'static str =
        "must be whsec_ and the base64 of at least 24 random bytes, or a text of at least 24 bytes";

    /// Reads a secret: base64 after `whsec_`, else the bytes of the text itself; `None` when it is neither.
    #[must_use]
    pub fn parse(secret: &str) -> Option<Self> {
        let bytes = match secret.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?,
            None => secret.as_bytes().to_vec(),
        };
        (bytes.len() >= MIN_BYTES)
            .then(|| Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }

    /// The value of `webhook-signature` for a message with this `webhook-id` and `webhook-timestamp`.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_base64_with_a_prefix_or_a_text() {
        let signed = |secret: &str| SigningKey::parse(secret).map(|key| key.sign("a", "1", b"{}"));
        let text = "0123456789abcdefghijklmn";
        let encoded = format!("{PREFIX}{}", STANDARD.encode(text));
        assert!(signed(text).is_some());
        assert_eq!(signed(text), signed(&encoded));
        assert_ne!(signed(text), signed("0123456789abcdefghijklmX"));
        for wrong in [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_not base64 at all, though long enough",
            "0123456789abcdefghijklm",
        ] {
            assert!(signed(wrong).is_none(), "{wrong}");
        }
        assert!(!format!("{:?}", SigningKey::parse(text)).contains(text));
    }
}
