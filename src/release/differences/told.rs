//! What people read of a difference.

use std::fmt;

/// What is so, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// A sentence without a full stop.
    pub message: String,
    /// What helps; empty where nothing does.
    pub hint: String,
}

impl Told {
    /// What an error says, whose hint stands at its end.
    pub fn of_error(text: &str) -> Self {
        match text.rsplit_once(". Hint: ") {
            Some((message, hint)) => Self::new(message, hint),
            None => Self::new(text, ""),
        }
    }

    /// A message with what helps.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self { message, hint }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hint.as_str() {
            "" => to.write_str(&self.message),
            hint => write!(to, "{}. Hint: {hint}", self.message),
        }
    }
}
