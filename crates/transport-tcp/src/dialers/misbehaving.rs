//! A dialer for tests, with configurable faults.

mod stream;

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    sync::watch,
    time::{sleep, timeout_at},
};

use crate::{Attempt, ByteStream, DialContext, DialError, DialStage, Dialer, Target};

/// The faults that a [`Misbehaving`] dialer adds to dials and to the bytes of their streams. By default there are none.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Faults {
    /// The share of dials that are refused, from 0.0 to 1.0.
    pub refuse: f64,
    /// The share of dials that get no answer, from 0.0 to 1.0. They end at [`DialContext::deadline`], even if
    /// [`DialContext::reach`] is shorter.
    pub silence: f64,
    /// The time that a byte takes in each direction. An answered dial takes twice this time.
    pub delay: Duration,
    /// The maximum random time that is added to [`Self::delay`], evenly distributed. Bytes stay in order.
    pub jitter: Duration,
    /// Bytes per second in each direction. Default: no limit.
    pub bandwidth: Option<u32>,
    /// The number of bytes, in both directions together, after which a stream stalls: it stays open and carries no more
    /// bytes. The seed chooses from the range.
    pub stall_after: Option<RangeInclusive<u64>>,
    /// The number of bytes, in both directions together, after which a stream breaks with
    /// [`io::ErrorKind::ConnectionReset`]. The seed chooses from the range.
    pub cut_after: Option<RangeInclusive<u64>>,
}

impl Faults {
    /// Sets [`Self::refuse`].
    pub fn with_refuse(mut self, share: f64) -> Self {
        self.refuse = share;
        self
    }

    /// Sets [`Self::silence`].
    pub fn with_silence(mut self, share: f64) -> Self {
        self.silence = share;
        self
    }

    /// Sets [`Self::delay`] and [`Self::jitter`].
    pub fn with_delay(mut self, delay: Duration, jitter: Duration) -> Self {
        (self.delay, self.jitter) = (delay, jitter);
        self
    }

    /// Sets [`Self::bandwidth`]. A bandwidth of 0 counts as 1.
    pub fn with_bandwidth(mut self, bytes_per_second: u32) -> Self {
        self.bandwidth = Some(bytes_per_second);
        self
    }

    /// Sets [`Self::stall_after`].
    pub fn with_stall_after(mut self, bytes: RangeInclusive<u64>) -> Self {
        self.stall_after = Some(bytes);
        self
    }

    /// Sets [`Self::cut_after`].
    pub fn with_cut_after(mut self, bytes: RangeInclusive<u64>) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    fn latency(&self, random: &mut SmallRng) -> Duration {
        self.delay + self.jitter.mul_f64(random.random::<f64>())
    }
}

/// Delays, refuses, stalls and cuts the dials and streams of another dialer.
///
/// The faults of the n-th dial to a target depend only on the seed, the target and n. To repeat a run with
/// [`Retry`](crate::Retry) exactly, also set [`RetryConfig::seed`](crate::RetryConfig::seed). To treat targets differently, put one
/// `Misbehaving` dialer behind each of your [`Rules`](crate::Rules).
///
/// The delays use tokio's clock. With a paused clock, all delays are exact and a test does not wait for them. The streams of
/// the inner dialer must then be in memory, because a paused clock does not wait for sockets. A stream costs one task.
///
/// ```
/// use std::time::Duration;
/// use transport_tcp::{ByteStream, DialContext, Dialer, Faults, Misbehaving, Retry, RetryConfig, Target};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let pipe = |_: Target, _: DialContext| async { Ok(ByteStream::boxed(tokio::io::duplex(1024).0)) };
/// let faults = Faults::default().with_refuse(0.5).with_delay(Duration::from_millis(20), Duration::ZERO);
/// let dialer = Misbehaving::new(pipe, 7, faults);
/// let control = dialer.control();
/// let client = Retry::new(dialer, RetryConfig::default().with_attempts(20));
///
/// let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
/// client.dial(&"/ip4/192.0.2.1/tcp/4001".parse()?, &DialContext::new(deadline)).await?;
/// assert_eq!(control.dials(), control.refused() + 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Misbehaving<D> {
    inner: D,
    seed: u64,
    /// The dials so far, by target.
    dials: Mutex<HashMap<Target, u64>>,
    control: FaultControl,
}

