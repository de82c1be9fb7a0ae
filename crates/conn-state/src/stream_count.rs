//! The streams of a connection, counted by the host's threads.

use std::{fmt, hash::Hash, time::Instant};

use crate::{ConnectionId, count::Count, locked::Shared, sync::Arc};

/// Counts the open streams of one connection of a [`SharedTracker`](crate::SharedTracker). Clones share one count.
///
/// The tracker needs the count to end a drain: it closes a draining connection once no stream is open. A host reports each stream
/// that opens and each that closes, from any thread. A report takes one atomic instruction. It takes the tracker's lock only if
/// the connection is being drained, and only for the first stream that opens and the last stream that closes. The tracker then
/// reads the count itself, so that two reports cannot overtake each other.
///
/// Reports about a connection that is gone change nothing.
pub struct StreamCount<Id> {
    shared: Arc<Shared<Id>>,
    id: ConnectionId,
    count: Count,
}

impl<Id> Clone for StreamCount<Id> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            id: self.id,
            count: self.count.clone(),
        }
    }
}

impl<Id> fmt::Debug for StreamCount<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamCount")
            .field("connection", &self.id)
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}

impl<Id> StreamCount<Id> {
    pub(crate) fn new(shared: Arc<Shared<Id>>, id: ConnectionId, count: Count) -> Self {
        Self { shared, id, count }
    }

    /// How many streams are open.
    pub fn open(&self) -> u32 {
        self.count.get()
    }
}

impl<Id: Eq + Hash + Clone> StreamCount<Id> {
    /// One more stream is open, whichever end opened it.
    pub fn handle_opened(&self, now: Instant) {
        if self.count.increase() {
            self.plan(now);
        }
    }

    /// A stream that [`Self::handle_opened`] reported is closed. If no stream is open, nothing changes.
    pub fn handle_closed(&self, now: Instant) {
        if self.count.decrease() {
            self.plan(now);
        }
    }

    fn plan(&self, now: Instant) {
        self.shared
            .change(|tracker| tracker.handle_count(now, self.id));
    }
}
