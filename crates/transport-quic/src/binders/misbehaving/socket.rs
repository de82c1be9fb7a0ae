//! One socket with faults.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Shared, flows::Fate, header::Header};
use crate::{connection_ids, keys::EndpointKeys, socket::Socket};

/// The maximum number of datagrams of one socket in flight, and of datagrams that wait until a socket reads them. Further
/// datagrams are lost.
const QUEUE: usize = 4096;

#[derive(Debug)]
pub(super) struct FaultySocket {
    inner: Arc<Socket>,
    shared: Arc<Shared>,
    keys: Option<EndpointKeys>,
    late: mpsc::UnboundedSender<Datagram>,
    /// The number of datagrams in `late` and in the task behind it. At most [`QUEUE`].
    in_flight: Arc<AtomicUsize>,
    inbox: Mutex<Inbox>,
}

/// The datagrams that arrive without the operating system.
#[derive(Debug, Default)]
struct Inbox {
    datagrams: VecDeque<(SocketAddr, Vec<u8>, Option<u8>)>,
    reader: Option<Waker>,
}

impl FaultySocket {
    /// Must be called within a tokio runtime.
    pub(super) fn new(
        inner: Arc<Socket>,
        keys: Option<EndpointKeys>,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        let (late, queue) = mpsc::unbounded_channel();
        let in_flight = Arc::<AtomicUsize>::default();
        let carrier = Carrier {
            socket: Arc::clone(&inner),
            shared: Arc::clone(&shared),
            in_flight: Arc::clone(&in_flight),
        };
        tokio::spawn(carrier.deliver(queue));
        Arc::new(Self {
            inner,
            shared,
            keys,
            late,
            in_flight,
            inbox: Mutex::default(),
        })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.inner.local()
    }

    pub(super) fn is_open(&self) -> bool {
        self.inner.io().is_some()
    }

    /// Wakes the task that receives from the socket.
    pub(super) fn wake(&self) {
        if let Some(reader) = self.inbox().reader.take() {
            reader.wake();
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers a datagram without the operating system.
    fn arrive(&self, from: SocketAddr, contents: Vec<u8>, ecn: Option<u8>) {
        let mut inbox = self.inbox();
        if inbox.datagrams.len() >= QUEUE {
            drop(inbox);
            return self.lose();
        }
        inbox.datagrams.push_back((from, contents, ecn));
        drop(inbox);
        self.wake();
    }

    fn poll_inbox(
        &self,
        cx: &Context<'_>,
        buf: &mut IoSliceMut<'_>,
        meta: &mut RecvMeta,
    ) -> Poll<()> {
        let mut inbox = self.inbox();
        let Some((from, contents, ecn)) = inbox.datagrams.pop_front() else {
            inbox.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let length = contents.len().min(buf.len());
        buf[..length].copy_from_slice(&contents[..length]);
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, length, length);
        meta.ecn = ecn.and_then(EcnCodepoint::from_bits);
        Poll::Ready(())
    }

    fn lose(&self) {
        self.shared.state().lost += 1;
    }

    fn send(&self, transmit: &Transmit<'_>, delay: Duration) -> io::Result<()> {
        let datagram = || Datagram::new(transmit, delay);
        if delay.is_zero() && self.shared.in_memory {
            self.shared.carry(self.local(), datagram());
        } else if delay.is_zero() {
            return self.inner.try_send(transmit);
        } else if self.in_flight.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.lose();
        } else {
            let _ = self.late.send(datagram());
        }
        Ok(())
    }

    /// Answers a datagram of a cut connection with a stateless reset (RFC 9000 section 10.3), as a restarted peer would.
    fn reset(&self, transmit: &Transmit<'_>) {
        let Some(Header::Short { destination }) = Header::of(transmit.contents) else {
            return;
        };
        let peer = self.shared.socket_at(transmit.destination);
        let token = peer.as_ref().and_then(|peer| {
            let id = destination.get(..connection_ids::LENGTH)?;
            peer.keys.as_ref()?.reset_token(id)
        });
        if let Some(token) = token {
            let mut packet = vec![0; 24];
            packet[0] = 0x40;
            packet.extend(token);
            self.arrive(transmit.destination, packet, None);
        }
    }
}

impl AsyncUdpSocket for FaultySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let fate = {
            let state = &mut *self.shared.state();
            let path = (self.local(), transmit.destination);
            let (now, faults) = (Instant::now(), &state.faults);
            let mut fate = state
                .flows
                .handle_sent(now, path, transmit.contents, faults);
            if state.stalled {
                fate = Fate::Lost;
            }
            state.lost += u64::from(!matches!(fate, Fate::Arrives(..)));
            fate
        };
        match fate {
            Fate::Lost => Ok(()),
            Fate::Cut => {
                self.reset(transmit);
                Ok(())
            }
            Fate::Arrives(delay, copy) => {
                self.send(transmit, delay)?;
                copy.map_or(Ok(()), |delay| self.send(transmit, delay))
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let arrived = self.poll_inbox(cx, &mut bufs[0], &mut meta[0]);
            if let Some(kind) = self.shared.state().broken {
                return Poll::Ready(Err(self.inner.fail(kind.into())));
            }
            let count = match arrived {
                Poll::Ready(()) => 1,
                Poll::Pending if self.shared.in_memory => return Poll::Pending,
                Poll::Pending => ready!(self.inner.poll_recv(cx, bufs, meta))?,
            };
            let state = &mut *self.shared.state();
            if state.stalled {
                state.lost += count as u64;
                continue;
            }
            for (buf, meta) in bufs.iter().zip(&meta[..count]) {
                let path = (meta.addr, self.local());
                let first = meta.stride.min(meta.len);
                state
                    .flows
                    .handle_received(path, &buf[..first], &state.faults);
            }
            return Poll::Ready(Ok(count));
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        !self.shared.in_memory && self.inner.may_fragment()
    }
}

impl Shared {
    /// Delivers a datagram of a network in memory.
    fn carry(&self, from: SocketAddr, datagram: Datagram) {
        if let Some(socket) = self.socket_at(datagram.destination) {
            socket.arrive(from, datagram.contents, datagram.ecn);
        }
    }
}

/// A datagram in flight. The order is by due time, and then by the number that [`Carrier::deliver`] assigned, so that datagrams
/// with the same due time stay in order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    number: u64,
    destination: SocketAddr,
    ecn: Option<u8>,
    source: Option<std::net::IpAddr>,
    contents: Vec<u8>,
}

