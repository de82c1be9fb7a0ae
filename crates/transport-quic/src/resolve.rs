//! Host names in multiaddrs.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
};

use crate::{address::Family, error::ResolveError};

/// The most addresses of one name that a dial tries. Otherwise the owner of a name could make a
/// node dial a whole network.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// The most cached answers. An answer can have 64 KiB, and takes more than ten times as much
/// memory once it is parsed: the owner of a name can make a resolver keep about 6 MiB.
const CACHED_ANSWERS: u64 = 8;

/// Resolves `/dns`, `/dns4` and `/dns6`. Clones share their cache.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<TokioResolver>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver with the system's configuration.
    ///
    /// # Errors
    ///
    /// [`ResolveError::System`] if the configuration cannot be read.
    pub fn system() -> Result<Self, ResolveError> {
        let system = |error: &dyn std::error::Error| ResolveError::System(error.to_string());
        let builder = TokioResolver::builder_tokio().map_err(|error| system(&error))?;
        Self::built(builder).map_err(|error| system(&error))
    }

    /// A resolver that asks these name servers over UDP, or over TCP if an answer is too long.
    ///
    /// # Errors
    ///
    /// [`ResolveError::System`] if no resolver can be made of them.
    pub fn with_nameservers(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Self::built(builder).map_err(|error| ResolveError::System(error.to_string()))
    }

    fn built(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, NetError> {
        builder.options_mut().cache_size = CACHED_ANSWERS;
        let inner = Arc::new(builder.build()?);
        Ok(Self { inner })
    }

    /// The system's resolver, made at the first call.
    pub(crate) fn system_once(made: &OnceLock<Self>) -> Result<&Self, ResolveError> {
        match made.get() {
            Some(resolver) => Ok(resolver),
            None => {
                let resolver = Self::system()?;
                Ok(made.get_or_init(|| resolver))
            }
        }
    }

    /// The addresses of `host` in `family` that are `dialable`: the first 16, of both families in
    /// turn (RFC 8305 section 4). Cancel-safe.
    pub(crate) async fn lookup(
        &self,
        host: &str,
        family: Family,
        dialable: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let failed = |error: &dyn std::error::Error| ResolveError::Lookup {
            host: host.to_owned(),
            reason: error.to_string(),
        };
        let found = self
            .inner
            .lookup_ip(host)
            .await
            .map_err(|error| failed(&error))?;
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
