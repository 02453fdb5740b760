//! A large tree: a context of 1 GiB in 50,000 files.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::world::{Tree, World};

const FOLDERS: u64 = 500;
const FILES_PER_FOLDER: u64 = 100;
/// 50,000 of them are 1 GiB.
const FILE_BYTES: usize = 21_475;
/// What cannot be compressed needs no try, and random files have no deltas. The clock is for deployer, not for git.
const GIT: [[&str; 2]; 3] = [
    ["core.compression", "0"],
    ["pack.window", "0"],
    ["core.bigFileThreshold", "1"],
];

/// The usual files and 1 GiB beside them, which the Dockerfile has no use for: it is in the context, and in no image.
pub(crate) fn tree(world: &World, name: &str) -> Result<Tree> {
    let tree = world.tree(name)?;
    for [key, value] in GIT {
        tree.git(&["config", key, value])?;
    }
    write_files(&tree.path.join("data"))?;
    tree.commit_all("1 GiB more")?;
    Ok(tree)
}

/// Bytes that no compression makes smaller (xorshift64*), other ones in each file.
fn write_files(folder: &Path) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..FOLDERS {
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder)?;
        for number in 0..FILES_PER_FOLDER {
            let mut bytes = Vec::with_capacity(FILE_BYTES + 8);
            while bytes.len() < FILE_BYTES {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
            }
            bytes.truncate(FILE_BYTES);
            fs::write(folder.join(number.to_string()), bytes)?;
        }
    }
    Ok(())
}
