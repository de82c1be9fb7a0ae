//! Peers from `/dnsaddr` names.

pub(crate) mod expansion;

use std::{
    collections::VecDeque, fmt, future::Future, net::SocketAddr, pin::Pin, sync::Arc,
    time::Duration,
};

use expansion::{Expansion, MAX_ADDRESSES};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, RecordType},
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Finds, Task};
use crate::{Backoff, Candidate, Jitter, Origin, SourceError};

/// How long one look-up may take.
const LOOK_UP: Duration = Duration::from_secs(5);

/// How long the addresses of a name are good for before the name is asked again, if peers are still missing then.
const FRESH: Duration = Duration::from_secs(60);

/// The pauses after a failure: full jitter, from 1 s up to 10 s while the node is isolated, and up to 300 s otherwise.
const FAILED: (Duration, Duration, Duration) = (
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(300),
);

type Answer = Result<Vec<Vec<u8>>, String>;

type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Looks up the TXT records of a name. Each record is one byte string.
#[derive(Clone)]
pub struct TxtLookup(Arc<dyn Fn(String) -> Asking + Send + Sync>);

impl TxtLookup {
    /// A look-up by a function, which gets the whole name such as `_dnsaddr.example.org`.
    pub fn new<F: Future<Output = Answer> + Send + 'static>(
        look_up: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |name| Box::pin(look_up(name))))
    }

    /// Asks the name servers of the system. Their configuration is read at each look-up, because it changes with the network.
    pub fn system() -> Self {
        Self::new(|name| async move {
            let builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
            ask(builder.build().map_err(|error| error.to_string())?, &name).await
        })
    }

    /// Asks these name servers over UDP, or over TCP if an answer does not fit.
    pub fn with_nameservers(servers: &[SocketAddr]) -> Self {
        let servers = servers.iter().map(|server| {
            let connections =
                [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        Self::new(move |name| {
            let config = config.clone();
            async move {
                let builder =
                    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
                ask(builder.build().map_err(|error| error.to_string())?, &name).await
            }
        })
    }
}

impl fmt::Debug for TxtLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TxtLookup")
    }
}

async fn ask(resolver: TokioResolver, name: &str) -> Answer {
    let answer = resolver
        .lookup(name, RecordType::TXT)
        .await
        .map_err(|error| error.to_string())?;
    let texts = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
    Ok(texts.collect())
}

/// A source of the peers that these `/dnsaddr` names lead to. A name with a peer id gives only that peer.
///
/// The source names at most 100 addresses at a time, and withdraws those that the records named longest ago.
///
/// The names are asked at the start, and again when the node needs peers: after a minute, or at once when the network has
/// changed. A record must name its peer, because otherwise the owner of the address decides which peer it is. One round takes
/// at most 100 addresses and asks for at most 32 names in all, to a depth of 4, one after the other and 5 s each. `seed`
/// spreads the pauses after failures.
///
/// The questions go to the name servers of this host. A node that dials through a proxy must not use this source.
pub fn dnsaddr(
    names: Vec<(String, Option<PeerId>)>,
    look_up: TxtLookup,
    seed: u64,
) -> Task<PeerId, Multiaddr> {
    Task::new(move |finds| run(names, look_up, seed, finds))
}

async fn run(
    names: Vec<(String, Option<PeerId>)>,
    look_up: TxtLookup,
    seed: u64,
    mut finds: Finds<PeerId, Multiaddr>,
) {
    let (mut backoff, mut jitter) = (Backoff::new(FAILED.0), Jitter::new(seed));
    let mut reported = false;
    // The addresses that were named last, the oldest first.
    let mut latest = VecDeque::new();
    loop {
        let (found, failures) = expand(&names, &look_up).await;
        // A failure is reported when it begins, and not each time that it is found again.
        for failure in failures.iter().filter(|_| !reported) {
            finds.problem(failure.clone()).await;
        }
        reported = !failures.is_empty();
        for (peer, address) in outdated(&mut latest, &found) {
            finds
                .withdrawn(Candidate::new(Some(peer), vec![address], Origin::DnsAddr))
                .await;
        }
        for (peer, addresses) in found {
            finds
                .candidate(Candidate::new(Some(peer), addresses, Origin::DnsAddr))
                .await;
        }
        let pause = match failures.is_empty() {
            true => {
                backoff.reset();
                FRESH
            }
            false => {
                let cap = if finds.need().isolated {
                    FAILED.1
                } else {
                    FAILED.2
                };
                backoff.next(cap, &mut jitter)
            }
        };
        if wait(Instant::now() + pause, &mut finds).await {
            backoff.reset();
        }
    }
}

/// Notes the addresses of a round. Returns those that make place: records that change from round to round would otherwise fill
/// all places of candidates.
fn outdated(
    latest: &mut VecDeque<(PeerId, Multiaddr)>,
    found: &[(PeerId, Vec<Multiaddr>)],
) -> Vec<(PeerId, Multiaddr)> {
    for (peer, addresses) in found {
        for address in addresses {
            let named = (*peer, address.clone());
            latest.retain(|known| *known != named);
            latest.push_back(named);
        }
    }
    let excess = latest.len().saturating_sub(MAX_ADDRESSES);
    latest.drain(..excess).collect()
}

/// Waits until `next`, and until the node needs peers. Returns early, and true, if the network has changed.
async fn wait(next: Instant, finds: &mut Finds<PeerId, Multiaddr>) -> bool {
    loop {
        let needed = finds.need().peers > 0;
        tokio::select! {
            () = sleep_until(next), if needed => return false,
            changed = finds.need_or_change() => if changed {
                return true;
            },
        }
    }
}

/// Asks for all names. Returns the peers with their addresses, in the order of the records, and the failures.
async fn expand(
    names: &[(String, Option<PeerId>)],
    look_up: &TxtLookup,
) -> (Vec<(PeerId, Vec<Multiaddr>)>, Vec<SourceError>) {
    let mut expansion = Expansion::default();
    let mut failures = Vec::new();
    for (name, peer) in names {
        let before = expansion.found().len();
        expansion.begin(name, *peer);
        let mut reason = None;
        while let Some(query) = expansion.poll_query() {
            let answer = timeout(LOOK_UP, (look_up.0)(format!("_dnsaddr.{}", query.name()))).await;
            match answer.unwrap_or_else(|_| Err(format!("no answer within {LOOK_UP:?}"))) {
                Ok(records) => expansion.handle_answer(&query, &records),
                Err(error) => reason = Some(error),
            }
        }
        if expansion.found().len() == before {
            let name = name.clone();
            failures.push(match reason {
                Some(reason) => SourceError::Resolve { name, reason },
                None => SourceError::Empty { name },
            });
        }
    }
    (expansion.into_peers(), failures)
}
