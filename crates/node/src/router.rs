//! Finds the handler of a protocol, for the protocols of the parts and of the host.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
};

use tokio::sync::mpsc;

use crate::{
    connection::{Connection, Offered, Stream},
    connections::Connections,
    error::HandleError,
    part::{Change, InboundStream, Serve, Service},
    protocols::identify,
};

/// A stream that a peer opened for one of the host's protocols.
#[derive(Debug)]
#[non_exhaustive]
pub struct IncomingStream {
    /// The connection of the stream.
    pub connection: Connection,
    /// The protocol.
    pub protocol: Arc<str>,
    /// The stream. It counts towards [`crate::Config::max_inbound_streams`] until it is dropped.
    pub stream: Stream,
}

/// The streams that peers open for one protocol. If you drop this value, the node refuses the protocol.
pub struct IncomingStreams {
    receiver: mpsc::Receiver<IncomingStream>,
    protocol: Arc<str>,
    router: Weak<Router>,
}

impl IncomingStreams {
    /// Waits for the next stream. After the shutdown of the node, returns the streams that still wait, and then `None`.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<IncomingStream> {
        self.receiver.recv().await
    }
}

impl fmt::Debug for IncomingStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingStreams")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl Drop for IncomingStreams {
    fn drop(&mut self) {
        self.receiver.close();
        if let Some(router) = self.router.upgrade() {
            router.remove_closed(&self.protocol);
        }
    }
}

/// The handlers of all protocols that a node accepts.
pub(crate) struct Router {
    routes: RwLock<Routes>,
    connections: Arc<Connections>,
}

#[derive(Default)]
struct Routes {
    by_name: BTreeMap<Arc<str>, Route>,
    /// The offered names. They are computed when the routes change, and not for every stream.
    offered: OfferedNames,
    /// Set at shutdown. The host's handlers are removed, and the host cannot register further handlers.
    closed: bool,
}

/// The protocols that the node accepts on unlimited connections, and on limited connections.
struct OfferedNames {
    all: Offered,
    limited: Offered,
}

impl Default for OfferedNames {
    fn default() -> Self {
        let none: Offered = Arc::new([]);
        Self {
            all: Arc::clone(&none),
            limited: none,
        }
    }
}

enum Route {
    /// A service of a part.
    Service {
        service: Arc<Registered>,
        enabled: bool,
    },
    /// A handler of the host.
    Handler {
        sender: mpsc::Sender<IncomingStream>,
        limited: bool,
    },
}

impl Route {
    fn is_offered(&self, limited: bool) -> bool {
        match self {
            Self::Service { service, enabled } => *enabled && (!limited || service.limited),
            Self::Handler {
                limited: also_limited,
                ..
            } => !limited || *also_limited,
        }
    }
}

/// A service with its number.
pub(crate) struct Registered {
    number: usize,
    limited: bool,
    per_connection: Option<usize>,
    keeps_open: bool,
    serve: Serve,
}

