//! The unread bytes of each stream of a connection.
//!
//! yamux keeps each unread frame in its own allocation and queue entry. This costs about 70 bytes per frame beyond the
//! payload, and the queue keeps its size until the stream is dropped. This module therefore passes only a few small frames
//! of a stream to yamux at a time. It joins the bytes of further frames, and passes them as one frame when the stream's
//! reader has caught up.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::error::Violation;

/// The bytes that a peer may send on a new stream without further credit.
pub(crate) const WINDOW: usize = yamux::DEFAULT_CREDIT as usize;

/// The number of frames, of any length, that yamux may hold for one stream.
pub(crate) const FEW: usize = 8;

/// The average length that further frames must have. The cost of a frame is then below 1 % of its payload.
pub(crate) const LARGE: usize = 16 * 1024;

/// The longest frame that yamux gets. yamux allocates the memory for a body before the body arrives, and frees the memory
/// when the last byte has been read.
pub(crate) const PIECE: usize = 32 * 1024;

/// The bytes of partly read frames that yamux may keep although they were read. Beyond this, the unread rest of such frames
/// is copied out of yamux.
const SPENT: usize = 128 * 1024;

/// The unread bytes of a connection's streams.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The streams that exist. The limits on streams bound them.
    streams: BTreeMap<u32, Account>,
    /// The streams whose joined bytes can be passed to yamux now.
    due: BTreeSet<u32>,
    /// The sum of the read bytes of the streams' first frames. yamux keeps these frames whole.
    spent: usize,
    /// Whether no further frame will come. yamux may then get all joined bytes.
    last: bool,
}

#[derive(Debug)]
struct Account {
    /// The bytes that the peer may still send.
    window: usize,
    /// The number of unread bytes of each frame that yamux holds.
    frames: VecDeque<u32>,
    /// The sum of `frames`.
    unread: usize,
    /// The read bytes of the first frame.
    spent: usize,
    /// The bytes that yamux gets later as one frame.
    joined: Vec<u8>,
    /// Whether the peer has ended or reset the stream. Later bytes are ignored.
    ended: bool,
}

impl Account {
    fn new() -> Self {
        Self {
            window: WINDOW,
            frames: VecDeque::new(),
            unread: 0,
            spent: 0,
            joined: Vec::new(),
            ended: false,
        }
    }

    fn is_due(&self) -> bool {
        !self.joined.is_empty() && self.frames.len() < FEW
    }

    fn read(&mut self, mut n: usize) {
        self.unread = self.unread.saturating_sub(n);
        while let Some(front) = self.frames.front_mut() {
            let length = *front as usize;
            if length > n {
                *front -= n as u32;
                self.spent += n;
                return;
            }
            n -= length;
            self.spent = 0;
            self.frames.pop_front();
        }
    }

    /// Counts bytes that yamux gets.
    fn give(&mut self, mut length: usize) {
        self.unread += length;
        while length > 0 {
            let piece = length.min(PIECE);
            self.frames.push_back(piece as u32);
            length -= piece;
        }
    }
}

/// The consequences of a read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Whether joined bytes of the stream can be passed to yamux now.
    pub(crate) is_due: bool,
    /// The number of bytes to take out of yamux, so that yamux frees the frame that was read last.
    pub(crate) rest: Option<usize>,
}

/// The destination of the body of a data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The body is passed to yamux.
    Pass,
    /// The body is joined with the bytes that wait here.
    Join,
    /// The body is skipped.
    Skip,
}

impl Unread {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream. A stream that exists already does not change.
    pub(crate) fn open(&self, id: u32) {
        let mut state = self.lock();
        if !state.last {
            state.streams.entry(id).or_insert_with(Account::new);
        }
    }

    /// Whether a stream exists.
    pub(crate) fn has(&self, id: u32) -> bool {
        self.lock().streams.contains_key(&id)
    }

    /// This side drops a stream. Returns whether yamux holds unread bytes of it.
    pub(crate) fn forget(&self, id: u32) -> bool {
        let mut state = self.lock();
        state.due.remove(&id);
        let Some(account) = state.streams.remove(&id) else {
            return false;
        };
        state.spent -= account.spent;
        account.unread > 0
    }

    /// The connection has ended: no more bytes can be passed to yamux.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        *state = State {
            last: true,
            ..State::default()
        };
    }

    /// This side gives the peer credit.
    pub(crate) fn grant(&self, id: u32, credit: u32) {
        if let Some(account) = self.lock().streams.get_mut(&id) {
            account.window = account.window.saturating_add(credit as usize);
        }
    }

    /// A data frame of this length begins.
    pub(crate) fn frame(&self, id: u32, length: usize) -> Result<Fate, Violation> {
        let mut state = self.lock();
        let Some(account) = state.streams.get_mut(&id).filter(|it| !it.ended) else {
            return Ok(Fate::Skip);
        };
        let left = account.window.checked_sub(length);
        account.window = left.ok_or(Violation::BeyondTheWindow)?;
        let most = FEW + (account.unread + length) / LARGE;
        if account.joined.is_empty() && account.frames.len() + length.div_ceil(PIECE) <= most {
            account.give(length);
            return Ok(Fate::Pass);
        }
        Ok(Fate::Join)
    }

    /// Adds bytes of a frame with the fate [`Fate::Join`].
    pub(crate) fn join(&self, id: u32, bytes: &[u8]) {
        let mut state = self.lock();
        let Some(account) = state.streams.get_mut(&id) else {
            return;
        };
        account.joined.extend_from_slice(bytes);
        if account.is_due() {
            state.due.insert(id);
        }
    }

    /// The peer ends or resets a stream. Returns the bytes that yamux must get before it learns of the end.
    pub(crate) fn end(&self, id: u32) -> Option<Box<[u8]>> {
        let mut state = self.lock();
        state.streams.get_mut(&id)?.ended = true;
        state.take(id)
    }

    /// The stream's reader has read bytes.
    pub(crate) fn read(&self, id: u32, n: usize) -> Read {
        let mut state = self.lock();
        let Some(account) = state.streams.get_mut(&id) else {
            return Read::default();
        };
        let before = account.spent;
        account.read(n);
        let (spent, rest) = (account.spent, account.frames.front().copied());
        let is_due = account.is_due();
        state.spent = state.spent + spent - before;
        let is_much = state.spent > SPENT;
        let rest = rest.map_or(0, |rest| rest as usize);
        Read {
            is_due: is_due && state.due.insert(id),
            rest: match spent {
                0 => Some(0),
                _ => (is_much && spent > rest).then_some(rest),
            },
        }
    }

    /// No further frame will come. Returns whether yamux must get joined bytes before it learns of the end.
    pub(crate) fn end_all(&self) -> bool {
        let mut state = self.lock();
        let waiting = |(id, it): (&u32, &Account)| (!it.joined.is_empty()).then_some(*id);
        state.due = state.streams.iter().filter_map(waiting).collect();
        !state.due.is_empty()
    }

    /// A stream whose joined bytes can be passed to yamux now.
    pub(crate) fn next_due(&self) -> Option<(u32, Box<[u8]>)> {
        let mut state = self.lock();
        let id = *state.due.first()?;
        let joined = state.take(id)?;
        Some((id, joined))
    }
}

impl State {
    /// Takes the joined bytes of a stream for yamux.
    fn take(&mut self, id: u32) -> Option<Box<[u8]>> {
        self.due.remove(&id);
        let account = self.streams.get_mut(&id)?;
        let joined = std::mem::take(&mut account.joined);
        account.give(joined.len());
        (!joined.is_empty()).then(|| joined.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests;
