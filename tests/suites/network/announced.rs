//! Peers on loopback, in a private network and on the Internet ask one node for its addresses. Then peers in four networks dial
//! another node behind a NAT.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::harness::place::Place;

use crate::Report;
use crate::nodes::{Nodes, has, wait};

/// The time until the node announces an observed address.
const WITHIN: Duration = Duration::from_secs(2);

const HERE: &str = "
ip link add lan type veth peer name lan netns NEAR
ip link add wan type veth peer name wan netns FAR
ip address add 10.1.0.1/24 dev lan
ip address add 44.0.0.1/8 dev wan
ip link set lan up
ip link set wan up
";

/// The far peer has an address in five networks.
const FAR: &str = "
for net in 1 2 3 4 5; do ip address add 44.0.$net.2/8 dev wan; done
ip link set wan up
";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let [here, near, far] = [Place::new()?, Place::new()?, Place::new()?];
    here.shell_with(HERE, &[("NEAR", &near), ("FAR", &far)])?;
    near.shell("ip address add 10.1.0.2/24 dev lan\nip link set lan up")?;
    far.shell(FAR)?;
    let _node = here.up(&[])?;
    for (place, name, ip, loopback, private) in [
        (&here, "a peer on loopback", "127.0.0.1", true, true),
        (&near, "a private peer", "10.1.0.1", false, true),
        (&far, "a public peer", "44.0.0.1", false, false),
    ] {
        let begun = Instant::now();
        let told = place.says(&["identify", &format!("/ip4/{ip}/tcp/4077")]);
        let told = told.and_then(|told| {
            let told: Vec<String> = texts(&told["listen"]);
            ensure!(has(&told, "44.0.0.1"), "told {told:?}");
            ensure!(has(&told, "127.0.0.1") == loopback, "told {told:?}");
            ensure!(has(&told, "10.1.0.1") == private, "told {told:?}");
            Ok((
                begun.elapsed().as_secs_f64(),
                format!("{} addresses", told.len()),
            ))
        });
        report.row(name, "addresses in identify", told);
    }
    observed(report)
}

/// A node that announces its public address because peers in four networks dialed it there.
fn observed(report: &mut Report) -> Result<()> {
    let [here, gateway, far] = [Place::new()?, Place::new()?, Place::new()?];
    let cables = "
        ip link add lan type veth peer name lan netns HERE
        ip link add wan type veth peer name wan netns FAR
        ip address add 10.1.0.1/24 dev lan
        ip address add 44.0.0.1/8 dev wan
        ip link set lan up
        ip link set wan up
        echo 1 >/proc/sys/net/ipv4/ip_forward
        nft 'add table ip nat; add chain ip nat before { type nat hook prerouting priority dstnat; }'
        nft add rule ip nat before ip daddr 44.0.0.1 tcp dport 4077 dnat to 10.1.0.2
    ";
    gateway.shell_with(cables, &[("HERE", &here), ("FAR", &far)])?;
    here.shell(
        "ip address add 10.1.0.2/24 dev lan\nip link set lan up\nip route add default via 10.1.0.1",
    )?;
    far.shell(FAR)?;
    let node = here.up(&["--listen", "/ip4/0.0.0.0/tcp/4077"])?;
    let at = format!("/ip4/44.0.0.1/tcp/4077/p2p/{}", node.id());
    let mut peers = Vec::new();
    for net in 1..=4 {
        ensure!(
            !has(&node.addresses()?, "44.0.0.1"),
            "announced after {} networks",
            net - 1
        );
        // The source address of the route decides from which network the peer comes.
        far.shell(&format!(
            "ip route replace 44.0.0.1/32 dev wan src 44.0.{net}.2"
        ))?;
        let mut peer = far.peer(&["watch", &at])?;
        let said = peer.next(tests::harness::process::Deadline::within(
            Duration::from_secs(10),
        ));
        ensure!(
            said.context("no identify message")?.kind() == "identified",
            "no identify message"
        );
        peers.push(peer);
    }
    let announced = wait(Instant::now(), WITHIN, || {
        let addresses = node.addresses()?;
        Ok(has(&addresses, "44.0.0.1").then(|| format!("{addresses:?}")))
    });
    let announced = announced.map(|(took, _)| (took, "announced after 4 networks".to_owned()));
    report.row("a node behind a NAT", "observed address", announced);
    Ok(())
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}
