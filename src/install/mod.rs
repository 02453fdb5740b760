//! What `deployer install` puts onto a server, and what `deployer uninstall` takes away again.
//!
//! `plan → look → make`: a plan is a plain list of things and how each should be, made from a few facts
//! ([`Server`]). Each thing is looked at, and made so where it is not so: doing it again changes nothing, and without
//! the making it is what `--dry-run` shows.

mod account;
mod collection;
mod door;
mod files;
mod found;
mod installed;
mod key_file;
mod leftovers;
mod login;
mod open_folder;
#[cfg(test)]
mod open_folder_tests;
mod other;
mod pam;
mod plan;
mod program;
mod removal_plan;
mod remove_tree;
mod reserved;
mod server;
mod sshd;
mod thing;
mod tool;
mod turn;
mod uncollected;
mod units;
mod verify;

use anyhow::{Result, bail};

use crate::ground::failpoint;

pub use account::Account;
pub use collection::{Collection, RegistryContainer};
pub use found::{Found, Verb};
pub use open_folder::OpenFolder;
pub use other::Other;
pub use plan::{Texts, install, package};
pub use removal_plan::{uninstall, uninstall_last};
pub use server::{Place, ProxyPlan, Server};
pub use thing::Thing;
pub use turn::{Turn, turn};
pub use verify::verify;

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
        bring(thing, dry, &mut say)?;
    }
    Ok(())
}

/// As [`carry_out`], for things that go: one that cannot go keeps no other from it. `last` is looked at too, and goes by
/// [`carry_out`] once all others have gone, since it is what they are taken away with.
///
/// # Errors
/// When one was refused, or could not go. Each is told.
pub fn take_away(
    things: &[Thing],
    last: &[Thing],
    dry: bool,
    mut say: impl FnMut(String) -> Result<()>,
) -> Result<()> {
    for thing in things.iter().chain(last) {
        thing.look()?;
    }
    let mut failed = 0;
    for thing in things {
        if let Err(error) = bring(thing, dry, &mut say) {
            failed += 1;
            say(Found::LeftOut(format!("{error:#}")).line(thing, dry))?;
        }
    }
    if failed > 0 {
        bail!(
            "{failed} of it could not be taken away, as told above. The program and its list stay, so that `deployer \
             uninstall` can be given again once that is mended"
        );
    }
    Ok(())
}

/// Brings one thing to how it should be.
fn bring(thing: &Thing, dry: bool, say: &mut impl FnMut(String) -> Result<()>) -> Result<()> {
    let found = thing.look()?;
    if found == Found::Gone && thing.is_rare() {
        return Ok(());
    }
    if dry || !found.is_to_do() {
        return say(found.line(thing, dry));
    }
    failpoint::at(format_args!("{thing}.begun"));
    let note = thing.make()?;
    failpoint::at(format_args!("{thing}.made"));
    say(found.line(thing, dry))?;
    if let Some(note) = note {
        say(Found::LeftOut(note).line(thing, dry))?;
    }
    confirm(thing, say)
}

/// What was made is looked at once more: what another part of the system makes of it counts.
fn confirm(thing: &Thing, say: &mut impl FnMut(String) -> Result<()>) -> Result<()> {
    match thing.look()? {
        Found::There | Found::Gone => Ok(()),
        left @ Found::LeftOut(_) => say(left.line(thing, false)),
        Found::ToDo(_, how) => bail!("{thing} was made, and is still not as it should be ({how})"),
    }
}
