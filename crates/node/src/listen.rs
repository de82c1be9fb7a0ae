//! Listening: binds addresses and accepts inbound connections.

use std::{io, sync::Arc};

use multiaddr::{Multiaddr, Protocol};

use crate::{
    address::{self, Kind, zone},
    core::Core,
    error::ListenError,
    establish,
    event::Event,
    local::Announcer,
    part::Listener,
};

/// The number of free ports that a listener of all transports tries. A port that is free for TCP may be taken for UDP.
const FREE_PORTS: usize = 16;

/// A socket that is bound but does not accept yet. Dropping it frees the port.
pub(crate) struct Bound {
    address: Multiaddr,
    listener: Arc<dyn Listener>,
    port: u16,
    /// The address of the socket, with its port.
    at: Multiaddr,
}

/// Binds `address`.
pub(crate) fn bind(core: &Core, address: &Multiaddr) -> Result<Bound, ListenError> {
    if core.stopping.is_cancelled() {
        let address = address.clone();
        return Err(ListenError::ShutDown { address });
    }
    let unsupported = || ListenError::Unsupported {
        address: address.clone(),
        reason: reason(address),
    };
    let refused = |source: io::Error| ListenError::Bind {
        address: address.clone(),
        source,
    };
    zone::check(address).map_err(|wrong| ListenError::Unsupported {
        address: address.clone(),
        reason: wrong.to_string(),
    })?;
    let kind = address::kind(address);
    if address::peer(address).is_some() || address::socket(address).is_none() {
        return Err(unsupported());
    }
    let mut transports = core.transports().iter();
    let transport = transports
        .find(|transport| transport.handles(kind))
        .ok_or_else(unsupported)?;
    let listener = Arc::clone(transport).bind(address).map_err(refused)?;
    let bound = listener.bound().map_err(refused)?;
    Ok(Bound {
        address: address.clone(),
        at: listener.multiaddr(bound),
        port: bound.port(),
        listener,
    })
}

/// The reason why the node cannot listen on the address.
fn reason(address: &Multiaddr) -> String {
    match address::kind(address) {
        Kind::Circuit => {
            "a relay forwards connections to a node that has a slot there: use --reserve-at"
                .to_owned()
        }
        Kind::Peer | Kind::DnsAddr => "it has no IP address and no port".to_owned(),
        Kind::Tcp | Kind::Quic if address::socket(address).is_none() => {
            "listening needs an IP address, such as /ip4/0.0.0.0, not a name".to_owned()
        }
        Kind::Tcp | Kind::Quic if address::peer(address).is_some() => {
            format!(
                "leave out the peer id: write {}",
                address::without_peer(address)
            )
        }
        _ => address::unsupported::reason(address),
    }
}

/// Binds one port for every transport and address family. Leaves out the transports and families that this node or this machine does not have.
pub(crate) fn bind_everywhere(core: &Core, mut port: u16) -> Result<Vec<Bound>, ListenError> {
    let mut all: Vec<Bound> = Vec::new();
    let mut left_out = None;
    for address in address::everywhere() {
        match bind(core, &address(port)) {
            Ok(bound) => {
                port = bound.port();
                all.push(bound);
            }
            Err(error @ ListenError::Unsupported { .. }) => left_out = Some(error),
            Err(error) if error.is_address_unavailable() => left_out = Some(error),
            Err(error) => return Err(error),
        }
    }
    match left_out {
        Some(error) if all.is_empty() => Err(error),
        _ => Ok(all),
    }
}

/// Calls `bind`. If `port` is 0, calls it again while the free port of one transport is taken for another transport.
pub(crate) fn retry_free_port<T>(
    port: u16,
    mut bind: impl FnMut() -> Result<T, ListenError>,
) -> Result<T, ListenError> {
    let further = if port == 0 { FREE_PORTS - 1 } else { 0 };
    for _ in 0..further {
        match bind() {
            Err(error) if error.is_address_in_use() => {}
            outcome => return outcome,
        }
    }
    bind()
}

impl Bound {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts to accept. Returns the addresses at which peers reach the socket, with this node's id.
    pub(crate) fn start(self, core: &Arc<Core>) -> Vec<Multiaddr> {
        let announcer = core.next_listener();
        self.listener.start();
        core.read_interfaces();
        core.announce(announcer, vec![self.at.clone()]);
        let reachable_at = core.local.reachable_at(&self.at);
        core.tasks.spawn(accept(
            Arc::clone(core),
            self.address,
            self.listener,
            announcer,
        ));
        let id = Protocol::P2p(core.peer_id);
        reachable_at
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
    core.emit(Event::ListenerFailed {
        address,
        reason: reason.into(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_free_port_is_tried_while_one_is_taken_and_a_given_port_is_tried_once() {
        let taken = io::ErrorKind::AddrInUse;
        for (port, failures, kind, calls, bound) in [
            (0, 3, taken, 4, true),
            (0, 15, taken, 16, true),
            (0, 16, taken, 16, false),
            (4077, 1, taken, 1, false),
            (0, 1, io::ErrorKind::PermissionDenied, 1, false),
        ] {
            let mut called = 0;
            let outcome = retry_free_port(port, || {
                called += 1;
                let address = "/ip4/0.0.0.0/tcp/0".parse().unwrap();
                match called > failures {
                    true => Ok(()),
                    false => Err(ListenError::Bind {
                        address,
                        source: kind.into(),
                    }),
                }
            });
            assert_eq!((called, outcome.is_ok()), (calls, bound), "{port} {kind}");
        }
    }
}
