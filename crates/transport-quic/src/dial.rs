//! Dials an address, and returns a connection.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    address::{Host, Target, target, zoned},
    connection::Connection,
    context::Context,
    error::{
        CertificateError, CloseReason, DialError, EndpointError, ResolveError, RouteError, TlsError,
    },
    options::{ConnectBudget, DialOptions},
    resolve::Resolver,
    tap::Tapped,
    verifier::Verifier,
};

/// The name quinn wants for a server. It is not sent: SNI is off.
const SERVER_NAME: &str = "libp2p";

/// Head start of one address of a host over the next (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses that may be dialed without a pause if each fails at once.
const CONNECTS_AT_ONCE: usize = 8;
/// The pause before each further address. RFC 8305 section 5 requires at least 10 ms.
const CONNECT_GAP: Duration = Duration::from_millis(20);

/// How often a finished dial looks whether quinn's tasks have sent its connection ids: first
/// between other tasks, which is enough unless the machine is busy, then every millisecond. On a
/// busy machine the thread of that task may not run for tens of milliseconds.
const LOOKS: [usize; 2] = [64, 250];

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
fn target_of(address: &Multiaddr, expected: Option<PeerId>) -> Result<Target, DialError> {
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

/// The resources of an endpoint that a dial of a multiaddr needs.
pub(crate) struct Dialing<'a, P, D> {
    /// The system's resolver, made when the first host name is dialed.
    pub(crate) system: &'a OnceLock<Resolver>,
    pub(crate) deadline: Deadline,
    /// Whether an address can be dialed at all.
    pub(crate) dialable: P,
    pub(crate) dial: D,
}

impl<P, D, F> Dialing<'_, P, D>
where
    P: Fn(SocketAddr) -> bool,
    D: Fn(SocketAddr, Option<PeerId>) -> F,
    F: Future<Output = Result<Connection, DialError>>,
{
    /// Dials `address`: resolves its host, and tries the addresses of the host.
    pub(crate) async fn run(
        &self,
        address: &Multiaddr,
        expected: Option<PeerId>,
        options: &DialOptions,
    ) -> Result<Connection, DialError> {
        let target = target_of(address, expected)?;
        let addresses = self.resolve(&target, options).await?;
        let mut race = Race::new(|address| (self.dial)(address, target.peer));
        match race.run(addresses, options.connects.as_ref()).await {
            Some(connection) => Ok(connection),
            None => Err(race
                .last
                .unwrap_or_else(|| DialError::NoConnects(address.clone()))),
        }
    }

    /// The socket addresses of a target's host.
    async fn resolve(
        &self,
        target: &Target,
        options: &DialOptions,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let (name, family) = match &target.host {
            Host::Ip(ip) => return Ok(vec![(*ip, target.port).into()]),
            Host::Ip6Zone(ip, zone) => return Ok(vec![zoned(*ip, zone, target.port)?]),
            Host::Name(name, family) => (name, *family),
        };
        let resolver = match &options.resolver {
            Some(resolver) => resolver,
            None => self.system.get_or_init(Resolver::system),
        };
        let dialable = |ip| (self.dialable)((ip, target.port).into());
        let lookup = resolver.lookup(name, family, dialable);
        let found =
            timeout_at(self.deadline.at, lookup)
                .await
                .map_err(|_| ResolveError::Timeout {
                    host: name.clone(),
                    after: self.deadline.after,
                })??;
        let addresses = found.into_iter().map(|ip| (ip, target.port).into());
        Ok(addresses.collect())
    }
}

/// Staggered dials of several addresses. The first successful dial wins, and dropping the race
/// cancels the other dials.
struct Race<D, F> {
    dial: D,
    running: FuturesUnordered<F>,
    /// The error of the dial that failed last.
    last: Option<DialError>,
}

impl<D, F> Race<D, F>
where
    D: Fn(SocketAddr) -> F,
    F: Future<Output = Result<Connection, DialError>>,
{
    fn new(dial: D) -> Self {
        Self {
            dial,
            running: FuturesUnordered::new(),
            last: None,
        }
    }

    /// Dials each address 250 ms after the previous address, or as soon as a dial has failed, but
    /// not before the budget admits it.
    async fn run(
        &mut self,
        addresses: Vec<SocketAddr>,
        connects: Option<&ConnectBudget>,
    ) -> Option<Connection> {
        for (n, address) in addresses.into_iter().enumerate() {
            let now = Instant::now();
            let start = match connects {
                Some(budget) => budget.reserve(now.into_std()).map(Instant::from_std),
                None if n < CONNECTS_AT_ONCE => Some(now),
                None => Some(now + CONNECT_GAP),
            };
            let Some(start) = start else { break };
            while Instant::now() < start {
                match self.next_until(Some(start)).await {
                    Some(Ok(connection)) => return Some(connection),
                    Some(Err(failed)) => self.last = Some(failed),
                    None => break,
                }
            }
            self.running.push((self.dial)(address));
            match self.next_until(Some(Instant::now() + STAGGER)).await {
                Some(Ok(connection)) => return Some(connection),
                Some(Err(failed)) => self.last = Some(failed),
                None => {}
            }
        }
        loop {
            match self.next_until(None).await? {
                Ok(connection) => return Some(connection),
                Err(failed) => self.last = Some(failed),
            }
        }
    }

    /// The next dial to end. `None`: no dial ended before `end`, or none is running and there is
    /// no `end`.
    async fn next_until(&mut self, end: Option<Instant>) -> Option<Result<Connection, DialError>> {
        let Some(end) = end else {
            return self.running.next().await;
        };
        tokio::select! {
            biased;
            Some(ended) = self.running.next() => Some(ended),
            () = sleep_until(end) => None,
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
        let socket = Arc::clone(&self.sockets().current);
        let mut watch = socket.refusals.watch(address);
        let connecting = self.start(address, verifier.clone())?;
        let connected = tokio::select! {
            biased;
            connected = timeout_at(deadline.at, connecting) => connected,
            source = watch.refused() => return Err(DialError::Route {
                address,
                source: RouteError::Unroutable { address, source },
            }),
        };
        match connected {
            Err(_) => Err(DialError::Timeout {
                address,
                after: deadline.after,
            }),
            Ok(Err(source)) => Err(dial_error(address, &verifier, source)),
            Ok(Ok(quinn)) => match verifier.outcome() {
                Some(Ok(peer)) => {
                    let connection = self.connection(quinn, peer);
                    // The connection can be used without them.
                    let _ = timeout_at(deadline.at, ids_sent(&connection)).await;
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
        let crypto = Tapped::new(crypto, address, Arc::clone(&self.unproved));
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
