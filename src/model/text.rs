//! Text that others wrote: made fit for a terminal, read from files, and looked at for what nobody sees in it.

use std::borrow::Cow;
use std::fmt;

/// A file is no text that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// Two bytes a character.
    #[error("it is UTF-16, as some programs on Windows write: save it as UTF-8")]
    Utf16,
    /// Something else.
    #[error("it is not UTF-8: save it as UTF-8")]
    NotUtf8 {
        /// The line with the first byte that is not, from 1.
        line: usize,
    },
}

impl NotText {
    /// The line that it is about, from 1, which the sentence does not tell.
    pub fn line(self) -> usize {
        match self {
            NotText::Utf16 => 1,
            NotText::NotUtf8 { line } => line,
        }
    }
}

/// The text of a file that people write, without the byte order mark that some editors put before it.
///
/// # Errors
/// When it is not UTF-8.
pub fn text_of_file(bytes: &[u8]) -> Result<&str, NotText> {
    if is_utf16(bytes) {
        return Err(NotText::Utf16);
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        NotText::NotUtf8 { line }
    })
}

/// U+FEFF in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Whether a file is UTF-16: by its mark, or by zeros beside its first characters.
pub fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [a, 0, b, 0, ..] | [0, a, 0, b, ..] => *a != 0 && *b != 0,
        _ => false,
    }
}

/// A character of a name that nobody sees, or that is seen as a space and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden {
    /// The character.
    pub character: char,
    /// Its place in the name, counted in characters from 1.
    pub place: usize,
}

impl fmt::Display for Hidden {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = u32::from(self.character);
        write!(
            to,
            "an invisible character, U+{code:04X}, as character {}",
            self.place
        )
    }
}

/// The first character of a name that nobody sees: of no width, turning the direction of writing, a control character, or
/// a blank that is neither a space nor a tab. None in a name that is what it looks like.
pub fn hidden(name: &str) -> Option<Hidden> {
    let mut numbered = (1..).zip(name.chars());
    let (place, character) = numbered.find(|(_, character)| is_hidden(*character))?;
    Some(Hidden { character, place })
}

/// `: it has …` where there is something [`hidden`] in `name`, for the end of a sentence; else nothing.
pub(crate) fn hidden_told(name: &str) -> String {
    hidden(name).map_or(String::new(), |hidden| format!(": it has {hidden}"))
}

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
    (c.is_control() && c != '\t') || turns(c)
}

/// Whether it changes the direction of what is written after it, or ends a line for some programs.
fn turns(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether it has no width of its own, or is drawn as nothing.
fn has_no_width(c: char) -> bool {
    matches!(c, '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether it chooses a form of the character before it, as that of an emoji.
fn chooses_form(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}')
}

/// Whether it is seen as a space and is none.
fn is_odd_blank(c: char) -> bool {
    (c.is_whitespace() && !matches!(c, ' ' | '\t')) || c == '\u{2800}'
}

/// Whether nobody sees it in a name.
pub fn is_hidden(c: char) -> bool {
    is_unprintable(c) || has_no_width(c) || chooses_form(c) || is_odd_blank(c)
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
        if c.is_control() || turns(c) || has_no_width(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
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
    fn every_invisible_character_is_found_and_what_is_seen_is_none() {
        for seen in ["", "a b\tc", "naïve — 日本 🙂", "résumé", "שלום", "a\u{301}"] {
            assert_eq!(hidden(seen), None, "{seen:?}");
        }
        let turns =
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        let no_width = "\u{ad}\u{34f}\u{180e}\u{200b}\u{200c}\u{200d}\u{2060}\u{2061}\u{2064}\u{206f}\u{3164}\u{feff}\u{ffa0}\u{fff9}\u{e0041}\u{e0100}";
        let forms = "\u{fe00}\u{fe0f}";
        let blanks =
            "\u{a0}\u{1680}\u{2000}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{2800}\u{3000}\u{85}";
        for character in [turns, no_width, forms, blanks, "\0\n\r\u{1b}\u{7f}"]
            .concat()
            .chars()
        {
            let found =
                hidden(&format!("né{character}x{character}")).unwrap_or_else(|| panic!("{character:?}"));
            assert_eq!((found.character, found.place), (character, 3));
        }
        assert_eq!(
            hidden_told("a\u{200b}"),
            ": it has an invisible character, U+200B, as character 2"
        );
        for character in turns.chars() {
            assert_eq!(printable(&format!("a{character}b")), "a\u{fffd}b");
            assert!(escaped(character.to_string().as_bytes(), 9).is_ascii());
        }
        for character in no_width.chars() {
            assert!(
                escaped(character.to_string().as_bytes(), 9).is_ascii(),
                "{character:?}"
            );
        }
    }

    #[test]
    fn a_file_is_read_without_its_mark_and_refused_as_utf_16() {
        assert_eq!(text_of_file(b"a\nb"), Ok("a\nb"));
        assert_eq!(text_of_file("\u{feff}a\u{feff}".as_bytes()), Ok("a\u{feff}"));
        assert_eq!(text_of_file(b""), Ok(""));
        assert_eq!(text_of_file(b"a\0b"), Ok("a\0b"));
        for utf16 in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a", b"a\0=\0", b"\0a\0="] {
            assert_eq!(text_of_file(utf16), Err(NotText::Utf16), "{utf16:?}");
        }
        assert_eq!(text_of_file(b"a\nb\xe9"), Err(NotText::NotUtf8 { line: 2 }));
    }

    #[test]
    fn a_name_keeps_what_it_hides_as_escapes() {
        assert_eq!(escaped(b"a\x1b[2Jb\nc\xff", 80), "a\\u{1b}[2Jb\\u{a}c\u{fffd}");
        assert_eq!(escaped("x\u{202e}y\u{9b}".as_bytes(), 80), "x\\u{202e}y\\u{9b}");
        assert_eq!(escaped("héllo".as_bytes(), 3), "hél…");
        assert_eq!(escaped("héllo".as_bytes(), 5), "héllo");
    }
}
