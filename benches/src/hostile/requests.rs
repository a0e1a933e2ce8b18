//! The requests of hostile callers. None of them may be answered with anything but a refusal, and none may leave anything.

use serde_json::{Value, json};

use super::tokens::Tokens;

/// The agent that is there.
pub const AGENT: &str = "target";
const EXECUTE: &str = "/orchestrator/execute-task";

/// A request as it goes over the wire.
#[derive(Debug)]
pub struct Attack {
    /// What kind it is of.
    pub kind: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether more of it might be taken for another request: such a one gets a connection of its own, which is read to
    /// its end.
    pub alone: bool,
}

/// Every kind of attack, by its number; the same number makes the same attack.
#[must_use]
pub fn attack(number: u64, tokens: &Tokens) -> Attack {
    let seed = mixed(number);
    let (kind, variant) = (seed % 11, usize::try_from(seed >> 8).unwrap_or(0));
    match kind {
        0 => bad_head(variant, tokens),
        1 => huge_head(variant, tokens),
        2 | 3 => bad_json(variant, tokens),
        4 => deep_json(variant, tokens),
        5 | 6 => wrong_fields(seed, tokens),
        7 => wrong_token(variant, tokens),
        8 => path_trick(variant, tokens),
        9 => smuggled(variant, tokens),
        _ => wrong_body(variant, tokens),
    }
}

/// Spreads numbers over all bits.
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn pick<T: Copy>(of: &[T], variant: usize) -> T {
    of[variant % of.len()]
}

fn kept(kind: &'static str, bytes: Vec<u8>) -> Attack {
    Attack {
        kind,
        bytes,
        alone: false,
    }
}

fn alone(kind: &'static str, bytes: Vec<u8>) -> Attack {
    Attack {
        kind,
        bytes,
        alone: true,
    }
}

/// A request with a good token.
fn request(tokens: &Tokens, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: orchestrator\r\nAuthorization: Bearer {}\r\n{headers}\
         Content-Length: {}\r\n\r\n",
        tokens.good,
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn post(tokens: &Tokens, path: &str, body: &[u8]) -> Vec<u8> {
    request(
        tokens,
        "POST",
        path,
        "Content-Type: application/json\r\n",
        body,
    )
}

/// A task that would be accepted, were it a request of its own.
fn good_task() -> String {
    json!({"agent_id": AGENT, "task_type": "smuggled", "task_data": {}}).to_string()
}

fn bad_head(variant: usize, tokens: &Tokens) -> Attack {
    let bytes: Vec<u8> = match variant % 12 {
        0 => b"GARBAGE\r\n\r\n".to_vec(),
        1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 client hello \r\n\r\n".to_vec(),
        2 => b"GET / HTTP/1.1\r\nHost orchestrator\r\n\r\n".to_vec(),
        3 => b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec(),
        4 => b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        5 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec(),
        6 => format!("POST {EXECUTE} HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n").into_bytes(),
        7 => format!("POST {EXECUTE} HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n").into_bytes(),
        8 => (0..=255_u8).cycle().skip(variant % 256).take(600).collect(),
        9 => b"\r\n\r\n\r\n\r\n".to_vec(),
        10 => request(tokens, "POST", EXECUTE, "X-Request-Id: a\rb\r\n", b"{}"),
        _ => format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", "M".repeat(5_000)).into_bytes(),
    };
    alone("bad_head", bytes)
}

fn huge_head(variant: usize, tokens: &Tokens) -> Attack {
    let bytes = match variant % 4 {
        0 => {
            let header = format!("X-A: {}\r\n", "a".repeat(20_000));
            request(tokens, "GET", "/orchestrator/agents", &header, b"")
        }
        1 => {
            let headers: String = (0..200).map(|n| format!("X-{n}: x\r\n")).collect();
            request(tokens, "GET", "/orchestrator/agents", &headers, b"")
        }
        2 => {
            let path = format!("/orchestrator/agents?domain={}", "d".repeat(9_000));
            request(tokens, "GET", &path, "", b"")
        }
        _ => format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(70_000)).into_bytes(),
    };
    alone("huge_head", bytes)
}