impl Datagram {
    fn new(transmit: &Transmit<'_>, delay: Duration) -> Self {
        Self {
            due: Instant::now() + delay,
            number: 0,
            destination: transmit.destination,
            ecn: transmit.ecn.map(|ecn| ecn as u8),
            source: transmit.src_ip,
            contents: transmit.contents.to_vec(),
        }
    }

    fn transmit(&self) -> Transmit<'_> {
        Transmit {
            destination: self.destination,
            ecn: self.ecn.and_then(EcnCodepoint::from_bits),
            contents: &self.contents,
            segment_size: None,
            src_ip: self.source,
        }
    }
}

/// Carries the delayed datagrams of one socket.
struct Carrier {
    socket: Arc<Socket>,
    shared: Arc<Shared>,
    in_flight: Arc<AtomicUsize>,
}

impl Carrier {
    /// Sends each datagram when it is due. A network in memory still delivers the queued datagrams after the socket has been
    /// dropped. A datagram is lost if the system's socket has no room for it.
    async fn deliver(self, mut queue: mpsc::UnboundedReceiver<Datagram>) {
        let mut under_way = BinaryHeap::new();
        let (mut number, mut open) = (0, true);
        while open || (self.shared.in_memory && !under_way.is_empty()) {
            let next = under_way
                .peek()
                .map(|Reverse(datagram): &Reverse<Datagram>| datagram.due);
            let due = async {
                match next {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // This branch comes first, because a datagram that was queued later may be due earlier.
                biased;
                queued = queue.recv(), if open => match queued {
                    Some(mut datagram) => {
                        number += 1;
                        datagram.number = number;
                        under_way.push(Reverse(datagram));
                    }
                    None => open = false,
                },
                () = due => if let Some(Reverse(datagram)) = under_way.pop() {
                    self.in_flight.fetch_sub(1, Ordering::Relaxed);
                    self.send(datagram);
                },
            }
        }
    }

    fn send(&self, datagram: Datagram) {
        if self.shared.in_memory {
            self.shared.carry(self.socket.local(), datagram);
        } else {
            let _ = self.socket.try_send(&datagram.transmit());
        }
    }
}
