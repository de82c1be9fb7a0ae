//! An endpoint that speaks gossip, without relays and without any look-up of addresses.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey,
    address_lookup::memory::MemoryLookup,
    endpoint::{Connection, presets},
    protocol::{AcceptError, ProtocolHandler, Router},
};
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use serde_json::json;

use crate::say;

/// A running endpoint.
pub struct Member {
    pub gossip: Gossip,
    pub id: EndpointId,
    endpoint: Endpoint,
    address: SocketAddr,
}

impl Member {
    /// Starts an endpoint that finds the addresses of others in `known`.
    pub async fn start(key: SecretKey, at: SocketAddr, known: &MemoryLookup) -> Result<Self> {
        let endpoint = Endpoint::builder(presets::Minimal)
            .secret_key(key)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .address_lookup(known.clone())
            .bind_addr(at)?
            .bind()
            .await?;
        let address = endpoint.bound_sockets().into_iter().next();
        Ok(Self {
            gossip: Gossip::builder().spawn(endpoint.clone()),
            id: endpoint.id(),
            address: address.context("the endpoint has no socket")?,
            endpoint,
        })
    }

    /// The endpoint as other members name it.
    pub fn name(&self) -> String {
        format!("{}@{}", self.id, self.address)
    }

    /// Accepts connections.
    pub fn serve(&self) -> Router {
        let handler = Told(self.gossip.clone());
        let router = Router::builder(self.endpoint.clone());
        router.accept(GOSSIP_ALPN, handler).spawn()
    }
}

/// Remembers the address of a member.
pub fn learn(known: &MemoryLookup, id: EndpointId, address: SocketAddr) {
    known.add_endpoint_info(EndpointAddr::new(id).with_ip_addr(address));
}

/// Hands each connection to gossip, and prints that it was accepted.
#[derive(Debug)]
struct Told(Gossip);

impl ProtocolHandler for Told {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        say(&json!({"event": "accepted", "endpoint_id": connection.remote_id().to_string()}));
        self.0.accept(connection).await
    }

    async fn shutdown(&self) {
        ProtocolHandler::shutdown(&self.0).await;
    }
}
