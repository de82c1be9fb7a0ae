//! A test part that is added through the interfaces that every part uses.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod lives;

use std::{
    fmt,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use libp2p_identity::Keypair;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Events, Node, OpenError, PartEvent,
    context::Context,
    part::{Answer, Change, InboundStream, Part, Query, QueryError, Service},
};

const GREET: [&str; 2] = ["/greet/2", "/greet/1"];
const WHISPER: &str = "/whisper/1";

/// The test part. It greets each peer that asks, in two protocol versions. It has a protocol that is switched on and
/// off, and says goodbye over its own socket.
struct Greeter {
    context: Context,
    greeted: AtomicUsize,
    connected: AtomicUsize,
    goodbye_to: SocketAddr,
    bound: watch::Sender<Option<SocketAddr>>,
}

#[derive(Debug)]
struct Greeted {
    protocol: String,
}

impl fmt::Display for Greeted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "greeted by {}", self.protocol)
    }
}

impl PartEvent for Greeted {
    fn name(&self) -> &'static str {
        "greeted"
    }

    fn to_json(&self) -> Value {
        json!({"protocol": self.protocol})
    }
}

impl Greeter {
    async fn greet(self: Arc<Self>, mut inbound: InboundStream) {
        self.greeted.fetch_add(1, Ordering::Relaxed);
        let protocol = inbound.protocol.to_string();
        let _ = inbound.stream.write_all(protocol.as_bytes()).await;
        let _ = inbound.stream.shutdown().await;
        self.context.emit_part(Greeted { protocol });
    }

    fn count(&self) -> Value {
        json!({"greeted": self.greeted.load(Ordering::Relaxed), "connected": self.connected.load(Ordering::Relaxed)})
    }
}

impl Part for Greeter {
    fn name(&self) -> &'static str {
        "greeter"
    }

    fn services(self: Arc<Self>) -> Vec<Service> {
        let serve = move |part: &Arc<Self>| {
            let part = Arc::clone(part);
            Arc::new(move |inbound| Arc::clone(&part).greet(inbound).boxed()) as crate::part::Serve
        };
        vec![
            Service {
                protocols: GREET.map(Arc::from).to_vec(),
                limited: false,
                per_connection: Some(1),
                keeps_open: true,
                enabled: true,
                serve: serve(&self),
            },
            Service {
                protocols: vec![WHISPER.into()],
                limited: true,
                per_connection: None,
                keeps_open: true,
                enabled: false,
                serve: serve(&self),
            },
        ]
    }

    fn handle(&self, _: Instant, change: &Change) {
        if let Change::Connected { .. } = change {
            self.connected.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            self.bound.send_replace(socket.local_addr().ok());
            stop.cancelled().await;
            socket.send_to(b"goodbye", self.goodbye_to).await.unwrap();
        }
        .boxed()
    }

    fn queries(self: Arc<Self>) -> Vec<Query> {
        let writer = Arc::clone(&self);
        let read = move |_| {
            let part = Arc::clone(&self);
            Answer::Document(async move { Ok(part.count()) }.boxed())
        };
        let write = move |body: Value| {
            let part = Arc::clone(&writer);
            let answer = async move {
                let greeted = body["greeted"]
                    .as_u64()
                    .ok_or_else(|| QueryError::Malformed("greeted is not a number".to_owned()))?;
                part.greeted.store(greeted as usize, Ordering::Relaxed);
                Ok(part.count())
            };
            Answer::Document(answer.boxed())
        };
        let lines = |_| Answer::Lines(stream::iter([json!(1), json!(2)]).boxed());
        vec![
            Query::read("/greetings", read),
            Query::write("/greetings", write),
            Query::read("/lines", lines),
        ]
    }
}

fn greeter(goodbye_to: SocketAddr) -> (Node, Events) {
    let builder = Node::builder(Keypair::generate_ed25519());
    let built = builder.build_with(|context| {
        let part = Greeter {
            context: context.clone(),
            greeted: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
            goodbye_to,
            bound: watch::Sender::new(None),
        };
        vec![Arc::new(part) as Arc<dyn Part>]
    });
    built.unwrap()
}

async fn greeting(
    node: &Node,
    peer: crate::PeerId,
    protocols: &[&str],
) -> Result<String, OpenError> {
    let (_, mut stream) = node.open(peer, protocols).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    Ok(text)
}

