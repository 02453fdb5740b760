//! Durations, sizes and words, as they stand in compose files.

use std::time::Duration;

/// A duration as Go has it, `1m30s` or `1.5h`; a number alone is nothing.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3_600.0),
        ("d", 86_400.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|character: char| character.is_ascii_digit() || character == '.');
        let unit_end = unit_end.map_or(rest.len(), |length| end + length);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[end..unit_end])?;
        seconds += number * unit;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

/// A size in bytes: `512m`, `1.5gb`, `64 KiB`, or a number of bytes. The letters stand for powers of 1,024, as in Compose.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit)
    {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let bytes = number * (1_u64 << power) as f64;
    // More than any machine has.
    (bytes.is_finite() && bytes < 1e15).then_some(bytes as u64)
}

/// Why a command is not split into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotWords {
    #[error("a quote or backslash at its end is not closed")]
    Open,
    #[error("Compose runs no shell, and drops all from the {0} on")]
    Shell(char),
}

/// The words of a command that is one text, as a shell splits them; nothing is evaluated.
pub(super) fn words(text: &str) -> Result<Vec<String>, NotWords> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(character),
            (_, '\\') => {
                let next = characters.next().ok_or(NotWords::Open)?;
                word.get_or_insert_default().push(next);
            }
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, ';' | '&' | '|' | '<' | '>') => return Err(NotWords::Shell(character)),
            (None, ' ' | '\t' | '\r' | '\n') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(NotWords::Open);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, wanted) in [
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("2d", 172_800_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(wanted)), "{text}");
        }
        for bad in ["", "5", "5x", "s", "-1s", "1 s", "9e9h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, wanted) in [
            ("50M", 50 << 20),
            ("1gb", 1 << 30),
            ("64 KiB", 65_536),
            ("12", 12),
            ("1.5k", 1_536),
        ] {
            assert_eq!(bytes(text), Some(wanted), "{text}");
        }
        for bad in ["", "x", "-1", "1q", "1e30", "99999999t"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_command_is_split_as_a_shell_would_and_evaluated_never() {
        let split = |text| words(text).unwrap();
        assert_eq!(
            split("echo  'a b' \"c \\\" d\" e\\ f ''"),
            ["echo", "a b", "c \" d", "e f", ""]
        );
        assert_eq!(split("a\n  b $(c) `d`"), ["a", "b", "$(c)", "`d`"]);
        assert_eq!(words("a && b"), Err(NotWords::Shell('&')));
        assert_eq!(words("a 'b"), Err(NotWords::Open));
    }
}
