//! The claims of the platform's two token issuers, and the levels they amount to.

use serde::Deserialize;
use serde_json::Value;

use super::{Level, Levels};

/// What a token says. The two issuers use different names, so every claim may be absent.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    user_id: Value,
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    typ: Value,
    #[serde(default)]
    role: Value,
    #[serde(default)]
    roles: Value,
    #[serde(default)]
    permissions: Value,
    #[serde(default)]
    scope: Value,
}

impl Claims {
    /// Whether it is a token for access; the issuer that writes no `type` issues no other kind.
    ///
    /// Some issuers sign tokens of every kind with one key and name the kind in `typ`: to them `Bearer` is access.
    pub(super) fn are_for_access(&self) -> bool {
        let says = |claim: &Value, access: &[&str]| {
            claim.is_null() || claim.as_str().is_some_and(|kind| access.contains(&kind))
        };
        says(&self.kind, &["access"]) && says(&self.typ, &["access", "Bearer"])
    }

    /// `sub`, else `user_id`.
    pub(super) fn subject(&self) -> Option<String> {
        [&self.sub, &self.user_id]
            .into_iter()
            .find_map(|claim| match claim {
                Value::String(text) if !text.is_empty() => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
    }

    /// Everything that roles, permissions and scope allow together. Unknown words allow nothing.
    pub(super) fn levels(&self) -> Levels {
        let mut levels = Levels::default();
        for role in words(&self.role).chain(words(&self.roles)) {
            match role {
                "viewer" => levels.grant(Level::Read),
                "user" => {
                    levels.grant(Level::Read);
                    levels.grant(Level::Write);
                }
                "admin" => levels.grant(Level::Admin),
                _ => {}
            }
        }
        for permission in words(&self.permissions).chain(words(&self.scope)) {
            match permission {
                "read" => levels.grant(Level::Read),
                "write" => levels.grant(Level::Write),
                "admin" => levels.grant(Level::Admin),
                _ => {}
            }
        }
        levels
    }
}

/// The words of a claim that is a list of strings, or one string of words separated by blanks.
fn words(claim: &Value) -> impl Iterator<Item = &str> {
    let list = claim.as_array().map_or(&[][..], Vec::as_slice);
    let text = claim.as_str().unwrap_or_default();
    list.iter()
        .filter_map(Value::as_str)
        .chain(text.split_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowed(claims: Value) -> [bool; 3] {
        let levels = serde_json::from_value::<Claims>(claims).unwrap().levels();
        [Level::Read, Level::Write, Level::Admin].map(|level| levels.include(level))
    }

    #[test]
    fn roles_permissions_and_scope_amount_to_levels() {
        assert_eq!(allowed(json!({"role": "viewer"})), [true, false, false]);
        assert_eq!(allowed(json!({"role": "user"})), [true, true, false]);
        assert_eq!(allowed(json!({"role": "admin"})), [true, true, true]);
        assert_eq!(
            allowed(json!({"roles": ["x", "user"]})),
            [true, true, false]
        );
        assert_eq!(
            allowed(json!({"permissions": ["write", "delete"]})),
            [false, true, false]
        );
        assert_eq!(
            allowed(json!({"permissions": ["admin"]})),
            [true, true, true]
        );
        assert_eq!(allowed(json!({"scope": "read write"})), [true, true, false]);
        assert_eq!(
            allowed(json!({"role": "Administrators", "roles": 5})),
            [false; 3]
        );
        assert_eq!(allowed(json!({})), [false; 3]);
    }

    #[test]
    fn the_subject_is_sub_else_user_id() {
        let subject = |claims: Value| serde_json::from_value::<Claims>(claims).unwrap().subject();
        assert_eq!(
            subject(json!({"sub": "s", "user_id": "u"})).as_deref(),
            Some("s")
        );
        assert_eq!(subject(json!({"user_id": "u"})).as_deref(), Some("u"));
        assert_eq!(subject(json!({"user_id": 7})).as_deref(), Some("7"));
        assert_eq!(subject(json!({"sub": ""})), None);
    }
}
