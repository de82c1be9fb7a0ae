//! The dialer without a proxy. It resolves names itself, and connects from an ephemeral port.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, LazyLock},
};

use futures::channel::mpsc;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpSocket, time::timeout_at};

use super::{
    lookup::look_up,
    race::{Candidate, Race},
    uplink::Uplink,
};
use crate::{
    ByteStream, DialContext, DialError, DialStage, Dialer, DirectConfig, Keepalive, Target,
    error::Unsent,
};

/// Dials from this machine, without a proxy.
///
/// A dial tries the addresses of a name as RFC 8305 requires: IPv6 and IPv4 in turn, each address after
/// [`DirectConfig::attempt_delay`] or as soon as an attempt has failed. The first address to answer wins, and the dial closes the
/// other attempts. A dial tries at most 16 addresses per name, and [`DialContext::connects`] bounds the whole dial. It tries each
/// record of a `/dnsaddr` name as soon as the record is known, while other names are still being resolved.
/// [`DialContext::may_follow`] decides which records the dial follows. The stream stores the
/// peer that its record names ([`ByteStream::peer`]). A name that ends in `.onion` is refused without a DNS question (RFC 7686).
#[derive(Debug, Clone, Default)]
pub struct Direct {
    config: DirectConfig,
}

impl Direct {
    /// A dialer with these settings.
    pub fn new(config: DirectConfig) -> Self {
        Self { config }
    }

    /// Dials from each of these uplinks in turn, or from wherever the system chooses.
    pub(crate) async fn dial_from(
        &self,
        uplinks: Option<&[Uplink]>,
        target: &Target,
        cx: &DialContext,
    ) -> Result<ByteStream, DialError> {
        if target.ip().is_none() {
            cx.enter(DialStage::Resolve);
        }
        let mut race = Race::new(uplinks, self.config.attempt_delay, cx.connects.clone());
        // One limit for the look-up and for the attempts, because both run at the same time.
        let dialing = timeout_at(
            cx.reach_deadline(),
            self.find_and_try(target, cx, &mut race),
        );
        let address = || target.to_multiaddr();
        match dialing.await {
            Ok((_, Some(stream))) => Ok(stream),
            Err(_) => Err(DialError::TimedOut {
                address: address(),
                stage: race.stage(),
                tried: race.tried,
            }),
            Ok(_) if !race.tried.is_empty() => Err(DialError::Failed {
                address: address(),
                tried: race.tried,
            }),
            Ok(_) if race.is_spent() => Err(DialError::NoConnects(address())),
            Ok((Some(Err(error)), None)) => Err(error),
            Ok(_) if race.found_any() => Err(DialError::Unsupported {
                address: address(),
                host: "an address of a family that none of its uplinks has",
            }),
            Ok(_) => Err(DialError::NoAddress(address())),
        }
    }

    /// The outcome of the look-up, if it ended first, and the stream that won.
    async fn find_and_try<'a>(
        &self,
        target: &Target,
        cx: &DialContext,
        race: &mut Race<'a>,
    ) -> (Option<Result<(), DialError>>, Option<ByteStream>) {
        let (finds, arriving) = mpsc::unbounded();
        let mut finding = pin!(look_up(self.config.resolver.as_ref(), target, cx, finds));
        let mut trying = pin!(race.run(arriving, cx, |it| connect(it, &self.config)));
        let mut found = None;
        loop {
            tokio::select! {
                biased;
                ended = &mut finding, if found.is_none() => found = Some(ended),
                won = &mut trying => return (found, won),
            }
        }
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

async fn connect(candidate: Candidate<'_>, config: &DirectConfig) -> io::Result<ByteStream> {
    let unsent =
        |stage| move |source: io::Error| io::Error::new(source.kind(), Unsent { stage, source });
    let Candidate {
        address,
        uplink,
        peer,
    } = candidate;
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
    let socket =
        connected.map_err(|error| io::Error::new(error.kind(), format!("connect: {error}")))?;
    Ok(ByteStream::from(socket).with_peer(peer))
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
