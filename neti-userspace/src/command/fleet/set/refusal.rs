//! Why new settings are refused unless they are forced.

use std::fmt;

/// What new settings would do to hosts. Shown as one line, without the name of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Begins with the key at fault.
    pub what: String,
    /// What would be right, and what --force does.
    pub instead: String,
}

impl Refusal {
    pub fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), instead: instead.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.instead)
    }
}
