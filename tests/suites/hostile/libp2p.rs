//! As much of libp2p as an attacker needs, below Bowline's own layers: it can send what they would not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use anyhow::{Context, Result, bail, ensure};
use node::Keypair;
use node::transport_tcp::{Connection, UpgradeConfig, Upgrader};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::siege::{Aim, Counts};

pub(crate) const PING: &str = "/ipfs/ping/1.0.0";
pub(crate) const IDENTIFY: &str = "/ipfs/id/1.0.0";
pub(crate) const PUSH: &str = "/ipfs/id/push/1.0.0";

const MULTISTREAM: &str = "/multistream/1.0.0";

/// yamux frame types and flags.
pub(crate) const DATA: u8 = 0;
pub(crate) const SYN: u16 = 1;

/// Connects from one of this machine's loopback addresses.
pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// A connection with an identity of its own.
pub(crate) async fn authenticate(from: Ipv4Addr, aim: &Aim) -> Result<Connection> {
    let stream = connect(from, aim.tcp).await?;
    let stream = Counted::new(stream, aim.counts.clone());
    let upgrader = Upgrader::new(&Keypair::generate_ed25519(), UpgradeConfig::default())?;
    Ok(upgrader
        .outbound(stream, Some(aim.peer), &mut |_| {})
        .await?)
}

/// A socket that counts what is sent over it.
pub(crate) struct Counted {
    socket: TcpStream,
    counts: Arc<Counts>,
}

impl Counted {
    pub(crate) fn new(socket: TcpStream, counts: Arc<Counts>) -> Self {
        Self { socket, counts }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        Counts::add(&self.counts.sent, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// TLS below yamux: what is written here are the frames. Reads as little as possible, so that the node's writer blocks.
pub(crate) async fn raw_muxer(from: Ipv4Addr, aim: &Aim) -> Result<TlsStream<Counted>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind((from, 0).into())?;
    let socket = socket.connect(aim.tcp).await?;
    let mut stream = Counted::new(socket, aim.counts.clone());
    ensure!(
        propose(&mut stream, "/tls/1.0.0").await?,
        "the node has no TLS"
    );
    let mut config = libp2p_tls::make_client_config(&Keypair::generate_ed25519(), None)?;
    config.alpn_protocols = vec![b"/yamux/1.0.0".to_vec(), b"libp2p".to_vec()];
    let name = ServerName::try_from("node")?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    Ok(stream)
}

/// A yamux frame (yamux spec, section "Framing").
pub(crate) fn frame(kind: u8, flags: u16, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, kind];
    frame.extend(flags.to_be_bytes());
    frame.extend(stream.to_be_bytes());
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

/// A multistream message: its length, the text and a line feed.
pub(crate) fn message(text: &str) -> Vec<u8> {
    let mut message = Vec::new();
    length(&mut message, text.len() + 1);
    message.extend(text.as_bytes());
    message.push(b'\n');
    message
}

/// The header and one proposal.
pub(crate) fn proposal(protocol: &str) -> Vec<u8> {
    [message(MULTISTREAM), message(protocol)].concat()
}

/// Proposes a protocol. Gives whether the other end accepts it.
pub(crate) async fn propose(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    protocol: &str,
) -> Result<bool> {
    stream.write_all(&proposal(protocol)).await?;
    stream.flush().await?;
    ensure!(
        read_message(stream).await? == MULTISTREAM,
        "this is no multistream"
    );
    Ok(read_message(stream).await? == protocol)
}

/// Agrees on the first protocol of the other end that is in `known`.
pub(crate) async fn respond(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    known: &[&'static str],
) -> Result<&'static str> {
    ensure!(
        read_message(stream).await? == MULTISTREAM,
        "this is no multistream"
    );
    stream.write_all(&message(MULTISTREAM)).await?;
    for _ in 0..8 {
        let proposed = read_message(stream).await?;
        let found = known.iter().find(|name| **name == proposed);
        stream
            .write_all(&message(found.copied().unwrap_or("na")))
            .await?;
        stream.flush().await?;
        if let Some(found) = found {
            return Ok(found);
        }
    }
    bail!("nothing in common")
}

async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Result<String> {
    let body = read_frame(stream).await?;
    let text = body.strip_suffix(b"\n").context("no line feed")?;
    Ok(String::from_utf8(text.to_vec())?)
}

/// Reads bytes after their length.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut length = 0;
    for shift in [0, 7, 14] {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            return Ok(body);
        }
    }
    bail!("the length is too long")
}

/// A protobuf field of bytes.
pub(crate) fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    length(message, bytes.len());
    message.extend(bytes);
}

/// Bytes after their length.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    length(&mut framed, body.len());
    framed.extend(body);
    framed
}

fn length(out: &mut Vec<u8>, mut n: usize) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Answers pings until the stream ends.
pub(crate) async fn answer_pings(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let mut ping = [0; 32];
    loop {
        stream.read_exact(&mut ping).await?;
        stream.write_all(&ping).await?;
        stream.flush().await?;
    }
}
