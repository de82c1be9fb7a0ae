//! The crate used alone: three peers over links in memory. The first one leaves, and the other two still hear each other.
//! `cargo run -p gossip-net --example alone`.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use gossip_net::{
    Builder, Config, Event, Gossip, Id, LinkProtocol, Subscription, TopicId, memory::MemoryNetwork,
    wire::PeerInfo,
};
use tokio::time::timeout_at;

fn after(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// The id of a peer is its public key. A real program has the key of its transport.
fn id(secret: u8) -> Id {
    let key = SigningKey::from_bytes(&[secret; 32]).verifying_key();
    Id::from_bytes(key.to_bytes()).expect("a key is a point of the curve")
}

/// Prints events until a message arrives.
async fn print_until_message(
    name: &str,
    subscription: &mut Subscription,
) -> Result<(), Box<dyn Error>> {
    loop {
        let event = timeout_at(after(5).into(), subscription.recv()).await?;
        match event.ok_or("the node has shut down")? {
            Event::Received(message) => {
                let text = String::from_utf8_lossy(&message.content);
                println!(
                    "{name}: {text:?} over {} links, via {:?}",
                    message.hops(),
                    message.via
                );
                return Ok(());
            }
            Event::NeighborUp(peer) => println!("{name}: {peer:?} is a neighbour"),
            Event::NeighborDown(peer, cause) => println!("{name}: {peer:?} is gone: {cause}"),
            _ => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let network = MemoryNetwork::new(7, Duration::from_millis(10), Duration::from_millis(50));
    let topic = TopicId::from_name("greetings");
    let nodes = [1, 2, 3].map(|secret| -> Gossip {
        let links = network.attach(id(secret), LinkProtocol::Bowline);
        Builder::new(id(secret), secret.into(), Config::default(), links).spawn()
    });

    // Bob and Carol join by Alice.
    let first = PeerInfo {
        id: id(1),
        data: None,
    };
    let mut alice = nodes[0].subscribe(topic, &[])?;
    let mut bob = nodes[1]
        .subscribe_and_join(topic, std::slice::from_ref(&first), after(5))
        .await?;
    let mut carol = nodes[2]
        .subscribe_and_join(topic, &[first], after(5))
        .await?;

    alice.publish("hello from alice", after(1)).await?;
    print_until_message("bob", &mut bob).await?;
    print_until_message("carol", &mut carol).await?;
    bob.publish("hello from bob", after(1)).await?;
    print_until_message("alice", &mut alice).await?;
    print_until_message("carol", &mut carol).await?;

    println!("alice leaves");
    assert!(nodes[0].shut_down(after(1)).await, "all was sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
    bob.publish("are you still there?", after(1)).await?;
    print_until_message("carol", &mut carol).await?;
    for node in &nodes[1..] {
        node.shut_down(after(1)).await;
    }
    Ok(())
}
