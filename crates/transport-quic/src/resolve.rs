//! Host names in multiaddrs.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};

use crate::{address::Family, error::ResolveError};

/// Most addresses of one name that are tried, so that a hostile zone cannot aim a node at a
/// whole network.
const MOST_ADDRESSES: usize = 16;

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
    /// Resolves as the system is configured.
    ///
    /// # Errors
    ///
    /// [`ResolveError::System`] if that cannot be read.
    pub fn system() -> Result<Self, ResolveError> {
        let system = |error: &dyn std::error::Error| ResolveError::System(error.to_string());
        let builder = TokioResolver::builder_tokio().map_err(|error| system(&error))?;
        let inner = builder.build().map_err(|error| system(&error))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Asks these name servers, over UDP and, where an answer is too long, TCP.
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
        let inner = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .build()
            .map_err(|error| ResolveError::System(error.to_string()))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
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

    /// The addresses of `host` in `family` that are `dialable`, in the resolver's order.
    /// Cancel-safe.
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
            .take(MOST_ADDRESSES)
            .collect();
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress {
                host: host.to_owned(),
            });
        }
        Ok(addresses)
    }
}
