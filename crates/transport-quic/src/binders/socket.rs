//! A tokio UDP socket for quinn, with segmentation offload where the system has it.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::{io::Interest, net::UdpSocket};

use super::burst::Burst;

/// Receive errors in a row after which the socket counts as broken.
const ERRORS_IN_A_ROW: u32 = 16;

/// quinn's own socket type keeps its file descriptor to itself; a rebind needs it.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) io: UdpSocket,
    state: UdpSocketState,
    /// The last send found no room, so the next sender must wait for the system's word.
    full: AtomicBool,
    made: Instant,
    burst: Burst,
}

impl Socket {
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(Self {
            state: UdpSocketState::new((&socket).into())?,
            io: UdpSocket::from_std(socket)?,
            full: AtomicBool::new(false),
            made: Instant::now(),
            burst: Burst::default(),
        })
    }

    /// Milliseconds since the socket was made.
    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.io.try_io(Interest::WRITABLE, || {
            self.state.send((&self.io).into(), transmit)
        });
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Release);
        } else {
            let segment = transmit.segment_size.unwrap_or(usize::MAX).max(1);
            let datagrams = transmit.contents.len().div_ceil(segment);
            self.burst.handle_sent(self.now(), datagrams as u64);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut failed = 0;
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let received = self.io.try_io(Interest::READABLE, || {
                self.state.recv((&self.io).into(), bufs, meta)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // What ICMP reports about one peer must not end an endpoint with many.
                Err(error) if failed < ERRORS_IN_A_ROW => {
                    failed += 1;
                    tracing::debug!(%error, "cannot receive");
                }
                received => return Poll::Ready(received),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        if self.burst.is_on(self.now()) {
            self.state.max_gso_segments()
        } else {
            1
        }
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits for room in the send buffer, for one connection.
struct Poller {
    socket: Arc<Socket>,
    waiting: Option<Writable>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_none() {
            // quinn asks before each send. While sends succeed there is nothing to wait for.
            if !self.socket.full.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            let socket = self.socket.clone();
            self.waiting = Some(Box::pin(async move { socket.io.writable().await }));
        }
        let Some(waiting) = &mut self.waiting else {
            return Poll::Ready(Ok(()));
        };
        let result = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        self.socket.full.store(false, Ordering::Release);
        Poll::Ready(result)
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}
