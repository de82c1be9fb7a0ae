//! Resolves a target to socket addresses, and returns each address as soon as it is known.

use std::{
    net::{SocketAddr, SocketAddrV6},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use futures::{StreamExt, channel::mpsc::UnboundedSender, future::join};
use multiaddr::{Multiaddr, Protocol};

use crate::{
    DialContext, DialError, Family, Host, PeerId, ResolveError, Resolver, Target,
    resolve::CONCURRENT, zone,
};

/// An address, and the peer that must answer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: SocketAddr,
    pub(crate) peer: Option<PeerId>,
}

/// The receiver of addresses. One look-up returns at most 100 records, and 16 addresses of each name among them.
pub(crate) type Finds = UnboundedSender<Vec<Found>>;

/// Sends what `target` stands for to `finds`. Ends once nothing more can be found; dropping it stops every question.
pub(crate) async fn look_up(
    resolver: Option<&Resolver>,
    target: &Target,
    cx: &DialContext,
    finds: Finds,
) -> Result<(), DialError> {
    let address = || target.to_multiaddr();
    let failed = |source| DialError::Resolve {
        address: address(),
        source,
    };
    if target.is_onion() {
        return Err(DialError::Unsupported {
            address: address(),
            host: "an onion service",
        });
    }
    let resolver = || resolver.ok_or_else(|| DialError::NoResolver(address()));
    match target.host() {
        Host::Ip(ip) => {
            let ip = SocketAddr::new(*ip, target.port());
            send(&finds, vec![ip], target);
            Ok(())
        }
        Host::Ip6Zone { ip, zone } => {
            let Some(index) = zone::index(zone) else {
                let host = "an interface that this machine does not have";
                let address = address();
                return Err(DialError::Unsupported { address, host });
            };
            let at = SocketAddrV6::new(*ip, target.port(), 0, index);
            send(&finds, vec![at.into()], target);
            Ok(())
        }
        Host::Dns { name, family } => {
            let found = name_addresses(resolver()?, name, *family, target.port()).await;
            send(&finds, found.map_err(failed)?, target);
            Ok(())
        }
        Host::DnsAddr(name) => {
            let records = Records {
                cx: cx.clone(),
                left_out: AtomicBool::new(false),
            };
            let found = records.find(resolver()?, name, target.peer(), finds).await;
            match found {
                Ok(false) | Err(ResolveError::Empty(_)) if records.left_out.load(Relaxed) => {
                    Err(DialError::NotFollowed(address()))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(failed(error)),
            }
        }
        Host::Onion3 { .. } => Ok(()),
    }
}

/// The receiver is gone once the dial is over: then nobody needs them.
fn send(finds: &Finds, addresses: Vec<SocketAddr>, target: &Target) {
    let peer = target.peer();
    let found = addresses
        .into_iter()
        .map(|address| Found { address, peer })
        .collect();
    let _ = finds.unbounded_send(found);
}

async fn name_addresses(
    resolver: &Resolver,
    name: &str,
    family: Family,
    port: u16,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let ips = resolver.addresses(name, family).await?;
    Ok(ips
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect())
}

/// The records of a `/dnsaddr` name.
struct Records {
    cx: DialContext,
    /// Whether a record was left out, because the dial must not follow it.
    left_out: AtomicBool,
}

impl Records {
    fn may_follow(&self, record: &Target) -> bool {
        let may = self.cx.may_follow(record);
        self.left_out.fetch_or(!may, Relaxed);
        may
    }

    /// Whether the dial may ask for the records of a name to which a record leads.
    fn may_ask(&self, name: &str, peer: Option<PeerId>) -> bool {
        let mut address = Multiaddr::from(Protocol::Dnsaddr(name.into()));
        if let Some(peer) = peer {
            address.push(Protocol::P2p(peer));
        }
        Target::try_from(&address).is_ok_and(|target| self.may_follow(&target))
    }

    /// Finds the records' addresses, and those of the names among them. A name that does not resolve, or not in time, takes
    /// nothing from the others. Returns whether there is a record to dial.
    async fn find(
        &self,
        resolver: &Resolver,
        name: &str,
        peer: Option<PeerId>,
        finds: Finds,
    ) -> Result<bool, ResolveError> {
        let (names, named) = futures::channel::mpsc::unbounded();
        let expanding = async {
            let mut any = false;
            let sort = |records: Vec<Multiaddr>| {
                let targets = records.iter().filter_map(|a| Target::try_from(a).ok());
                let targets = targets.filter(|target| self.may_follow(target));
                let (ips, others) =
                    targets.partition::<Vec<_>, _>(|target| matches!(target.host(), Host::Ip(_)));
                any |= !ips.is_empty() || !others.is_empty();
                let ips = ips.iter().filter_map(|target| {
                    let address = SocketAddr::new(target.ip()?, target.port());
                    let peer = target.peer();
                    Some(Found { address, peer })
                });
                let _ = finds.unbounded_send(ips.collect());
                for target in others {
                    let _ = names.unbounded_send(target);
                }
            };
            // The first name is the target of the dial itself.
            let mut is_first = true;
            let may_ask = |name: &str| std::mem::take(&mut is_first) || self.may_ask(name, peer);
            let expanded = resolver.expand(name, peer, may_ask, sort).await;
            names.close_channel();
            expanded.map(|()| any)
        };
        let resolving = named.for_each_concurrent(CONCURRENT, |target: Target| {
            let (resolver, finds) = (resolver.clone(), finds.clone());
            async move {
                let Host::Dns { name, family } = target.host() else {
                    return;
                };
                let found = name_addresses(&resolver, name, *family, target.port()).await;
                send(&finds, found.unwrap_or_default(), &target);
            }
        });
        join(expanding, resolving).await.0
    }
}
