//! See [`crate::fuzzing`].

use std::collections::BTreeMap;

use super::{Faults, Tree, place, read};

/// Longest text of a file's faults, in bytes.
const FAULTS_MAX: usize = 64 << 10;

/// A compose file, after a NUL a `.env`: it is read and its services are placed, or it is refused in words that are printable and
/// bounded, with places that are in the file.
pub(crate) fn compose(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it is written");
    write("compose.yaml", parts.next().unwrap_or_default());
    write(".env", parts.next().unwrap_or_default());
    write("Dockerfile", b"FROM scratch\n");
    let tree = Tree::open(folder.path()).expect("it is a folder");
    match read(&tree, "compose.yaml", &BTreeMap::new()) {
        Ok(model) => {
            if let Err(faults) = place(&tree, &model) {
                look_at(&faults);
            }
        }
        Err(faults) => look_at(&faults),
    }
}

fn look_at(faults: &Faults) {
    let told = faults.to_string();
    assert!(
        !faults.0.is_empty() && told.len() < FAULTS_MAX,
        "{} bytes of faults",
        told.len()
    );
    assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    for fault in &faults.0 {
        assert!(fault.at.line > 0 && fault.at.column > 0, "{fault:?}");
    }
}
