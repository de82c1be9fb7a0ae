//! The sources that the configuration names.

use bootstrap::{
    Candidate, Origin, PeerSource, Store,
    sources::{List, TxtLookup, dnsaddr, file, lan, saved},
};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use tokio::sync::watch;

use crate::{
    address::{self, Kind},
    config::BootstrapConfig,
    context::Context,
    error::error_chain,
};

/// Addresses of every kind of host. A dialer that dials all of them directly hides nothing.
const SAMPLES: [&str; 6] = [
    "/ip4/192.0.2.1/tcp/4077",
    "/ip6/2001:db8::1/tcp/4077",
    "/dns/a.example/tcp/4077",
    "/ip4/10.0.0.1/tcp/4077",
    "/ip4/192.168.0.1/tcp/4077",
    "/ip6/fd00::1/tcp/4077",
];

pub(super) type Sources = Vec<Box<dyn PeerSource<PeerId, Multiaddr>>>;

/// What the sources need of the node.
pub(super) struct Host<'a> {
    pub(super) context: &'a Context,
    pub(super) local: PeerId,
    /// Whether the dialer dials every address directly.
    pub(super) direct: bool,
    pub(super) look_up: TxtLookup,
    pub(super) addresses: watch::Receiver<Vec<Multiaddr>>,
}

/// Whether the dialer dials all kinds of hosts directly.
pub(super) fn dials_all_directly(context: &Context) -> bool {
    let mut samples = SAMPLES
        .iter()
        .filter_map(|text| text.parse::<Multiaddr>().ok());
    samples.all(|address| context.is_direct(&address))
}

/// The configured sources, the saved peers first, and the store of the saved peers.
///
/// Nothing may bypass a proxy: with a dialer that is not direct, the node neither searches the LAN nor looks up a name itself.
pub(super) fn configured(host: Host<'_>, config: &BootstrapConfig) -> (Sources, Option<Store>) {
    let mut all: Sources = Vec::new();
    let mut off = Vec::new();
    let mut store = None;
    if let Some(path) = &config.saved {
        let (opened, mut loaded) = Store::open(path, config.store.clone());
        // The driver would tell these problems later, and not at all to a node that stops before.
        for problem in loaded.take_problems() {
            tracing::warn!("{}", error_chain(&problem));
        }
        all.push(Box::new(saved(loaded)));
        store = Some(opened);
    }
    match (config.mdns, host.direct) {
        (true, true) => {
            let seed = rand::random();
            all.push(Box::new(lan(host.local, host.addresses, seed)));
        }
        (true, false) => off.push("mDNS".to_owned()),
        (false, _) => {}
    }
    let (names, list): (Vec<_>, Vec<_>) = (config.list.iter())
        .cloned()
        .partition(|address| address::kind(address) == Kind::DnsAddr);
    let list = candidates(list, Origin::List);
    all.push(Box::new(List::new(
        candidates(config.keep.clone(), Origin::Kept)
            .into_iter()
            .chain(list),
    )));
    if let Some(path) = &config.file {
        all.push(Box::new(file(path)));
    }
    let mut looked_up = Vec::new();
    for address in names {
        match host.context.is_direct(&address) {
            true => looked_up.extend(name(&address)),
            false => off.push(format!("the DNS look-up of {address}")),
        }
    }
    if !looked_up.is_empty() {
        let seed = rand::random();
        all.push(Box::new(dnsaddr(looked_up, host.look_up, seed)));
    }
    if !off.is_empty() {
        let off = off.join(", ");
        tracing::warn!(
            "these sources of peers are off, because they would bypass the dialer: {off}"
        );
    }
    (all, store)
}

/// One candidate per address. The core joins the addresses of a peer.
fn candidates(addresses: Vec<Multiaddr>, origin: Origin) -> Vec<Candidate<PeerId, Multiaddr>> {
    let of = |address: Multiaddr| {
        let plain = address::without_peer(&address);
        if plain.is_empty() {
            tracing::warn!(%address, "the address names a peer but no place at which to dial it");
        }
        Candidate::new(address::peer(&address), vec![plain], origin)
    };
    let all = addresses.into_iter().map(of);
    all.filter(|candidate| !candidate.addresses.iter().any(Multiaddr::is_empty))
        .collect()
}

/// The name in a `/dnsaddr` address, and the peer that it names.
fn name(address: &Multiaddr) -> Option<(String, Option<PeerId>)> {
    match address.iter().next()? {
        Protocol::Dnsaddr(name) => Some((name.into_owned(), address::peer(address))),
        _ => None,
    }
}
