//! `bench-kad-network`: lookups in a large network of swarms over the memory transport.
//!
//! A query does not tell how many hops it took. So each server tells whom it names in its answer, and the hops follow from the
//! order of the answers: a peer in the asker's table is one hop away, and a peer that an answer names first is one hop farther
//! away than the server that gave the answer.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{StreamExt, stream};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, Transport,
    core::{transport::MemoryTransport, upgrade::Version},
    identity::Keypair,
    kad::{self, InboundRequest, K_VALUE, KBucketKey, QueryId, QueryResult},
    noise, swarm,
    swarm::SwarmEvent,
    yamux,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    bench_kad::{config, keys},
    dht,
    event::{self, Event},
};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/kad/1.0.0");

/// The seeds of the ids of the nodes, and of the keys.
const NODES: u64 = 1;
const KEYS: u64 = 2;

/// How many nodes join at the same time.
const JOINING: usize = 4;

/// A connection that nobody uses is closed, because all of them together would take too much memory.
const IDLE: Duration = Duration::from_secs(2);

/// How long one query may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The network rests once no server was asked for this long.
const QUIET: Duration = Duration::from_secs(3);

/// How many of the 20 nearest nodes a good lookup finds.
const GOOD: usize = 18;

enum Order {
    /// Joins through this peer, or looks around again.
    Join(Option<(PeerId, Multiaddr)>, oneshot::Sender<Done>),
    LookUp(PeerId, oneshot::Sender<Done>),
}

/// The end of a query.
struct Done {
    /// The peers of the table that the query could begin with.
    seeds: Vec<PeerId>,
    /// The nearest peers that have answered.
    found: Vec<PeerId>,
    requests: u32,
}

/// What all nodes know.
struct Shared {
    addresses: HashMap<PeerId, Multiaddr>,
    traced: Mutex<Traced>,
}

/// The lookup that is traced, and the answers that it got.
struct Traced {
    lookup: Option<(PeerId, KBucketKey<PeerId>)>,
    answers: Vec<(PeerId, Vec<PeerId>)>,
    /// When a server was asked last.
    asked: Instant,
}

struct Node {
    id: PeerId,
    orders: mpsc::Sender<Order>,
}

/// Looks up keys in a network of so many nodes, each from another node, and tells the hops and requests of each lookup.
pub async fn run(nodes: u64, lookups: u64) -> Result<()> {
    let (nodes, shared) = network(keys(NODES, nodes)?)?;
    join_all(&nodes, &shared).await?;
    until_quiet(&shared).await;
    let (mut hops, mut requests, mut good) = (Vec::new(), Vec::new(), 0);
    for (number, key) in keys(KEYS, lookups)?.into_iter().enumerate() {
        let (asker, key) = (&nodes[number * 7 % nodes.len()], key.public().to_peer_id());
        let target = KBucketKey::from(key);
        shared.trace(Some((asker.id, target)));
        let done = asker.order(|done| Order::LookUp(key, done)).await?;
        let answers = shared.trace(None);
        let nearest = nearest(&nodes, asker, &target);
        let found = done.found.iter().filter(|peer| nearest.contains(peer));
        good += usize::from(found.count() >= GOOD.min(nearest.len()));
        hops.extend(hops_of(&done, &answers));
        requests.push(done.requests);
    }
    event::emit(&Event::Network {
        hops,
        requests,
        good,
    })?;
    Ok(())
}

/// The nodes, each of them listening and on a task of its own.
fn network(keys: Vec<Keypair>) -> Result<(Vec<Node>, Arc<Shared>)> {
    let ids: Vec<PeerId> = keys.iter().map(|key| key.public().to_peer_id()).collect();
    let addresses = ids.iter().enumerate();
    let addresses = addresses.map(|(number, id)| Ok((*id, address(number)?)));
    let shared = Arc::new(Shared {
        addresses: addresses.collect::<Result<_>>()?,
        traced: Mutex::new(Traced {
            lookup: None,
            answers: Vec::new(),
            asked: Instant::now(),
        }),
    });
    let mut nodes = Vec::new();
    for (number, (key, id)) in keys.into_iter().zip(ids).enumerate() {
        let mut swarm = build(key)?;
        swarm.listen_on(address(number)?)?;
        swarm.add_external_address(address(number)?);
        let (orders, incoming) = mpsc::channel(1);
        tokio::spawn(drive(swarm, incoming, Arc::clone(&shared)));
        nodes.push(Node { id, orders });
    }
    Ok((nodes, shared))
}

fn address(number: usize) -> Result<Multiaddr> {
    Ok(format!("/memory/{}", number + 1).parse()?)
}

fn build(key: Keypair) -> Result<Swarm<dht::Behaviour>> {
    let idle = |config: swarm::Config| config.with_idle_connection_timeout(IDLE);
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| -> Result<_, Box<dyn Error + Send + Sync>> {
            let memory = MemoryTransport::new().upgrade(Version::V1Lazy);
            let memory = memory.authenticate(noise::Config::new(key)?);
            Ok(memory.multiplex(yamux::Config::default()))
        })?
        .with_behaviour(|key| dht::server(key.public().to_peer_id(), config(PROTOCOL)))?
        .with_swarm_config(idle)
        .build())
}

