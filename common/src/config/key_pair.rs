//! Tokens that are signed with the private half of a key pair, and which public keys they can be checked with.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, RsaSubjectPublicKey,
};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

/// The least length of an RSA modulus, in bytes.
const LEAST_MODULUS: usize = 2048 / 8;

/// How tokens are signed by whoever holds the private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPairAlgorithm {
    /// RSA with PKCS#1 padding and SHA-256; keys of 2048 bits or more.
    Rs256,
    /// ECDSA on the curve P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl KeyPairAlgorithm {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in tokens and in `JWT_ALGORITHM`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Its name for the library that checks tokens.
    pub(crate) const fn in_tokens(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    const fn in_key_sets(self) -> KeyAlgorithm {
        match self {
            Self::Rs256 => KeyAlgorithm::RS256,
            Self::Es256 => KeyAlgorithm::ES256,
            Self::EdDsa => KeyAlgorithm::EdDSA,
        }
    }

    /// What `JWT_PUBLIC_KEY` has to hold for it.
    pub(super) const fn accepts(self) -> &'static str {
        match self {
            Self::Rs256 => {
                "must be an RSA public key of 2048 bits or more in PEM when JWT_ALGORITHM is RS256"
            }
            Self::Es256 => "must be a P-256 public key in PEM when JWT_ALGORITHM is ES256",
            Self::EdDsa => "must be an Ed25519 public key in PEM when JWT_ALGORITHM is EdDSA",
        }
    }

    /// The public key in `pem`, if it is one for this algorithm. A private key is none: it does not belong here.
    pub(super) fn key_in_pem(self, pem: &str) -> Option<DecodingKey> {
        if pem.contains("PRIVATE") || pem.contains("CERTIFICATE") {
            return None;
        }
        let pem = pem.as_bytes();
        let key = match self {
            Self::Rs256 => DecodingKey::from_rsa_pem(pem),
            Self::Es256 => DecodingKey::from_ec_pem(pem),
            Self::EdDsa => DecodingKey::from_ed_pem(pem),
        };
        key.ok().filter(|key| self.can_use(key))
    }

    /// The key of an entry of a key set, if it is one for checking signatures of this algorithm.
    pub(crate) fn key_in_set(self, entry: &Jwk) -> Option<DecodingKey> {
        let common = &entry.common;
        let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
            && common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let of_this_algorithm = common
            .key_algorithm
            .is_none_or(|algorithm| algorithm == self.in_key_sets());
        let of_this_kind = match self {
            Self::Rs256 => matches!(entry.algorithm, AlgorithmParameters::RSA(_)),
            Self::Es256 => matches!(&entry.algorithm, AlgorithmParameters::EllipticCurve(key)
                if key.curve == EllipticCurve::P256),
            Self::EdDsa => matches!(&entry.algorithm, AlgorithmParameters::OctetKeyPair(key)
                if key.curve == EllipticCurve::Ed25519),
        };
        if !(for_signatures && of_this_algorithm && of_this_kind) {
            return None;
        }
        DecodingKey::from_jwk(entry)
            .ok()
            .filter(|key| self.can_use(key))
    }

    /// Whether a signature could ever be right by `key`: one that cannot be used is found now, not by every token.
    fn can_use(self, key: &DecodingKey) -> bool {
        match (self, key.kind()) {
            (Self::Rs256, DecodingKeyKind::SecretOrDer(der)) => RsaSubjectPublicKey::from_der(der)
                .is_ok_and(|key| key.modulus_len() >= LEAST_MODULUS),
            (Self::Rs256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let components = RsaPublicKeyComponents { n, e };
                n.len() >= LEAST_MODULUS
                    && components
                        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                        .is_ok()
            }
            (Self::Es256, DecodingKeyKind::SecretOrDer(point)) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok()
            }
            (Self::EdDsa, DecodingKeyKind::SecretOrDer(point)) => {
                ParsedPublicKey::new(&ED25519, point).is_ok()
            }
            (Self::Es256 | Self::EdDsa, DecodingKeyKind::RsaModulusExponent { .. }) => false,
        }
    }
}

impl fmt::Display for KeyPairAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
