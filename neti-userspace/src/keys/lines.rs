//! Finds the line on which a key stands, for errors about a text that somebody wrote.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The line, counted from 1, on which the value of `key` begins in the JSON `text`. Of a key that is
/// not there: the line of the innermost value around it. `None` if that is the whole text.
pub fn line(text: &str, key: &str) -> Option<usize> {
    let whole = serde_json::from_str(text).ok()?;
    let (known, value) = find(whole, key);
    let offset = value.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    (known > 0).then(|| text[..offset].matches('\n').count() + 1)
}

/// The value that is reached by the longest beginning of `key`, and the length of that. A table's
/// keys may have dots and brackets in them, so that what is there decides where one ends.
fn find<'a>(value: &'a RawValue, key: &str) -> (usize, &'a RawValue) {
    let below = |name: &str, rest: &str, value: &'a RawValue| {
        let dot = usize::from(rest.starts_with('.'));
        let (known, value) = find(value, &rest[dot..]);
        (name.len() + dot + known, value)
    };
    let text = value.get();
    let found = if text.starts_with('{') {
        let entries = serde_json::from_str(text).map(|Entries(entries)| entries);
        let fitting = entries.unwrap_or_default().into_iter().filter_map(|(name, value)| {
            let rest = key.strip_prefix(&name)?;
            let ends = rest.is_empty() || rest.starts_with(['.', '[']);
            ends.then(|| below(&name, rest, value))
        });
        fitting.max_by_key(|(known, _)| *known)
    } else if let Some((index, rest)) = key.strip_prefix('[').and_then(|key| key.split_once(']')) {
        let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        let element = index.parse().ok().and_then(|index: usize| elements.get(index).copied());
        element.map(|value| below(&key[..key.len() - rest.len()], rest, value))
    } else {
        None
    };
    found.unwrap_or((0, value))
}

/// The entries of a table, as they are written.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn finds_the_line_of_a_value_or_of_what_is_around_it() {
        let text = r#"
{
  "mode": "observe",
  "allow": [
    { "from": "10.0.0.0/8" },
    {
      "from": [
        "10.0.0.0/8",
        "fd00::/8"
      ], "ports": ["80"]
    }
  ],
  "hosts": {
    "a": {}, "a.b": {
      "mode": 1,
      "c[0]": [ [1,
        2]]
    },
    "a.b.c":
      null
  }
}"#;
        for (key, expected) in [
            ("mode", Some(3)),
            ("mod", None),
            ("mode.x", Some(3)),
            ("allow", Some(4)),
            ("allow[0].from", Some(5)),
            ("allow[0].protocol", Some(5)),
            ("allow[1].from[1]", Some(9)),
            ("allow[1].from[2]", Some(7)),
            ("allow[1].ports[0]", Some(10)),
            ("allow[7].from", Some(4)),
            ("hosts.a.b", Some(14)),
            ("hosts.a.c", Some(14)),
            ("hosts.a.b.c[0][0][1]", Some(17)),
            ("hosts.a.b.mode", Some(15)),
            ("hosts.a.b.c", Some(20)),
            ("hosts.z.mode", Some(13)),
            ("", None),
        ] {
            assert_eq!(line(text, key), expected, "{key}");
        }
        assert_eq!(line("{", "mode"), None);
    }
}
