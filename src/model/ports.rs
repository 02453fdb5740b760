//! Sets of ports, as the kernel writes and reads them.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::ParseError;

/// A set of TCP ports: `50100-50199,60000`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortSet(BTreeSet<u16>);

impl PortSet {
    /// Whether no port is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `port` is in it.
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }

    /// The ports of both.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// The ports that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// The ports that are in `other` too.
    #[must_use]
    pub fn among(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        Self(ports.into_iter().collect())
    }
}

impl FromStr for PortSet {
    type Err = ParseError;

    /// Reads ports and ranges with commas between them; an empty text is an empty set.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts = text
            .trim()
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let ranges = parts.map(|part| range(part).ok_or_else(|| wrong(part)));
        Ok(Self(
            ranges
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect(),
        ))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ports = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = ports.next() {
            let mut last = first;
            while let Some(next) = ports.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            match first == last {
                true => write!(to, "{comma}{first}")?,
                false => write!(to, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

fn range(part: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some(first..=last)
}

fn wrong(part: &str) -> ParseError {
    ParseError::new("a port or a range of ports: 50100 or 50100-50199", part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_joined_and_written_as_the_kernel_does() {
        let set = |text: &str| text.parse::<PortSet>().unwrap();
        for (text, written) in [
            ("", ""),
            ("\n", ""),
            ("50100-50199\n", "50100-50199"),
            ("60000,50100,50101", "50100-50101,60000"),
            ("1-3,2-5,7", "1-5,7"),
            ("65534-65535", "65534-65535"),
        ] {
            assert_eq!(set(text).to_string(), written);
        }
        let both = set("80,50100-50103").with(&set("50102-50105"));
        assert_eq!(both.to_string(), "80,50100-50105");
        assert_eq!(both.without(&set("50100-50103")).to_string(), "80,50104-50105");
        assert_eq!(both.among(&set("1-100")).to_string(), "80");
        for bad in ["a", "5-", "9-5", "70000", "1,,x"] {
            assert!(bad.parse::<PortSet>().is_err(), "{bad:?}");
        }
    }
}
