//! What is counted of a connection for as long as it lives: its streams, and its places for those that come.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Connection, Shared};

/// A stream that is open. Whether a connection that is being drained has any is told to the tracker.
pub(crate) struct StreamOpen(Arc<Shared>);

impl StreamOpen {
    pub(super) fn new(connection: &Connection) -> Self {
        connection.0.open_streams.fetch_add(1, Ordering::Relaxed);
        if connection.is_draining() {
            connection.report_streams();
        }
        Self(Arc::clone(&connection.0))
    }
}

impl Drop for StreamOpen {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
        let connection = Connection(Arc::clone(&self.0));
        if connection.is_draining() {
            connection.report_streams();
        }
    }
}

impl fmt::Debug for StreamOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamOpen")
    }
}

/// One of a connection's counted places; dropping it gives the place back.
pub(crate) struct Admitted {
    shared: Arc<Shared>,
    counter: fn(&Shared) -> &AtomicUsize,
}

impl Admitted {
    pub(super) fn below(
        limit: usize,
        connection: &Connection,
        counter: fn(&Shared) -> &AtomicUsize,
    ) -> Option<Self> {
        let shared = Arc::clone(&connection.0);
        let taken = counter(&shared).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < limit).then_some(open + 1)
        });
        taken.is_ok().then_some(Self { shared, counter })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        (self.counter)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Counts one more inbound stream, unless `limit` are open.
    pub(crate) fn admit_stream(&self, limit: usize) -> Option<Admitted> {
        Admitted::below(limit, self, |shared| &shared.inbound_streams)
    }

    /// Counts one more inbound ping stream, unless `limit` are open.
    pub(crate) fn admit_ping(&self, limit: usize) -> Option<Admitted> {
        Admitted::below(limit, self, |shared| &shared.inbound_pings)
    }
}
