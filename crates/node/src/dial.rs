//! From addresses to one connection: ranked, staggered, the losers cancelled.

mod plan;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use crate::{
    AttemptCause, AttemptError, Connection, DialError, Direction,
    address::{self, Kind},
    connection::Muxed,
    path::Path,
    shared::{Place, Shared},
};

pub use plan::{Step, plan};

/// See [`crate::Node::dial`].
pub(crate) async fn dial(
    node: &Arc<Shared>,
    addresses: Vec<Multiaddr>,
) -> Result<Connection, DialError> {
    if node.stopping.is_cancelled() {
        return Err(DialError::ShutDown);
    }
    let expected = the_peer(&addresses)?;
    if expected == Some(node.peer_id) {
        let peer = node.peer_id;
        return Err(DialError::Oneself { peer });
    }
    if let Some(connection) = expected.and_then(|peer| node.registry().best(peer)) {
        let is_circuit = |address| address::kind(address) == Kind::Circuit;
        // A direct connection is worth dialing where there is only a limited one.
        if !connection.is_limited() || addresses.iter().all(is_circuit) {
            return Ok(connection);
        }
    }
    let (addresses, mut failed) = resolve(node, addresses, expected).await;
    let steps = plan(&addresses);
    let won = tokio::select! {
        won = race(node, steps, expected, &mut failed) => won,
        () = node.stopping.cancelled() => return Err(DialError::ShutDown),
    };
    won.ok_or(DialError::AllFailed(failed))
}

/// The one peer that `addresses` name, if they name any.
fn the_peer(addresses: &[Multiaddr]) -> Result<Option<PeerId>, DialError> {
    if addresses.is_empty() {
        return Err(DialError::NoAddress);
    }
    let mut peers = addresses.iter().filter_map(address::peer);
    let first = peers.next();
    match peers.find(|peer| Some(*peer) != first) {
        Some(second) => Err(DialError::DifferentPeers {
            first: first.unwrap_or(second),
            second,
        }),
        None => Ok(first),
    }
}

/// Starts each step when it is due, or as soon as nothing runs any more, until one attempt has won.
async fn race(
    node: &Arc<Shared>,
    steps: Vec<Step>,
    expected: Option<PeerId>,
    failed: &mut Vec<AttemptError>,
) -> Option<Connection> {
    let begun = Instant::now();
    // A failure of everything so far pulls all later steps forward by what was left to wait.
    let mut ahead = Duration::ZERO;
    let mut steps = steps.into_iter().peekable();
    let at_once = &Semaphore::new(node.config.dials_per_peer.max(1));
    let mut running = FuturesUnordered::new();
    loop {
        let due = steps
            .peek()
            .map(|step| begun + step.at.saturating_sub(ahead));
        tokio::select! {
            biased;
            Some((address, outcome)) = running.next() => match outcome {
                Ok((place, reached)) => match take_in(node, place, reached, &address) {
                    Ok(connection) => return Some(connection),
                    Err(cause) => failed.push(AttemptError { address, cause }),
                },
                Err(cause) => {
                    tracing::debug!(%address, %cause, "dial attempt failed");
                    failed.push(AttemptError { address, cause });
                }
            },
            () = wait(due), if due.is_some() => {
                for address in steps.next().map(|step| step.addresses).unwrap_or_default() {
                    running.push(async move {
                        let _permit = at_once.acquire().await;
                        let outcome = attempt(node, &address, expected).await;
                        (address, outcome)
                    });
                }
            }
            else => return None,
        }
        if running.is_empty()
            && let Some(next) = steps.peek()
        {
            ahead = next.at.saturating_sub(begun.elapsed()).max(ahead);
        }
    }
}

async fn wait(due: Option<Instant>) {
    // A timer rounds up to the next millisecond, which is too late for what is due already.
    if let Some(due) = due.filter(|due| *due > Instant::now()) {
        sleep_until(due).await;
    }
}

fn take_in(
    node: &Arc<Shared>,
    place: Place,
    (muxed, path): (Muxed, Path),
    address: &Multiaddr,
) -> Result<Connection, AttemptCause> {
    let plain = match address.iter().last() {
        Some(Protocol::P2p(_)) => address.iter().take(address.iter().count() - 1).collect(),
        _ => address.clone(),
    };
    let session = node.adopt(place, muxed, plain, (path, Direction::Outbound))?;
    Ok(session.spawn())
}

async fn attempt(
    node: &Arc<Shared>,
    address: &Multiaddr,
    expected: Option<PeerId>,
) -> Result<(Place, (Muxed, Path)), AttemptCause> {
    // A dial through a relay may have to dial the relay, which then counts.
    let _permit = match address::kind(address) {
        Kind::Circuit => None,
        _ => node.dials.acquire().await.ok(),
    };
    let after = if address::is_private(address) {
        node.config.dial_timeout_private
    } else {
        node.config.dial_timeout
    };
    let deadline = Instant::now() + after;
    let mut place = node.place(expected)?;
    let connecting = connect(node, address, expected, deadline);
    let connecting = tokio::time::timeout_at(deadline, connecting);
    let in_time = async {
        connecting
            .await
            .unwrap_or(Err(AttemptCause::TimedOut { after }))
    };
    let reached = place.run(in_time).await?;
    Ok((place, reached))
}

