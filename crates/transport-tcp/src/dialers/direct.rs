//! The plain dialer: resolves names itself and connects from an ephemeral port.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::Poll,
};

use futures::{StreamExt, stream};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};

use super::{
    eyeballs::{self, Schedule},
    uplink::Uplink,
};
use crate::{
    Attempt, ByteStream, DialContext, DialError, DialStage, Dialer, DirectConfig, Host, Keepalive,
    Resolver, Target, error::Unsent, resolve::CONCURRENT,
};

/// Dials from this machine, without a proxy.
///
/// Addresses of a name are tried as RFC 8305 says: IPv6 and IPv4 in turn, the next one after
/// [`DirectConfig::attempt_delay`] or as soon as one failed; the first to answer wins and the
/// others are closed. A name that ends in `.onion` is refused and asked of nobody (RFC 7686).
#[derive(Debug, Clone, Default)]
pub struct Direct {
    config: DirectConfig,
}

/// An address, and from where it is dialed; `None` leaves that to the system.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    address: SocketAddr,
    uplink: Option<&'a Uplink>,
}

impl Direct {
    /// A dialer with these settings.
    pub fn new(config: DirectConfig) -> Self {
        Self { config }
    }

    /// Of a target that is a name.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, DialError> {
        let address = || target.to_multiaddr();
        let resolver = || {
            let resolver = self.config.resolver.as_ref();
            resolver.ok_or_else(|| DialError::NoResolver(address()))
        };
        let failed = |source| DialError::Resolve {
            address: address(),
            source,
        };
        if target.is_onion() {
            return Err(DialError::Unsupported {
                address: address(),
                host: "an onion service",
            });
        }
        let found = match target.host() {
            Host::Ip(_) | Host::Onion3 { .. } => Vec::new(),
            Host::Dns { name, family } => {
                let ips = resolver()?.addresses(name, *family).await.map_err(failed)?;
                let with_port = |ip| SocketAddr::new(ip, target.port());
                ips.into_iter().map(with_port).collect()
            }
            Host::DnsAddr(name) => {
                let resolver = resolver()?;
                let found = resolver.dnsaddr(name, target.peer()).await;
                let targets = found.map_err(failed)?;
                let targets = targets.iter().filter_map(|a| Target::try_from(a).ok());
                self.expanded(targets.collect(), resolver).await
            }
        };
        match found.is_empty() {
            true => Err(DialError::NoAddress(address())),
            false => Ok(found),
        }
    }

    /// The addresses of what a `/dnsaddr` gave. A name among them that does not resolve takes
    /// nothing from the others.
    async fn expanded(&self, targets: Vec<Target>, resolver: &Resolver) -> Vec<SocketAddr> {
        let found = stream::iter(targets).map(|target| async move {
            let ips = match target.host() {
                Host::Ip(ip) => vec![*ip],
                Host::Dns { name, family } => {
                    let found = resolver.addresses(name, *family).await;
                    found.unwrap_or_default()
                }
                _ => Vec::new(),
            };
            let with_port = |ip| SocketAddr::new(ip, target.port());
            ips.into_iter().map(with_port).collect::<Vec<_>>()
        });
        found.buffered(CONCURRENT).concat().await
    }
}

impl Direct {
    /// Dials from each of these uplinks in turn, or from wherever the system sees fit.
    pub(crate) async fn dial_from(
        &self,
        uplinks: Option<&[Uplink]>,
        target: &Target,
        cx: &DialContext,
    ) -> Result<ByteStream, DialError> {
        let timed_out = |stage, tried| DialError::TimedOut {
            address: target.to_multiaddr(),
            stage,
            tried,
        };
        // One limit for finding the addresses and for trying them.
        let deadline = cx.reach_deadline();
        let found = match target.host() {
            Host::Ip(ip) => vec![SocketAddr::new(*ip, target.port())],
            _ => {
                if target.ip().is_none() {
                    cx.enter(DialStage::Resolve);
                }
                let found = timeout_at(deadline, self.addresses(target)).await;
                found.map_err(|_| timed_out(DialStage::Resolve, Vec::new()))??
            }
        };
        cx.enter(DialStage::Connect);
        let candidates = candidates(&eyeballs::order(found), uplinks);
        if candidates.is_empty() {
            return Err(DialError::Unsupported {
                address: target.to_multiaddr(),
                host: "an address of a family that none of its uplinks has",
            });
        }
        let schedule = Schedule::new(candidates, self.config.attempt_delay);
        let mut tried = Vec::new();
        let race = race(schedule, &mut tried, |candidate| {
            connect(candidate, &self.config)
        });
        match timeout_at(deadline, race).await {
            Ok(Some(socket)) => Ok(socket.into()),
            Ok(None) => Err(DialError::Failed {
                address: target.to_multiaddr(),
                tried,
            }),
            Err(_) => Err(timed_out(DialStage::Connect, tried)),
        }
    }
}

