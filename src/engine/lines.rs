//! Bytes that arrive in pieces, told as printable lines of bounded length.

use crate::model::printable;

/// Longest line in bytes; what is longer is cut and marked.
const LINE_MAX: usize = 8 * 1024;

/// Gathers pieces into lines. A carriage return within a line starts it over, as a terminal shows it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    cut: bool,
}

impl Lines {
    /// Takes a piece; tells every line that it completes.
    pub(super) fn push(&mut self, piece: &[u8], mut tell: impl FnMut(&str)) {
        for part in piece.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let room = LINE_MAX.saturating_sub(self.pending.len());
            self.cut |= text.len() > room;
            self.pending.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.tell(&mut tell);
            }
        }
    }

    /// Tells the last line, where it had no newline.
    pub(super) fn finish(&mut self, mut tell: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            self.tell(&mut tell);
        }
    }

    fn tell(&mut self, tell: &mut impl FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.pending);
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or_default();
        match self.cut {
            true => tell(&format!("{}…", printable(line))),
            false => tell(&printable(line)),
        }
        self.pending.clear();
        self.cut = false;
    }
}

/// `text` as one printable line of at most `max` characters: lines joined by spaces, the rest cut and marked.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = printable(&joined);
    match line.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&str]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece.as_bytes(), |line| out.push(line.to_owned()));
        }
        lines.finish(|line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn pieces_become_lines() {
        assert_eq!(
            told(&["a", "b\nc\r\n", "\n10%\r20%\rdone", "\nend"]),
            ["ab", "c", "", "done", "end"]
        );
    }

    #[test]
    fn a_line_without_end_is_cut_and_takes_no_memory() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.push(&[b'x'; 10_000], |_| panic!("no line ended"));
        }
        assert!(lines.pending.len() <= LINE_MAX);
        let mut out = Vec::new();
        lines.push(b"\nnext\n", |line| out.push(line.to_owned()));
        assert!(out[0].len() < LINE_MAX + 8 && out[0].ends_with('…'));
        assert_eq!(out[1], "next");
    }
}
