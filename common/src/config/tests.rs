//! What the variables accept, and what is said of those that are not acceptable.

use super::*;
use crate::domain::Expiring;

fn settings(pairs: &[(&str, &str)]) -> Result<Settings, String> {
    let variables = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::from_variables(variables).map_err(|error| error.to_string())
}

#[test]
fn deployments_are_looked_at_only_where_a_pipeline_is_named() {
    let host = ("DEPLOYMENT_PIPELINE_HOST", "pipeline");
    assert!(settings(&[]).unwrap().deployment_pipeline.is_none());
    let named = settings(&[host]).unwrap().deployment_pipeline.unwrap();
    assert_eq!(named.url.as_str(), "http://pipeline:8302/");
    assert_eq!(named.timeout, Duration::from_secs(5));
    for bad in [
        ("DEPLOYMENT_PIPELINE_PORT", "0"),
        ("DEPLOYMENT_PIPELINE_TIMEOUT_SECONDS", "61"),
        ("DEPLOYMENT_PIPELINE_HOST", "a b"),
    ] {
        let error = settings(&[bad]).unwrap_err();
        assert!(error.starts_with(bad.0), "{error}");
    }
}

#[test]
fn an_empty_environment_gives_the_documented_defaults() {
    let settings = settings(&[]).unwrap();
    assert_eq!(
        (settings.http.host.as_str(), settings.http.port),
        ("0.0.0.0", 8200)
    );
    assert_eq!(
        settings.database.url.expose(),
        "postgres://agentic_user@postgresql_ingestion:5432/agentic_ingestion"
    );
    assert_eq!(
        (settings.redis.host.as_str(), settings.redis.port),
        ("redis_ingestion", 6379)
    );
    assert_eq!(
        (
            settings.rabbitmq.host.as_str(),
            settings.rabbitmq.user.as_str()
        ),
        ("rabbitmq", "agentic_user")
    );
    assert_eq!(settings.agents.max_concurrent_sessions, 10);
    assert_eq!(settings.agents.session_timeout, Duration::from_secs(3_600));
    assert_eq!(settings.worker.concurrency, 1_000);
    assert_eq!(settings.worker.health_port, NonZeroU16::new(8201));
    assert!(
        !settings.auth.required && settings.agents.metrics_enabled && settings.agents.auto_start
    );
}

#[test]
fn a_bad_value_is_named_with_what_is_accepted() {
    let refused = |name: &str, value: &str| settings(&[(name, value)]).unwrap_err();
    assert_eq!(
        refused("AGENT_ORCHESTRATOR_PORT", "abc"),
        "AGENT_ORCHESTRATOR_PORT must be a whole number from 0 to 65535"
    );
    assert_eq!(
        refused("REQUIRE_AUTH", "maybe"),
        "REQUIRE_AUTH must be true or false"
    );
    assert!(refused("DATABASE_URL", "mysql://x").starts_with("DATABASE_URL must be an address"));
    assert!(
        refused("LLM_BASE_URL", "http://localhost/v1").starts_with("LLM_MODEL must name a model")
    );
    assert!(refused("RABBITMQ_QUEUE_TYPE", "lazy").contains("quorum, classic"));
}

#[test]
fn authentication_needs_a_secret_worth_the_name() {
    for weak in [
        "",
        "short",
        "your-secret-key-change-in-production-please",
        &"a".repeat(40),
    ] {
        let error = settings(&[("REQUIRE_AUTH", "true"), ("JWT_SECRET", weak)]).unwrap_err();
        assert!(error.starts_with("JWT_SECRET must"), "{error}");
    }
    let strong = "Zk3v9Qp1Lx7Wm5Rt8Ny2Bc6Hd4Jf0GsA";
    assert!(settings(&[("REQUIRE_AUTH", "true"), ("JWT_SECRET", strong)]).is_ok());
}

