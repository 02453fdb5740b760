//! Marker files: what is chosen, as a program can look it up for every request.
//!
//! `FOLDER/marks/APP/` has up to five empty files. Each is one bit, so that whoever reads them while one changes sees the
//! choice before or the choice after:
//!
//! - `live.on`: the public port is served; `live.green`: by green, and else by blue.
//! - `green.on`, `blue.on`: the slot is served; `green.b`, `blue.b`: by its lane b, and else by its lane a.
//!
//! A request is to look at `live.*` first, and then at its slot's alone; at `*.on` each time first, since what is there
//! when something begins to be served stands already by then.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::kept::Choice;
use crate::ground::{durable, failpoint};
use crate::model::{AppName, Lane, Slot};

/// The markers of a program.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    folder: PathBuf,
}

impl Marks {
    /// Those in `folder/marks`.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.join("marks"),
        }
    }

    /// Puts these choices in force; apps that are not among them lose their markers. Durable when this returns.
    ///
    /// # Errors
    /// When a marker cannot be made or removed: then some of the choices may be in force.
    pub(super) fn choose(&self, choices: &[Choice]) -> io::Result<()> {
        make_readable(&self.folder)?;
        for choice in choices {
            self.choose_one(choice)?;
        }
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name();
            if !choices.iter().any(|choice| name == choice.app.as_str()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        durable::sync_folder(&self.folder)?;
        durable::sync_folder(self.folder.parent().unwrap_or(Path::new("/")))
    }

    /// Where nothing is served yet, first which and then that it is; so no reader is led to a lane that is not meant.
    fn choose_one(&self, choice: &Choice) -> io::Result<()> {
        let folder = self.folder.join(choice.app.as_str());
        make_readable(&folder)?;
        let set = |name: &str, is_there: bool| put(&folder.join(name), is_there);
        for slot in Slot::BOTH {
            if let Some(lane) = choice.lanes.get(&slot) {
                set(&format!("{slot}.b"), *lane == Lane::B)?;
                set(&format!("{slot}.on"), true)?;
            }
        }
        if let Some(live) = choice.live {
            set("live.green", live == Slot::Green)?;
        }
        set("live.on", choice.live.is_some())?;
        for slot in Slot::BOTH {
            set(&format!("{slot}.on"), choice.lanes.contains_key(&slot))?;
        }
        failpoint::at("marks.set");
        // Also what stood so already: whoever set it may have been killed before it was durable.
        durable::sync_folder(&folder)
    }

    /// Whether anything was ever chosen.
    pub(super) fn are_any(&self) -> bool {
        fs::read_dir(&self.folder).is_ok_and(|mut apps| apps.next().is_some())
    }

    /// What the markers of `apps` say.
    pub(super) fn chosen<'a>(&self, apps: impl Iterator<Item = &'a AppName>) -> Vec<Choice> {
        apps.map(|app| {
            let has = |name: &str| self.folder.join(app.as_str()).join(name).exists();
            let lane = |slot: Slot| match has(&format!("{slot}.b")) {
                true => Lane::B,
                false => Lane::A,
            };
            let live = match has("live.green") {
                true => Slot::Green,
                false => Slot::Blue,
            };
            let lanes: BTreeMap<Slot, Lane> = Slot::BOTH
                .into_iter()
                .filter(|slot| has(&format!("{slot}.on")))
                .map(|slot| (slot, lane(slot)))
                .collect();
            Choice {
                app: app.clone(),
                live: has("live.on")
                    .then_some(live)
                    .filter(|live| lanes.contains_key(live)),
                lanes,
            }
        })
        .collect()
    }
}

/// Makes `folder` where it is missing, for the program to read, whoever that runs as.
fn make_readable(folder: &Path) -> io::Result<()> {
    match folder.is_dir() {
        true => Ok(()),
        false => durable::make_folder(folder, 0o755),
    }
}

/// Makes `path` be there or not.
fn put(path: &Path, is_there: bool) -> io::Result<()> {
    match (path.exists(), is_there) {
        (false, true) => File::create(path).map(drop),
        (true, false) => fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::every_choice;
    use super::*;

    #[test]
    fn what_was_chosen_is_read_again_whatever_was_chosen_before() {
        let folder = tempfile::tempdir().unwrap();
        let marks = Marks::new(folder.path());
        let app: AppName = "shop".parse().unwrap();
        let choices = every_choice(&app);
        for before in &choices {
            for after in &choices {
                for choice in [before, after] {
                    marks.choose(std::slice::from_ref(choice)).unwrap();
                    assert_eq!(marks.chosen([&app].into_iter()), std::slice::from_ref(choice));
                }
            }
        }
        marks.choose(&[]).unwrap();
        assert!(!folder.path().join("marks/shop").exists());
    }
}
