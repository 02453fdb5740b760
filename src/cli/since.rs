//! `--since WHEN`

use std::str::FromStr;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil, tz::TimeZone};

use crate::model::ParseError;

/// The earliest time that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since(pub(super) Timestamp);

impl FromStr for Since {
    type Err = ParseError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseError> {
        let since = || text.parse().ok().or_else(|| in_utc(text)).or_else(|| back(text));
        since().map(Self).ok_or_else(|| {
            ParseError::new(
                "a time back (10m, 2h, 7d), or a day or time in UTC (2026-11-21, 2026-11-21T10:00)",
                text,
            )
        })
    }
}

fn in_utc(text: &str) -> Option<Timestamp> {
    let time: civil::DateTime = text.parse().ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

fn back(text: &str) -> Option<Timestamp> {
    let span: Span = text.parse().ok()?;
    let back: SignedDuration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Timestamp::now().checked_sub(back.abs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_back_or_a_time() {
        let at = |text: &str| text.parse::<Since>().unwrap().0;
        assert_eq!(at("2026-11-21T10:00:00Z"), at("2026-11-21T11:00:00+01"));
        assert_eq!(at("2026-11-21"), at("2026-11-21T00:00:00Z"));
        assert_eq!(at("2026-11-21 10:30"), at("2026-11-21T10:30Z"));
        for (text, hours) in [
            ("120m", 2),
            ("2h", 2),
            ("7d", 7 * 24),
            ("1w", 7 * 24),
            ("1d2h", 26),
            ("2h ago", 2),
        ] {
            let back = Timestamp::now().duration_since(at(text));
            let off = back - SignedDuration::from_hours(hours);
            assert!(off.abs() < SignedDuration::from_mins(1), "{text}: {back}");
        }
        for wrong in ["", "yesterday", "7", "1mo", "2026-13-01", "999999999999h"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
