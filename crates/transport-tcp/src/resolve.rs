//! Names to addresses, by hickory.

use std::{fmt, net::IpAddr, net::SocketAddr, sync::Arc};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, RecordType},
};
use multiaddr::Multiaddr;

use crate::{Family, PeerId, ResolveError, dnsaddr::Expansion};

/// Resolves names. Clones share one cache.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<TokioResolver>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Asks the name servers that the system is configured with, and its hosts file.
    pub fn system() -> Result<Self, ResolveError> {
        let inner = TokioResolver::builder_tokio()
            .and_then(|builder| builder.build())
            .map_err(|error| ResolveError::Config(Box::new(error)))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Asks these name servers, over UDP and, where an answer does not fit, TCP.
    pub fn with_nameservers(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
                c.port = server.port();
                c
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let inner = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .build()
            .map_err(|error| ResolveError::Config(Box::new(error)))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The addresses of a name. Both families are asked at the same time, and an answer for one
    /// is enough.
    pub async fn addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, ResolveError> {
        let (six, four) = match family {
            Family::V4 => (None, Some(self.lookup(name, RecordType::A).await)),
            Family::V6 => (Some(self.lookup(name, RecordType::AAAA).await), None),
            Family::Any => {
                let (six, four) = tokio::join!(
                    self.lookup(name, RecordType::AAAA),
                    self.lookup(name, RecordType::A),
                );
                (Some(six), Some(four))
            }
        };
        let mut addresses = Vec::new();
        let mut failure = None;
        for answer in [six, four].into_iter().flatten() {
            match answer {
                Ok(records) => addresses.extend(records.iter().filter_map(|data| match data {
                    RData::A(ip) => Some(IpAddr::V4(ip.0)),
                    RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
                    _ => None,
                })),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            _ if !addresses.is_empty() => Ok(addresses),
            Some(error) => Err(error),
            None => Err(ResolveError::Empty(name.to_owned())),
        }
    }

    /// The multiaddrs that the TXT records of `_dnsaddr.NAME` lead to, of any transport; only
    /// those of `peer`, where it is given. A chain of names is followed to a depth of 4 and at
    /// most 100 addresses are returned.
    pub async fn dnsaddr(
        &self,
        name: &str,
        peer: Option<PeerId>,
    ) -> Result<Vec<Multiaddr>, ResolveError> {
        let mut expansion = Expansion::new(name, peer);
        let mut failure = None;
        while let Some(query) = expansion.poll_query() {
            let asked = format!("_dnsaddr.{}", query.name);
            match self.lookup(&asked, RecordType::TXT).await {
                Ok(records) => {
                    let texts: Vec<Vec<u8>> = records
                        .iter()
                        .filter_map(|data| match data {
                            RData::TXT(txt) => Some(txt.txt_data.concat()),
                            _ => None,
                        })
                        .collect();
                    expansion.handle_answer(&query, texts.iter().map(Vec::as_slice));
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let found = expansion.finish();
        match failure {
            _ if !found.is_empty() => Ok(found),
            Some(error) => Err(error),
            None => Err(ResolveError::Empty(name.to_owned())),
        }
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, ResolveError> {
        let answer = self.inner.lookup(name, kind).await;
        let answer = answer.map_err(|source| ResolveError::Lookup {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        let data = answer.answers().iter().map(|record| record.data.clone());
        Ok(data.collect())
    }
}
