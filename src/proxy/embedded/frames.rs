//! Where a WebSocket's frames begin and end (RFC 6455, section 5.2), without a look at what is in them.

/// Longest head of a frame: two bytes, a length of eight, a mask of four.
const HEAD_MAX: usize = 14;

const CLOSE: u8 = 8;

/// Follows the frames of one direction; see the module.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_MAX],
    /// Bytes of the head that have come; 0 between two frames.
    have: usize,
    /// Bytes of the payload that are to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Follows all of `bytes`.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.follow_one(bytes)..];
        }
    }

    /// Follows `bytes` to the end of the frame that is under way, or as far as they go; gives how far that is.
    pub(super) fn follow_one(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while self.missing() > 0 {
            let part = &bytes[at..bytes.len().min(at + self.missing())];
            if part.is_empty() {
                return at;
            }
            self.head[self.have..][..part.len()].copy_from_slice(part);
            self.have += part.len();
            at += part.len();
            if self.missing() == 0 {
                self.left = self.length();
            }
        }
        let rest = (bytes.len() - at) as u64;
        at += rest.min(self.left) as usize;
        self.left = self.left.saturating_sub(rest);
        if self.left == 0 {
            self.closed |= self.head[0] & 0x0f == CLOSE;
            self.have = 0;
        }
        at
    }

    /// Whether the last byte was a frame's last.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0
    }

    /// Whether this side has said that it closes.
    pub(super) fn has_closed(&self) -> bool {
        self.closed
    }

    /// Bytes that the head lacks, as far as is known yet.
    fn missing(&self) -> usize {
        let whole = match self.have {
            0 | 1 => 2,
            _ => 2 + self.length_bytes() + if self.head[1] & 0x80 == 0 { 0 } else { 4 },
        };
        whole - self.have
    }

    fn length_bytes(&self) -> usize {
        match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn length(&self) -> u64 {
        match self.length_bytes() {
            0 => u64::from(self.head[1] & 0x7f),
            bytes => self.head[2..][..bytes]
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | kind];
        match length {
            short @ 0..126 => frame.push(mask | short as u8),
            middle @ 126..65_536 => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                frame.push(mask | 127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend_from_slice(&[0x88; 4]);
        }
        // The payload looks like the heads of close frames.
        frame.extend(std::iter::repeat_n(0x88, length));
        frame
    }

    #[test]
    fn every_frame_ends_where_it_ends_however_the_bytes_are_cut() {
        let lengths = [0, 1, 125, 126, 70_000, 65_535, 0, 65_536];
        let frames: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(at, &length)| frame(1, length, at % 2 == 0))
            .collect();
        let stream = frames.concat();
        for cut in (1..40).chain([1_000, 65_539, stream.len()]) {
            let (mut follower, mut at, mut ends) = (Frames::default(), 0, Vec::new());
            for mut part in stream.chunks(cut) {
                while !part.is_empty() {
                    let passed = follower.follow_one(part);
                    at += passed;
                    part = &part[passed..];
                    if follower.is_between() {
                        ends.push(at);
                    }
                }
            }
            let wanted: Vec<_> = (1..=frames.len()).map(|n| frames[..n].concat().len()).collect();
            assert_eq!(ends, wanted, "cut into {cut}");
            assert!(!follower.has_closed());
        }
    }

    #[test]
    fn a_close_frame_is_known() {
        for masked in [false, true] {
            let mut frames = Frames::default();
            frames.follow(&frame(2, 300, masked));
            assert!(!frames.has_closed());
            frames.follow(&frame(CLOSE, 2, masked));
            assert!(frames.has_closed() && frames.is_between());
        }
    }
}
