//! What keeps deployer's user from coming in over ssh although its rules are in force: who sshd lets in, which keys it
//! takes, what it thinks of the file of keys, and what PAM says afterwards.
//!
//! Nothing of this is deployer's to change. Each obstacle is told with what removes it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::account::{self, Account};
use super::found::Found;
use super::key_file;
use super::pam::{self, Who};
use super::sshd::{self, InForce, ORIGINS, RUN, matches};
use super::tool;

/// Begins every further obstacle, below the first one.
const BELOW: &str = "\n               ";

/// That nothing keeps the user out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The file of keys.
    pub keys: PathBuf,
    /// The user's login shell.
    pub shell: PathBuf,
}

impl Login {
    pub(super) fn name(&self) -> String {
        format!("the way in for {} over ssh", self.user)
    }

    pub(super) fn look(&self) -> Result<Found> {
        // Without its folder sshd tells nothing, and the rules have told of the rest.
        let is_ready = tool::find("sshd").is_some() && Path::new(RUN).exists();
        if !is_ready || sshd::refusal()?.is_some() {
            return Ok(Found::Gone);
        }
        let Some(account) = Account::named(&self.user)? else {
            return Ok(Found::LeftOut("there is no such user yet".into()));
        };
        let mut obstacles = match InForce::of(&self.user, ORIGINS[0])? {
            Ok(rules) => self.kept_out_by(&rules, &account)?,
            Err(why) => vec![format!(
                "sshd does not tell what is in force for {} (`sshd -T -C {}`): {why}",
                self.user,
                sshd::connection(&self.user, ORIGINS[0], "22")
            )],
        };
        obstacles.extend(account::expired(&self.user)?);
        Ok(match obstacles.is_empty() {
            true => Found::There,
            false => Found::LeftOut(obstacles.join(BELOW)),
        })
    }

    pub(super) fn make(&self) -> Result<Option<String>> {
        Ok(None)
    }

    fn kept_out_by(&self, rules: &InForce, account: &Account) -> Result<Vec<String>> {
        let groups = tool::run("id", &["-Gn", &self.user])?;
        let groups: Vec<String> = groups.out.split_whitespace().map(str::to_owned).collect();
        let mut all = who_may(rules, &self.user, &groups);
        all.extend(sessions(rules));
        all.extend(which_keys(rules, &key_file::kinds(&self.keys)));
        if rules.first("strictmodes") != Some("no") {
            all.extend(self.folders_of_others(account));
        }
        let uses_pam = rules.first("usepam") == Some("yes");
        all.extend(pam::obstacles(
            Path::new("/"),
            uses_pam,
            &Who {
                user: &self.user,
                groups: &groups,
                shell: &self.shell,
            },
        ));
        Ok(all)
    }

    /// sshd takes no key of a file where others than the user and root may write to a folder on the way, up to the home.
    fn folders_of_others(&self, account: &Account) -> Option<String> {
        let folder = self.keys.parent()?.canonicalize().ok()?;
        let home = account.home.canonicalize().ok();
        for folder in folder.ancestors() {
            let is = fs::metadata(folder).ok()?;
            let path = folder.display();
            let tells = |what: &str, remedy: String| {
                Some(format!(
                    "sshd takes no key of {}, since {what} {path}: {remedy}",
                    self.keys.display()
                ))
            };
            if is.uid() != 0 && is.uid() != account.uid {
                return tells(
                    "neither root nor the user owns",
                    format!("`chown {} {path}`", self.user),
                );
            }
            if is.mode() & 0o022 != 0 {
                return tells("others may write to", format!("`chmod go-w {path}`"));
            }
            if home.as_deref() == Some(folder) {
                break;
            }
        }
        None
    }
}

