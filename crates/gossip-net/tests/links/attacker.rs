//! A peer that speaks the wire format over a link of its own.

use std::sync::Arc;

use gossip_net::{
    Bytes, LinkEvent, LinkId, LinkProtocol, Links, MessageId,
    memory::{MemoryLinks, MemoryNetwork},
    wire::{Frames, Gossip, Message, Priority, Scope, Swarm, put_header},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, Instant, sleep},
};

use crate::{after, id, topic};

/// A peer that sends what a test says.
pub(crate) struct Attacker {
    pub(crate) links: Arc<MemoryLinks>,
    pub(crate) link: LinkId,
    pub(crate) stream: Box<dyn gossip_net::AsyncWrite + Send + Unpin>,
}

impl Attacker {
    pub(crate) async fn connect(
        network: &MemoryNetwork,
        number: u32,
        protocol: LinkProtocol,
    ) -> Self {
        let links = network.attach(id(number), protocol);
        let link = links.connect(&id(0), &[], after(1.0)).await.unwrap();
        let mut stream = links.open(link).await.unwrap();
        let mut header = Vec::new();
        put_header(&mut header, &topic());
        stream.write_all(&header).await.unwrap();
        Self {
            links,
            link,
            stream,
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn become_neighbour(&mut self) {
        let priority = Priority::High;
        self.send(Message::Swarm(Swarm::Neighbor {
            priority,
            data: None,
        }))
        .await;
        sleep(Duration::from_millis(200)).await;
    }

    /// Reads and forgets what the node sends.
    pub(crate) fn keep_reading(&self) {
        let links = self.links.clone();
        tokio::spawn(async move {
            loop {
                if let LinkEvent::Stream { mut reader, .. } = links.next().await {
                    tokio::spawn(async move {
                        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await
                    });
                }
            }
        });
    }

    /// All that the node sends within this time. Other events of the link are skipped.
    pub(crate) async fn hear(&mut self, time: Duration) -> Vec<Message> {
        let mut heard = Vec::new();
        let end = Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(end, self.links.next()).await {
            let LinkEvent::Stream { mut reader, .. } = event else {
                continue;
            };
            let mut frames = Frames::new(4096);
            while let Ok(Ok(1..)) =
                tokio::time::timeout_at(end, reader.read_buf(frames.buffer())).await
            {
                while let Some(frame) = frames.next_frame().unwrap() {
                    heard.push(Message::decode(&frame).unwrap());
                }
            }
        }
        heard
    }
}

pub(crate) fn content(bytes: &[u8], round: u16) -> Message {
    let content = Bytes::copy_from_slice(bytes);
    Message::Gossip(Gossip::Content {
        id: MessageId::of(bytes),
        content,
        scope: Scope::Swarm(round),
    })
}

pub(crate) fn graft(bytes: &[u8]) -> Message {
    Message::Gossip(Gossip::Graft {
        id: Some(MessageId::of(bytes)),
        round: u16::MAX,
    })
}
