//! A binder for tests, with configurable faults. It wraps another binder, or simulates a network in memory.

mod flows;
mod header;
mod socket;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use quinn::AsyncUdpSocket;

use self::{flows::Flows, socket::FaultySocket};
use crate::{UdpBinder, keys::EndpointKeys, socket::Socket};

/// The port that a network in memory chooses for the first socket with port 0.
const FIRST_PORT: u16 = 49_152;

/// The faults that a [`Misbehaving`] binder adds to the datagrams that its sockets send. By default there are none.
///
/// The names are those of `transport_tcp::Faults`. Stalls and cuts count datagrams instead of bytes. There are no refused dials,
/// because UDP has no refusals.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Faults {
    /// The share of datagrams that are lost, from 0.0 to 1.0.
    pub loss: f64,
    /// The share of datagrams that arrive twice, from 0.0 to 1.0.
    pub duplicate: f64,
    /// The share of datagrams that overtake others, from 0.0 to 1.0. [`Self::delay`] and [`Self::jitter`] do not apply to these
    /// datagrams.
    pub reorder: f64,
    /// The share of dials that get no answer, from 0.0 to 1.0.
    pub silence: f64,
    /// The time from the sending of a datagram to its arrival.
    pub delay: Duration,
    /// The maximum random time that is added to [`Self::delay`], evenly distributed. It changes the order of datagrams.
    pub jitter: Duration,
    /// Bytes of UDP payload per second in each direction of a connection. A datagram that would wait longer than 200 ms for
    /// its turn is lost. Default: no limit.
    pub bandwidth: Option<u32>,
    /// The number of datagrams, in both directions together, after which a connection stalls: no more datagrams arrive, and
    /// both ends notice at their idle timeout. The seed chooses from the range.
    pub stall_after: Option<RangeInclusive<u64>>,
    /// The number of datagrams, in both directions together, after which a connection is cut as by [`FaultControl::cut`].
    /// The seed chooses from the range.
    pub cut_after: Option<RangeInclusive<u64>>,
}

impl Faults {
    /// Sets [`Self::loss`].
    #[must_use]
    pub fn with_loss(mut self, share: f64) -> Self {
        self.loss = share;
        self
    }

    /// Sets [`Self::duplicate`].
    #[must_use]
    pub fn with_duplicate(mut self, share: f64) -> Self {
        self.duplicate = share;
        self
    }

    /// Sets [`Self::reorder`].
    #[must_use]
    pub fn with_reorder(mut self, share: f64) -> Self {
        self.reorder = share;
        self
    }

    /// Sets [`Self::silence`].
    #[must_use]
    pub fn with_silence(mut self, share: f64) -> Self {
        self.silence = share;
        self
    }

    /// Sets [`Self::delay`] and [`Self::jitter`].
    #[must_use]
    pub fn with_delay(mut self, delay: Duration, jitter: Duration) -> Self {
        (self.delay, self.jitter) = (delay, jitter);
        self
    }

    /// Sets [`Self::bandwidth`]. A bandwidth of 0 counts as 1.
    #[must_use]
    pub fn with_bandwidth(mut self, bytes_per_second: u32) -> Self {
        self.bandwidth = Some(bytes_per_second);
        self
    }

    /// Sets [`Self::stall_after`].
    #[must_use]
    pub fn with_stall_after(mut self, datagrams: RangeInclusive<u64>) -> Self {
        self.stall_after = Some(datagrams);
        self
    }

    /// Sets [`Self::cut_after`].
    #[must_use]
    pub fn with_cut_after(mut self, datagrams: RangeInclusive<u64>) -> Self {
        self.cut_after = Some(datagrams);
        self
    }
}

