//! Streams that end, stop in the middle of a frame, or are not read.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant as StdInstant,
};

use gossip_net::{
    AsyncWrite, Builder, Config, Event, Gossip, Id, LinkError, LinkEvent, LinkId, LinkProtocol,
    Links, Subscription, TopicId, async_trait,
    memory::{MemoryLinks, MemoryNetwork},
    wire::put_header,
};
use tokio::{
    io::AsyncWriteExt,
    time::{Duration, sleep, timeout},
};

use crate::{after, attacker::Attacker, id, info, message, network, node, topic};

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_a_message_that_is_being_written() {
    let network = network(1);
    let victim = node(&network, 0, Config::default());
    let subscription = victim.subscribe(topic(), &[]).unwrap();
    let mut attacker = Attacker::connect(&network, 9, LinkProtocol::Bowline).await;
    attacker.become_neighbour().await;
    let publish = async |number: u32| {
        let mut content = vec![0; 1024];
        content[..4].copy_from_slice(&number.to_le_bytes());
        subscription.publish(content, after(1.0)).await.unwrap();
    };
    // 245 messages fit into the window of 256 KiB, and the next one does not.
    for number in 0..245 {
        publish(number).await;
    }
    assert!(subscription.sender().flush(after(1.0)).await);
    publish(245).await;
    sleep(Duration::from_millis(10)).await;
    assert!(!subscription.sender().flush(after(1.0)).await);
    attacker.keep_reading();
    assert!(subscription.sender().flush(after(1.0)).await);
}

#[tokio::test(start_paused = true)]
async fn a_flush_says_so_if_the_only_neighbour_is_lost_with_messages_that_wait_for_it() {
    let network = network(1);
    let victim = node(&network, 0, Config::default());
    let subscription = victim.subscribe(topic(), &[]).unwrap();
    let mut attacker = Attacker::connect(&network, 9, LinkProtocol::Bowline).await;
    attacker.become_neighbour().await;
    for number in 0..400_u32 {
        let mut content = vec![0; 1024];
        content[..4].copy_from_slice(&number.to_le_bytes());
        subscription.publish(content, after(1.0)).await.unwrap();
    }
    assert!(!subscription.sender().flush(after(60.0)).await);
    assert_eq!(subscription.neighbors(), []);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_frame_ends_its_stream_ten_seconds_after_its_first_byte() {
    let network = network(1);
    let victim = node(&network, 0, Config::default());
    let _subscription = victim.subscribe(topic(), &[]).unwrap();
    let mut attacker = Attacker::connect(&network, 9, LinkProtocol::Bowline).await;
    attacker.become_neighbour().await;
    // The peer sends one more byte each second.
    let mut frame = vec![0, 0, 15, 0];
    frame.resize(20, 1);
    for (second, byte) in (0..).zip(frame) {
        if attacker.stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(990)).await;
        let invalid = victim.link_counters().invalid;
        assert_eq!(invalid, u64::from(second >= 10), "second {second}");
        if invalid > 0 {
            return;
        }
    }
    panic!("the stream is still read");
}

#[tokio::test(start_paused = true)]
async fn the_incomplete_frames_of_a_link_have_512_kib_at_the_most() {
    let network = network(1);
    let victim = node(&network, 0, Config::default());
    let _subscription = victim.subscribe(topic(), &[]).unwrap();
    let attacker = Attacker::connect(&network, 9, LinkProtocol::Bowline).await;
    let mut streams = Vec::new();
    for _ in 0..140 {
        let mut stream = attacker.links.open(attacker.link).await.unwrap();
        let mut bytes = Vec::new();
        put_header(&mut bytes, &topic());
        // A frame of 4,096 bytes, of which six are missing.
        bytes.extend([0, 0, 16, 0]);
        bytes.resize(bytes.len() + 4090, 0);
        stream.write_all(&bytes).await.unwrap();
        streams.push(stream);
    }
    sleep(Duration::from_secs(5)).await;
    // 128 × 4,094 bytes are less than 512 KiB, and 129 × 4,094 bytes are more.
    assert_eq!(victim.link_counters().invalid, 12);
}

/// Links whose peer refuses the streams of one topic.
struct Refusing {
    links: Arc<MemoryLinks>,
    refused: TopicId,
}

struct RefusedStream {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    refused: TopicId,
}

impl AsyncWrite for RefusedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The first bytes of a stream are its header.
        let topic = bytes.get(4..36);
        if topic.is_some_and(|topic| topic == self.refused.as_bytes()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
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
impl Links for Refusing {
    async fn connect(
        &self,
        peer: &Id,
        data: &[u8],
        deadline: StdInstant,
    ) -> Result<LinkId, LinkError> {
        self.links.connect(peer, data, deadline).await
    }

    async fn open(&self, link: LinkId) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError> {
        Ok(Box::new(RefusedStream {
            stream: self.links.open(link).await?,
            refused: self.refused,
        }))
    }

    async fn next(&self) -> LinkEvent {
        self.links.next().await
    }

    fn close(&self, link: LinkId, reason: &str) {
        self.links.close(link, reason);
    }
}

fn refusing(network: &MemoryNetwork, number: u32, refused: TopicId) -> Gossip {
    let links = network.attach(id(number), LinkProtocol::Bowline);
    let links = Arc::new(Refusing { links, refused });
    Builder::new(id(number), 1, Config::default(), links as Arc<_>).spawn()
}

/// Whether a neighbour has been lost.
async fn lost(subscription: &mut Subscription) -> bool {
    while let Ok(Some(event)) = timeout(Duration::from_millis(1), subscription.recv()).await {
        if matches!(event, Event::NeighborDown(..)) {
            return true;
        }
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_refuses_the_streams_of_one_topic_stays_a_neighbour_in_another() {
    let (network, other) = (network(1), TopicId::from_name("refused"));
    let one = refusing(&network, 0, other);
    let two = node(&network, 1, Config::default());
    let mut subscription = one.subscribe(topic(), &[]).unwrap();
    let mut friend = two
        .subscribe_and_join(topic(), &[info(0)], after(5.0))
        .await
        .unwrap();
    let _refused = one.subscribe(other, &[info(1)]).unwrap();
    let _waiting = two.subscribe(other, &[info(0)]).unwrap();
    sleep(Duration::from_secs(60)).await;
    assert!(!lost(&mut subscription).await && !lost(&mut friend).await);
    subscription.publish("hello", after(1.0)).await.unwrap();
    assert_eq!(message(&mut friend).await.content, "hello");
    assert_eq!(network.links_of(&id(0)).len(), 1);
}
