//! Dials from a chosen address or interface.

use std::sync::Arc;

use super::{direct::Direct, uplink::Uplink};
use crate::{ByteStream, DialContext, DialError, Dialer, DirectConfig, Target};

/// Dials like [`Direct`], but only from the given uplinks. It dials all addresses of the target from the first uplink.
/// If they fail, or after [`DirectConfig::attempt_delay`] of silence, it also dials them from the next uplink. It uses
/// no other uplink.
///
/// To prefer the quickest uplink instead of the first one, use [`Balance`](crate::Balance) with several `Bound` dialers
/// of one uplink each. The configured resolver resolves names, and its questions use the system's routes. A connection
/// costs one more system call.
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
