//! `bench-relay`: a relay whose limits are out of the way, for the benchmarks.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{self, NetworkBehaviour, SwarmEvent},
    tcp, tls, yamux,
};
use tokio::io::AsyncReadExt;

use crate::event::{self, Event};

/// Longer than a benchmark takes.
const LONG: Duration = Duration::from_secs(60 * 60);

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    relay: relay::Behaviour,
}

fn limits(slots: usize) -> relay::Config {
    relay::Config {
        max_reservations: slots,
        max_reservations_per_peer: slots,
        reservation_duration: LONG,
        reservation_rate_limiters: Vec::new(),
        max_circuits: slots,
        max_circuits_per_peer: slots,
        max_circuit_duration: LONG,
        // Any number.
        max_circuit_bytes: 0,
        circuit_src_rate_limiters: Vec::new(),
    }
}

/// Relays over TCP, TLS and yamux until standard input closes.
pub async fn run(slots: usize) -> Result<()> {
    let behaviour = |key: &Keypair| Behaviour {
        ping: ping::Behaviour::default(),
        identify: identify::Behaviour::new(identify::Config::new(
            "/rust-peer/0.1.0".to_owned(),
            key.public(),
        )),
        relay: relay::Behaviour::new(key.public().to_peer_id(), limits(slots)),
    };
    let config = |config: swarm::Config| config.with_idle_connection_timeout(LONG);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            (tls::Config::new, noise::Config::new),
            yamux::Config::default,
        )?
        .with_behaviour(behaviour)?
        .with_swarm_config(config)
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse::<Multiaddr>()?)?;
    // A runtime's main future lives on a thread of its own, to which every wake-up is a long way.
    tokio::spawn(drive(swarm)).await.context("the relay died")?
}

async fn drive(mut swarm: Swarm<Behaviour>) -> Result<()> {
    let peer_id = *swarm.local_peer_id();
    let mut over = tokio::spawn(async {
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    });
    loop {
        tokio::select! {
            ended = &mut over => return ended.context("standard input"),
            event = swarm.select_next_some() => {
                if let SwarmEvent::NewListenAddr { address, .. } = event {
                    // Only what is known to be reachable is told to those who reserve.
                    swarm.add_external_address(address.clone());
                    event::emit(&Event::Ready {
                        peer_id: peer_id.to_string(),
                        addresses: vec![address.with(Protocol::P2p(peer_id)).to_string()],
                    })?;
                }
            }
        }
    }
}
