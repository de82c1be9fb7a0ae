//! The counts of open streams. A drain ends when the count is zero.

use std::{hash::Hash, time::Instant};

use super::Tracker;
use crate::{ConnectionId, Phase, TrackError, count::Count};

impl<Id: Eq + Hash + Clone> Tracker<Id> {
    /// One more stream is open on a connection.
    ///
    /// # Errors
    ///
    /// The connection is unknown.
    pub fn handle_stream_opened(
        &mut self,
        now: Instant,
        id: ConnectionId,
    ) -> Result<(), TrackError> {
        let slot = self.find(id)?;
        if self.connections[slot].count().increase() {
            self.handle_count(now, id);
        }
        Ok(())
    }

    /// A stream of a connection is closed. If no stream was open, nothing changes.
    ///
    /// # Errors
    ///
    /// The connection is unknown.
    pub fn handle_stream_closed(
        &mut self,
        now: Instant,
        id: ConnectionId,
    ) -> Result<(), TrackError> {
        let slot = self.find(id)?;
        if self.connections[slot].count().decrease() {
            self.handle_count(now, id);
        }
        Ok(())
    }

    /// What the streams of a connection are counted by.
    pub(crate) fn count(&mut self, id: ConnectionId) -> Option<&Count> {
        let slot = self.connections.find(id)?;
        Some(self.connections[slot].count())
    }

    /// A connection that is being drained may have got its first stream or lost its last one.
    pub(crate) fn handle_count(&mut self, now: Instant, id: ConnectionId) {
        let slot = self.connections.find(id);
        let is_draining = |slot: &u32| self.connections[*slot].phase == Phase::Draining;
        if let Some(slot) = slot.filter(is_draining) {
            let now = self.nanos(now);
            let connection = &mut self.connections[slot];
            if connection.streams() > 0 {
                connection.reopened = connection.reopened.saturating_add(1);
            }
            self.plan_end_of_drain(slot, now);
        }
    }
}