#[test]
fn secrets_never_show_in_debug_output() {
    let shown = format!(
        "{:?}",
        settings(&[
            ("JWT_SECRET", "hunter2-jwt"),
            ("POSTGRES_PASSWORD", "hunter2-pg"),
            ("RABBITMQ_PASSWORD", "hunter2-mq"),
            ("REDIS_PASSWORD", "hunter2-rd"),
            ("LLM_BASE_URL", "http://localhost/v1"),
            ("LLM_MODEL", "m"),
            ("LLM_API_KEY", "hunter2-llm"),
        ])
        .unwrap()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_language_model_has_both_prices_or_none() {
    let model = [("LLM_BASE_URL", "http://localhost/v1"), ("LLM_MODEL", "m")];
    let prices = |more: &[(&str, &str)]| {
        let settings = settings(&[&model, more].concat())?;
        let prices = settings.llm.unwrap().prices;
        Ok::<_, String>(prices.map(|prices| (prices.input, prices.output)))
    };
    let (input, output) = (("LLM_INPUT_COST", "2.5"), ("LLM_OUTPUT_COST", "0"));
    assert_eq!(prices(&[]).unwrap(), None);
    assert_eq!(prices(&[input, output]).unwrap(), Some((2.5, 0.0)));
    assert_eq!(
        prices(&[input]).unwrap_err(),
        "LLM_OUTPUT_COST must be set when LLM_INPUT_COST is; 0 is for free"
    );
    assert_eq!(
        prices(&[output]).unwrap_err(),
        "LLM_INPUT_COST must be set when LLM_OUTPUT_COST is; 0 is for free"
    );
}

/// A file with `content` for as long as it is not dropped.
struct File(std::path::PathBuf);

impl File {
    fn with(content: &str) -> Self {
        let name = format!("config-test-{}.pem", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn encryption_is_off_unless_asked_for_and_brings_its_own_port() {
    let plain = settings(&[]).unwrap();
    assert!(plain.rabbitmq.tls.is_none() && plain.redis.tls.is_none());
    assert_eq!(plain.rabbitmq.port, 5672);
    let encrypted = settings(&[("RABBITMQ_TLS", "true"), ("REDIS_TLS", "true")]).unwrap();
    assert!(encrypted.rabbitmq.tls.is_some() && encrypted.redis.tls.is_some());
    assert_eq!(encrypted.rabbitmq.port, 5671);
    let elsewhere = settings(&[("RABBITMQ_TLS", "true"), ("RABBITMQ_PORT", "7000")]).unwrap();
    assert_eq!(elsewhere.rabbitmq.port, 7000);
}

#[test]
fn an_authority_that_cannot_be_used_or_would_not_be_is_refused() {
    let nothing = File::with("no certificate");
    let broken = File::with("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let certificate = File::with("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for server in ["RABBITMQ", "REDIS", "POSTGRES"] {
        let (file, switch) = (format!("{server}_CA_FILE"), format!("{server}_TLS"));
        for unusable in ["/nowhere/ca.pem", nothing.path(), broken.path()] {
            let error = settings(&[(&file, unusable), (&switch, "true")]).unwrap_err();
            let accepts = "must name a readable file with certificates in PEM";
            assert_eq!(error, format!("{file} {accepts}"), "{unusable}");
        }
        assert!(settings(&[(&file, certificate.path()), (&switch, "true")]).is_ok());
    }
    let unused = settings(&[("REDIS_CA_FILE", certificate.path())]).unwrap_err();
    assert_eq!(unused, "REDIS_TLS must be true when REDIS_CA_FILE is set");
    let file = ("POSTGRES_CA_FILE", certificate.path());
    let unused = settings(&[file, ("POSTGRES_SSLMODE", "require")]).unwrap_err();
    assert_eq!(
        unused,
        "POSTGRES_SSLMODE must be verify-ca or verify-full when POSTGRES_CA_FILE is set"
    );
}

#[test]
fn the_address_of_the_database_says_how_it_is_encrypted() {
    let query = |pairs: &[(&str, &str)]| {
        let settings = settings(pairs).unwrap();
        let url = Url::parse(settings.database.url.expose()).unwrap();
        url.query().unwrap_or_default().to_owned()
    };
    assert_eq!(query(&[]), "");
    assert_eq!(query(&[("POSTGRES_SSLMODE", "disable")]), "sslmode=disable");
    let certificate = File::with("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let checked = query(&[("POSTGRES_CA_FILE", certificate.path())]);
    assert!(
        checked.starts_with("sslmode=verify-full&sslrootcert="),
        "{checked}"
    );
}

#[test]
fn callbacks_need_a_secret_and_lead_outside_unless_hosts_are_named() {
    let fault = |variables: &[(&str, &str)], url: &str| {
        let url = Url::parse(url).unwrap();
        let accepted = settings(variables).unwrap().callbacks.accept(Some(&url));
        accepted.err().map(|faults| faults.to_string())
    };
    let secret = ("WEBHOOK_SECRET", "0123456789abcdefghijklmnopqrstuv");
    let outside = "https://example.com/hook";
    let inside = "http://10.0.0.1/hook";
    let without = fault(&[], outside).unwrap();
    assert!(without.starts_with("callback_url needs WEBHOOK_SECRET"));
    assert_eq!(fault(&[secret], outside), None);
    let refused = fault(&[secret], inside).unwrap();
    assert!(refused.contains("CALLBACK_ALLOWED_HOSTS"), "{refused}");
    let hosts = ("CALLBACK_ALLOWED_HOSTS", "hooks.internal, 10.0.0.0/8");
    assert_eq!(fault(&[secret, hosts], inside), None);
    assert!(settings(&[]).unwrap().callbacks.accept(None).is_ok());

    let refused = |name: &str, value: &str| settings(&[(name, value)]).unwrap_err();
    let short = refused("WEBHOOK_SECRET", "whsec_c2hvcnQ=");
    assert!(short.starts_with("WEBHOOK_SECRET must be whsec_") && !short.contains("c2hvcnQ"));
    let hosts = refused("CALLBACK_ALLOWED_HOSTS", "http://hooks.internal");
    assert!(hosts.starts_with("CALLBACK_ALLOWED_HOSTS must be host names"));
}

#[test]
fn callers_may_call_as_often_as_they_like_unless_a_rate_is_set() {
    let limit = |pairs: &[(&str, &str)]| settings(pairs).map(|settings| settings.http.rate_limit);
    let (rate, burst) = (("RATE_LIMIT_PER_SECOND", "50"), ("RATE_LIMIT_BURST", "200"));
    let of = |per_second, burst| Ok(Some(RateLimit { per_second, burst }));
    assert_eq!(limit(&[]), Ok(None));
    assert_eq!(limit(&[("RATE_LIMIT_PER_SECOND", "0")]), Ok(None));
    assert_eq!(limit(&[rate]), of(50, 50));
    assert_eq!(limit(&[rate, burst]), of(50, 200));
    assert_eq!(
        limit(&[burst]).unwrap_err(),
        "RATE_LIMIT_PER_SECOND must be 1 or more when RATE_LIMIT_BURST is set"
    );
}

#[test]
fn origins_are_named_as_browsers_name_them() {
    let allowed = |list: &str| {
        let settings = settings(&[("CORS_ALLOWED_ORIGINS", list)])?;
        Ok::<_, String>(settings.http.allowed_origins)
    };
    assert!(!allowed("").unwrap().allow("https://a.example"));
    let some = allowed(" https://A.example:443 , http://localhost:3000,").unwrap();
    for (origin, welcome) in [
        ("https://a.example", true),
        ("http://localhost:3000", true),
        ("http://a.example", false),
        ("https://a.example.evil.example", false),
        ("https://sub.a.example", false),
        ("http://localhost", false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(some.allow(origin), welcome, "{origin}");
    }
    assert_eq!(allowed("*").unwrap(), AllowedOrigins::Any);
    for bad in [
        "a.example",
        "https://a.example/",
        "https://a.example/app",
        "https://user@a.example",
        "https://*.example",
        "null",
        "file:///x",
        "*, https://a.example",
    ] {
        let error = allowed(bad).unwrap_err();
        assert!(
            error.starts_with("CORS_ALLOWED_ORIGINS must be * or"),
            "{bad}"
        );
    }
}

#[test]
fn what_has_ended_is_kept_for_days_or_for_ever() {
    let days = |settings: &Settings, what| {
        let kept = settings.retention.of(what);
        kept.map(|kept| kept.as_secs() / 86_400)
    };
    let default = settings(&[]).unwrap();
    let defaults = Expiring::ALL.map(|what| days(&default, what));
    assert_eq!(defaults, [Some(90), Some(90), Some(30), Some(90), None]);
    let set = [("TASK_RETENTION_DAYS", "0"), ("AUDIT_RETENTION_DAYS", "7")];
    let set = settings(&set).unwrap();
    assert_eq!(days(&set, Expiring::Tasks), None);
    assert_eq!(days(&set, Expiring::Audit), Some(7));
    let error = settings(&[("DEAD_LETTER_RETENTION_DAYS", "-1")]).unwrap_err();
    assert_eq!(
        error,
        "DEAD_LETTER_RETENTION_DAYS must be a whole number from 0 to 36500"
    );
}

#[test]
fn the_audit_service_has_an_address_and_a_key() {
    assert!(settings(&[]).unwrap().audit_service.is_none());
    let url = ("AUDIT_SERVICE_URL", "http://audit:8340/base");
    let both = settings(&[url, ("AUDIT_SERVICE_API_KEY", "s3cret")]).unwrap();
    let service = both.audit_service.unwrap();
    assert_eq!(service.url.as_str(), "http://audit:8340/base");
    assert!(!format!("{service:?}").contains("s3cret"));
    for (pairs, variable) in [
        (vec![url], "AUDIT_SERVICE_API_KEY"),
        (
            vec![url, ("AUDIT_SERVICE_API_KEY", "a\nb")],
            "AUDIT_SERVICE_API_KEY",
        ),
        (
            vec![("AUDIT_SERVICE_URL", "audit:8340")],
            "AUDIT_SERVICE_URL",
        ),
        (
            vec![("AUDIT_SERVICE_URL", "http://u:p@audit")],
            "AUDIT_SERVICE_URL",
        ),
    ] {
        let error = settings(&pairs).unwrap_err();
        assert!(error.starts_with(&format!("{variable} must be")), "{error}");
    }
}
