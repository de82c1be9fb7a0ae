//! More than one proxy in a row, none that is alive, and the transport that no proxy carries.

use anyhow::Result;

use crate::client::{Ping, port_of};
use crate::matrix::{Node, Pair};
use crate::servers::{Kind, SIX};

/// The node through `first` and from there through `second`, which wants a password.
pub(crate) fn chain(first: &Pair, second: &Pair, node: &Node) -> Result<String> {
    let (first, second) = (&first.open, &second.guarded);
    let rule = format!(
        "* via {} then {}",
        first.url(),
        second.url_with(second.kind.password())
    );
    let port = port_of(&node.up, "/ip6/::1/tcp/")?;
    let address = format!("/dns6/{SIX}/tcp/{port}/p2p/{}", node.up.peer_id());
    let link = second.address;
    let (ip, links) = (link.ip().to_string(), link.port());
    let before = (first.connections(&ip, links), second.connections(SIX, port));

    Ping::run(&node.home, &address, &rule)?.succeeded("tcp/")?;
    first.wait_for_connections(&ip, links, before.0 + 1)?;
    second.wait_for_connections(SIX, port, before.1 + 1)?;
    Ok("each connected us to the next".to_owned())
}

/// The pairs of a chain by their kinds, `None` if one is not there.
pub(crate) fn both(pairs: &[(Kind, Result<Pair>)], kinds: [Kind; 2]) -> Option<[&Result<Pair>; 2]> {
    let find = |kind| pairs.iter().find(|(other, _)| *other == kind);
    Some([&find(kinds[0])?.1, &find(kinds[1])?.1])
}

/// A server that was there and is gone: the node's own way is as open as before, and must not be taken.
pub(crate) fn gone(pair: Pair, node: &Node) -> Result<String> {
    let url = pair.guarded.url_with(pair.guarded.kind.password());
    let proxy = pair.guarded.address.to_string();
    pair.guarded.stop()?;
    let address = node.up.address_with("/ip4/127.0.0.1/tcp/")?;
    let ping = Ping::run(&node.home, &address, &format!("* via {url}"))?;
    ping.failed(&[&proxy])?;
    Ok("unreachable, and said so".to_owned())
}

/// QUIC under a rule that names a proxy.
pub(crate) fn quic_by_proxy(pair: &Pair, node: &Node) -> Result<String> {
    let address = node.up.address_with("/quic-v1")?;
    let rule = format!("* via {}", pair.open.url());
    Ping::run(&node.home, &address, &rule)?.failed(&["QUIC would bypass the dialer"])?;
    Ok("refused, and said why".to_owned())
}

/// QUIC under a rule that says direct.
pub(crate) fn quic_direct(node: &Node) -> Result<String> {
    let address = node.up.address_with("/quic-v1")?;
    Ping::run(&node.home, &address, "* direct")?.succeeded("quic")?;
    Ok("answered".to_owned())
}
