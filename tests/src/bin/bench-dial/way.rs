//! The ways that are compared.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_socks::tcp::Socks5Stream;
use transport_tcp::{
    ByteStream, DialContext, Dialer, Direct, DirectConfig, Socks5, Target, Warm, WarmConfig,
};

/// How long a dial, and the end of what came of it, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is written on the command line and in the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// A tokio socket, as it comes.
    Tcp,
    /// A tokio socket with the options that `Direct` sets.
    TcpOptions,
    Direct,
    TokioSocks,
    Socks5,
    Warm,
}

/// A way to the target.
pub(crate) enum Way {
    Tcp(SocketAddr),
    TcpOptions(SocketAddr, DirectConfig),
    TokioSocks(SocketAddr, SocketAddr),
    Dialer(Box<dyn Dialer>, Target),
}

/// What came of a dial.
pub(crate) enum Stream {
    Bare(TcpStream),
    Ours(ByteStream),
}

impl Way {
    pub(crate) fn new(
        name: Name,
        target: SocketAddr,
        proxy: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let proxy = || proxy.context("a proxy's address is missing");
        let dialer = |dialer: Box<dyn Dialer>| Self::Dialer(dialer, Target::from(target));
        Ok(match name {
            Name::Tcp => Self::Tcp(target),
            Name::TcpOptions => Self::TcpOptions(target, DirectConfig::default()),
            Name::Direct => dialer(Box::<Direct>::default()),
            Name::TokioSocks => Self::TokioSocks(proxy()?, target),
            Name::Socks5 => dialer(Box::new(Socks5::new(proxy()?))),
            Name::Warm => {
                let config = WarmConfig::default();
                dialer(Box::new(Warm::new(Socks5::new(proxy()?), config)))
            }
        })
    }

    pub(crate) async fn dial(&self) -> anyhow::Result<Stream> {
        Ok(match self {
            Self::Tcp(target) => Stream::Bare(TcpStream::connect(target).await?),
            Self::TcpOptions(target, config) => Stream::Bare(connect(*target, config).await?),
            Self::TokioSocks(proxy, target) => {
                Stream::Bare(Socks5Stream::connect(*proxy, *target).await?.into_inner())
            }
            Self::Dialer(dialer, target) => {
                let context = DialContext::new(Instant::now() + PATIENCE);
                Stream::Ours(dialer.dial(target, &context).await?)
            }
        })
    }
}

impl Stream {
    /// Waits until the target has closed it: only then is all the work done that this dial has caused.
    pub(crate) async fn settle(mut self) -> anyhow::Result<()> {
        let mut byte = [0];
        let end = async {
            match &mut self {
                Self::Bare(stream) => stream.read(&mut byte).await,
                Self::Ours(stream) => stream.read(&mut byte).await,
            }
        };
        let read = timeout(PATIENCE, end)
            .await
            .context("the target does not close")??;
        ensure!(read == 0, "the target has nothing to say and says it");
        self.abort()
    }

    /// Closes it without TIME_WAIT, which would keep its port from the dials to come.
    pub(crate) fn abort(self) -> anyhow::Result<()> {
        let socket = match &self {
            Self::Bare(stream) => stream,
            Self::Ours(stream) => stream.as_tcp().context("a stream that is no socket")?,
        };
        Ok(socket.set_zero_linger()?)
    }
}

async fn connect(target: SocketAddr, config: &DirectConfig) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(config.nodelay)?;
    if let Some(keepalive) = config.keepalive {
        let params = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.retries);
        SockRef::from(&socket).set_tcp_keepalive(&params)?;
    }
    Ok(socket.connect(target).await?)
}
