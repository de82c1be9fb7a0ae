//! Keeps connections to a proxy ready.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    background::{Activity, Background, FOREVER},
    proxy::{self, Greeted, Proxy},
};
use crate::{ByteStream, DialContext, DialError, Dialer, Target, error::Chain};

/// Keeps a few connections to a proxy ready, with greeting and authentication done. A dial then takes only one round trip to the
/// proxy, for the request.
///
/// A task opens these connections from the first dial on, and replaces connections that were used or are too old. It stops when
/// there was no dial for [`WarmConfig::idle`], and ends with the dialer. If no connection is ready, or the chosen connection is
/// broken, the dial opens a new connection to the proxy.
///
/// There are at most [`WarmConfig::size`] connections that are ready or being opened. While the dialer is in use, each connection
/// is replaced every [`WarmConfig::max_age`].
pub struct Warm {
    pool: Arc<Pool>,
    task: Background,
}

/// Settings of [`Warm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmConfig {
    /// The number of connections to keep ready. Default 4, which suffices for a dial of a peer with a few addresses.
    pub size: usize,
    /// The age at which a connection is too old to be used. Default 20 s, which is less than the 30 s for which dante waits for a
    /// client's request.
    pub max_age: Duration,
    /// How long connections are still replaced after the last dial. Default 60 s.
    pub idle: Duration,
    /// How long opening a connection may take. Default 10 s.
    pub timeout: Duration,
    /// The pause after a failure to open a connection. Default 1 s. Each further failure doubles the pause, up to 64 times this
    /// value, until a dial succeeds.
    pub pause: Duration,
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self {
            size: 4,
            max_age: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            pause: Duration::from_secs(1),
        }
    }
}

impl WarmConfig {
    /// Sets [`WarmConfig::size`].
    pub fn with_size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// Sets [`WarmConfig::max_age`].
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets [`WarmConfig::idle`].
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets [`WarmConfig::timeout`] and [`WarmConfig::pause`].
    pub fn with_timeout(mut self, timeout: Duration, pause: Duration) -> Self {
        (self.timeout, self.pause) = (timeout, pause);
        self
    }
}

struct Pool {
    proxy: Proxy,
    config: WarmConfig,
    /// With the time when each was made, the oldest first.
    ready: Mutex<Ready>,
    rest: Mutex<Rest>,
    changed: Notify,
}

/// The pause after failures.
#[derive(Default)]
struct Rest {
    until: Option<Instant>,
    failures: u32,
}

/// The pause grows up to 2 to this power.
const DOUBLINGS: u32 = 6;

impl Rest {
    /// Failures during a pause are those of connections that were opened before it.
    fn handle_failed(&mut self, now: Instant, pause: Duration) {
        if self.until.is_none_or(|until| now >= until) {
            let pause = pause.saturating_mul(1 << self.failures).min(FOREVER);
            self.until = Some(now + pause);
            self.failures = (self.failures + 1).min(DOUBLINGS);
        }
    }
}

type Ready = VecDeque<(Instant, Greeted)>;

impl Warm {
    /// Keeps connections to `proxy` ready.
    pub fn new(proxy: impl Into<Proxy>, mut config: WarmConfig) -> Self {
        for limit in [&mut config.max_age, &mut config.timeout, &mut config.pause] {
            *limit = (*limit).min(FOREVER);
        }
        Self {
            pool: Arc::new(Pool {
                proxy: proxy.into(),
                config,
                ready: Mutex::default(),
                rest: Mutex::default(),
                changed: Notify::new(),
            }),
            task: Background::new(config.idle),
        }
    }

    /// The number of connections that are ready now.
    pub fn ready(&self) -> usize {
        self.pool.ready().len()
    }
}

impl Pool {
    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_failed(&self, now: Instant) {
        self.rest().handle_failed(now, self.config.pause);
    }

    fn handle_used(&self) {
        *self.rest() = Rest::default();
    }

