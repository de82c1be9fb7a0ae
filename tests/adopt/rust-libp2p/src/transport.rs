//! Any [`Dialer`] as a rust-libp2p [`Transport`].
//!
//! It stands where libp2p's TCP transport would stand, and its DNS transport is left out: an address reaches the dialer
//! as the swarm dials it, names unresolved, with the peer that is expected there.
//!
//! ```text
//! Swarm ─► noise or TLS, yamux ─► DialerTransport ─► Dialer ─► a SOCKS5 proxy, a chain, rules, a closure…
//! ```
//!
//! # Limitations
//!
//! - The swarm's other transports dial for themselves. One that reads the same addresses, or QUIC to the same peer, goes
//!   around the dialer. A DNS transport around this one resolves the names before the dialer sees them.
//! - It does not listen. A swarm that listens adds libp2p's TCP transport behind this one, with `or_transport`, and must
//!   keep that one from dialing: it would be given every address that this one refuses.
//! - A dial's options are without effect: behind a proxy there is no port to reuse and no hole to punch.

use std::{
    error::Error,
    fmt, io, iter,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Pending},
};
use libp2p::{
    Multiaddr,
    core::{
        Transport,
        transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    },
};
use tokio::time::Instant;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use transport_tcp::{ByteStream, DialContext, DialError, Dialer, Target};

/// A transport that dials through `D`.
///
/// Its streams are not secured yet: `upgrade`, `authenticate` and `multiplex` follow, as after any transport.
pub struct DialerTransport<D> {
    dialer: Arc<D>,
    timeout: Duration,
}

impl<D: Dialer + 'static> DialerTransport<D> {
    /// `timeout` is for one dial: names, proxies and every address that is tried. libp2p's own connection timeout is for
    /// that and the upgrade together, and should be longer, because only the dialer can tell where the time went.
    pub fn new(dialer: D, timeout: Duration) -> Self {
        Self {
            dialer: Arc::new(dialer),
            timeout,
        }
    }
}

impl<D: Dialer + 'static> Transport for DialerTransport<D> {
    type Output = Compat<ByteStream>;
    type Error = DialFailed;
    type Dial = BoxFuture<'static, Result<Self::Output, DialFailed>>;
    type ListenerUpgrade = Pending<Result<Self::Output, DialFailed>>;

    /// Nothing happens before the future is polled, as libp2p wants it, and dropping the future ends the dial.
    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Self::Dial, TransportError<DialFailed>> {
        // With this error the next transport gets its chance, which QUIC and relayed addresses need.
        let Ok(target) = Target::try_from(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let (dialer, timeout) = (Arc::clone(&self.dialer), self.timeout);
        let dial = async move {
            let context = DialContext::new(Instant::now() + timeout);
            let stream = dialer.dial(&target, &context).await.map_err(DialFailed)?;
            Ok(stream.compat())
        };
        Ok(dial.boxed())
    }

    fn listen_on(
        &mut self,
        _: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<DialFailed>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    /// There are events of listeners only.
    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, DialFailed>> {
        Poll::Pending
    }
}

/// The dialer's error, as the source of this one.
///
/// libp2p's combinators wrap errors in `Either`, which passes over the error it holds and reports that one's source.
#[derive(Debug)]
pub struct DialFailed(DialError);

impl fmt::Display for DialFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for DialFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// The dialer's error in what the swarm reports of a failed dial, if it was the dialer that failed.
///
/// libp2p boxes the errors of its transports into `io::Error`s, which also pass over what they hold.
pub fn dial_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a DialError> {
    let inner = |error: &'a (dyn Error + 'static)| {
        let held = error.downcast_ref().and_then(io::Error::get_ref);
        held.map(|held| held as _).or_else(|| error.source())
    };
    iter::successors(Some(error), |error| inner(*error)).find_map(|error| error.downcast_ref())
}
