//! `bench-kad-servers`, `bench-kad-client` and `bench-kad-table`: the counterparts of what `bench-kademlia` does with Bowline.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context as TaskContext, Poll, Waker},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify,
    identity::Keypair,
    kad::{self, Mode, QueryResult, store::MemoryStore},
    multiaddr::Protocol,
    noise, ping,
    swarm::{self, NetworkBehaviour, SwarmEvent},
    tcp, tls, yamux,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    time::{sleep, timeout},
};

use crate::{
    bench_rejoin::over,
    dht,
    event::{self, Event},
};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/kad/1.0.0");

/// Longer than a benchmark takes.
const LONG: Duration = Duration::from_secs(60 * 60);

/// How long a lookup, or the start or the end of all connections, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the tables are looked at.
const POLL: Duration = Duration::from_millis(250);

/// The tables are ready once they have not grown for this long.
const QUIET: Duration = Duration::from_secs(3);

/// How long they may take until then.
const START: Duration = Duration::from_secs(120);

/// How many peers each server must know, unless there are fewer.
const LEAST: usize = 20;

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    dht: dht::Behaviour,
}

/// The stack's defaults, which are k = 20 and α = 3, without lookups of its own in between.
pub fn config(protocol: StreamProtocol) -> kad::Config {
    let mut config = kad::Config::new(protocol);
    config.set_periodic_bootstrap_interval(None);
    config
}

/// Ids of peers. The same seed gives the same ids in `bench-kademlia`.
pub fn keys(seed: u64, count: u64) -> Result<Vec<Keypair>> {
    let key = |number: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&number.to_be_bytes());
        anyhow::Ok(Keypair::ed25519_from_bytes(bytes)?)
    };
    (0..count).map(key).collect()
}

fn node(mode: Mode) -> Result<Swarm<Behaviour>> {
    let behaviour = |key: &Keypair| {
        let peer = key.public().to_peer_id();
        let identity = identify::Config::new("/rust-peer/0.1.0".to_owned(), key.public());
        let mut dht = dht::server(peer, config(PROTOCOL));
        dht.set_mode(Some(mode));
        Behaviour {
            ping: ping::Behaviour::default(),
            identify: identify::Behaviour::new(identity),
            dht,
        }
    };
    let lasting = |config: swarm::Config| config.with_idle_connection_timeout(LONG);
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            (tls::Config::new, noise::Config::new),
            yamux::Config::default,
        )?
        .with_behaviour(behaviour)?
        .with_swarm_config(lasting)
        .build())
}

/// Tells the DHT which peers serve.
fn note(swarm: &mut Swarm<Behaviour>, event: &SwarmEvent<BehaviourEvent>) {
    if let SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
        peer_id,
        info,
        ..
    })) = event
    {
        dht::note_identified(&mut swarm.behaviour_mut().dht, peer_id, info);
    }
}

