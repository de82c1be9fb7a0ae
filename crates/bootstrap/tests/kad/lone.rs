//! One core whose host is the test: it decides when requests leave and which answers arrive.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bootstrap::kad::{
    Failure, Kad, KadConfig, KadEvent, PeerInfo, QueryId, Reply, Request, RequestId, Response,
};

use crate::network::*;

/// A request that has neither been answered nor cancelled.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) request: RequestId,
    pub(crate) peer: Id,
    pub(crate) message: Request<Id, Addr>,
}

impl Sent {
    /// Whether a lookup of this key asks for peers.
    pub(crate) fn looks_for(&self, key: &[u8]) -> bool {
        matches!(&self.message, Request::FindNode { key: asked } if asked == key)
    }

    pub(crate) fn is_put(&self) -> bool {
        matches!(self.message, Request::PutValue { .. })
    }
}

pub(crate) struct Lone {
    pub(crate) kad: Kad<Id, Addr>,
    pub(crate) now: Instant,
    pub(crate) open: Vec<Sent>,
    pub(crate) cancelled: Vec<Sent>,
    /// How many peers were told that this node provides something.
    pub(crate) provided: usize,
    addresses: HashMap<Id, Addr>,
    pub(crate) done: Vec<(QueryId, Answer)>,
    /// Whether requests leave the queue of the host at once.
    pub(crate) starts: bool,
    /// Whether all peers answer at once, without naming others.
    pub(crate) answers: bool,
}

/// The address of a peer, in a subnet of its own.
pub(crate) fn address(peer: u64) -> Addr {
    own_subnet(usize::try_from(peer).expect("the number is small"))
}

impl Lone {
    pub(crate) fn new(config: KadConfig) -> Self {
        let now = Instant::now();
        let mut kad = Kad::new(now, Id(40_000), 1, config, names(), place);
        kad.handle_addresses(now, vec![address(40_000)]);
        Self {
            kad,
            now,
            open: Vec::new(),
            cancelled: Vec::new(),
            provided: 0,
            addresses: HashMap::new(),
            done: Vec::new(),
            starts: true,
            answers: false,
        }
    }

    /// A core with this number of entries in its table. None of them is connected.
    pub(crate) fn with_entries(config: KadConfig, count: usize) -> Self {
        let mut lone = Self::new(config);
        lone.answers = true;
        for peer in 0.. {
            lone.connect(peer, address(peer));
            lone.with(|kad, now| kad.handle_disconnected(now, &Id(peer)));
            if lone.kad.table().count() == count {
                break;
            }
        }
        // The lookups of the node itself become rare.
        lone.pass(3000 * SECOND);
        lone.answers = false;
        lone
    }

    /// A server connects and says its address.
    pub(crate) fn connect(&mut self, peer: u64, address: Addr) {
        self.addresses.insert(Id(peer), address);
        self.with(|kad, now| {
            kad.handle_connected(now, &Id(peer), Some(&address), false);
            kad.handle_identified(now, &Id(peer), vec![address], true);
        });
    }

    pub(crate) fn with<R>(&mut self, call: impl FnOnce(&mut Kad<Id, Addr>, Instant) -> R) -> R {
        let result = call(&mut self.kad, self.now);
        self.carry_out();
        result
    }

    fn carry_out(&mut self) {
        while let Some(event) = self.kad.poll_event() {
            match event {
                KadEvent::Send {
                    request,
                    peer,
                    message,
                    ..
                } => {
                    if self.starts {
                        self.kad.handle_started(self.now, request);
                    }
                    self.open.push(Sent {
                        request,
                        peer,
                        message,
                    });
                }
                KadEvent::Cancel { request } => {
                    let cancelled = self.open.extract_if(.., |sent| sent.request == request);
                    self.cancelled.extend(cancelled);
                }
                KadEvent::Done { query, result } => self.done.push((query, result)),
                _ => {}
            }
            if self.answers {
                while let Some(sent) = self.open.pop() {
                    self.respond(sent, Vec::new());
                }
            }
        }
    }

    fn respond(&mut self, sent: Sent, closer: Vec<PeerInfo<Id, Addr>>) {
        let response = match sent.message {
            Request::FindNode { .. } => Response::FindNode { closer },
            Request::GetValue { .. } => Response::GetValue {
                record: None,
                closer,
            },
            Request::PutValue { record } => Response::PutValue { record },
            Request::GetProviders { .. } => Response::GetProviders {
                providers: Vec::new(),
                closer,
            },
            Request::AddProvider { .. } => {
                self.provided += 1;
                Response::Empty
            }
            _ => Response::Empty,
        };
        let remote = self.addresses.get(&sent.peer).copied();
        let remote = remote.unwrap_or(address(sent.peer.0));
        self.kad
            .handle_response(self.now, sent.request, Some(&remote), response);
    }

    /// Peers answer the requests that `is` accepts.
    pub(crate) fn answer(&mut self, is: impl Fn(&Sent) -> bool) -> usize {
        let answered: Vec<Sent> = self.open.extract_if(.., |sent| is(sent)).collect();
        let count = answered.len();
        for sent in answered {
            self.respond(sent, Vec::new());
            self.carry_out();
        }
        count
    }

    /// A peer gives this answer to a request, over a connection at this address.
    pub(crate) fn reply(&mut self, sent: &Sent, remote: Addr, response: Response<Id, Addr>) {
        self.open.retain(|other| other.request != sent.request);
        self.with(|kad, now| kad.handle_response(now, sent.request, Some(&remote), response));
    }

    /// All open requests fail.
    pub(crate) fn fail(&mut self) {
        for sent in std::mem::take(&mut self.open) {
            self.with(|kad, now| kad.handle_failed(now, sent.request, Failure::Unreachable));
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.kad.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.with(|kad, now| kad.handle_timeout(now));
        }
        self.now = end;
    }

    /// How many of at most 20 entries the core tells to others: those whose last request has not failed.
    pub(crate) fn told(&mut self) -> usize {
        let request = Request::FindNode {
            key: b"any".to_vec(),
        };
        let reply = self.with(|kad, now| kad.handle_request(now, &Id(50_000), None, request));
        match reply {
            Reply::Answer(Response::FindNode { closer }) => closer.len(),
            other => panic!("{other:?}"),
        }
    }
}
