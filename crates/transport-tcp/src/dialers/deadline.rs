//! Limits the parts of a dial.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{ByteStream, DialContext, DialError, DialStage, Dialer, Target};

/// Limits a dial and, separately, its parts. A proxy that cannot be reached then fails long before the time for a slow
/// target is over.
///
/// The limits apply to every proxy and every attempt below this dialer. None of them extends the dial's deadline. This
/// dialer enforces [`DeadlineConfig::total`] and the dial's deadline: it drops the inner dial. The inner dialer itself
/// must keep the other two limits, and the dialers of this crate do. A dial costs one timer.
#[derive(Debug, Clone)]
pub struct Deadline<D> {
    inner: D,
    config: DeadlineConfig,
}

/// Settings of [`Deadline`]. By default nothing is limited beyond the dial's own deadline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlineConfig {
    /// How long it may take to connect to a proxy, or to the target where there is no proxy.
    pub reach: Option<Duration>,
    /// How long the handshake with a proxy may take, from the first byte to the proxy's answer that the target is
    /// connected.
    pub handshake: Option<Duration>,
    /// How long the whole dial may take.
    pub total: Option<Duration>,
}

impl DeadlineConfig {
    /// Sets [`DeadlineConfig::reach`].
    pub fn with_reach(mut self, limit: Duration) -> Self {
        self.reach = Some(limit);
        self
    }

    /// Sets [`DeadlineConfig::handshake`].
    pub fn with_handshake(mut self, limit: Duration) -> Self {
        self.handshake = Some(limit);
        self
    }

    /// Sets [`DeadlineConfig::total`].
    pub fn with_total(mut self, limit: Duration) -> Self {
        self.total = Some(limit);
        self
    }
}

impl<D: Dialer> Deadline<D> {
    /// Limits `inner`.
    pub fn new(inner: D, config: DeadlineConfig) -> Self {
        Self { inner, config }
    }

    fn limited(&self, cx: &DialContext) -> DialContext {
        let DeadlineConfig {
            reach,
            handshake,
            total,
        } = self.config;
        let mut limited = cx.clone();
        limited.reach = shorter(cx.reach, reach);
        limited.handshake = shorter(cx.handshake, handshake);
        if let Some(at) = total.and_then(|total| Instant::now().checked_add(total)) {
            limited.deadline = limited.deadline.min(at);
        }
        limited
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

#[async_trait::async_trait]
impl<D: Dialer> Dialer for Deadline<D> {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        let (cx, trail) = self.limited(cx).noted();
        match timeout_at(cx.deadline, self.inner.dial(target, &cx)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DialError::TimedOut {
                address: target.to_multiaddr(),
                stage: trail.stage().unwrap_or(DialStage::Other),
                tried: Vec::new(),
            }),
        }
    }

    fn is_direct(&self, target: &Target) -> bool {
        self.inner.is_direct(target)
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        let (cx, trail) = self.limited(cx).noted();
        match timeout_at(cx.deadline, self.inner.check(&cx)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DialError::CheckTimedOut {
                stage: trail.stage().unwrap_or(DialStage::Other),
            }),
        }
    }
}
