//! Several routes in a fixed order. A route is used only while all earlier routes are down.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{ByteStream, DialContext, DialError, Dialer, Fault, Target};

/// Dials over the first of several routes, and over the next route only if the first is down. For example, it dials through a
/// proxy, and directly while the proxy is down.
///
/// A route is down if it failed by its own fault ([`Fault::Route`]). Examples are a proxy that cannot be reached, is silent or
/// breaks off, and an uplink without a network. All other failures end the dial with the error of that route:
///
/// - a refusal by a rule or by a proxy, so that no later route bypasses it;
/// - wrong credentials, or a kind of target that a proxy does not serve, so that host names do not reach the name servers of this
///   machine while the proxy is up;
/// - a failure of the target.
///
/// While all earlier routes are down, a [`Direct`](crate::Direct) at the end of the list resolves host names on this machine.
/// Leave it out if the name servers of this machine must not learn the host names.
///
/// Each route except the last one has at most half of the remaining time to connect to its proxy, and the same time for the
/// handshake with the proxy ([`DialContext::reach`], [`DialContext::handshake`]). A target is direct only if every route dials it
/// directly. This dialer costs nothing while the first route is up.
#[derive(Clone)]
pub struct Fallback {
    routes: Vec<Arc<dyn Dialer>>,
}

impl Fallback {
    /// Dials over `routes` in this order. If there are none, every dial fails.
    pub fn new(routes: impl IntoIterator<Item = Arc<dyn Dialer>>) -> Self {
        let routes = routes.into_iter().collect();
        Self { routes }
    }
}

impl std::fmt::Debug for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fallback({} routes)", self.routes.len())
    }
}

/// Whether nothing but the route itself failed. A refusal among the errors of several routes counts.
fn is_down(error: &DialError) -> bool {
    match error {
        DialError::NoRoute { routes, .. } => !routes.is_empty() && routes.iter().all(is_down),
        DialError::GaveUp { source, .. } => is_down(source),
        error => error.fault() == Fault::Route,
    }
}

/// The same dial, with time left for the routes that follow.
fn hurried(cx: &DialContext) -> DialContext {
    let half = cx.deadline.saturating_duration_since(Instant::now()) / 2;
    let shorter = |limit: Option<Duration>| Some(limit.map_or(half, |limit| limit.min(half)));
    let mut hurried = cx.clone();
    hurried.reach = shorter(cx.reach);
    hurried.handshake = shorter(cx.handshake);
    hurried
}

#[async_trait::async_trait]
impl Dialer for Fallback {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        let mut failed = Vec::new();
        for (n, route) in self.routes.iter().enumerate() {
            let last = n + 1 == self.routes.len();
            let cx = if last { cx.clone() } else { hurried(cx) };
            match route.dial(target, &cx).await {
                Ok(stream) => return Ok(stream),
                Err(error) if !is_down(&error) => return Err(error),
                Err(error) => failed.push(error),
            }
            if Instant::now() >= cx.deadline {
                break;
            }
        }
        Err(DialError::NoRoute {
            address: target.to_multiaddr(),
            routes: failed,
        })
    }

    /// Whether every route is direct: another transport would bypass the others.
    fn is_direct(&self, target: &Target) -> bool {
        !self.routes.is_empty() && self.routes.iter().all(|route| route.is_direct(target))
    }

    /// Whether one of the routes is up, asked in their order. The error is that of the last one.
    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        let mut outcome = Ok(());
        for (n, route) in self.routes.iter().enumerate() {
            let last = n + 1 == self.routes.len();
            let cx = if last { cx.clone() } else { hurried(cx) };
            outcome = route.check(&cx).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}
