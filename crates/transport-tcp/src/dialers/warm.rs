//! Connections to a proxy that are ready before they are needed.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    background::Background,
    proxy::{self, Greeted, Proxy},
};
use crate::{ByteStream, DialContext, DialError, Dialer, Target};

/// Keeps a few connections to a proxy ready, greeted and authenticated, so that a dial takes one round trip to the
/// proxy: that of the request.
///
/// A task of its own makes them, from the first dial on, and replaces what was taken or has aged. It rests when nobody
/// has dialed for [`WarmConfig::idle`], and ends with the dialer. Where none is ready, or the one taken turns out
/// broken, the dial goes the long way.
///
/// Costs at most [`WarmConfig::size`] connections, ready or being made, and while in use one connection for each of
/// them every [`WarmConfig::max_age`].
pub struct Warm {
    pool: Arc<Pool>,
    task: Background,
}

/// Settings of [`Warm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmConfig {
    /// Connections kept ready. Default 4: a dial of a peer with a few addresses.
    pub size: usize,
    /// When one is too old to be used. Default 20 s: below the 30 s that dante gives a client to say what it wants.
    pub max_age: Duration,
    /// How long after the last dial they are still replaced. Default 60 s.
    pub idle: Duration,
    /// How long making one may take. Default 10 s.
    pub timeout: Duration,
    /// How long making them rests after a failure. Default 1 s.
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
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    ready: VecDeque<(Instant, Greeted)>,
    last_dial: Instant,
}

impl Warm {
    /// Keeps connections to `proxy` ready.
    pub fn new(proxy: impl Into<Proxy>, config: WarmConfig) -> Self {
        let state = State {
            ready: VecDeque::new(),
            last_dial: Instant::now(),
        };
        Self {
            pool: Arc::new(Pool {
                proxy: proxy.into(),
                config,
                state: Mutex::new(state),
                changed: Notify::new(),
            }),
            task: Background::default(),
        }
    }

    /// How many are ready now.
    pub fn ready(&self) -> usize {
        self.pool.state().ready.len()
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The freshest one that is still good.
    fn take(&self, now: Instant) -> Option<Greeted> {
        let mut state = self.state();
        state.last_dial = now;
        loop {
            let (made, mut greeted) = state.ready.pop_back()?;
            if now < made + self.config.max_age && is_quiet(&mut greeted.stream) {
                return Some(greeted);
            }
        }
    }

    /// Drops what is too old. Gives how many are missing, or `None` once nobody dials any more, and when to look again.
    fn tend(&self, now: Instant) -> (Option<usize>, Instant) {
        let mut state = self.state();
        let WarmConfig { size, max_age, .. } = self.config;
        let young = |(made, _): &(Instant, Greeted)| now < *made + max_age;
        state.ready.retain(young);
        let idle_at = state.last_dial + self.config.idle;
        let oldest = state.ready.front().map(|(made, _)| *made + max_age);
        if now >= idle_at {
            return match oldest {
                None => (None, now),
                Some(at) => (Some(0), at),
            };
        }
        let missing = size.saturating_sub(state.ready.len());
        (Some(missing), oldest.map_or(idle_at, |at| at.min(idle_at)))
    }

    /// The task: ends when nobody has dialed for a while and none is left.
    async fn keep(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let (missing, mut next) = self.tend(Instant::now());
            let Some(missing) = missing else { return };
            if missing > 0 {
                let made = join_all((0..missing).map(|_| self.make())).await;
                if made.contains(&true) {
                    continue;
                }
                // Whoever dials meanwhile goes the long way and finds out by himself.
                next = Instant::now() + self.config.pause;
                sleep_until(next).await;
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(next) => {}
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
                self.state().ready.push_back((Instant::now(), greeted));
                true
            }
            Err(broken) => {
                let proxy = &self.proxy;
                tracing::debug!(%proxy, stage = broken.stage.name(), error = %broken.source, "no spare connection");
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
        let taken = self.pool.take(Instant::now());
        self.pool.changed.notify_one();
        self.task.ensure(|| Arc::clone(&self.pool).keep());
        if let Some(greeted) = taken {
            cx.take(proxy.label());
            match proxy.request(greeted, target, cx).await {
                Ok(stream) => return Ok(stream),
                Err(broken) if !broken.is_stale() => return Err(broken.into_error(proxy, target)),
                Err(_) => {}
            }
        }
        proxy::dial(proxy, target, cx).await
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        proxy::check(&self.pool.proxy, cx).await
    }
}
