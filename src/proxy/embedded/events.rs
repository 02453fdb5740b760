//! An event stream (`text/event-stream`) on its way through: it has no end of its own, and may be ended after any event.

/// The last bytes that have passed, the latest one last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tail(Option<[u8; 3]>);

impl Tail {
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(3)..] {
            let [_, b, c] = self.0.unwrap_or_default();
            self.0 = Some([b, c, *byte]);
        }
    }

    /// Whether the last event is whole: it ends with an empty line, by any of the three line ends that there are.
    pub(super) fn is_between(self) -> bool {
        match self.0 {
            None => true,
            Some(tail) => tail == *b"\n\r\n" || tail.ends_with(b"\n\n") || tail.ends_with(b"\r\r"),
        }
    }

    /// How many bytes of `data` end the event under way, all of them where its end has not come.
    pub(super) fn pass_event_end(&mut self, data: &[u8]) -> usize {
        let end = data.iter().position(|byte| {
            self.pass(&[*byte]);
            self.is_between()
        });
        end.map_or(data.len(), |end| end + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_at_an_empty_line_however_the_bytes_come() {
        for (stream, first) in [
            ("data: 1\n\ndata: 2\n\n", "data: 1\n\n"),
            ("data: 1\r\n\r\ndata: 2\r\n\r\n", "data: 1\r\n\r\n"),
            ("data: 1\r\rdata: 2\r\r", "data: 1\r\r"),
            ("data: 1\ndata: 1\n\n: x\n\n", "data: 1\ndata: 1\n\n"),
            ("data: never ends\n", "data: never ends\n"),
        ] {
            for cut in 1..stream.len() {
                let mut tail = Tail::default();
                assert!(tail.is_between());
                let (before, after) = stream.as_bytes().split_at(cut.min(first.len() - 1));
                tail.pass(before);
                assert!(!tail.is_between(), "{stream:?} cut at {cut}");
                let passed = tail.pass_event_end(after);
                assert_eq!(
                    [before, &after[..passed]].concat(),
                    first.as_bytes(),
                    "cut at {cut}"
                );
            }
        }
    }
}
