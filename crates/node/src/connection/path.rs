//! How a connection reaches the other end.

use std::{fmt, sync::Arc};

use conn_state::{Limit, Route};

/// How a connection reaches the other end.
#[derive(Debug, Clone)]
pub(crate) enum Path {
    /// From one end to the other.
    Direct,
    /// Through a circuit of a relay.
    Relayed(Arc<dyn RelayLimit>),
}

/// What a relay still lets a circuit carry.
pub(crate) trait RelayLimit: fmt::Debug + Send + Sync {
    /// The rest, in the direction that has less of it. `None`: the relay does not limit the circuit.
    fn remaining(&self) -> Option<Limit>;
}

impl Path {
    /// The path as conn-state describes it, at this moment.
    pub(super) fn route(&self) -> Route {
        match self {
            Self::Direct => Route::Direct,
            Self::Relayed(limit) => Route::Relayed(limit.remaining()),
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        matches!(self, Self::Direct)
    }

    /// The layers of a connection whose muxer names its own as `layers`.
    pub(super) fn via(&self, layers: &'static str) -> &'static str {
        match (self, layers) {
            (Self::Direct, layers) => layers,
            (Self::Relayed(_), "tcp/noise/yamux") => "relay/noise/yamux",
            (Self::Relayed(_), _) => "relay/tls/yamux",
        }
    }
}
