//! Settings that say where everything is that an installation runs, and that were changed while something runs.

use std::fs;
use std::path::Path;

use crate::ground::told::Told;
use crate::model::{AppName, EngineSettings, Scope, printable};
use crate::store::Identity;

/// The most things that run that a sentence names.
const NAMED: usize = 6;

/// The configuration's settings are not those that what runs was made under: commands that change something are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .told)]
pub struct SettingsDiffer {
    /// Which: `engine.host`, `engine.network`, `engine.subnet`, `state`. None where that cannot be told.
    pub settings: Vec<&'static str>,
    /// What is so, and what to do.
    pub told: Told,
}

/// A setting that is not what is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::release) struct Changed {
    name: &'static str,
    was: String,
    now: String,
}

/// Something that is lost to whoever goes by other settings.
pub(in crate::release) struct Held {
    app: AppName,
    /// As people read it.
    told: String,
}

impl Held {
    pub(in crate::release) fn new(app: &AppName, told: String) -> Self {
        let app = app.clone();
        Self { app, told }
    }
}

/// The settings that differ from those in force.
pub(in crate::release) fn changed(identity: &Identity, settings: &EngineSettings) -> Vec<Changed> {
    let mut all = Vec::new();
    let mut change = |name, was: String, now: String| all.push(Changed { name, was, now });
    if !is_the_same_host(&identity.host, &settings.host) {
        change("engine.host", identity.host.clone(), settings.host.clone());
    }
    if identity.network != settings.network {
        change(
            "engine.network",
            identity.network.clone(),
            settings.network.clone(),
        );
    }
    if identity.subnet != settings.subnet {
        let (was, now) = (identity.subnet.to_string(), settings.subnet.to_string());
        change("engine.subnet", was, now);
    }
    all
}

/// Two paths may lead to one socket: /var/run is /run.
fn is_the_same_host(one: &str, other: &str) -> bool {
    let socket = |host: &str| fs::canonicalize(host.strip_prefix("unix://")?).ok();
    one == other || socket(one).is_some_and(|one| socket(other) == Some(one))
}

impl SettingsDiffer {
    /// The settings that differ from those in force, under which `held` was made.
    pub(in crate::release) fn of(
        identity: &Identity,
        settings: &EngineSettings,
        held: &[Held],
        scope: &Scope,
    ) -> Self {
        let changed = changed(identity, settings);
        let now = changed.iter().map(|it| format!("{} = {:?}", it.name, it.now));
        let key = |name: &'static str| name.strip_prefix("engine.").unwrap_or(name);
        let was = changed
            .iter()
            .map(|it| format!("{} = {:?}", key(it.name), it.was));
        let (now, was) = (now.collect::<Vec<_>>(), was.collect::<Vec<_>>().join(", "));
        let message = format!(
            "the configuration says {}, and what runs was made under {was}: {}. Nothing is changed under other settings, \
             which would lose all of it",
            now.join(", "),
            list(held, scope)
        );
        let hint = format!(
            "write {was} into [engine] again; to change it, remove these apps under the old settings first (`deployer app \
             remove APP --yes`), and create them anew"
        );
        Self {
            settings: changed.iter().map(|it| it.name).collect(),
            told: Told::new(message).hint(hint),
        }
    }

    /// The containers `others` on `network` are of another installation, whose state folder is `theirs` where that is
    /// known; `ours` is this one's.
    pub(in crate::release) fn anothers(
        ours: &Path,
        network: &str,
        theirs: Option<&str>,
        others: &[Held],
        scope: &Scope,
    ) -> Self {
        let theirs = theirs.map(printable);
        let (whose, hint) = match &theirs {
            Some(theirs) if ours != Path::new(theirs.as_ref()) => (
                format!(
                    "an installation whose state folder is {theirs}, and this one's is {}",
                    ours.display()
                ),
                format!("write state = {theirs:?} again where that is it; else "),
            ),
            _ => (
                format!("an installation that {} knows nothing of", ours.display()),
                String::new(),
            ),
        };
        let message = format!(
            "on the network {network:?} there are containers of {whose}: {}. Nothing is changed beside them",
            list(others, scope)
        );
        let hint = format!(
            "{hint}give this installation an engine.network and engine.subnet of its own; where nobody needs them any more, \
             `docker rm -f $(docker ps -aq --filter label=deployer.network={network})` removes them"
        );
        Self {
            settings: vec!["state"],
            told: Told::new(message).hint(hint),
        }
    }

    /// Whether they differ cannot be told, because of `error`.
    pub(in crate::release) fn unknown(error: &anyhow::Error) -> Self {
        Self {
            settings: Vec::new(),
            told: Told::of(error),
        }
    }
}

/// The first of them that there are for whoever asks, and how many more there are.
fn list(all: &[Held], scope: &Scope) -> String {
    let seen = all.iter().filter(|held| scope.has_app(&held.app)).take(NAMED);
    let seen: Vec<&str> = seen.map(|held| held.told.as_str()).collect();
    match (seen.as_slice(), all.len() - seen.len()) {
        ([], _) => "of apps that are not for this key".to_owned(),
        (seen, 0) => seen.join(", "),
        (seen, more) => format!("{} and {more} more", seen.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Builder;

    #[test]
    fn each_setting_that_was_changed_is_named_with_both_values_and_what_runs() {
        let identity = Identity {
            installation: "1".to_owned(),
            host: "unix:///run/docker.sock".to_owned(),
            network: "deployer".to_owned(),
            subnet: "10.213.0.0/16".parse().unwrap(),
        };
        let mut settings = EngineSettings {
            host: identity.host.clone(),
            network: identity.network.clone(),
            subnet: identity.subnet,
            builder: Builder::Auto,
        };
        assert_eq!(changed(&identity, &settings), []);
        settings.network = "other".to_owned();
        settings.subnet = "10.9.0.0/16".parse().unwrap();
        let shop: AppName = "shop".parse().unwrap();
        let held: Vec<Held> = (1..9)
            .map(|release| Held::new(&shop, format!("shop release {release}")))
            .collect();
        let differ = SettingsDiffer::of(&identity, &settings, &held, &Scope::default());
        assert_eq!(differ.settings, ["engine.network", "engine.subnet"]);
        let said = differ.to_string();
        for told in [
            "engine.network = \"other\", engine.subnet = \"10.9.0.0/16\"",
            "made under network = \"deployer\", subnet = \"10.213.0.0/16\"",
            "shop release 6 and 2 more",
            "Hint: write network = ",
        ] {
            assert!(said.contains(told), "{said}");
        }
    }
}
