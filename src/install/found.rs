//! How a thing on a server was found, and what is to be done about it.

use std::fmt;

/// How a thing is, against how it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there, as it should be.
    There,
    /// It is not there, as it should be.
    Gone,
    /// Something is to be done, with a few words on how it is, where they say more than the verb.
    ToDo(Verb, String),
    /// It cannot be done here, and why.
    LeftOut(String),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own word")]
pub enum Verb {
    Create,
    Change,
    Remove,
    Enable,
    Disable,
    Start,
    Reload,
    Stop,
}

impl Verb {
    fn done(self) -> &'static str {
        match self {
            Verb::Create => "created",
            Verb::Change => "changed",
            Verb::Remove => "removed",
            Verb::Enable => "enabled",
            Verb::Disable => "disabled",
            Verb::Start => "started",
            Verb::Reload => "reloaded",
            Verb::Stop => "stopped",
        }
    }

    fn would(self) -> &'static str {
        match self {
            Verb::Create => "would create",
            Verb::Change => "would change",
            Verb::Remove => "would remove",
            Verb::Enable => "would enable",
            Verb::Disable => "would disable",
            Verb::Start => "would start",
            Verb::Reload => "would reload",
            Verb::Stop => "would stop",
        }
    }
}

impl Found {
    /// Whether something is to be done.
    pub fn is_to_do(&self) -> bool {
        matches!(self, Found::ToDo(..))
    }

    /// The line about `thing` that was found like this, and made; with `dry`, that was only looked at.
    pub fn line(&self, thing: &impl fmt::Display, dry: bool) -> String {
        let (word, more) = match self {
            Found::There => ("there already", ""),
            Found::Gone => ("gone already", ""),
            Found::ToDo(verb, how) if dry => (verb.would(), how.as_str()),
            Found::ToDo(verb, how) => (verb.done(), how.as_str()),
            Found::LeftOut(why) => return format!("{:<14} {thing}: {why}", "left out:"),
        };
        match more {
            "" => format!("{word:<14} {thing}"),
            more => format!("{word:<14} {thing} ({more})"),
        }
    }
}
