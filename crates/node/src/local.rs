//! The addresses that this node announces: the configured or the detected addresses, and the addresses at relays.
//!
//! The core reads neither the clock nor the interfaces. Its caller passes the bound addresses of listeners, the addresses of the
//! interfaces, the observed addresses and the addresses at relays.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::address::{self, announce::AnnounceConfig};

/// The source of announced addresses. The configured addresses come first in the list, and then the addresses of these sources in
/// the order of the enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Announcer {
    /// A listener, by its number. Its one address is the address of its socket, possibly a wildcard.
    Listener(u64),
    /// The peers, which observe this node's address.
    Observers,
    /// A relay at which this node holds a slot.
    Relay(PeerId),
}

/// The addresses at which peers reach this node, without its id.
#[derive(Debug)]
pub(crate) struct Local {
    config: AnnounceConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sources: BTreeMap<Announcer, Vec<Multiaddr>>,
    interfaces: Vec<IpAddr>,
    /// The announced addresses.
    announced: Vec<Multiaddr>,
}

/// A change of the announced addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) now: Vec<Multiaddr>,
    pub(crate) added: Vec<Multiaddr>,
    pub(crate) removed: Vec<Multiaddr>,
}

/// A change of the interfaces' addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InterfaceChange {
    /// The addresses that the interfaces no longer have.
    pub(crate) gone: Vec<IpAddr>,
    pub(crate) announced: Option<Changed>,
}

impl Local {
    pub(crate) fn new(config: AnnounceConfig) -> Self {
        let local = Self {
            config,
            state: Mutex::default(),
        };
        // The list contains the configured addresses from the start.
        local.update(&mut local.lock());
        local
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the addresses of `announcer`. `None`: the announced addresses have not changed.
    pub(crate) fn announce(
        &self,
        announcer: Announcer,
        addresses: Vec<Multiaddr>,
    ) -> Option<Changed> {
        let mut state = self.lock();
        if addresses.is_empty() {
            state.sources.remove(&announcer);
        } else {
            state.sources.insert(announcer, addresses);
        }
        self.update(&mut state)
    }

    /// Replaces the addresses of the interfaces by those that `read` returns. `None`: they are the same. If `read` fails, they
    /// stay. `read` runs under the lock, so that an older list never replaces a newer one.
    pub(crate) fn read_interfaces(
        &self,
        read: impl FnOnce() -> io::Result<Vec<IpAddr>>,
    ) -> io::Result<Option<InterfaceChange>> {
        let mut state = self.lock();
        let ips = read()?;
        if ips == state.interfaces {
            return Ok(None);
        }
        let before = std::mem::replace(&mut state.interfaces, ips);
        let is_gone = |ip: &IpAddr| !state.interfaces.contains(ip);
        let gone = before.into_iter().filter(is_gone).collect();
        let announced = self.update(&mut state);
        Ok(Some(InterfaceChange { gone, announced }))
    }

    /// The change from an empty list to the list of a node that has only just started. `None`: the list is empty.
    pub(crate) fn configured(&self) -> Option<Changed> {
        let now = self.addresses();
        let changed = Changed {
            added: now.clone(),
            now,
            removed: Vec::new(),
        };
        (!changed.now.is_empty()).then_some(changed)
    }

    /// All announced addresses without duplicates.
    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        self.lock().announced.clone()
    }

    /// The addresses at which peers reach a socket that is bound to `bound`, whether or not the node announces them.
    pub(crate) fn reachable_at(&self, bound: &Multiaddr) -> Vec<Multiaddr> {
        address::expand(bound, &self.lock().interfaces)
    }

    /// Like [`Self::reachable_at`], without the addresses that the node must not announce.
    pub(crate) fn announceable_at(&self, bound: &Multiaddr) -> Vec<Multiaddr> {
        let mut all = self.reachable_at(bound);
        all.retain(|address| self.config.announces_detected() && self.config.may_announce(address));
        all
    }

    /// Whether a network interface has an address other than a loopback address.
    pub(crate) fn has_network(&self) -> bool {
        self.lock().interfaces.iter().any(|ip| !ip.is_loopback())
    }

    /// Whether the node listens.
    pub(crate) fn is_listening(&self) -> bool {
        let is_listener = |announcer: &Announcer| matches!(announcer, Announcer::Listener(_));
        self.lock().sources.keys().any(is_listener)
    }

    /// The listener whose socket a connection with this local address uses.
    pub(crate) fn listener_at(&self, local: &Multiaddr) -> Option<u64> {
        let state = self.lock();
        state
            .sources
            .iter()
            .find_map(|(announcer, bound)| match announcer {
                Announcer::Listener(number) => {
                    let is_here = bound.iter().any(|bound| address::is_at(bound, local));
                    is_here.then_some(*number)
                }
                _ => None,
            })
    }

    fn update(&self, state: &mut State) -> Option<Changed> {
        let now = self.choose(state);
        if now == state.announced {
            return None;
        }
        let before = std::mem::replace(&mut state.announced, now.clone());
        let new = now.iter().filter(|address| !before.contains(address));
        let old = before.iter().filter(|address| !now.contains(address));
        let (added, removed) = (new.cloned().collect(), old.cloned().collect());
        Some(Changed {
            now,
            added,
            removed,
        })
    }

    fn choose(&self, state: &State) -> Vec<Multiaddr> {
        let detected = self.config.announces_detected();
        let mut all = self.config.addresses.clone();
        for (announcer, addresses) in &state.sources {
            for address in addresses {
                match announcer {
                    Announcer::Listener(_) if detected => {
                        all.extend(address::expand(address, &state.interfaces));
                    }
                    Announcer::Observers if detected => all.push(address.clone()),
                    Announcer::Relay(_) => all.push(address.clone()),
                    Announcer::Listener(_) | Announcer::Observers => {}
                }
            }
        }
        let mut chosen: Vec<Multiaddr> = Vec::new();
        for address in all {
            if self.config.may_announce(&address) && !chosen.contains(&address) {
                chosen.push(address);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests;
