//! Changes of the settings' text, key by key. Pure.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::{fleet::DEFAULT_FAILSAFE, keys::json};

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

/// The tables by names that there are among the settings, and the keys that a name in each may have.
const TABLES: [(&str, &[&str]); 4] = [
    ("networks", &["peered"]),
    ("roles", &["mode", "echo", "allow", "open"]),
    ("hosts", &["mode", "echo", "allow", "open"]),
    ("nat_overrides", &[]),
];

/// What becomes of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// `=`: it has this one, or none.
    Set,
    /// `+=`: its list has these elements too.
    Add,
    /// `-=`: its list has these elements no more.
    Remove,
}

/// Does what each `KEY=VALUE`, `KEY+=VALUE` and `KEY-=VALUE` asks for, one after the other; a key that is there keeps its
/// place.
pub fn apply(mut settings: Map<String, Value>, changes: &[String]) -> Result<Map<String, Value>> {
    let mut asked = Vec::new();
    for change in changes {
        let Some((key, operation, value)) = parts(change) else {
            bail!("{change:?}: must be KEY=VALUE, like mode=enforce");
        };
        if operation == Operation::Set {
            if asked.contains(&key) {
                bail!("{change:?}: {key} is given twice; must be given once");
            }
            asked.push(key);
        }
        let Place { tables, own, keys } = Place::of(key);
        if operation == Operation::Set && value.is_empty() {
            if let Some(table) = there(&mut settings, &tables) {
                table.shift_remove(own);
            }
            continue;
        }
        let value = read(key, value)?;
        if !keys.is_empty() && !value.is_object() {
            let (table, keys) = (tables.concat(), keys.join(", "));
            bail!("{change:?}: must be {table}.NAME.KEY=VALUE, where KEY is one of {keys}");
        }
        made(&mut settings, &tables)
            .and_then(|table| alter(table, own, operation, value))
            .with_context(|| format!("{change:?}"))?;
    }
    Ok(settings)
}

/// Key, operation and value of a change; `None` if it has no key.
fn parts(change: &str) -> Option<(&str, Operation, &str)> {
    let (key, value) = change.split_once('=')?;
    let (key, operation) = match (key.strip_suffix('+'), key.strip_suffix('-')) {
        (Some(key), _) => (key, Operation::Add),
        (_, Some(key)) => (key, Operation::Remove),
        _ => (key, Operation::Set),
    };
    (!key.is_empty()).then_some((key, operation, value))
}

/// Where a key is: `hosts.web-1.mode` is `mode` in `hosts` and `web-1`. Names may have dots in them.
struct Place<'a> {
    /// From the outermost.
    tables: Vec<&'a str>,
    own: &'a str,
    /// The keys that its value may have, if that must be a table.
    keys: &'static [&'static str],
}

impl<'a> Place<'a> {
    fn of(key: &'a str) -> Self {
        let table = key.split_once('.').and_then(|(table, name)| {
            let (_, keys) = TABLES.into_iter().find(|(known, _)| *known == table)?;
            Some((table, name, keys))
        });
        match table {
            None => Self { tables: Vec::new(), own: key, keys: &[] },
            Some((table, name, keys)) => match name.rsplit_once('.') {
                Some((name, own)) if keys.contains(&own) => {
                    Self { tables: vec![table, name], own, keys: &[] }
                }
                _ => Self { tables: vec![table], own: name, keys },
            },
        }
    }
}

/// The innermost of these tables, if all of them are there.
fn there<'a>(
    settings: &'a mut Map<String, Value>,
    tables: &[&str],
) -> Option<&'a mut Map<String, Value>> {
    tables.iter().try_fold(settings, |table, name| table.get_mut(*name)?.as_object_mut())
}

/// The same; those that are not there are made.
fn made<'a>(
    settings: &'a mut Map<String, Value>,
    tables: &[&str],
) -> Result<&'a mut Map<String, Value>> {
    tables.iter().try_fold(settings, |table, name| {
        let inner = table.entry(*name).or_insert_with(|| Value::Object(Map::new()));
        match inner {
            Value::Object(inner) => Ok(inner),
            other => bail!("{name} is {other}, and no table; set it as a whole"),
        }
    })
}

/// Changes what a key has in its table.
fn alter(
    table: &mut Map<String, Value>,
    key: &str,
    operation: Operation,
    value: Value,
) -> Result<()> {
    if operation == Operation::Set {
        table.insert(key.to_owned(), value);
        return Ok(());
    }
    let list = match table.entry(key).or_insert_with(|| default(key)) {
        Value::Array(list) => list,
        other => bail!("{key} is {other}, and no list; must be set by ="),
    };
    // No setting's elements are lists.
    let elements = match value {
        Value::Array(elements) => elements,
        element => vec![element],
    };
    for element in elements {
        let is_there = list.contains(&element);
        match operation {
            Operation::Remove if is_there => list.retain(|there| *there != element),
            Operation::Remove => {
                bail!("{key} has no element {element}; see `neti fleet settings`")
            }
            _ if is_there => {}
            _ => list.push(element),
        }
    }
    Ok(())
}

