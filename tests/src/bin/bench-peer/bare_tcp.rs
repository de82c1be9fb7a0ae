//! Plain tokio sockets, with or without TLS, and nothing above them.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, bail};
use rustls::{
    ClientConfig, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{PrivatePkcs8KeyDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use tests::any_certificate::AnyCertificate;

use crate::measure;

/// The first byte of a connection says what it is for.
const BULK: u8 = b'b';
const PING: u8 = b'p';

pub(crate) async fn serve(tls: bool) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    measure::ready(&[listener.local_addr()?.to_string()]);
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&[])?));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if tls {
                answer(acceptor.accept(stream).await?).await
            } else {
                answer(stream).await
            }
        });
    }
}

/// Serves one stream by its first byte.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> anyhow::Result<()> {
    match stream.read_u8().await? {
        BULK => measure::sink(stream).await,
        PING => measure::echo(stream).await,
        other => bail!("unknown job {other}"),
    }
}

pub(crate) async fn bulk(tls: bool, address: &str, bytes: u64, write: usize) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if tls {
        pump(connector()?.connect(name()?, stream).await?, bytes, write).await
    } else {
        pump(stream, bytes, write).await
    }
}

/// [`measure::pump`] on a stream that says first what it is for.
pub(crate) async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    bytes: u64,
    write: usize,
) -> anyhow::Result<()> {
    stream.write_u8(BULK).await?;
    measure::pump(stream, bytes, write).await
}

/// [`measure::ping`] on a stream that says first what it is for.
pub(crate) async fn ping<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> anyhow::Result<S> {
    stream.write_u8(PING).await?;
    measure::ping(&mut stream).await?;
    Ok(stream)
}

pub(crate) async fn connects(tls: bool, address: &str, count: usize) -> anyhow::Result<()> {
    let connector = connector()?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if tls {
            let stream = connector.connect(name()?, stream).await?;
            let mut stream = ping(stream).await?;
            times.push(start.elapsed());
            stream.shutdown().await?;
        } else {
            let mut stream = ping(stream).await?;
            times.push(start.elapsed());
            stream.shutdown().await?;
        }
    }
    measure::connects(times);
    Ok(())
}

fn name() -> anyhow::Result<ServerName<'static>> {
    Ok(ServerName::try_from("localhost")?)
}

fn connector() -> anyhow::Result<TlsConnector> {
    Ok(TlsConnector::from(Arc::new(client_config(&[])?)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A server with a certificate of its own making.
pub(crate) fn server_config(alpn: &[&[u8]]) -> anyhow::Result<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.key_pair.serialize_der());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .context("the certificate does not fit")?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// A client that takes any certificate: what is measured is the work, not the trust.
pub(crate) fn client_config(alpn: &[&[u8]]) -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider())))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}