impl<D: Dialer> Misbehaving<D> {
    /// Adds faults to the dials of `inner`. The seed decides which dials and streams are affected.
    pub fn new(inner: D, seed: u64, faults: Faults) -> Self {
        let control = FaultControl {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    faults,
                    counts: Counts::default(),
                }),
                stalled: watch::Sender::new(false),
                cuts: watch::Sender::new(()),
            }),
        };
        Self {
            inner,
            seed,
            dials: Mutex::default(),
            control,
        }
    }

    /// The handle that changes the faults at run time.
    pub fn control(&self) -> FaultControl {
        self.control.clone()
    }

    /// The random numbers of one dial.
    fn random(&self, target: &Target) -> SmallRng {
        let mut dials = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        let dial = dials.entry(target.clone()).or_default();
        *dial += 1;
        // FNV-1a: the standard hasher may give another number on another machine.
        let text = target.to_string();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        SmallRng::seed_from_u64(self.seed ^ hash ^ dial.rotate_left(32))
    }
}

impl<D: fmt::Debug> fmt::Debug for Misbehaving<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Misbehaving").field(&self.inner).finish()
    }
}

/// Changes the faults of a [`Misbehaving`] dialer, and counts the faults so far. Clones are handles of one dialer.
#[derive(Debug, Clone)]
pub struct FaultControl {
    shared: Arc<Shared>,
}

impl FaultControl {
    /// Applies `faults` from now on. Open streams take over the delay, the jitter and the bandwidth.
    pub fn set(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Starts or ends a stall. During the stall, no dial is answered and no stream carries bytes.
    pub fn stall(&self, on: bool) {
        self.shared.stalled.send_replace(on);
    }

    /// Breaks every open stream with [`io::ErrorKind::ConnectionReset`].
    pub fn cut(&self) {
        self.shared.cuts.send_replace(());
    }

    /// The number of dials so far.
    pub fn dials(&self) -> u64 {
        self.shared.state().counts.dials
    }

    /// The number of dials that were refused.
    pub fn refused(&self) -> u64 {
        self.shared.state().counts.refused
    }

    /// The number of streams that were cut.
    pub fn streams_cut(&self) -> u64 {
        self.shared.state().counts.cut
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    stalled: watch::Sender<bool>,
    cuts: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    dials: u64,
    refused: u64,
    cut: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the network is no longer stalled.
    async fn moving(&self) {
        // The sender is in `self`, so that waiting cannot fail.
        let _ = self.stalled.subscribe().wait_for(|stalled| !stalled).await;
    }
}

#[async_trait::async_trait]
impl<D: Dialer> Dialer for Misbehaving<D> {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        let mut random = self.random(target);
        let shared = &self.control.shared;
        let faults = {
            let mut state = shared.state();
            state.counts.dials += 1;
            state.faults.clone()
        };
        cx.enter(DialStage::Connect);
        let (refused, silent) = (random.random::<f64>(), random.random::<f64>());
        let round_trip = faults.latency(&mut random) + faults.latency(&mut random);
        let answer = async {
            if silent < faults.silence {
                std::future::pending::<()>().await;
            }
            shared.moving().await;
            sleep(round_trip).await;
        };
        if timeout_at(cx.reach_deadline(), answer).await.is_err() {
            return Err(DialError::TimedOut {
                address: target.to_multiaddr(),
                stage: DialStage::Connect,
                tried: Vec::new(),
            });
        }
        if refused < faults.refuse {
            shared.state().counts.refused += 1;
            return Err(refusal(target));
        }
        let inner = self.inner.dial(target, cx).await?;
        Ok(stream::misbehave(inner, faults, random, Arc::clone(shared)))
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        self.inner.check(cx).await
    }
}

/// The error for a host that refuses the connection. It needs no resolved host name.
fn refusal(target: &Target) -> DialError {
    let error = io::Error::from(io::ErrorKind::ConnectionRefused);
    let tried = target.ip().map(|ip| Attempt {
        address: SocketAddr::new(ip, target.port()),
        error,
    });
    DialError::Failed {
        address: target.to_multiaddr(),
        tried: tried.into_iter().collect(),
    }
}
