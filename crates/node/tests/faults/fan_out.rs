//! Names, relays and peers whose owners aim a dial at as many addresses as they can. Each test counts the connects.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use node::{
    AttemptCause, AttemptError, Config, DialError, Event, Keypair, Multiaddr, Node, PeerId,
    multiaddr::Protocol,
    transport_tcp::{self, Direct, Target},
};

use super::{
    common::{listen, node, within},
    names::{Records, Server},
};

/// The addresses of one name: about as many as an answer can hold.
const ADDRESSES: u32 = 1500;
/// The least time that 99 connects take: 8 start at once, and then one per 20 ms.
const LEAST: Duration = Duration::from_millis(20 * (99 - 8));

/// The number in `n7.evil.example`.
fn number(name: &str) -> u32 {
    let digits = name.trim_start_matches('n').split('.').next();
    digits.unwrap().parse().unwrap()
}

/// Addresses of this machine.
fn loopback(name: &str) -> Records {
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number(name) * ADDRESSES;
    Records::Addresses((first..first + ADDRESSES).map(Ipv4Addr::from).collect())
}

/// A `/dnsaddr` of 100 records, and 1,500 addresses for each name in a record.
async fn fan_out(record: impl Fn(u32) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |name| match name.starts_with("_dnsaddr.") {
        true => Records::Dnsaddr((0..100).map(&record).collect()),
        false => loopback(name),
    })
    .await
}

fn with(server: &Server, config: Config) -> node::Builder {
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    builder.resolver(server.resolver())
}

fn closed_port() -> u16 {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    taken.local_addr().unwrap().port()
}

async fn failures(node: &Node, addresses: Vec<Multiaddr>) -> (Vec<AttemptError>, String) {
    let error = within(node.dial(addresses)).await.unwrap_err();
    let text = error.to_string();
    match error {
        DialError::AllFailed(attempts) => (attempts, text),
        other => panic!("{other}"),
    }
}

