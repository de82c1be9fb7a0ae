//! When the attempts of a dial start and end. The time is paused, and the dialer writes down each attempt.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use node::{
    AttemptCause, AttemptError, Config, DialError, Keypair, Multiaddr, Node, PeerId,
    conn_state::{Cause, Closing, Recommended, State},
    multiaddr::Protocol,
    transport_tcp::{self, ByteStream, DialContext, Target},
};
use tokio::time::Instant;

use super::names;

/// What was dialed, and how long after the start.
type Dialed = Arc<Mutex<Vec<(String, Duration)>>>;

/// A node whose dialer reaches nobody: hosts named in `dead` fail at once, and all others never answer.
fn nowhere(config: Config, dead: &'static [&'static str]) -> (Node, Dialed) {
    let (dialed, begun) = (Dialed::default(), Instant::now());
    let log = Arc::clone(&dialed);
    let dialer = move |target: Target, _: DialContext| {
        let host = target.host_name();
        log.lock().unwrap().push((host.clone(), begun.elapsed()));
        async move {
            if !dead.contains(&host.as_str()) {
                std::future::pending::<()>().await;
            }
            Err::<ByteStream, _>(transport_tcp::DialError::NoAddress(target.to_multiaddr()))
        }
    };
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    (builder.dialer(Arc::new(dialer)).build().unwrap(), dialed)
}

fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn failures(outcome: Result<node::Connection, DialError>) -> Vec<AttemptError> {
    match outcome {
        Err(DialError::AllFailed(attempts)) => attempts,
        other => panic!("{other:?}"),
    }
}

const V6: &str = "/ip6/2001:db8::1/tcp/1";
const V4: &str = "/ip4/192.0.2.1/tcp/1";
const MOMENT: Duration = Duration::from_millis(5);

