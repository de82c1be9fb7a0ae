//! What is counted on a connection while it is open: all streams, the inbound ones, and those of each service.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Instant,
};

use super::{Connection, Shared};

/// A stream that is open. The tracker is told, so that a drained connection is not closed while it has one.
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

/// An inbound stream's place under [`crate::Config::max_inbound_streams`]. Dropping it gives the place back.
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

/// How many streams each service with a limit of its own serves now. Services without a stream have no entry.
#[derive(Default)]
pub(super) struct Services(Mutex<Vec<(usize, usize)>>);

/// A stream's place under a service's own limit. Dropping it gives the place back.
pub(crate) struct ServicePermit {
    shared: Arc<Shared>,
    service: usize,
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
    /// Counts one more inbound stream, unless `limit` are open.
    pub(crate) fn permit_stream(&self, limit: usize) -> Option<StreamPermit> {
        let counter = &self.0.inbound_streams;
        let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            ((open as usize) < limit).then_some(open + 1)
        });
        taken.is_ok().then(|| StreamPermit(Arc::clone(&self.0)))
    }

    /// Counts one more stream of the service, unless it serves `limit` of this connection's.
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
