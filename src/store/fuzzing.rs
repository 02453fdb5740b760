//! See [`crate::fuzzing`].

use std::fmt::Debug;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Moment;
use super::journal;
use crate::ground::sealed;

const FORMAT: u32 = 1;

/// A sealed file of `data`: it is read or refused. What is read of it under a good checksum is written and read again
/// as the same.
pub(crate) fn sealed<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    let _ = sealed::open::<T>(FORMAT, data);
    let Ok(content) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if let Ok(read) = sealed::open::<T>(FORMAT, &sealed::seal(FORMAT, &content)) {
        assert_eq!(sealed::open::<T>(FORMAT, &sealed::seal(FORMAT, &read)), Ok(read));
    }
}

/// The entries of a journal of `data`, and of one whose lines are those of `data` under good checksums.
pub(crate) fn journal<E: Serialize + DeserializeOwned>(data: &[u8]) -> Vec<E> {
    let path = Path::new("journal");
    let _ = journal::held::<E>(path, data);
    let mut good = String::new();
    let at = Moment::now();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(entry) = serde_json::from_slice::<Value>(line) {
            good += &journal::line(FORMAT, &at, &entry);
        }
    }
    let held = journal::held::<E>(path, good.as_bytes());
    held.map_or_else(
        |_| Vec::new(),
        |held| held.entries.into_iter().map(|(_, entry)| entry).collect(),
    )
}
