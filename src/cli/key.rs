//! `deployer key`

use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::failure::{Code, Failure, Result};
use super::{audited, output, passwd, select};
use crate::model::{AppName, Grant, KeyName, Role, Slot, SlotName};
use crate::release::Context;
use crate::ssh::{self, AuthorizedKeys, Entry, ForcedCommand, KeyLine, PublicKey};

/// The most bytes of standard input that are looked at.
const INPUT_MAX: u64 = 64 << 10;

/// Say who may come in over ssh, and what they may do
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Let somebody in: `deployer key add laptop < laptop.pub`
    ///
    /// The public key is read from standard input. read: see what runs, fetch. deploy: push and redeploy too.
    /// operate: promote, roll back and cancel too. admin: everything, apps and keys included.
    Add {
        /// Who it is: A-Z, a-z, 0-9, ., _, @ and -
        name: KeyName,
        /// read, deploy, operate or admin
        #[arg(long, default_value = "deploy")]
        role: Role,
        /// An app that the key is for; several are named one by one, and all of them when it is left out
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<AppName>,
        /// The slot that the key is for; both when it is left out. APP/SLOT stands for `--app APP --slot SLOT`
        #[arg(long = "slot", value_name = "[APP/]SLOT")]
        slots: Vec<SlotName>,
        /// The key is a certificate authority: its certificates for the principal NAME come in, the key does not
        #[arg(long)]
        ca: bool,
    },
    /// List the keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a key
    Show {
        /// The key
        name: KeyName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a key away; a connection that it holds open is not closed
    Remove {
        /// The key
        name: KeyName,
    },
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result {
        match self {
            Command::Add {
                name,
                role,
                apps,
                slots,
                ca,
            } => {
                let (apps, slots) = reach_of(apps, &slots)?;
                add(context, name, Grant { role, apps, slots }, ca)
            }
            Command::List { json } => list(context, json),
            Command::Show { name, json } => show(context, &name, json),
            Command::Remove { name } => remove(context, &name),
        }
    }
}

fn add(context: &Context, name: KeyName, mut grant: Grant, authority: bool) -> Result {
    for app in &grant.apps {
        select::app(context, Some(app))?;
    }
    tidy(&mut grant);
    if grant.role == Role::Admin && !(grant.apps.is_empty() && grant.slots.is_empty()) {
        return Err(Failure::new(
            Code::Usage,
            "an admin has the whole server: leave out --app and --slot, or take another role",
        ));
    }
    let entry = Entry {
        command: ForcedCommand {
            program: std::env::current_exe().map_err(anyhow::Error::from)?,
            config: Some(context.config.clone())
                .filter(|config| config != std::path::Path::new(crate::config::DEFAULT_PATH)),
            key: name,
            grant,
        },
        key: from_stdin()?,
        authority,
    };
    audited::audited(context, |_| {
        change(context, |keys| {
            Ok(keys.add(&entry).map_err(anyhow::Error::from)?)
        })
    })?;
    let certificates = match authority {
        true => format!(", by certificates for the principal {}", entry.name()),
        false => String::new(),
    };
    output::lines([format!(
        "{} may come in{certificates}: {} for {} ({} {})",
        entry.name(),
        entry.command.grant.role,
        reach(&entry.command.grant),
        entry.key.kind(),
        entry.key.fingerprint()
    )])
}

/// The apps and slots that `--app` and `--slot` name together. A key has the same slots for each of its apps.
fn reach_of(mut apps: Vec<AppName>, named: &[SlotName]) -> Result<(Vec<AppName>, Vec<Slot>)> {
    let usage = |why: String| Err(Failure::new(Code::Usage, why));
    let mut slots: Vec<Slot> = named.iter().map(|name| name.slot).collect();
    slots.sort();
    slots.dedup();
    let Some(with_app) = named.iter().find(|name| name.app.is_some()) else {
        return Ok((apps, slots));
    };
    let is_limited = !apps.is_empty();
    for name in named {
        match &name.app {
            Some(app) if is_limited && !apps.contains(app) => {
                let list = apps.iter().map(AppName::as_str).collect::<Vec<_>>().join(", ");
                return usage(format!(
                    "--slot {name} is a slot of {app}, and --app says {list}: leave out --app, or write --slot {}",
                    name.slot
                ));
            }
            Some(app) => apps.push(app.clone()),
            None if !is_limited => {
                return usage(format!(
                    "--slot {with_app} names an app, and --slot {name} names none: write each with its app, or none"
                ));
            }
            None => {}
        }
    }
    apps.sort();
    apps.dedup();
    let has = |app: &AppName, slot: Slot| {
        let is_same = |name: &SlotName| name.slot == slot && name.app.as_ref().is_none_or(|its| its == app);
        named.iter().any(is_same)
    };
    for app in &apps {
        if let Some(slot) = slots.iter().find(|slot| !has(app, **slot)) {
            return usage(format!(
                "a key has the same slots for each of its apps, and {app}/{slot} is not among those that are named: use a key \
                 for each app"
            ));
        }
    }
    Ok((apps, slots))
}

