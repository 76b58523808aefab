//! Reads JSON in which no table has a key twice: of two values one would be passed over in silence.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// # Errors
/// If `text` is not JSON, or a key is there twice; with line and column.
pub fn read(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).map(|Once(value)| value)
}

/// A value whose tables have each key once.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Once(value)) = from.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            // The line of an error is that to which the text has been read.
            if map.contains_key(&key) {
                let twice = format!("key {key:?} is there twice; must be there once");
                return Err(A::Error::custom(twice));
            }
            let Once(value) = from.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_json_does() {
        for text in [
            r#"{"a": [1, -2, 3.5, "text \u00e9", true, null, {}], "b": {"a": 18446744073709551615}}"#,
            "[]",
            "\"word\"",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read(text.as_bytes()).unwrap(), value);
        }
        for text in ["", "{", "[1,]", "{} {}"] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(read(text.as_bytes()).unwrap_err().to_string(), error.to_string());
        }
    }

    #[test]
    fn a_key_is_there_once() {
        let error = read(b"{\n  \"a\": [{\"b\": 1,\n    \"b\": 1\n  }]\n}").unwrap_err();
        let told = "key \"b\" is there twice; must be there once at line 3 column 7";
        assert_eq!(error.to_string(), told);
    }
}
