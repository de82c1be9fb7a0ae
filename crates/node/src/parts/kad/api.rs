//! The queries of hosts.

use std::sync::Arc;

use bootstrap::kad::{KadStatus, Outcome, QueryError, QueryId};
use conn_state::Source;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    Core, Kademlia,
    found::{FoundPeer, FoundProvider, FoundValue, Stored},
};
use crate::Node;

/// The error of a query of the DHT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DhtError {
    /// The node takes part in no DHT: [`crate::Config::kademlia`] is not set.
    #[error("this node takes part in no DHT")]
    Off,
    /// The query was not started, or it has failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The query did not end by the deadline of the caller.
    #[error("the query of the DHT did not end by its deadline")]
    NotInTime,
    /// The node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

/// The Kademlia DHT. A query ends at its deadline, or earlier after [`bootstrap::kad::KadConfig::query_timeout`]. Dropping the
/// future ends the query.
#[cfg_attr(
    feature = "tcp",
    doc = r#"
```
use std::time::Duration;
use node::{
    BootstrapConfig, Config, KademliaConfig, Keypair, Node,
    bootstrap::kad::{Mode, Namespaces, Preset, Validator},
};
use tokio::time::Instant;

# tokio::runtime::Runtime::new().unwrap().block_on(async {
let node = |mode, bootstrap| {
    let names = Namespaces::new().with("city", Validator::new(|_, value| !value.is_empty()));
    let dht = KademliaConfig::default().with_mode(mode).with_preset(Preset::Private).with_namespaces(names);
    let config = Config::default().with_kademlia(dht).with_bootstrap(bootstrap);
    Node::builder(Keypair::generate_ed25519()).config(config).build().unwrap()
};
let server = node(Mode::Server, BootstrapConfig::default());
let addresses = server.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await.unwrap();
let client = node(Mode::Client, BootstrapConfig::default().with_list(addresses));

let (key, soon) = (b"/city/oslo".to_vec(), Instant::now() + Duration::from_secs(20));
let put = client.put_value(key.clone(), b"59.9 N 10.8 E".to_vec(), soon).await.unwrap();
assert_eq!((put.stored, put.asked), (1, 1));
client.shutdown().await;
let value = server.get_value(key, soon).await.unwrap().value;
assert_eq!(value, b"59.9 N 10.8 E");
# server.shutdown().await;
# });
```
"#
)]
impl Node {
    /// Looks for a peer. Afterwards the node knows the addresses, so that you can dial `/p2p/ID`. Protect the peer
    /// ([`Self::protect`]) if its connection must stay.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotFound`] if no peer knows an address, or another [`DhtError`].
    pub async fn find_peer(&self, peer: PeerId, deadline: Instant) -> Result<FoundPeer, DhtError> {
        self.dht()?.find_peer(peer, deadline).await
    }

    /// Looks for the best valid value of a key, see [`bootstrap::kad::Kad::get`]. [`crate::value_key`] reads a key from a text.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotFound`] if no peer has a valid value, or another [`DhtError`].
    pub async fn get_value(&self, key: Vec<u8>, deadline: Instant) -> Result<FoundValue, DhtError> {
        self.dht()?.get_value(key, deadline).await
    }

    /// Stores a value at the peers nearest to its key, and again every [`bootstrap::kad::KadConfig::republish`] until
    /// [`Self::unpublish`], even if the first attempt fails or is late. The node repeats a failed attempt earlier.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotStored`] if no peer has confirmed the value, [`QueryError::Worse`] if the node knows a better one, or
    /// another [`DhtError`].
    pub async fn put_value(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        deadline: Instant,
    ) -> Result<Stored, DhtError> {
        self.dht()?.put_value(key, value, deadline).await
    }

    /// Tells the peers nearest to a key that this node provides the content, and again every
    /// [`bootstrap::kad::KadConfig::republish`] until [`Self::unpublish`]. [`crate::content_key`] reads a key from a CID.
    ///
    /// # Errors
    ///
    /// [`QueryError::NoAddress`] if the node has no address that counts in the DHT, or another [`DhtError`].
    pub async fn provide(&self, key: Vec<u8>, deadline: Instant) -> Result<Stored, DhtError> {
        self.dht()?.provide(key, deadline).await
    }

