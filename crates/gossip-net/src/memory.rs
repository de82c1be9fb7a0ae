//! Links in memory, for tests and examples. Each pair of peers has a fixed latency.

mod pipe;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    time::sleep,
};

use crate::{
    AsyncWrite, Id, LinkError, LinkEvent, LinkId, LinkProtocol, Links, async_trait, rng::Rng,
};
use pipe::Pipe;

/// A network in memory. A clone is a handle to the same network.
#[derive(Clone)]
pub struct MemoryNetwork {
    inner: Arc<Mutex<Inner>>,
    seed: u64,
    latency: (Duration, Duration),
}

struct Inner {
    peers: BTreeMap<Id, (mpsc::UnboundedSender<LinkEvent>, LinkProtocol)>,
    links: BTreeMap<LinkId, Link>,
    next: u64,
}

struct Link {
    /// The end that dialed, and the other one.
    ends: (Id, Id),
    pipes: Vec<Arc<Mutex<Pipe>>>,
    streams: u64,
}

/// The links of one peer of a [`MemoryNetwork`].
pub struct MemoryLinks {
    me: Id,
    network: MemoryNetwork,
    events: AsyncMutex<mpsc::UnboundedReceiver<LinkEvent>>,
}

impl MemoryNetwork {
    /// A network without peers. The latency of each pair lies between the two times.
    pub fn new(seed: u64, min_latency: Duration, max_latency: Duration) -> Self {
        let inner = Inner {
            peers: BTreeMap::new(),
            links: BTreeMap::new(),
            next: 0,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            seed,
            latency: (min_latency, max_latency),
        }
    }

    /// Adds a peer. A link has Bowline's protocol if both ends have it.
    pub fn attach(&self, me: Id, protocol: LinkProtocol) -> Arc<MemoryLinks> {
        let (sender, events) = mpsc::unbounded_channel();
        self.lock().peers.insert(me, (sender, protocol));
        Arc::new(MemoryLinks {
            me,
            network: self.clone(),
            events: AsyncMutex::new(events),
        })
    }

    /// Removes a peer without a goodbye. Its links close.
    pub fn kill(&self, peer: &Id) {
        self.lock().peers.remove(peer);
        let mine = self.links_of(peer);
        mine.into_iter()
            .for_each(|link| self.close(link, peer, "killed"));
    }

    /// The open links of a peer.
    pub fn links_of(&self, peer: &Id) -> Vec<LinkId> {
        let inner = self.lock();
        let links = inner
            .links
            .iter()
            .filter(|(_, link)| link.ends.0 == *peer || link.ends.1 == *peer);
        links.map(|(id, _)| *id).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latency(&self, one: &Id, other: &Id) -> Duration {
        let (least, most) = self.latency;
        let mut mixed = self.seed;
        let ends = [one.min(other), one.max(other)];
        for byte in ends.iter().flat_map(|id| id.as_bytes()) {
            mixed = Rng::new(mixed ^ u64::from(*byte)).next();
        }
        let spread = usize::try_from((most - least).as_micros()).unwrap_or(0);
        least + Duration::from_micros(Rng::new(mixed).below(spread + 1) as u64)
    }

    fn tell(&self, peer: &Id, event: LinkEvent) {
        if let Some((events, _)) = self.lock().peers.get(peer) {
            // A peer that no longer takes events is shutting down.
            let _ = events.send(event);
        }
    }

    fn close(&self, link: LinkId, by: &Id, reason: &str) {
        let Some(closed) = self.lock().links.remove(&link) else {
            return;
        };
        let other = if closed.ends.0 == *by {
            closed.ends.1
        } else {
            closed.ends.0
        };
        let cause = reason.to_owned();
        self.tell(
            by,
            LinkEvent::Closed {
                link,
                cause: cause.clone(),
            },
        );
        let (network, latency) = (self.clone(), self.latency(by, &other));
        // Bytes that are on their way when a link closes are lost, as with QUIC.
        tokio::spawn(async move {
            sleep(latency).await;
            closed.pipes.iter().for_each(pipe::cut);
            network.tell(&other, LinkEvent::Closed { link, cause });
        });
    }
}

#[async_trait]
impl Links for MemoryLinks {
    async fn connect(&self, peer: &Id, _: &[u8], _: Instant) -> Result<LinkId, LinkError> {
        let network = &self.network;
        sleep(network.latency(&self.me, peer)).await;
        let (link, protocol) = {
            let mut inner = network.lock();
            let protocol_of = |id| inner.peers.get(id).map(|(_, protocol)| *protocol);
            let (Some(mine), Some(theirs)) = (protocol_of(&self.me), protocol_of(peer)) else {
                let reason = "there is no such peer".to_owned();
                return Err(LinkError::Unreachable { reason });
            };
            let both = mine == LinkProtocol::Bowline && theirs == LinkProtocol::Bowline;
            inner.next += 1;
            let link = LinkId(inner.next);
            let ends = (self.me, *peer);
            inner.links.insert(
                link,
                Link {
                    ends,
                    pipes: Vec::new(),
                    streams: 0,
                },
            );
            (
                link,
                if both {
                    LinkProtocol::Bowline
                } else {
                    LinkProtocol::Iroh
                },
            )
        };
        let (dialed_by, me) = (self.me, self.me);
        network.tell(
            peer,
            LinkEvent::Up {
                peer: me,
                link,
                dialed_by,
                protocol,
            },
        );
        sleep(network.latency(&self.me, peer)).await;
        network.tell(
            &me,
            LinkEvent::Up {
                peer: *peer,
                link,
                dialed_by,
                protocol,
            },
        );
        Ok(link)
    }

    async fn open(&self, link: LinkId) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError> {
        let (other, index, pipe, latency) = {
            let mut inner = self.network.lock();
            let entry = inner.links.get_mut(&link).ok_or(LinkError::Closed)?;
            let other = if entry.ends.0 == self.me {
                entry.ends.1
            } else {
                entry.ends.0
            };
            let latency = self.network.latency(&self.me, &other);
            let pipe = Arc::new(Mutex::new(Pipe::new(latency)));
            entry.streams += 1;
            entry.pipes.retain(|pipe| Arc::strong_count(pipe) > 1);
            entry.pipes.push(pipe.clone());
            (other, entry.streams, pipe, latency)
        };
        let (writer, reader) = pipe::ends(pipe);
        let network = self.network.clone();
        tokio::spawn(async move {
            sleep(latency).await;
            network.tell(
                &other,
                LinkEvent::Stream {
                    link,
                    index,
                    reader: Box::new(reader),
                },
            );
        });
        Ok(Box::new(writer))
    }

    async fn next(&self) -> LinkEvent {
        match self.events.lock().await.recv().await {
            Some(event) => event,
            // The peer was killed.
            None => std::future::pending().await,
        }
    }

    fn close(&self, link: LinkId, reason: &str) {
        self.network.close(link, &self.me, reason);
    }
}

fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}
