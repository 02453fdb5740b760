//! Images and commits: what a release runs and where it comes from.

use std::fmt;
use std::str::FromStr;

use super::{ParseError, serde_as_text};

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A content digest: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest as text, `sha256:` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 hexadecimal digits, as people read them.
    pub fn short(&self) -> &str {
        &self.0["sha256:".len()..][..12]
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.strip_prefix("sha256:") {
            Some(hex) if is_hex(hex, 64) => Ok(Self(text.to_owned())),
            _ => Err(ParseError::new(
                "a digest: sha256: and 64 hexadecimal digits",
                text,
            )),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(&self.0)
    }
}

serde_as_text!(Digest);

/// A commit's id: 40 hexadecimal digits (SHA-1 repositories only: libgit2 refuses the others).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(String);

impl Commit {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 8 digits, as people read them.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl FromStr for Commit {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if is_hex(text, 40) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::new("a commit: 40 hexadecimal digits", text))
        }
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(&self.0)
    }
}

serde_as_text!(Commit);

/// The Docker Hub as people name it: the registry of an image's name that has none.
pub const DOCKER_HUB: &str = "docker.io";

/// Whether `registry` is one of the names that the Docker Hub goes by, in the names of images or in Docker's own
/// configuration.
pub fn is_docker_hub(registry: &str) -> bool {
    let host = registry.strip_prefix("https://").unwrap_or(registry);
    let host = host.trim_end_matches('/').trim_end_matches("/v1");
    [DOCKER_HUB, "index.docker.io", "registry-1.docker.io"]
        .iter()
        .any(|name| host.eq_ignore_ascii_case(name))
}

/// An image in the registry, pinned by digest: `REPOSITORY@DIGEST`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ImageRef {
    /// The repository with its registry: `127.0.0.1:5000/shop`.
    pub repository: String,
    /// The manifest's digest.
    pub digest: Digest,
}

impl ImageRef {
    /// The registry that holds it, `HOST[:PORT]`: the configured one, or one that was configured before.
    pub fn registry(&self) -> &str {
        registry_and_path(&self.repository).0
    }

    /// Its repository within that registry: `team/shop`.
    pub fn path(&self) -> &str {
        registry_and_path(&self.repository).1
    }
}

/// The registry of `repository` (`127.0.0.1:5000/team/shop`), and its path there.
pub fn registry_and_path(repository: &str) -> (&str, &str) {
    repository.split_once('/').unwrap_or((repository, ""))
}

impl fmt::Display for ImageRef {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}@{}", self.repository, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_hex_is_an_id() {
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(
            format!("sha256:{hex}").parse::<Digest>().unwrap().short(),
            "0123456789ab"
        );
        assert_eq!(hex[..40].parse::<Commit>().unwrap().short(), "01234567");
        assert!(hex.parse::<Digest>().is_err());
        assert!(
            format!("sha256:{}", hex.to_uppercase())
                .parse::<Digest>()
                .is_err()
        );
        assert!(hex[..39].parse::<Commit>().is_err());
    }
}
