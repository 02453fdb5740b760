//! What a state file holds under a format number and a checksum, so that damage is never read as content.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// A text that cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is whole, and its format is above the one that is known.
    #[error("its format is {found}")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It is not what [`seal`] gave.
    #[error("{reason}")]
    Damaged {
        /// Why, in a few words.
        reason: String,
    },
}

/// `content` under `format` and a checksum of both: JSON, with a newline at its end.
pub fn seal<T: Serialize>(format: u32, content: &T) -> Vec<u8> {
    let content = serde_json::to_value(content).expect("plain data is JSON");
    let sum = checksum(&json!([format, content]));
    let sealed = json!({ "format": format, "sha256": sum, "content": content });
    let mut text = serde_json::to_vec_pretty(&sealed).expect("plain data is JSON");
    text.push(b'\n');
    text
}

/// What [`seal`] was given.
///
/// # Errors
/// [`Unopened::Newer`] when the format is above `format`; [`Unopened::Damaged`] when a single bit is not as it was.
pub fn open<T: DeserializeOwned>(format: u32, text: &[u8]) -> Result<T, Unopened> {
    let damaged = |reason: String| Unopened::Damaged { reason };
    let mut sealed: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    let content = sealed.remove("content").unwrap_or_default();
    let found = sealed.get("format").and_then(Value::as_u64);
    let found = found.and_then(|found| u32::try_from(found).ok());
    let found = found.ok_or_else(|| damaged("it has no format number".into()))?;
    let signed = json!([found, content]);
    let sum = sealed.get("sha256").and_then(Value::as_str);
    if sum != Some(&checksum(&signed)) {
        return Err(damaged("its checksum is not that of its content".into()));
    }
    if found > format {
        return Err(Unopened::Newer { found });
    }
    serde_json::from_value(signed[1].clone()).map_err(|error| damaged(error.to_string()))
}

/// The checksum of a JSON value: SHA-256 of its compact form, whose keys serde_json keeps sorted.
pub fn checksum(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_and_was_never_sealed_is_damage() {
        for text in ["\"text\"", "1", "[]", "null", "{}", "{\"format\": 1}"] {
            assert!(
                matches!(open::<u32>(1, text.as_bytes()), Err(Unopened::Damaged { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let newer = seal(2, &1);
        assert_eq!(open::<u32>(1, &newer), Err(Unopened::Newer { found: 2 }));
        assert_eq!(open(3, &newer), Ok(1));
        let claimed = String::from_utf8(seal(1, &1)).unwrap().replace(": 1,", ": 9,");
        assert!(matches!(
            open::<u32>(1, claimed.as_bytes()),
            Err(Unopened::Damaged { .. })
        ));
    }
}
