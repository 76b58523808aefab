//! Changes of the settings' text, key by key. Pure.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::keys::json;

/// The keys of a text, in its order.
pub fn object(text: &[u8]) -> Result<Map<String, Value>> {
    match json::read(text) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(other) => bail!("not a JSON object: {other}"),
        // What is no syntax error is a key that is there twice.
        Err(error) if error.is_data() => Err(error.into()),
        Err(error) => Err(error).context("not a JSON object"),
    }
}

/// Does what each `KEY=VALUE` asks for; a key that is there keeps its place.
pub fn apply(mut settings: Map<String, Value>, changes: &[String]) -> Result<Map<String, Value>> {
    let mut asked = Vec::new();
    for change in changes {
        let Some((key, value)) = change.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            bail!("{change:?}: must be KEY=VALUE, like mode=enforce");
        };
        if asked.contains(&key) {
            bail!("{change:?}: {key} is given twice; must be given once");
        }
        asked.push(key);
        if value.is_empty() {
            settings.shift_remove(key);
        } else {
            settings.insert(key.to_owned(), read(key, value)?);
        }
    }
    Ok(settings)
}

/// JSON, or a word without its quotes.
fn read(key: &str, value: &str) -> Result<Value> {
    match json::read(value.as_bytes()) {
        Ok(value) => Ok(value),
        // What is no syntax error is a key that is there twice.
        Err(error) if error.is_data() => bail!("{key} = {value}: {error}"),
        Err(error) if value.starts_with(['[', '{', '"']) => {
            bail!("{key} = {value}: not JSON ({error}); must be JSON or a plain word")
        }
        Err(_) => Ok(Value::String(value.to_owned())),
    }
}

/// A line for each key that differs.
pub fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let text = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
    let line = |key: &String| {
        let (before, after) = (before.get(key), after.get(key));
        (before != after).then(|| format!("{key}: {} -> {}", text(before), text(after)))
    };
    let removed = before.keys().filter(|key| !after.contains_key(*key));
    after.keys().chain(removed).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"{"overlay":["100.64.0.0/16"],"mode":"observe","echo":true}"#;

    /// The text after changes, and the differences.
    fn check(changes: &[&str], after: &str, told: &[&str]) {
        let before = object(BEFORE.as_bytes()).unwrap();
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let changed = apply(before.clone(), &changes).unwrap();
        assert_eq!(Value::Object(changed.clone()).to_string(), after);
        assert_eq!(differences(&before, &changed), told);
    }

    #[test]
    fn changes_keys_and_keeps_order_and_the_others() {
        check(
            &["mode=enforce"],
            r#"{"overlay":["100.64.0.0/16"],"mode":"enforce","echo":true}"#,
            &[r#"mode: "observe" -> "enforce""#],
        );
        check(
            &["max_removals=50", "overlay=[\"100.65.0.0/16\"]", "mode="],
            r#"{"overlay":["100.65.0.0/16"],"echo":true,"max_removals":50}"#,
            &[
                r#"overlay: ["100.64.0.0/16"] -> ["100.65.0.0/16"]"#,
                "max_removals: not set -> 50",
                r#"mode: "observe" -> not set"#,
            ],
        );
        check(&["twin_ports=", "mode=\"observe\"", "echo=true"], BEFORE, &[]);
        check(
            &["twin_ports=61000-65000"],
            r#"{"overlay":["100.64.0.0/16"],"mode":"observe","echo":true,"twin_ports":"61000-65000"}"#,
            &[r#"twin_ports: not set -> "61000-65000""#],
        );
    }

    #[test]
    fn says_what_it_does_not_understand() {
        for (changes, error) in [
            (&["mode"][..], "\"mode\": must be KEY=VALUE, like mode=enforce"),
            (&["=enforce"], "\"=enforce\": must be KEY=VALUE"),
            (&["mode=enforce", "mode="], "\"mode=\": mode is given twice; must be given once"),
            (&["open=[tcp/80]"], "open = [tcp/80]: not JSON (expected ident at"),
            (&["mode=\"enforce"], "mode = \"enforce: not JSON ("),
        ] {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            let found = apply(Map::new(), &changes).unwrap_err().to_string();
            assert!(found.starts_with(error), "{changes:?}: {found}");
        }
    }
}
