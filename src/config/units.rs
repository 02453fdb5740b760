//! Durations and sizes as people write them: `30s`, `1h30m`, `512m`.

use std::time::Duration;

use super::refusal::{Refusal, quoted};

/// The longest duration that is taken: a day.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A duration: whole numbers with the units `h`, `m`, `s` and `ms`, larger units first, as in `30s`, `500ms`
/// or `1h30m`. Zero is `0s`.
///
/// # Errors
/// When a number has no unit, when it is written otherwise, or above [`DURATION_MAX`].
pub fn duration(text: &str) -> Result<Duration, Refusal> {
    let wrong = || Refusal::new(format!("{} is not a duration", quoted(text)));
    let hint = "write 30s, 500ms, 2m or 1h30m";
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let shown = quoted(text);
        let number = shown.trim_matches('"');
        return Err(Refusal::new(format!("the duration {number} has no unit")).hint(hint));
    }
    let mut rest = text;
    let mut total = 0u64;
    let mut smaller_than = u64::MAX;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(|| wrong().hint(hint))?;
        let milliseconds = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(wrong().hint(hint)),
        };
        if milliseconds >= smaller_than {
            return Err(wrong().hint("write each unit once, the larger before the smaller, as in 1h30m"));
        }
        smaller_than = milliseconds;
        total = total.saturating_add(number.saturating_mul(milliseconds));
        rest = after;
    }
    match Duration::from_millis(total) {
        _ if text.is_empty() => Err(wrong().hint(hint)),
        total if total > DURATION_MAX => Err(Refusal::new(format!("{} is longer than a day", quoted(text)))),
        total => Ok(total),
    }
}

/// A duration that is not zero.
///
/// # Errors
/// As [`duration`], and for zero.
pub fn duration_above_zero(text: &str) -> Result<Duration, Refusal> {
    match duration(text)? {
        Duration::ZERO => Err(Refusal::new(format!(
            "{} must be longer than nothing",
            quoted(text)
        ))),
        longer => Ok(longer),
    }
}

/// A size in bytes: a whole number alone, or with one of Docker's units, which are binary: `b`, `k`, `m`, `g` or
/// `t`, in either case, `mb` and `mib` meaning the same as `m`. So `64k` is 65,536 bytes.
///
/// # Errors
/// When it is written otherwise, zero, or above 2⁶³ − 1 bytes, the most that the Engine takes.
pub fn size(text: &str) -> Result<u64, Refusal> {
    let wrong = || Refusal::new(format!("{} is not a size", quoted(text)));
    let hint = "write 512m, 2g, 64k, or a whole number of bytes";
    let (number, unit, after) = number_and_unit(text).ok_or_else(|| wrong().hint(hint))?;
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(wrong().hint(hint)),
    };
    if !after.is_empty() {
        return Err(wrong().hint(hint));
    }
    match number.checked_mul(1 << (10 * power)) {
        Some(0) => Err(Refusal::new(format!(
            "{} must be more than nothing",
            quoted(text)
        ))),
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => Err(Refusal::new(format!("{} is too large", quoted(text)))),
    }
}

/// The whole number that `text` begins with, the letters that follow it, and what is left. A number too large for
/// 64 bits is the largest that they hold.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, after) = rest.split_at(letters);
    (digits > 0).then(|| (number.parse().unwrap_or(u64::MAX), unit, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_people_write_it() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1m30s500ms", 90_500),
            ("0s", 0),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_or_written_otherwise_is_refused_with_a_hint() {
        let bare = duration("30").unwrap_err();
        assert_eq!(bare.message, "the duration 30 has no unit");
        assert_eq!(bare.hint.as_deref(), Some("write 30s, 500ms, 2m or 1h30m"));
        for bad in [
            "", "s", "-1s", "1.5s", "30 s", "30S", "1d", "1h30", "30m1h", "1s1s", "٣s", " 1s", "1s ",
        ] {
            let refusal = duration(bad).unwrap_err();
            assert!(refusal.hint.is_some(), "{refusal}");
        }
        for long in ["25h", "24h1ms", "99999999999999999999999h"] {
            assert!(
                duration(long).unwrap_err().message.ends_with("longer than a day"),
                "{long}"
            );
        }
        assert!(duration_above_zero("0ms").is_err());
    }

    #[test]
    fn a_size_is_binary_as_dockers_are() {
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("2g", 2 << 30),
            ("64k", 64 << 10),
            ("64KiB", 64 << 10),
            ("1MB", 1 << 20),
            ("1t", 1 << 40),
            ("100", 100),
            ("100b", 100),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "m",
            "0",
            "0m",
            "-1",
            "1.5g",
            "1 g",
            "1x",
            "1g1m",
            "9999999999g",
            "99999999999999999999",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
