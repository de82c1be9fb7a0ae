//! What the suites share: honest ends, and the pieces a hostile one is made of.
#![allow(dead_code, unreachable_pub)]

pub mod hole;
pub mod names;
pub mod proxy;
pub mod scripted;
pub mod tls;

use std::{io, sync::Arc, time::Duration};

use libp2p_tls::certificate;
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client::TlsStream};
use transport_tcp::{Connection, Keypair, PeerId, Security, UpgradeConfig, UpgradeError, Upgrader};

/// A peer's identity and its upgrader.
pub struct Node {
    pub identity: Keypair,
    pub upgrader: Upgrader,
}

impl Node {
    pub fn new(config: UpgradeConfig) -> Self {
        let identity = Keypair::generate_ed25519();
        let upgrader = Upgrader::new(&identity, config).unwrap();
        Self { identity, upgrader }
    }

    pub fn over(security: Security) -> Self {
        Self::new(UpgradeConfig::default().with_security([security]))
    }

    pub fn id(&self) -> PeerId {
        self.identity.public().to_peer_id()
    }

    pub async fn inbound<S>(&self, io: S) -> Result<Connection, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.upgrader.inbound(io, &mut |_| ()).await
    }

    pub async fn outbound<S>(
        &self,
        io: S,
        expected: Option<PeerId>,
    ) -> Result<Connection, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.upgrader.outbound(io, expected, &mut |_| ()).await
    }
}

/// An error and its sources, as a log shows them.
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}

/// Two honest ends, connected: the dialer's and the listener's.
pub async fn connected(config: impl Fn() -> UpgradeConfig) -> (Connection, Connection) {
    let (dialer, listener) = (Node::new(config()), Node::new(config()));
    let (near, far) = pipe();
    let (dialed, accepted) = tokio::join!(
        dialer.outbound(near, Some(listener.id())),
        listener.inbound(far),
    );
    (dialed.unwrap(), accepted.unwrap())
}

pub fn pipe() -> (DuplexStream, DuplexStream) {
    duplex(64 * 1024)
}

/// A multistream-select message: length, text, newline.
pub fn line(text: &str) -> Vec<u8> {
    let mut message = Vec::new();
    let mut length = text.len() + 1;
    while length > 127 {
        message.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(text.as_bytes());
    message.push(b'\n');
    message
}

pub const MULTISTREAM: &str = "/multistream/1.0.0";

/// Says `lines`, and reads as many bytes back, which an honest listener echoes.
pub async fn propose<S>(io: &mut S, protocol: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let said = [line(MULTISTREAM), line(protocol)].concat();
    io.write_all(&said).await.unwrap();
    let mut echo = vec![0; said.len()];
    io.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo, said, "the listener did not agree");
}

/// Reads a dialer's proposal and agrees to it.
pub async fn agree<S>(io: &mut S, protocol: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let expected = [line(MULTISTREAM), line(protocol)].concat();
    let mut said = vec![0; expected.len()];
    io.read_exact(&mut said).await.unwrap();
    assert_eq!(said, expected, "the dialer proposed something else");
    io.write_all(&expected).await.unwrap();
}

/// A certificate as an honest peer makes it.
pub fn certificate_of(identity: &Keypair) -> Presented {
    let (certificate, key) = certificate::generate(identity).unwrap();
    Presented::new(vec![certificate], key)
}

/// What a TLS peer of ours presents.
pub struct Presented(Arc<SingleCertAndKey>);

impl Presented {
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        let key = provider().key_provider.load_private_key(key).unwrap();
        let key = CertifiedKey::new(chain, key);
        Self(Arc::new(SingleCertAndKey::from(key)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A TLS client of libp2p's, but for what it presents and what it says in ALPN.
pub fn client_config(presented: Option<Presented>, alpn: &[&str]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match presented {
        Some(presented) => builder.with_client_cert_resolver(presented.0),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.enable_sni = false;
    config
}

/// A TLS server that asks nobody for a certificate.
pub fn server_config(presented: Presented, alpn: &[&str]) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(presented.0);
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

pub async fn tls_connect<S>(config: ClientConfig, io: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from("nobody.invalid").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, io).await
}

/// A peer that got through TLS honestly and now speaks yamux by hand, and its victim's connection.
/// Between them is a pipe that holds `room` bytes each way.
pub async fn raw_muxer(victim: &Node, room: usize) -> (TlsStream<DuplexStream>, Connection) {
    let (mut near, far) = duplex(room);
    let attack = async {
        propose(&mut near, "/tls/1.0.0").await;
        let presented = certificate_of(&Keypair::generate_ed25519());
        let config = client_config(Some(presented), &["/yamux/1.0.0", "libp2p"]);
        tls_connect(config, near).await.unwrap()
    };
    let (attacker, connection) = tokio::join!(attack, victim.inbound(far));
    (attacker, connection.unwrap())
}

/// Believes any certificate.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// The longest a test waits for what must happen by itself.
pub const PATIENCE: Duration = Duration::from_secs(20);
