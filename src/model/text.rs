//! Text that is fit for a terminal, whoever wrote it.

use std::borrow::Cow;

/// One line made safe to print: whole terminal escape sequences are cut out, and every other control
/// character (C0 but tab, DEL, C1) and every character that turns the direction of writing becomes `�`.
///
/// A newline is a control character here: split a text into lines first.
pub fn printable(line: &str) -> Cow<'_, str> {
    if !line.chars().any(is_unprintable) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let escape = escape_length(rest);
        if escape > 0 {
            rest = &rest[escape..];
            continue;
        }
        out.push(if is_unprintable(c) { '\u{fffd}' } else { c });
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(out)
}

fn is_unprintable(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length in bytes of the complete escape sequence that `text` begins with; 0 where there is none.
///
/// Known are the two kinds that programs print: CSI (colours, cursor) and OSC (titles, links).
fn escape_length(text: &str) -> usize {
    if let Some(body) = text.strip_prefix("\x1b[") {
        let parameters = body.bytes().take_while(|b| (0x20..0x40).contains(b)).count();
        return match body.as_bytes().get(parameters) {
            Some(0x40..=0x7e) => 2 + parameters + 1,
            _ => 0,
        };
    }
    if let Some(body) = text.strip_prefix("\x1b]") {
        let ended = body.find(['\x07', '\x1b']).map(|at| (at, &body[at..]));
        return match ended {
            Some((at, end)) if end.starts_with('\x07') => 2 + at + 1,
            Some((at, end)) if end.starts_with("\x1b\\") => 2 + at + 2,
            _ => 0,
        };
    }
    0
}

/// A name or a message as at most `max` characters, on one line, with everything that could steer a terminal or
/// turn the reading direction written as an escape, so that it can still be told; `…` where it was cut.
pub fn escaped(bytes: &[u8], max: usize) -> String {
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
    fn plain_text_is_left_alone() {
        for plain in ["", "a\tb", "naïve — 日本 🙂", "[31m"] {
            assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    #[test]
    fn escapes_are_cut_out_and_other_controls_replaced() {
        for (from, to) in [
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("a\rb\nc", "a\u{fffd}b\u{fffd}c"),
            ("\x1b[31", "\u{fffd}[31"),
            ("\x1b]no end", "\u{fffd}]no end"),
            ("\x1b\x1b[31m[32m", "\u{fffd}[32m"),
            ("\u{9b}31m\u{7f}\0", "\u{fffd}31m\u{fffd}\u{fffd}"),
            ("abc\u{202e}cba\u{2066}", "abc\u{fffd}cba\u{fffd}"),
        ] {
            assert_eq!(printable(from), to, "{from:?}");
        }
    }

    #[test]
    fn nothing_unprintable_is_left_whatever_comes_in() {
        let pieces = [
            "\x1b", "[", "]", "3", "m", "\x07", "\\", "\u{9d}", "x", "\u{202e}",
        ];
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            assert!(!printable(&text).chars().any(is_unprintable), "{text:?}");
        }
    }

    #[test]
    fn a_name_keeps_what_it_hides_as_escapes() {
        assert_eq!(escaped(b"a\x1b[2Jb\nc\xff", 80), "a\\u{1b}[2Jb\\u{a}c\u{fffd}");
        assert_eq!(escaped("x\u{202e}y\u{9b}".as_bytes(), 80), "x\\u{202e}y\\u{9b}");
        assert_eq!(escaped("héllo".as_bytes(), 3), "hél…");
        assert_eq!(escaped("héllo".as_bytes(), 5), "héllo");
    }
}
