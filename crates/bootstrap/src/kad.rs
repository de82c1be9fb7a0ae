//! The core of a Kademlia DHT: the routing table, the lookups and the store. It reads no clock and opens no socket.
//!
//! The host reports connections, requests and answers with the `handle_*` methods, takes all events with [`Kad::poll_event`],
//! and calls [`Kad::handle_timeout`] at [`Kad::poll_timeout`]. The host also calls
//! [`Kad::handle_started`] when a request leaves the host's queue.
//!
//! ```text
//!  find, get, put, provide, … ──► query ──► lookup ──► Send ──► the host ──► handle_response, handle_failed
//!                                   ▲                                              │ peers that answer
//!                                   └──────────────── table ◄──────────────────────┘
//!  handle_request ──► table, store ──► response          refresh, joins, republishing: upkeep
//! ```
//!
//! # Invariants
//!
//! - Only a peer that has answered is in the routing table. At most 2 peers per bucket and 3 peers per table are in one IPv4 /16
//!   or IPv6 /32.
//! - If the table has too few entries, the core asks the connected servers for peers and the host for connections, until the
//!   table has enough entries. A query without any peer waits for a peer until the deadline of the query.
//! - A lookup sends at most 12 · k requests and keeps at most 28 · k candidates, each with at most 8 addresses. An answer adds at
//!   most k candidates.
//! - A peer is asked again if others name it with further addresses. A peer that names dead addresses of another peer
//!   therefore does not hide it.
//! - The time that a request spends in the host's queue does not count against the peer.
//! - A full store of values or providers removes an entry of the subnet that has the most entries. A limit per peer id alone
//!   would not protect the store, because peer ids cost nothing.
//! - Values, providers, publications, queries and requests in flight are bounded by [`KadConfig`] and by the constants here.
//! - The core neither dials nor passes on addresses that the preset does not accept. The same rule applies to addresses of this
//!   machine that a peer on another machine has named. The core ignores a peer without any address.
//!
//! # Limitations
//!
//! - Lookups do not use disjoint paths. Instead, [`Kad::put`] and [`Kad::get`] ask so many peers that 50 Sybil peers around a key
//!   do not hide its record.
//! - The node keeps the values of other peers in memory only, so a restart loses them.
//!
//! ```
//! use std::time::Instant;
//! use bootstrap::kad::{Kad, KadConfig, KadEvent, Mode, Namespaces, Place, Preset, Reply, Request};
//!
//! let now = Instant::now();
//! let config = KadConfig::default().with_mode(Mode::Server).with_preset(Preset::Private);
//! let node = |name, seed| {
//!     let mut node = Kad::new(now, name, seed, config.clone(), Namespaces::new(), |_: &&str| Place::Named);
//!     node.handle_addresses(now, vec![name]);
//!     node
//! };
//! let (mut alice, mut bob) = (node("alice", 1), node("bob", 2));
//!
//! // Bob says that he serves. He enters the table once he has answered.
//! alice.handle_connected(now, &"bob", None, false);
//! alice.handle_identified(now, &"bob", vec!["bob"], true);
//! assert!(!alice.knows(&"bob"));
//! while let Some(event) = alice.poll_event() {
//!     let KadEvent::Send { request, message, .. } = event else { continue };
//!     alice.handle_started(now, request);
//!     let Reply::Answer(answer) = bob.handle_request(now, &"alice", None, message) else { panic!("bob serves") };
//!     alice.handle_response(now, request, None, answer);
//! }
//! assert!(alice.knows(&"bob"));
//! ```

mod answers;
mod config;
mod key;
mod links;
mod lookup;
mod message;
mod mode;
mod namers;
mod own;
mod peers;
mod pending;
mod place;
mod query;
mod requests;
mod rtt;
mod run;
mod serve;
mod size;
mod source;
mod status;
mod store;
mod table;
mod upkeep;
mod validate;
mod view;
#[cfg(feature = "libp2p")]
pub mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

