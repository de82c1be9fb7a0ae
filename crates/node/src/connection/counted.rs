//! The counts of a connection's open streams: all streams, the inbound streams, and the streams of each service.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Instant,
};

use conn_state::Usage;

use super::{Connection, Shared};

/// Counts one open stream for the tracker, which closes a drained connection only when no stream is open.
pub(crate) struct StreamOpen(Arc<Shared>);

impl StreamOpen {
    pub(super) fn new(connection: &Connection) -> Self {
        connection.0.streams.handle_opened(Instant::now());
        Self(Arc::clone(&connection.0))
    }
}

impl Drop for StreamOpen {
    fn drop(&mut self) {
        self.0.streams.handle_closed(Instant::now());
    }
}

impl fmt::Debug for StreamOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamOpen")
    }
}

/// Shows that the connection is in use, so that the node does not close it for a newcomer.
pub(crate) struct InUse(Usage);

impl InUse {
    /// A connection is in use until the returned value is dropped.
    pub(crate) fn begin(usage: &Usage) -> Self {
        usage.handle_opened();
        Self(usage.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.handle_closed(Instant::now());
    }
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InUse")
    }
}

/// Counts one inbound stream against [`crate::Config::max_inbound_streams`] until it is dropped.
pub(crate) struct StreamPermit(Arc<Shared>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.inbound_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for StreamPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamPermit")
    }
}

/// The number of open streams of each service that has a limit. A service without streams has no entry.
#[derive(Default)]
pub(super) struct Services(Mutex<Vec<(usize, usize)>>);

/// Counts one stream against the limit of its service until it is dropped.
pub(crate) struct ServicePermit {
    shared: Arc<Shared>,
    service: usize,
}

impl fmt::Debug for ServicePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServicePermit")
    }
}

impl Drop for ServicePermit {
    fn drop(&mut self) {
        let services = self.shared.services.0.lock();
        let mut services = services.unwrap_or_else(PoisonError::into_inner);
        if let Some((_, open)) = services
            .iter_mut()
            .find(|(service, _)| *service == self.service)
        {
            *open -= 1;
        }
        services.retain(|(_, open)| *open > 0);
        if services.is_empty() {
            services.shrink_to_fit();
        }
    }
}

impl Connection {
    /// Reports to the limits whether the connection is in use.
    pub(crate) fn usage(&self) -> &Usage {
        &self.0.usage
    }

    /// The connection is in use until the returned value is dropped.
    pub(crate) fn in_use(&self) -> InUse {
        InUse::begin(&self.0.usage)
    }

    /// Counts one more inbound stream. Returns `None` if `limit` inbound streams are open.
    pub(crate) fn permit_stream(&self, limit: usize) -> Option<StreamPermit> {
        let counter = &self.0.inbound_streams;
        let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            ((open as usize) < limit).then_some(open + 1)
        });
        taken.is_ok().then(|| StreamPermit(Arc::clone(&self.0)))
    }

    /// Counts one more stream of the service. Returns `None` if the service has `limit` streams on this connection.
    pub(crate) fn permit_service(&self, service: usize, limit: usize) -> Option<ServicePermit> {
        let services = self.0.services.0.lock();
        let mut services = services.unwrap_or_else(PoisonError::into_inner);
        match services.iter_mut().find(|(known, _)| *known == service) {
            Some((_, open)) if *open >= limit => return None,
            Some((_, open)) => *open += 1,
            None if limit == 0 => return None,
            None => services.push((service, 1)),
        }
        let shared = Arc::clone(&self.0);
        Some(ServicePermit { shared, service })
    }
}
