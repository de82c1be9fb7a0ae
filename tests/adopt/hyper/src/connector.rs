//! Any [`Dialer`] as the connector of a hyper-util client.
//!
//! ```text
//! Client ─► DialerConnector ─► Dialer ─► a SOCKS5 proxy, a chain, rules, a closure…
//! ```
//!
//! A host name reaches the dialer as it stands in the URI, unresolved.
//!
//! # Limitations
//!
//! `https` is refused, because the connector gives out what it dialed, in the clear. TLS goes above it: a connector
//! that wraps another one, such as hyper-rustls', needs nothing of this one but to let its URIs through.

use std::{
    future::Future,
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Uri,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::time::Instant;
use tower_service::Service;
use transport_tcp::{ByteStream, DialContext, DialError, Dialer, Family, Host, Target};

/// The port of `http` (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;

/// A connector that dials through `D`.
pub struct DialerConnector<D> {
    dialer: Arc<D>,
    timeout: Duration,
}

/// A client clones its connector for each connection.
impl<D> Clone for DialerConnector<D> {
    fn clone(&self) -> Self {
        Self {
            dialer: Arc::clone(&self.dialer),
            timeout: self.timeout,
        }
    }
}

impl<D: Dialer + 'static> DialerConnector<D> {
    /// `timeout` is for one dial: names, proxies and every address that is tried.
    pub fn new(dialer: D, timeout: Duration) -> Self {
        Self {
            dialer: Arc::new(dialer),
            timeout,
        }
    }
}

impl<D: Dialer + 'static> Service<Uri> for DialerConnector<D> {
    type Response = HttpStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpStream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    /// Dropping the future ends the dial. hyper does so when the request it is for is dropped, or was given another
    /// connection that came free.
    fn call(&mut self, uri: Uri) -> Self::Future {
        let (dialer, timeout) = (Arc::clone(&self.dialer), self.timeout);
        Box::pin(async move {
            let context = DialContext::new(Instant::now() + timeout);
            let stream = dialer.dial(&target(&uri)?, &context).await?;
            Ok(HttpStream(TokioIo::new(stream)))
        })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Neither a scheme that this connector speaks, nor a host without a scheme.
    #[error("{0}: not an http address")]
    NotHttp(Uri),
    /// The dialer failed.
    #[error("{0}")]
    Dial(#[from] DialError),
}

/// What a URI is aimed at.
fn target(uri: &Uri) -> Result<Target, ConnectError> {
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(ConnectError::NotHttp(uri.clone()));
    };
    // An IPv6 address stands in brackets (RFC 3986 section 3.2.2).
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    let host = match literal.parse::<IpAddr>() {
        Ok(ip) => Host::Ip(ip),
        Err(_) => Host::Dns {
            name: host.to_owned(),
            family: Family::Any,
        },
    };
    Ok(Target::new(host, uri.port_u16().unwrap_or(HTTP_PORT), None))
}

/// A dialed stream as hyper wants it.
///
/// [`TokioIo`] has the I/O traits. This type is here for [`Connection`], which neither of the two may be given here.
pub struct HttpStream(TokioIo<ByteStream>);

/// The proxies of a dialer are tunnels, and the one at the other end is the server: nothing to tell hyper, which would
/// address an HTTP proxy differently.
impl Connection for HttpStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
}