fn bad_json(variant: usize, tokens: &Tokens) -> Attack {
    let bodies: [&[u8]; 14] = [
        b"",
        b"{",
        b"{\"agent_id\": \"target\",}",
        b"{\"agent_id\": \"tar\xff\xfeget\"}",
        b"[]",
        b"null",
        b"\"text\"",
        b"{\"agent_id\": NaN}",
        b"{\"agent_id\": \"target\", \"task_type\": \"t\", \"task_data\": {}} trailing",
        b"{\"agent_id\": \"\\ud800\", \"task_type\": \"t\", \"task_data\": {}}",
        b"{'agent_id': 'target'}",
        b"\xef\xbb\xbf{\"agent_id\": \"target\", \"task_type\": \"t\", \"task_data\": {}}",
        b"{\"agent_id\": \"target\", \"task_type\": \"t\", \"task_data\": {\"n\": 1e999}}",
        b"{\"agent_id\": \"target\\u0000\", \"task_type\": \"t\", \"task_data\": {}}",
    ];
    let paths = [
        EXECUTE,
        "/orchestrator/tasks/batch",
        "/orchestrator/register",
        "/orchestrator/agents/target/scale",
        "/orchestrator/unregister",
    ];
    let body = pick(&bodies, variant);
    kept(
        "bad_json",
        post(tokens, pick(&paths, variant / bodies.len()), body),
    )
}

fn deep_json(variant: usize, tokens: &Tokens) -> Attack {
    let depth = pick(&[65, 128, 1_000, 20_000], variant);
    let (open, close) = pick(&[("[", "]"), ("{\"a\":", "}")], variant / 4);
    let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let task = format!(
        "{{\"agent_id\": \"{AGENT}\", \"task_type\": \"t\", \"task_data\": {{\"x\": {deep}}}}}"
    );
    kept(
        "deep_json",
        match variant / 8 % 3 {
            0 => post(tokens, EXECUTE, task.as_bytes()),
            1 => post(
                tokens,
                "/orchestrator/register",
                format!("{{\"agent_id\": \"b\", \"brain_config\": {deep}}}").as_bytes(),
            ),
            _ => post(tokens, "/orchestrator/tasks/batch", deep.as_bytes()),
        },
    )
}

fn wrong_fields(seed: u64, tokens: &Tokens) -> Attack {
    let wrong: [Value; 12] = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(99_999_999_999_u64),
        json!(""),
        json!("\u{0}"),
        json!("x".repeat(3_000)),
        json!([]),
        json!([1, 2]),
        json!({}),
        json!({"$ne": null}),
    ];
    let fields = [
        "agent_id",
        "task_type",
        "task_data",
        "priority",
        "timeout_seconds",
        "callback_url",
        "max_attempts",
        "delay_seconds",
        "run_at",
        "expires_in_seconds",
        "parent_task_id",
        "metadata",
        "task_id",
        "__proto__",
        "submitted_by",
        "status",
    ];
    let mut task = json!({"agent_id": AGENT, "task_type": "t", "task_data": {}});
    let variant = usize::try_from(seed >> 20).unwrap_or(0);
    let field = pick(&fields, variant);
    task[field] = wrong[variant / fields.len() % wrong.len()].clone();
    // Whatever that was, no task has this field.
    task["unknown_field"] = json!(seed);
    kept(
        "wrong_fields",
        post(tokens, EXECUTE, task.to_string().as_bytes()),
    )
}

fn wrong_token(variant: usize, tokens: &Tokens) -> Attack {
    let task = good_task();
    let token = &tokens.bad[variant % tokens.bad.len()];
    let twice = format!("{token}\r\nAuthorization: {}", tokens.bad[0]);
    let authorization = if (variant / 64).is_multiple_of(4) {
        &twice
    } else {
        token
    };
    let bytes = format!(
        "POST {EXECUTE} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{task}",
        task.len()
    );
    kept("wrong_token", bytes.into_bytes())
}

