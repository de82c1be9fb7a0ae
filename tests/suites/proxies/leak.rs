//! Not one packet past the proxy: names and onion addresses go to it unresolved, and what it cannot carry is refused.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use tests::harness::bowline::{Home, PATIENCE, Up};
use tests::harness::process::{Deadline, Process};

use crate::client::{self, Ping, port_of};
use crate::network::{BEYOND, NAME, Networks, ONION, PROXY, Packets};
use crate::report::Report;

type Cell = fn(&Networks) -> Result<String>;

/// The last ones must be seen by the counters: they show that these count.
const CELLS: [([&str; 2], Cell); 9] = [
    (["name", "by proxy"], name),
    (["onion", "by proxy"], onion),
    (["name", "a node's bootstrap by proxy"], bootstrap),
    (["dnsaddr", "by proxy: refused"], dnsaddr),
    (["quic", "by proxy: refused"], quic),
    (["name, quic", "by proxy: refused"], quic_name),
    (["name", "direct: seen"], name_direct),
    (["quic", "direct: seen"], quic_direct),
    (["ipv4, ipv6", "direct: seen"], addresses_direct),
];

pub(crate) fn run(report: &mut Report, microsocks: Option<&Path>) {
    let Some(microsocks) = microsocks else {
        report.skip(["leak", "all", "all"], "microsocks is not there");
        return;
    };
    let networks = Networks::start(microsocks);
    for ([target, case], cell) in CELLS {
        report.cell(["leak", target, case], || match &networks {
            Ok(networks) => cell(networks),
            Err(error) => Err(anyhow!("{error:#}")),
        });
    }
}

fn by_proxy() -> String {
    format!("* via socks5://{PROXY}")
}

/// Pings `address` from the near network by a rule and gives what was counted meanwhile.
fn ping(networks: &Networks, address: &str, rule: &str) -> Result<(Ping, Packets)> {
    networks.forget()?;
    let command = client::command(networks.home(), address, rule);
    let ping = Ping::of(&mut networks.near(&command))?;
    Ok((ping, networks.packets()?))
}

fn nothing_but_proxy(packets: Packets) -> Result<String> {
    ensure!(packets.dns == 0 && packets.other == 0, "leaked, {packets}");
    Ok(packets.to_string())
}

/// `host` and the node's TCP port and identity.
fn tcp(networks: &Networks, host: &str) -> Result<String> {
    let port = port_of(&networks.node, "/ip4/127.0.0.1/tcp/")?;
    Ok(format!("{host}{port}/p2p/{}", networks.node.peer_id()))
}

fn reached(networks: &Networks, address: &str, host: &str) -> Result<String> {
    let (ping, packets) = ping(networks, address, &by_proxy())?;
    ping.succeeded("tcp/")?;
    ensure!(packets.proxy > 0, "nothing seen at all, {packets}");
    let log = networks.proxy_log();
    ensure!(log.contains(&format!("connected to {host}:")), "{log}");
    nothing_but_proxy(packets)
}

fn name(networks: &Networks) -> Result<String> {
    reached(
        networks,
        &tcp(networks, &format!("/dns4/{NAME}/tcp/"))?,
        NAME,
    )
}

fn onion(networks: &Networks) -> Result<String> {
    let address = tcp(networks, &format!("/onion3/{ONION}:"))?;
    reached(networks, &address, &format!("{ONION}.onion"))
}

fn bootstrap(networks: &Networks) -> Result<String> {
    let address = tcp(networks, &format!("/dns4/{NAME}/tcp/"))?;
    let deadline = Deadline::within(PATIENCE);
    let home = Home::new()?;
    let mut up = home.bowline_with_data(&["up", "--json", "--bootstrap", &address]);
    up.args(["--listen", "/ip4/198.51.100.2/tcp/0"]);
    up.args(["--listen", "/ip4/198.51.100.2/udp/0/quic-v1"]);
    up.args(["--dialer", &by_proxy()]);
    networks.forget()?;
    let mut up = Up::start(&mut networks.near(&up), deadline)?;
    let identified = up
        .process
        .wait_for("the other's identify", deadline, |event| {
            event.kind() == "identified"
        });
    identified.map_err(|error| anyhow!("{error:#}\n{}", up.process.stderr_tail()))?;
    drop(up);
    nothing_but_proxy(networks.packets()?)
}

fn refused(networks: &Networks, address: &str) -> Result<String> {
    let (ping, packets) = ping(networks, address, &by_proxy())?;
    ping.failed(&[])?;
    ensure!(packets.proxy == 0, "the proxy was asked, {packets}");
    nothing_but_proxy(packets)
}

fn dnsaddr(networks: &Networks) -> Result<String> {
    let peer = networks.node.peer_id();
    refused(networks, &format!("/dnsaddr/{NAME}/p2p/{peer}"))
}

fn quic(networks: &Networks) -> Result<String> {
    refused(networks, &networks.node.address_with("/quic-v1")?)
}

fn quic_name(networks: &Networks) -> Result<String> {
    let port = port_of(&networks.node, "/ip4/198.51.100.1/udp/")?;
    let peer = networks.node.peer_id();
    refused(
        networks,
        &format!("/dns4/{NAME}/udp/{port}/quic-v1/p2p/{peer}"),
    )
}

/// The question is never answered: what matters is only that it is seen, so nobody waits for the command's own patience.
fn name_direct(networks: &Networks) -> Result<String> {
    let address = tcp(networks, &format!("/dns4/{NAME}/tcp/"))?;
    networks.forget()?;
    let command = client::command(networks.home(), &address, "* direct");
    let _asking = Process::spawn("bowline", &mut networks.near(&command))?;
    let deadline = Deadline::within(PATIENCE);
    loop {
        let packets = networks.packets()?;
        if packets.dns > 0 {
            return Ok(packets.to_string());
        }
        ensure!(
            !deadline.left().is_zero(),
            "a question for a name was not seen, {packets}"
        );
    }
}

fn quic_direct(networks: &Networks) -> Result<String> {
    let address = networks.node.address_with("/quic-v1")?;
    let (ping, packets) = ping(networks, &address, "* direct")?;
    ping.succeeded("quic")?;
    ensure!(packets.other > 0, "a connection was not seen, {packets}");
    Ok(packets.to_string())
}

fn addresses_direct(networks: &Networks) -> Result<String> {
    let mut seen = Vec::new();
    for address in BEYOND {
        let (ping, packets) = ping(networks, address, "* direct")?;
        ping.failed(&[])?;
        ensure!(packets.other > 0, "{address} was not seen, {packets}");
        seen.push(packets.to_string());
    }
    Ok(seen.join("; "))
}
