//! What is said of disks: what was pruned, what stays, and what runs full.

use std::collections::BTreeMap;

use super::count;
use crate::ground::told::Told;
use crate::model::{ReleaseId, Slot};
use crate::release::disks::{FullDisk, Room};
use crate::release::prune::{LeftBehind, Pruned, PutOff};

/// What a release's end has pruned; empty where that is nothing.
pub fn pruned(pruned: &Pruned) -> String {
    let parts = [
        (pruned.images.len(), "old image"),
        (pruned.logs.len(), "old log"),
        (pruned.leftovers.len(), "git leftover"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<_> = parts.map(|(number, noun)| count(number as u64, noun)).collect();
    let mut told = match parts.is_empty() {
        true => Vec::new(),
        false => vec![format!("{} pruned", parts.join(", "))],
    };
    told.extend(pruned.waits_for.as_deref().map(prune_waits));
    told.extend(put_off(pruned));
    told.extend(pruned.left_behind.iter().map(left_behind));
    told.join("; ")
}

/// What keeps images from being pruned.
pub fn is_being_prepared(slot: Slot, release: Option<ReleaseId>) -> String {
    match release {
        Some(release) => format!("release {release} ({slot}) is being prepared"),
        None => format!("a release of {slot} is being prepared"),
    }
}

/// Images that are past their keeping stay for now.
pub fn prune_waits(what_for: &str) -> String {
    format!("old images put off until the next prune: {what_for}")
}

/// Images that registries have not deleted, a sentence a registry.
pub fn put_off(pruned: &Pruned) -> Vec<String> {
    let mut by_registry: BTreeMap<&str, Vec<&PutOff>> = BTreeMap::new();
    for one in &pruned.put_off {
        by_registry.entry(&one.registry).or_default().push(one);
    }
    let told = by_registry.iter().map(|(registry, all)| {
        let images = count(all.len() as u64, "old image");
        let reason = &all[0].reason;
        format!("{images} in {registry} put off until the next prune: {reason}")
    });
    told.collect()
}

/// An image that nothing will ask its registry to delete any more.
pub fn left_behind(left: &LeftBehind) -> String {
    format!(
        "the image {} of release {} is left behind: its registry has not deleted it, and the release's record goes",
        left.image, left.release
    )
}

/// A disk that is full, or nearly so.
pub fn full_disk(disk: &FullDisk) -> Told {
    let path = disk.path.display();
    Told::new(no_room(disk.whose, disk.room)).hint(format!(
        "`df -h {path}`, `df -i {path}`, `deployer prune`, `docker system df`"
    ))
}

fn no_room(whose: &str, room: Room) -> String {
    let Room {
        bytes: (free, all),
        files: (files, all_files),
    } = room;
    let how = match (free, files) {
        (0, _) => "is full".to_owned(),
        (_, 0) if all_files > 0 => "takes no more files: it has no inode free".to_owned(),
        _ => "is nearly full".to_owned(),
    };
    let (free, all) = (super::bytes(free), super::bytes(all));
    format!("the disk of {whose} {how}: {free} of {all} are free")
}
