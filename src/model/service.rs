//! Services: the kinds of containers that an app has.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{ParseError, serde_as_text};

/// A service's name: 1 to 40 characters `a-z 0-9 -`, beginning with a letter and not ending in `-`.
///
/// Such a name is safe, as it stands, as a part of an image's name, a container's name and a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(String);

/// The service of an app that has one Dockerfile. People do not read its name where it is the only one.
const WEB: &str = "web";

/// Something of each service of an app.
pub type ByService<T> = BTreeMap<ServiceName, T>;

impl ServiceName {
    /// The one service of an app that has one Dockerfile.
    pub fn web() -> Self {
        Self(WEB.to_owned())
    }

    /// Whether it is [`ServiceName::web`].
    pub fn is_web(&self) -> bool {
        self.0 == WEB
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = "a service's name: 1 to 40 characters of a-z, 0-9 and -, beginning with a letter, not ending in -";
        let good = (1..=40).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        match good {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseError::new(wanted, text)),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(&self.0)
    }
}

serde_as_text!(ServiceName);

/// An instance of a release: its service, and its number within that, from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName {
    /// The service.
    pub service: ServiceName,
    /// The number.
    pub index: u8,
}

impl fmt::Display for InstanceName {
    /// `0` for one of `web`, `worker/0` for others.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.service.is_web() {
            true => self.index.fmt(to),
            false => write!(to, "{}/{}", self.service, self.index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_web_is_not_shown() {
        assert_eq!("web".parse(), Ok(ServiceName::web()));
        let named = |service: &str| InstanceName {
            service: service.parse().unwrap(),
            index: 1,
        };
        assert_eq!(named("web").to_string(), "1");
        assert_eq!(named("worker").to_string(), "worker/1");
        for bad in ["", "Web", "web-", "1web", "a.b", "a_b", &"a".repeat(41)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }
}