fn parse(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

/// The socket addresses that refused a connect.
fn refused(attempts: &[AttemptError]) -> usize {
    let of = |attempt: &AttemptError| match &attempt.cause {
        AttemptCause::Connect(transport_tcp::DialError::Failed { tried, .. }) => tried.len(),
        _ => 0,
    };
    attempts.iter().map(of).sum()
}

#[tokio::test]
async fn a_hundred_names_with_1500_addresses_each_lead_to_a_hundred_connects_at_a_pace() {
    let port = closed_port();
    let server = fan_out(move |n| format!("/dns4/n{n}.evil.example/tcp/{port}")).await;
    let node = with(&server, Config::default()).build().unwrap();
    let begun = Instant::now();
    let (attempts, text) = failures(&node, vec![parse("/dnsaddr/evil.example")]).await;
    let (connects, took) = (refused(&attempts), begun.elapsed());
    let (questions, bytes) = (server.questions(), text.len());
    println!("{connects} connects in {took:?}, {questions} questions, an error of {bytes} bytes");
    println!("{text}");
    assert!((99..=100).contains(&connects), "{connects}");
    assert!(took >= LEAST, "{took:?}");
    assert!(questions <= 300, "{questions}");
    assert!(bytes < 4096 && text.contains("; and "), "{text}");
}

#[tokio::test]
async fn one_name_has_sixteen_connects_and_leaves_the_rest_to_the_other_addresses() {
    let port = closed_port();
    let server = fan_out(|_| String::new()).await;
    let node = with(&server, Config::default()).build().unwrap();
    let names = (0..10).map(|n| parse(&format!("/dns4/n{n}.evil.example/tcp/{port}")));
    let begun = Instant::now();
    let (attempts, text) = failures(&node, names.collect()).await;
    let connects: Vec<_> = attempts.chunks(1).map(refused).collect();
    println!("{connects:?} connects in {:?}: {text}", begun.elapsed());
    assert!(connects.iter().all(|of_one| (1..=16).contains(of_one)));
    assert_eq!(connects.iter().sum::<usize>(), 100);
}

#[tokio::test]
async fn tcp_and_quic_share_the_connects_of_a_dial() {
    let there = node();
    let quic = listen(&there, "/ip4/0.0.0.0/udp/0/quic-v1").await;
    let Some(Protocol::Udp(udp)) = quic.iter().nth(1) else {
        panic!("{quic}");
    };
    let (tcp, other) = (closed_port(), PeerId::random());
    // Every QUIC handshake ends at once, because another peer answers.
    let server = fan_out(move |n| match n % 2 {
        0 => format!("/dns4/n{n}.evil.example/tcp/{tcp}/p2p/{other}"),
        _ => format!("/ip4/127.2.0.{n}/udp/{udp}/quic-v1/p2p/{other}"),
    })
    .await;
    let here = with(&server, Config::default()).build().unwrap();
    let begun = Instant::now();
    let (attempts, text) = failures(&here, vec![parse("/dnsaddr/evil.example")]).await;
    let quic = |attempt: &&AttemptError| matches!(attempt.cause, AttemptCause::Quic(_));
    let handshakes = attempts.iter().filter(quic).count();
    let (connects, took) = (refused(&attempts) + handshakes, begun.elapsed());
    println!("{connects} connects in {took:?}, {handshakes} of them QUIC: {text}");
    assert!((99..=100).contains(&connects), "{connects}");
    assert!(handshakes >= 49, "{handshakes}");
    assert!(took >= LEAST, "{took:?}");
}

#[tokio::test]
async fn a_dial_through_relays_shares_its_connects_with_the_dials_of_the_relays() {
    let server = fan_out(|n| format!("/ip4/127.2.0.{n}/tcp/1")).await;
    let starts = Arc::<Mutex<Vec<Instant>>>::default();
    let log = Arc::clone(&starts);
    let nowhere = transport_tcp::wrap(Direct::default(), move |_, target: Target, _| {
        log.lock().unwrap().push(Instant::now());
        async move { Err(transport_tcp::DialError::NoAddress(target.to_multiaddr())) }
    });
    let node = with(&server, Config::default()).dialer(Arc::new(nowhere));
    let node = node.build().unwrap();
    let peer = PeerId::random();
    let through = |n| {
        let relay = PeerId::random();
        parse(&format!(
            "/dnsaddr/relay{n}.example/p2p/{relay}/p2p-circuit/p2p/{peer}"
        ))
    };
    let (_, text) = failures(&node, (0..10).map(through).collect()).await;
    let starts = starts.lock().unwrap().clone();
    println!(
        "{} connects, an error of {} bytes",
        starts.len(),
        text.len()
    );
    assert!(
        starts.len() <= 100 && starts.len() >= 80,
        "{}",
        starts.len()
    );
    for (early, late) in starts.iter().zip(&starts[8..]) {
        assert!(late.duration_since(*early) >= Duration::from_millis(19));
    }
    assert!(text.len() < 10_000, "{text}");
}

#[tokio::test]
async fn the_look_ups_of_a_dial_share_a_hundred_questions() {
    let server = Server::start(|name| {
        let below = (0..50).map(|n| format!("/dnsaddr/n{n}.{}", &name["_dnsaddr.".len()..]));
        Records::Dnsaddr(below.collect())
    })
    .await;
    let node = with(&server, Config::default()).build().unwrap();
    let names = (0..10).map(|n| parse(&format!("/dnsaddr/evil{n}.example")));
    let begun = Instant::now();
    let (attempts, _) = failures(&node, names.collect()).await;
    println!("{} questions in {:?}", server.questions(), begun.elapsed());
    assert_eq!(attempts.len(), 10);
    assert!(server.questions() <= 100, "{}", server.questions());
}

#[tokio::test]
async fn a_record_of_sixty_kilobytes_is_not_repeated_in_an_error() {
    let id = PeerId::random();
    let server = Server::start(move |name| match name.starts_with("_dnsaddr.") {
        true => {
            let ids = format!("/p2p/{id}").repeat(1000);
            Records::Text(format!("dnsaddr=/ip4/127.0.0.1/tcp/1{ids}"))
        }
        false => Records::Addresses(Vec::new()),
    })
    .await;
    let node = with(&server, Config::default()).build().unwrap();
    let (_, text) = failures(&node, vec![parse("/dnsaddr/evil.example")]).await;
    assert!(text.len() < 4096, "{} bytes", text.len());
}

/// A peer whose honest address comes last is found although a name in front of it fans out.
#[tokio::test]
async fn a_name_that_fans_out_does_not_keep_a_dial_from_the_address_beside_it() {
    let port = closed_port();
    let there = node();
    let mut events = there.events();
    let honest = listen(&there, super::common::TCP).await;
    let peer = there.peer_id();
    let server = fan_out(move |n| format!("/dns4/n{n}.evil.example/tcp/{port}/p2p/{peer}")).await;
    let here = with(&server, Config::default()).build().unwrap();
    let begun = Instant::now();
    let connection = within(here.dial([parse("/dnsaddr/evil.example"), honest])).await;
    println!("connected after {:?}", begun.elapsed());
    assert_eq!(connection.unwrap().peer(), peer);
    let connected = |event| matches!(event, Event::Connected { .. }).then_some(());
    super::common::wait(&mut events, connected).await;
}

/// The record of a name of the bootstrap list leads to a name that only a proxy may learn of.
#[cfg(feature = "bootstrap")]
#[tokio::test]
async fn a_record_that_leads_to_a_name_behind_a_proxy_is_not_followed_past_the_proxy() {
    use node::transport_tcp::{Matcher, Rules};
    let (heard, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |name| {
        let _ = heard.send(name.to_owned());
        Records::Dnsaddr(vec![
            "/dnsaddr/secret.corp".into(),
            "/dnsaddr/next.example".into(),
        ])
    })
    .await;
    let dialer = Rules::new()
        .refuse("corp", Matcher::any().suffix("corp"))
        .via("rest", Matcher::any(), Direct::default());
    let list = ["/dnsaddr/list.example".parse().unwrap()];
    let bootstrap = node::BootstrapConfig::default().with_list(list);
    let here = Node::builder(Keypair::generate_ed25519())
        .config(Config::default().with_bootstrap(bootstrap))
        .dialer(Arc::new(dialer))
        .resolver(server.resolver())
        .build()
        .unwrap();
    let mut names = Vec::new();
    while !names.iter().any(|name| name == "_dnsaddr.next.example") {
        names.extend(within(asked.recv()).await);
    }
    assert!(!names.iter().any(|name| name.contains("corp")), "{names:?}");
    here.shutdown().await;
}

/// The record of a dialed name leads to a name that only a proxy may learn of, and to an address.
#[tokio::test]
async fn a_dial_does_not_follow_a_record_to_a_name_behind_a_proxy_past_the_proxy() {
    use node::transport_tcp::{Matcher, Rules};
    let port = closed_port();
    let (heard, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |name| {
        let _ = heard.send(name.to_owned());
        Records::Dnsaddr(match name {
            "_dnsaddr.list.example" => vec![
                "/dnsaddr/secret.corp".into(),
                "/dnsaddr/next.example".into(),
            ],
            "_dnsaddr.only.example" => vec!["/dnsaddr/Secret.CORP".into()],
            _ => vec![format!("/ip4/127.0.0.1/tcp/{port}")],
        })
    })
    .await;
    let dialer = Rules::new()
        .refuse("corp", Matcher::any().suffix("corp"))
        .via("rest", Matcher::any(), Direct::default());
    let node = with(&server, Config::default()).dialer(Arc::new(dialer));
    let node = node.build().unwrap();
    // The dial leaves out the secret name and tries the address of the other.
    let (attempts, text) = failures(&node, vec![parse("/dnsaddr/list.example")]).await;
    assert_eq!(refused(&attempts), 1, "{text}");
    let (_, text) = failures(&node, vec![parse("/dnsaddr/only.example")]).await;
    let names: Vec<_> = std::iter::from_fn(|| asked.try_recv().ok()).collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_lowercase().contains("corp")),
        "{names:?}"
    );
    assert!(
        names.contains(&"_dnsaddr.next.example".to_owned()),
        "{names:?}"
    );
    assert!(
        text.contains("a DNS look-up of a name in its records"),
        "{text}"
    );
}
