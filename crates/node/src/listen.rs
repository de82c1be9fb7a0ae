//! Listening: binds addresses and accepts inbound connections.

use std::{io, sync::Arc};

use multiaddr::{Multiaddr, Protocol};

use crate::{
    address, core::Core, error::ListenError, establish, event::Event, local::Announcer,
    part::Listener,
};

/// A socket that is bound but does not accept yet. Dropping it frees the port.
pub(crate) struct Bound {
    address: Multiaddr,
    listener: Arc<dyn Listener>,
    port: u16,
    reachable_at: Vec<Multiaddr>,
}

/// Binds `address`.
pub(crate) fn bind(core: &Core, address: &Multiaddr) -> Result<Bound, ListenError> {
    if core.stopping.is_cancelled() {
        let address = address.clone();
        return Err(ListenError::ShutDown { address });
    }
    let unsupported = || ListenError::Unsupported {
        address: address.clone(),
    };
    let refused = |source: io::Error| ListenError::Bind {
        address: address.clone(),
        source,
    };
    let kind = address::kind(address);
    if address::peer(address).is_some() || address::socket(address).is_none() {
        return Err(unsupported());
    }
    let mut transports = core.transports().iter();
    let transport = transports
        .find(|transport| transport.handles(kind))
        .ok_or_else(unsupported)?;
    let listener = Arc::clone(transport).bind(address).map_err(refused)?;
    let port = listener.port().map_err(refused)?;
    let reachable_at = listener.addresses().map_err(refused)?;
    Ok(Bound {
        address: address.clone(),
        listener,
        port,
        reachable_at,
    })
}

impl Bound {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts to accept. Returns the addresses at which peers reach the socket, with this node's id.
    pub(crate) fn start(self, core: &Arc<Core>) -> Vec<Multiaddr> {
        let announcer = core.next_listener();
        self.listener.start();
        let addresses = self.reachable_at.clone();
        core.announce(announcer, addresses);
        core.tasks.spawn(accept(
            Arc::clone(core),
            self.address,
            self.listener,
            announcer,
        ));
        let id = Protocol::P2p(core.peer_id);
        self.reachable_at
            .into_iter()
            .map(|address| address.with(id.clone()))
            .collect()
    }
}

/// Accepts connections until the node stops or the socket breaks. A broken socket's addresses are no longer announced.
async fn accept(
    core: Arc<Core>,
    address: Multiaddr,
    listener: Arc<dyn Listener>,
    announcer: Announcer,
) {
    let error = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = core.stopping.cancelled() => return,
        };
        match accepted {
            Ok(incoming) => {
                core.tasks
                    .spawn(establish::inbound(Arc::clone(&core), incoming));
            }
            Err(error) => break error,
        }
    };
    if core.stopping.is_cancelled() {
        return;
    }
    let reason = crate::error::error_chain(&error);
    tracing::error!(%address, reason, "a listener failed: the node no longer announces its addresses");
    core.announce(announcer, Vec::new());
    core.events.send(Event::ListenerFailed {
        address,
        reason: reason.into(),
    });
}
