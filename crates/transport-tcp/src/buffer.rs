//! Large buffers that exist only while they hold bytes.
//!
//! An idle connection has no such buffer. Each thread keeps at most [`KEPT`] returned buffers for
//! the next connection that needs one. A busy connection therefore does not request the same pages
//! from the allocator and the kernel with every read and write.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Two Noise messages of the largest size with their prefixes, or eight TLS records.
pub(crate) const CAPACITY: usize = 2 * (2 + 65_535);

/// Buffers that one thread keeps: 1 MiB.
const KEPT: usize = 8;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes in a queue: added at the end, taken from the front.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    /// Takes `n` bytes off the front; with the last of them the memory goes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        if self.is_empty() {
            self.release();
        }
    }

    /// Room at the end; if it is less than `wanted`, what is held moves to the front first.
    pub(crate) fn spare(&mut self, wanted: usize) -> &mut [u8] {
        if self.memory.is_empty() {
            let kept = FREE.try_with(|free| free.borrow_mut().pop());
            let kept = kept.ok().flatten();
            self.memory = kept.unwrap_or_else(|| vec![0; CAPACITY].into_boxed_slice());
        }
        if self.start > 0 && self.memory.len() - self.end < wanted {
            self.memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.memory[self.end..]
    }

    /// Counts `n` bytes, written to [`Buffer::spare`], among those held.
    pub(crate) fn add(&mut self, n: usize) {
        self.end += n;
    }

    /// Gives the memory back, with whatever it holds.
    pub(crate) fn release(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        (self.start, self.end) = (0, 0);
        if memory.is_empty() {
            return;
        }
        // On a thread that is ending there is nobody to keep it for.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(memory);
            }
        });
    }

    /// One read from `io`; gives its length. A buffer that stays empty has no memory afterwards.
    pub(crate) fn poll_fill<S>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
        wanted: usize,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let mut spare = ReadBuf::new(self.spare(wanted));
        let read = Pin::new(io).poll_read(cx, &mut spare);
        let n = spare.filled().len();
        self.add(n);
        if self.is_empty() {
            self.release();
        }
        ready!(read)?;
        Poll::Ready(Ok(n))
    }

    /// Writes everything to `io`.
    pub(crate) fn poll_drain<S>(&mut self, cx: &mut Context<'_>, io: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        while !self.is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, self.bytes()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.consume(n),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Moves as much as fits to a reader.
    pub(crate) fn give(&mut self, buf: &mut ReadBuf<'_>, most: usize) -> usize {
        let n = self.bytes().len().min(most).min(buf.remaining());
        buf.put_slice(&self.bytes()[..n]);
        self.consume(n);
        n
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_held_only_while_there_are_bytes() {
        let mut buffer = Buffer::default();
        assert!(buffer.memory.is_empty());
        buffer.spare(1)[..2].copy_from_slice(b"ab");
        buffer.add(2);
        buffer.consume(1);
        assert_eq!((buffer.bytes(), buffer.memory.len()), (&b"b"[..], CAPACITY));
        buffer.consume(1);
        assert!(buffer.memory.is_empty());
    }

    #[test]
    fn what_is_held_moves_only_when_the_room_is_too_small() {
        let mut buffer = Buffer::default();
        buffer.spare(1);
        buffer.add(CAPACITY - 10);
        buffer.consume(100);
        assert_eq!(buffer.spare(10).len(), 10);
        assert_eq!(buffer.spare(11).len(), 110);
        assert_eq!(buffer.bytes().len(), CAPACITY - 110);
    }

    #[test]
    fn a_thread_keeps_no_more_than_its_share() {
        let held: Vec<_> = std::iter::repeat_with(Buffer::default)
            .take(KEPT + 3)
            .map(|mut buffer| {
                buffer.spare(1);
                buffer
            })
            .collect();
        drop(held);
        assert_eq!(FREE.with(|free| free.borrow().len()), KEPT);
    }
}
