//! The relay's terms as the admin endpoint receives them.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use libp2p_identity::Keypair;
use serde_json::json;

use crate::{
    config::{Config, RelayConfig, RelayServerConfig},
    node::Node,
    part::{Answer, QueryError},
};

#[tokio::test]
async fn the_terms_of_a_relay_are_an_object_and_nothing_else() {
    let relay = RelayConfig::default().with_server(RelayServerConfig::default());
    let config = Config::default().with_relay(relay);
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    let node = builder.build().unwrap();
    let before = node.relay_terms();
    let queries = node.queries();
    let change = queries.iter().find(|q| q.path == "/slots" && q.write);
    for terms in [json!([7]), json!([null, 7]), json!(null), json!("slots")] {
        let answer = (change.unwrap().answer)(terms.clone());
        let Answer::Document(answer) = answer else {
            panic!("{terms}");
        };
        let refused = answer.await;
        assert!(matches!(refused, Err(QueryError::Invalid(_))), "{terms}");
    }
    assert_eq!(node.relay_terms(), before);
}