    /// The freshest one that is still good.
    fn take(&self, now: Instant) -> Option<Greeted> {
        let mut ready = self.ready();
        loop {
            let (made, mut greeted) = ready.pop_back()?;
            if now < made + self.config.max_age && is_quiet(&mut greeted.stream) {
                return Some(greeted);
            }
        }
    }

    /// Drops what is too old. Gives how many are left, and when the next one will be too old.
    fn tend(&self, now: Instant) -> (usize, Option<Instant>) {
        let max_age = self.config.max_age;
        let mut ready = self.ready();
        ready.retain(|(made, _)| now < *made + max_age);
        (ready.len(), ready.front().map(|(made, _)| *made + max_age))
    }

    /// The task: ends when nobody has dialed for a while and none is left.
    async fn keep(self: Arc<Self>, activity: Arc<Activity>) {
        let mut making = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let (ready, aged_at) = self.tend(now);
            let idle_at = activity.idle_at();
            let resting_until = self.rest().until.unwrap_or(now);
            if now < idle_at && now >= resting_until {
                for _ in ready + making.len()..self.config.size {
                    making.push(self.make());
                }
            }
            if ready == 0 && making.is_empty() && activity.may_end(now) {
                return;
            }
            let times = [aged_at, Some(resting_until), Some(idle_at)];
            let next = times.into_iter().flatten().filter(|at| *at > now).min();
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(next.unwrap_or(now + FOREVER)) => {}
                // Whoever dials after a failure goes the long way and finds out by himself.
                Some(made) = making.next() => if !made {
                    self.handle_failed(Instant::now());
                }
            }
        }
    }

    async fn make(&self) -> bool {
        let cx = DialContext::new(Instant::now() + self.config.timeout);
        let made = async {
            let stream = self.proxy.reach(&cx).await?;
            self.proxy.greet(stream, &cx).await
        };
        match made.await {
            Ok(greeted) => {
                self.ready().push_back((Instant::now(), greeted));
                true
            }
            Err(broken) => {
                let proxy = &self.proxy;
                tracing::debug!(%proxy, stage = broken.stage.name(), error = %Chain(&broken.source), "no spare connection");
                false
            }
        }
    }
}

/// A proxy that was greeted has nothing to say. If there is something to read, it has hung up.
fn is_quiet(stream: &mut ByteStream) -> bool {
    let mut byte = [0];
    let mut buf = ReadBuf::new(&mut byte);
    let mut cx = Context::from_waker(Waker::noop());
    let read = std::pin::Pin::new(stream).poll_read(&mut cx, &mut buf);
    matches!(read, Poll::Pending)
}

impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Warm");
        debug.field("proxy", &self.pool.proxy);
        debug.field("ready", &self.ready()).finish()
    }
}

#[async_trait::async_trait]
impl Dialer for Warm {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        proxy::check_target(target)?;
        let proxy = &self.pool.proxy;
        let were_ready = self.ready() > 0;
        let taken = self.pool.take(Instant::now());
        self.task
            .used(|activity| Arc::clone(&self.pool).keep(activity));
        // If the proxy has closed what was ready, this dial first finds out whether it still works.
        let is_in_doubt = were_ready && taken.is_none();
        if !is_in_doubt {
            self.pool.changed.notify_one();
        }
        if let Some(greeted) = taken {
            cx.take(proxy.label());
            match proxy.request(greeted, target, cx).await {
                Ok(stream) => {
                    self.pool.handle_used();
                    return Ok(stream);
                }
                Err(broken) if !broken.is_stale() => return Err(broken.into_error(proxy, target)),
                Err(_) => {}
            }
        }
        let dialed = proxy::dial(proxy, target, cx).await;
        match &dialed {
            Ok(_) => self.pool.handle_used(),
            Err(_) if is_in_doubt => self.pool.handle_failed(Instant::now()),
            Err(_) => {}
        }
        self.pool.changed.notify_one();
        dialed
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        proxy::check(&self.pool.proxy, cx).await
    }
}