/// Each node joins through a random node that was there before. Later all nodes look around once more, because those that came
/// first knew nobody.
async fn join_all(nodes: &[Node], shared: &Shared) -> Result<()> {
    let join = move |number: usize, first: bool| async move {
        let node = &nodes[number];
        let through = first.then(|| nodes[mixed(number) % number.max(1)].id);
        let through = through.map(|id| (id, shared.addresses[&id].clone()));
        node.order(|done| Order::Join(through, done)).await?;
        anyhow::Ok(())
    };
    for first in [true, false] {
        let joins = stream::iter((1..nodes.len()).map(|number| join(number, first)));
        let mut joins = joins.buffer_unordered(JOINING);
        while let Some(joined) = joins.next().await {
            joined?;
        }
    }
    Ok(())
}

/// A fixed number that looks random.
fn mixed(number: usize) -> usize {
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)) as usize
}

async fn until_quiet(shared: &Shared) {
    loop {
        let since = shared.lock().asked.elapsed();
        match QUIET.checked_sub(since) {
            Some(left) => sleep(left).await,
            None => return,
        }
    }
}

fn nearest(nodes: &[Node], asker: &Node, target: &KBucketKey<PeerId>) -> Vec<PeerId> {
    let others = nodes.iter().map(|node| node.id);
    let mut others: Vec<PeerId> = others.filter(|id| *id != asker.id).collect();
    others.sort_unstable_by_key(|id| KBucketKey::from(*id).distance(target));
    others.truncate(K_VALUE.get());
    others
}

/// How many answers led to the nearest peer. A table may change between an answer and its record, so that nobody seems to have
/// named the peer.
fn hops_of(done: &Done, answers: &[(PeerId, Vec<PeerId>)]) -> Option<u32> {
    let mut hops: HashMap<PeerId, u32> = done.seeds.iter().map(|seed| (*seed, 1)).collect();
    for (server, named) in answers {
        let Some(so_far) = hops.get(server).copied() else {
            continue;
        };
        for peer in named {
            hops.entry(*peer).or_insert(so_far + 1);
        }
    }
    hops.get(done.found.first()?).copied()
}

impl Node {
    async fn order(&self, order: impl FnOnce(oneshot::Sender<Done>) -> Order) -> Result<Done> {
        let (done, end) = oneshot::channel();
        let sent = self.orders.send(order(done)).await;
        sent.ok().context("the node is gone")?;
        let end = timeout(PATIENCE, end)
            .await
            .context("a query does not end")?;
        end.context("the query was not started, or it has failed")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Traced> {
        self.traced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to trace a lookup, or ends it. Returns the answers until now.
    fn trace(&self, lookup: Option<(PeerId, KBucketKey<PeerId>)>) -> Vec<(PeerId, Vec<PeerId>)> {
        let mut traced = self.lock();
        traced.lookup = lookup;
        std::mem::take(&mut traced.answers)
    }

    /// A server was asked. It names the nearest peers of its table to the asker.
    fn note_asked(&self, server: PeerId, dht: &mut dht::Behaviour) {
        let mut traced = self.lock();
        traced.asked = Instant::now();
        if let Some((asker, target)) = traced.lookup {
            let named = dht.find_closest_local_peers(&target, &asker);
            let named = named.map(|peer| peer.node_id).collect();
            traced.answers.push((server, named));
        }
    }
}

/// The queries of a node that have not ended, with the peers that they could begin with.
type Open = HashMap<QueryId, (Vec<PeerId>, oneshot::Sender<Done>)>;

async fn drive(
    mut swarm: Swarm<dht::Behaviour>,
    mut orders: mpsc::Receiver<Order>,
    shared: Arc<Shared>,
) {
    let mut open = Open::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => begin(swarm.behaviour_mut(), order, &mut open),
                None => return,
            },
            event = swarm.select_next_some() => {
                if let SwarmEvent::Behaviour(event) = event {
                    let local = *swarm.local_peer_id();
                    note(local, swarm.behaviour_mut(), event, &mut open, &shared);
                }
            }
        }
    }
}

/// Starts a query. If it does not start, its end is dropped, and the caller learns of that.
fn begin(dht: &mut dht::Behaviour, order: Order, open: &mut Open) {
    match order {
        Order::Join(through, done) => {
            if let Some((peer, address)) = through {
                dht.add_address(&peer, address);
            }
            if let Ok(query) = dht.bootstrap() {
                open.insert(query, (Vec::new(), done));
            }
        }
        Order::LookUp(key, done) => {
            let target = KBucketKey::from(key);
            let seeds = dht.get_closest_local_peers(&target).take(K_VALUE.get());
            let seeds = seeds.map(KBucketKey::into_preimage).collect();
            open.insert(dht.get_closest_peers(key), (seeds, done));
        }
    }
}

fn note(
    local: PeerId,
    dht: &mut dht::Behaviour,
    event: kad::Event,
    open: &mut Open,
    shared: &Shared,
) {
    match event {
        kad::Event::InboundRequest {
            request: InboundRequest::FindNode { .. },
        } => shared.note_asked(local, dht),
        // The identify message would tell the address.
        kad::Event::UnroutablePeer { peer } => {
            if let Some(address) = shared.addresses.get(&peer) {
                dht.add_address(&peer, address.clone());
            }
        }
        kad::Event::OutboundQueryProgressed {
            id,
            result,
            stats,
            step,
        } if step.last => {
            let Some((seeds, done)) = open.remove(&id) else {
                return;
            };
            let found = match result {
                QueryResult::GetClosestPeers(Ok(nearest)) => {
                    nearest.peers.into_iter().map(|peer| peer.peer_id).collect()
                }
                QueryResult::Bootstrap(Ok(_)) => Vec::new(),
                _ => return,
            };
            // A caller that no longer waits is not an error.
            let _ = done.send(Done {
                seeds,
                found,
                requests: stats.num_requests(),
            });
        }
        _ => {}
    }
}
