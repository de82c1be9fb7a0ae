//! The relay and the two ends of a circuit, each a whole node.

use std::time::Duration;

use anyhow::bail;
use libp2p_identity::Keypair;
use node::{
    Config, EventsError, Multiaddr, Node, RelayConfig, RelayServerConfig,
    conn_state::Recommended,
    multiaddr::Protocol,
    relay_slots::{Caps, TableConfig},
    transport_tcp::{Security, UpgradeConfig},
};
use serde_json::json;
use tests::harness::{bulk, program::over};

/// More than ever come.
const MANY: usize = 10_000;

/// Longer than a benchmark takes.
const LONG: Duration = Duration::from_secs(60 * 60);

/// A node that lets as many in as come, as fast as they come.
pub(crate) fn node(relay: RelayConfig) -> anyhow::Result<Node> {
    let limits = Config::default().limits.with_max_inbound(MANY);
    let config = Config::default()
        .with_upgrade(UpgradeConfig::default().with_security([Security::Tls]))
        .with_limits(limits.with_max_handshaking(MANY))
        .with_state(Recommended::default().with_max_transient(MANY, 32))
        .with_dial_timeouts(LONG, LONG)
        .with_relay(relay);
    Ok(Node::builder(Keypair::generate_ed25519())
        .config(config)
        .build()?)
}

/// As rust-libp2p's of the same benchmark: no caps, no rates, any number of bytes, and an hour.
pub(crate) async fn relay() -> anyhow::Result<()> {
    let terms = TableConfig::default().with_circuit_limits(Some(LONG), None);
    let server = RelayServerConfig::new(Caps::unlimited(), terms);
    let node = node(RelayConfig::default().with_server(server))?;
    let addresses = node.listen("/ip4/127.0.0.1/tcp/0".parse()?).await?;
    ready(&addresses);
    over().await?;
    node.shutdown().await;
    Ok(())
}

pub(crate) async fn destination(relay: &str) -> anyhow::Result<()> {
    let node = node(RelayConfig::default().with_reserve_at([relay.parse()?]))?;
    let mut events = node.events();
    let mut streams = node.handle_limited(bulk::PROTOCOL, 16)?;
    let circuit = |address: &Multiaddr| address.iter().any(|part| part == Protocol::P2pCircuit);
    let at = loop {
        if let Some(at) = node.listen_addresses().into_iter().find(circuit) {
            break at;
        }
        match events.next().await {
            Ok(_) | Err(EventsError::Lagged { .. }) => {}
            Err(error) => bail!("{error}"),
        }
    };
    ready(&[at]);
    tokio::spawn(async move {
        while let Some(incoming) = streams.next().await {
            tokio::spawn(bulk::sink(incoming.stream));
        }
    });
    over().await
}

pub(crate) async fn source(circuit: &str, bytes: u64, write: usize) -> anyhow::Result<()> {
    let node = node(RelayConfig::default())?;
    let connection = node.dial([circuit.parse()?]).await?;
    let (_, stream) = connection.open_limited(&[bulk::PROTOCOL]).await?;
    println!("{}", json!({"event": "connected", "via": connection.via()}));
    bulk::pump(stream, bytes, write).await?;
    node.shutdown().await;
    Ok(())
}

fn ready(addresses: &[Multiaddr]) {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    println!("{}", json!({"event": "ready", "addresses": addresses}));
}
