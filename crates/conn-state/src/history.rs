//! The latest events of all peers, in one ring buffer. Subscribers and queries read from this buffer.

use crate::{Cause, ConnectionId, Detail, State};

/// Where no record ever is.
pub(crate) const NO_PLACE: u64 = u64::MAX;

/// One event, with the peer's slot in place of its id.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) slot: u32,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) cause: Cause,
    pub(crate) number: u64,
    pub(crate) connection: ConnectionId,
    /// Nanoseconds since the tracker's beginning.
    pub(crate) at: u64,
    /// Where this peer's record before this one is, or was; [`NO_PLACE`] if it is its first.
    pub(crate) previous: u64,
    pub(crate) detail: Option<Detail>,
}

/// Keeps the latest `capacity` records. A record's place counts from the first one ever.
#[derive(Debug)]
pub(crate) struct History {
    ring: Vec<Record>,
    capacity: usize,
    end: u64,
}

impl History {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ring: Vec::new(),
            capacity: capacity.max(1),
            end: 0,
        }
    }

    /// The place of the oldest record.
    pub(crate) fn begin(&self) -> u64 {
        self.end - self.ring.len() as u64
    }

    /// The place of the next record.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn get(&self, place: u64) -> Option<&Record> {
        if place < self.begin() || place >= self.end {
            return None;
        }
        self.ring.get((place % self.capacity as u64) as usize)
    }

    /// Adds a record and gives the slot and the place of the one that it drives out.
    pub(crate) fn push(&mut self, record: Record) -> Option<(u32, u64)> {
        let place = self.end;
        self.end += 1;
        if self.ring.len() < self.capacity {
            self.ring.push(record);
            return None;
        }
        let index = (place % self.capacity as u64) as usize;
        let driven_out = std::mem::replace(&mut self.ring[index], record);
        Some((driven_out.slot, place - self.capacity as u64))
    }
}

// One cache line: that is most of what a transition costs.
const _: () = assert!(size_of::<Record>() <= 64);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{Closing, Recommended, Route, Tracker, TrackerConfig, table::Peer};

    /// As long as libp2p's `PeerId`.
    type Id = [u64; 10];

    /// The reference counts of an `Arc`.
    const COUNTS: usize = 16;

    fn bytes(history: &History) -> usize {
        let details = history
            .ring
            .iter()
            .filter_map(|record| record.detail.as_ref());
        let details = details.map(|detail| (COUNTS + detail.len()).next_multiple_of(16));
        history.ring.capacity() * size_of::<Record>() + details.sum::<usize>()
    }

    #[test]
    fn strangers_that_close_with_long_reasons_leave_at_most_13_mib_of_history() {
        let (now, config) = (Instant::now(), TrackerConfig::default());
        let bound = config.history * (size_of::<Record>() + COUNTS + Detail::MAX);
        assert_eq!(bound, 13 << 20);
        let reason = "\u{1}".repeat(1_080);
        let mut tracker = Tracker::new(now, Id::default(), Recommended::default(), config);
        for stranger in 1..=config.history as u64 {
            let id = tracker.handle_inbound(now).unwrap();
            let peer = [stranger; 10];
            tracker
                .handle_authenticated(now, id, &peer, Route::Direct)
                .unwrap();
            let detail = Detail::new(&reason);
            let closing = Closing::Remote { code: Some(0) };
            tracker
                .handle_closed(now, id, closing, Some(detail))
                .unwrap();
        }
        assert_eq!(tracker.history.ring.len(), config.history);
        let (history, remembered) = (bytes(&tracker.history), tracker.remembered());
        let peers = remembered * (size_of::<Option<Peer<Id>>>() + size_of::<u32>());
        println!("history {history} bytes, {remembered} peers about {peers} bytes");
        assert!(history <= bound, "{history} bytes");
        assert!(remembered <= config.history, "{remembered} peers");
        assert!(peers / remembered <= 150, "{peers} bytes");
    }
}
