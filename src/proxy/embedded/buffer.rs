//! Bytes on their way through, in memory that is borrowed for as long as there are any.
//!
//! Most connections wait most of the time. What they wait for is read into the memory that was used last, which is the
//! likeliest to be in the processor's caches, and a connection that waits holds none.

use std::cell::RefCell;
use std::io;
use std::task::{Poll, ready};

use super::http1::{Body, HEAD_MAX, Malformed};

/// Room for most heads and small bodies, in bytes.
const SMALL: usize = 16 << 10;

/// Room for the largest head, and for a large body in few steps.
const LARGE: usize = HEAD_MAX;

/// Pieces of memory of each size that a thread keeps for the next one who needs it.
const SPARE: usize = 64;

thread_local! {
    static SMALL_ONES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static LARGE_ONES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    memory: Memory,
    start: usize,
    end: usize,
    /// Whether so much came at once that more is likely to be there.
    is_large: bool,
}

/// Borrowed memory; empty where there is none.
#[derive(Debug, Default)]
struct Memory(Box<[u8]>);

impl Memory {
    fn borrow(size: usize) -> Self {
        let spare = match size {
            SMALL => SMALL_ONES.with_borrow_mut(Vec::pop),
            _ => LARGE_ONES.with_borrow_mut(Vec::pop),
        };
        Self(spare.unwrap_or_else(|| vec![0; size].into_boxed_slice()))
    }

    fn size(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let spare = match self.size() {
            0 => return,
            SMALL => &SMALL_ONES,
            _ => &LARGE_ONES,
        };
        let memory = std::mem::take(&mut self.0);
        // A thread that ends has nothing to keep it for.
        let _ = spare.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE {
                spare.push(memory);
            }
        });
    }
}

impl Buffer {
    /// What has come and was not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory.0[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether there is no room for more, and will be none until something is consumed.
    pub(super) fn is_full(&self) -> bool {
        self.end - self.start == LARGE
    }

    /// Forgets the first `length` bytes.
    pub(super) fn consume(&mut self, length: usize) {
        self.start += length;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            self.memory = Memory::default();
        }
    }

    /// Follows a body through what has come: its next content is at the front then, as long as is given, and behind it
    /// come as many bytes as is given second that are to be consumed with it.
    ///
    /// # Errors
    /// When the body is malformed.
    pub(super) fn decode(&mut self, body: &mut Body) -> Result<(usize, usize), Malformed> {
        let decoded = body.decode(&mut self.memory.0[self.start..self.end])?;
        match decoded.content {
            0 => {
                self.consume(decoded.skipped + decoded.rest);
                Ok((0, 0))
            }
            content => {
                self.start += decoded.skipped;
                Ok((content, decoded.rest))
            }
        }
    }

    /// Has `read` put more behind what there is. Gives what it gives: how many bytes came, 0 at the end.
    pub(super) fn poll_fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let room = &mut self.memory.0[self.end..];
        let most = room.len();
        let polled = read(room);
        if let Poll::Ready(Ok(came)) = polled {
            self.end += came;
            self.is_large = came == most;
        }
        if self.is_empty() {
            self.consume(0);
        }
        Poll::Ready(ready!(polled))
    }

    fn make_room(&mut self) {
        let wanted = match self.memory.size() {
            0 if self.is_large => LARGE,
            0 => SMALL,
            size if self.start > 0 => {
                self.memory.0.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
                size
            }
            size if self.end == size => LARGE,
            size => size,
        };
        if wanted > self.memory.size() {
            let mut memory = Memory::borrow(wanted);
            memory.0[..self.end].copy_from_slice(&self.memory.0[..self.end]);
            self.memory = memory;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer, bytes: &[u8]) -> usize {
        let filled = buffer.poll_fill(|room| {
            let length = room.len().min(bytes.len());
            room[..length].copy_from_slice(&bytes[..length]);
            Poll::Ready(Ok(length))
        });
        match filled {
            Poll::Ready(Ok(length)) => length,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_come_out_as_they_went_in_and_memory_is_given_back() {
        let bytes: Vec<u8> = (0..LARGE + 1).map(|at| (at % 251) as u8).collect();
        let mut buffer = Buffer::default();
        let mut filled = 0;
        while !buffer.is_full() {
            filled += fill(&mut buffer, &bytes[filled..]);
            assert_eq!(buffer.bytes(), &bytes[..filled]);
        }
        assert_eq!(filled, LARGE);
        buffer.consume(100);
        assert!(!buffer.is_full());
        fill(&mut buffer, b"end");
        assert_eq!(buffer.bytes(), [&bytes[100..LARGE], b"end"].concat());
        buffer.consume(buffer.bytes().len());
        assert!(buffer.is_empty() && buffer.memory.size() == 0);
    }

    #[test]
    fn who_waits_holds_no_memory() {
        let mut buffer = Buffer::default();
        assert!(buffer.poll_fill(|_| Poll::Pending).is_pending());
        assert_eq!(buffer.memory.size(), 0);
        assert_eq!(fill(&mut buffer, b""), 0);
        assert_eq!(buffer.memory.size(), 0);
    }

    #[test]
    fn what_came_in_large_pieces_is_read_in_large_pieces() {
        let mut buffer = Buffer::default();
        assert_eq!(fill(&mut buffer, &[1; LARGE]), SMALL);
        buffer.consume(SMALL);
        assert_eq!(fill(&mut buffer, &[1; LARGE]), LARGE);
        buffer.consume(LARGE);
        assert_eq!(fill(&mut buffer, &[1; 10]), 10);
        buffer.consume(10);
        assert_eq!(fill(&mut buffer, &[1; LARGE]), SMALL);
    }
}