/// Each app and slot once; both slots are no limit.
fn tidy(grant: &mut Grant) {
    grant.apps.sort();
    grant.apps.dedup();
    grant.slots.sort();
    grant.slots.dedup();
    if grant.slots == Slot::BOTH {
        grant.slots.clear();
    }
}

fn from_stdin() -> Result<PublicKey> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::new(
            Code::Usage,
            "the public key is read from standard input, as in `deployer key add laptop < laptop.pub`",
        ));
    }
    let mut input = Vec::new();
    stdin
        .lock()
        .take(INPUT_MAX)
        .read_to_end(&mut input)
        .map_err(anyhow::Error::from)?;
    Ok(PublicKey::read(&input).map_err(anyhow::Error::from)?)
}

fn remove(context: &Context, name: &KeyName) -> Result {
    let removed = audited::audited(context, |_| {
        change(context, |keys| keys.remove(name).ok_or_else(|| no_such_key(name)))
    })?;
    output::lines([format!(
        "{name} comes in no more ({} {}); a connection that it holds open is not closed",
        removed.key.kind(),
        removed.key.fingerprint()
    )])
}

/// A line of the file, as JSON gives it.
#[derive(Debug, Serialize)]
struct Listed {
    /// Null for a line that deployer did not write; so is the role.
    name: Option<KeyName>,
    role: Option<Role>,
    apps: Vec<AppName>,
    slots: Vec<Slot>,
    authority: bool,
    r#type: Option<String>,
    fingerprint: Option<String>,
    comment: String,
    line: usize,
    remark: Option<&'static str>,
}

impl From<KeyLine> for Listed {
    fn from(line: KeyLine) -> Self {
        let (kind, fingerprint) = match &line.key {
            Some(key) => (Some(key.kind().to_owned()), Some(key.fingerprint().to_owned())),
            None => (None, None),
        };
        let authority = line.entry.as_ref().is_some_and(|entry| entry.authority);
        let command = line.entry.map(|entry| entry.command);
        let (name, grant) = command.map(|command| (command.key, command.grant)).unzip();
        Self {
            name,
            role: grant.as_ref().map(|grant| grant.role),
            apps: grant.as_ref().map(|grant| grant.apps.clone()).unwrap_or_default(),
            slots: grant.map(|grant| grant.slots).unwrap_or_default(),
            authority,
            r#type: kind,
            fingerprint,
            comment: line.comment,
            line: line.number,
            remark: line.remark,
        }
    }
}

fn list(context: &Context, json: bool) -> Result {
    let path = file(context)?;
    let lines: Vec<KeyLine> = read(&path)?.key_lines().collect();
    if json {
        return output::json("keys", &lines.into_iter().map(Listed::from).collect::<Vec<_>>());
    }
    let (own, others): (Vec<KeyLine>, Vec<KeyLine>) =
        lines.into_iter().partition(|line| line.entry.is_some());
    if own.is_empty() {
        output::lines([format!(
            "no key of deployer's in {}: `deployer key add NAME < key.pub` adds one",
            path.display()
        )])?;
    } else {
        let heading = ["NAME", "ROLE", "FOR", "TYPE", "FINGERPRINT"]
            .map(str::to_owned)
            .to_vec();
        let rows: Vec<Vec<String>> = [heading].into_iter().chain(own.iter().flat_map(row)).collect();
        output::lines(output::table(&rows))?;
    }
    output::lines(own.iter().filter(|line| line.remark.is_some()).map(remark))?;
    if others.is_empty() {
        return Ok(());
    }
    let heading = match others.len() {
        1 => format!("1 line of {} that deployer did not write:", path.display()),
        several => format!(
            "{several} lines of {} that deployer did not write:",
            path.display()
        ),
    };
    output::lines([heading].into_iter().chain(others.iter().map(remark)))
}

fn row(line: &KeyLine) -> Option<Vec<String>> {
    let entry = line.entry.as_ref()?;
    let kind = match entry.authority {
        true => format!("authority, {}", entry.key.kind()),
        false => entry.key.kind().to_owned(),
    };
    Some(vec![
        entry.name().to_string(),
        entry.command.grant.role.to_string(),
        reach(&entry.command.grant),
        kind,
        entry.key.fingerprint().to_owned(),
    ])
}

fn remark(line: &KeyLine) -> String {
    let key = line.key.as_ref().map_or(String::new(), |key| {
        format!(" {} {}", key.kind(), key.fingerprint())
    });
    let comment = match line.comment.as_str() {
        "" => String::new(),
        comment => format!(" ({comment})"),
    };
    output::bad(&format!(
        "  line {}{key}{comment}: {}",
        line.number,
        line.remark.unwrap_or_default()
    ))
}

