//! The links to iroh of a node that the binary runs.

use node::{Node, gossip_net::Subscription};

use crate::failure::Failure;

#[cfg(feature = "iroh")]
mod with {
    use std::net::SocketAddr;

    use node::{IrohListenError, error_chain};

    use super::{Failure, Node, Subscription};

    /// An iroh peer that the user names.
    pub(crate) type IrohPeer = node::IrohPeer;

    /// Reads the iroh peers. `place` is where the user wrote them.
    pub(crate) fn parse(place: &str, texts: &[String]) -> Result<Vec<IrohPeer>, Failure> {
        let parse = |text: &String| {
            let parsed = text.parse::<IrohPeer>();
            parsed.map_err(|error| Failure::usage(format!("{place}: {}", error_chain(&error))))
        };
        texts.iter().map(parse).collect()
    }

    /// Accepts links at the address.
    pub(crate) fn listen(node: &Node, address: SocketAddr) -> Result<(), Failure> {
        let bound = node.listen_for_iroh(address);
        bound.map(drop).map_err(|error| match error {
            IrohListenError::Gossip { .. } => Failure::usage_error(error),
            _ => Failure::job_error(error),
        })
    }

    /// Asks the peers to become neighbours.
    pub(crate) fn join(
        node: &Node,
        peers: &[IrohPeer],
        subscription: &Subscription,
    ) -> Result<(), Failure> {
        if !peers.is_empty() {
            let named = node.name_iroh_peers(peers.iter().copied());
            let named = named.map_err(Failure::usage_error)?;
            subscription.sender().join_peers(&named);
        }
        Ok(())
    }

    /// This node as iroh peers name it.
    pub(crate) fn own(node: &Node) -> Vec<String> {
        let addresses = node.iroh_addresses().into_iter();
        addresses.map(|address| address.to_string()).collect()
    }
}

#[cfg(not(feature = "iroh"))]
mod without {
    use std::net::SocketAddr;

    use super::{Failure, Node, Subscription};

    const WITHOUT: &str = "this binary was built without links to iroh";

    /// There is no such peer.
    pub(crate) type IrohPeer = String;

    pub(crate) fn parse(place: &str, texts: &[String]) -> Result<Vec<IrohPeer>, Failure> {
        match texts {
            [] => Ok(Vec::new()),
            _ => Err(Failure::usage(format!("{place}: {WITHOUT}"))),
        }
    }

    pub(crate) fn listen(_: &Node, _: SocketAddr) -> Result<(), Failure> {
        Err(Failure::usage(WITHOUT))
    }

    pub(crate) fn join(_: &Node, _: &[IrohPeer], _: &Subscription) -> Result<(), Failure> {
        Ok(())
    }

    pub(crate) fn own(_: &Node) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(feature = "iroh")]
pub(crate) use with::{IrohPeer, join, listen, own, parse};
#[cfg(not(feature = "iroh"))]
pub(crate) use without::{IrohPeer, join, listen, own, parse};