pub use config::{KadConfig, Mode};
pub use key::{Distance, Key};
pub use links::Links;
pub use message::{
    MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_KEY, MAX_PROVIDER_KEY, MAX_VALUE, PeerInfo, Record,
    Request, Response,
};
use mode::Serving;
use namers::Namers;
use peers::Peers;
use pending::Pending;
#[cfg(feature = "libp2p")]
pub use place::place_of;
pub use place::{Place, Preset};
use query::{Kind, MAX_PROVIDERS, Purpose, Query, Stage};
use rtt::Rtt;
pub use serve::Reply;
use size::Size;
pub use status::KadStatus;
pub use store::Refusal;
use store::{Providers, Published, Values};
use table::Table;
use upkeep::Upkeep;
pub use validate::{Namespaces, Validator};
pub use view::{Failure, KadEvent, Outcome, QueryError, QueryId, RequestId};

use crate::Jitter;

/// A node of a Kademlia DHT, as client and as server.
///
/// `Id` names a peer, and its bytes are hashed to the peer's place in the DHT. `A` is an address.
#[derive(Debug)]
pub struct Kad<Id, A> {
    config: KadConfig,
    names: Namespaces,
    place: fn(&A) -> Place,
    jitter: Jitter,
    local: PeerInfo<Id, A>,
    local_key: Key,
    serving: Serving,
    /// What the host was told last.
    serves: bool,
    table: Table<Id, A>,
    peers: Peers<Id, A>,
    values: Values<Id>,
    providers: Providers<Id, A>,
    published: Published,
    size: Size,
    rtt: Rtt,
    upkeep: Upkeep,
    requests: BTreeMap<RequestId, Pending<Id, A>>,
    queries: BTreeMap<QueryId, Query<Id, A>>,
    /// The queries with news.
    touched: BTreeSet<QueryId>,
    last_id: u64,
    events: VecDeque<KadEvent<Id, A>>,
    offers: source::Offers,
}

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// A node named `local`. `place` returns the place of an address; for multiaddrs, use `place_of`. Nodes need different seeds,
    /// because nodes with equal seeds act in step.
    pub fn new(
        now: Instant,
        local: Id,
        seed: u64,
        config: KadConfig,
        names: Namespaces,
        place: fn(&A) -> Place,
    ) -> Self {
        let config = config.bounded();
        let local_key = Key::of(local.clone().into());
        Self {
            serving: Serving::new(config.mode),
            serves: false,
            table: Table::new(local_key, config.k),
            peers: Peers::new(),
            values: Values::new(local_key, config.max_values, config.expiry),
            providers: Providers::new(local_key, config.max_providers, config.expiry),
            published: Published::default(),
            size: Size::default(),
            rtt: Rtt::default(),
            upkeep: Upkeep::new(now),
            requests: BTreeMap::new(),
            queries: BTreeMap::new(),
            touched: BTreeSet::new(),
            last_id: 0,
            events: VecDeque::new(),
            offers: source::Offers::default(),
            jitter: Jitter::new(seed),
            local: PeerInfo::new(local, Vec::new()),
            local_key,
            config,
            names,
            place,
        }
    }

    /// Looks for the servers nearest to a key.
    ///
    /// # Errors
    ///
    /// The key has no acceptable length, or too many queries are running.
    pub fn closest(&mut self, now: Instant, key: Vec<u8>) -> Result<QueryId, QueryError> {
        check_key(&key, MAX_KEY)?;
        self.start_for_host(now, key, Kind::Closest)
    }

    /// Looks for a peer.
    ///
    /// # Errors
    ///
    /// Too many queries are running.
    pub fn find(&mut self, now: Instant, peer: Id) -> Result<QueryId, QueryError> {
        let key = peer.clone().into();
        let known = self.peers.addresses(&peer).to_vec();
        let reached = self.peers.is_connected(&peer) && !known.is_empty();
        self.start_for_host(
            now,
            key,
            Kind::Find {
                peer,
                reached,
                namers: Namers::of(None, known.len()),
                addresses: known,
            },
        )
    }

    /// Looks for a value. The query compares the values of the peers with the value that this node itself publishes or keeps. This
    /// value is the result at once only if no peer is known. The query ends when [`KadConfig::quorum`] peers have returned a
    /// valid value, or when all peers near the key were asked. The peers near the key are the nearest k peers, and all peers that
    /// are nearer than the expected distance of the k-th nearest honest peer, at most 4 · k peers in all. Peers that have
    /// returned a worse value get the best value.
    ///
    /// # Errors
    ///
    /// The key has no acceptable length, or too many queries are running.
    pub fn get(&mut self, now: Instant, key: Vec<u8>) -> Result<QueryId, QueryError> {
        check_key(&key, MAX_KEY)?;
        let mut values = query::Values::new(self.config.quorum);
        if let Some(record) = self.own_value(now, &key) {
            values.add(None, record, &self.names);
        }
        self.start_for_host(now, key, Kind::Get(values))
    }

    /// Looks for at least `count` providers of a key, or for all providers that the peers near the key know. Returns at most 256
    /// providers.
    ///
    /// # Errors
    ///
    /// The key has no acceptable length, or too many queries are running.
    pub fn providers(
        &mut self,
        now: Instant,
        key: Vec<u8>,
        count: usize,
    ) -> Result<QueryId, QueryError> {
        check_key(&key, MAX_PROVIDER_KEY)?;
        let own = self.providers.get(now, &key, MAX_PROVIDERS, 0);
        let found = own
            .into_iter()
            .map(|info| {
                let namers = Namers::of(None, info.addresses.len());
                (info.id, (info.addresses, namers))
            })
            .collect();
        self.start_for_host(
            now,
            key,
            Kind::Providers {
                count: count.clamp(1, MAX_PROVIDERS),
                found,
            },
        )
    }

    /// Ends a query, which causes the event [`KadEvent::Done`] with [`QueryError::Stopped`].
    pub fn stop(&mut self, query: QueryId) {
        if self
            .queries
            .get(&query)
            .is_some_and(|query| query.purpose == Purpose::Host)
        {
            self.queries.remove(&query);
            self.cancel_unwanted(query);
            self.events.push_back(KadEvent::Done {
                query,
                result: Err(QueryError::Stopped),
            });
        }
    }

    /// The next event. Take all of them after each call of another method.
    pub fn poll_event(&mut self) -> Option<KadEvent<Id, A>> {
        self.events.pop_front()
    }

    fn start_for_host(
        &mut self,
        now: Instant,
        key: Vec<u8>,
        kind: Kind<Id, A>,
    ) -> Result<QueryId, QueryError> {
        self.check_queries()?;
        let id = self.start(now, key, kind, Purpose::Host);
        self.settle(now);
        Ok(id)
    }

    fn check_queries(&self) -> Result<(), QueryError> {
        let limit = self.config.max_queries;
        let of_host = self
            .queries
            .values()
            .filter(|query| query.purpose == Purpose::Host);
        match of_host.count() < limit {
            true => Ok(()),
            false => Err(QueryError::TooMany { limit }),
        }
    }

    fn start(
        &mut self,
        now: Instant,
        key: Vec<u8>,
        kind: Kind<Id, A>,
        purpose: Purpose,
    ) -> QueryId {
        let id = QueryId(self.next_id());
        let deadline = now + self.config.query_timeout;
        self.table.looked_up(now, &Key::of(&key));
        self.queries.insert(
            id,
            Query {
                key,
                kind,
                purpose,
                deadline,
                stage: Stage::Waiting,
            },
        );
        self.touched.insert(id);
        id
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// The keys of the entries that `is` accepts. The map may be changed while the caller reads them.
fn keys_where<K: Copy + Ord, V>(map: &BTreeMap<K, V>, is: impl Fn(&V) -> bool) -> Vec<K> {
    let accepted = map.iter().filter(|(_, value)| is(value));
    accepted.map(|(key, _)| *key).collect()
}

fn check_key(key: &[u8], limit: usize) -> Result<(), QueryError> {
    let length = key.len();
    match length {
        0 => Err(QueryError::KeyLength { length, limit }),
        _ if length > limit => Err(QueryError::KeyLength { length, limit }),
        _ => Ok(()),
    }
}
