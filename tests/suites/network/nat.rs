//! A relay behind a NAT, a holder of a slot, and a third node that learns the relay's address only from the reservation.
//!
//! ```text
//! relay 10.1.0.2:4077 ══ 10.1.0.1 NAT 44.0.0.1:5000 ══╦══ 44.1.0.2 holder
//!                        port 5000 → 10.1.0.2:4077    ╚══ 44.2.0.2 third node
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::place::Place;

use crate::Report;
use crate::nodes::{Nodes, wait};

/// The time until the node holds its slot.
const GRANTED: Duration = Duration::from_secs(5);

const PUBLIC: &str = "44.0.0.1";

/// The commands that connect the gateway to all other networks.
const GATEWAY: &str = "
ip link add lan type veth peer name lan netns RELAY
ip link add holder type veth peer name wan netns HOLDER
ip link add third type veth peer name wan netns THIRD
ip link add wan type bridge
ip link set holder master wan
ip link set third master wan
ip address add 10.1.0.1/24 dev lan
ip address add 44.0.0.1/8 dev wan
for link in lan holder third wan; do ip link set $link up; done
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<'END'
table ip nat {
    chain before {
        type nat hook prerouting priority dstnat;
        ip daddr 44.0.0.1 tcp dport 5000 dnat to 10.1.0.2:4077
        ip daddr 44.0.0.1 udp dport 5000 dnat to 10.1.0.2:4077
    }
    chain after {
        type nat hook postrouting priority srcnat;
        oifname wan masquerade
    }
}
END
";

const BEHIND: &str = "
ip address add 10.1.0.2/24 dev lan
ip link set lan up
ip route add default via 10.1.0.1
";

fn outside(ip: &str) -> String {
    format!("ip address add {ip}/8 dev wan\nip link set wan up\n")
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let [gateway, behind, holder, third] =
        [Place::new()?, Place::new()?, Place::new()?, Place::new()?];
    let others = [("RELAY", &behind), ("HOLDER", &holder), ("THIRD", &third)];
    gateway.shell_with(GATEWAY, &others)?;
    behind.shell(BEHIND)?;
    holder.shell(&outside("44.1.0.2"))?;
    third.shell(&outside("44.2.0.2"))?;
    let relay = behind.up(&["--relay-server"])?;
    for transport in ["tcp/5000", "udp/5000/quic-v1"] {
        let name = format!("a relay behind a NAT, {transport}");
        let at = format!("/ip4/{PUBLIC}/{transport}/p2p/{}", relay.id());
        let begun = Instant::now();
        let node = holder.up(&["--reserve-at", &at])?;
        let circuit = format!("{at}/p2p-circuit/p2p/{}", node.id());
        let granted = wait(begun, GRANTED, || {
            let addresses = node.addresses()?;
            let first = addresses.into_iter().find(|at| at.contains("/p2p-circuit"));
            Ok(first.filter(|first| *first == circuit))
        });
        let granted = granted.map(|(took, _)| (took, "the dialed address is announced".to_owned()));
        report.row(&name, "the holder's first circuit", granted);
        report.row(
            &name,
            "the relay's answer",
            answer(&third, &at, &relay_ips()),
        );
        report.row(&name, "the third node", third_node(&third, &at, node.id()));
    }
    Ok(())
}

fn relay_ips() -> [&'static str; 2] {
    ["/ip4/10.", "/ip4/127."]
}

/// A new holder asks the relay: the first address of the answer is the public one, and none is private.
fn answer(from: &Place, at: &str, private: &[&str]) -> Result<(f64, String)> {
    let begun = Instant::now();
    let listed = from.reserved(at)?;
    let first = listed.first().context("the relay lists no address")?;
    ensure!(first == at, "the relay lists {first} first");
    let is_private = |address: &String| private.iter().any(|ip| address.starts_with(ip));
    ensure!(!listed.iter().any(is_private), "the relay lists {listed:?}");
    let seen = format!("{} listed, the public address first", listed.len());
    Ok((begun.elapsed().as_secs_f64(), seen))
}

/// The third node dials the holder at the first address of a reservation.
fn third_node(from: &Place, at: &str, holder: &str) -> Result<(f64, String)> {
    let listed = from.reserved(at)?;
    let first = listed.first().context("the relay lists no address")?;
    let begun = Instant::now();
    let circuit = format!("{first}/p2p-circuit/p2p/{holder}");
    let pong = from.says(&["ping", &circuit, "-c", "1"])?;
    ensure!(
        pong["via"]
            .as_str()
            .is_some_and(|via| via.starts_with("relay/")),
        "the ping says {pong}"
    );
    Ok((
        begun.elapsed().as_secs_f64(),
        format!("pong via {}", pong["via"]),
    ))
}
