//! What differs between two texts of settings, for whoever changes one into the other. Pure.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// At most so many elements of a list are told, those that are gone and those that are new.
const TOLD: usize = 10;
/// Of a value at most so many bytes are told.
const LONG: usize = 200;

/// A line for each key that differs; of tables for each key in them, of lists for each element.
pub fn lines(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let mut lines = Vec::new();
    tables("", before, after, &mut lines);
    lines
}

/// `place` is empty or ends with a dot.
fn tables(
    place: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    lines: &mut Vec<String>,
) {
    let removed = before.keys().filter(|key| !after.contains_key(*key));
    for name in after.keys().chain(removed) {
        let key = format!("{place}{name}");
        match (before.get(name), after.get(name)) {
            (before, after) if before == after => {}
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                tables(&format!("{key}."), before, after, lines);
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                lists(&key, before, after, lines);
            }
            (before, after) => lines.push(format!("{key}: {} -> {}", short(before), short(after))),
        }
    }
}

fn lists(key: &str, before: &[Value], after: &[Value], lines: &mut Vec<String>) {
    let texts = |list: &[Value]| list.iter().map(Value::to_string).collect::<Vec<_>>();
    let (before, after) = (texts(before), texts(after));
    let told = lines.len();
    for (sign, list, other) in [('-', &before, &after), ('+', &after, &before)] {
        let other: HashSet<&String> = other.iter().collect();
        let only: Vec<_> = list.iter().filter(|element| !other.contains(element)).collect();
        lines.extend(
            only.iter().take(TOLD).map(|element| format!("{key}: {sign} {}", cut(element))),
        );
        if only.len() > TOLD {
            lines.push(format!("{key}: {sign} {} more", only.len() - TOLD));
        }
    }
    if lines.len() == told {
        lines.push(format!("{key}: the same elements, in another order or number"));
    }
}

fn short(value: Option<&Value>) -> String {
    value.map_or("not set".to_owned(), |value| cut(&value.to_string()))
}

fn cut(text: &str) -> String {
    if text.len() <= LONG {
        return text.to_owned();
    }
    format!("{}... ({} bytes)", &text[..text.floor_char_boundary(LONG)], text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        lines(before.as_object().unwrap(), after.as_object().unwrap())
    }

    #[test]
    fn each_key_and_each_element_has_a_line() {
        let before = json!({
            "mode": "observe", "echo": true, "open": ["tcp/80", "tcp/443"],
            "hosts": { "a": { "mode": "observe" }, "b": {}, "c": { "open": ["tcp/22"] } },
        });
        let after = json!({
            "mode": "enforce", "open": ["tcp/443", "udp/53"], "max_removals": 50,
            "hosts": { "a": { "mode": "enforce", "echo": true }, "c": { "open": [] }, "d": {} },
        });
        let mut found = told(&before, &after);
        found.sort();
        assert_eq!(
            found,
            [
                "echo: true -> not set",
                "hosts.a.echo: not set -> true",
                "hosts.a.mode: \"observe\" -> \"enforce\"",
                "hosts.b: {} -> not set",
                "hosts.c.open: - \"tcp/22\"",
                "hosts.d: not set -> {}",
                "max_removals: not set -> 50",
                "mode: \"observe\" -> \"enforce\"",
                "open: + \"udp/53\"",
                "open: - \"tcp/80\"",
            ]
        );
        assert!(told(&after, &after).is_empty());
    }

    #[test]
    fn of_very_many_the_first_are_told_and_how_many_more_there_are() {
        let ports = |range: std::ops::Range<u32>| -> Vec<String> {
            range.map(|port| format!("tcp/{port}")).collect()
        };
        let (before, after) = (json!({ "open": ports(1..100) }), json!({ "open": ports(50..120) }));
        let found = told(&before, &after);
        assert_eq!(found.len(), 22);
        assert_eq!([&found[10], &found[21]], ["open: - 39 more", "open: + 10 more"]);
        let whole = told(&json!({}), &before);
        assert!(
            whole[0].starts_with("open: not set -> [\"tcp/1\",") && whole[0].len() < 300,
            "{whole:?}"
        );
        let one = told(&json!({ "allow": [] }), &json!({ "allow": [{ "from": ports(1..100) }] }));
        assert!(one[0].ends_with("... (892 bytes)") && one[0].len() < 300, "{one:?}");
        let turned = json!({ "open": ["tcp/2", "tcp/1"] });
        let order = "open: the same elements, in another order or number";
        assert_eq!(told(&json!({ "open": ["tcp/1", "tcp/2"] }), &turned), [order]);
    }
}
