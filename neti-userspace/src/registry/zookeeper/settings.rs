//! The fleet settings. In the classic layout the removal threshold stands in a node of its own, for
//! daemons of the original Neti too, and is more than what the settings say of it.

use serde_json::{Map, Value};
use zookeeper_client::{Client, CreateMode, Error, MultiWriteError, MultiWriter, Stat};

use super::{
    Place,
    layout::MAX_REMOVALS,
    reading::{self, Answer},
};
use crate::{
    config::Layout,
    fleet::FleetSettings,
    registry::{
        RegistryError, Result, Settings,
        packed::{pack, unpack},
    },
};

/// What stands there: the settings' node, and in the classic layout the threshold's.
#[derive(Debug)]
pub struct Standing {
    fleet: Option<(Vec<u8>, Stat)>,
    threshold: Option<(Vec<u8>, Stat)>,
}

/// The paths that [`Standing`] is read from.
pub fn paths(place: &Place) -> Vec<String> {
    let mut paths = vec![place.tree.path("fleet")];
    if place.tree.layout == Layout::Classic {
        paths.push(place.tree.path(MAX_REMOVALS));
    }
    paths
}

impl Standing {
    pub async fn read(place: &Place, client: &Client) -> Result<Self> {
        Self::of(place, reading::all(&place.link, client, &paths(place)).await?)
    }

    /// From the answers about [`paths`].
    pub fn of(place: &Place, answers: Vec<Answer>) -> Result<Self> {
        let mut found = Vec::new();
        for (answer, path) in answers.into_iter().zip(paths(place)) {
            found.push(answer.map_err(|error| place.link.error(&path, error))?);
        }
        let mut found = found.into_iter();
        let fleet =
            found.next().flatten().map(|(stands, stat)| (unpack(&stands).into_owned(), stat));
        Ok(Self { fleet, threshold: found.next().flatten() })
    }

    /// The settings in force, or why there are none.
    pub fn text(&self, place: &Place) -> std::result::Result<Vec<u8>, String> {
        let node = || place.link.place(&place.tree.path("fleet"));
        let (text, _) = self
            .fleet
            .as_ref()
            .ok_or_else(|| format!("{}: is not there; `neti fleet set` writes it", node()))?;
        let Some((threshold, _)) = &self.threshold else { return Ok(text.clone()) };
        with_threshold(text, threshold)
            .map_err(|what| format!("{}: {what}", place.link.place(&place.tree.path(MAX_REMOVALS))))
    }

    /// The settings as far as they can be told: a threshold that cannot be read ends no start.
    pub fn usable(&self, place: &Place) -> Result<Vec<u8>> {
        let fleet = self.fleet.as_ref().map(|(text, _)| text.clone());
        self.text(place).or_else(|what| fleet.ok_or(RegistryError::Settings(what)))
    }

    /// The settings in force, validated.
    pub fn fleet(&self, place: &Place) -> Result<FleetSettings> {
        Ok(FleetSettings::parse(&name(place), &self.usable(place)?)?)
    }

    /// Grows with each change of either node.
    fn version(&self) -> Option<u64> {
        let (_, fleet) = self.fleet.as_ref()?;
        let threshold = self.threshold.as_ref().map_or(0, |(_, stat)| stat.mzxid);
        Some(fleet.mzxid.max(threshold) as u64)
    }

    pub fn is_there(&self) -> bool {
        self.fleet.is_some()
    }
}

/// What the settings call the threshold.
const THRESHOLD: &str = "max_removals";

/// What errors call the settings.
pub fn name(place: &Place) -> String {
    place.link.place(&place.tree.path("fleet"))
}

pub async fn read(place: &Place, client: &Client) -> Result<Option<Settings>> {
    let standing = Standing::read(place, client).await?;
    let Some(version) = standing.version() else { return Ok(None) };
    // What is wrong with the threshold is to be seen, or nobody could mend it.
    let text = match (standing.text(place), &standing.threshold) {
        (Err(_), Some((threshold, _))) => {
            with_value(&standing.usable(place)?, String::from_utf8_lossy(threshold).into())
        }
        _ => standing.usable(place)?,
    };
    Ok(Some(Settings { text, version }))
}

