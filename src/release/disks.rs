//! Disks that releases need and that are full, or nearly so.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::context::Context;
use super::registry_here;

/// A disk is nearly full when less than this is free, or less than a twentieth of it where that is smaller still: an image
/// of ordinary size, twice.
const ROOM: u64 = 2 << 30;

/// How long the Engine may take to say where it keeps images.
const LOOK: Duration = Duration::from_secs(5);

/// What is free of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that may be written, and all of them.
    pub bytes: (u64, u64),
    /// Files that may be made, and all of them; none in all where the file system does not count them.
    pub files: (u64, u64),
}

/// A disk that is full, or nearly so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullDisk {
    /// Who needs it.
    pub whose: &'static str,
    /// A folder on it.
    pub path: PathBuf,
    /// What is free.
    pub room: Room,
}

/// The disks of the state folder, of Docker and of a registry on this host that are full, or nearly so. It costs a call of
/// the Engine's, and a system call or two each.
pub async fn full(context: &Context) -> Vec<FullDisk> {
    let places = [
        ("the state folder", Some(context.settings.state.clone())),
        ("Docker", data_root(context).await),
        ("the registry", registry_here::storage(context)),
    ];
    let mut seen = Vec::new();
    let mut full = Vec::new();
    for (whose, path) in places {
        let Some((path, disk)) = path.and_then(|path| Some((path.clone(), device(&path)?))) else {
            continue;
        };
        if !seen.contains(&disk) {
            seen.push(disk);
            let room = room(&path).filter(Room::is_short);
            full.extend(room.map(|room| FullDisk { whose, path, room }));
        }
    }
    full
}

/// Where the Engine keeps images, where it is on this host.
async fn data_root(context: &Context) -> Option<PathBuf> {
    if !context.settings.engine.host.starts_with("unix://") {
        return None;
    }
    let asked = async { context.engine().await.ok()?.data_root().await };
    tokio::time::timeout(LOOK, asked).await.ok()?
}

fn device(path: &Path) -> Option<u64> {
    Some(std::fs::metadata(path).ok()?.dev())
}

fn room(path: &Path) -> Option<Room> {
    let told = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
    Some(Room {
        bytes: (bytes(told.f_bavail), bytes(told.f_blocks)),
        files: (told.f_favail, told.f_files),
    })
}

impl Room {
    /// Whether a disk with this much room is full, or nearly so.
    fn is_short(&self) -> bool {
        let (free, all) = self.bytes;
        let (files, all_files) = self.files;
        // A file system without blocks, such as one that a test reads from, says nothing by having none free.
        let is_short = all > 0 && free < ROOM.min(all / 20);
        let is_short_of_files = all_files > 0 && files < all_files / 100;
        is_short || is_short_of_files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::messages;

    #[test]
    fn a_disk_is_told_when_it_is_nearly_full_by_its_size_and_by_what_an_image_needs() {
        let told = |bytes, files| {
            let room = Room { bytes, files };
            let disk = FullDisk {
                whose: "Docker",
                path: "/d".into(),
                room,
            };
            room.is_short().then(|| messages::full_disk(&disk).to_string())
        };
        let gib = 1 << 30;
        assert_eq!(told((3 * gib, 1000 * gib), (9, 9)), None);
        assert_eq!(told((gib, 10 * gib), (9, 9)), None);
        assert_eq!(told((0, 0), (0, 0)), None);
        let nearly = told((gib, 1000 * gib), (9, 9)).unwrap();
        assert!(
            nearly.contains("1 GiB of 1000 GiB") && nearly.contains("nearly full"),
            "{nearly}"
        );
        let full = told((0, 10 * gib), (9, 9)).unwrap();
        assert!(full.contains("is full"), "{full}");
        let files = told((9 * gib, 10 * gib), (0, 1000)).unwrap();
        assert!(files.contains("no more files"), "{files}");
    }
}
