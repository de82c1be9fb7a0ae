//! The path of a connection to the other end.

use std::{fmt, sync::Arc};

use conn_state::{Limit, Route};

/// The path of a connection to the other end.
#[derive(Debug, Clone)]
pub(crate) enum Path {
    /// Without a relay or a proxy.
    Direct,
    /// Through a proxy, which may be in any network. The connection's address is an address in the network of the
    /// proxy.
    Proxied,
    /// Through a circuit of a relay.
    Relayed(Arc<dyn RelayLimit>),
}

/// The rest of a relay's limit on a circuit.
pub(crate) trait RelayLimit: fmt::Debug + Send + Sync {
    /// The rest of the limit, for the direction that has less left. `None`: the relay does not limit the circuit.
    fn remaining(&self) -> Option<Limit>;
}

impl Path {
    /// The path as conn-state describes it, at this moment.
    pub(super) fn route(&self) -> Route {
        match self {
            Self::Direct | Self::Proxied => Route::Direct,
            Self::Relayed(limit) => Route::Relayed(limit.remaining()),
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        matches!(self, Self::Direct)
    }

    pub(super) fn is_relayed(&self) -> bool {
        matches!(self, Self::Relayed(_))
    }

    /// The layers of the whole connection. `layers` are the layers that the transport reports.
    pub(super) fn via(&self, layers: &'static str) -> &'static str {
        match (self, layers) {
            (Self::Direct | Self::Proxied, layers) => layers,
            (Self::Relayed(_), "tcp/noise/yamux") => "relay/noise/yamux",
            (Self::Relayed(_), _) => "relay/tls/yamux",
        }
    }
}
