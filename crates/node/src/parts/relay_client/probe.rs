//! The dial that shows whether a relay is at an address that it claims.

use std::sync::Arc;

use conn_state::Closing;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::RelayClient;
use crate::{
    address::{self, Kind},
    dial_budget::DialBudget,
    part::{Attempt, Transport},
};

impl RelayClient {
    /// Dials `address` and tells relay-slots whether `relay` is there. relay-slots asks for one probe at a time and limits
    /// their rate.
    pub(super) fn probe(
        self: &Arc<Self>,
        relay: PeerId,
        address: Multiaddr,
        stop: CancellationToken,
    ) {
        let this = Arc::clone(self);
        self.cx.spawn(async move {
            let dial = this.is_at(relay, &address);
            let probe = this.client.probe(relay, &address, dial);
            stop.run_until_cancelled(probe).await;
        });
    }

    /// Whether `relay` is at `address`. The dial has its own identity, because the relay would treat a second connection of this
    /// node as a replacement of the first. The connection enters neither the tracker nor the limits.
    async fn is_at(&self, relay: PeerId, address: &Multiaddr) -> bool {
        let kind = address::kind(address);
        if kind == Kind::Quic && !self.cx.is_direct(address) {
            return false;
        }
        let transports = (self.stranger)();
        let found = match transports.iter().find(|transport| transport.handles(kind)) {
            Some(transport) => self.reach(transport, relay, address).await,
            None => false,
        };
        for transport in transports {
            transport.close().await;
        }
        tracing::debug!(%relay, %address, found, "a relay's further address was dialed");
        found
    }

    async fn reach(
        &self,
        transport: &Arc<dyn Transport>,
        relay: PeerId,
        address: &Multiaddr,
    ) -> bool {
        let within = self.client.with(|client| client.config().answer);
        let attempt = Attempt {
            address: address.clone(),
            expected: Some(relay),
            // relay-slots ends the dial sooner or at the same time.
            deadline: Instant::now() + within,
            budget: DialBudget::default(),
        };
        match Arc::clone(transport).connect(attempt).await {
            Ok(reached) => {
                let is_relay = reached.muxed.peer() == relay;
                reached.muxed.close(Closing::Local);
                is_relay
            }
            Err(error) => {
                tracing::debug!(%relay, %address, %error, "no relay at the address that it claims");
                false
            }
        }
    }
}
