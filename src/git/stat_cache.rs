//! The stat cache of a worktree: what `stat` gave for each file when its content was last known to be right.
//!
//! A file that still looks the same, down to its inode and the time of its last change, is right without being
//! read. That is sound because every change moves a file's ctime, with two exceptions that are left out:
//! changes within one tick of the clock (a record that was not older than the file it is kept in says nothing)
//! and what a power loss did to files whose data had not reached the disk (nor does one from before a reboot).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use git2::Oid;
use rustix::fs::Stat;
use sha2::{Digest, Sha256};

use super::tree::Kind;
use crate::ground::{durable, failpoint};

/// The first bytes of the file; the number goes up when its shape changes.
const MAGIC: &[u8] = b"deployer worktree 1\n";
/// Bytes of such a file that are read: a million files with long paths.
const SIZE_MAX: u64 = 1 << 30;
/// Bytes of the digest at the end.
const DIGEST: usize = 32;

/// Bytes from which on reading a file again takes longer than a tick of the clock.
const LARGE: u64 = 1 << 20;
/// Milliseconds that a tick of the file system's clock takes at most: 10 where the kernel has 100 a second.
const TICK_MAX: u32 = 20;

/// A point in time of the file system's clock: seconds and nanoseconds.
type Time = (i64, u32);

/// One file in the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CachedFile {
    /// The content that it holds.
    pub(super) id: Oid,
    /// What it is.
    pub(super) kind: Kind,
    /// Whether its content is a pointer of Git LFS.
    pub(super) pointer: bool,
    size: u64,
    inode: u64,
    changed: Time,
}

impl CachedFile {
    /// A file that holds `id` and has the status `stat`.
    #[allow(
        clippy::unnecessary_cast,
        reason = "the types in Stat differ between processors"
    )]
    pub(super) fn new(id: Oid, kind: Kind, pointer: bool, stat: &Stat) -> Self {
        Self {
            id,
            kind,
            pointer,
            size: stat.st_size as u64,
            inode: stat.st_ino as u64,
            changed: changed(stat),
        }
    }
}

/// When anything about a file last changed.
#[allow(
    clippy::unnecessary_cast,
    reason = "the types in Stat differ between processors"
)]
fn changed(stat: &Stat) -> Time {
    (stat.st_ctime as i64, stat.st_ctime_nsec as u32)
}

/// The files of the last checkout, by path.
#[derive(Default)]
pub(super) struct StatCache {
    records: HashMap<Vec<u8>, CachedFile>,
    taken: Time,
}

impl StatCache {
    /// The cache in the file `path`; empty where that is missing, damaged, or from before a reboot.
    pub(super) fn load(path: &Path) -> Self {
        let read = || {
            let size = std::fs::metadata(path).ok()?.len();
            let data = if size <= SIZE_MAX {
                std::fs::read(path).ok()?
            } else {
                return None;
            };
            Self::parse(&data, &boot())
        };
        read().unwrap_or_default()
    }

    /// How many files it has.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The cached file at `path`, if it equals `now` and is older than the cache itself.
    pub(super) fn same(&self, path: &[u8], now: &CachedFile) -> Option<CachedFile> {
        let record = self.records.get(path).copied()?;
        let then = CachedFile {
            pointer: now.pointer,
            ..record
        };
        (then == *now && record.changed < self.taken).then_some(record)
    }

    fn parse(data: &[u8], boot: &[u8]) -> Option<Self> {
        let (body, digest) = data.split_at_checked(data.len().checked_sub(DIGEST)?)?;
        if Sha256::digest(body)[..] != *digest {
            return None;
        }
        let mut from = Fields(body.strip_prefix(MAGIC)?);
        if boot.is_empty() || from.text()? != boot {
            return None;
        }
        let taken = from.time()?;
        let mut records = HashMap::new();
        while !from.0.is_empty() {
            let path = from.text()?.to_vec();
            records.insert(path, from.record()?);
        }
        Some(Self { records, taken })
    }
}

/// The cache that a checkout writes for the next one.
#[derive(Default)]
pub(super) struct StatCacheWriter {
    body: Vec<u8>,
    /// When the last of the large files changed.
    large_changed: Time,
}

impl StatCacheWriter {
    /// Adds the file at `path`.
    pub(super) fn add(&mut self, path: &[u8], record: &CachedFile) {
        if record.size > LARGE {
            self.large_changed = self.large_changed.max(record.changed);
        }
        self.text(path);
        let kind = match record.kind {
            Kind::File => 0,
            Kind::Executable => 1,
            _ => 2,
        };
        self.body.push(kind | u8::from(record.pointer) << 7);
        self.body.extend(record.id.as_bytes());
        self.body.extend(record.size.to_le_bytes());
        self.body.extend(record.inode.to_le_bytes());
        self.time(record.changed);
    }

