//! The DHT: its behaviour, and the jobs of standard input.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use cid::Cid;
use libp2p::{
    PeerId, StreamProtocol, identify,
    kad::{self, QueryId, QueryResult, Quorum, Record, RecordKey, store::MemoryStore},
};

use crate::event::{self, Event};

/// How long one job may take.
const LIMIT: Duration = Duration::from_secs(20);

pub type Behaviour = kad::Behaviour<MemoryStore>;

/// The DHT with the protocol `/NAME/kad/1.0.0`, and its jobs that are not done.
pub struct Dht {
    protocol: StreamProtocol,
    jobs: HashMap<QueryId, Job>,
}

struct Job {
    text: String,
    /// The peer that is looked for.
    wanted: Option<PeerId>,
    found: Vec<String>,
}

/// What a job has come to at once.
enum Begun {
    Done(Vec<String>),
    Asked(QueryId, Option<PeerId>),
}

/// A server with these settings.
pub fn server(peer: PeerId, config: kad::Config) -> Behaviour {
    let mut behaviour = Behaviour::with_config(peer, MemoryStore::new(peer), config);
    behaviour.set_mode(Some(kad::Mode::Server));
    behaviour
}

/// The peer is in the table once it has said where it listens: inbound peers are not there before.
pub fn note_identified(dht: &mut Behaviour, peer: &PeerId, info: &identify::Info) {
    let serves = |name: &StreamProtocol| info.protocols.contains(name);
    if dht.protocol_names().iter().any(serves) {
        for address in &info.listen_addrs {
            dht.add_address(peer, address.clone());
        }
    }
}

impl Dht {
    pub fn new(name: &str) -> Result<Self> {
        let protocol = StreamProtocol::try_from_owned(format!("/{name}/kad/1.0.0"));
        Ok(Self {
            protocol: protocol.with_context(|| format!("not a name: {name}"))?,
            jobs: HashMap::new(),
        })
    }

    pub fn config(&self) -> kad::Config {
        let mut config = kad::Config::new(self.protocol.clone());
        config.set_query_timeout(LIMIT);
        config
    }

    /// Starts a job: `find PEER`, `put KEY VALUE`, `get KEY`, `provide CID`, `providers CID` or `table`. Keys and values are
    /// hexadecimal digits.
    pub fn start(&mut self, behaviour: &mut Behaviour, text: &str) -> Result<()> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match begin(behaviour, &words) {
            Ok(Begun::Done(found)) => tell(text, &found, None),
            Ok(Begun::Asked(query, wanted)) => {
                let (text, found) = (text.to_owned(), Vec::new());
                let job = Job {
                    text,
                    wanted,
                    found,
                };
                self.jobs.insert(query, job);
                Ok(())
            }
            Err(error) => tell(text, &[], Some(&format!("{error:#}"))),
        }
    }

    /// Takes the progress of a job, and tells its outcome at its end.
    pub fn handle(&mut self, behaviour: &mut Behaviour, event: &kad::Event) -> Result<()> {
        let kad::Event::OutboundQueryProgressed {
            id, result, step, ..
        } = event
        else {
            return Ok(());
        };
        let Some(job) = self.jobs.get_mut(id) else {
            return Ok(());
        };
        let error = job.take(behaviour, result).err();
        if step.last
            && let Some(job) = self.jobs.remove(id)
        {
            let error = error.map(|error| format!("{error:#}"));
            tell(&job.text, &job.found, error.as_deref())?;
        }
        Ok(())
    }
}

fn tell(job: &str, found: &[String], error: Option<&str>) -> Result<()> {
    Ok(event::emit(&Event::Dht { job, found, error })?)
}

fn begin(dht: &mut Behaviour, words: &[&str]) -> Result<Begun> {
    let query = match words {
        ["table"] => return Ok(Begun::Done(table(dht))),
        ["find", peer] => {
            let peer: PeerId = peer.parse()?;
            return Ok(Begun::Asked(dht.get_closest_peers(peer), Some(peer)));
        }
        ["get", key] => dht.get_record(unhex(key)?.into()),
        ["put", key, value] => {
            let record = Record::new(unhex(key)?, unhex(value)?);
            ensure!(!record.value.is_empty(), "the value is empty");
            dht.put_record(record, Quorum::One)?
        }
        ["provide", cid] => dht.start_providing(key_of(cid)?)?,
        ["providers", cid] => dht.get_providers(key_of(cid)?),
        _ => bail!("there is no such job: {words:?}"),
    };
    Ok(Begun::Asked(query, None))
}

impl Job {
    /// Only what the last step says is the outcome, so an error before it counts for nothing.
    fn take(&mut self, dht: &mut Behaviour, result: &QueryResult) -> Result<()> {
        match result {
            QueryResult::GetClosestPeers(Ok(nearest)) => {
                let wanted = self.wanted.context("the job looks for no peer")?;
                let told = nearest.peers.iter().find(|peer| peer.peer_id == wanted);
                let told = told.map_or(&[][..], |peer| &peer.addrs);
                self.found = told.iter().map(ToString::to_string).collect();
                if self.found.is_empty() {
                    // Nobody has told the address of a peer that was in the table before.
                    self.found = entry(dht, wanted);
                }
                ensure!(!self.found.is_empty(), "no peer knows it");
            }
            QueryResult::GetClosestPeers(Err(error)) => bail!("{error}"),
            QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))) => {
                let value = &found.record.value;
                // Digits sort like the bytes that they stand for.
                let better = self.found.first().is_none_or(|best| *best < hex(value));
                if better && !value.is_empty() {
                    self.found = vec![hex(value)];
                }
            }
            QueryResult::GetRecord(Err(error)) if self.found.is_empty() => bail!("{error}"),
            QueryResult::PutRecord(Err(error)) => bail!("{error}"),
            QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders {
                providers,
                ..
            })) => {
                for provider in providers.iter().map(ToString::to_string) {
                    if !self.found.contains(&provider) {
                        self.found.push(provider);
                    }
                }
            }
            QueryResult::GetProviders(Err(error)) => bail!("{error}"),
            QueryResult::StartProviding(Err(error)) => bail!("{error}"),
            _ => {}
        }
        Ok(())
    }
}

fn table(dht: &mut Behaviour) -> Vec<String> {
    let mut peers = Vec::new();
    for bucket in dht.kbuckets() {
        peers.extend(
            bucket
                .iter()
                .map(|entry| entry.node.key.preimage().to_string()),
        );
    }
    peers
}

/// The addresses of a peer in the table.
fn entry(dht: &mut Behaviour, peer: PeerId) -> Vec<String> {
    let Some(bucket) = dht.kbucket(peer) else {
        return Vec::new();
    };
    let mut entries = bucket.iter();
    let found = entries.find(|entry| *entry.node.key.preimage() == peer);
    let addresses = found.map(|entry| entry.node.value.iter().map(ToString::to_string).collect());
    addresses.unwrap_or_default()
}

/// The key of the providers of a content: the hash in its CID.
fn key_of(cid: &str) -> Result<RecordKey> {
    let cid = Cid::try_from(cid).with_context(|| format!("not a CID: {cid}"))?;
    Ok(cid.hash().to_bytes().into())
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digit = |at: usize| {
        text.get(at..at + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
    bytes.with_context(|| format!("not hexadecimal: {text}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
