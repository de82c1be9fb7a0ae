//! A long way to a server, made in user space: what goes over it arrives later, complete and in order.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// What is read at a time.
const CHUNK: usize = 64 * 1024;

/// How much may be under way at a time, in chunks: at 10 ms, 64 MiB are more than loopback carries.
const UNDER_WAY: usize = 1024;

/// Accepts on loopback and forwards each connection to one server, every byte later by the same delay, in both
/// directions. The end of a direction and a reset take as long as a byte.
///
/// There is no limit of bandwidth but the machine's, no loss, and no reordering. tokio's timers are of whole
/// milliseconds, so the delay may be up to 1 ms longer. The TCP handshake is not delayed, because the system completes
/// it by itself: to connect takes no time here, which on a real way of this length it would.
#[derive(Debug)]
pub struct Forwarder {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Forwarder {
    /// Forwards to `server` with this delay in each direction. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If there is no free port on loopback.
    pub async fn start(server: SocketAddr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            address: listener.local_addr()?,
            accepting: tokio::spawn(accept(listener, server, delay)),
        })
    }

    /// Where to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forwarder {
    /// No further connections. Those there are go on until they end.
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, delay: Duration) {
    loop {
        // Accepting fails for want of file descriptors, or because a client has gone. Both pass.
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(forward(client, server, delay))),
            Err(_) => sleep(delay).await,
        }
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, delay: Duration) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::try_join!(
            carry(from_client, to_server, delay),
            carry(from_server, to_client, delay),
        )
    };
    if ended.is_err() {
        // What one end has reset is reset at the other.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Copies until the end of `from`, everything later by `delay`.
async fn carry(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    delay: Duration,
) -> io::Result<()> {
    let (send, receive) = mpsc::channel(UNDER_WAY);
    let ((), delivered) = tokio::join!(collect(from, send, delay), deliver(receive, to));
    delivered
}

/// When something arrives, and what it is: no bytes are the end.
type Arrival = (Instant, io::Result<Vec<u8>>);

async fn collect(mut from: impl AsyncRead + Unpin, send: Sender<Arrival>, delay: Duration) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            // Nothing more can be delivered: there is nobody to read for.
            () = send.closed() => return,
        };
        let chunk = read.map(|n| buffer[..n].to_vec());
        let is_last = chunk.as_ref().map_or(true, Vec::is_empty);
        let sent = send.send((Instant::now() + delay, chunk)).await;
        if is_last || sent.is_err() {
            return;
        }
    }
}

async fn deliver(
    mut receive: Receiver<Arrival>,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some((at, chunk)) = receive.recv().await {
        sleep_until(at).await;
        let chunk = chunk?;
        if chunk.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(&chunk).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "forwarder_tests.rs"]
mod tests;
