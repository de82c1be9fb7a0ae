//! Options of a dial: the resolver, and the budget of attempts.

use std::{fmt, sync::Arc, time::Instant};

use crate::resolve::Resolver;

/// How a dial resolves a host name, and how many of its addresses it tries.
///
/// By default, a dial asks the system's resolver. A dial always tries at most 16 addresses of a name.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DialOptions {
    /// Resolves the name instead of the system's resolver.
    pub resolver: Option<Resolver>,
    /// The budget that admits each attempt. Default: all attempts are admitted. The ninth attempt
    /// and each later attempt wait for 20 ms, even if the previous attempts failed at once.
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

/// A budget of attempts that several dials can share. Clones share one budget.
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
