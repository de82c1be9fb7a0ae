//! Honest peers that connect during a flood: other implementations, and Bowline itself from many addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use node::transport_tcp::{Bound, DirectConfig, Uplink};
use node::{Config, Keypair, Multiaddr, Node};
use tests::harness::Deadline;
use tests::harness::peers::{Peer, Stack};
use tests::harness::process::run;
use tokio::time::timeout;

/// The time in which an honest connect must be answered. A foreign peer also has to start in that time.
const PATIENCE: Duration = Duration::from_secs(5);
const FOREIGN_PATIENCE: Duration = Duration::from_secs(15);

/// How often each foreign peer connects. All of them have the address 127.0.0.1, and together they stay within the burst that
/// a node admits from one address by default.
const FOREIGN_CONNECTS: u32 = 4;

/// The time between two connects of Bowline.
const INTERVAL: Duration = Duration::from_millis(200);

/// Connects over `stack` a few times until `until`. Gives the answered connects and all connects.
pub(crate) fn foreign(peer: &Peer, stack: Stack, to: &Multiaddr, until: Instant) -> (u32, u32) {
    let pause = until.saturating_duration_since(Instant::now()) / FOREIGN_CONNECTS;
    let begun = Instant::now();
    let mut answered = 0;
    for number in 0..FOREIGN_CONNECTS {
        std::thread::sleep((begun + pause * number).saturating_duration_since(Instant::now()));
        let mut command = peer.command(&["dial", &to.to_string(), "--pings", "1"], stack);
        let done = run(&peer.name, &mut command, Deadline::within(FOREIGN_PATIENCE));
        answered += u32::from(done.is_ok_and(|finished| finished.code == Some(0)));
    }
    (answered, FOREIGN_CONNECTS)
}

/// Connects until `until`, each time with another identity and from another subnet.
pub(crate) fn bowline(to: &Multiaddr, until: Instant) -> Result<(u32, u32)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connects = tokio::task::JoinSet::new();
        let mut ticks = tokio::time::interval(INTERVAL);
        while Instant::now() < until {
            ticks.tick().await;
            let from = address(connects.len());
            connects.spawn(connect(to.clone(), from));
        }
        let all = connects.len() as u32;
        let outcomes = connects.join_all().await;
        let errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let mut failed: BTreeMap<String, u32> = BTreeMap::new();
        for error in errors {
            *failed.entry(format!("{error:#}")).or_default() += 1;
        }
        for (error, times) in failed {
            eprintln!("{times} honest connects failed: {error}");
        }
        let answered = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        Ok((answered as u32, all))
    })
}

/// Dials, pings once and closes.
pub(crate) async fn connect(to: Multiaddr, from: Ipv4Addr) -> Result<()> {
    let over_quic = to.to_string().contains("quic");
    let node = node(from, over_quic).await?;
    let job = async {
        let connection = node.dial([to]).await?;
        connection.ping().await?;
        anyhow::Ok(())
    };
    let done = timeout(PATIENCE, job).await;
    node.shutdown().await;
    done?
}

/// A node that dials from this address.
pub(crate) async fn node(from: Ipv4Addr, over_quic: bool) -> Result<Node> {
    let builder = Node::builder(Keypair::generate_ed25519()).config(Config::default());
    if over_quic {
        // A dial starts from the socket that listens.
        let node = builder.build()?;
        let at = format!("/ip4/{from}/udp/0/quic-v1");
        node.listen(at.parse()?).await?;
        return Ok(node);
    }
    let dialer = Bound::new([Uplink::Address(from.into())], DirectConfig::default());
    Ok(builder.dialer(Arc::new(dialer)).build()?)
}

/// The address of the nth connect: in a subnet of its own, which no attacker uses.
fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 100 + (n / 250 % 100) as u8, (n % 250) as u8, 1)
}

/// Whether an address in a line of the node's output belongs to a bystander.
pub(crate) fn is_honest(address: &str) -> bool {
    let ip = address
        .strip_prefix("/ip4/")
        .and_then(|rest| rest.split('/').next());
    match ip.and_then(|ip| ip.parse().ok()) {
        Some(IpAddr::V4(ip)) => ip == Ipv4Addr::LOCALHOST || ip.octets()[1] >= 100,
        _ => false,
    }
}
