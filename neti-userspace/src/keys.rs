//! Reads the keys of a settings file one by one, so that every error names the file, the key, its
//! value and what would be right. TOML and JSON both arrive here as JSON values.

use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

pub mod json;
mod lines;

/// What is wrong with a settings file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error("{file}: {key} = {value}: {what}")]
    Value { file: String, key: String, value: String, what: String },
    #[error("{file}: {key}: missing; must be {right}")]
    Missing { file: String, key: String, right: String },
    #[error("{file}: {key} = {value}: unknown key; known are {known}")]
    Unknown { file: String, key: String, value: String, known: String },
    #[error("{file}: {what}")]
    File { file: String, what: String },
}

impl SettingsError {
    /// The same with the line of `text`, which is JSON, on which its key has its value.
    pub fn at_line(mut self, text: &[u8]) -> Self {
        let (Self::Value { file, key, .. }
        | Self::Missing { file, key, .. }
        | Self::Unknown { file, key, .. }) = &mut self
        else {
            return self;
        };
        let text = str::from_utf8(text).ok();
        if let Some(line) = text.and_then(|text| lines::line(text, key)) {
            *file = format!("{file}:{line}");
        }
        self
    }
}

/// What a reader makes of a value: `None` where it is not what is right, an error where the reader
/// knows better what is wrong with it.
pub trait Reading {
    type Of;

    fn or_right(self, right: &str) -> Result<Self::Of, String>;
}

impl<T> Reading for Option<T> {
    type Of = T;

    fn or_right(self, right: &str) -> Result<T, String> {
        self.ok_or_else(|| format!("must be {right}"))
    }
}

impl<T> Reading for Result<T, String> {
    type Of = T;

    fn or_right(self, _: &str) -> Self {
        self
    }
}

/// The keys of one table that have not been read yet.
pub struct Keys {
    file: Arc<str>,
    /// The path of this table, with its dot: `registry.`.
    prefix: String,
    map: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Keys {
    pub fn new(file: &str, map: Map<String, Value>) -> Self {
        Self { file: file.into(), prefix: String::new(), map, known: Vec::new() }
    }

    /// Reads an optional key.
    pub fn optional<R: Reading>(
        &mut self,
        key: &'static str,
        right: &str,
        read: impl FnOnce(&Value) -> R,
    ) -> Result<Option<R::Of>, SettingsError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let read = read(&value).or_right(right);
        read.map(Some).map_err(|what| self.wrong(key, &value, &what))
    }

    /// Reads a key that must be there.
    pub fn required<R: Reading>(
        &mut self,
        key: &'static str,
        right: &str,
        read: impl FnOnce(&Value) -> R,
    ) -> Result<R::Of, SettingsError> {
        self.optional(key, right, read)?.ok_or_else(|| self.missing(key, right))
    }

    /// Reads an optional list; an error names the element. `right` describes one element.
    pub fn list<R: Reading>(
        &mut self,
        key: &'static str,
        right: &str,
        read: impl Fn(&Value) -> R,
    ) -> Result<Option<Vec<R::Of>>, SettingsError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(values)) => self.elements(key, right, &values, read).map(Some),
            Some(value) => {
                Err(self.wrong(key, &value, &format!("must be a list, each element {right}")))
            }
        }
    }

    /// Reads an optional value that may also be a list of such values.
    pub fn one_or_more<R: Reading>(
        &mut self,
        key: &'static str,
        right: &str,
        read: impl Fn(&Value) -> R,
    ) -> Result<Option<Vec<R::Of>>, SettingsError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(values)) => self.elements(key, right, &values, read).map(Some),
            Some(value) => match read(&value).or_right(right) {
                Ok(one) => Ok(Some(vec![one])),
                Err(what) => Err(self.wrong(key, &value, &what)),
            },
        }
    }

    fn elements<R: Reading>(
        &self,
        key: &str,
        right: &str,
        values: &[Value],
        read: impl Fn(&Value) -> R,
    ) -> Result<Vec<R::Of>, SettingsError> {
        let element = |(index, value)| {
            let read = read(value).or_right(right);
            read.map_err(|what| self.wrong(&format!("{key}[{index}]"), value, &what))
        };
        values.iter().enumerate().map(element).collect()
    }

    /// Opens an optional list of tables.
    pub fn tables(&mut self, key: &'static str) -> Result<Vec<Keys>, SettingsError> {
        let tables = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(tables)) => tables,
            Some(value) => {
                return Err(self.wrong(key, &value, "must be a list, each element a table"));
            }
        };
        let table = |(index, value)| self.child(format!("{key}[{index}]"), value);
        tables.into_iter().enumerate().map(table).collect()
    }

    /// Opens the tables of an optional table, with their keys.
    pub fn named_tables(
        &mut self,
        key: &'static str,
        right: &str,
    ) -> Result<Option<Vec<(String, Keys)>>, SettingsError> {
        let tables = match self.take(key) {
            None => return Ok(None),
            Some(Value::Object(tables)) => tables,
            Some(value) => return Err(self.wrong(key, &value, &format!("must be {right}"))),
        };
        let table = |(name, value): (String, Value)| {
            let keys = self.child(format!("{key}.{name}"), value)?;
            Ok((name, keys))
        };
        tables.into_iter().map(table).collect::<Result<_, _>>().map(Some)
    }

    /// Opens a table that must be there.
    pub fn table(&mut self, key: &'static str, right: &str) -> Result<Keys, SettingsError> {
        let map = self.required(key, right, |value| value.as_object().cloned())?;
        self.child(key.to_owned(), Value::Object(map))
    }

    /// Refuses what has not been read: a misspelt key must not silently keep its default.
    pub fn finish(self) -> Result<(), SettingsError> {
        match self.map.iter().next() {
            None => Ok(()),
            Some((key, value)) => Err(SettingsError::Unknown {
                file: self.file.to_string(),
                key: format!("{}{key}", self.prefix),
                value: value.to_string(),
                known: self.known.join(", "),
            }),
        }
    }

    /// An error about a key; `what` says what is wrong and what would be right.
    pub fn wrong(&self, key: &str, value: &impl ToString, what: &str) -> SettingsError {
        SettingsError::Value {
            file: self.file.to_string(),
            key: format!("{}{key}", self.prefix),
            value: value.to_string(),
            what: what.to_owned(),
        }
    }

    /// An error about a key that must be there.
    pub fn missing(&self, key: &str, right: &str) -> SettingsError {
        SettingsError::Missing {
            file: self.file.to_string(),
            key: format!("{}{key}", self.prefix),
            right: right.to_owned(),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key)
    }

    /// Opens the table that is the value of `key`.
    fn child(&self, key: String, value: Value) -> Result<Keys, SettingsError> {
        let Value::Object(map) = value else {
            return Err(self.wrong(&key, &value, "must be a table"));
        };
        let prefix = format!("{}{key}.", self.prefix);
        Ok(Keys { file: self.file.clone(), prefix, map, known: Vec::new() })
    }
}

/// For [`Keys::optional`] and its like: a string that `T` can be read from.
pub fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}
