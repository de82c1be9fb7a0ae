//! HTTP's CONNECT (RFC 9110 section 9.3.6), with or without TLS to the proxy.

use std::{fmt, io, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::direct::Direct;
use crate::{ByteStream, Dialer, Host, ProxyError, Target, zone::LINK_LOCAL};

/// The longest answer header that is read. Squid's own limit is 64 KiB, and what it sends is below 1 KiB.
pub(crate) const MAX_HEADER: usize = 16 * 1024;

/// The most header fields that are read.
const MAX_FIELDS: usize = 100;

/// Dials through an HTTP proxy that allows CONNECT.
///
/// The proxy receives host names and onion addresses unresolved. A dial takes one round trip to the proxy in addition
/// to the connection, and one more for TLS. With TLS the stream is boxed and encrypted twice on its way to the proxy.
#[derive(Clone)]
pub struct HttpConnect {
    pub(crate) address: Target,
    pub(crate) label: Arc<str>,
    pub(crate) base: Arc<dyn Dialer>,
    pub(crate) tls: Option<ProxyTls>,
    /// The whole value of the header field.
    authorization: Option<Arc<str>>,
}

/// The security of the connection to a proxy: TLS 1.3, with a check of the proxy's certificate for the host in its
/// address.
#[derive(Clone)]
pub struct ProxyTls(TlsConnector);

impl fmt::Debug for ProxyTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyTls")
    }
}

impl ProxyTls {
    /// Trusts the certificate authorities of this system, or those in the file that `SSL_CERT_FILE` names.
    ///
    /// # Errors
    ///
    /// There are no certificate authorities, or they cannot be read.
    pub fn system() -> io::Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let first = found.errors.into_iter().next();
            return Err(match first {
                Some(error) => io::Error::other(error),
                None => io::Error::new(io::ErrorKind::NotFound, "no certificate authorities"),
            });
        }
        Ok(Self::with_roots(roots))
    }

    /// Trusts these certificate authorities.
    pub fn with_roots(roots: RootCertStore) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("aws-lc-rs speaks TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self::with_config(Arc::new(config))
    }

    /// Uses `config`, for example to add a client certificate or your own verifier.
    pub fn with_config(config: Arc<ClientConfig>) -> Self {
        Self(config.into())
    }
}

impl HttpConnect {
    /// The proxy at `address`, reached by [`Direct::default`], without TLS.
    pub fn new(address: impl Into<Target>) -> Self {
        let address = address.into();
        Self {
            label: format!("http://{}", address.authority()).into(),
            address,
            base: Arc::new(Direct::default()),
            tls: None,
            authorization: None,
        }
    }

    /// Sends these credentials with the request (Basic, RFC 7617). Without TLS, the credentials are not encrypted on
    /// the way to the proxy.
    pub fn with_basic_auth(mut self, user: &str, password: &str) -> Self {
        let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.authorization = Some(format!("Basic {encoded}").into());
        self
    }

    /// Speaks TLS to the proxy.
    pub fn with_tls(mut self, tls: ProxyTls) -> Self {
        self.tls = Some(tls);
        self.label = format!("https://{}", self.address.authority()).into();
        self
    }

    /// Uses another dialer to reach the proxy.
    pub fn through(mut self, base: impl Dialer + 'static) -> Self {
        self.base = Arc::new(base);
        self
    }

    /// Under TLS, if that is configured.
    pub(crate) async fn secure(&self, stream: ByteStream) -> Result<ByteStream, ProxyError> {
        match &self.tls {
            None => Ok(stream),
            Some(ProxyTls(connector)) => {
                let name = self.server_name().map_err(|error| {
                    ProxyError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error))
                })?;
                let secured = connector.connect(name, stream).await;
                Ok(ByteStream::boxed(secured.map_err(ProxyError::from_tls)?))
            }
        }
    }

    fn server_name(&self) -> Result<ServerName<'static>, InvalidDnsNameError> {
        match self.address.host() {
            Host::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
            _ => ServerName::try_from(self.address.host_name()),
        }
    }

    pub(crate) async fn request(
        &self,
        mut stream: ByteStream,
        target: &Target,
    ) -> Result<ByteStream, ProxyError> {
        if matches!(target.host(), Host::Ip6Zone { .. }) {
            return Err(ProxyError::Unsupported(LINK_LOCAL));
        }
        if !is_sayable(target) {
            return Err(ProxyError::Unsupported("a host name with such characters"));
        }
        let authority = target.authority();
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(value) = &self.authorization {
            request.extend(["Proxy-Authorization: ", value, "\r\n"]);
        }
        request.push_str("\r\n");
        let written = async {
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await
        };
        written.await.map_err(ProxyError::from_io)?;
        let lead = self.answer(&mut stream).await?;
        Ok(stream.with_lead(lead))
    }

    /// Reads the answer. What follows a successful one is already the target's.
    async fn answer(&self, stream: &mut ByteStream) -> Result<Bytes, ProxyError> {
        let mut read = BytesMut::new();
        // Interim answers count against the limit as well.
        let mut left = MAX_HEADER;
        loop {
            let mut chunk = [0; 1024];
            let room = left.min(chunk.len());
            if room == 0 {
                return Err(ProxyError::TooLong { limit: MAX_HEADER });
            }
            let n = stream.read(&mut chunk[..room]).await;
            let chunk = &chunk[..n.map_err(ProxyError::from_io)?];
            if chunk.is_empty() {
                return Err(ProxyError::Closed);
            }
            left -= chunk.len();
            // A header ends with a line, so only a line's end is a reason to look; and the beginning, which tells
            // whether this is HTTP at all.
            let look = read.is_empty() || chunk.contains(&b'\n');
            read.extend_from_slice(chunk);
            while look && let Some((status, length)) = parse(&read)? {
                let rest = read.split_off(length);
                match status {
                    // The final one follows (RFC 9110 section 15.2).
                    100..200 => read = rest,
                    200..300 => return Ok(rest.freeze()),
                    _ => return Err(self.refusal(status)),
                }
            }
        }
    }

    fn refusal(&self, status: u16) -> ProxyError {
        match status {
            // Tinyproxy answers 401 to credentials that are wrong.
            401 | 407 if self.authorization.is_some() => ProxyError::AuthenticationFailed,
            407 => ProxyError::AuthenticationRequired,
            403 => ProxyError::NotAllowed,
            400 | 405 | 501 => ProxyError::Unsupported("a CONNECT to this target"),
            502..=504 => ProxyError::NotConnected(match status {
                502 => "status 502, bad gateway",
                503 => "status 503, service unavailable",
                _ => "status 504, gateway timeout",
            }),
            _ => ProxyError::Status(status),
        }
    }
}

/// Whether the name is one in an authority as well: whatever it holds must neither end the line nor look like another
/// host or port (RFC 3986 section 3.2).
fn is_sayable(target: &Target) -> bool {
    let name = match target.host() {
        Host::Ip(_) => return true,
        _ => target.host_name(),
    };
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b":/?#[]@\\%".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

/// The status and the length of an answer's header, once it is whole.
fn parse(read: &[u8]) -> Result<Option<(u16, usize)>, ProxyError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    match answer.parse(read) {
        Ok(httparse::Status::Complete(length)) => {
            let status = answer.code.ok_or(ProxyError::Malformed("no status"))?;
            Ok(Some((status, length)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(ProxyError::Malformed("too many fields")),
        Err(httparse::Error::Version) => Err(ProxyError::Malformed("not http/1")),
        Err(_) => Err(ProxyError::Malformed("not an http header")),
    }
}

impl fmt::Debug for HttpConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}