impl Router {
    pub(crate) fn new(connections: Arc<Connections>) -> Arc<Self> {
        Arc::new(Self {
            routes: RwLock::default(),
            connections,
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Routes> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the services of the parts. Called once, before the first connection.
    pub(crate) fn add_services(&self, services: Vec<Service>) {
        let mut routes = self.write();
        for (number, service) in services.into_iter().enumerate() {
            let registered = Arc::new(Registered {
                number,
                limited: service.limited,
                per_connection: service.per_connection,
                keeps_open: service.keeps_open,
                serve: service.serve,
            });
            for protocol in service.protocols {
                let route = Route::Service {
                    service: Arc::clone(&registered),
                    enabled: service.enabled,
                };
                routes.by_name.insert(protocol, route);
            }
        }
        routes.recompute();
    }

    /// Switches a protocol of a part on or off.
    pub(crate) fn enable(&self, protocol: &str, on: bool) {
        let mut routes = self.write();
        match routes.by_name.get_mut(protocol) {
            Some(Route::Service { enabled, .. }) if *enabled != on => *enabled = on,
            _ => return,
        }
        routes.recompute();
        drop(routes);
        self.connections.report(Change::Local);
    }

    /// Registers a handler of the host. Up to `capacity` streams wait for the handler.
    pub(crate) fn handle(
        self: &Arc<Self>,
        protocol: &str,
        capacity: usize,
        limited: bool,
    ) -> Result<IncomingStreams, HandleError> {
        if !protocol.starts_with('/') || !identify::is_name(protocol) {
            let protocol = protocol.to_owned();
            return Err(HandleError::Invalid { protocol });
        }
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let protocol: Arc<str> = protocol.into();
        let mut routes = self.write();
        if routes.closed {
            return Err(HandleError::ShutDown);
        }
        if let Some(Route::Service { .. }) = routes.by_name.get(&protocol) {
            let protocol = protocol.to_string();
            return Err(HandleError::Reserved { protocol });
        }
        let route = Route::Handler { sender, limited };
        routes.by_name.insert(Arc::clone(&protocol), route);
        routes.recompute();
        drop(routes);
        self.connections.report(Change::Local);
        Ok(IncomingStreams {
            receiver,
            protocol,
            router: Arc::downgrade(self),
        })
    }

    /// Removes the handler of `protocol` if its receiver is gone. A newer registration of the same protocol stays.
    fn remove_closed(&self, protocol: &str) {
        let mut routes = self.write();
        match routes.by_name.get(protocol) {
            Some(Route::Handler { sender, .. }) if sender.is_closed() => {}
            _ => return,
        }
        routes.by_name.remove(protocol);
        routes.recompute();
        drop(routes);
        self.connections.report(Change::Local);
    }

    /// Removes every handler of the host. Every [`IncomingStreams`] then ends.
    pub(crate) fn close(&self) {
        let mut routes = self.write();
        routes.closed = true;
        routes
            .by_name
            .retain(|_, route| matches!(route, Route::Service { .. }));
        routes.recompute();
    }

    /// The protocols that the node accepts on limited connections, or on all other connections.
    pub(crate) fn offered(&self, limited: bool) -> Offered {
        let routes = self.read();
        match limited {
            true => Arc::clone(&routes.offered.limited),
            false => Arc::clone(&routes.offered.all),
        }
    }

    /// Passes a stream to the handler of its protocol. If the handler is a service of a part, serves the stream. If the
    /// handler has no room, drops the stream, which resets it.
    pub(crate) async fn dispatch(&self, mut inbound: InboundStream) {
        let registered = match self.read().by_name.get(&inbound.protocol) {
            Some(Route::Service {
                service,
                enabled: true,
            }) => Arc::clone(service),
            Some(Route::Handler { sender, .. }) => return send(sender, inbound),
            _ => return,
        };
        if let Some(limit) = registered.per_connection {
            let permit = inbound.connection.permit_service(registered.number, limit);
            let Some(permit) = permit else {
                tracing::debug!(
                    protocol = &*inbound.protocol,
                    "a peer opened too many streams of one protocol: a stream is reset"
                );
                return;
            };
            inbound.stream = inbound.stream.with_service(permit);
        }
        if registered.keeps_open {
            let usage = inbound.connection.usage().clone();
            inbound.stream = inbound.stream.with_use_from_first_byte(usage);
        }
        let serving = (registered.serve)(inbound);
        drop(registered);
        serving.await;
    }
}

fn send(sender: &mpsc::Sender<IncomingStream>, inbound: InboundStream) {
    let InboundStream {
        connection,
        protocol,
        stream,
        ..
    } = inbound;
    let incoming = IncomingStream {
        stream: stream.with_use_from_first_byte(connection.usage().clone()),
        connection,
        protocol,
    };
    if let Err(refused) = sender.try_send(incoming) {
        let protocol = refused.into_inner().protocol;
        tracing::debug!(
            protocol = &*protocol,
            "the handler of a protocol has no room for another stream: the stream is reset"
        );
    }
}

impl Routes {
    fn recompute(&mut self) {
        let names = |limited| {
            let offered = self
                .by_name
                .iter()
                .filter(|(_, route)| route.is_offered(limited));
            offered.map(|(name, _)| Arc::clone(name)).collect()
        };
        self.offered = OfferedNames {
            all: names(false),
            limited: names(true),
        };
    }
}
