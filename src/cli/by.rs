//! Who gives a command, and to which apps: what the front door says of a key, else the user of the operating system.

use std::fs;
use std::net::IpAddr;

use serde::Deserialize;

use super::{Code, Failure, Result};
use crate::model::{AppName, By, KeyName, Scope, Slot, escaped};

/// Where a program that came through the front door finds whose key it was. `deployer ssh` alone sets it, after it has
/// cleared the environment.
const VARIABLE: &str = "DEPLOYER_BY";

/// Set by `sudo`: who called it.
const SUDO: &str = "SUDO_USER";

/// The most characters of a user's name that are kept; the system allows 32.
const NAME_MAX: usize = 64;

/// Who gives a command, and which apps and slots it may be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Who.
    pub(super) by: By,
    /// Which apps and slots there are for them.
    pub(super) scope: Scope,
}

/// What the front door says, as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    key: KeyName,
    #[serde(default)]
    from: Option<IpAddr>,
    #[serde(default)]
    apps: Vec<AppName>,
    #[serde(default)]
    slots: Vec<Slot>,
}

/// Whoever gives this command.
///
/// # Errors
/// When the environment says something of a key that the front door would not say: nothing is done then, since it
/// would be done in nobody's name, or without the key's limits.
pub(super) fn caller() -> Result<Caller> {
    let user = user();
    let Some(said) = std::env::var_os(VARIABLE) else {
        let (key, from, scope) = (None, None, Scope::default());
        let by = By { key, user, from };
        return Ok(Caller { by, scope });
    };
    parse(said.as_encoded_bytes(), user)
}

fn parse(said: &[u8], user: String) -> Result<Caller> {
    let Said {
        key,
        from,
        apps,
        slots,
    } = serde_json::from_slice(said).map_err(|error| refused(said, &error))?;
    let (key, scope) = (Some(key), Scope { apps, slots });
    let by = By { key, user, from };
    Ok(Caller { by, scope })
}

fn refused(said: &[u8], error: &serde_json::Error) -> Failure {
    let said = escaped(said, 200);
    let error = escaped(error.to_string().as_bytes(), 200);
    let what = format!(
        "{VARIABLE} is not what `deployer ssh`, which alone sets it, would set: {error} in {said:?}; nothing was done. \
         Hint: unset it"
    );
    Failure::new(Code::Failed, what)
}

/// The name of the user who gives the command: who called `sudo`, else the user that this process runs as. Whoever may
/// run a command as the owner of the state folder is believed: nothing keeps them from writing to it directly.
fn user() -> String {
    let called_sudo = std::env::var_os(SUDO).filter(|name| !name.is_empty());
    let name = called_sudo.map(|name| name.into_encoded_bytes());
    let name = name.unwrap_or_else(|| name_of(rustix::process::geteuid().as_raw()));
    escaped(&name, NAME_MAX)
}

/// The name of a user, or its number where the machine's own file of users has none.
fn name_of(uid: u32) -> Vec<u8> {
    let users = fs::read("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    find(&users, &uid).map_or(uid.into_bytes(), <[u8]>::to_vec)
}

/// The name beside the number `uid` in a text like /etc/passwd: `NAME:x:UID:…` lines.
fn find<'a>(users: &'a [u8], uid: &str) -> Option<&'a [u8]> {
    users.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)? == uid.as_bytes()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_front_door_says_is_taken_whole() {
        let said = br#"{"key":"laptop","from":"192.0.2.7","apps":["shop"],"slots":["green"]}"#;
        let caller = parse(said, "deploy".into()).unwrap();
        assert_eq!(caller.by.name(), "laptop");
        assert_eq!(caller.by.user, "deploy");
        assert_eq!(caller.by.from, Some("192.0.2.7".parse().unwrap()));
        assert!(caller.scope.has_app(&"shop".parse().unwrap()));
        assert!(!caller.scope.has_app(&"blog".parse().unwrap()));
        assert!(caller.scope.has_slot(Slot::Green) && !caller.scope.has_slot(Slot::Blue));

        let caller = parse(br#"{"key":"ci","from":"2001:db8::7"}"#, "deploy".into()).unwrap();
        assert!(caller.scope.has_app(&"blog".parse().unwrap()) && caller.scope.has_slot(Slot::Blue));
    }

    #[test]
    fn what_the_front_door_would_not_say_is_refused() {
        for said in [
            "",
            "laptop",
            "{}",
            r#"{"key":"a b"}"#,
            r#"{"key":"laptop","from":"elsewhere"}"#,
            r#"{"key":"laptop","apps":["../shop"]}"#,
            r#"{"key":"laptop","slots":["red"]}"#,
            r#"{"key":"laptop","app":["shop"]}"#,
            r#"{"key":"laptop"} {}"#,
        ] {
            assert!(parse(said.as_bytes(), "deploy".into()).is_err(), "{said}");
        }
        assert!(parse(b"{\"key\":\"\xff\"}", "deploy".into()).is_err());
    }

    #[test]
    fn a_user_is_known_by_name_or_by_number() {
        let users = b"root:x:0:0::/root:/bin/sh\n\nbroken\n:x:7:\ndeploy:x:1000:1000::/home/deploy:/bin/sh\n";
        assert_eq!(find(users, "0"), Some(&b"root"[..]));
        assert_eq!(find(users, "1000"), Some(&b"deploy"[..]));
        for unknown in ["1", "7", "100", "x"] {
            assert_eq!(find(users, unknown), None, "{unknown}");
        }
        assert_eq!(name_of(u32::MAX - 7), (u32::MAX - 7).to_string().into_bytes());
    }
}
