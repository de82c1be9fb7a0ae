//! What a dial of a host name may use.

use std::{fmt, sync::Arc, time::Instant};

use crate::resolve::Resolver;

/// How a dial resolves a host name, and how many of its addresses it tries.
///
/// By default the system's resolver is asked. At most 16 addresses of a name are tried in any case.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DialOptions {
    /// Resolves the name instead of the system's resolver.
    pub resolver: Option<Resolver>,
    /// Admits each attempt. Default: all of them. The ninth attempt and each further one wait for
    /// 20 ms, even if the attempts before them failed at once.
    pub connects: Option<ConnectBudget>,
}

impl DialOptions {
    /// Sets [`DialOptions::resolver`].
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Sets [`DialOptions::connects`].
    #[must_use]
    pub fn with_connects(mut self, connects: ConnectBudget) -> Self {
        self.connects = Some(connects);
        self
    }
}

/// The attempts that several dials may make together. Clones share one budget.
#[derive(Clone)]
pub struct ConnectBudget(Arc<Reserve>);

type Reserve = dyn Fn(Instant) -> Option<Instant> + Send + Sync;

impl ConnectBudget {
    /// A budget that asks `reserve` before each attempt. `reserve` receives the present time. It
    /// returns the time at which this attempt may start, or `None` if no further attempt may be
    /// made. It must not block.
    pub fn new(reserve: impl Fn(Instant) -> Option<Instant> + Send + Sync + 'static) -> Self {
        Self(Arc::new(reserve))
    }

    /// When the next attempt may start.
    pub(crate) fn reserve(&self, now: Instant) -> Option<Instant> {
        (self.0)(now)
    }
}

impl fmt::Debug for ConnectBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectBudget")
    }
}
