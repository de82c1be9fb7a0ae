//! Resolves a target to socket addresses, and returns each address as soon as it is known.

use std::net::{SocketAddr, SocketAddrV6};

use futures::{StreamExt, channel::mpsc::UnboundedSender, future::join};
use multiaddr::Multiaddr;

use crate::{DialError, Family, Host, PeerId, Resolver, Target, resolve::CONCURRENT, zone};

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
            let found = dnsaddr(resolver()?, name, target.peer(), finds).await;
            found.map_err(failed)
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
) -> Result<Vec<SocketAddr>, crate::ResolveError> {
    let ips = resolver.addresses(name, family).await?;
    Ok(ips
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect())
}

/// The records' addresses, and those of the names among them. A name that does not resolve, or not in time, takes
/// nothing from the others.
async fn dnsaddr(
    resolver: &Resolver,
    name: &str,
    peer: Option<PeerId>,
    finds: Finds,
) -> Result<(), crate::ResolveError> {
    let (names, named) = futures::channel::mpsc::unbounded();
    let expanding = async {
        let sort = |records: Vec<Multiaddr>| {
            let targets = records.iter().filter_map(|a| Target::try_from(a).ok());
            let (ips, others) =
                targets.partition::<Vec<_>, _>(|target| matches!(target.host(), Host::Ip(_)));
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
        let expanded = resolver.expand(name, peer, |_| true, sort).await;
        names.close_channel();
        expanded
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
