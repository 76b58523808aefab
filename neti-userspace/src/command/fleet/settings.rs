//! `neti fleet settings`.

use std::io::Write;

use anyhow::{Result, bail};

use crate::{fleet::FleetSettings, registry::Registry};

pub async fn run(out: &mut impl Write, registry: &impl Registry) -> Result<()> {
    let Some(settings) = registry.settings().await? else {
        bail!(
            "the registry has no fleet settings; write them with `neti fleet set \
             'overlay=[\"100.64.0.0/16\"]'`"
        );
    };
    // What is wrong is to be seen all the same, or nobody could mend it.
    if let Err(error) = FleetSettings::parse(super::set::NAME, &settings.text) {
        eprintln!("neti: {error}; the hosts keep the settings that they had before");
    }
    out.write_all(&settings.text)?;
    if !settings.text.ends_with(b"\n") {
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::command::fleet::sample::{printed, registry};

    #[tokio::test]
    async fn prints_what_stands_there_whatever_it_is() {
        for text in ["{ \"overlay\":\n  [\"100.64.0.0/16\"] }\n", "{\n"] {
            let registry = registry(text);
            assert_eq!(printed(async |out| run(out, &registry.open()).await).await.unwrap(), text);
        }
        let none = registry("{}");
        std::fs::remove_file(none.path("fleet")).unwrap();
        let error =
            printed(async |out| run(out, &none.open()).await).await.unwrap_err().to_string();
        assert!(error.starts_with("the registry has no fleet settings; write them"), "{error}");
    }
}
