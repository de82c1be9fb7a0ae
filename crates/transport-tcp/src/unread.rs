//! What a peer has sent and nobody has read, stream by stream.
//!
//! yamux keeps each unread frame in an allocation and a queue slot of its own, which costs about 70 bytes beyond the
//! payload, and the queue keeps its size until the stream is dropped. yamux therefore gets only few small frames of a
//! stream at a time. The bytes of further frames are joined here, and become one frame when the stream's reader has
//! caught up.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::error::Violation;

/// What a peer may send on a stream before it gets credit.
pub(crate) const WINDOW: usize = yamux::DEFAULT_CREDIT as usize;

/// Frames of any length that yamux may hold for one stream.
pub(crate) const FEW: usize = 8;

/// The average length that further frames must have. Their own cost is then below 1 % of the payload.
pub(crate) const LARGE: usize = 16 * 1024;

/// The longest frame that yamux gets. yamux reserves the memory for a body before the body arrives, and gives it back
/// when the last byte was read.
pub(crate) const PIECE: usize = 32 * 1024;

/// What yamux may keep of frames that are read in part. Beyond it, what is unread of such frames is copied out.
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
    /// The streams whose joined bytes yamux may have now.
    due: BTreeSet<u32>,
    /// The sum of what is read of the streams' first frames, which yamux keeps whole.
    spent: usize,
    /// Whether no further frame will come, so that yamux may have everything.
    last: bool,
}

#[derive(Debug)]
struct Account {
    /// What the peer may still send.
    window: usize,
    /// The frames that yamux has, by what is unread of each.
    frames: VecDeque<u32>,
    /// The sum of `frames`.
    unread: usize,
    /// What is read of the first frame.
    spent: usize,
    /// What yamux gets later, as one frame.
    joined: Vec<u8>,
    /// Whether the peer has ended or reset the stream. What it sends afterwards is ignored.
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

    /// yamux gets so many bytes more.
    fn give(&mut self, mut length: usize) {
        self.unread += length;
        while length > 0 {
            let piece = length.min(PIECE);
            self.frames.push_back(piece as u32);
            length -= piece;
        }
    }
}

/// What follows from a read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Whether yamux may have more bytes of the stream now.
    pub(crate) is_due: bool,
    /// What must be taken out of yamux, so that it gives back the frame that was read last.
    pub(crate) rest: Option<usize>,
}

/// What becomes of the body of a data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// yamux gets it.
    Pass,
    /// It is joined with what waits here.
    Join,
    /// Nobody wants it.
    Skip,
}

impl Unread {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream begins. One that exists stays as it is.
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

    /// The connection has ended: nothing can be passed on any more.
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

    /// Bytes of a frame whose fate is to be joined.
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

    /// The peer ends or resets a stream. Returns the bytes that yamux must have before it learns of that.
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

    /// No further frame will come. Returns whether yamux must have anything before it learns of that.
    pub(crate) fn end_all(&self) -> bool {
        let mut state = self.lock();
        let waiting = |(id, it): (&u32, &Account)| (!it.joined.is_empty()).then_some(*id);
        state.due = state.streams.iter().filter_map(waiting).collect();
        !state.due.is_empty()
    }

    /// A stream whose joined bytes yamux may have now.
    pub(crate) fn next_due(&self) -> Option<(u32, Box<[u8]>)> {
        let mut state = self.lock();
        let id = *state.due.first()?;
        let joined = state.take(id)?;
        Some((id, joined))
    }
}

impl State {
    /// What is joined of a stream, for yamux.
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
