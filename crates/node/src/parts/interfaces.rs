//! Follows the network interfaces and the DNS configuration, and closes connections whose local address is gone.

use std::{net::IpAddr, sync::Arc, time::Duration};

use conn_state::Closing;
use futures::{FutureExt, future::BoxFuture};
use multiaddr::Multiaddr;
use tokio_util::sync::CancellationToken;

use crate::{
    address,
    context::Context,
    dns_config, interfaces,
    part::{Change, Part},
};

/// The time that a peer has to answer on a connection whose local address is gone. The node does not close such a connection at
/// once, because an address that moves to another interface is soon back, and a QUIC connection can continue from another
/// address.
const PROBE: Duration = Duration::from_secs(1);

/// The watch of the network interfaces.
pub(crate) struct Interfaces(Context);

impl Interfaces {
    pub(crate) fn new(context: Context) -> Self {
        Self(context)
    }

    /// Probes the connections that may have used one of the addresses that are gone. A probe is one ping per connection.
    fn probe(&self, gone: &[IpAddr]) {
        for connection in self.0.connections() {
            if may_have_used(connection.local().as_ref(), gone) {
                let context = self.0.clone();
                self.0.spawn(async move {
                    if !connection.answers(PROBE).await {
                        tracing::debug!(peer = %connection.peer(), "a connection is closed because its local address is gone");
                        context.close(connection.id(), Closing::AddressLost);
                    }
                });
            }
        }
    }
}

/// Whether a connection with this local address used one of the addresses, as far as its transport knows.
fn may_have_used(local: Option<&Multiaddr>, gone: &[IpAddr]) -> bool {
    local
        .and_then(address::ip)
        .is_some_and(|ip| match ip.is_unspecified() {
            true => gone.iter().any(|gone| gone.is_ipv4() == ip.is_ipv4()),
            false => gone.contains(&ip),
        })
}

impl Part for Interfaces {
    fn name(&self) -> &'static str {
        "interfaces"
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let mut watch = interfaces::Watch::new();
            let mut dns = dns_config::Watch::new();
            loop {
                // The first read covers changes before the watch began.
                let gone = self.0.read_interfaces();
                if !gone.is_empty() {
                    self.probe(&gone);
                }
                // A wait for the interfaces that is dropped may forget its notice, but the list is read next in any case.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = watch.changed() => {}
                    () = dns.changed() => self.0.report(Change::Network),
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_probed_if_its_address_is_gone_or_its_wildcard_may_have_used_it() {
        let gone = ["192.0.2.1".parse().unwrap()];
        for (local, expected) in [
            ("/ip4/192.0.2.1/tcp/1", true),
            ("/ip4/192.0.2.2/tcp/1", false),
            ("/ip4/0.0.0.0/udp/1/quic-v1", true),
            ("/ip6/::/udp/1/quic-v1", false),
        ] {
            let local = local.parse().unwrap();
            assert_eq!(may_have_used(Some(&local), &gone), expected, "{local}");
        }
        assert!(!may_have_used(None, &gone));
    }
}