/// Writes the settings, and their threshold where it has a node. The first settings of a fleet that
/// has a threshold already leave it alone unless they name one; from then on it is seen as theirs.
pub async fn write(
    place: &Place,
    client: &Client,
    text: &str,
    expected: Option<u64>,
) -> Result<()> {
    if place.tree.layout == Layout::Classic {
        without_roles(&name(place), text)?;
    }
    let path = place.tree.path("fleet");
    let changed = || place.link.error(&path, Error::BadVersion);
    let standing = Standing::read(place, client).await?;
    if standing.version() != expected {
        return Err(changed());
    }
    let mut writer = client.new_multi_writer();
    put(place, &mut writer, &path, standing.fleet.as_ref(), &pack(text))?;
    if place.tree.layout == Layout::Classic
        && (names_threshold(text) || standing.is_there() || standing.threshold.is_none())
    {
        let settings = FleetSettings::parse(&name(place), text.as_bytes())?;
        let threshold = settings.max_removals.to_string();
        let node = place.tree.path(MAX_REMOVALS);
        put(place, &mut writer, &node, standing.threshold.as_ref(), threshold.as_bytes())?;
    }
    let written = async {
        match writer.commit().await {
            // Somebody has made or removed it since we looked.
            Err(MultiWriteError::OperationFailed {
                source: Error::NodeExists | Error::NoNode,
                ..
            }) => Err(Error::BadVersion),
            other => other.map_err(Error::from),
        }
    };
    place.link.ask(&path, written).await.map(drop)
}

/// Fails if the settings are about roles: in the original Neti's tree no member has one, so that a rule
/// about them would let in nobody.
fn without_roles(name: &str, text: &str) -> Result<()> {
    let settings = FleetSettings::parse(name, text.as_bytes())?;
    match settings.policy.roles().first() {
        None => Ok(()),
        Some(role) => Err(RegistryError::Settings(format!(
            "{name}: layout classic has no roles, and the settings are about role {role}; must be \
             about hosts by their ids"
        ))),
    }
}

/// Writes a node if it still is what was read.
fn put(
    place: &Place,
    writer: &mut MultiWriter<'_>,
    path: &str,
    before: Option<&(Vec<u8>, Stat)>,
    value: &[u8],
) -> Result<()> {
    let added = match before {
        Some((_, stat)) => writer.add_set_data(path, value, Some(stat.version)),
        None => {
            let options = place.tree.own(CreateMode::Persistent);
            writer.add_create(path, value, &options)
        }
    };
    added.map_err(|error| place.link.error(path, error))
}

fn names_threshold(text: &str) -> bool {
    let settings = serde_json::from_str::<Map<String, Value>>(text);
    settings.is_ok_and(|settings| settings.contains_key(THRESHOLD))
}

/// The settings with this threshold in place of their own.
fn with_threshold(text: &[u8], threshold: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let threshold = String::from_utf8_lossy(threshold);
    let number: u64 = threshold
        .trim()
        .parse()
        .map_err(|_| format!("{threshold:?}: must be a number of hosts, like 20"))?;
    Ok(with_value(text, number.into()))
}

/// The settings with this for a threshold. What is no JSON object stays as it is: whoever parses
/// the settings says what is wrong with them.
fn with_value(text: &[u8], threshold: Value) -> Vec<u8> {
    let Ok(mut settings) = serde_json::from_slice::<Map<String, Value>>(text) else {
        return text.to_vec();
    };
    if settings.insert(THRESHOLD.to_owned(), threshold.clone()) == Some(threshold) {
        return text.to_vec();
    }
    format!("{:#}\n", Value::Object(settings)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_about_roles_are_none_for_a_tree_without_them() {
        for (keys, role) in [
            (r#""roles": {"web": {}}"#, Some("web")),
            (r#""member_rules": ["from host hudson to role db"]"#, Some("db")),
            (r#""member_rules": ["from host hudson to any"]"#, None),
        ] {
            let text = format!(r#"{{"overlay": ["100.64.0.0/16"], {keys}}}"#);
            let error = without_roles("fleet", &text).err().map(|error| error.to_string());
            let told = role.map(|role| format!("the settings are about role {role};"));
            assert_eq!(error.is_some(), told.is_some(), "{keys}");
            assert!(error.unwrap_or_default().contains(&told.unwrap_or_default()), "{keys}");
        }
    }

    #[test]
    fn the_threshold_is_the_nodes() {
        let text = br#"{"overlay": ["100.64.0.0/16"], "max_removals": 7}"#;
        let settings = |threshold| {
            let text = with_threshold(text, threshold).unwrap();
            FleetSettings::parse("fleet", &text).unwrap().max_removals
        };
        assert_eq!(settings(b"40"), 40);
        assert_eq!(settings(b" 40\n"), 40);
        assert!(names_threshold(r#"{"max_removals": 7}"#) && !names_threshold("{}"));
        assert_eq!(with_threshold(text, b"7").unwrap(), text);
        assert_eq!(with_threshold(b"{", b"7").unwrap(), b"{");
        let what = with_threshold(text, b"many").unwrap_err();
        assert_eq!(what, "\"many\": must be a number of hosts, like 20");
    }
}
