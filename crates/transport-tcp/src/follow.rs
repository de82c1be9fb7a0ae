//! Which records of a `/dnsaddr` name a dial may follow.

use std::{fmt, sync::Arc};

use crate::Target;

/// Accepts or refuses the target of a record.
#[derive(Clone)]
pub(crate) struct Follow(Arc<dyn Fn(&Target) -> bool + Send + Sync>);

impl Follow {
    /// Accepts what both `accepts` and `outer` accept.
    pub(crate) fn new(
        accepts: impl Fn(&Target) -> bool + Send + Sync + 'static,
        outer: Option<Self>,
    ) -> Self {
        Self(Arc::new(move |target| {
            accepts(target) && outer.as_ref().is_none_or(|outer| outer.accepts(target))
        }))
    }

    pub(crate) fn accepts(&self, target: &Target) -> bool {
        (self.0)(target)
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Follow")
    }
}
