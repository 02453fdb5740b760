//! An app: one deployable thing.

use std::fmt;
use std::str::FromStr;

use super::{ParseError, serde_as_text};

/// An app's name: 1 to 40 characters `a-z 0-9 -`, beginning with a letter and not ending in `-`.
///
/// Such a name is safe, as it stands, as a folder, a part of an image's name, a container's name and a label.
/// `green` and `blue` are no names, because `green` alone means a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppName(String);

const WANTED: &str = "an app's name: 1 to 40 characters of a-z, 0-9 and -, beginning with a letter, \
                      not ending in -, and not blue or green";

impl AppName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let good = (1..=40).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !matches!(text, "blue" | "green");
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::new(WANTED, text))
        }
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(&self.0)
    }
}

serde_as_text!(AppName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_everywhere_it_is_used() {
        for good in ["shop", "a", "shop-2", &"a".repeat(40)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-shop",
            "shop-",
            "Shop",
            "2shop",
            "a/b",
            "..",
            "a b",
            "green",
            "blue",
            "shöp",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }
}
