//! What somebody reads who logs in: who they are here, and what they may do.

use std::net::IpAddr;

use crate::model::{AppName, Grant, KeyName, Role, Slot};

/// What a greeting is made of.
#[derive(Debug, Clone)]
pub struct Greeting<'a> {
    /// The key.
    pub key: &'a KeyName,
    /// What it may do.
    pub grant: &'a Grant,
    /// Where it came from.
    pub from: Option<IpAddr>,
    /// The user that it came to.
    pub user: &'a str,
    /// The apps that there are for it.
    pub apps: &'a [AppName],
}

/// The greeting's lines.
pub fn greeting(greeting: &Greeting<'_>) -> Vec<String> {
    let Greeting {
        key,
        grant,
        from,
        user,
        apps,
    } = greeting;
    let from = from.map(|from| format!(", from {from}")).unwrap_or_default();
    let mut lines = vec![
        format!("You are {key}{from}. This is deployer, and there is no shell here."),
        format!("Your role is {}, for {}.", grant.role, reach(grant, apps)),
        String::new(),
        "What you may do, HOST being the name that you came by:".to_owned(),
    ];
    let slot = slot_name(grant, apps);
    lines.extend(
        commands(grant, &slot).map(|(command, does)| match command.strip_prefix("git ") {
            Some(_) => format!("  {command:<44} {does}"),
            None => format!("  {:<44} {does}", format!("ssh {user}@HOST {command}")),
        }),
    );
    lines.push(format!("  {:<44} all of it", format!("ssh {user}@HOST help")));
    if !apps.is_empty() {
        lines.extend([String::new(), "The remotes:".to_owned()]);
    }
    for app in *apps {
        let slots = Slot::BOTH.into_iter().rev().filter(|slot| grant.has_slot(*slot));
        lines.extend(slots.map(|slot| format!("  git remote add {slot} {user}@HOST:{app}/{slot}")));
    }
    lines
}

fn reach(grant: &Grant, apps: &[AppName]) -> String {
    let apps = match (grant.apps.as_slice(), apps) {
        ([], []) => "every app; there is none yet".to_owned(),
        ([], all) => format!("every app ({})", list(all)),
        (_, []) => "apps that are not there any more".to_owned(),
        (_, [only]) => format!("the app {only}"),
        (_, some) => format!("the apps {}", list(some)),
    };
    match Slot::BOTH.into_iter().find(|slot| !grant.has_slot(*slot)) {
        Some(other) => format!("{apps}, and {} alone", other.other()),
        None => apps,
    }
}

fn list(apps: &[AppName]) -> String {
    apps.iter().map(AppName::as_str).collect::<Vec<_>>().join(", ")
}

/// A slot of theirs as they have to write it.
fn slot_name(grant: &Grant, apps: &[AppName]) -> String {
    let slot = if grant.has_slot(Slot::Green) {
        Slot::Green
    } else {
        Slot::Blue
    };
    match apps {
        [first, _, ..] => format!("{first}/{slot}"),
        _ => slot.to_string(),
    }
}

/// The commands that the grant reaches, with what each does.
fn commands(grant: &Grant, slot: &str) -> impl Iterator<Item = (String, &'static str)> {
    let remote = slot.rsplit('/').next().unwrap_or(slot);
    let both = Slot::BOTH.into_iter().all(|slot| grant.has_slot(slot));
    let is_whole = grant.apps.is_empty() && both;
    let all = [
        (
            Role::Read,
            true,
            "status".to_owned(),
            "what is live, and what is under way",
        ),
        (Role::Read, true, "releases".to_owned(), "the history"),
        (Role::Read, true, "log 42".to_owned(), "a release's own log"),
        (
            Role::Read,
            true,
            format!("logs {slot}"),
            "what a slot's containers print",
        ),
        (
            Role::Deploy,
            true,
            format!("git push {remote} main"),
            "release what is pushed",
        ),
        (
            Role::Deploy,
            true,
            format!("redeploy {slot}"),
            "release the same commit again",
        ),
        (
            Role::Operate,
            true,
            format!("promote {slot}"),
            "put a slot live with what it runs",
        ),
        (
            Role::Operate,
            true,
            format!("rollback {slot}"),
            "put a slot back to its release before",
        ),
        (Role::Operate, both, "rollback".to_owned(), "undo the last flip"),
        (
            Role::Operate,
            true,
            "cancel 42".to_owned(),
            "stop a release that has not flipped yet",
        ),
        (Role::Admin, is_whole, "app create NAME".to_owned(), "make an app"),
        (
            Role::Admin,
            is_whole,
            "key add NAME < key.pub".to_owned(),
            "let somebody else in",
        ),
        (Role::Admin, is_whole, "key list".to_owned(), "who may come in"),
    ];
    let role = grant.role;
    let reached = all
        .into_iter()
        .filter(move |(needed, reaches, ..)| role >= *needed && *reaches);
    reached.map(|(_, _, command, does)| (command, does))
}
