//! Who gives a command, and for which apps: the key that came through the front door, else the user of the operating
//! system.

use std::ffi::OsString;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::failure::{Code, Failure, Result};
use super::passwd;
use crate::ground::told::Told;
use crate::model::{AppName, By, Grant, KeyName, Scope, Slot, escaped};

/// The environment variable that names the key of a command over ssh. Only `deployer ssh` sets it, after it has cleared
/// the environment.
const VARIABLE: &str = "DEPLOYER_BY";

/// Set by `sudo`: who called it.
const SUDO: &str = "SUDO_USER";

/// The most characters of a user's name that are kept; the system allows 32.
const NAME_MAX: usize = 64;

/// Who gives a command, and the apps and slots that they can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Who.
    pub(super) by: By,
    /// Which apps and slots they can see.
    pub(super) scope: Scope,
}

/// The value of [`VARIABLE`], as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyVariable {
    key: KeyName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    apps: Vec<AppName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    slots: Vec<Slot>,
}

/// The variable that the front door sets for a program that it lets `key` run.
pub(super) fn variable(key: &KeyName, from: Option<IpAddr>, grant: &Grant) -> (&'static str, OsString) {
    let said = KeyVariable {
        key: key.clone(),
        from,
        apps: grant.apps.clone(),
        slots: grant.slots.clone(),
    };
    let said = serde_json::to_string(&said).expect("plain data is JSON");
    (VARIABLE, said.into())
}

/// Whoever gives this command.
///
/// # Errors
/// When the variable is set to something that the front door would not set. Nothing is done then: it would be done in
/// nobody's name, or without the key's limits.
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
    let KeyVariable {
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
        "{VARIABLE} is not what `deployer ssh`, which alone sets it, would set: {error} in {said:?}; nothing was done"
    );
    Failure::new(Code::Failed, Told::new(what).hint("unset it"))
}

/// The name of the user who gives the command: who called `sudo`, else the user that this process runs as. Whoever may
/// run a command as the owner of the state folder is believed: nothing keeps them from writing to it directly.
pub(super) fn user() -> String {
    let called_sudo = std::env::var_os(SUDO).filter(|name| !name.is_empty());
    let name = called_sudo.map(|name| name.into_encoded_bytes());
    let name = name.unwrap_or_else(|| {
        let uid = rustix::process::geteuid().as_raw();
        passwd::name(uid).unwrap_or_else(|| uid.to_string().into_bytes())
    });
    escaped(&name, NAME_MAX)
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
}
