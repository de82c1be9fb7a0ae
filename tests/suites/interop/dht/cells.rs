//! What happens in the cells of the DHT.

use anyhow::{Context, Result, ensure};
use libp2p_identity::PeerId;
use tests::harness::process::Deadline;

use super::Step;
use super::network::Network;

/// The cells of the servers that are there before Bowline.
pub(super) const OF_SERVERS: [(&str, Step); 3] = [
    ("we find it", we_find),
    ("it finds us", it_finds),
    ("we join through it and find the others", we_find_others),
];

/// The cells of the servers that join through Bowline.
pub(super) const OF_NEWCOMERS: [(&str, Step); 7] = [
    ("it reads our value", it_reads),
    ("we read its value", we_read),
    ("it reads a /pk/ record that we stored", it_reads_key),
    ("we read a /pk/ record that it stored", we_read_key),
    ("it finds us as a provider", it_finds_provider),
    ("we find it as a provider", we_find_provider),
    (OF_SHA512, it_finds_provider_of_sha512),
];

const OF_SHA512: &str = "it finds us as a provider of a CID with SHA-512";

/// What Bowline provides: a CID with SHA-256, and a CID with SHA-512.
const OURS: [&str; 2] = [
    "QmQ8eqpDs4qu4Z9K9DRQShLc99R2R4LyLa1Bk3fbxi8u8X",
    "bafkrgqe5auurxxn3ch2kn2njqosuokbk6bl4iwjxxlxwrosoe6dcgdz6cmdb2i5cb7sa5zz4ylimol5w3i7bleeomtw267u6hmrjixt4qf6tq",
];

/// What each peer provides.
const THEIRS: [(&str, &str); 3] = [
    ("go", "QmTWWS1KHrCwg3qNXhBzULLcZhvchbueAsNKejbm3yw114"),
    ("rust", "QmTsEMKa2S4zo7926XaJvkRC28WBT37D3cE3HvJaCanp2N"),
    ("js", "QmPsgdz4diNQNEcNk9Yt1JBsHeWCaB3y2rJjYUBRokm58Q"),
];

const OUR_VALUE: &str = "from Bowline";

/// Why a peer has no such cell.
pub(super) fn unsupported(peer: &str, case: &str) -> Option<&'static str> {
    let of_js = "js-libp2p accepts only keys of providers that are SHA-256 hashes";
    (peer == "js" && case == OF_SHA512).then_some(of_js)
}

