//! The memory of a routing table, without any network.

use std::{net::Ipv4Addr, time::Instant};

use libp2p_identity::PeerId;
use node::{
    Multiaddr,
    bootstrap::kad::{Kad, KadConfig, KadEvent, Mode, Namespaces, Preset, Response, place_of},
    multiaddr::Protocol,
};
use serde_json::json;
use tests::harness::program::{resident, say};

type Core = Kad<PeerId, Multiaddr>;

/// Fills tables with the same peers, and tells the memory that they take.
pub(crate) fn run(tables: usize, peers: usize) -> anyhow::Result<()> {
    let now = Instant::now();
    let peers: Vec<(PeerId, Vec<u8>)> = (0..peers)
        .map(|number| (PeerId::random(), address(number).to_vec()))
        .collect();
    let before = resident()?;
    let mut cores: Vec<Core> = (0..tables).map(|number| core(now, number)).collect();
    let empty = resident()?;
    for core in &mut cores {
        for (peer, address) in &peers {
            // Multiaddrs share their bytes with their clones. Those of an answer are decoded anew.
            let address = Multiaddr::try_from(address.clone())?;
            meet(core, now, peer, address);
        }
    }
    let full = resident()?;
    let entries: usize = cores.iter().map(|core| core.table().count()).sum();
    say(&json!({
        "event": "table",
        "entries": entries,
        "bytes": full.saturating_sub(before),
        "bytes_of_empty_tables": empty.saturating_sub(before),
    }));
    Ok(())
}

fn address(number: usize) -> Multiaddr {
    let [.., high, middle, low] = number.to_be_bytes();
    let ip = Ipv4Addr::new(10, high, middle, low);
    Multiaddr::from(ip).with(Protocol::Tcp(4001))
}

fn core(now: Instant, number: usize) -> Core {
    let config = KadConfig::default()
        .with_mode(Mode::Client)
        .with_preset(Preset::Private);
    let (local, names) = (PeerId::random(), Namespaces::new());
    Kad::new(now, local, number as u64, config, names, place_of)
}

/// A server connects, is asked because the table has room for it, and leaves: only its entry stays.
fn meet(core: &mut Core, now: Instant, peer: &PeerId, address: Multiaddr) {
    core.handle_connected(now, peer, Some(&address), false);
    core.handle_identified(now, peer, vec![address], true);
    while let Some(event) = core.poll_event() {
        if let KadEvent::Send { request, .. } = event {
            let closer = Vec::new();
            core.handle_response(now, request, None, Response::FindNode { closer });
        }
    }
    core.handle_disconnected(now, peer);
    while core.poll_event().is_some() {}
}
