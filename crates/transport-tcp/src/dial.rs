//! What passes through the [`Dialer`](crate::Dialer) seam besides the target.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

/// One dial's circumstances.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DialContext {
    /// When the dial must be over. Names, proxies and every address count against it.
    pub deadline: Instant,
    /// Tells this dial from every other of the process: in logs, and where a proxy isolates
    /// streams by credentials.
    pub attempt: u64,
}

impl DialContext {
    /// A context with a fresh attempt id.
    pub fn new(deadline: Instant) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            deadline,
            attempt: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What a dialer brings about and a listener accepts: a TCP socket, or any byte stream in a box.
pub struct ByteStream(Kind);

enum Kind {
    Tcp(TcpStream),
    Boxed(Box<dyn Io>),
}

impl ByteStream {
    /// Wraps a stream that is no TCP socket of ours: a proxy's, or one in memory.
    pub fn boxed<T>(io: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Kind::Boxed(Box::new(io)))
    }

    /// The socket, where it is one.
    pub fn as_tcp(&self) -> Option<&TcpStream> {
        match &self.0 {
            Kind::Tcp(socket) => Some(socket),
            Kind::Boxed(_) => None,
        }
    }

    /// Our end, where it is a socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.as_tcp()?.local_addr().ok()
    }

    /// The other end, where it is a socket. Behind a proxy that is the proxy.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.as_tcp()?.peer_addr().ok()
    }
}

impl From<TcpStream> for ByteStream {
    fn from(socket: TcpStream) -> Self {
        Self(Kind::Tcp(socket))
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Tcp(socket) => f.debug_tuple("ByteStream").field(socket).finish(),
            Kind::Boxed(_) => f.write_str("ByteStream(boxed)"),
        }
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Kind::Boxed(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Kind::Boxed(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Kind::Boxed(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Tcp(io) => io.is_write_vectored(),
            Kind::Boxed(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(io) => Pin::new(io).poll_flush(cx),
            Kind::Boxed(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Kind::Boxed(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