/// Delays, loses, repeats, stalls and cuts the connections of the endpoints that it binds.
///
/// The faults apply to the datagrams that the sockets of this binder send. To add faults to both directions, give both
/// endpoints the same binder.
///
/// The faults of the n-th datagram in one direction of a connection depend only on the seed, the dialed address, the number of
/// the dial to that address, and n. The connection ids in the datagrams distinguish two connections between the same two sockets.
/// An id that was in no handshake belongs to the newest of these connections.
///
/// [`in_memory`](Self::in_memory) makes a network that does not use the operating system. The delays use tokio's clock. With a
/// paused clock, the delays of a network in memory are exact, and a test does not wait for them. Do not pause the clock with
/// [`new`](Self::new), because a paused clock does not wait for real sockets. Each datagram is sent separately, because
/// segmentation offload is off.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use transport_quic::{Config, Endpoint, Faults, Keypair, Misbehaving};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let faults = Faults::default().with_loss(0.05).with_delay(Duration::from_millis(20), Duration::ZERO);
/// let network = Arc::new(Misbehaving::in_memory(7, faults));
/// let bind = |address: &str| {
///     let keypair = Keypair::generate_ed25519();
///     Endpoint::with_binder(address.parse().unwrap(), &keypair, Config::default(), network.clone())
/// };
/// let (client, server) = (bind("192.0.2.1:4001")?, bind("198.51.100.1:4001")?);
///
/// let accepted = async { server.accept().await.unwrap().accept().await };
/// let (dialed, accepted) = tokio::join!(client.dial("198.51.100.1:4001".parse()?, None), accepted);
/// network.control().cut();
/// assert!(!dialed?.is_closed() && !accepted?.is_closed()); // the ends notice when they send
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Misbehaving {
    /// None for a network in memory.
    inner: Option<Arc<dyn UdpBinder>>,
    control: FaultControl,
}

impl Misbehaving {
    /// Binds sockets with `inner`. The seed decides which datagrams and connections are affected.
    #[must_use]
    pub fn new(inner: Arc<dyn UdpBinder>, seed: u64, faults: Faults) -> Self {
        Self {
            control: FaultControl::new(seed, faults, false),
            inner: Some(inner),
        }
    }

    /// A network in memory. Every address except `0.0.0.0` and `::` can be bound once. Datagrams to an address that no
    /// [`Endpoint`](crate::Endpoint) has bound vanish.
    ///
    /// Each endpoint holds one unused socket on `127.0.0.1`, because a [`UdpBinder`] must return one.
    /// [`Endpoints`](crate::Endpoints) asks the routes of the operating system, which do not know this network.
    #[must_use]
    pub fn in_memory(seed: u64, faults: Faults) -> Self {
        Self {
            control: FaultControl::new(seed, faults, true),
            inner: None,
        }
    }

    /// The handle that changes the faults at run time.
    #[must_use]
    pub fn control(&self) -> FaultControl {
        self.control.clone()
    }
}

impl UdpBinder for Misbehaving {
    fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        match &self.inner {
            Some(inner) => inner.bind(address),
            None => self
                .control
                .shared
                .check_free(address)
                .and_then(|()| unused()),
        }
    }

    fn rebind(
        &self,
        address: SocketAddr,
        former: &[Arc<tokio::net::UdpSocket>],
    ) -> io::Result<UdpSocket> {
        match &self.inner {
            Some(inner) => inner.rebind(address, former),
            None => unused(),
        }
    }

    fn faults(&self) -> Option<FaultControl> {
        Some(self.control())
    }
}

/// The socket that an endpoint in memory holds and never uses.
fn unused() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Changes the faults of a [`Misbehaving`] binder, and counts the faults so far. Clones are handles of one binder.
#[derive(Debug, Clone)]
pub struct FaultControl {
    shared: Arc<Shared>,
}

impl FaultControl {
    fn new(seed: u64, faults: Faults, in_memory: bool) -> Self {
        let state = State {
            faults,
            flows: Flows::new(seed),
            stalled: false,
            broken: None,
            lost: 0,
            next_port: FIRST_PORT,
        };
        Self {
            shared: Arc::new(Shared {
                in_memory,
                state: Mutex::new(state),
                sockets: Mutex::default(),
            }),
        }
    }

