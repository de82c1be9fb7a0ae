//! `bench-servers` and `bench-join`: many peers in one process, and a cold start that connects to some of them.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, identify, ping, swarm::SwarmEvent};
use tokio::io::AsyncReadExt;

use crate::{
    event::{self, Event},
    node::{self, Behaviour, BehaviourEvent, NodeArgs, Transport},
};

/// How long a cold start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens with many peers, each with an identity and a port of its own, until standard input closes.
pub async fn servers(args: &NodeArgs, count: usize) -> Result<()> {
    let at: Multiaddr = match args.transport {
        Transport::Tcp => "/ip4/127.0.0.1/tcp/0".parse()?,
        Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1".parse()?,
    };
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let mut swarm = node::build(args, ping::Config::default())?;
        swarm.listen_on(at.clone())?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let address = address.with_p2p(*swarm.local_peer_id());
        addresses.push(address.unwrap_or_else(|address| address).to_string());
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
    }
    event::emit(&Event::Ready {
        peer_id: String::new(),
        addresses,
    })?;
    over().await
}

/// Dials the peers in their order, `dials` of them at a time, until `wanted` of them are connected and identified.
pub async fn join(
    args: &NodeArgs,
    peers: Vec<Multiaddr>,
    wanted: usize,
    dials: usize,
) -> Result<()> {
    let start = Instant::now();
    let swarm = node::build(args, ping::Config::default())?;
    let joined = connect(swarm, peers, wanted, dials);
    // A runtime's main future lives on a thread of its own, to which every wake-up is a long way.
    let joined = tokio::spawn(tokio::time::timeout(PATIENCE, joined));
    let mut swarm = joined.await?.context("too slow")??;
    event::emit(&Event::Joined {
        peers: swarm.connected_peers().count(),
        seconds: start.elapsed().as_secs_f64(),
    })?;
    over().await?;
    node::close(&mut swarm, |_| Ok(())).await
}

async fn connect(
    mut swarm: Swarm<Behaviour>,
    peers: Vec<Multiaddr>,
    wanted: usize,
    dials: usize,
) -> Result<Swarm<Behaviour>> {
    let mut peers = peers.into_iter();
    for peer in peers.by_ref().take(dials) {
        swarm.dial(peer)?;
    }
    let mut identified = HashSet::new();
    while identified.len() < wanted {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                ..
            })) => {
                identified.insert(peer_id);
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => match peers.next() {
                Some(peer) => swarm.dial(peer)?,
                None => bail!("no peer is left after this one: {error}"),
            },
            _ => {}
        }
    }
    Ok(swarm)
}

/// Until standard input closes.
pub async fn over() -> Result<()> {
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    Ok(())
}