fn path_trick(variant: usize, tokens: &Tokens) -> Attack {
    let paths = [
        "/orchestrator/../orchestrator/nothing",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//orchestrator//execute-task",
        "/orchestrator/tasks/%00",
        "/orchestrator/tasks/..%2f..%2f",
        "/orchestrator/agents/%ff%fe",
        "/orchestrator/agents/a%20b",
        "/orchestrator/tasks/' OR 1=1 --",
        "/orchestrator/execute-task/",
        "/orchestrator/EXECUTE-TASK",
        "/orchestrator/agents/;id",
        "/orchestrator/tasks/00000000-0000-0000-0000-000000000000",
        "/.git/config",
        "/orchestrator/%252e%252e/agents",
        "/orchestrator/tasks?limit=-1",
        "/orchestrator/tasks?cursor=%00",
        "/orchestrator/audit?since=x&limit=0",
        "http://evil/x",
        "*",
    ];
    let methods = ["GET", "POST", "DELETE", "PUT", "PATCH", "TRACE", "BREW"];
    let path = pick(&paths, variant).replace(' ', "%20");
    let method = match path.as_str() {
        // What is looked at is refused for what it asks, what is changed for the method.
        path if path.contains('?') => "GET",
        _ => pick(&methods, variant / paths.len()),
    };
    kept("path_trick", request(tokens, method, &path, "", b""))
}

/// A whole good request behind the end of another one, for whoever mistakes where that end is.
fn smuggled(variant: usize, tokens: &Tokens) -> Attack {
    let inner =
        String::from_utf8(post(tokens, EXECUTE, good_task().as_bytes())).unwrap_or_default();
    let chunk = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let head = |lengths: &str| {
        format!(
            "POST /orchestrator/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{lengths}\r\n"
        )
    };
    let length = inner.len();
    let bytes = match variant % 10 {
        0 => {
            head(&format!(
                "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"
            )) + &chunk
        }
        1 => {
            head(&format!(
                "Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"
            )) + &chunk
        }
        2 => {
            head(&format!(
                "Content-Length: 0\r\nContent-Length: {length}\r\n"
            )) + &inner
        }
        3 => head(&format!("Content-Length: {length}, 0\r\n")) + &inner,
        4 => head("Transfer-Encoding: xchunked\r\n") + &chunk,
        5 => head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + &chunk,
        6 => head(&format!("Content-Length: +{length}\r\n")) + &inner,
        7 => head(&format!("Content-Length: {length}\r\n")) + &inner,
        8 => head(&format!("Content-Length : {length}\r\n")) + &inner,
        _ => head("Transfer-Encoding: chunked\r\n") + "ffffffffffffffff1\r\n" + &inner,
    };
    alone("smuggling", bytes.into_bytes())
}

fn wrong_body(variant: usize, tokens: &Tokens) -> Attack {
    let task = good_task();
    let typed = |kind: &str| format!("Content-Type: {kind}\r\n");
    let json = typed("application/json");
    let bytes = match variant % 7 {
        0 => request(tokens, "POST", EXECUTE, &typed("text/plain"), task.as_bytes()),
        1 => request(tokens, "POST", EXECUTE, &typed("application/xml"), b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>"),
        2 => request(tokens, "POST", EXECUTE, &(json + "Content-Encoding: gzip\r\n"), b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
        3 => request(tokens, "POST", EXECUTE, &(json + "Idempotency-Key: \r\n"), task.as_bytes()),
        4 => request(tokens, "POST", EXECUTE, &(json + "Origin: https://evil.example\r\n"), task.as_bytes()),
        // Said to be larger than anything may be; nothing of it comes.
        5 => format!(
            "POST {EXECUTE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{json}Content-Length: 99999999999\r\n\r\n",
            tokens.good
        )
        .into_bytes(),
        // Breaks off in the middle.
        _ => {
            let mut whole = post(tokens, EXECUTE, task.as_bytes());
            whole.truncate(whole.len() - 5);
            whole
        }
    };
    if variant % 7 < 5 {
        kept("wrong_body", bytes)
    } else {
        alone("wrong_body", bytes)
    }
}