async fn within<T>(job: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), job)
        .await
        .unwrap()
}

#[cfg(all(feature = "tcp", feature = "cli"))]
#[tokio::test]
async fn a_part_serves_versions_switches_a_protocol_emits_answers_and_says_goodbye() {
    let ear = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (there, mut events) = greeter(ear.local_addr().unwrap());
    let part = there.part::<Greeter>().unwrap();
    let here = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let address: multiaddr::Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    let address = there.listen(address).await.unwrap();
    here.dial(address).await.unwrap();
    let peer = there.peer_id();

    // Two versions: the dialer's preference decides.
    assert_eq!(
        within(greeting(&here, peer, &GREET)).await.unwrap(),
        "/greet/2"
    );
    assert_eq!(
        within(greeting(&here, peer, &["/greet/1"])).await.unwrap(),
        "/greet/1"
    );

    // An event, with its text and its JSON.
    let event = within(async {
        loop {
            match events.next().await.unwrap() {
                crate::Event::Part(event) if event.name() == "greeted" => return event,
                _ => {}
            }
        }
    });
    let event = event.await;
    assert_eq!(
        (event.name(), event.to_string()),
        ("greeted", "greeted by /greet/2".to_owned())
    );
    assert_eq!(
        event.downcast_ref::<Greeted>().unwrap().to_json(),
        json!({"protocol": "/greet/2"})
    );

    // A protocol that is switched on and off again. The peer learns of both changes.
    let unknown = within(greeting(&here, peer, &[WHISPER])).await;
    assert!(matches!(unknown, Err(OpenError::Unsupported { .. })));
    part.context.enable(WHISPER, true);
    assert_eq!(
        within(greeting(&here, peer, &[WHISPER])).await.unwrap(),
        WHISPER
    );
    let connection = here.connection(peer).unwrap();
    let told = || {
        connection
            .identified()
            .is_some_and(|info| info.supports(WHISPER))
    };
    within(async {
        while !told() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    part.context.enable(WHISPER, false);
    assert!(within(greeting(&here, peer, &[WHISPER])).await.is_err());

    // Admin queries, reading and changing.
    let folder = tempfile::tempdir().unwrap();
    let listener = crate::admin::Listener::unix(folder.path()).await.unwrap();
    let serving = crate::admin::serve(there.clone(), listener);
    let admin = folder.path();
    let answer = within(http(admin, "GET /greetings", "")).await;
    assert!(
        answer.contains(r#"{"greeted":3,"connected":1}"#),
        "{answer}"
    );
    let answer = within(http(admin, "POST /greetings", r#"{"greeted":7}"#)).await;
    assert!(answer.contains(r#""greeted":7"#), "{answer}");
    let answer = within(http(admin, "POST /greetings", r#"{"greeted":"x"}"#)).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.ends_with("greeted is not a number"),
        "{answer}"
    );
    let answer = within(http(admin, "GET /lines", "")).await;
    assert!(answer.contains("1\n") && answer.contains("2\n"), "{answer}");
    drop(serving);

    // What a part may do with its node.
    let (context, other) = (&part.context, here.peer_id());
    assert_eq!(context.peer_id(), Some(peer));
    let connected = within(context.connect(other, Vec::new())).await.unwrap();
    assert_eq!(connected.peer(), other);
    assert!(
        within(context.open(other, &["/ipfs/ping/1.0.0"]))
            .await
            .is_ok()
    );
    let heard: multiaddr::Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
    context.learn(
        &other,
        conn_state::Source::Hearsay,
        std::slice::from_ref(&heard),
    );
    assert!(context.addresses(&other).contains(&heard) && context.is_direct(&heard));

    // The part's own socket, and a goodbye over it before the node ends.
    let bound = within(part.bound.subscribe().wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap();
    within(there.shutdown()).await;
    let mut text = [0; 16];
    let (length, from) = within(ear.recv_from(&mut text)).await.unwrap();
    assert_eq!((&text[..length], from), (&b"goodbye"[..], bound));
    here.shutdown().await;
}

async fn http(data_dir: &Path, request: &str, body: &str) -> String {
    let (mut stream, _) = crate::admin::connect(data_dir).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