    /// Looks for at least `count` providers of a key. Returns at most 256. Afterwards the node knows their addresses.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotFound`] if no peer knows a provider, or another [`DhtError`].
    pub async fn providers(
        &self,
        key: Vec<u8>,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<FoundProvider>, DhtError> {
        self.dht()?.find_providers(key, count, deadline).await
    }

    /// Ends the publication of a value and of a provider with this key. Other peers keep them until they expire. Returns whether
    /// the node has published the key.
    pub fn unpublish(&self, key: &[u8]) -> bool {
        self.dht().is_ok_and(|dht| dht.unpublish(key))
    }

    /// The state of the DHT. `None`: the node takes part in no DHT.
    pub fn dht_status(&self) -> Option<KadStatus> {
        let dht = self.dht().ok()?;
        Some(dht.lock().status(Instant::now().into_std()))
    }

    fn dht(&self) -> Result<Arc<Kademlia>, DhtError> {
        self.part::<Kademlia>().ok_or(DhtError::Off)
    }
}

impl Kademlia {
    pub(super) async fn find_peer(
        &self,
        peer: PeerId,
        deadline: Instant,
    ) -> Result<FoundPeer, DhtError> {
        if self.context.peer_id() == Some(peer) {
            return Ok(FoundPeer {
                peer,
                addresses: self.context.announced(),
                reached: true,
            });
        }
        let outcome = self.query(deadline, |kad, now| kad.find(now, peer)).await?;
        let Outcome::Found { peer, reached } = outcome else {
            return Err(other_outcome());
        };
        self.learn(&peer.id, &peer.addresses);
        Ok(FoundPeer {
            peer: peer.id,
            addresses: peer.addresses,
            reached,
        })
    }

    pub(super) async fn get_value(
        &self,
        key: Vec<u8>,
        deadline: Instant,
    ) -> Result<FoundValue, DhtError> {
        let outcome = self.query(deadline, |kad, now| kad.get(now, key)).await?;
        let Outcome::Value { record, holders } = outcome else {
            return Err(other_outcome());
        };
        let value = record.value;
        Ok(FoundValue { value, holders })
    }

    pub(super) async fn put_value(
        &self,
        key: Vec<u8>,
        value: Vec<u8>,
        deadline: Instant,
    ) -> Result<Stored, DhtError> {
        let put = self.query(deadline, |kad, now| kad.put(now, key, value));
        stored(put.await?)
    }

    pub(super) async fn provide(
        &self,
        key: Vec<u8>,
        deadline: Instant,
    ) -> Result<Stored, DhtError> {
        let provided = self.query(deadline, |kad, now| kad.provide(now, key));
        stored(provided.await?)
    }

    pub(super) async fn find_providers(
        &self,
        key: Vec<u8>,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<FoundProvider>, DhtError> {
        let found = self.query(deadline, |kad, now| kad.providers(now, key, count));
        let Outcome::Providers { providers } = found.await? else {
            return Err(other_outcome());
        };
        for provider in &providers {
            self.learn(&provider.id, &provider.addresses);
        }
        Ok(providers.into_iter().map(FoundProvider::of).collect())
    }

    pub(super) fn unpublish(&self, key: &[u8]) -> bool {
        self.lock().unpublish(key)
    }

    /// Starts a query and waits for its end.
    async fn query(
        &self,
        deadline: Instant,
        start: impl FnOnce(&mut Core, std::time::Instant) -> Result<QueryId, QueryError>,
    ) -> Result<Outcome<PeerId, Multiaddr>, DhtError> {
        let (query, ended) = self.begin(start)?;
        let _stop = Stop { part: self, query };
        match timeout_at(deadline, ended).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) => Err(DhtError::ShutDown),
            Err(_) => Err(DhtError::NotInTime),
        }
    }

    pub(super) fn begin(
        &self,
        start: impl FnOnce(&mut Core, std::time::Instant) -> Result<QueryId, QueryError>,
    ) -> Result<(QueryId, oneshot::Receiver<super::Answer>), DhtError> {
        let (sender, receiver) = oneshot::channel();
        self.with(|kad, now| {
            // The query cannot end before its caller waits, because the core is locked.
            let mut waiters = self.waiters();
            if waiters.closed {
                return Err(DhtError::ShutDown);
            }
            let query = start(kad, now)?;
            waiters.open.insert(query, sender);
            Ok((query, receiver))
        })
    }

    fn learn(&self, peer: &PeerId, addresses: &[Multiaddr]) {
        self.context.learn(peer, Source::Hearsay, addresses);
    }
}

fn stored(outcome: Outcome<PeerId, Multiaddr>) -> Result<Stored, DhtError> {
    match outcome {
        Outcome::Stored { stored, asked } => Ok(Stored { stored, asked }),
        _ => Err(other_outcome()),
    }
}

/// The core ends each query with the outcome of its kind.
fn other_outcome() -> DhtError {
    DhtError::Query(QueryError::NotFound { asked: 0 })
}

/// Ends a query whose caller no longer waits.
struct Stop<'a> {
    part: &'a Kademlia,
    query: QueryId,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let waits = self.part.waiters().open.remove(&self.query).is_some();
        if waits {
            self.part.with(|kad, _| kad.stop(self.query));
        }
    }
}

/// Ends all queries when it is dropped, also if the part's task panics. The waiting callers learn that the node is shut down.
pub(super) struct Finish<'a>(pub(super) &'a Kademlia);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let mut waiters = self.0.waiters();
        waiters.closed = true;
        waiters.open.clear();
    }
}
