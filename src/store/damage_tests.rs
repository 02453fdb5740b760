//! Every state file, cut at every byte and with every bit flipped: it is read as it was written, or not at all.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use super::*;
use crate::model::{ImageRef, Intent, Lane, Promotion, ReleaseId, ServiceName, SlotPorts, Source};

/// A state folder with an app in it that has a state and a release.
struct Folder {
    store: Store,
    release: ReleaseDir,
    _folder: tempfile::TempDir,
}

fn app() -> AppName {
    "shop".parse().unwrap()
}

/// The record of a release on green that goes back to release 6.
pub(super) fn record(id: ReleaseId) -> Record {
    let v6 = Source::Commit {
        commit: "0123456789".repeat(4).parse().unwrap(),
        subject: "v6".into(),
        reference: "refs/heads/main".into(),
    };
    Record {
        id,
        slot: Slot::Green,
        source: Source::of_release(ReleaseId(6), Some(v6)),
        intent: Intent::Deploy {
            promote: Promotion::WhereLive,
        },
        redeploys: None,
        pull: false,
        meant: None,
        gated: None,
        by: None,
        command: None,
        received: Moment::now(),
    }
}

/// A state in which release 7 runs on green, and is live.
pub(super) fn green_runs_7() -> AppState {
    let image = ImageRef {
        repository: "127.0.0.1:5000/shop".into(),
        digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    };
    let web = RunningService {
        image,
        endpoints: vec!["10.213.4.128:8080".parse().unwrap()],
    };
    let running = Running {
        release: ReleaseId(7),
        lane: Lane::A,
        commit: None,
        stopped: false,
        services: [(ServiceName::web(), web)].into(),
    };
    AppState {
        live: Some(Slot::Green),
        slots: BTreeMap::from([(Slot::Green, running)]),
        flips: Vec::new(),
    }
}

fn folder() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let ports = SlotPorts {
        green: 50100,
        blue: 50101,
    };
    store
        .write_app_file(&app(), &AppFile { index: 3, ports })
        .unwrap();
    let state = green_runs_7();
    let lock = store.try_lock(&app()).unwrap().unwrap();
    store.write_state(&lock, &state).unwrap();
    let (release, ..) = store
        .new_release(&store.lock_numbers(&app()).unwrap(), |id| Ok(record(id)))
        .unwrap();
    Folder {
        store,
        release,
        _folder: folder,
    }
}

/// Calls `read` for the file whole, cut at every byte, and with every bit flipped, and gives what came of each.
fn each_damage<T>(path: &Path, read: impl Fn() -> T, mut seen: impl FnMut(&str, T)) {
    let good = fs::read(path).unwrap();
    for at in 0..good.len() {
        fs::write(path, &good[..at]).unwrap();
        seen(&format!("cut at {at}"), read());
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << bit;
            fs::write(path, &flipped).unwrap();
            seen(&format!("bit {bit} of byte {at}"), read());
        }
    }
    fs::write(path, &good).unwrap();
}

/// What is read of a damaged file is what was written, or the error that names the file as unreadable: no other
/// content, and never as if there were no file.
fn reads_whole_or_not<T: PartialEq + Debug>(path: &Path, read: impl Fn() -> Result<T, StoreError>) {
    let whole = read().unwrap();
    each_damage(path, &read, |damage, read| match read {
        Ok(read) => assert_eq!(read, whole, "{damage} of {}", path.display()),
        Err(StoreError::Unreadable { path: told, .. }) => assert_eq!(told, path),
        Err(error) => panic!("{damage} of {}: {error}", path.display()),
    });
    assert_eq!(read().unwrap(), whole);
}

#[test]
fn a_damaged_app_file_is_never_read_as_another_or_as_none() {
    let Folder { store, _folder, .. } = folder();
    let path = store.app_folder(&app()).join("app.json");
    reads_whole_or_not(&path, || store.app_file(&app()).map(Option::unwrap));
}

#[test]
fn a_damaged_state_is_never_read_as_another_or_as_none() {
    let Folder { store, _folder, .. } = folder();
    let path = store.app_folder(&app()).join("state.json");
    reads_whole_or_not(&path, || store.state(&app()));
}

#[test]
fn a_damaged_record_is_never_read_as_another_or_as_none() {
    let Folder { release, _folder, .. } = folder();
    let path = release.path().join("record.json");
    reads_whole_or_not(&path, || release.record().map(Option::unwrap));
}

#[test]
fn a_damaged_journal_is_read_up_to_the_damage_or_not_at_all() {
    let Folder { release, _folder, .. } = folder();
    let mut journal = Journal::open(&release).unwrap();
    for entry in ["one", "two", "three"] {
        journal.append(entry.to_owned()).unwrap();
    }
    let whole = journal.entries().to_vec();
    let path = release.path().join("journal");
    let read = || Journal::<String>::entries_of(&release);
    each_damage(&path, read, |damage, read| match read {
        Ok(entries) if damage.starts_with("cut") => assert!(whole.starts_with(&entries), "{damage}"),
        // The end of the line before the last may be what is damaged.
        Ok(entries) => assert!(whole.starts_with(&entries) && !entries.is_empty(), "{damage}"),
        Err(StoreError::Unreadable { path: told, .. }) => assert_eq!(told, path),
        Err(error) => panic!("{damage}: {error}"),
    });
}

#[test]
fn a_last_line_of_a_journal_that_is_whole_and_damaged_is_kept_aside() {
    let Folder { release, _folder, .. } = folder();
    let path = release.path().join("journal");
    let asides = || {
        let names = fs::read_dir(release.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("journal.unreadable-"))
            .count()
    };
    Journal::open(&release).unwrap().append("one".to_owned()).unwrap();
    let good = fs::read(&path).unwrap();

    fs::write(&path, &good[..good.len() - 9]).unwrap();
    assert!(Journal::<String>::open(&release).unwrap().entries().is_empty());
    assert_eq!(asides(), 0);

    let mut damaged = good;
    damaged[70] ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert!(Journal::<String>::open(&release).unwrap().entries().is_empty());
    assert_eq!(asides(), 1);
}

/// What an older deployer sees of a journal that a newer one went on with.
#[test]
fn a_journal_with_a_line_of_a_newer_deployer_is_told_and_left_as_it_is() {
    let Folder { release, _folder, .. } = folder();
    let path = release.path().join("journal");
    let line = |format: u32, entry: &str| journal::line(format, &Moment::now(), &entry);
    let known = line(1, "one");
    for lines in [
        // At its end, in its middle, and beside damage that would be cut off or put aside by itself.
        [known.clone(), line(3, "two")].concat(),
        [known.clone(), line(3, "two"), line(1, "three")].concat(),
        [known.clone(), line(3, "two"), known[..40].to_owned()].concat(),
        [known[1..].to_owned(), line(3, "two")].concat(),
        line(7, "one"),
    ] {
        fs::write(&path, &lines).unwrap();
        for read in [
            Journal::<String>::open(&release).map(drop),
            Journal::<String>::entries_of(&release).map(drop),
        ] {
            let Err(StoreError::Newer {
                path: told,
                found,
                known: 2,
            }) = read
            else {
                panic!("{read:?} of {lines}")
            };
            assert!(told == path && found > 2, "{lines}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), lines);
        assert_eq!(fs::read_dir(release.path()).unwrap().count(), 3, "no copy");
    }
    fs::write(&path, [known.clone(), line(3, "two")].concat()).unwrap();
    assert_eq!(Journal::<String>::last_of(&release), None);
}