/// sshd's four lists of users and groups, in its order.
fn who_may(rules: &InForce, user: &str, groups: &[String]) -> Vec<String> {
    let is_user = |pattern: &&str| {
        let (name, _) = pattern.rsplit_once('@').unwrap_or((pattern, ""));
        matches(user, name)
    };
    // A pattern with an address is for those who come from there alone.
    let from_anywhere = |pattern: &&str| pattern.rsplit_once('@').is_none_or(|(_, from)| from == "*");
    let is_group = |pattern: &&str| groups.iter().any(|group| matches(group, pattern));
    let mut told = Vec::new();
    if let Some(pattern) = rules.all("denyusers").filter(from_anywhere).find(is_user) {
        told.push(format!(
            "sshd keeps {user} out by `DenyUsers {pattern}`: take that out of its configuration"
        ));
    }
    let allowed: Vec<&str> = rules.all("allowusers").collect();
    if !allowed.is_empty() && !allowed.iter().any(is_user) {
        told.push(format!(
            "sshd lets in `AllowUsers {}` alone: add {user} to that line",
            allowed.join(" ")
        ));
    }
    if let Some(pattern) = rules.all("denygroups").find(is_group) {
        told.push(format!(
            "sshd keeps {user} out by `DenyGroups {pattern}`, since it is in the groups {}: take that out of sshd's \
             configuration",
            groups.join(", ")
        ));
    }
    let allowed: Vec<&str> = rules.all("allowgroups").collect();
    if !allowed.is_empty() && !allowed.iter().any(is_group) {
        told.push(format!(
            "sshd lets in the groups `AllowGroups {}` alone, and {user} is in none of them ({}): add {} to that line",
            allowed.join(" "),
            groups.join(", "),
            groups.first().map_or(user, String::as_str)
        ));
    }
    told
}

fn sessions(rules: &InForce) -> Option<String> {
    (rules.first("maxsessions") == Some("0")).then(|| {
        "sshd opens no session by `MaxSessions 0`: leave the line out, or put it into a Match for others"
            .to_owned()
    })
}

/// `kinds`: those of the keys that are to come in.
fn which_keys(rules: &InForce, kinds: &[String]) -> Vec<String> {
    let mut told = Vec::new();
    // The second one is the name of before OpenSSH 8.5.
    let accepted = ["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"]
        .into_iter()
        .find_map(|key| rules.first(key));
    if let Some(accepted) = accepted {
        let is_accepted = |kind: &str| {
            let algorithms: &[&str] = match kind {
                "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
                _ => &[kind],
            };
            accepted
                .split(',')
                .any(|pattern| algorithms.iter().any(|one| matches(one, pattern)))
        };
        for kind in kinds.iter().filter(|kind| !is_accepted(kind)) {
            told.push(format!(
                "sshd takes no key of the type {kind}: add it to `PubkeyAcceptedAlgorithms`, or use keys of a type that is \
                 in force ({accepted})"
            ));
        }
    }
    let revoked = rules.first("revokedkeys").filter(|path| *path != "none");
    if let Some(path) = revoked.filter(|path| fs::File::open(path).is_err()) {
        told.push(format!(
            "sshd refuses every key, since it cannot read `RevokedKeys {path}`: make the file, or leave the line out"
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rules: &str) -> String {
        let rules = InForce::parse(rules);
        let groups = ["deploy".to_owned(), "docker".to_owned()];
        let mut all = who_may(&rules, "deploy", &groups);
        all.extend(sessions(&rules));
        all.extend(which_keys(&rules, &["ssh-ed25519".to_owned()]));
        all.join("\n")
    }

    #[test]
    fn what_lets_the_user_in_is_no_obstacle() {
        for rules in [
            "",
            "allowusers admin\nallowusers dep*",
            "allowusers deploy@10.0.0.*",
            "denyusers root\ndenyusers deploy@192.0.2.7",
            "allowgroups ssh\nallowgroups dock?r",
            "denygroups sudo",
            "maxsessions 10\nrevokedkeys none",
            "pubkeyacceptedalgorithms rsa-sha2-256,ssh-ed25519",
        ] {
            assert_eq!(told(rules), "", "{rules}");
        }
    }

    #[test]
    fn each_obstacle_is_told_with_its_remedy() {
        for (rules, remedy) in [
            (
                "allowusers admin\nallowusers root@10.*",
                "`AllowUsers admin root@10.*` alone: add deploy",
            ),
            ("denyusers dep*", "`DenyUsers dep*`: take that out"),
            ("allowgroups ssh", "(deploy, docker): add deploy to that line"),
            ("denygroups docker", "`DenyGroups docker`"),
            ("maxsessions 0", "leave the line out"),
            (
                "pubkeyacceptedalgorithms rsa-sha2-512",
                "no key of the type ssh-ed25519: add it",
            ),
            ("revokedkeys /nowhere/keys", "make the file"),
        ] {
            assert!(told(rules).contains(remedy), "{rules}: {}", told(rules));
        }
    }
}
