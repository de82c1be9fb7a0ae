//! From an address to a connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, future::Either, stream::FuturesUnordered};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    address::{Host, Target, target},
    connection::Connection,
    context::Context,
    error::{CertificateError, CloseReason, DialError, EndpointError, ResolveError, TlsError},
    resolve::Resolver,
    verifier::Verifier,
};

/// The name quinn wants for a server. It is not sent: SNI is off.
const SERVER_NAME: &str = "libp2p";

/// Head start of one address of a host over the next (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// How often a finished dial looks whether quinn's tasks have sent its connection ids: first
/// between other tasks, which is enough unless the machine is busy, then every millisecond.
const LOOKS: [usize; 2] = [64, 20];

/// When a dial must be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    pub(crate) fn of(context: &Context) -> Self {
        Self::after(context.config.handshake_timeout)
    }

    pub(crate) fn after(after: Duration) -> Self {
        Self {
            at: Instant::now() + after,
            after,
        }
    }
}

/// The target of `address`, held to the peer that the caller expects.
pub(crate) fn target_of(
    address: &Multiaddr,
    expected: Option<PeerId>,
) -> Result<Target, DialError> {
    let mut target = target(address)?;
    match (target.peer, expected) {
        (Some(named), Some(expected)) if named != expected => {
            return Err(DialError::PeerConflict {
                address: address.clone(),
                named: named.into(),
                expected: expected.into(),
            });
        }
        (named, expected) => target.peer = named.or(expected),
    }
    Ok(target)
}

/// The socket addresses of a target's host, of both families in turn (RFC 8305 section 4).
pub(crate) async fn resolve(
    target: &Target,
    resolver: impl FnOnce() -> Result<Resolver, ResolveError>,
    dialable: impl Fn(IpAddr) -> bool,
    deadline: Deadline,
) -> Result<Vec<SocketAddr>, DialError> {
    let (name, family) = match &target.host {
        Host::Ip(ip) => return Ok(vec![(*ip, target.port).into()]),
        Host::Name(name, family) => (name, *family),
    };
    let resolver = resolver()?;
    let lookup = resolver.lookup(name, family, dialable);
    let found = timeout_at(deadline.at, lookup)
        .await
        .map_err(|_| ResolveError::Timeout {
            host: name.clone(),
            after: deadline.after,
        })??;
    Ok(in_turn(found).map(|ip| (ip, target.port).into()).collect())
}

fn in_turn(addresses: Vec<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let preferred = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, mut second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|ip| ip.is_ipv6() == preferred);
    let rest = second.split_off(second.len().min(first.len()));
    let mut second = second.into_iter();
    first
        .into_iter()
        .flat_map(move |ip| [Some(ip), second.next()])
        .flatten()
        .chain(rest)
}

/// Staggered dials of several addresses; the first to succeed cancels the others. The error is
/// that of the last to fail.
pub(crate) async fn race<F>(
    addresses: Vec<SocketAddr>,
    dial: impl Fn(SocketAddr) -> F,
) -> Result<Connection, DialError>
where
    F: Future<Output = Result<Connection, DialError>>,
{
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut last = None;
    let mut next = waiting.next();
    loop {
        if let Some(address) = next.take() {
            running.push(dial(address));
        }
        let head_start = std::pin::pin!(sleep(STAGGER));
        match futures::future::select(running.next(), head_start).await {
            Either::Left((Some(Ok(connection)), _)) => return Ok(connection),
            Either::Left((Some(Err(failed)), _)) => last = Some(failed),
            Either::Left((None, _)) | Either::Right(_) => {}
        }
        next = waiting.next();
        if next.is_none()
            && running.is_empty()
            && let Some(last) = last
        {
            return Err(last);
        }
    }
}

