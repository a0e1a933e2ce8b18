//! The many spellings of the same names: of fields, and of reasoning patterns.

use serde_json::{Map, Value};

/// `vectorMemoryEnabled` and `memoryTTLSeconds` as `vector_memory_enabled` and `memory_ttl_seconds`.
pub(super) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, letter) in letters.iter().enumerate() {
        if letter.is_ascii_uppercase() {
            let before = index.checked_sub(1).and_then(|before| letters.get(before));
            let word_ended = before.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            let acronym_ended = before.is_some_and(char::is_ascii_uppercase)
                && letters.get(index + 1).is_some_and(char::is_ascii_lowercase);
            if word_ended || acronym_ended {
                snake.push('_');
            }
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The fields of an object under their snake-case names, without those that are `null`; a field that is there in
/// both spellings keeps the value that came first. Values are left as they are.
pub(super) fn snake_case_fields(object: &Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        fields
            .entry(snake_case(name))
            .or_insert_with(|| value.clone());
    }
    fields
}

/// The Brain Factory's name of a reasoning pattern; a pattern that it does not have is left as it is, for the factory
/// to refuse in its own words.
pub(super) fn reasoning_pattern(text: &str) -> String {
    let letters: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let stem = letters.trim_end_matches("pattern");
    let stem = stem.strip_suffix("reasoning").unwrap_or(stem);
    let known = match stem {
        "react" | "reasonact" | "reasonandact" | "reasoningandacting" => "ReAct",
        "reflection" | "reflexion" | "reflect" | "reflective" | "selfreflection" => "Reflection",
        "planning" | "plan" | "planner" | "planandexecute" | "planexecute" => "Planning",
        "multiagent" | "multiagents" | "multiagentcollaboration" => "Multi-Agent",
        _ => text.trim(),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_names_become_snake_case() {
        for (name, snake) in [
            ("vectorMemoryEnabled", "vector_memory_enabled"),
            ("memoryTTLSeconds", "memory_ttl_seconds"),
            ("maxMemoryItems", "max_memory_items"),
            ("Persona", "persona"),
            ("already_snake", "already_snake"),
            ("item2Name", "item2_name"),
            ("", ""),
        ] {
            assert_eq!(snake_case(name), snake);
        }
        let fields = json!({"aB": {"cD": 1}, "gone": null, "a_b": 2});
        let snake = snake_case_fields(fields.as_object().unwrap());
        assert_eq!(Value::Object(snake), json!({"a_b": {"cD": 1}}));
    }

    #[test]
    fn a_reasoning_pattern_is_known_in_any_spelling() {
        for (pattern, spellings) in [
            ("ReAct", ["react", "REACT", "Re-Act", "re_act pattern"]),
            (
                "Reflection",
                [
                    "reflection",
                    "Reflexion",
                    "self-reflection",
                    "reflective reasoning",
                ],
            ),
            (
                "Planning",
                ["planning", "PLANNING", "plan_and_execute", "plan"],
            ),
            (
                "Multi-Agent",
                ["multi-agent", "multiAgent", "multi_agent", "Multi Agent"],
            ),
        ] {
            assert_eq!(reasoning_pattern(pattern), pattern);
            for spelling in spellings {
                assert_eq!(reasoning_pattern(spelling), pattern);
            }
        }
        assert_eq!(reasoning_pattern(" Tree of Thoughts "), "Tree of Thoughts");
    }
}
