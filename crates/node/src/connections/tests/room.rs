//! Which connections are refused, and which make room for others.

use std::net::Ipv6Addr;

use super::*;

/// Well above the time that a test takes between two connections.
const IDLE: Duration = Duration::from_millis(20);

async fn idle() {
    tokio::time::sleep(2 * IDLE).await;
}

/// A node that keeps one inbound connection.
fn for_one() -> Arc<Connections> {
    let limits = LimitsConfig::for_memory(0).with_max_inbound(1);
    connections(limits.with_trim_idle(Some(IDLE)))
}

async fn newcomer(
    connections: &Arc<Connections>,
) -> Result<(ConnectionPermit, Connection, transport_tcp::Connection), AttemptCause> {
    registered(connections, &Keypair::generate_ed25519()).await
}

#[tokio::test]
async fn an_idle_connection_is_closed_for_a_newcomer_and_says_why() {
    let connections = for_one();
    let (_permit, first, _far) = newcomer(&connections).await.unwrap();
    let early = newcomer(&connections).await.err().unwrap();
    assert!(matches!(early, AttemptCause::Refused(_)), "{early}");
    idle().await;
    let _second = newcomer(&connections).await.unwrap();
    assert_eq!(first.closed().await, Closing::Trimmed);
}

#[tokio::test]
async fn a_connection_with_a_stream_of_the_hosts_is_not_idle_until_the_stream_is_gone() {
    let connections = for_one();
    let (_permit, first, _far) = newcomer(&connections).await.unwrap();
    // A request of the node itself does not count as use of the connection.
    let asked = first.open_here("/ask/1").await.unwrap();
    let stream = first.open_optimistic("/use/1").await.unwrap();
    idle().await;
    assert!(newcomer(&connections).await.is_err());
    drop(stream);
    assert!(newcomer(&connections).await.is_err(), "not yet");
    idle().await;
    let _second = newcomer(&connections).await.unwrap();
    assert_eq!(first.closed().await, Closing::Trimmed);
    drop(asked);
}

#[tokio::test]
async fn a_protected_peer_keeps_its_connection_until_the_last_protection_is_dropped() {
    let connections = for_one();
    let key = Keypair::generate_ed25519();
    let protection = connections.protect(key.public().to_peer_id());
    let another = connections.protect(key.public().to_peer_id());
    let (_permit, first, _far) = registered(&connections, &key).await.unwrap();
    for protection in [protection, another] {
        idle().await;
        assert!(newcomer(&connections).await.is_err());
        drop(protection);
    }
    idle().await;
    let _second = newcomer(&connections).await.unwrap();
    assert_eq!(first.closed().await, Closing::Trimmed);
}

#[tokio::test]
async fn a_displaced_handshake_ends_at_once_and_says_why() {
    let limits = LimitsConfig::for_memory(0).with_max_handshaking(1);
    let connections = connections(limits);
    let mut oldest = connections.begin_inbound(relayed()).unwrap();
    let _newer = connections.begin_inbound(relayed()).unwrap();
    let ended = oldest.run(std::future::pending::<Result<(), _>>()).await;
    assert!(
        matches!(ended, Err(AttemptCause::Closed(Closing::Displaced))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn limits_apply_per_ipv6_56_and_48_and_the_next_prefix_has_its_own() {
    let connections = connections(LimitsConfig::for_memory(0));
    let at = |third: u16, fourth: u16, host: u16| {
        let address = Ipv6Addr::new(0x2001, 0xdb8, third, fourth, 0, 0, 0, host);
        connections.begin_inbound(Source::Validated(address.into()))
    };
    // A /56 has 256 networks of size /64. All of them are one household.
    let mut kept: Vec<_> = (0..8).map(|n| at(1, n, n).unwrap()).collect();
    let refused = at(1, 0xff, 9).err().unwrap();
    assert!(refused.to_string().contains("2001:db8:1::/56"), "{refused}");
    // The next /56 of the same /48. Together they have 16 handshakes, and a further one displaces one of their own.
    kept.extend((0..8).map(|n| at(1, 0x100 + n, n).unwrap()));
    let mut elsewhere = at(2, 0, 1).unwrap();
    let _further = at(1, 0x200, 1).unwrap();
    let ended = kept[0].run(std::future::pending::<Result<(), _>>()).await;
    assert!(
        matches!(ended, Err(AttemptCause::Closed(Closing::Displaced))),
        "{ended:?}"
    );
    let done = elsewhere.run(async { Ok(()) }).await;
    assert!(done.is_ok(), "another /48 is not affected");
}
