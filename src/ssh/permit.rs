//! Whether a grant reaches as far as what is asked for: a decision over plain values.

use crate::model::{AppName, Grant, KeyName, Role, Slot};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it is, as people say it after "may not": "promote", "push to".
    pub what: &'static str,
    /// The least role that may.
    pub role: Role,
    /// What it is done to.
    pub target: Target,
}

/// What something is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nothing in particular: it shows no more than the apps of the grant.
    Visible,
    /// One slot of an app.
    Slot(AppName, Slot),
    /// Both slots of an app at once.
    BothSlots(AppName),
    /// The server and every app on it.
    Server,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The role does not reach that far.
    #[error("{key} may not {what}: that needs the role {needed}, and this key's role is {role}")]
    Role {
        /// The key.
        key: KeyName,
        /// What was asked for.
        what: &'static str,
        /// The key's role.
        role: Role,
        /// The least role that may.
        needed: Role,
    },
    /// The app is none of the grant's. It may be there or not: the key is not told.
    #[error("there is no app {0}")]
    App(AppName),
    /// The slot is none of the grant's.
    #[error("{key} may not {what} {app}/{slot}: this key is for {only} alone")]
    Slot {
        /// The key.
        key: KeyName,
        /// What was asked for.
        what: &'static str,
        /// The app.
        app: AppName,
        /// The slot.
        slot: Slot,
        /// The slot that the key is for.
        only: Slot,
    },
    /// It is about both slots, and the grant is for one.
    #[error("{key} may not {what}, which is about both slots: this key is for {only} alone")]
    BothSlots {
        /// The key.
        key: KeyName,
        /// What was asked for.
        what: &'static str,
        /// The slot that the key is for.
        only: Slot,
    },
    /// It is about the whole server, and the grant is limited.
    #[error("{key} may not {what}, which is about every app: this key is limited to some")]
    Limited {
        /// The key.
        key: KeyName,
        /// What was asked for.
        what: &'static str,
    },
    /// Nobody may, over ssh.
    #[error("`deployer {0}` is for the server itself, and not for ssh")]
    Never(&'static str),
}

/// Whether the grant's role reaches as far as `role`, whatever it is done to: to be asked before anything is looked
/// up, so that a key learns nothing of what it may not touch.
///
/// # Errors
/// The refusal, as a sentence.
pub fn may(key: &KeyName, grant: &Grant, what: &'static str, role: Role) -> Result<(), Refusal> {
    if grant.role >= role {
        return Ok(());
    }
    Err(Refusal::Role {
        key: key.clone(),
        what,
        role: grant.role,
        needed: role,
    })
}

/// Whether the grant of `key` reaches as far as what is asked for.
///
/// # Errors
/// The refusal, as a sentence.
pub fn permit(key: &KeyName, grant: &Grant, asked: &Asked) -> Result<(), Refusal> {
    let Asked { what, role, target } = asked;
    may(key, grant, what, *role)?;
    let only = || {
        Slot::BOTH
            .into_iter()
            .find(|slot| !grant.has_slot(*slot))
            .map(Slot::other)
    };
    match target {
        Target::Visible => Ok(()),
        Target::Slot(app, _) | Target::BothSlots(app) if !grant.has_app(app) => {
            Err(Refusal::App(app.clone()))
        }
        Target::Slot(app, slot) if !grant.has_slot(*slot) => Err(Refusal::Slot {
            key: key.clone(),
            what,
            app: app.clone(),
            slot: *slot,
            only: slot.other(),
        }),
        Target::Slot(..) => Ok(()),
        Target::BothSlots(_) => match only() {
            Some(only) => Err(Refusal::BothSlots {
                key: key.clone(),
                what,
                only,
            }),
            None => Ok(()),
        },
        Target::Server if grant.apps.is_empty() && only().is_none() => Ok(()),
        Target::Server => Err(Refusal::Limited {
            key: key.clone(),
            what,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyName {
        "laptop".parse().unwrap()
    }

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    /// Every grant there is over two apps: with and without each limit.
    fn grants() -> Vec<Grant> {
        let mut all = Vec::new();
        for role in Role::ALL {
            for apps in [vec![], vec![app("shop")], vec![app("shop"), app("blog")]] {
                for slots in [vec![], vec![Slot::Green], vec![Slot::Blue], Slot::BOTH.to_vec()] {
                    let apps = apps.clone();
                    all.push(Grant { role, apps, slots });
                }
            }
        }
        all
    }

    fn targets() -> Vec<Target> {
        let of = |name: &str| {
            [
                Target::Slot(app(name), Slot::Green),
                Target::Slot(app(name), Slot::Blue),
                Target::BothSlots(app(name)),
            ]
        };
        let mut all = vec![Target::Visible, Target::Server];
        all.extend(["shop", "blog"].into_iter().flat_map(of));
        all
    }

    fn is_permitted(grant: &Grant, role: Role, target: &Target) -> bool {
        let asked = Asked {
            what: "do it to",
            role,
            target: target.clone(),
        };
        permit(&key(), grant, &asked).is_ok()
    }

    #[test]
    fn a_grant_reaches_its_role_its_apps_and_its_slots_and_no_further() {
        for grant in grants() {
            for needed in Role::ALL {
                for target in targets() {
                    let both = grant.slots.is_empty() || grant.slots.len() == 2;
                    let reaches = match &target {
                        Target::Visible => true,
                        Target::Slot(app, slot) => {
                            (grant.apps.is_empty() || grant.apps.contains(app))
                                && (both || grant.slots == [*slot])
                        }
                        Target::BothSlots(app) => (grant.apps.is_empty() || grant.apps.contains(app)) && both,
                        Target::Server => grant.apps.is_empty() && both,
                    };
                    let wanted = grant.role >= needed && reaches;
                    assert_eq!(
                        is_permitted(&grant, needed, &target),
                        wanted,
                        "{grant:?} {needed} {target:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_wider_grant_may_whatever_a_narrower_one_may() {
        let wider = |a: &Grant, b: &Grant| {
            let apps = a.apps.is_empty() || (!b.apps.is_empty() && b.apps.iter().all(|app| a.has_app(app)));
            let slots = Slot::BOTH
                .into_iter()
                .all(|slot| a.has_slot(slot) || !b.has_slot(slot));
            a.role >= b.role && apps && slots
        };
        for a in grants() {
            for b in grants().into_iter().filter(|b| wider(&a, b)) {
                for needed in Role::ALL {
                    for target in targets() {
                        if is_permitted(&b, needed, &target) {
                            assert!(
                                is_permitted(&a, needed, &target),
                                "{a:?} {b:?} {needed} {target:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_wanting() {
        let grant = Grant {
            role: Role::Deploy,
            apps: vec![],
            slots: vec![Slot::Green],
        };
        let said = |role, target| {
            let what = "promote";
            permit(&key(), &grant, &Asked { what, role, target })
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            said(Role::Operate, Target::Visible),
            "laptop may not promote: that needs the role operate, and this key's role is deploy"
        );
        assert_eq!(
            said(Role::Deploy, Target::Slot(app("shop"), Slot::Blue)),
            "laptop may not promote shop/blue: this key is for green alone"
        );
    }
}
