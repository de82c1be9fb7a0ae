//! Who becomes a neighbour, and how long its connection stays.

use std::time::Duration;

use node::{
    Config, DialError, Keypair, Multiaddr, Node, SubscribeError,
    conn_state::LimitsConfig,
    gossip_net::{IdError, JoinError},
};

use super::{
    AT,
    common::{listen, node, within},
    neighbours, soon, topic,
};

#[tokio::test]
async fn connected_nodes_become_neighbours_in_a_topic_whichever_of_them_subscribes_first() {
    for first_is_dialer in [true, false] {
        let (here, there) = (node(), node());
        let address = listen(&there, AT).await;
        within(here.dial([address])).await.unwrap();
        let (first, second) = match first_is_dialer {
            true => (&here, &there),
            false => (&there, &here),
        };
        let one = first.subscribe(topic(), []).unwrap();
        let identified = async {
            let supports = |name: &String| name == "/bowline/gossip/1";
            loop {
                // The end that was dialed may not have the connection yet.
                if let Some(connection) = second.connection(first.peer_id())
                    && let Ok(info) = connection.identify().await
                    && info.protocols.iter().any(supports)
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(identified).await;
        let other = second.subscribe(topic(), []).unwrap();
        one.joined(soon()).await.unwrap();
        other.joined(soon()).await.unwrap();
        within(here.shutdown()).await;
        within(there.shutdown()).await;
    }
}

#[tokio::test]
async fn members_find_each_other_through_a_third_one_that_ends() {
    let [(hub, hub_topic), (second, two)] = neighbours(Config::default(), AT).await;
    let third = node();
    let (_, _) = (listen(&second, AT).await, listen(&third, AT).await);
    let at_hub: Multiaddr = hub.listen_addresses().remove(0);
    let three = third.subscribe_and_join(topic(), [at_hub], soon());
    let three = three.await.unwrap();
    drop(hub_topic);
    within(hub.shutdown()).await;
    let is_other = async {
        let ids = |node: &Node| node.topics().remove(0).neighbors;
        while ids(&second).len() != 1 || ids(&third).len() != 1 || ids(&second) == ids(&third) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(is_other).await;
    drop((two, three));
    within(second.shutdown()).await;
    within(third.shutdown()).await;
}

#[tokio::test]
async fn a_newcomer_does_not_take_the_place_of_a_neighbour() {
    let limits = LimitsConfig::for_memory(0)
        .with_max_inbound(1)
        .with_trim_idle(Some(Duration::ZERO));
    let config = Config::default().with_limits(limits);
    let [(full, subscription), (neighbour, held)] = neighbours(config, AT).await;
    let address = full.listen_addresses().remove(0);
    let newcomer = node();
    let refused = within(newcomer.dial([address.clone()])).await;
    assert!(
        matches!(refused, Err(DialError::AllFailed(_))),
        "{refused:?}"
    );
    assert_eq!(subscription.neighbors().len(), 1);

    // Without the topic, the connection is idle and may be closed.
    drop(held);
    let admitted = async {
        while newcomer.dial([address.clone()]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(admitted).await;
    within(neighbour.shutdown()).await;
    within(full.shutdown()).await;
}

#[tokio::test]
async fn only_ed25519_identities_take_part() {
    let other = Node::builder(Keypair::generate_ecdsa()).build().unwrap();
    let refused = other.subscribe(topic(), []).err();
    assert_eq!(refused, Some(SubscribeError::Identity(IdError::NotEd25519)));

    let here = node();
    let at: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let refused = here.subscribe(topic(), [at.clone()]).err();
    assert_eq!(
        refused,
        Some(SubscribeError::NoPeer {
            address: at.clone()
        })
    );
    let peer = other.peer_id();
    let of_other = format!("{at}/p2p/{peer}").parse().unwrap();
    let source = IdError::NotEd25519;
    let refused = here.subscribe(topic(), [of_other]).err();
    assert_eq!(refused, Some(SubscribeError::Peer { peer, source }));
}

#[tokio::test]
async fn a_node_takes_part_in_at_most_64_topics() {
    let here = node();
    let name = |number: usize| node::gossip_net::TopicId::from_name(&number.to_string());
    let subscribe = |number| here.subscribe(name(number), []);
    let held = (0..64).map(subscribe).collect::<Result<Vec<_>, _>>();
    assert_eq!(held.unwrap().len(), 64);
    let held = (0..64).map(subscribe).collect::<Vec<_>>();
    let refused = subscribe(64).err();
    let limit = 64;
    assert_eq!(
        refused,
        Some(SubscribeError::Join(JoinError::TooManyTopics { limit }))
    );
    assert!(subscribe(63).is_ok(), "the node is in this topic already");
    drop(held);
    assert!(here.topics().is_empty());
}

#[tokio::test]
async fn a_peer_without_gossip_is_no_neighbour_and_its_connection_stays() {
    let (here, without) = (node(), node());
    let address = listen(&without, AT).await;
    let subscription = here.subscribe(topic(), [address]).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(1);
    assert_eq!(
        subscription.joined(deadline).await,
        Err(JoinError::TimedOut)
    );
    let connection = here.connection(without.peer_id()).unwrap();
    assert!(!connection.is_closed());
    assert!(here.gossip_counters().failed_dials > 0);
    assert_eq!(here.gossip_counters().opened, 0);
}
