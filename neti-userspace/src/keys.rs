//! Reads the keys of a settings file one by one, so that every error names the file, the key, its
//! value and what would be right. TOML and JSON both arrive here as JSON values.

use serde_json::{Map, Value};
use thiserror::Error;

/// What is wrong with a settings file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error("{file}: {key} = {value}: must be {right}")]
    Value { file: String, key: String, value: String, right: String },
    #[error("{file}: {key}: missing; must be {right}")]
    Missing { file: String, key: String, right: String },
    #[error("{file}: {key} = {value}: unknown key; known are {known}")]
    Unknown { file: String, key: String, value: String, known: String },
    #[error("{file}: {what}")]
    File { file: String, what: String },
}

/// The keys of one table that have not been read yet.
pub struct Keys {
    file: String,
    /// The path of this table, with its dot: `registry.`.
    prefix: String,
    map: Map<String, Value>,
    known: Vec<String>,
}

impl Keys {
    pub fn new(file: &str, map: Map<String, Value>) -> Self {
        Self { file: file.to_owned(), prefix: String::new(), map, known: Vec::new() }
    }

    /// Reads an optional key. `read` answers `None` for a value that is not `right`.
    pub fn optional<T>(
        &mut self,
        key: &str,
        right: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| self.wrong(key, &value, right))
    }

    /// Reads a key that must be there.
    pub fn required<T>(
        &mut self,
        key: &str,
        right: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, SettingsError> {
        self.optional(key, right, read)?.ok_or_else(|| self.missing(key, right))
    }

    /// Reads an optional list; an error names the element. `right` describes one element.
    pub fn list<T>(
        &mut self,
        key: &str,
        right: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, SettingsError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let Value::Array(values) = &value else {
            return Err(self.wrong(key, &value, &format!("a list, each element {right}")));
        };
        let element = |(index, value)| {
            read(value).ok_or_else(|| self.wrong(&format!("{key}[{index}]"), value, right))
        };
        values.iter().enumerate().map(element).collect::<Result<_, _>>().map(Some)
    }

    /// Opens an optional list of tables.
    pub fn tables(&mut self, key: &str) -> Result<Vec<Keys>, SettingsError> {
        let maps = self.list(key, "a table", |value| value.as_object().cloned())?;
        let table = |(index, map)| self.child(&format!("{key}[{index}]"), map);
        Ok(maps.unwrap_or_default().into_iter().enumerate().map(table).collect())
    }

    /// Opens a table that must be there.
    pub fn table(&mut self, key: &str, right: &str) -> Result<Keys, SettingsError> {
        let map = self.required(key, right, |value| value.as_object().cloned())?;
        Ok(self.child(key, map))
    }

    /// Refuses what has not been read: a misspelt key must not silently keep its default.
    pub fn finish(self) -> Result<(), SettingsError> {
        match self.map.iter().next() {
            None => Ok(()),
            Some((key, value)) => Err(SettingsError::Unknown {
                file: self.file.clone(),
                key: format!("{}{key}", self.prefix),
                value: value.to_string(),
                known: self.known.join(", "),
            }),
        }
    }

    /// An error about a key whose value was well-formed by itself.
    pub fn wrong(&self, key: &str, value: &impl ToString, right: &str) -> SettingsError {
        SettingsError::Value {
            file: self.file.clone(),
            key: format!("{}{key}", self.prefix),
            value: value.to_string(),
            right: right.to_owned(),
        }
    }

    fn missing(&self, key: &str, right: &str) -> SettingsError {
        SettingsError::Missing {
            file: self.file.clone(),
            key: format!("{}{key}", self.prefix),
            right: right.to_owned(),
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.known.push(key.to_owned());
        self.map.remove(key)
    }

    fn child(&self, key: &str, map: Map<String, Value>) -> Keys {
        Keys {
            file: self.file.clone(),
            prefix: format!("{}{key}.", self.prefix),
            map,
            known: Vec::new(),
        }
    }
}

/// For [`Keys::optional`] and its like: a string that `T` can be read from.
pub fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}