    /// Applies `faults` from now on. Open connections keep their silence, stalls and cuts, which are chosen when a connection
    /// begins.
    pub fn set(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Starts or ends a stall of all sockets. During the stall, no datagram leaves and no datagram arrives.
    pub fn stall(&self, on: bool) {
        self.shared.state().stalled = on;
    }

    /// Cuts all present connections: they carry no more datagrams. If both endpoints use this binder, each end gets a stateless
    /// reset when it next sends a datagram, as from a restarted peer, and reports
    /// [`CloseReason::Reset`](crate::CloseReason::Reset). Otherwise both ends notice the cut at their idle timeout.
    pub fn cut(&self) {
        self.shared.state().flows.cut();
    }

    /// Breaks the sockets: receiving fails with an error of this kind from now on.
    pub fn break_socket(&self, error: io::ErrorKind) {
        self.shared.state().broken.get_or_insert(error);
        for socket in self.shared.sockets() {
            socket.wake();
        }
    }

    /// The number of dials so far.
    #[must_use]
    pub fn dials(&self) -> u64 {
        self.shared.state().flows.counts().dials
    }

    /// The number of dials that get no answer.
    #[must_use]
    pub fn silent(&self) -> u64 {
        self.shared.state().flows.counts().silent
    }

    /// The number of connections that were cut.
    #[must_use]
    pub fn connections_cut(&self) -> u64 {
        self.shared.state().flows.counts().cut
    }

    /// The number of datagrams that were lost because of any fault.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.state().lost
    }

    /// The seed of quinn's decisions at the endpoint at `address`, for instance which packet numbers it skips.
    pub(crate) fn seed(&self, address: SocketAddr) -> [u8; 32] {
        self.shared.state().flows.seed(address)
    }

    /// Adds the faults to the socket of an endpoint. In memory, `address` becomes the address of the socket. The keys create the
    /// stateless resets of connections that are cut.
    pub(crate) fn expose(
        self,
        mut socket: Socket,
        address: SocketAddr,
        keys: Option<EndpointKeys>,
    ) -> (Arc<Socket>, Arc<dyn AsyncUdpSocket>) {
        if self.shared.in_memory {
            socket = socket.with_local(self.shared.choose_port(address));
        }
        let inner = Arc::new(socket);
        let faulty = FaultySocket::new(Arc::clone(&inner), keys, Arc::clone(&self.shared));
        self.shared.register(&faulty);
        (inner, faulty)
    }
}

#[derive(Debug)]
struct Shared {
    in_memory: bool,
    state: Mutex<State>,
    /// The sockets of this binder, the newest last.
    sockets: Mutex<Vec<Weak<FaultySocket>>>,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    flows: Flows,
    stalled: bool,
    broken: Option<io::ErrorKind>,
    lost: u64,
    next_port: u16,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open sockets, the newest first.
    fn sockets(&self) -> Vec<Arc<FaultySocket>> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let open = sockets.iter().rev().filter_map(Weak::upgrade);
        open.filter(|socket| socket.is_open()).collect()
    }

    /// The open socket that receives what is sent to `address`.
    fn socket_at(&self, address: SocketAddr) -> Option<Arc<FaultySocket>> {
        let mut sockets = self.sockets().into_iter();
        sockets.find(|socket| flows::same(socket.local(), address))
    }

    fn register(&self, socket: &Arc<FaultySocket>) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(socket));
    }

    fn check_free(&self, address: SocketAddr) -> io::Result<()> {
        if address.ip().is_unspecified() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        match self.socket_at(address) {
            Some(_) => Err(io::ErrorKind::AddrInUse.into()),
            None => Ok(()),
        }
    }

    /// The address with a port, if it has none.
    fn choose_port(&self, mut address: SocketAddr) -> SocketAddr {
        while address.port() == 0
            || (address.port() >= FIRST_PORT && self.socket_at(address).is_some())
        {
            let mut state = self.state();
            address.set_port(state.next_port);
            state.next_port = state.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        }
        address
    }
}
