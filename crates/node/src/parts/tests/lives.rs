//! What a part is told while the node lives, and how its task ends.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use futures::{FutureExt, future::BoxFuture};
use libp2p_identity::Keypair;
use multiaddr::Multiaddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::within;
use crate::{
    Node,
    context::Context,
    part::{Change, GOODBYE, Origin, Part},
};

/// A part that never stops by itself. It notes when it is told to, and its end drops the sender.
struct Stubborn {
    told: Mutex<Option<mpsc::UnboundedSender<&'static str>>>,
}

impl Part for Stubborn {
    fn name(&self) -> &'static str {
        "stubborn"
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        let told = self.told.lock().unwrap().take().unwrap();
        async move {
            stop.cancelled().await;
            let _ = told.send("told to stop");
            std::future::pending().await
        }
        .boxed()
    }
}

fn stubborn() -> (Node, mpsc::UnboundedReceiver<&'static str>) {
    let (told, heard) = mpsc::unbounded_channel();
    let part = |_| {
        let told = Mutex::new(Some(told.clone()));
        Arc::new(Stubborn { told }) as Arc<dyn Part>
    };
    let builder = Node::builder(Keypair::generate_ed25519());
    let built = builder.build_with(|_| (0..3).map(part).collect());
    (built.unwrap().0, heard)
}

#[tokio::test(start_paused = true)]
async fn parts_that_do_not_stop_are_ended_together_after_their_time() {
    let (node, mut heard) = stubborn();
    let begun = tokio::time::Instant::now();
    node.shutdown().await;
    assert!(begun.elapsed() < 2 * GOODBYE, "{:?}", begun.elapsed());
    for _ in 0..3 {
        assert_eq!(heard.recv().await, Some("told to stop"));
    }
    // Each part's task has ended, though the node is still held.
    assert_eq!(within(heard.recv()).await, None);
    drop(node);
}

#[tokio::test(start_paused = true)]
async fn parts_are_told_to_stop_when_the_node_is_dropped() {
    let (node, mut heard) = stubborn();
    tokio::task::yield_now().await;
    drop(node);
    for _ in 0..3 {
        assert_eq!(within(heard.recv()).await, Some("told to stop"));
    }
}

/// Writes down the attempts of all dials.
#[derive(Default)]
struct Clerk(Mutex<Vec<(Multiaddr, Origin, bool)>>);

impl Part for Clerk {
    fn name(&self) -> &'static str {
        "clerk"
    }

    fn handle(&self, _: Instant, change: &Change) {
        if let Change::Attempted {
            address,
            origin,
            succeeded,
            ..
        } = change
        {
            let attempt = (address.clone(), *origin, *succeeded);
            self.0.lock().unwrap().push(attempt);
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        stop.cancelled_owned().boxed()
    }
}

#[cfg(feature = "tcp")]
#[tokio::test]
async fn a_part_is_told_of_each_attempt_of_a_dial() {
    let builder = Node::builder(Keypair::generate_ed25519());
    let built = builder.build_with(|_| vec![Arc::new(Clerk::default()) as Arc<dyn Part>]);
    let here = built.unwrap().0;
    let there = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let good = there.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
    let good = good.unwrap().remove(0);
    // Port 0 is nobody's.
    let dead: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    within(here.dial([dead.clone()])).await.unwrap_err();
    within(here.dial([good.clone()])).await.unwrap();
    let clerk = here.part::<Clerk>().unwrap();
    let expected = [(dead, Origin::User, false), (good, Origin::User, true)];
    assert_eq!(*clerk.0.lock().unwrap(), expected);
}

/// Says goodbye to every peer over its connection.
struct Polite(Context);

impl Part for Polite {
    fn name(&self) -> &'static str {
        "polite"
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            stop.cancelled().await;
            for connection in self.0.connections() {
                let (_, mut stream) = connection.open(&["/goodbye/1"]).await.unwrap();
                stream.write_all(b"goodbye").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
        .boxed()
    }
}

#[cfg(feature = "tcp")]
#[tokio::test]
async fn a_goodbye_can_use_the_connections_and_arrives() {
    let builder = Node::builder(Keypair::generate_ed25519());
    let built =
        builder.build_with(|context| vec![Arc::new(Polite(context.clone())) as Arc<dyn Part>]);
    let here = built.unwrap().0;
    let there = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let mut goodbyes = there.handle("/goodbye/1", 1).unwrap();
    let address = there.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
    within(here.dial(address.unwrap())).await.unwrap();
    let shut_down = here.shutdown();
    let heard = async {
        let mut text = String::new();
        let mut goodbye = goodbyes.next().await.unwrap();
        goodbye.stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let ((), text) = within(futures::future::join(shut_down, heard)).await;
    assert_eq!(text, "goodbye");
}