/// Stores what the newcomers read.
pub(super) fn store_ours(network: &Network, deadline: Deadline) -> Result<()> {
    let all = network.servers.len();
    let stored = network.ask(&["put", "/bowline/ours", OUR_VALUE], deadline)?;
    let stored = stored[0].number("stored")? as usize;
    ensure!(stored == all, "{stored} of {all} servers stored the value");
    let (key, value) = (network.up.peer_id(), public_key(network.up.peer_id())?.1);
    network.ask(
        &["put", &format!("/pk/{key}"), &hex(&value), "--hex"],
        deadline,
    )?;
    for cid in OURS {
        network.ask(&["provide", cid], deadline)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The binary key of the public key of an Ed25519 peer, and the public key, which is a part of the peer's id.
fn public_key(peer: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let id = peer.parse::<PeerId>()?.to_bytes();
    Ok(([b"/pk/", &id[..]].concat(), id[2..].to_vec()))
}

fn we_find(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    let (peer, address) = whereabouts(network, name)?;
    let found = network.ask(&["find", &peer], deadline)?;
    check_addresses(&found[0].texts("addresses"), &[address])
}

fn it_finds(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    let (peer, ours) = (network.up.peer_id().to_owned(), network.up.addresses());
    let found = network
        .server(name)?
        .job(&format!("find {peer}"), deadline)?;
    check_addresses(&found, &ours)
}

fn we_find_others(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    let through = whereabouts(network, name)?.1;
    let mut others = vec![(network.up.peer_id().to_owned(), network.up.addresses())];
    for server in network.servers.iter().filter(|server| server.name != name) {
        let listening = &server.listening;
        others.push((listening.peer_id.clone(), vec![listening.address.clone()]));
    }
    for (peer, addresses) in &others {
        let found = network.ask_anew(&through, &["find", peer], deadline);
        let found = found.with_context(|| format!("{peer} was not found"))?;
        check_addresses(&found[0].texts("addresses"), addresses)?;
    }
    Ok(format!("found {}", others.len()))
}

fn it_reads(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    let get = format!("get {}", hex(b"/bowline/ours"));
    let found = network.newcomer(name)?.job(&get, deadline)?;
    ensure!(found == [hex(OUR_VALUE.as_bytes())], "{found:?}");
    Ok(String::new())
}

fn we_read(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    let (key, value) = (format!("/bowline/{name}"), format!("from {name}"));
    let put = format!("put {} {}", hex(key.as_bytes()), hex(value.as_bytes()));
    let newcomer = network.newcomer(name)?;
    newcomer.job(&put, deadline)?;
    let through = newcomer.listening.address.clone();
    let found = network.ask_anew(&through, &["get", &key], deadline)?;
    ensure!(found[0].text("value") == value, "{found:?}");
    let kept = network.ask(&["get", &key], deadline)?;
    ensure!(kept[0].text("value") == value, "{kept:?}");
    Ok(String::new())
}

fn it_reads_key(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    let (key, value) = public_key(network.up.peer_id())?;
    let get = format!("get {}", hex(&key));
    let found = network.newcomer(name)?.job(&get, deadline)?;
    ensure!(found == [hex(&value)], "{found:?}");
    Ok(String::new())
}

fn we_read_key(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    let newcomer = network.newcomer(name)?;
    let (peer, through) = (
        newcomer.listening.peer_id.clone(),
        newcomer.listening.address.clone(),
    );
    let (key, value) = public_key(&peer)?;
    newcomer.job(&format!("put {} {}", hex(&key), hex(&value)), deadline)?;
    let found = network.ask_anew(&through, &["get", &format!("/pk/{peer}")], deadline)?;
    ensure!(found[0].text("value_hex") == hex(&value), "{found:?}");
    Ok(String::new())
}

fn it_finds_provider(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    finds_us(network, name, OURS[0], deadline)
}

fn it_finds_provider_of_sha512(
    network: &mut Network,
    name: &str,
    deadline: Deadline,
) -> Result<String> {
    finds_us(network, name, OURS[1], deadline)
}

fn finds_us(network: &mut Network, name: &str, cid: &str, deadline: Deadline) -> Result<String> {
    let found = network.newcomer(name)?;
    let found = found.job(&format!("providers {cid}"), deadline)?;
    ensure!(found == [network.up.peer_id()], "{found:?}");
    Ok(String::new())
}

fn we_find_provider(network: &mut Network, name: &str, deadline: Deadline) -> Result<String> {
    let (_, cid) = THEIRS
        .into_iter()
        .find(|(peer, _)| *peer == name)
        .with_context(|| format!("{name} provides nothing"))?;
    let newcomer = network.newcomer(name)?;
    newcomer.job(&format!("provide {cid}"), deadline)?;
    let (peer, through) = (
        newcomer.listening.peer_id.clone(),
        newcomer.listening.address.clone(),
    );
    let found = network.ask_anew(&through, &["providers", cid], deadline)?;
    let peers: Vec<&str> = found.iter().map(|one| one.text("peer_id")).collect();
    ensure!(peers == [&peer[..]], "{peers:?}");
    check_addresses(&found[0].texts("addresses"), &[through])
}

/// The id and the address of a server.
fn whereabouts(network: &mut Network, name: &str) -> Result<(String, String)> {
    let listening = &network.server(name)?.listening;
    Ok((listening.peer_id.clone(), listening.address.clone()))
}

/// One of the found addresses must be one of the peer's own, which end with its id.
fn check_addresses(found: &[String], own: &[String]) -> Result<String> {
    let is_own = |address: &String| own.iter().any(|one| one.starts_with(&address[..]));
    ensure!(found.iter().any(is_own), "{found:?} instead of {own:?}");
    Ok(String::new())
}
