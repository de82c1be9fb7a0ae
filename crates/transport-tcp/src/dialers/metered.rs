//! Counts and logs the dials of a dialer.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use tokio::time::Instant;

use crate::{
    ByteStream, DialContext, DialError, DialStage, Dialer, Target, dial::Meter, error::Chain,
    trail::Trail,
};

/// The most routes that are counted separately. There are as many as the configuration has, unless a custom dialer makes
/// them up; further ones are counted as `other`.
const MAX_WAYS: usize = 256;

/// Counts the dials of another dialer and the bytes of the streams that it opens, and logs each dial with its route, the
/// time of each stage and its outcome (`tracing`, target `transport_tcp::dial`, level debug).
///
/// This costs one allocation and one lock per dial, and one atomic addition per read or write.
pub struct Metered<D: ?Sized> {
    counters: Arc<Mutex<Counters>>,
    inner: D,
}

#[derive(Debug, Default)]
struct Counters {
    dials: u64,
    succeeded: u64,
    dropped: u64,
    failed: BTreeMap<DialStage, u64>,
    ways: BTreeMap<Arc<str>, Way>,
}

#[derive(Debug, Default)]
struct Way {
    dials: u64,
    failed: u64,
    meter: Arc<Meter>,
}

/// Counters of a [`Metered`]. No counter ever decreases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialCounters {
    /// Dials that were started.
    pub dials: u64,
    /// Dials that opened a stream.
    pub succeeded: u64,
    /// Dials that were dropped before they were over.
    pub dropped: u64,
    /// Dials that failed, by the stage that they had reached.
    pub failed: BTreeMap<DialStage, u64>,
    /// Counters by route: `direct`, or the proxies' URLs without credentials.
    pub routes: BTreeMap<Arc<str>, RouteCounters>,
}

/// Counters of one route. A dial counts for the last route that it tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteCounters {
    /// Dials that ended.
    pub dials: u64,
    /// Dials that failed.
    pub failed: u64,
    /// Bytes written to the streams of this route, without the handshakes with proxies.
    pub sent: u64,
    /// Bytes read from the streams of this route, without the handshakes with proxies.
    pub received: u64,
}

impl<D: Dialer> Metered<D> {
    /// Counts the dials of `inner`.
    pub fn new(inner: D) -> Self {
        let counters = Arc::default();
        Self { counters, inner }
    }
}

impl<D: ?Sized> Metered<D> {
    /// The present values of the counters.
    pub fn counters(&self) -> DialCounters {
        let counters = lock(&self.counters);
        let ways = counters.ways.iter().map(|(label, way)| {
            let counted = RouteCounters {
                dials: way.dials,
                failed: way.failed,
                sent: way.meter.sent.load(Ordering::Relaxed),
                received: way.meter.received.load(Ordering::Relaxed),
            };
            (Arc::clone(label), counted)
        });
        DialCounters {
            dials: counters.dials,
            succeeded: counters.succeeded,
            dropped: counters.dropped,
            failed: counters.failed.clone(),
            routes: ways.collect(),
        }
    }
}

fn lock(counters: &Mutex<Counters>) -> MutexGuard<'_, Counters> {
    counters.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counters {
    fn way(&mut self, label: Option<Arc<str>>) -> &mut Way {
        let label = label.unwrap_or_else(|| "none".into());
        let known = self.ways.contains_key(&label) || self.ways.len() < MAX_WAYS;
        let label = if known { label } else { "other".into() };
        self.ways.entry(label).or_default()
    }
}

/// One dial. Dropped before it is over, it counts as that.
struct Dial<'a> {
    counters: &'a Mutex<Counters>,
    trail: Arc<Trail>,
    target: &'a Target,
    attempt: u64,
    over: bool,
}

impl Dial<'_> {
    fn succeed(&mut self, stream: ByteStream) -> ByteStream {
        self.log("connected");
        let mut counters = lock(self.counters);
        counters.succeeded += 1;
        let way = counters.way(self.trail.way());
        way.dials += 1;
        stream.metered(Arc::clone(&way.meter))
    }

    fn fail(&mut self, error: &DialError) {
        self.log(Chain(error));
        let mut counters = lock(self.counters);
        *counters.failed.entry(error.stage()).or_default() += 1;
        let way = counters.way(self.trail.way());
        way.dials += 1;
        way.failed += 1;
    }

    fn log(&mut self, outcome: impl fmt::Display) {
        self.over = true;
        let now = Instant::now();
        let way = self.trail.way();
        tracing::debug!(
            target: "transport_tcp::dial",
            attempt = self.attempt,
            target = %self.target,
            route = way.as_deref().unwrap_or("none"),
            stages = %self.trail.stages(now),
            took = ?self.trail.elapsed(now),
            %outcome,
        );
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        if !self.over {
            let stage = self.trail.stage().map_or("choose", DialStage::name);
            self.log(format_args!("dropped in stage {stage}"));
            lock(self.counters).dropped += 1;
        }
    }
}

impl<D: fmt::Debug + ?Sized> fmt::Debug for Metered<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metered").field(&&self.inner).finish()
    }
}

#[async_trait::async_trait]
impl<D: Dialer + ?Sized> Dialer for Metered<D> {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        lock(&self.counters).dials += 1;
        let (cx, trail) = cx.noted();
        let mut dial = Dial {
            counters: &self.counters,
            trail,
            target,
            attempt: cx.attempt,
            over: false,
        };
        match self.inner.dial(target, &cx).await {
            Ok(stream) => Ok(dial.succeed(stream)),
            Err(error) => {
                dial.fail(&error);
                Err(error)
            }
        }
    }

    fn is_direct(&self, target: &Target) -> bool {
        self.inner.is_direct(target)
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        self.inner.check(cx).await
    }
}
