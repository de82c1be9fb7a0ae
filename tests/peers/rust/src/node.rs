//! What all subcommands have in common: how the node is made, what it prints and how it goes away.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use libp2p::{
    PeerId, Swarm, SwarmBuilder,
    core::ConnectedPoint,
    identify,
    identity::Keypair,
    kad, noise, ping, relay,
    swarm::{self, ConnectionId, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle},
    tcp, tls, yamux,
};

use crate::{
    dht,
    event::{self, Event},
};

/// How long a job may wait for its remote.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long connections may take to close before the process ends without them.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Nothing but the two ends closes a connection: ping and identify do not keep one alive by themselves.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(60 * 60);

#[derive(Args)]
pub struct NodeArgs {
    /// The only transport
    #[arg(long, value_enum)]
    pub transport: Transport,
    /// The only security offered over TCP (QUIC has its own)
    #[arg(long, value_enum, default_value_t = Security::Tls)]
    security: Security,
    /// Make the Ed25519 identity from 32 bytes that are all N [default: random]
    #[arg(long, value_name = "N")]
    key_seed: Option<u8>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Transport {
    Tcp,
    Quic,
}

#[derive(Clone, Copy, ValueEnum)]
enum Security {
    Tls,
    Noise,
}

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    pub stream: libp2p_stream::Behaviour,
    relay: Toggle<relay::Behaviour>,
    circuits: Toggle<relay::client::Behaviour>,
    pub dht: Toggle<dht::Behaviour>,
}

impl Behaviour {
    /// Whether it gives out addresses that it must know to be its own.
    pub fn gives_out_addresses(&self) -> bool {
        self.relay.is_enabled() || self.dht.is_enabled()
    }
}

pub type NodeEvent = SwarmEvent<BehaviourEvent>;

/// A node that has nothing to do with relays.
pub fn build(args: &NodeArgs, ping: ping::Config) -> Result<Swarm<Behaviour>> {
    build_with(args, |key| behaviour(key, ping, None, None))
}

/// A server of a DHT.
pub fn build_for_dht(args: &NodeArgs, config: kad::Config) -> Result<Swarm<Behaviour>> {
    build_with(args, |key| Behaviour {
        dht: Some(dht::server(key.public().to_peer_id(), config)).into(),
        ..behaviour(key, ping::Config::default(), None, None)
    })
}