/// Serves with peers that have joined through the first one, until standard input closes. They are ready when they know each
/// other.
pub async fn servers(count: usize) -> Result<()> {
    let (mut tables, mut addresses) = (Vec::new(), Vec::<Multiaddr>::new());
    for _ in 0..count {
        let mut swarm = node(Mode::Server)?;
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        swarm.add_external_address(address.clone());
        if let Some(first) = addresses.first() {
            swarm.dial(first.clone())?;
        }
        addresses.push(address.with(Protocol::P2p(*swarm.local_peer_id())));
        let entries = Arc::new(AtomicUsize::new(0));
        tables.push(Arc::clone(&entries));
        tokio::spawn(serve(swarm, entries));
    }
    until_known(&tables).await?;
    event::emit(&Event::Ready {
        peer_id: String::new(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
    })?;
    over().await
}

async fn serve(mut swarm: Swarm<Behaviour>, entries: Arc<AtomicUsize>) {
    loop {
        let event = swarm.select_next_some().await;
        note(&mut swarm, &event);
        if let SwarmEvent::Behaviour(BehaviourEvent::Dht(kad::Event::RoutingUpdated {
            is_new_peer: true,
            old_peer: None,
            ..
        })) = event
        {
            entries.fetch_add(1, Relaxed);
        }
    }
}

async fn until_known(tables: &[Arc<AtomicUsize>]) -> Result<()> {
    let begun = Instant::now();
    let (mut known, mut since) = (0, begun);
    loop {
        let sizes: Vec<usize> = tables.iter().map(|entries| entries.load(Relaxed)).collect();
        let sum: usize = sizes.iter().sum();
        let least = sizes.iter().min().copied().unwrap_or(0);
        if sum != known {
            (known, since) = (sum, Instant::now());
        }
        let enough = least >= LEAST.min(tables.len() - 1);
        if enough && since.elapsed() >= QUIET {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < START,
            "a server knows only {least} others after {START:?}"
        );
        sleep(POLL).await;
    }
}

/// Looks up one random key after another, as standard input says: `open SEED COUNT` with a connection to each server, and
/// `fresh SEED COUNT` so that each lookup begins without any connection.
pub async fn client(servers: Vec<Multiaddr>) -> Result<()> {
    // A runtime's main future lives on a thread of its own, to which every wake-up is a long way.
    tokio::spawn(obey(servers)).await.context("it panicked")?
}

async fn obey(servers: Vec<Multiaddr>) -> Result<()> {
    let mut swarm = node(Mode::Client)?;
    connect(&mut swarm, &servers).await?;
    event::emit(&Event::Ready {
        peer_id: String::new(),
        addresses: Vec::new(),
    })?;
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            event = swarm.select_next_some() => {
                note(&mut swarm, &event);
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        let words: Vec<&str> = line.split_whitespace().collect();
        let [how, seed, count] = words[..] else {
            bail!("there is no such command: {line}");
        };
        let fresh = how == "fresh";
        // No peer has one of these ids.
        let keys = keys(seed.parse()?, count.parse()?)?;
        if !fresh {
            connect(&mut swarm, &servers).await?;
        }
        let (mut micros, mut answers) = (Vec::new(), 0);
        for key in keys {
            if fresh {
                disconnect(&mut swarm).await?;
            }
            let key = key.public().to_peer_id();
            let (took, answered) = timeout(PATIENCE, look_up(&mut swarm, key)).await??;
            micros.push(took.as_micros());
            answers += answered;
        }
        event::emit(&Event::Lookups {
            micros,
            answers,
            connections: swarm.connected_peers().count(),
        })?;
    }
}

async fn connect(swarm: &mut Swarm<Behaviour>, servers: &[Multiaddr]) -> Result<()> {
    for server in servers {
        let Some(Protocol::P2p(peer)) = server.iter().last() else {
            bail!("no id: {server}");
        };
        if !swarm.is_connected(&peer) {
            swarm.dial(server.clone())?;
        }
        let connected = async {
            while !swarm.is_connected(&peer) {
                let event = swarm.select_next_some().await;
                note(swarm, &event);
            }
        };
        timeout(PATIENCE, connected)
            .await
            .with_context(|| format!("not connected: {server}"))?;
    }
    Ok(())
}

async fn disconnect(swarm: &mut Swarm<Behaviour>) -> Result<()> {
    let closed = async {
        loop {
            // Dials of the last lookup may still succeed.
            let peers: Vec<PeerId> = swarm.connected_peers().copied().collect();
            if peers.is_empty() {
                return;
            }
            for peer in peers {
                // Fails only if the peer is no longer connected, which is what is wanted.
                let _ = swarm.disconnect_peer_id(peer);
            }
            let event = swarm.select_next_some().await;
            note(swarm, &event);
        }
    };
    timeout(PATIENCE, closed)
        .await
        .context("a connection does not close")
}

/// The time of a lookup, and how many peers have answered.
async fn look_up(swarm: &mut Swarm<Behaviour>, key: PeerId) -> Result<(Duration, u32)> {
    let begun = Instant::now();
    let query = swarm.behaviour_mut().dht.get_closest_peers(key);
    loop {
        let event = swarm.select_next_some().await;
        note(swarm, &event);
        if let SwarmEvent::Behaviour(BehaviourEvent::Dht(kad::Event::OutboundQueryProgressed {
            id,
            result: QueryResult::GetClosestPeers(result),
            stats,
            ..
        })) = event
            && id == query
        {
            let took = begun.elapsed();
            ensure!(!result?.peers.is_empty(), "nobody has answered");
            return Ok((took, stats.num_successes()));
        }
    }
}

/// Fills tables with the same peers, and tells the memory that they take.
pub fn table(tables: usize, peers: usize) -> Result<()> {
    let peers: Vec<(PeerId, Vec<u8>)> = (0..peers)
        .map(|number| (PeerId::random(), address(number).to_vec()))
        .collect();
    let before = resident()?;
    let mut all: Vec<dht::Behaviour> = (0..tables).map(|_| empty()).collect();
    let empty = resident()?;
    for dht in &mut all {
        for (peer, address) in &peers {
            // Multiaddrs share their bytes with their clones. Those of an answer are decoded anew.
            dht.add_address(peer, Multiaddr::try_from(address.clone())?);
            let mut context = TaskContext::from_waker(Waker::noop());
            while let Poll::Ready(_) = dht.poll(&mut context) {}
        }
    }
    let full = resident()?;
    let entries = |dht: &mut dht::Behaviour| -> usize {
        dht.kbuckets().map(|bucket| bucket.num_entries()).sum()
    };
    event::emit(&Event::Table {
        entries: all.iter_mut().map(entries).sum(),
        bytes: full.saturating_sub(before),
        bytes_of_empty_tables: empty.saturating_sub(before),
    })?;
    Ok(())
}

fn empty() -> dht::Behaviour {
    let peer = PeerId::random();
    dht::Behaviour::with_config(peer, MemoryStore::new(peer), config(PROTOCOL))
}

fn address(number: usize) -> Multiaddr {
    let [.., high, middle, low] = number.to_be_bytes();
    let ip = Ipv4Addr::new(10, high, middle, low);
    Multiaddr::from(ip).with(Protocol::Tcp(4001))
}

/// The resident memory of this process, in bytes.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.context("no VmRSS")?.parse::<u64>()? * 1024)
}
