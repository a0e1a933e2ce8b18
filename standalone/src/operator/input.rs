//! What operators give: JSON in an argument, in a file, or on standard input.

use std::io::Read as _;

use serde_json::Value;

use super::Failure;

/// Reads JSON: `-` is standard input, `@name` a file, anything else the JSON itself.
pub(super) fn json(given: &str) -> Result<Value, Failure> {
    let unusable =
        |what: &str, error: &dyn std::fmt::Display| Failure::Usage(format!("{what}: {error}"));
    let text = match given.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| unusable(path, &error))?,
        None if given == "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| unusable("standard input", &error))?;
            text
        }
        None => given.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| {
        unusable(
            "must be JSON, @ and the name of a file with it, or -",
            &error,
        )
    })
}

/// A part of an address: identifiers have characters that mean something there.
pub(super) fn segment(text: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte);
    let encode = |byte: u8| {
        if harmless(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_stay_one_part_of_the_address() {
        assert_eq!(segment("team:agent_01.x-y"), "team:agent_01.x-y");
        assert_eq!(segment("../a?b#c/é"), "..%2Fa%3Fb%23c%2F%C3%A9");
    }

    #[test]
    fn what_is_no_json_is_named() {
        assert_eq!(json("{\"a\": 1}").unwrap()["a"], 1);
        assert!(
            json("@/nowhere.json")
                .unwrap_err()
                .to_string()
                .starts_with("/nowhere.json: ")
        );
        assert!(
            json("{")
                .unwrap_err()
                .to_string()
                .starts_with("must be JSON")
        );
    }
}
