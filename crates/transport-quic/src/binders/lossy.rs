//! A bad network, repeatable and changed at run time: for tests.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
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

use crate::{UdpBinder, socket::Socket};

/// Datagrams that may be in flight at a time; more are dropped, as a router's queue would.
const QUEUE: usize = 4096;

/// What happens to datagrams on their way out. Probabilities are from 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// The share that is lost.
    pub loss: f64,
    /// The share that arrives twice.
    pub duplicate: f64,
    /// The share that is not delayed and so overtakes others.
    pub reorder: f64,
    /// The time that each takes.
    pub delay: Duration,
    /// The most time that is added to `delay`, evenly distributed.
    pub jitter: Duration,
}

/// Wraps another binder and loses, repeats or delays what its sockets send.
///
/// The fate of the n-th datagram depends on the seed and n alone. Each datagram is sent
/// separately: segmentation offload is off.
#[derive(Debug)]
pub struct Lossy {
    binder: Arc<dyn UdpBinder>,
    weather: Weather,
}

impl Lossy {
    /// Wraps `binder`; `seed` decides which datagrams are affected.
    #[must_use]
    pub fn new(binder: Arc<dyn UdpBinder>, seed: u64, rates: Rates) -> Self {
        let weather = Weather {
            shared: Arc::new(Shared {
                dice: Mutex::new(Dice { state: seed, rates }),
                blackhole: AtomicBool::new(false),
                lost: AtomicU64::new(0),
                broken: OnceLock::new(),
                receivers: Mutex::default(),
            }),
        };
        Self { binder, weather }
    }

    /// The handle that changes the rates at run time.
    #[must_use]
    pub fn weather(&self) -> Weather {
        self.weather.clone()
    }
}

/// Changes what a [`Lossy`] binder's sockets do at run time. Clones are handles of one weather.
#[derive(Debug, Clone)]
pub struct Weather {
    shared: Arc<Shared>,
}

impl Weather {
    /// Applies these rates from now on.
    pub fn set(&self, rates: Rates) {
        self.shared.dice().rates = rates;
    }

    /// While on, nothing leaves and nothing arrives.
    pub fn blackhole(&self, on: bool) {
        self.shared.blackhole.store(on, Ordering::Release);
    }

    /// Breaks the sockets: receiving fails with an error of this kind from now on.
    pub fn break_socket(&self, error: io::ErrorKind) {
        self.shared.broken.get_or_init(|| error);
        for receiver in self.shared.receivers().drain(..) {
            receiver.wake();
        }
    }

    /// Datagrams lost so far, those in a black hole included.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Exposes `socket` to this weather.
    pub(crate) fn over(self, socket: Arc<Socket>) -> Arc<dyn AsyncUdpSocket> {
        let (late, queue) = mpsc::channel(QUEUE);
        tokio::spawn(deliver(Arc::clone(&socket), queue));
        Arc::new(LossySocket {
            inner: socket,
            shared: self.shared,
            late,
        })
    }
}

#[derive(Debug)]
struct Shared {
    dice: Mutex<Dice>,
    blackhole: AtomicBool,
    lost: AtomicU64,
    broken: OnceLock<io::ErrorKind>,
    /// Tasks that receive, to be woken when the socket breaks.
    receivers: Mutex<Vec<Waker>>,
}

impl Shared {
    fn receivers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.receivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_on_break(&self, cx: &Context<'_>) {
        let mut receivers = self.receivers();
        if !receivers.iter().any(|known| known.will_wake(cx.waker())) {
            receivers.push(cx.waker().clone());
        }
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blackholed(&self) -> bool {
        self.blackhole.load(Ordering::Acquire)
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// A seeded generator (SplitMix64) and what it decides about.
#[derive(Debug)]
struct Dice {
    state: u64,
    rates: Rates,
}

impl Dice {
    /// Evenly distributed in 0.0..1.0.
    fn roll(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = (z ^ (z >> 31)) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }

    /// The delays of a datagram's copies; none if it is lost. Rolls equally often for
    /// every outcome, so that changing one rate leaves the others' outcomes alone.
    fn fate(&mut self) -> impl Iterator<Item = Duration> + use<> {
        let [loss, duplicate, reorder, first, second] = std::array::from_fn(|_| self.roll());
        let rates = self.rates;
        let delay = move |share: f64| {
            if reorder < rates.reorder {
                Duration::ZERO
            } else {
                rates.delay + rates.jitter.mul_f64(share)
            }
        };
        let copies = match (loss < rates.loss, duplicate < rates.duplicate) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        [first, second].into_iter().take(copies).map(delay)
    }
}

impl UdpBinder for Lossy {
    fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.binder.bind(address)
    }

    fn rebind(
        &self,
        address: SocketAddr,
        former: &[Arc<tokio::net::UdpSocket>],
    ) -> io::Result<UdpSocket> {
        self.binder.rebind(address, former)
    }

    fn weather(&self) -> Option<Weather> {
        Some(self.weather())
    }
}

#[derive(Debug)]
struct LossySocket {
    inner: Arc<Socket>,
    shared: Arc<Shared>,
    late: mpsc::Sender<Datagram>,
}

impl AsyncUdpSocket for LossySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.shared.blackholed() {
            self.shared.lose();
            return Ok(());
        }
        let mut sent = false;
        let fate = self.shared.dice().fate();
        for delay in fate {
            sent = true;
            if delay.is_zero() {
                self.inner.try_send(transmit)?;
            } else if self.late.try_send(Datagram::new(transmit, delay)).is_err() {
                self.shared.lose();
            }
        }
        if !sent {
            self.shared.lose();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            self.shared.wake_on_break(cx);
            if let Some(kind) = self.shared.broken.get() {
                return Poll::Ready(Err(self.inner.fail((*kind).into())));
            }
            let received = ready!(self.inner.poll_recv(cx, bufs, meta));
            if !self.shared.blackholed() {
                return Poll::Ready(received);
            }
            self.shared.lose();
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
        self.inner.may_fragment()
    }
}

/// A datagram in flight. Ordered by the time it is due.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    destination: SocketAddr,
    ecn: Option<u8>,
    source: Option<std::net::IpAddr>,
    contents: Vec<u8>,
}

impl Datagram {
    fn new(transmit: &Transmit<'_>, delay: Duration) -> Self {
        Self {
            due: Instant::now() + delay,
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

/// Sends each datagram when it is due; ends with the socket that queues them. Where the
/// socket has no room the datagram is lost, which is what this is for.
async fn deliver(socket: Arc<Socket>, mut queue: mpsc::Receiver<Datagram>) {
    let mut under_way = BinaryHeap::new();
    loop {
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
            queued = queue.recv() => match queued {
                Some(datagram) => under_way.push(Reverse(datagram)),
                None => return,
            },
            () = due => if let Some(Reverse(datagram)) = under_way.pop() {
                let _ = socket.try_send(&datagram.transmit());
            },
        }
    }
}
