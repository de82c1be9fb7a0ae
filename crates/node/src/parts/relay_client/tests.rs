//! Dials through relays that peers have named.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::time::Duration;

use conn_state::Source;
use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};

use crate::{DialError, Node, context::Context, error_chain};

fn node() -> (Node, Context) {
    let mut kept = None;
    let builder = Node::builder(Keypair::generate_ed25519());
    let built = builder.build_with(|context| {
        kept = Some(context.clone());
        Vec::new()
    });
    (built.unwrap().0, kept.unwrap())
}

fn behind(relay: PeerId) -> Multiaddr {
    Multiaddr::from(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

#[tokio::test]
async fn a_dial_of_peers_that_claim_to_be_behind_themselves_or_each_other_ends() {
    let (node, context) = node();
    let (one, two, hermit) = (PeerId::random(), PeerId::random(), PeerId::random());
    for (peer, relay) in [(one, two), (two, one), (hermit, hermit)] {
        context.learn(&peer, Source::Identify, &[behind(relay)]);
    }
    for peer in [one, hermit] {
        let dial = node.dial([Multiaddr::from(Protocol::P2p(peer))]);
        let refused = tokio::time::timeout(Duration::from_secs(20), dial).await;
        let refused = refused.unwrap().unwrap_err();
        assert!(
            matches!(&refused, DialError::AllFailed(attempts) if attempts.len() == 1),
            "{refused:?}"
        );
        let chain = error_chain(&refused);
        assert!(chain.contains("through another relay"), "{chain}");
    }
}