async fn connect(
    node: &Arc<Shared>,
    address: &Multiaddr,
    expected: Option<PeerId>,
    deadline: Instant,
) -> Result<(Muxed, Path), AttemptCause> {
    let muxed = match address::kind(address) {
        #[cfg(feature = "tcp")]
        Kind::Tcp => {
            let tcp = &node.transports.tcp;
            let target = transport_tcp::Target::from_multiaddr(address);
            let target = target.map_err(|_| AttemptCause::Unsupported)?;
            let context = transport_tcp::DialContext::new(deadline);
            let stream = transport_tcp::Dialer::dial(&tcp.dialer, &target, &context).await?;
            let mut trace = |stage| tracing::debug!(%address, ?stage, "outbound");
            let upgraded = tcp.upgrader.outbound(stream, expected, &mut trace).await?;
            Muxed::Tcp(upgraded)
        }
        #[cfg(feature = "quic")]
        Kind::Quic => {
            not_around(node, address, "quic")?;
            let quic = &node.transports.quic;
            let socket = address::socket(address);
            let ip = socket.map_or_else(|| address::any_ip_for(address), |socket| socket.ip());
            let endpoint = quic.endpoint_for(ip);
            let endpoint = endpoint.map_err(|e| AttemptCause::Socket(e.to_string()))?;
            Muxed::Quic(match socket {
                Some(socket) => endpoint.dial(socket, expected).await?,
                None => endpoint.dial_multiaddr(address).await?,
            })
        }
        #[cfg(feature = "relay")]
        Kind::Circuit => {
            // In a box, so that a direct dial needs no room for it.
            return Box::pin(crate::relay::dial(node, address, expected, deadline)).await;
        }
        _ => return Err(AttemptCause::Unsupported),
    };
    Ok((muxed, Path::Direct))
}

/// What the dialer does not dial directly, nothing else may: it would go around a proxy, or a refusal.
#[cfg(feature = "tcp")]
fn not_around(node: &Shared, address: &Multiaddr, what: &'static str) -> Result<(), AttemptCause> {
    use transport_tcp::Dialer;
    let target = address::target(address).ok_or(AttemptCause::Unsupported)?;
    match node.transports.tcp.dialer.is_direct(&target) {
        true => Ok(()),
        false => Err(AttemptCause::NotDirect { what }),
    }
}

#[cfg(not(feature = "tcp"))]
fn not_around(_: &Shared, _: &Multiaddr, _: &'static str) -> Result<(), AttemptCause> {
    Ok(())
}

/// Replaces `/dnsaddr` names by what they stand for. Host names stay: resolving them is the transport's business, and a
/// proxy does it elsewhere.
async fn resolve(
    node: &Arc<Shared>,
    addresses: Vec<Multiaddr>,
    expected: Option<PeerId>,
) -> (Vec<Multiaddr>, Vec<AttemptError>) {
    let mut resolved = Vec::new();
    let mut failed = Vec::new();
    let mut pending = addresses;
    // What a /dnsaddr stands for is expanded to its end, but may hold QUIC's host names: hence two rounds.
    for _ in 0..2 {
        for address in std::mem::take(&mut pending) {
            match resolve_one(node, &address, expected).await {
                Ok(Resolution::AsItIs) => resolved.push(address),
                Ok(Resolution::StandsFor(others)) => pending.extend(others),
                Err(cause) => failed.push(AttemptError { address, cause }),
            }
        }
    }
    resolved.extend(pending);
    (resolved, failed)
}

enum Resolution {
    AsItIs,
    StandsFor(Vec<Multiaddr>),
}

async fn resolve_one(
    node: &Arc<Shared>,
    address: &Multiaddr,
    expected: Option<PeerId>,
) -> Result<Resolution, AttemptCause> {
    match address::kind(address) {
        #[cfg(feature = "tcp")]
        Kind::DnsAddr => {
            let Some(Protocol::Dnsaddr(name)) = address.iter().next() else {
                return Err(AttemptCause::Unsupported);
            };
            not_around(node, address, "looking it up")?;
            let unread = || AttemptCause::Resolve("no name server is configured".to_owned());
            let resolver = node.transports.tcp.resolver.as_ref().ok_or_else(unread)?;
            let found = resolver.dnsaddr(&name, expected).await;
            let found = found.map_err(|e| AttemptCause::Resolve(e.to_string()))?;
            let usable = |a: &Multiaddr| matches!(address::kind(a), Kind::Tcp | Kind::Quic);
            Ok(Resolution::StandsFor(
                found.into_iter().filter(usable).collect(),
            ))
        }
        // Each family has a socket of its own to be dialed from.
        #[cfg(feature = "quic")]
        Kind::Quic if matches!(address.iter().next(), Some(Protocol::Dns(_))) => {
            let families = [
                address::with_family(address, false),
                address::with_family(address, true),
            ];
            Ok(Resolution::StandsFor(
                families.into_iter().flatten().collect(),
            ))
        }
        #[cfg(feature = "tcp")]
        Kind::Tcp => Ok(Resolution::AsItIs),
        #[cfg(feature = "relay")]
        Kind::Circuit => Ok(Resolution::AsItIs),
        #[cfg(feature = "quic")]
        Kind::Quic => Ok(Resolution::AsItIs),
        _ => Err(AttemptCause::Unsupported),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_two_peers_are_refused_and_unnamed_ones_go_with_either() {
        let one = PeerId::random();
        let two = PeerId::random();
        let plain: Multiaddr = "/ip4/192.0.2.1/tcp/2".parse().unwrap();
        let named = |peer| plain.clone().with(Protocol::P2p(peer));
        assert_eq!(the_peer(&[plain.clone(), named(one)]).unwrap(), Some(one));
        assert_eq!(the_peer(std::slice::from_ref(&plain)).unwrap(), None);
        assert!(matches!(
            the_peer(&[named(one), named(two)]),
            Err(DialError::DifferentPeers { .. })
        ));
    }
}
