//! Host names in multiaddrs.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError},
    proto::rr::IntoName,
};
use tokio::time::Instant;

use crate::{
    address::Family,
    error::ResolveError,
    system_dns::{Files, SystemDns, build},
};

/// The most addresses of one name that a dial tries. Otherwise the owner of a name could make a
/// node dial a whole network.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// Resolves `/dns`, `/dns4` and `/dns6`. Clones share their cache.
///
/// A resolver with the system's configuration follows changes of that configuration. It reads the
/// configuration again, at most once per second, when a look-up starts and while a look-up waits
/// for its answer. After a change it repeats the waiting look-ups, and the cache starts empty.
#[derive(Clone)]
pub struct Resolver {
    source: Arc<Source>,
}

enum Source {
    System(SystemDns),
    Fixed(TokioResolver),
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver with the system's configuration, which the first look-up reads. If that read
    /// fails, the look-up fails. A look-up at least one second later reads the configuration again.
    #[must_use]
    pub fn system() -> Self {
        Self::following(Files::default())
    }

    /// Like [`system`](Self::system), with another file in the place of `/etc/resolv.conf`. Apple
    /// systems, Android and Windows have no such file. There, the resolver ignores the path.
    #[must_use]
    pub fn with_resolv_conf(path: impl Into<PathBuf>) -> Self {
        Self::following(Files {
            servers: path.into(),
            ..Files::default()
        })
    }

    fn following(files: Files) -> Self {
        let source = Source::System(SystemDns::new(files));
        Self {
            source: Arc::new(source),
        }
    }

    /// A resolver that asks these name servers over UDP, or over TCP if an answer is too long for
    /// UDP.
    ///
    /// # Errors
    ///
    /// [`ResolveError::System`] if no resolver can use these servers.
    pub fn with_nameservers(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let resolver = build(config, ResolverOpts::default());
        let resolver = resolver.map_err(|error| ResolveError::System(error.to_string()))?;
        Ok(Self {
            source: Arc::new(Source::Fixed(resolver)),
        })
    }

    /// The addresses of `host` in `family` that are `dialable`: the first 16, of both families in
    /// turn (RFC 8305 section 4). Cancel-safe.
    pub(crate) async fn lookup(
        &self,
        host: &str,
        family: Family,
        dialable: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let answer = match &*self.source {
            Source::Fixed(resolver) => resolver.lookup_ip(host).await,
            Source::System(dns) => loop {
                let current = dns.current(Instant::now());
                let current = current.map_err(|error| ResolveError::System(error.to_string()))?;
                tokio::select! {
                    answer = current.resolver.lookup_ip(host) => break answer,
                    // The previous name servers may never answer.
                    () = dns.replaced(&current) => {}
                }
            },
        };
        let found = answer.map_err(|error| failure(host, &error))?;
        let addresses: Vec<IpAddr> = found
            .iter()
            .filter(|ip| family.admits(*ip) && dialable(*ip))
            .collect();
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress {
                host: host.to_owned(),
            });
        }
        Ok(in_turn(addresses).take(MAX_ADDRESSES_PER_NAME).collect())
    }
}

fn failure(host: &str, error: &NetError) -> ResolveError {
    let host = host.to_owned();
    match error.is_no_records_found() {
        true => ResolveError::NoAddress { host },
        false => ResolveError::Lookup {
            reason: reason(&host, error),
            host,
        },
    }
}

/// The reason in plain words. For some errors, hickory's own text is a dump of its types.
fn reason(name: &str, error: &NetError) -> String {
    match error {
        _ if name.into_name().is_err() => "this is not a host name".to_owned(),
        NetError::Timeout => "no name server answered in time".to_owned(),
        NetError::NoConnections => "no name server can be reached".to_owned(),
        NetError::Io(error) => format!("cannot ask the name server: {error}"),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answered: {code}"),
        other => other.to_string(),
    }
}

fn in_turn(addresses: Vec<IpAddr>) -> impl Iterator<Item = IpAddr> {
    let preferred = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, mut second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|ip| ip.is_ipv6() == preferred);
    let rest = second.split_off(second.len().min(first.len()));
    let mut second = second.into_iter();
    first
        .into_iter()
        .flat_map(move |ip| [Some(ip), second.next()])
        .flatten()
        .chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_take_turns_and_the_first_keeps_its_place() {
        let given = ips(&["::1", "::2", "10.0.0.1", "::3", "10.0.0.2"]);
        let expected = ips(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]);
        assert_eq!(in_turn(given).collect::<Vec<_>>(), expected);
        let given = ips(&["10.0.0.1", "::1", "::2", "::3"]);
        assert_eq!(in_turn(given.clone()).collect::<Vec<_>>(), given);
        assert_eq!(in_turn(Vec::new()).count(), 0);
    }
}
