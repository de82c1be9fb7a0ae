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
/// The source looks up the names at the start. It looks them up again if the node needs peers: after a minute, or at once when
/// the network has changed. A failed name is looked up again after a pause of its own. A record must name its peer, because
/// otherwise the owner of the address decides which peer it is. One round takes at most 100 addresses and looks up at most 32
/// names, to a depth of 4, one after another with at most 5 s each. `seed` spreads the pauses after failures.
///
/// The questions go to the name servers of this host. A node that dials through a proxy must not use this source.
pub fn dnsaddr(
    names: Vec<(String, Option<PeerId>)>,
    look_up: TxtLookup,
    seed: u64,
) -> Task<PeerId, Multiaddr> {
    Task::new(move |finds| run(names, look_up, seed, finds))
}

/// A name of the configuration, with its own pauses: a name that fails neither hastens nor silences the others.
struct Name {
    name: String,
    peer: Option<PeerId>,
    backoff: Backoff,
    /// When the name may be asked again.
    next: Instant,
    /// Whether the user knows that the name fails.
    reported: bool,
}

async fn run(
    names: Vec<(String, Option<PeerId>)>,
    look_up: TxtLookup,
    seed: u64,
    mut finds: Finds<PeerId, Multiaddr>,
) {
    let mut jitter = Jitter::new(seed);
    let name = |(name, peer)| Name {
        name,
        peer,
        backoff: Backoff::new(FAILED.0),
        next: Instant::now(),
        reported: false,
    };
    let mut names: Vec<Name> = names.into_iter().map(name).collect();
    // The addresses that were named last, the oldest first.
    let mut latest = VecDeque::new();
    loop {
        let now = Instant::now();
        let due: Vec<&mut Name> = names.iter_mut().filter(|name| name.next <= now).collect();
        let found = ask_all(due, &look_up, &mut jitter, &finds).await;
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
        let Some(next) = names.iter().map(|name| name.next).min() else {
            return;
        };
        if wait(next, &mut finds).await {
            for name in &mut names {
                name.backoff.reset();
                name.next = Instant::now();
            }
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

/// Asks for these names, and sets when each is asked again. Returns the peers with their addresses, in the order of the records.
async fn ask_all(
    names: Vec<&mut Name>,
    look_up: &TxtLookup,
    jitter: &mut Jitter,
    finds: &Finds<PeerId, Multiaddr>,
) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let mut expansion = Expansion::default();
    for name in names {
        let pause = match ask_one(name, &mut expansion, look_up).await {
            None => {
                name.backoff.reset();
                name.reported = false;
                FRESH
            }
            Some(failure) => {
                // A failure is reported when it begins, and not each time that it is found again.
                if !std::mem::replace(&mut name.reported, true) {
                    finds.problem(failure).await;
                }
                let cap = if finds.need().isolated {
                    FAILED.1
                } else {
                    FAILED.2
                };
                name.backoff.next(cap, jitter)
            }
        };
        name.next = Instant::now() + pause;
    }
    expansion.into_peers()
}

/// Asks for a name, and for those to which its records lead. Returns why no record named a peer. A name that needs no question
/// in this round has not failed.
async fn ask_one(
    name: &Name,
    expansion: &mut Expansion,
    look_up: &TxtLookup,
) -> Option<SourceError> {
    let before = expansion.named();
    let (mut asked, mut reason) = (false, None);
    expansion.begin(&name.name, name.peer);
    while let Some(query) = expansion.poll_query() {
        asked = true;
        let answer = timeout(LOOK_UP, (look_up.0)(format!("_dnsaddr.{}", query.name()))).await;
        match answer.unwrap_or_else(|_| Err(format!("no answer within {LOOK_UP:?}"))) {
            Ok(records) => expansion.handle_answer(&query, &records),
            Err(error) => reason = Some(error),
        }
    }
    let name = name.name.clone();
    (asked && expansion.named() == before).then_some(match reason {
        Some(reason) => SourceError::Resolve { name, reason },
        None => SourceError::Empty { name },
    })
}