fn build_with(
    args: &NodeArgs,
    behaviour: impl FnOnce(&Keypair) -> Behaviour,
) -> Result<Swarm<Behaviour>> {
    let tcp = tcp::Config::default().nodelay(true);

    // Each step of the builder has a type of its own, so the three stacks only meet again as finished swarms.
    let builder = SwarmBuilder::with_existing_identity(args.identity()?).with_tokio();
    let swarm = match (args.transport, args.security) {
        (Transport::Tcp, Security::Tls) => builder
            .with_tcp(tcp, tls::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .with_swarm_config(lasting)
            .build(),
        (Transport::Tcp, Security::Noise) => builder
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .with_swarm_config(lasting)
            .build(),
        (Transport::Quic, _) => builder
            .with_quic()
            .with_behaviour(behaviour)?
            .with_swarm_config(lasting)
            .build(),
    };
    Ok(swarm)
}

/// A node that can be behind a relay and dial through one, and is one itself if it has terms.
pub fn build_for_circuits(
    args: &NodeArgs,
    terms: Option<relay::Config>,
) -> Result<Swarm<Behaviour>> {
    let behaviour = |key: &Keypair, circuits| {
        let relay = terms.map(|terms| relay::Behaviour::new(key.public().to_peer_id(), terms));
        behaviour(key, ping::Config::default(), relay, Some(circuits))
    };
    let tcp = tcp::Config::default().nodelay(true);

    let builder = SwarmBuilder::with_existing_identity(args.identity()?).with_tokio();
    let swarm = match (args.transport, args.security) {
        (Transport::Tcp, Security::Tls) => builder
            .with_tcp(tcp, tls::Config::new, yamux::Config::default)?
            .with_relay_client(tls::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .with_swarm_config(lasting)
            .build(),
        (Transport::Tcp, Security::Noise) => builder
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)?
            .with_relay_client(noise::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .with_swarm_config(lasting)
            .build(),
        (Transport::Quic, _) => builder
            .with_quic()
            .with_relay_client(tls::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .with_swarm_config(lasting)
            .build(),
    };
    Ok(swarm)
}

fn behaviour(
    key: &Keypair,
    ping: ping::Config,
    relay: Option<relay::Behaviour>,
    circuits: Option<relay::client::Behaviour>,
) -> Behaviour {
    Behaviour {
        ping: ping::Behaviour::new(ping),
        identify: identify::Behaviour::new(identify::Config::new(
            "/rust-peer/0.1.0".to_owned(),
            key.public(),
        )),
        stream: libp2p_stream::Behaviour::new(),
        relay: relay.into(),
        circuits: circuits.into(),
        dht: None.into(),
    }
}

fn lasting(config: swarm::Config) -> swarm::Config {
    config.with_idle_connection_timeout(IDLE_CONNECTION_TIMEOUT)
}

impl NodeArgs {
    fn identity(&self) -> Result<Keypair> {
        match self.key_seed {
            Some(seed) => Ok(Keypair::ed25519_from_bytes([seed; 32])?),
            None => Ok(Keypair::generate_ed25519()),
        }
    }
}

/// Prints the line of an event that has one.
pub fn report(event: &NodeEvent) -> Result<()> {
    let line = match event {
        SwarmEvent::ConnectionEstablished {
            peer_id, endpoint, ..
        } => Event::Connected {
            peer_id: peer_id.to_string(),
            address: address(endpoint),
        },
        SwarmEvent::ConnectionClosed {
            peer_id,
            num_established: 0,
            ..
        } => Event::Disconnected {
            peer_id: peer_id.to_string(),
        },
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
            peer_id,
            info,
            ..
        })) => Event::Identified {
            peer_id: peer_id.to_string(),
            agent: &info.agent_version,
            protocols: info.protocols.iter().map(AsRef::as_ref).collect(),
            listen: info.listen_addrs.iter().map(ToString::to_string).collect(),
        },
        SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
            result: Ok(rtt), ..
        })) => Event::Pong {
            rtt_us: rtt.as_micros(),
        },
        SwarmEvent::Behaviour(BehaviourEvent::Circuits(
            relay::client::Event::ReservationReqAccepted {
                relay_peer_id,
                renewal,
                ..
            },
        )) => Event::Reserved {
            relay: relay_peer_id.to_string(),
            renewal: *renewal,
        },
        _ => return Ok(()),
    };
    event::emit(&line)?;
    Ok(())
}

/// Where the remote is. Of who comes through a relay this stack tells only the id there, and the relay elsewhere.
fn address(endpoint: &ConnectedPoint) -> String {
    match endpoint {
        ConnectedPoint::Listener {
            local_addr,
            send_back_addr,
        } if endpoint.is_relayed() => format!("{local_addr}{send_back_addr}"),
        _ => endpoint.get_remote_address().to_string(),
    }
}

/// Fails if the event says that the connection could not be made or is gone.
pub fn check(event: &NodeEvent, connection: ConnectionId) -> Result<()> {
    match event {
        SwarmEvent::OutgoingConnectionError {
            connection_id,
            error,
            ..
        } if *connection_id == connection => {
            bail!("{error}")
        }
        SwarmEvent::ConnectionClosed {
            connection_id,
            cause,
            ..
        } if *connection_id == connection => match cause {
            Some(cause) => bail!("the connection closed too early: {cause}"),
            None => bail!("the connection closed too early"),
        },
        _ => Ok(()),
    }
}

/// Closes all connections, so that no remote has to find out by a timeout that this node is gone.
pub async fn close(
    swarm: &mut Swarm<Behaviour>,
    mut report: impl FnMut(&NodeEvent) -> Result<()>,
) -> Result<()> {
    let peers: Vec<PeerId> = swarm.connected_peers().copied().collect();
    for peer in peers {
        // Fails only if the peer is no longer connected, which is what is wanted.
        let _ = swarm.disconnect_peer_id(peer);
    }
    let closed = async {
        while swarm.connected_peers().next().is_some() {
            report(&swarm.select_next_some().await)?;
        }
        Ok(())
    };
    tokio::time::timeout(CLOSE_PATIENCE, closed)
        .await
        .unwrap_or(Ok(()))
}
