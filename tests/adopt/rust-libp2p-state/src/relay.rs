//! libp2p's own relay, on a port of the loopback interface.

use std::{io, time::Duration};

use anyhow::Result;
use clap::Args;
use futures::StreamExt;
use libp2p::{
    SwarmBuilder, identity::Keypair, multiaddr::Protocol, noise, relay, swarm::SwarmEvent, tcp,
    yamux,
};
use serde_json::json;

use crate::report;

#[derive(Args)]
pub struct Options {
    /// How long a circuit may last
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    duration: u64,
    /// How many bytes it may carry in each direction
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 17)]
    bytes: u64,
}

pub async fn run(options: Options) -> Result<()> {
    let config = relay::Config {
        max_circuit_duration: Duration::from_secs(options.duration),
        max_circuit_bytes: options.bytes,
        ..Default::default()
    };
    let relay = |key: &Keypair| relay::Behaviour::new(key.public().to_peer_id(), config);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(relay)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(report::PATIENCE))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let mut input = report::lines(io::stdin());
    loop {
        tokio::select! {
            event = swarm.select_next_some() => if let SwarmEvent::NewListenAddr { address, .. } = event {
                // Reservations are granted at addresses that are known to be the relay's.
                swarm.add_external_address(address.clone());
                let local = *swarm.local_peer_id();
                let address = address.with(Protocol::P2p(local)).to_string();
                report::line(json!({ "event": "ready", "peer_id": local.to_string(), "addresses": [address] }));
            },
            line = input.recv() => if line.is_none() {
                return Ok(());
            },
        }
    }
}
