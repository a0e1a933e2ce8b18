//! Which settings of authentication go together, and what is said of those that do not.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};

use super::super::Settings;
use super::*;

const SECRET: &str = "Zk3v9Qp1Lx7Wm5Rt8Ny2Bc6Hd4Jf0GsA";
const ADDRESS: &str = "https://issuer.example/.well-known/jwks.json";
/// RSA with 1024 bits.
const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDDR8rrGGKsioyErxFLYQuPJ7y7
Ll/m3RDa6/tr7WZ/9jfKt5C8hCyfbHT4Ve9df2iNOQFgkXe4rkK1nO/zUY2qRYVt
ZNUmihKX2oDs4k7JuQd3wA/38NNpi1IbAYg9cbFOgv329lU6F4f3XtbfSSg/F0tX
ZbxZgghPuZGVAfo0+QIDAQAB
-----END PUBLIC KEY-----
";

/// Authentication that is required, with further variables.
fn auth(variables: &[(&str, &str)]) -> Result<AuthSettings, String> {
    let required = [("REQUIRE_AUTH", "true")];
    let variables = required.iter().chain(variables);
    let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = Settings::from_variables(variables.collect());
    settings
        .map(|settings| settings.auth)
        .map_err(|error| error.to_string())
}

fn pem(kind: &'static rcgen::SignatureAlgorithm) -> String {
    KeyPair::generate_for(kind).unwrap().public_key_pem()
}

#[test]
fn tokens_have_one_algorithm_and_keys_of_one_source() {
    let shared = auth(&[("JWT_SECRET", SECRET)]).unwrap();
    assert!(matches!(shared.keys, TokenKeys::Shared));
    let kinds = [
        ("RS256", &PKCS_RSA_SHA256),
        ("ES256", &PKCS_ECDSA_P256_SHA256),
        ("EdDSA", &PKCS_ED25519),
    ];
    for (name, kind) in kinds {
        let algorithm = ("JWT_ALGORITHM", name);
        let key = pem(kind);
        let public = auth(&[algorithm, ("JWT_PUBLIC_KEY", &key)]).unwrap();
        assert!(matches!(public.keys, TokenKeys::Public(of, _) if of.as_str() == name));
        let published = auth(&[algorithm, ("JWT_JWKS_URL", ADDRESS)]).unwrap();
        assert!(matches!(published.keys, TokenKeys::Published(of, _) if of.as_str() == name));
        let neither = auth(&[algorithm]).unwrap_err();
        let accepts = format!("or JWT_JWKS_URL must be set when JWT_ALGORITHM is {name}");
        assert_eq!(neither, format!("JWT_PUBLIC_KEY {accepts}"));
        let both = [
            algorithm,
            ("JWT_PUBLIC_KEY", &key),
            ("JWT_JWKS_URL", ADDRESS),
        ];
        let both = auth(&both).unwrap_err();
        assert_eq!(both, "JWT_JWKS_URL must not be set when JWT_PUBLIC_KEY is");
    }
}

#[test]
fn a_key_without_its_algorithm_is_refused() {
    let key = pem(&PKCS_ED25519);
    for set in [("JWT_PUBLIC_KEY", key.as_str()), ("JWT_JWKS_URL", ADDRESS)] {
        for more in [&[][..], &[("JWT_ALGORITHM", "HS256")][..]] {
            let variables = [&[set, ("JWT_SECRET", SECRET)], more].concat();
            let accepts = format!("must be RS256 or ES256 or EdDSA when {} is set", set.0);
            let error = auth(&variables).unwrap_err();
            assert_eq!(error, format!("JWT_ALGORITHM {accepts}"));
        }
    }
    for unknown in ["none", "RS512", "rs256", "HS512"] {
        let error = auth(&[("JWT_ALGORITHM", unknown), ("JWT_SECRET", SECRET)]).unwrap_err();
        let accepts = "must be one of HS256, RS256, ES256, EdDSA";
        assert_eq!(error, format!("JWT_ALGORITHM {accepts}"));
    }
}

#[test]
fn a_key_that_could_never_check_a_token_is_refused() {
    let (rsa, p256, p384, ed) = (
        pem(&PKCS_RSA_SHA256),
        pem(&PKCS_ECDSA_P256_SHA256),
        pem(&PKCS_ECDSA_P384_SHA384),
        pem(&PKCS_ED25519),
    );
    let private = KeyPair::generate_for(&PKCS_RSA_SHA256)
        .unwrap()
        .serialize_pem();
    let cut = p256.replace("AAAA", "");
    for (algorithm, unusable) in [
        ("RS256", [&p256, &ed, SHORT_RSA, &private]),
        ("ES256", [&rsa, &ed, &p384, SECRET]),
        ("EdDSA", [&rsa, &p256, "-----BEGIN PUBLIC KEY-----", &cut]),
    ] {
        for key in unusable {
            let variables = [("JWT_ALGORITHM", algorithm), ("JWT_PUBLIC_KEY", key)];
            let error = auth(&variables).unwrap_err();
            assert!(error.starts_with("JWT_PUBLIC_KEY must be a"), "{error}");
            assert!(error.ends_with(algorithm), "{error}");
        }
    }
    for address in [
        "issuer.example",
        "file:///etc/passwd",
        "https://",
        "ftp://a/b",
    ] {
        let variables = [("JWT_ALGORITHM", "RS256"), ("JWT_JWKS_URL", address)];
        let error = auth(&variables).unwrap_err();
        assert!(
            error.starts_with("JWT_JWKS_URL must be an address"),
            "{error}"
        );
    }
}

#[test]
fn a_secret_is_no_public_key_and_is_strong_where_there_is_one() {
    let key = pem(&PKCS_ED25519);
    let public = [("JWT_ALGORITHM", "EdDSA"), ("JWT_PUBLIC_KEY", key.as_str())];
    for weak in ["short", &key] {
        let error = auth(&[&public[..], &[("JWT_SECRET", weak)]].concat()).unwrap_err();
        assert!(error.starts_with("JWT_SECRET must"), "{error}");
    }
    assert!(auth(&[("JWT_SECRET", &key)]).is_err());
    assert!(auth(&[&public[..], &[("JWT_SECRET", SECRET)]].concat()).is_ok());
}

#[test]
fn between_our_processes_a_secret_is_needed_whatever_callers_have() {
    use crate::auth::Endorser;

    let public = [("JWT_ALGORITHM", "RS256"), ("JWT_JWKS_URL", ADDRESS)];
    let error = Endorser::new(&auth(&public).unwrap()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("JWT_SECRET must have at least 32 bytes")
    );
    let complete = auth(&[&public[..], &[("JWT_SECRET", SECRET)]].concat()).unwrap();
    assert!(Endorser::new(&complete).unwrap().is_some());
    let off = Settings::from_variables(Default::default()).unwrap().auth;
    assert!(Endorser::new(&off).unwrap().is_none());
}
