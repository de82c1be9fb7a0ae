//! What iroh-gossip expects of the peers to which it has connections.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Instant,
};

use gossip_net::{
    AsyncWrite, Builder, Config, Id, LinkError, LinkEvent, LinkId, LinkProtocol, Links, MessageId,
    async_trait,
    memory::MemoryLinks,
    wire::{Gossip, IHave, Message, Swarm},
};
use tokio::time::Duration;

use crate::{after, attacker::Attacker, id, info, message, network, node, topic};

/// Links that note the length of the first write to each stream.
struct Noting {
    links: Arc<MemoryLinks>,
    lengths: Arc<Mutex<Vec<usize>>>,
}

struct NotedStream {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    /// Until the first write.
    lengths: Option<Arc<Mutex<Vec<usize>>>>,
}

impl AsyncWrite for NotedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(lengths) = self.lengths.take() {
            lengths.lock().unwrap().push(bytes.len());
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Links for Noting {
    async fn connect(&self, peer: &Id, data: &[u8], until: Instant) -> Result<LinkId, LinkError> {
        self.links.connect(peer, data, until).await
    }

    async fn open(&self, link: LinkId) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError> {
        Ok(Box::new(NotedStream {
            stream: self.links.open(link).await?,
            lengths: Some(self.lengths.clone()),
        }))
    }

    async fn next(&self) -> LinkEvent {
        self.links.next().await
    }

    fn close(&self, link: LinkId, reason: &str) {
        self.links.close(link, reason);
    }
}

/// iroh reads nothing of a connection while it waits for the header of one of its streams.
#[tokio::test(start_paused = true)]
async fn the_header_of_a_stream_and_its_first_frame_are_written_at_once() {
    let (network, lengths) = (network(1), Arc::default());
    let links = Noting {
        links: network.attach(id(1), LinkProtocol::Iroh),
        lengths: Arc::clone(&lengths),
    };
    let noting = Builder::new(id(1), 1, Config::default(), Arc::new(links)).spawn();
    let other = node(&network, 0, Config::default());
    let mut waiting = other.subscribe(topic(), &[]).unwrap();
    let named = [info(0)];
    let joining = noting.subscribe_and_join(topic(), &named, after(5.0));
    let joined = joining.await.unwrap();
    joined.publish("hello", after(1.0)).await.unwrap();
    assert_eq!(message(&mut waiting).await.content, "hello");
    let lengths = lengths.lock().unwrap().clone();
    // The header is a frame of 32 bytes.
    assert!(
        !lengths.is_empty() && lengths.iter().all(|length| *length > 36),
        "{lengths:?}"
    );
}

/// Otherwise the next join of an iroh node by this peer would not dial.
#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_names_other_members_before_its_goodbye() {
    let network = network(1);
    let leaving = node(&network, 0, Config::default());
    let subscription = leaving.subscribe(topic(), &[]).unwrap();
    let mut peer = Attacker::connect(&network, 9, LinkProtocol::Iroh).await;
    peer.become_neighbour().await;
    assert_eq!(subscription.neighbors(), [id(9)]);
    drop(subscription);
    let heard = peer.hear(Duration::from_secs(1)).await;
    let last = &heard[heard.len().saturating_sub(2)..];
    assert!(
        matches!(
            last,
            [
                Message::Swarm(Swarm::ShuffleReply { .. }),
                Message::Swarm(Swarm::Disconnect { alive: false, .. })
            ]
        ),
        "{heard:?}"
    );
}

/// iroh would make a stranger that sends a Graft its eager peer.
#[tokio::test(start_paused = true)]
async fn a_neighbour_that_is_lost_gets_no_graft_for_the_messages_that_it_has_announced() {
    let network = network(1);
    let asking = node(&network, 0, Config::default());
    let subscription = asking.subscribe(topic(), &[]).unwrap();
    for is_lost in [false, true] {
        let mut peer = Attacker::connect(&network, 9, LinkProtocol::Iroh).await;
        peer.become_neighbour().await;
        assert_eq!(subscription.neighbors(), [id(9)]);
        let missing = IHave {
            id: MessageId::of(b"missing"),
            round: 0,
        };
        peer.send(Message::Gossip(Gossip::IHave(vec![missing])))
            .await;
        if is_lost {
            let (alive, respond) = (false, false);
            peer.send(Message::Swarm(Swarm::Disconnect { alive, respond }))
                .await;
        }
        let heard = peer.hear(Duration::from_secs(1)).await;
        let asks = |message: &Message| matches!(message, Message::Gossip(Gossip::Graft { .. }));
        assert_eq!(heard.iter().any(asks), !is_lost, "{heard:?}");
        peer.links.close(peer.link, "the end");
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}
