//! Text that came from a registry, made fit for a terminal and a log.

/// `bytes` as at most `max` characters, on one line, with everything that could steer a terminal or turn the
/// reading direction written as an escape; `…` at the end where it was cut.
pub(super) fn printable(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == max {
            out.push('…');
            break;
        }
        if c.is_control() || steers(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that are no control characters and yet change how their neighbours are shown.
fn steers(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(printable(b"a\x1b[2Jb\nc\xff", 80), "a\\u{1b}[2Jb\\u{a}c\u{fffd}");
        assert_eq!(printable("x\u{202e}y\u{9b}".as_bytes(), 80), "x\\u{202e}y\\u{9b}");
        assert_eq!(printable("héllo".as_bytes(), 3), "hél…");
        assert_eq!(printable("héllo".as_bytes(), 5), "héllo");
    }
}