/// Every address from the first uplink, then from the second: a later uplink is for when an earlier one is silent.
fn candidates<'a>(addresses: &[SocketAddr], uplinks: Option<&'a [Uplink]>) -> Vec<Candidate<'a>> {
    let from = |uplink: Option<&'a Uplink>| {
        let reachable = addresses
            .iter()
            .filter(move |address| uplink.is_none_or(|uplink| uplink.reaches(**address)));
        reachable.map(move |address| Candidate {
            address: *address,
            uplink,
        })
    };
    match uplinks {
        None => from(None).collect(),
        Some(uplinks) => uplinks
            .iter()
            .flat_map(|uplink| from(Some(uplink)))
            .collect(),
    }
}

#[async_trait::async_trait]
impl Dialer for Direct {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        static LABEL: LazyLock<Arc<str>> = LazyLock::new(|| "direct".into());
        cx.take(&LABEL);
        self.dial_from(None, target, cx).await
    }

    fn is_direct(&self, _target: &Target) -> bool {
        true
    }
}

/// Runs the schedule; the first stream wins, every failure is noted in `tried`.
async fn race<'a, S, F>(
    mut schedule: Schedule<Candidate<'a>>,
    tried: &mut Vec<Attempt>,
    connect: impl Fn(Candidate<'a>) -> F,
) -> Option<S>
where
    F: Future<Output = io::Result<S>>,
{
    let mut running = Running(Vec::new());
    loop {
        while let Some(candidate) = schedule.poll_start(Instant::now().into_std()) {
            let attempt = Box::pin(connect(candidate));
            running.0.push((candidate.address, attempt));
        }
        if running.0.is_empty() && schedule.is_exhausted() {
            return None;
        }
        let next = schedule.poll_timeout().map(Instant::from_std);
        let pause = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            (address, result) = running.next() => match result {
                Ok(stream) => return Some(stream),
                Err(error) => {
                    tried.push(Attempt { address, error });
                    schedule.handle_failure();
                }
            },
            () = pause => {}
        }
    }
}

/// Attempts under way. They are few and share the task's own waker: with `FuturesUnordered`, which gives each a waker of
/// its own, a dial of one address took 20 µs longer.
struct Running<F>(Vec<(SocketAddr, Pin<Box<F>>)>);

impl<F: Future> Running<F> {
    /// The one that ends next. Cancel-safe; waits for ever where there is none.
    async fn next(&mut self) -> (SocketAddr, F::Output) {
        poll_fn(|cx| {
            for (place, (address, attempt)) in self.0.iter_mut().enumerate() {
                if let Poll::Ready(output) = attempt.as_mut().poll(cx) {
                    let address = *address;
                    self.0.swap_remove(place);
                    return Poll::Ready((address, output));
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn connect(candidate: Candidate<'_>, config: &DirectConfig) -> io::Result<TcpStream> {
    let unsent =
        |stage| move |source: io::Error| io::Error::new(source.kind(), Unsent { stage, source });
    let Candidate { address, uplink } = candidate;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(unsent("socket"))?;
    tune(&SockRef::from(&socket), config.nodelay, config.keepalive).map_err(unsent("option"))?;
    if let Some(uplink) = uplink {
        uplink.bind(&socket).map_err(unsent("bind"))?;
    }
    let connected = socket.connect(address).await;
    connected.map_err(|error| io::Error::new(error.kind(), format!("connect: {error}")))
}

/// Sets what both dialed and accepted sockets have in common.
pub(crate) fn tune(
    socket: &SockRef<'_>,
    nodelay: bool,
    keepalive: Option<Keepalive>,
) -> io::Result<()> {
    socket.set_tcp_nodelay(nodelay)?;
    if let Some(keepalive) = keepalive {
        let params = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.retries);
        socket.set_tcp_keepalive(&params)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
