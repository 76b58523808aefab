//! What an operator says of a member beside what neti goes by.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Texts by their names, in ascending order of these. A map would take half a kilobyte for the first of them, and a
/// host knows the labels of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(Box<[(String, String)]>);

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().collect())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, text)| (name, text)))
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(from).map(|labels: BTreeMap<String, String>| labels.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_as_a_map() {
        let text = r#"{"rack":"b12","row":"3"}"#;
        let labels: Labels = serde_json::from_str(r#"{"row": "3", "rack": "b12"}"#).unwrap();
        assert_eq!(serde_json::to_string(&labels).unwrap(), text);
        assert_eq!(serde_json::from_str::<Labels>("{}").unwrap(), Labels::default());
        assert!(serde_json::from_str::<Labels>(r#"{"row": 3}"#).is_err());
    }
}
