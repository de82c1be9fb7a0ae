//! A tokio UDP socket for quinn. It can be closed while it is in use, and uses segmentation offload if the system
//! supports it.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::{io::Interest, net::UdpSocket};

use crate::{burst::Burst, refusals::Refusals, unproved::Unproved};

/// Receive errors in a row after which the socket counts as broken.
const ERRORS_IN_A_ROW: u32 = 16;

/// A UDP socket that can be rebound and closed.
///
/// quinn's own socket type hides its file descriptor, and a quinn connection holds its socket for
/// as long as a handle of the connection exists.
pub(crate) struct Socket {
    /// None once it is closed. Then nothing arrives, and what is sent vanishes.
    io: RwLock<Option<Arc<UdpSocket>>>,
    local: SocketAddr,
    /// Whether this is an IPv6 socket that takes IPv4, too.
    dual_stack: bool,
    state: UdpSocketState,
    /// The last send found no room, so the next sender must wait for the system's word.
    full: AtomicBool,
    /// Connections that wait for room. They are kept here, not with the connection, so that
    /// closing the socket ends them.
    waiting: Mutex<BTreeMap<u64, Writable>>,
    pollers: AtomicU64,
    /// The error that ended it.
    broken: OnceLock<Arc<io::Error>>,
    made: Instant,
    burst: Burst,
    /// The dials that fail if the system refuses to send to their address.
    pub(crate) refusals: Refusals,
    /// Shared by the sockets of one endpoint.
    unproved: Arc<Unproved>,
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

impl Socket {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket, unproved: Arc<Unproved>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let dual_stack = local.is_ipv6() && !socket2::SockRef::from(&socket).only_v6()?;
        Ok(Self {
            state: UdpSocketState::new((&socket).into())?,
            io: RwLock::new(Some(Arc::new(UdpSocket::from_std(socket)?))),
            local,
            dual_stack,
            full: AtomicBool::new(false),
            waiting: Mutex::default(),
            pollers: AtomicU64::new(0),
            broken: OnceLock::new(),
            made: Instant::now(),
            burst: Burst::default(),
            refusals: Refusals::default(),
            unproved,
        })
    }

    /// This socket with another address, for a network in memory.
    pub(crate) fn with_local(mut self, local: SocketAddr) -> Self {
        self.local = local;
        self
    }

    /// The system's socket, unless it is closed.
    pub(crate) fn io(&self) -> Option<Arc<UdpSocket>> {
        self.read().clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Arc<UdpSocket>>> {
        self.io.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Writable>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the port back, even if this object is still held.
    pub(crate) fn release(&self) {
        let io = self
            .io
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.waiting().clear();
        drop(io);
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn is_dual_stack(&self) -> bool {
        self.dual_stack
    }

    /// The error that ended it, if one did.
    pub(crate) fn broken(&self) -> Option<Arc<io::Error>> {
        self.broken.get().cloned()
    }

    /// Records the error that ends it, and returns one for quinn, which logs it.
    pub(crate) fn fail(&self, error: io::Error) -> io::Error {
        let for_quinn = io::Error::new(error.kind(), error.to_string());
        self.broken.get_or_init(|| Arc::new(error));
        for_quinn
    }

    /// Milliseconds since the socket was made.
    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("local", &self.local)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller {
            id: self.pollers.fetch_add(1, Ordering::Relaxed),
            waits: false,
            socket: self,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let guard = self.read();
        let Some(io) = guard.as_deref() else {
            return Ok(());
        };
        let (to, contents) = (transmit.destination, transmit.contents);
        let segment = transmit.segment_size.unwrap_or(usize::MAX).max(1);
        if !self
            .unproved
            .handle_send(self.made.elapsed(), to, contents, segment)
        {
            tracing::debug!(%to, bytes = contents.len(), "not sent: nobody has proved this address");
            return Ok(());
        }
        let send = || self.state.try_send(io.into(), transmit);
        match io.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.full.store(true, Ordering::Release);
                return Err(error);
            }
            // This packet is lost. An error of one destination must not end an endpoint that has others.
            Err(error) => {
                tracing::debug!(%to, %error, "cannot send");
                self.refusals.handle_error(to, &error);
            }
            Ok(()) => {}
        }
        let datagrams = contents.len().div_ceil(segment);
        self.burst.handle_sent(self.now(), datagrams as u64);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let guard = self.read();
        let Some(io) = guard.as_deref() else {
            return Poll::Pending;
        };
        let mut failed = 0;
        loop {
            ready!(io.poll_recv_ready(cx)).map_err(|error| self.fail(error))?;
            let received = io.try_io(Interest::READABLE, || {
                self.state.recv(io.into(), bufs, meta)
            });
            match received {
                Ok(count) => {
                    for meta in meta.iter().take(count) {
                        self.unproved.handle_received(meta.addr, meta.len);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // What ICMP reports about one peer must not end an endpoint with many.
                Err(error) if failed < ERRORS_IN_A_ROW => {
                    failed += 1;
                    tracing::debug!(%error, "cannot receive");
                }
                // quinn ignores this kind and receives on.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Err(error));
                }
                Err(error) => return Poll::Ready(Err(self.fail(error))),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
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

/// Waits for room in the send buffer, for one connection.
struct Poller {
    socket: Arc<Socket>,
    id: u64,
    waits: bool,
}

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, id, waits } = self.get_mut();
        // quinn asks before each send. While sends succeed there is nothing to wait for.
        if !*waits && !socket.full.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut waiting = socket.waiting();
        // Looked at under the lock, so that `release` finds every waiter that holds it.
        let Some(io) = socket.io() else {
            return Poll::Ready(Ok(()));
        };
        *waits = true;
        let room = waiting
            .entry(*id)
            .or_insert_with(|| Box::pin(async move { io.writable().await }));
        let result = ready!(room.as_mut().poll(cx));
        waiting.remove(id);
        *waits = false;
        socket.full.store(false, Ordering::Release);
        Poll::Ready(result)
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        if self.waits {
            self.socket.waiting().remove(&self.id);
        }
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}
