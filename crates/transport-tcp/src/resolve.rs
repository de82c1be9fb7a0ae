//! Names to addresses, by hickory.

use std::{
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, RecordType},
};
use multiaddr::Multiaddr;
use tokio::time::timeout;

use crate::{Family, PeerId, ResolveError, dnsaddr::Expansion};

/// How long the slower family's answer is waited for once the other's is here (RFC 8305 section 8).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Questions of one expansion that are under way at a time.
pub(crate) const CONCURRENT: usize = 8;

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

    /// The addresses of a name, IPv6 first. Both families are asked at the same time; once
    /// one has answered, the other has 50 ms left, so that a name server that drops one kind of
    /// question delays nothing (RFC 8305 section 3). An address in a name's place is not asked for.
    pub async fn addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(ip) = name.trim_end_matches('.').parse::<IpAddr>() {
            return match (family, ip) {
                (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => {
                    Err(ResolveError::Empty(name.to_owned()))
                }
                _ => Ok(vec![ip]),
            };
        }
        match family {
            Family::V4 => self.lookup_ip(name, RecordType::A).await,
            Family::V6 => self.lookup_ip(name, RecordType::AAAA).await,
            Family::Any => {
                let six = self.lookup_ip(name, RecordType::AAAA);
                let four = self.lookup_ip(name, RecordType::A);
                either(six, four).await
            }
        }
    }

    async fn lookup_ip(&self, name: &str, kind: RecordType) -> Result<Vec<IpAddr>, ResolveError> {
        let records = self.lookup(name, kind).await?;
        let addresses = records.iter().filter_map(|data| match data {
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            _ => None,
        });
        let addresses: Vec<_> = addresses.collect();
        match addresses.is_empty() {
            true => Err(ResolveError::Empty(name.to_owned())),
            false => Ok(addresses),
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
        loop {
            // Names of one depth are asked together, and their answers taken in order.
            let wave: Vec<_> = std::iter::from_fn(|| expansion.poll_query()).collect();
            if wave.is_empty() {
                break;
            }
            let names: Vec<_> = wave.iter().map(|query| query.name.clone()).collect();
            let answers = stream::iter(names).map(|name| self.lookup_txt(name));
            let answers: Vec<_> = answers.buffered(CONCURRENT).collect().await;
            for (query, answer) in wave.iter().zip(answers) {
                match answer {
                    Ok(texts) => {
                        expansion.handle_answer(query, texts.iter().map(Vec::as_slice));
                    }
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        let found = expansion.finish();
        match failure {
            _ if !found.is_empty() => Ok(found),
            Some(error) => Err(error),
            None => Err(ResolveError::Empty(name.to_owned())),
        }
    }

    async fn lookup_txt(&self, name: String) -> Result<Vec<Vec<u8>>, ResolveError> {
        let records = self
            .lookup(&format!("_dnsaddr.{name}"), RecordType::TXT)
            .await?;
        let texts = records.iter().filter_map(|data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        });
        Ok(texts.collect())
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

/// What both give, in this order; or what one gives, where the other fails or takes too long.
async fn either<T, E>(
    first: impl Future<Output = Result<Vec<T>, E>>,
    second: impl Future<Output = Result<Vec<T>, E>>,
) -> Result<Vec<T>, E> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (one, two) = tokio::select! {
        one = &mut first => match one {
            Ok(one) => (Ok(one), timeout(RESOLUTION_DELAY, second).await.ok()),
            Err(error) => (Err(error), Some(second.await)),
        },
        two = &mut second => match two {
            Ok(two) => match timeout(RESOLUTION_DELAY, first).await {
                Ok(one) => (one, Some(Ok(two))),
                Err(_) => (Ok(two), None),
            },
            Err(error) => (first.await, Some(Err(error))),
        },
    };
    match (one, two) {
        (Ok(mut one), Some(Ok(two))) => {
            one.extend(two);
            Ok(one)
        }
        (Err(_), Some(Ok(two))) => Ok(two),
        (one, _) => one,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn after(millis: u64, answer: Result<Vec<u8>, u8>) -> Result<Vec<u8>, u8> {
        sleep(Duration::from_millis(millis)).await;
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn the_slower_family_has_50_ms_once_the_other_has_answered() {
        let (one, two) = (Ok(vec![1]), Ok(vec![2]));
        for (first, second, expected, took) in [
            (
                after(0, one.clone()),
                after(49, two.clone()),
                Ok(vec![1, 2]),
                49,
            ),
            (
                after(49, one.clone()),
                after(0, two.clone()),
                Ok(vec![1, 2]),
                49,
            ),
            (
                after(0, one.clone()),
                after(60, two.clone()),
                Ok(vec![1]),
                50,
            ),
            (
                after(60, one.clone()),
                after(0, two.clone()),
                Ok(vec![2]),
                50,
            ),
            (after(0, Err(1)), after(900, two.clone()), Ok(vec![2]), 900),
            (after(900, one.clone()), after(0, Err(2)), Ok(vec![1]), 900),
            (after(900, Err(1)), after(0, Err(2)), Err(1), 900),
        ] {
            let begun = Instant::now();
            assert_eq!(either(first, second).await, expected);
            let elapsed = begun.elapsed().as_millis();
            assert!(
                (took..took + 2).contains(&elapsed),
                "{elapsed} ms, not {took}"
            );
        }
    }
}