#[tokio::test(start_paused = true)]
async fn the_next_address_waits_its_turn_while_one_is_tried_and_not_once_all_have_failed() {
    for (dead, turn) in [
        (&["2001:db8::1", "192.0.2.1"][..], Duration::ZERO),
        (&["192.0.2.1"][..], Duration::from_millis(250)),
    ] {
        let (node, dialed) = nowhere(Config::default(), dead);
        failures(node.dial(addresses(&[V4, V6])).await);
        let dialed = dialed.lock().unwrap().clone();
        assert_eq!(dialed.len(), 2, "{dialed:?}");
        assert_eq!(dialed[1].0, "192.0.2.1");
        assert!(
            (turn..turn + MOMENT).contains(&dialed[1].1),
            "{turn:?}: {dialed:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_not_answered_ends_at_its_deadline_and_sooner_on_a_private_address() {
    let (public, private) = (Duration::from_secs(7), Duration::from_secs(2));
    let config = Config::default().with_dial_timeouts(public, private);
    let (node, _) = nowhere(config, &[]);
    for (address, deadline) in [(V4, public), ("/ip4/10.0.0.1/tcp/1", private)] {
        let begun = Instant::now();
        let failed = failures(node.dial(addresses(&[address])).await);
        assert!(
            matches!(failed[..], [AttemptError { cause: AttemptCause::TimedOut { after }, .. }] if after == deadline),
            "{failed:?}"
        );
        assert!((deadline..deadline + MOMENT).contains(&begun.elapsed()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_to_a_hundred_silent_addresses_ends_after_a_minute_and_says_which_it_did_not_try() {
    // The clock of the tracker is not paused.
    let patient = Recommended::default().with_max_ages(60 * Duration::from_secs(60), None);
    let (node, dialed) = nowhere(Config::default().with_state(patient), &[]);
    let many = (1..=100).map(|host| format!("/ip4/192.0.2.{host}/tcp/1"));
    let many: Vec<Multiaddr> = many.map(|text| text.parse().unwrap()).collect();
    let begun = Instant::now();
    let error = node.dial(many.clone()).await.unwrap_err();
    let minute = Duration::from_secs(60);
    let took = begun.elapsed();
    assert!(
        (minute..minute + MOMENT).contains(&took),
        "{took:?}: {error}"
    );
    let text = error.to_string();
    let tried: Vec<_> = dialed
        .lock()
        .unwrap()
        .iter()
        .map(|(host, _)| host.clone())
        .collect();
    let left = 100 - tried.len();
    let end = format!(
        "; and 92 more, of which {left} were not tried within the 60 s of the dial: the first is {}",
        many[tried.len()]
    );
    assert!(text.ends_with(&end), "{text}");
    let failed = failures(Err(error));
    assert_eq!(failed.len(), 100);
    for attempt in &failed {
        let is_tried = tried
            .iter()
            .any(|host| attempt.address.to_string().contains(&format!("/{host}/")));
        match attempt.cause {
            AttemptCause::TimedOut { .. } => assert!(is_tried, "{attempt}"),
            AttemptCause::OutOfTime { after } => assert!(!is_tried && after == minute, "{attempt}"),
            ref other => panic!("{other}"),
        }
    }
    assert!((24..=36).contains(&tried.len()), "{}", tried.len());
}

#[tokio::test(start_paused = true)]
async fn a_dial_with_less_time_than_an_attempt_ends_with_its_own_time() {
    let short = Duration::from_millis(3_100);
    let config = Config::default().with_dial_total_timeout(short);
    let (node, _) = nowhere(config, &[]);
    let begun = Instant::now();
    let failed = failures(node.dial(addresses(&[V4])).await);
    assert!(
        matches!(failed[..], [AttemptError { cause: AttemptCause::TimedOut { after }, .. }] if after == short),
        "{failed:?}"
    );
    assert!((short..short + MOMENT).contains(&begun.elapsed()));

    // Most of these attempts are not even due when the time is over.
    let many = (1..=100).map(|host| format!("/ip4/192.0.2.{host}/tcp/1").parse().unwrap());
    let begun = Instant::now();
    let failed = failures(node.dial(many).await);
    assert_eq!(failed.len(), 100);
    assert!((short..short + MOMENT).contains(&begun.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_run_at_once_than_the_settings_allow() {
    let many: Vec<Multiaddr> = (1..=5)
        .map(|host| format!("/ip4/192.0.2.{host}/tcp/1").parse().unwrap())
        .collect();
    for (of_one_dial, of_all, running) in [(2, 160, 4), (8, 3, 3)] {
        let mut config = Config::default();
        (config.dials_per_peer, config.dials) = (of_one_dial, of_all);
        let (node, dialed) = nowhere(config, &[]);
        let dials = futures::future::join(node.dial(many.clone()), node.dial(many.clone()));
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, dials).await.is_err());
        assert_eq!(dialed.lock().unwrap().len(), running);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_dialed_is_in_transition_until_the_dial_ends() {
    let (node, _) = nowhere(Config::default(), &[]);
    let peer = PeerId::random();
    let address = addresses(&[V4]).remove(0).with(Protocol::P2p(peer));
    let dial = tokio::time::timeout(Duration::from_secs(1), node.dial([address]));
    let (outcome, state) = tokio::join!(dial, async {
        tokio::time::sleep(MOMENT).await;
        node.tracker().state(&peer)
    });
    assert!(outcome.is_err());
    assert!(matches!(state, State::Transient(_)), "{state:?}");
    assert_eq!(node.tracker().state(&peer), State::NotConnected);
}

#[tokio::test]
async fn a_dialer_that_is_not_direct_is_bypassed_neither_by_quic_nor_by_a_look_up() {
    let (node, dialed) = nowhere(Config::default(), &["192.0.2.1"]);
    let bypasses = addresses(&["/ip4/127.0.0.1/udp/1/quic-v1", "/dnsaddr/peers.example"]);
    let failed = failures(node.dial(bypasses).await);
    assert_eq!(failed.len(), 2, "{failed:?}");
    for attempt in &failed {
        assert!(
            matches!(attempt.cause, AttemptCause::NotDirect { .. }),
            "{attempt:?}"
        );
    }
    assert!(dialed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_dial_tries_no_more_than_a_hundred_addresses_and_counts_the_others() {
    let (node, _) = nowhere(Config::default(), &[]);
    // Addresses that no transport can dial fail without a packet.
    let many = (1..=150).map(|port| format!("/ip4/192.0.2.1/tcp/{port}/ws"));
    let many: Vec<Multiaddr> = many.map(|text| text.parse().unwrap()).collect();
    let error = node.dial(many).await.unwrap_err();
    assert!(error.to_string().ends_with("; and 93 more"), "{error}");
    let failed = failures(Err(error));
    assert_eq!(failed.len(), 101);
    let left_out = |attempt: &&AttemptError| matches!(attempt.cause, AttemptCause::NotTried { .. });
    let left_out: Vec<_> = failed.iter().filter(left_out).collect();
    assert!(
        matches!(
            left_out[..],
            [AttemptError {
                cause: AttemptCause::NotTried {
                    limit: 100,
                    left_out: 50
                },
                ..
            }]
        ),
        "{left_out:?}"
    );
}

#[tokio::test]
async fn a_look_up_ends_at_the_deadline_of_the_dial() {
    let (resolver, _server) = names::silent().await;
    let deadline = Duration::from_millis(100);
    let config = Config::default().with_dial_timeouts(deadline, deadline);
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    let node = builder.resolver(resolver).build().unwrap();
    let failed = failures(node.dial(addresses(&["/dnsaddr/peers.example"])).await);
    assert!(
        matches!(failed[..], [AttemptError { cause: AttemptCause::TimedOut { after }, .. }] if after == deadline),
        "{failed:?}"
    );
}

#[tokio::test]
async fn the_tracker_knows_why_an_attempt_failed() {
    let (node, _) = nowhere(Config::default(), &["192.0.2.1"]);
    let peer = PeerId::random();
    let address = addresses(&[V4]).remove(0).with(Protocol::P2p(peer));
    failures(node.dial([address]).await);
    let history = node.tracker().history(&peer);
    let last = history.last().unwrap();
    assert_eq!(last.cause, Cause::Closed(Closing::Handshake));
    let detail = last.detail.as_deref().unwrap();
    assert!(detail.contains("resolved to no TCP address"), "{detail}");
}