/// What a list holds that is not set.
fn default(key: &str) -> Value {
    let ranges: &[_] = if key == "failsafe" { &DEFAULT_FAILSAFE } else { &[] };
    ranges.iter().map(|range| Value::String(range.to_string())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"{"overlay":["100.64.0.0/16"],"mode":"observe","echo":true}"#;

    fn check(before: &str, changes: &[&str], after: &str) {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let changed = apply(object(before.as_bytes()).unwrap(), &changes).unwrap();
        assert_eq!(Value::Object(changed).to_string(), after, "{changes:?}");
    }

    #[test]
    fn changes_keys_and_keeps_order_and_the_others() {
        let enforce = r#"{"overlay":["100.64.0.0/16"],"mode":"enforce","echo":true}"#;
        check(BEFORE, &["mode=enforce"], enforce);
        check(
            BEFORE,
            &["max_removals=50", "overlay=[\"100.65.0.0/16\"]", "mode="],
            r#"{"overlay":["100.65.0.0/16"],"echo":true,"max_removals":50}"#,
        );
        check(BEFORE, &["twin_ports=", "mode=\"observe\"", "echo=true"], BEFORE);
        check(
            BEFORE,
            &["twin_ports=61000-65000"],
            r#"{"overlay":["100.64.0.0/16"],"mode":"observe","echo":true,"twin_ports":"61000-65000"}"#,
        );
    }

    #[test]
    fn adds_to_lists_and_takes_from_them() {
        check("{}", &["open+=tcp/80"], r#"{"open":["tcp/80"]}"#);
        let open = r#"{"open":["tcp/80","tcp/443"]}"#;
        check(open, &["open+=tcp/443"], open);
        check(open, &["open-=tcp/80", "open+=udp/53"], r#"{"open":["tcp/443","udp/53"]}"#);
        check(open, &[r#"open-=["tcp/443","tcp/80"]"#], r#"{"open":[]}"#);
        check(r#"{"open":["tcp/80","tcp/80"]}"#, &["open-=tcp/80"], r#"{"open":[]}"#);
        // One that has a default begins with it.
        check(
            "{}",
            &["failsafe-=fc00::/7", "failsafe-=fe80::/10", "failsafe+=198.51.100.0/24"],
            r#"{"failsafe":["10.0.0.0/8","172.16.0.0/12","192.168.0.0/16","198.51.100.0/24"]}"#,
        );
        check(
            r#"{"allow":[{"from":"10.0.0.0/8"}]}"#,
            &[r#"allow+={"from":"192.0.2.0/24"}"#, r#"allow-={"from":"10.0.0.0/8"}"#],
            r#"{"allow":[{"from":"192.0.2.0/24"}]}"#,
        );
    }

    #[test]
    fn changes_what_a_name_has_and_leaves_the_others_alone() {
        let hosts = r#"{"hosts":{"a":{"mode":"observe","open":["tcp/80"]}}}"#;
        for (change, after) in [
            ("hosts.a.mode=enforce", r#"{"hosts":{"a":{"mode":"enforce","open":["tcp/80"]}}}"#),
            ("hosts.a.mode=", r#"{"hosts":{"a":{"open":["tcp/80"]}}}"#),
            (
                "hosts.a.open+=tcp/81",
                r#"{"hosts":{"a":{"mode":"observe","open":["tcp/80","tcp/81"]}}}"#,
            ),
            ("hosts.a=", r#"{"hosts":{}}"#),
            ("hosts.b.mode=", hosts),
            ("roles.web.echo=", hosts),
        ] {
            check(hosts, &[change], after);
        }
        // Names may have dots in them, and addresses do.
        check(
            "{}",
            &["hosts.a.example.org.mode=enforce"],
            r#"{"hosts":{"a.example.org":{"mode":"enforce"}}}"#,
        );
        check("{}", &["hosts.a.example.org={}"], r#"{"hosts":{"a.example.org":{}}}"#);
        check(
            "{}",
            &["nat_overrides.100.64.9.9=203.0.113.7"],
            r#"{"nat_overrides":{"100.64.9.9":"203.0.113.7"}}"#,
        );
        check("{}", &["networks.vpc.peered+=dc"], r#"{"networks":{"vpc":{"peered":["dc"]}}}"#);
    }

    #[test]
    fn says_what_it_does_not_understand() {
        for (changes, error) in [
            (&["mode"][..], "\"mode\": must be KEY=VALUE, like mode=enforce"),
            (&["=enforce"], "\"=enforce\": must be KEY=VALUE"),
            (&["+=enforce"], "\"+=enforce\": must be KEY=VALUE"),
            (&["mode=enforce", "mode="], "\"mode=\": mode is given twice; must be given once"),
            (&["open=[tcp/80]"], "open = [tcp/80]: not JSON (expected ident at"),
            (&["mode=\"enforce"], "mode = \"enforce: not JSON ("),
            (
                &["mode+=enforce"],
                "\"mode+=enforce\": mode is \"observe\", and no list; must be set by =",
            ),
            (
                &["overlay-=100.65.0.0/16"],
                "\"overlay-=100.65.0.0/16\": overlay has no element \"100.65.0.0/16\"; see",
            ),
            (
                &["hosts.a.mod=enforce"],
                "\"hosts.a.mod=enforce\": must be hosts.NAME.KEY=VALUE, where KEY is one of \
                 mode, echo",
            ),
            (
                &["hosts=all", "hosts.a.mode=enforce"],
                "\"hosts.a.mode=enforce\": hosts is \"all\", and no table; set it as a whole",
            ),
        ] {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            let before = object(BEFORE.as_bytes()).unwrap();
            let found = format!("{:#}", apply(before, &changes).unwrap_err());
            assert!(found.starts_with(error), "{changes:?}: {found}");
        }
    }
}
