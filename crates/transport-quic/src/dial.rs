//! From an address to a connection.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, future::Either, stream::FuturesUnordered};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::time::{sleep, timeout};

use crate::{
    address::{Host, target},
    connection::Connection,
    endpoint::Endpoint,
    error::{CertificateError, DialError, ResolveError},
    resolve::Resolver,
    verifier::Verifier,
};

/// The name quinn wants for a server. It is not sent: SNI is off.
const SERVER_NAME: &str = "libp2p";

/// Head start of one address of a host over the next (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);

impl Endpoint {
    /// Dials `address`. If somebody is `expected`, anybody else is turned away within the
    /// handshake. Dropping the future cancels the dial.
    ///
    /// # Errors
    ///
    /// [`DialError`], at the latest after [`Config::handshake_timeout`](crate::Config).
    pub async fn dial(
        &self,
        address: SocketAddr,
        expected: Option<PeerId>,
    ) -> Result<Connection, DialError> {
        let verifier = self.inner.tls.verifier(expected);
        let connecting = self.start(address, verifier.clone())?;
        let after = self.inner.config.handshake_timeout;
        match timeout(after, connecting).await {
            Err(_) => Err(DialError::Timeout { address, after }),
            Ok(Err(source)) => Err(dial_error(address, &verifier, source)),
            Ok(Ok(quinn)) => match verifier.outcome() {
                Some(Ok(peer)) => Ok(self.inner.connection(quinn, peer)),
                _ => Err(DialError::Authentication {
                    address,
                    source: CertificateError::Missing,
                }),
            },
        }
    }

    /// Dials a multiaddr of QUIC v1, by IP address or host name (`/dns`, `/dns4`, `/dns6`,
    /// asked of the system's resolver). Of several addresses each next one starts 250 ms
    /// later, or when the one before has failed; the first connection wins and the other
    /// dials are cancelled, as is everything when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`DialError`]; of several addresses that of the last to fail.
    pub async fn dial_multiaddr(&self, address: &Multiaddr) -> Result<Connection, DialError> {
        let resolver = match target(address)?.host {
            Host::Ip(_) => None,
            Host::Name(..) => Some(self.inner.system_resolver()?),
        };
        self.dial_target(address, resolver).await
    }

    /// As [`dial_multiaddr`](Self::dial_multiaddr), with a resolver of the caller's.
    ///
    /// # Errors
    ///
    /// As [`dial_multiaddr`](Self::dial_multiaddr).
    pub async fn dial_multiaddr_with(
        &self,
        address: &Multiaddr,
        resolver: &Resolver,
    ) -> Result<Connection, DialError> {
        self.dial_target(address, Some(resolver)).await
    }

    async fn dial_target(
        &self,
        address: &Multiaddr,
        resolver: Option<&Resolver>,
    ) -> Result<Connection, DialError> {
        let target = target(address)?;
        let (name, family, resolver) = match (target.host, resolver) {
            (Host::Name(name, family), Some(resolver)) => (name, family, resolver),
            (Host::Name(..), None) => {
                return Err(crate::AddressError::HostName(address.clone()).into());
            }
            (Host::Ip(ip), _) => {
                return self.dial((ip, target.port).into(), target.peer).await;
            }
        };
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let local = self.local_addr().map_or(unspecified, |local| local.ip());
        let lookup = resolver.lookup(&name, family, local);
        let after = self.inner.config.handshake_timeout;
        let found = timeout(after, lookup)
            .await
            .map_err(|_| ResolveError::Lookup {
                host: name.clone(),
                reason: format!("no answer within {after:?}"),
            })??;
        let addresses = found.into_iter().map(|ip| (ip, target.port).into());
        self.race(name, addresses, target.peer).await
    }

    /// Staggered dials; the first to succeed cancels the rest.
    async fn race(
        &self,
        host: String,
        addresses: impl Iterator<Item = SocketAddr>,
        expected: Option<PeerId>,
    ) -> Result<Connection, DialError> {
        let mut waiting = addresses;
        let mut running = FuturesUnordered::new();
        let mut error = DialError::Resolve(ResolveError::NoAddress { host });
        let mut next = waiting.next();
        loop {
            if let Some(address) = next.take() {
                running.push(self.dial(address, expected));
            }
            let head_start = std::pin::pin!(sleep(STAGGER));
            match futures::future::select(running.next(), head_start).await {
                Either::Left((Some(Ok(connection)), _)) => return Ok(connection),
                Either::Left((Some(Err(failed)), _)) => error = failed,
                Either::Left((None, _)) => {}
                Either::Right(_) => {}
            }
            next = waiting.next();
            if next.is_none() && running.is_empty() {
                return Err(error);
            }
        }
    }

    fn start(
        &self,
        address: SocketAddr,
        verifier: Arc<Verifier>,
    ) -> Result<quinn::Connecting, DialError> {
        let start = |source| DialError::Start { address, source };
        if let Ok(local) = self.local_addr()
            && local.is_ipv6() != address.is_ipv6()
        {
            return Err(start(quinn::ConnectError::InvalidRemoteAddress(address)));
        }
        let crypto = self.inner.tls.client(verifier).map_err(DialError::Tls)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.inner.transport.clone());
        self.inner
            .quinn
            .connect_with(config, address, SERVER_NAME)
            .map_err(start)
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
        _ => DialError::Handshake { address, source },
    }
}