impl Context {
    /// Dials one address.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        expected: Option<PeerId>,
        deadline: Deadline,
    ) -> Result<Connection, DialError> {
        let verifier = self.tls.verifier(expected);
        let connecting = self.start(address, verifier.clone())?;
        match timeout_at(deadline.at, connecting).await {
            Err(_) => Err(DialError::Timeout {
                address,
                after: deadline.after,
            }),
            Ok(Err(source)) => Err(dial_error(address, &verifier, source)),
            Ok(Ok(quinn)) => match verifier.outcome() {
                Some(Ok(peer)) => {
                    let connection = self.connection(quinn, peer);
                    ids_sent(&connection).await;
                    Ok(connection)
                }
                _ => Err(DialError::Authentication {
                    address,
                    source: CertificateError::Missing,
                }),
            },
        }
    }

    fn start(
        &self,
        address: SocketAddr,
        verifier: Arc<Verifier>,
    ) -> Result<quinn::Connecting, DialError> {
        if let Some(source) = self.stopped() {
            return Err(DialError::EndpointStopped { address, source });
        }
        if !self.speaks_to(address) {
            let local = self.local_addr();
            return Err(DialError::Family { local, address });
        }
        let tls = |error| DialError::Tls(TlsError::of(error));
        let crypto = self.tls.client(verifier).map_err(tls)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.transport.clone());
        self.quinn
            .connect_with(config, address, SERVER_NAME)
            .map_err(|error| start_error(address, error))
    }
}

/// Lets quinn's tasks run until the dialer's connection ids are on their way. The listener needs
/// one of them to recognise a stateless reset, so from then on it notices when this side
/// crashes and restarts.
async fn ids_sent(connection: &Connection) {
    let [yields, pauses] = LOOKS;
    for look in 0..yields + pauses {
        if connection.has_sent_ids() || connection.is_closed() {
            return;
        }
        if look < yields {
            yield_now().await;
        } else {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

fn start_error(address: SocketAddr, error: quinn::ConnectError) -> DialError {
    match error {
        quinn::ConnectError::InvalidRemoteAddress(_) => DialError::InvalidAddress { address },
        quinn::ConnectError::EndpointStopping => DialError::EndpointStopped {
            address,
            source: EndpointError::Closed,
        },
        other => DialError::Handshake {
            address,
            source: CloseReason::Transport(other.to_string()),
        },
    }
}

fn dial_error(
    address: SocketAddr,
    verifier: &Verifier,
    source: quinn::ConnectionError,
) -> DialError {
    match verifier.outcome() {
        Some(Err(CertificateError::WrongPeer { expected, found })) => DialError::WrongPeer {
            address,
            expected,
            found,
        },
        Some(Err(source)) => DialError::Authentication { address, source },
        _ => DialError::Handshake {
            address,
            source: CloseReason::of(source),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_take_turns_and_the_first_keeps_its_place() {
        let given = ips(&["::1", "::2", "10.0.0.1", "::3", "10.0.0.2"]);
        let expected = ips(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]);
        assert_eq!(in_turn(given).collect::<Vec<_>>(), expected);
        let given = ips(&["10.0.0.1", "::1", "::2", "::3"]);
        assert_eq!(in_turn(given.clone()).collect::<Vec<_>>(), given);
        assert_eq!(in_turn(Vec::new()).count(), 0);
    }

    #[test]
    fn the_expected_peer_and_the_named_one_must_agree() {
        let (one, two) = (PeerId::random(), PeerId::random());
        let plain: Multiaddr = "/ip4/192.0.2.1/udp/1/quic-v1".parse().unwrap();
        let named = plain.clone().with(multiaddr::Protocol::P2p(one));
        let peer = |address, expected| target_of(address, expected).map(|target| target.peer);
        assert_eq!(peer(&plain, None).unwrap(), None);
        assert_eq!(peer(&plain, Some(two)).unwrap(), Some(two));
        assert_eq!(peer(&named, None).unwrap(), Some(one));
        assert_eq!(peer(&named, Some(one)).unwrap(), Some(one));
        match peer(&named, Some(two)).unwrap_err() {
            DialError::PeerConflict {
                named, expected, ..
            } => assert_eq!((*named, *expected), (one, two)),
            other => panic!("{other}"),
        }
    }
}