fn show(context: &Context, name: &KeyName, json: bool) -> Result {
    let keys = read(&file(context)?)?;
    let is_named = |line: &KeyLine| line.entry.as_ref().is_some_and(|entry| entry.name() == name);
    let line = keys.key_lines().find(is_named).ok_or_else(|| no_such_key(name))?;
    if json {
        return output::json("key", &Listed::from(line));
    }
    let Some(entry) = &line.entry else {
        return Err(no_such_key(name));
    };
    let row = |key: &str, value: String| vec![key.to_owned(), value];
    let mut rows = vec![
        row("key", entry.name().to_string()),
        row("role", entry.command.grant.role.to_string()),
        row("for", reach(&entry.command.grant)),
        row("type", entry.key.kind().to_owned()),
        row("fingerprint", entry.key.fingerprint().to_owned()),
    ];
    if entry.authority {
        rows.push(row(
            "comes in by",
            format!("certificates for the principal {name}"),
        ));
    }
    output::lines(output::table(&rows))?;
    output::lines(line.remark.is_some().then(|| remark(&line)))
}

/// What a grant is for, in words.
fn reach(grant: &Grant) -> String {
    let apps: Vec<&str> = grant.apps.iter().map(AppName::as_str).collect();
    match (apps.as_slice(), grant.slots.as_slice()) {
        ([], []) => "every app".to_owned(),
        ([], slots) => format!("{} of every app", slot_list(slots)),
        (apps, []) => apps.join(", "),
        (apps, slots) => format!("{} of {}", slot_list(slots), apps.join(", ")),
    }
}

fn slot_list(slots: &[Slot]) -> String {
    slots
        .iter()
        .map(|slot| slot.as_str())
        .collect::<Vec<_>>()
        .join(" and ")
}

/// Changes the file of keys, alone.
fn change<T>(context: &Context, change: impl FnOnce(&mut AuthorizedKeys) -> Result<T>) -> Result<T> {
    let _alone = context.store.lock_keys()?;
    let path = file(context)?;
    let mut keys = read(&path)?;
    let changed = change(&mut keys)?;
    ssh::write(&path, &keys).map_err(anyhow::Error::from)?;
    Ok(changed)
}

fn read(path: &std::path::Path) -> Result<AuthorizedKeys> {
    Ok(ssh::read(path).map_err(anyhow::Error::from)?)
}

/// The file of keys: the configuration's, else the one of the state folder's owner.
fn file(context: &Context) -> Result<PathBuf> {
    if let Some(named) = &context.settings.ssh.authorized_keys {
        return Ok(named.clone());
    }
    let owner = owner(context)?;
    let home = passwd::home(owner).ok_or_else(|| {
        Failure::new(
            Code::Failed,
            format!(
                "the owner of {} (user {}) has no home in /etc/passwd: `authorized_keys` in [ssh] of {} names the file of keys",
                context.store.root().display(),
                owner,
                context.config.display()
            ),
        )
    })?;
    Ok(home.join(".ssh/authorized_keys"))
}

/// The number of the user that everybody comes as: the owner of the state folder.
fn owner(context: &Context) -> Result<u32> {
    let root = context.store.root();
    let found = std::fs::metadata(root).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!(
                "cannot look at the state folder {}: {error}. The file of keys belongs to whoever owns it",
                root.display()
            ),
        )
    })?;
    Ok(found.uid())
}

fn no_such_key(name: &KeyName) -> Failure {
    Failure::new(
        Code::NotFound,
        format!("there is no key {name}: `deployer key list` shows those there are"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `--app` and `--slot` name, as words: the apps, the slots.
    fn reach(apps: &[&str], slots: &[&str]) -> std::result::Result<String, String> {
        let apps = apps.iter().map(|app| app.parse().unwrap()).collect();
        let slots: Vec<SlotName> = slots.iter().map(|slot| slot.parse().unwrap()).collect();
        match reach_of(apps, &slots) {
            Ok((apps, slots)) => Ok(super::reach(&Grant {
                role: Role::Deploy,
                apps,
                slots,
            })),
            Err(failure) => Err(failure.message().unwrap_or_default()),
        }
    }

    #[test]
    fn a_slot_is_named_with_or_without_its_app() {
        for (apps, slots, told) in [
            (&[][..], &["blue"][..], "blue of every app"),
            (&["shop"], &["blue"], "blue of shop"),
            (&[], &["shop/blue"], "blue of shop"),
            (&["shop"], &["shop/blue"], "blue of shop"),
            (&["shop"], &["shop/blue", "green"], "blue and green of shop"),
            (&[], &["shop/blue", "blog/blue"], "blue of blog, shop"),
            (
                &["shop", "blog"],
                &["shop/blue", "blog/blue"],
                "blue of blog, shop",
            ),
        ] {
            assert_eq!(reach(apps, slots).as_deref(), Ok(told), "{apps:?} {slots:?}");
        }
    }

    #[test]
    fn slots_that_contradict_the_apps_are_refused_with_the_reason() {
        for (apps, slots, told) in [
            (
                &["blog"][..],
                &["shop/blue"][..],
                "--slot shop/blue is a slot of shop, and --app says blog",
            ),
            (&[], &["shop/blue", "green"], "--slot green names none"),
            (&[], &["shop/blue", "blog/green"], "blog/blue is not among those"),
            (&["shop", "blog"], &["shop/blue"], "blog/blue is not among those"),
        ] {
            let error = reach(apps, slots).unwrap_err();
            assert!(error.contains(told), "{apps:?} {slots:?}: {error}");
        }
    }
}
