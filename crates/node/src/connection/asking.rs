//! Requests about the connection itself: ping, identify, and the probe.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Connection, Muxed};
use crate::{
    error::OpenError,
    protocols::{
        identify::{self, IdentifyError, Info, SignatureBudget},
        ping::{self, PingError},
    },
};

/// The interval at which a probe checks whether the connection has received bytes.
const PROBE_LOOK: Duration = Duration::from_millis(10);

impl Connection {
    /// Sends one ping on a new stream and waits for the answer. A connection sends one ping at a time, because some
    /// peers drop the first of two pings. The wait for an earlier ping counts towards the timeout.
    ///
    /// # Errors
    ///
    /// [`PingError`], within [`conn_state::LivenessConfig::timeout`].
    pub async fn ping(&self) -> Result<Duration, PingError> {
        self.ping_within(self.0.timeouts.ping).await
    }

    async fn ping_within(&self, timeout: Duration) -> Result<Duration, PingError> {
        let exchange = async {
            let _turn = self.0.pinging.lock().await;
            let _asking = Asking::begin(self);
            let stream = self.open_here(ping::PROTOCOL).await?;
            ping::exchange(stream).await
        };
        let timed_out = PingError::TimedOut { after: timeout };
        let outcome = tokio::time::timeout(timeout, exchange).await;
        let rtt = outcome.unwrap_or(Err(timed_out))?;
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX - 1);
        self.0.rtt.store(micros, Ordering::Relaxed);
        Ok(rtt)
    }

    /// When the ping under way began.
    pub(crate) fn asked(&self) -> Option<Instant> {
        let micros = self.0.asked.load(Ordering::Relaxed);
        let began = || self.0.opened.checked_add(Duration::from_micros(micros));
        (micros != u64::MAX).then(began).flatten()
    }

    /// Requests the peer's identify message. A connection sends one request at a time, because some peers do not answer a second
    /// request. If a request is already running, the caller receives the answer to that request.
    ///
    /// # Errors
    ///
    /// [`IdentifyError`], within [`crate::Config::negotiation_timeout`].
    pub async fn identify(&self) -> Result<Arc<Info>, IdentifyError> {
        let known = self.identified();
        let timeout = self.0.timeouts.negotiation;
        let exchange = async {
            let _turn = self.0.identifying.lock().await;
            if let Some(info) = self.identified()
                && !known.is_some_and(|known| Arc::ptr_eq(&known, &info))
            {
                return Ok(info);
            }
            let stream = self.open_here(identify::PROTOCOL).await?;
            let info = Arc::new(identify::read(stream, self.peer(), self.signatures()).await?);
            self.set_identified(Arc::clone(&info));
            Ok(info)
        };
        let timed_out = IdentifyError::TimedOut { after: timeout };
        let outcome = tokio::time::timeout(timeout, exchange).await;
        outcome.unwrap_or(Err(timed_out))
    }

    /// The node's budget for the verification of signatures.
    pub(crate) fn signatures(&self) -> &SignatureBudget {
        &self.0.timeouts.signatures
    }

    /// Waits until no answer to identify is on its way to the node's parts and its host. The guard keeps the next one away.
    pub(crate) async fn describing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.describing.lock().await
    }

    /// Stores the identify message of the peer. Returns whether it differs from the stored message.
    pub(crate) fn set_identified(&self, info: Arc<Info>) -> bool {
        let identified = self.0.identified.lock();
        let mut identified = identified.unwrap_or_else(PoisonError::into_inner);
        let is_news = identified.as_ref() != Some(&info);
        *identified = Some(info);
        is_news
    }

    /// Probes the connection: sends a request, and returns whether the connection receives anything within `within`.
    pub(crate) async fn answers(&self, within: Duration) -> bool {
        let before = self.received();
        let received = async {
            while self.received() == before {
                tokio::time::sleep(PROBE_LOOK).await;
            }
        };
        let provoked = async {
            match self.0.muxed {
                #[cfg(feature = "quic")]
                Muxed::Quic(ref connection) => connection.probe(within).await.is_ok(),
                #[cfg(feature = "tcp")]
                Muxed::Tcp(_) => match self.ping_within(within).await {
                    // A peer that refuses a ping or breaks it off has answered.
                    Err(
                        PingError::TimedOut { .. } | PingError::Open(OpenError::TimedOut { .. }),
                    ) => false,
                    _ => !self.is_closed(),
                },
            }
        };
        let answer = async {
            tokio::select! {
                () = received => true,
                answered = provoked => answered,
            }
        };
        tokio::time::timeout(within, answer).await.unwrap_or(false)
    }
}

/// Notes that a ping is under way, until it ends or is dropped. A connection has one at a time.
struct Asking<'a>(&'a AtomicU64);

impl<'a> Asking<'a> {
    fn begin(connection: &'a Connection) -> Self {
        let since = connection.0.opened.elapsed().as_micros();
        let asked = &connection.0.asked;
        asked.store(
            u64::try_from(since).unwrap_or(u64::MAX - 1),
            Ordering::Relaxed,
        );
        Self(asked)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}
