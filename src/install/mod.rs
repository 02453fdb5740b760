//! What `deployer install` puts onto a server, and what `deployer uninstall` takes away again.
//!
//! `plan → look → make`: a plan is a plain list of things and how each should be, made from a few facts
//! ([`Server`]). Each thing is looked at, and made so where it is not so: doing it again changes nothing, and without
//! the making it is what `--dry-run` shows.

mod account;
mod door;
mod files;
mod open_folder;
#[cfg(test)]
mod open_folder_tests;
mod plan;
mod program;
mod remove_tree;
mod reserved;
mod server;
mod thing;
mod tool;
mod units;

use anyhow::{Result, bail};

pub use account::Account;
pub use open_folder::OpenFolder;
pub use plan::{Texts, install, package, uninstall};
pub use program::Other;
pub use server::{Place, ProxyPlan, Server};
pub use thing::{Found, Thing, Verb};

/// Brings every thing to how it should be, in order, and gives `say` a line for each. With `dry`, only says what
/// would be done.
///
/// # Errors
/// When a thing is refused, which is found before anything is done, or cannot be made.
pub fn carry_out(things: &[Thing], dry: bool, mut say: impl FnMut(String) -> Result<()>) -> Result<()> {
    for thing in things {
        thing.look()?;
    }
    for thing in things {
        let found = thing.look()?;
        if found == Found::Gone && thing.is_rare() {
            continue;
        }
        if dry || !found.is_to_do() {
            say(found.line(thing, dry))?;
            continue;
        }
        let note = thing.make()?;
        say(found.line(thing, dry))?;
        if let Some(note) = note {
            say(Found::LeftOut(note).line(thing, dry))?;
        }
        confirm(thing, &mut say)?;
    }
    Ok(())
}

/// What was made is looked at once more: what another part of the system makes of it counts.
fn confirm(thing: &Thing, say: &mut impl FnMut(String) -> Result<()>) -> Result<()> {
    match thing.look()? {
        Found::There | Found::Gone => Ok(()),
        left @ Found::LeftOut(_) => say(left.line(thing, false)),
        Found::ToDo(_, how) => bail!("{thing} was made, and is still not as it should be ({how})"),
    }
}
