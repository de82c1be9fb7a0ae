//! The latest events of all peers, in one ring. It is what subscribers read from and what is known of the past.

use std::sync::Arc;

use crate::{Cause, ConnectionId, State};

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
    pub(crate) detail: Option<Arc<str>>,
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
