//! Resolves names to addresses with hickory.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError},
    proto::rr::{IntoName, RData, RecordType},
};
use multiaddr::Multiaddr;
use tokio::time::{Instant, timeout};

use crate::{
    Family, PeerId, ResolveError,
    dnsaddr::Expansion,
    system_dns::{Files, SystemDns, build},
};

/// How long to wait for the answer of the slower address family after the other answer (RFC 8305 section 8).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Questions of one expansion that are in flight at a time.
pub(crate) const CONCURRENT: usize = 8;

/// The most addresses of one name that a dial uses. Otherwise the owner of a name could make a node dial a whole network.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// Resolves names. Clones share one configuration and one cache of 8 answers.
///
/// A resolver with the system's configuration follows changes of that configuration. It checks for a change at most once per
/// second, at a question and while a question waits for its answer. After a change it asks again, and the cache starts empty.
///
/// Dropping the future of a look-up stops the look-up. A look-up ends after the retries of the system's configuration and has
/// no other deadline: [`Direct`](crate::Direct) bounds it by the deadline of the dial.
#[derive(Clone)]
pub struct Resolver {
    source: Arc<Source>,
}

enum Source {
    System(SystemDns),
    Fixed(TokioResolver),
}

impl Default for Resolver {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// A resolver with the name servers and the hosts file of the system. It reads both at the first question. If the read fails,
    /// the question fails with [`ResolveError::NoConfig`]. A question at least one second later reads them again.
    pub fn system() -> Self {
        Self::following(Files::default())
    }

    /// Like [`Resolver::system`], with another file in the place of `/etc/resolv.conf`. Apple systems, Android and Windows
    /// have no such file, and this resolver uses their own configuration.
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

    /// A resolver that asks these name servers over UDP, or over TCP if an answer is too long for UDP.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NoConfig`] if no resolver can use these servers.
    pub fn with_nameservers(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
                c.port = server.port();
                c
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let resolver = build(config, ResolverOpts::default()).map_err(ResolveError::NoConfig)?;
        Ok(Self {
            source: Arc::new(Source::Fixed(resolver)),
        })
    }

    /// Reads the system's configuration now, unless it has been read. A host can use this to report early that host names will
    /// not resolve.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NoConfig`].
    pub fn ready(&self) -> Result<(), ResolveError> {
        match &*self.source {
            Source::Fixed(_) => Ok(()),
            Source::System(dns) => {
                let current = dns.current(Instant::now());
                current.map(drop).map_err(ResolveError::NoConfig)
            }
        }
    }

