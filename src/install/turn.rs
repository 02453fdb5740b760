//! One install or uninstall at a time: so what one finds half made is nobody's work under way.

use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags};

use crate::ground::lock;

/// A folder that is on every server and that neither makes: the lock leaves no file behind.
const FOLDER: &str = "/etc";
/// How long another one is waited for: longer than the tools that it runs may take.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// Held as long as this is not dropped. A process that is killed holds it no longer than it lives, or a tool that it ran.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "its end is the lock's end")] File);

/// Waits until no other install or uninstall is under way; `say` is given a line if one is.
///
/// # Errors
/// When another one takes more than two minutes.
pub fn turn(mut say: impl FnMut(String) -> Result<()>) -> Result<Turn> {
    // Not closed in the tools that are run: one that goes on after its install was killed is waited for too.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let folder = rustix::fs::open(FOLDER, flags, Mode::empty()).map_err(io::Error::from);
    let folder = File::from(folder.with_context(|| format!("cannot open {FOLDER}"))?);
    let begun = Instant::now();
    let mut told = false;
    loop {
        let is_ours = lock::try_lock(&folder).with_context(|| format!("cannot lock {FOLDER}"))?;
        if is_ours {
            return Ok(Turn(folder));
        }
        if !std::mem::replace(&mut told, true) {
            say("waits for another `deployer install` or `deployer uninstall` to end".to_owned())?;
        }
        if begun.elapsed() >= PATIENCE {
            bail!(
                "another `deployer install` or `deployer uninstall` has been under way for more than {} s (it holds the lock of \
                 {FOLDER}, see `lslocks`), and nothing was touched: end it, or wait for it, and give the command again",
                PATIENCE.as_secs()
            );
        }
        thread::sleep(LOOK);
    }
}