    /// Saves the cache as the file `path`, in one step: what a killed process leaves of it has a name that the store
    /// sweeps. Not synced: a file from before a power loss is not believed anyway.
    pub(super) fn save(self, path: &Path) -> io::Result<()> {
        let new = path.with_file_name(durable::new_name(0));
        let (mut file, taken) = self.create(&new)?;
        let mut head = Self::default();
        head.body.extend(MAGIC);
        head.text(&boot());
        head.time(taken);
        let digest = Sha256::new()
            .chain_update(&head.body)
            .chain_update(&self.body)
            .finalize();
        for part in [&head.body[..], &self.body[..], &digest[..]] {
            file.write_all(part)?;
        }
        failpoint::at("index.written");
        std::fs::rename(new, path)?;
        failpoint::at("index.renamed");
        Ok(())
    }

    /// Makes the file `path`, and tells when: later than the last change of a large file, which would otherwise
    /// not be believed and be read again by the next checkout.
    fn create(&self, path: &Path) -> io::Result<(File, Time)> {
        let mut waits = TICK_MAX;
        loop {
            let file = File::create(path)?;
            let taken = changed(&rustix::fs::fstat(&file)?);
            if taken > self.large_changed || waits == 0 {
                return Ok((file, taken));
            }
            std::fs::remove_file(path)?;
            std::thread::sleep(Duration::from_millis(1));
            waits -= 1;
        }
    }

    fn text(&mut self, text: &[u8]) {
        let length = u16::try_from(text.len()).expect("a path is shorter than 4,096 bytes");
        self.body.extend(length.to_le_bytes());
        self.body.extend(text);
    }

    fn time(&mut self, (seconds, nanoseconds): Time) {
        self.body.extend(seconds.to_le_bytes());
        self.body.extend(nanoseconds.to_le_bytes());
    }
}

/// The bytes of a saved file that are still to be read, field by field.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_le_bytes(self.take()?);
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(text)
    }

    fn time(&mut self) -> Option<Time> {
        Some((i64::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?)))
    }

    fn record(&mut self) -> Option<CachedFile> {
        let [kind] = self.take()?;
        Some(CachedFile {
            kind: match kind & 0x7f {
                0 => Kind::File,
                1 => Kind::Executable,
                2 => Kind::Link,
                _ => return None,
            },
            pointer: kind & 0x80 != 0,
            id: Oid::from_bytes(&self.take::<20>()?).ok()?,
            size: u64::from_le_bytes(self.take()?),
            inode: u64::from_le_bytes(self.take()?),
            changed: self.time()?,
        })
    }
}

/// This boot's id; empty, and then nothing is believed, where the kernel does not tell.
fn boot() -> Vec<u8> {
    let mut id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.truncate(64);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A saved file of two records, taken at (10, 0).
    fn saved(boot: &[u8]) -> Vec<u8> {
        let mut all = StatCacheWriter::default();
        all.body.extend(MAGIC);
        all.text(boot);
        all.time((10, 0));
        all.add(b"a/b", &record((9, 999_999_999)));
        all.add(b"\xff\n", &record((10, 0)));
        let digest = Sha256::digest(&all.body);
        all.body.extend(&digest[..]);
        all.body
    }

    fn record(changed: Time) -> CachedFile {
        CachedFile {
            id: Oid::hash_object(git2::ObjectType::Blob, b"x").unwrap(),
            kind: Kind::Executable,
            pointer: true,
            size: 5 << 32,
            inode: u64::MAX,
            changed,
        }
    }

    #[test]
    fn only_records_older_than_their_file_are_believed() {
        let cache = StatCache::parse(&saved(b"boot"), b"boot").unwrap();
        assert_eq!(cache.len(), 2);
        let (old, young) = (record((9, 999_999_999)), record((10, 0)));
        assert!(cache.same(b"a/b", &old).unwrap().pointer);
        assert!(cache.same(b"\xff\n", &young).is_none());
        assert!(cache.same(b"a", &old).is_none());
        let other = Oid::hash_object(git2::ObjectType::Blob, b"y").unwrap();
        for changed in [
            CachedFile { id: other, ..old },
            CachedFile {
                kind: Kind::File,
                ..old
            },
            CachedFile { size: 5, ..old },
            CachedFile { inode: 1, ..old },
            CachedFile {
                changed: (9, 999_999_998),
                ..old
            },
        ] {
            assert!(cache.same(b"a/b", &changed).is_none());
        }
    }

    #[test]
    fn nothing_is_believed_after_a_reboot_or_from_a_damaged_file() {
        let data = saved(b"boot");
        assert!(StatCache::parse(&data, b"other boot").is_none());
        assert!(StatCache::parse(&saved(b""), b"").is_none());
        for length in 0..data.len() {
            assert!(StatCache::parse(&data[..length], b"boot").is_none());
        }
        for bit in 0..data.len() * 8 {
            let mut damaged = data.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(StatCache::parse(&damaged, b"boot").is_none());
        }
    }
}
