//! Dials from a chosen address or interface.

use std::sync::Arc;

use super::{direct::Direct, uplink::Uplink};
use crate::{ByteStream, DialContext, DialError, Dialer, DirectConfig, Target};

/// Dials as [`Direct`] does, but only from the uplinks given: all addresses of the target from the first one, and from
/// the next one as well after [`DirectConfig::attempt_delay`] of silence or once those failed. It never falls back to
/// an uplink that is not among them.
///
/// To prefer the quickest uplink instead of the first, [`Balance`](crate::Balance) several of these with one uplink each.
/// Names are resolved by the configured resolver, whose questions use the system's routes. Costs one system call per
/// connection.
#[derive(Debug, Clone)]
pub struct Bound {
    direct: Direct,
    uplinks: Vec<Uplink>,
    label: Arc<str>,
}

impl Bound {
    /// Dials from `uplinks`, in this order of preference.
    pub fn new(uplinks: impl IntoIterator<Item = Uplink>, config: DirectConfig) -> Self {
        let uplinks: Vec<_> = uplinks.into_iter().collect();
        let names: Vec<_> = uplinks.iter().map(Uplink::to_string).collect();
        Self {
            direct: Direct::new(config),
            label: format!("direct from {}", names.join(" or ")).into(),
            uplinks,
        }
    }
}

#[async_trait::async_trait]
impl Dialer for Bound {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        cx.take(&self.label);
        self.direct.dial_from(Some(&self.uplinks), target, cx).await
    }
}
