//! SOCKS5 (RFC 1928), by tokio-socks.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_socks::{TargetAddr, tcp::Socks5Stream};

use super::direct::Direct;
use crate::{ByteStream, Dialer, Host, ProxyError, Target, zone::LINK_LOCAL};

/// Dials through a SOCKS5 proxy.
///
/// The proxy receives host names and onion addresses unresolved. The dialer that reaches the proxy resolves the proxy's
/// own host name. The proxy also receives a name of one address family (`/dns4`, `/dns6`) unresolved, although SOCKS5
/// cannot express the family.
///
/// A dial takes two round trips to the proxy in addition to the connection, and three with a password. With
/// [`Warm`](crate::Warm), it takes only one.
#[derive(Clone)]
pub struct Socks5 {
    pub(crate) address: Target,
    pub(crate) label: Arc<str>,
    pub(crate) base: Arc<dyn Dialer>,
    credentials: Option<Arc<(String, String)>>,
}

impl Socks5 {
    /// The proxy at `address`, reached by [`Direct::default`].
    pub fn new(address: impl Into<Target>) -> Self {
        let address = address.into();
        Self {
            label: format!("socks5://{}", address.authority()).into(),
            address,
            base: Arc::new(Direct::default()),
            credentials: None,
        }
    }

    /// Authenticates with a user name and a password (RFC 1929) of 1 to 255 bytes each, if the proxy asks for them.
    /// They are not encrypted on the way to the proxy.
    pub fn with_password(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Arc::new((user.into(), password.into())));
        self
    }

    /// Uses another dialer to reach the proxy.
    pub fn through(mut self, base: impl Dialer + 'static) -> Self {
        self.base = Arc::new(base);
        self
    }

    /// Everything up to the request. tokio-socks runs until it wants to write that.
    pub(crate) async fn greet(
        &self,
        mut stream: ByteStream,
    ) -> Result<(ByteStream, Replies), ProxyError> {
        let mut gate = Gate::rehearsal(&mut stream);
        let anywhere = TargetAddr::Ip(([0, 0, 0, 0], 0).into());
        let outcome = self.talk(&mut gate, anywhere).await;
        let (stopped, replies) = (gate.stopped, gate.replies);
        match outcome {
            Err(_) if stopped => Ok((stream, replies)),
            Err(error) => Err(error),
            Ok(()) => Err(ProxyError::Malformed("an answer before the request")),
        }
    }

    pub(crate) async fn request(
        &self,
        mut stream: ByteStream,
        replies: Replies,
        target: &Target,
    ) -> Result<ByteStream, ProxyError> {
        let wanted = match target.host() {
            Host::Ip(ip) => TargetAddr::Ip((*ip, target.port()).into()),
            Host::Ip6Zone { .. } => return Err(ProxyError::Unsupported(LINK_LOCAL)),
            _ => TargetAddr::Domain(name(target)?.into(), target.port()),
        };
        let mut gate = Gate::play(&mut stream, replies);
        self.talk(&mut gate, wanted).await?;
        Ok(stream)
    }

    async fn talk(&self, gate: &mut Gate<'_>, target: TargetAddr<'_>) -> Result<(), ProxyError> {
        let talked = match self.credentials.as_deref() {
            None => Socks5Stream::connect_with_socket(gate, target).await,
            Some((user, password)) => {
                Socks5Stream::connect_with_password_and_socket(gate, target, user, password).await
            }
        };
        talked.map(drop).map_err(explain)
    }
}

impl fmt::Debug for Socks5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// The host's name. SOCKS5 counts it in one byte, and tokio-socks would cut a longer count.
fn name(target: &Target) -> Result<String, ProxyError> {
    let name = target.host_name();
    match name.len() {
        1..=255 => Ok(name),
        _ => Err(ProxyError::Unsupported(
            "a host name that is not of 1 to 255 bytes",
        )),
    }
}

fn explain(error: tokio_socks::Error) -> ProxyError {
    use tokio_socks::Error;
    match error {
        Error::Io(error) => ProxyError::from_io(error),
        Error::NoAcceptableAuthMethods | Error::AuthorizationRequired => {
            ProxyError::AuthenticationRequired
        }
        Error::PasswordAuthFailure(_) => ProxyError::AuthenticationFailed,
        Error::InvalidAuthValues(_) => {
            ProxyError::Unsupported("a user or password that is not of 1 to 255 bytes")
        }
        Error::ConnectionNotAllowedByRuleset => ProxyError::NotAllowed,
        Error::GeneralSocksServerFailure => ProxyError::NotConnected("general failure"),
        Error::NetworkUnreachable => ProxyError::NotConnected("network unreachable"),
        Error::HostUnreachable => ProxyError::NotConnected("host unreachable"),
        Error::ConnectionRefused => ProxyError::NotConnected("connection refused"),
        Error::TtlExpired => ProxyError::NotConnected("ttl expired"),
        Error::CommandNotSupported => ProxyError::Unsupported("the command connect"),
        Error::AddressTypeNotSupported => ProxyError::Unsupported("this type of address"),
        Error::InvalidResponseVersion => ProxyError::Malformed("wrong version"),
        Error::UnknownAuthMethod => ProxyError::Malformed("unknown method or reply"),
        Error::InvalidReservedByte => ProxyError::Malformed("reserved byte is not zero"),
        Error::UnknownAddressType => ProxyError::Malformed("unknown type of address"),
        _ => ProxyError::Malformed("unreadable reply"),
    }
}

/// What a proxy answers before the request: the method, and whether the password is right. Two bytes each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Replies {
    bytes: [u8; 4],
    len: usize,
}

impl Replies {
    /// Whether the request comes next (RFC 1928 section 3).
    fn are_complete(&self) -> bool {
        const NO_AUTHENTICATION: u8 = 0;
        self.len == 4 || (self.len == 2 && self.bytes[1] == NO_AUTHENTICATION)
    }
}

/// Lets tokio-socks talk up to the request with one target, and later from the request on with another: what it has
/// written before is not written twice, and what was answered is played back.
struct Gate<'a> {
    io: &'a mut ByteStream,
    replies: Replies,
    played: usize,
    rehearsing: bool,
    stopped: bool,
}

impl<'a> Gate<'a> {
    fn rehearsal(io: &'a mut ByteStream) -> Self {
        Self {
            io,
            replies: Replies::default(),
            played: 0,
            rehearsing: true,
            stopped: false,
        }
    }

    fn play(io: &'a mut ByteStream, replies: Replies) -> Self {
        Self {
            io,
            replies,
            played: 0,
            rehearsing: false,
            stopped: false,
        }
    }
}

impl AsyncRead for Gate<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Replies { bytes, len } = &mut this.replies;
        if this.played < *len {
            let n = buf.remaining().min(*len - this.played);
            buf.put_slice(&bytes[this.played..this.played + n]);
            this.played += n;
            return Poll::Ready(Ok(()));
        }
        // tokio-socks does not flush, which under TLS may hold its words back.
        ready!(Pin::new(&mut *this.io).poll_flush(cx))?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut *this.io).poll_read(cx, buf))?;
        if this.rehearsing {
            for byte in &buf.filled()[before..] {
                if let Some(place) = bytes.get_mut(*len) {
                    *place = *byte;
                    *len += 1;
                }
            }
            this.played = *len;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gate<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.played < this.replies.len {
            return Poll::Ready(Ok(buf.len()));
        }
        if this.rehearsing && this.replies.are_complete() {
            this.stopped = true;
            return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
        }
        Pin::new(&mut *this.io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_shutdown(cx)
    }
}