    /// The addresses of a name, IPv6 first. There are at most 16 addresses. If the name has many addresses of both families, half
    /// of them are of each family. The resolver asks for both families at the same time. After the first answer, it waits at most
    /// 50 ms for the other, in case the name server drops one kind of question (RFC 8305 section 3). If `name` is an IP address,
    /// the resolver returns it without a question to a name server.
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
                either(six, four).await.map(shorten)
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
        let addresses: Vec<_> = addresses.take(MAX_ADDRESSES_PER_NAME).collect();
        match addresses.is_empty() {
            true => Err(ResolveError::Empty(name.to_owned())),
            false => Ok(addresses),
        }
    }

    /// The multiaddrs that the TXT records of `_dnsaddr.NAME` lead to, of any transport and in the order in which they were
    /// found. The resolver follows a chain of names to a depth of 4, and returns at most 100 addresses.
    ///
    /// Each address ends in the `/p2p` id that its own record names. If `peer` is given, records that name another peer are left
    /// out, and records that name no peer get its id.
    pub async fn dnsaddr(
        &self,
        name: &str,
        peer: Option<PeerId>,
    ) -> Result<Vec<Multiaddr>, ResolveError> {
        self.dnsaddr_while(name, peer, |_| true).await
    }

    /// Like [`Resolver::dnsaddr`], but asks for the records of a name only if `may_ask` returns true for this name, which is
    /// `NAME` of `/dnsaddr/NAME`. A refused name is left out, and the look-up continues with the other names. Use this method to
    /// bound the questions of several look-ups together, because one look-up asks for at most 100 names. Also use it to keep
    /// names from the name servers that only a proxy may learn, because the records of one name lead to other names.
    ///
    /// # Errors
    ///
    /// As [`Resolver::dnsaddr`], and [`ResolveError::Empty`] if `may_ask` does not agree to the first question.
    pub async fn dnsaddr_while(
        &self,
        name: &str,
        peer: Option<PeerId>,
        may_ask: impl FnMut(&str) -> bool,
    ) -> Result<Vec<Multiaddr>, ResolveError> {
        let mut all = Vec::new();
        self.expand(name, peer, may_ask, |found| all.extend(found))
            .await?;
        Ok(all)
    }

    /// Like [`Resolver::dnsaddr`], but returns each address as soon as it is found. A name server that is slow for one record
    /// does not delay the addresses of another record.
    pub(crate) async fn expand(
        &self,
        name: &str,
        peer: Option<PeerId>,
        mut may_ask: impl FnMut(&str) -> bool,
        mut found: impl FnMut(Vec<Multiaddr>),
    ) -> Result<(), ResolveError> {
        let mut expansion = Expansion::new(name, peer);
        let mut asking = FuturesUnordered::new();
        let (mut failure, mut any) = (None, false);
        loop {
            while asking.len() < CONCURRENT
                && let Some(query) = expansion.poll_query()
            {
                if !may_ask(&query.name) {
                    continue;
                }
                asking.push(async {
                    let answer = self.txt(&format!("_dnsaddr.{}", query.name)).await;
                    (query, answer)
                });
            }
            let Some((query, answer)) = asking.next().await else {
                break;
            };
            match answer {
                Ok(texts) => expansion.handle_answer(&query, texts.iter().map(Vec::as_slice)),
                Err(error) => failure = failure.or(Some(error)),
            }
            let new = expansion.take_found();
            if !new.is_empty() {
                any = true;
                found(new);
            }
        }
        match failure {
            _ if any => Ok(()),
            Some(error) => Err(error),
            None => Err(ResolveError::Empty(name.to_owned())),
        }
    }

    /// The TXT records of `name`, which is the whole name such as `_dnsaddr.example.org`. Each record is one byte string.
    ///
    /// # Errors
    ///
    /// [`ResolveError`].
    pub async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, ResolveError> {
        let records = self.lookup(name, RecordType::TXT).await?;
        let texts = records.iter().filter_map(|data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        });
        Ok(texts.collect())
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, ResolveError> {
        let answer = match &*self.source {
            Source::Fixed(resolver) => resolver.lookup(name, kind).await,
            Source::System(dns) => loop {
                let current = dns
                    .current(Instant::now())
                    .map_err(ResolveError::NoConfig)?;
                tokio::select! {
                    answer = current.resolver.lookup(name, kind) => break answer,
                    // The former name servers may never answer.
                    () = dns.replaced(&current) => {}
                }
            },
        };
        let answer = answer.map_err(|error| failure(name, &error))?;
        let data = answer.answers().iter().map(|record| record.data.clone());
        Ok(data.collect())
    }
}

fn failure(name: &str, error: &NetError) -> ResolveError {
    if error.is_no_records_found() {
        return ResolveError::Empty(name.to_owned());
    }
    ResolveError::Lookup {
        name: name.to_owned(),
        source: io::Error::other(reason(name, error)),
    }
}

/// The reason in plain words: hickory's text of some errors is a dump of its types.
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

/// Keeps at most 16 addresses. The family with fewer addresses keeps up to half of them.
fn shorten(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut six, mut four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    six.truncate(MAX_ADDRESSES_PER_NAME - four.len().min(MAX_ADDRESSES_PER_NAME / 2));
    four.truncate(MAX_ADDRESSES_PER_NAME - six.len());
    six.extend(four);
    six
}

/// The results of both, in this order, or the result of one if the other fails or takes too long.
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
mod tests;
