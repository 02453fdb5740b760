//! Slots and their lanes.

use std::fmt;
use std::str::FromStr;

use super::{AppName, ParseError, serde_as_text};

/// One of an app's two slots: a git remote, a worktree and a port each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The slot `blue`.
    Blue,
    /// The slot `green`.
    Green,
}

impl Slot {
    /// Both slots, blue first.
    pub const BOTH: [Slot; 2] = [Slot::Blue, Slot::Green];

    /// The other slot.
    pub fn other(self) -> Slot {
        match self {
            Slot::Blue => Slot::Green,
            Slot::Green => Slot::Blue,
        }
    }

    /// `blue` or `green`.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::Blue => "blue",
            Slot::Green => "green",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(self.as_str())
    }
}

impl FromStr for Slot {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "blue" => Ok(Slot::Blue),
            "green" => Ok(Slot::Green),
            _ => Err(ParseError::new("a slot: blue or green", text)),
        }
    }
}

serde_as_text!(Slot);

/// A slot as a person writes it: `green`, or `shop/green` where there is more than one app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotName {
    /// The app, when it was named.
    pub app: Option<AppName>,
    /// The slot.
    pub slot: Slot,
}

impl fmt::Display for SlotName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.app {
            Some(app) => write!(to, "{app}/{}", self.slot),
            None => self.slot.fmt(to),
        }
    }
}

impl FromStr for SlotName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = match text.split_once('/') {
            Some((app, slot)) => app.parse().ok().map(Some).zip(slot.parse().ok()),
            None => text.parse().ok().map(|slot| (None, slot)),
        };
        let (app, slot) =
            parsed.ok_or_else(|| ParseError::new("a slot: blue, green, APP/blue or APP/green", text))?;
        Ok(Self { app, slot })
    }
}

serde_as_text!(SlotName);

/// One of a slot's two sets of planned addresses.
///
/// A release takes the lane that its slot does not use, so that old and new run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The lane `a`.
    A,
    /// The lane `b`.
    B,
}

impl Lane {
    /// The other lane.
    pub fn other(self) -> Lane {
        match self {
            Lane::A => Lane::B,
            Lane::B => Lane::A,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(match self {
            Lane::A => "a",
            Lane::B => "b",
        })
    }
}

impl FromStr for Lane {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "a" => Ok(Lane::A),
            "b" => Ok(Lane::B),
            _ => Err(ParseError::new("a lane: a or b", text)),
        }
    }
}

serde_as_text!(Lane);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_written_with_or_without_its_app() {
        let alone: SlotName = "green".parse().unwrap();
        assert_eq!((alone.app, alone.slot), (None, Slot::Green));
        let full: SlotName = "shop/blue".parse().unwrap();
        assert_eq!(full.to_string(), "shop/blue");
        for bad in [
            "",
            "red",
            "shop/",
            "/green",
            "shop/green/x",
            "Shop/green",
            "green/blue",
        ] {
            assert!(bad.parse::<SlotName>().is_err(), "{bad}");
        }
    }
}
