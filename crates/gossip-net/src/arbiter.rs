//! Chooses the link to use to each peer, and the time at which another link to the peer is closed.
//!
//! If two Bowline peers have two live links, the link that the peer with the lower id dialed stays. A second link by the same
//! dialer replaces the first link, because a dialer that still had the first link would not dial again. Before the older of two
//! links is preferred, it is probed, because the peer may have lost it. A link to iroh is used until a newer link is up.

mod budget;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use self::budget::Budgets;
use crate::{Id, config::Config};

/// The number of a link, chosen by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The protocol on which the two ends of a link have agreed. Both protocols have the same messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkProtocol {
    /// `/bowline/gossip/1`: both ends run Bowline. If they have two links, both ends keep the same one.
    Bowline,
    /// `/iroh-gossip/1`: the peer is iroh-gossip, or behaves like it.
    Iroh,
}

/// The outcome of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The peer has answered over the link.
    Alive,
    /// The peer has not answered.
    Dead,
    /// The host cannot probe the link. The link counts as alive if a message arrives over it in time.
    Unknown,
}

/// Two links that came up within this time were dialed at the same time.
const SIMULTANEOUS_WINDOW: Duration = Duration::from_secs(5);
/// How long a probe may take.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a link that no topic uses may be silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A link that has come up.
pub(crate) struct NewLink {
    pub(crate) id: LinkId,
    pub(crate) peer: u32,
    pub(crate) dialed_by: Id,
    /// The lower id of the two ends.
    pub(crate) lower: Id,
    pub(crate) protocol: LinkProtocol,
    /// How many membership messages per second the peer may send.
    pub(crate) rate: u32,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: u32,
    dialed_by: Id,
    pub(crate) protocol: LinkProtocol,
    /// The link with the highest rank is used.
    rank: u64,
    pub(crate) up: Instant,
    heard: Instant,
    sent: Instant,
    /// Whether a message was sent over the link.
    pub(crate) has_sent: bool,
    /// The position of the link among all links by their first messages. `None`: no message has arrived over the link.
    first_heard: Option<u64>,
    /// When a probe of the link ends.
    probe_deadline: Option<Instant>,
    /// When another link replaced this link.
    replaced_at: Option<Instant>,
    pub(crate) invalid: u32,
}

/// What the arbiter asks the core to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Probe(LinkId, Instant),
    Close(LinkId, &'static str),
    /// Messages to the peer are sent over another link from now on.
    Moved(u32),
}

impl Link {
    /// Messages over a link of the same peer with a lower order are older.
    ///
    /// Two Bowline peers use the same link. iroh sends on the link that is the newest in its view, which may be the older one in
    /// this node's view, so the order of the first messages counts.
    pub(crate) fn order(&self) -> u64 {
        match self.protocol {
            LinkProtocol::Bowline => self.rank,
            LinkProtocol::Iroh => self.first_heard.unwrap_or(0),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Arbiter {
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<u32, Vec<LinkId>>,
    /// The budgets of the peers with links, and of peers whose links have closed within the last four seconds.
    budgets: BTreeMap<u32, Budgets>,
    rank: u64,
    /// The number of links over which a message has arrived.
    heard: u64,
}

impl Arbiter {
    pub(crate) fn new() -> Self {
        Self {
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            budgets: BTreeMap::new(),
            rank: 0,
            heard: 0,
        }
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    pub(crate) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied()
    }

    /// The peers that this arbiter refers to.
    pub(crate) fn handles(&self) -> impl Iterator<Item = u32> {
        self.budgets.keys().copied()
    }

    /// Whether the peer has several links.
    pub(crate) fn has_several(&self, peer: u32) -> bool {
        self.by_peer.get(&peer).is_some_and(|links| links.len() > 1)
    }

    /// The link over which messages to the peer are sent.
    pub(crate) fn current(&self, peer: u32) -> Option<LinkId> {
        let links = self.by_peer.get(&peer)?.iter().copied();
        links.max_by_key(|link| self.links[link].rank)
    }

    pub(crate) fn handle_up(&mut self, now: Instant, new: NewLink, out: &mut Vec<Verdict>) {
        let NewLink {
            id,
            peer,
            dialed_by,
            lower,
            protocol,
            rate,
        } = new;
        let old = self.current(peer);
        self.rank += 1;
        let entry = Link {
            peer,
            dialed_by,
            protocol,
            rank: self.rank,
            up: now,
            heard: now,
            sent: now,
            has_sent: false,
            first_heard: None,
            probe_deadline: None,
            replaced_at: None,
            invalid: 0,
        };
        if self.links.insert(id, entry).is_some() {
            return;
        }
        self.by_peer.entry(peer).or_default().push(id);
        self.budgets
            .retain(|peer, budgets| self.by_peer.contains_key(peer) || !budgets.are_full(now));
        self.budgets
            .entry(peer)
            .or_insert_with(|| Budgets::new(now, rate));
        let Some(old) = old else {
            return;
        };
        out.push(Verdict::Moved(peer));
        let before = &self.links[&old];
        let keeps_old = protocol == LinkProtocol::Bowline
            && before.protocol == LinkProtocol::Bowline
            && before.dialed_by != dialed_by
            && before.dialed_by == lower;
        if !keeps_old {
            self.drain(now, old);
        } else if now < before.up + SIMULTANEOUS_WINDOW {
            self.prefer(now, old);
        } else {
            self.links
                .entry(old)
                .and_modify(|old| old.probe_deadline = Some(now + PROBE_TIMEOUT));
            out.push(Verdict::Probe(old, now + PROBE_TIMEOUT));
        }
    }

    /// Forgets a link. Returns its peer, whether it was in use, and whether anything was sent over it.
    pub(crate) fn handle_closed(&mut self, link: LinkId) -> Option<(u32, bool, bool)> {
        let peer = self.links.get(&link)?.peer;
        let was_current = self.current(peer) == Some(link);
        let entry = self.links.remove(&link)?;
        if let Some(links) = self.by_peer.get_mut(&peer) {
            links.retain(|other| *other != link);
            if links.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
        // The link that takes over is no longer replaced.
        if let Some(current) = self.current(peer) {
            self.links
                .entry(current)
                .and_modify(|link| link.replaced_at = None);
        }
        Some((peer, was_current, entry.has_sent))
    }

    /// A message has arrived over a link, which answers a probe. Returns whether it is the first one, so that another link to the
    /// peer may be closed.
    pub(crate) fn handle_heard(
        &mut self,
        now: Instant,
        link: LinkId,
        out: &mut Vec<Verdict>,
    ) -> bool {
        let Some(entry) = self.links.get_mut(&link) else {
            return false;
        };
        entry.heard = now;
        let is_first = entry.first_heard.is_none();
        if is_first {
            self.heard += 1;
            entry.first_heard = Some(self.heard);
        }
        let probed = entry.probe_deadline.take().is_some();
        if probed {
            out.push(Verdict::Moved(entry.peer));
            self.prefer(now, link);
        }
        is_first
    }

    pub(crate) fn handle_probe(
        &mut self,
        now: Instant,
        link: LinkId,
        outcome: Probe,
        out: &mut Vec<Verdict>,
    ) {
        let is_probed = self
            .links
            .get(&link)
            .is_some_and(|entry| entry.probe_deadline.is_some());
        match outcome {
            Probe::Alive => {
                self.handle_heard(now, link, out);
            }
            Probe::Dead if is_probed => out.push(Verdict::Close(
                link,
                "the peer does not answer over this link",
            )),
            _ => {}
        }
    }

    pub(crate) fn handle_sent(&mut self, now: Instant, link: LinkId) {
        if let Some(entry) = self.links.get_mut(&link) {
            (entry.sent, entry.has_sent) = (now, true);
        }
    }

    /// Whether the peer of a link may send one more membership message.
    pub(crate) fn admit(&mut self, now: Instant, link: LinkId) -> bool {
        let peer = self.links.get(&link).map(|link| link.peer);
        let budgets = peer.and_then(|peer| self.budgets.get_mut(&peer));
        budgets.is_some_and(|budgets| budgets.receive(now))
    }

    /// Whether one more membership message of another peer may be forwarded to this peer. The receiver drops what exceeds its
    /// limit, which would also hit the messages of this node itself.
    pub(crate) fn may_forward(&mut self, now: Instant, peer: u32) -> bool {
        let budgets = self.budgets.get_mut(&peer);
        budgets.is_none_or(|budgets| budgets.forward(now))
    }

    /// When the next link may be closed. `in_use` says whether a topic uses the links to a peer.
    pub(crate) fn poll_timeout(
        &self,
        config: &Config,
        in_use: impl Fn(u32) -> bool,
    ) -> Option<Instant> {
        let due = self.links.iter().filter_map(|(id, link)| {
            let closes = self.closes_at(*id, link, config, &in_use).map(|(at, _)| at);
            link.probe_deadline.into_iter().chain(closes).min()
        });
        due.min()
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        config: &Config,
        in_use: impl Fn(u32) -> bool,
        out: &mut Vec<Verdict>,
    ) {
        for (id, link) in &self.links {
            if link.probe_deadline.is_some_and(|until| now >= until) {
                out.push(Verdict::Close(
                    *id,
                    "the peer does not answer over this link",
                ));
            } else if let Some((at, reason)) = self.closes_at(*id, link, config, &in_use)
                && now >= at
            {
                out.push(Verdict::Close(*id, reason));
            }
        }
    }

    fn closes_at(
        &self,
        id: LinkId,
        link: &Link,
        config: &Config,
        in_use: &impl Fn(u32) -> bool,
    ) -> Option<(Instant, &'static str)> {
        let quiet = link.heard.max(link.sent);
        let Some(since) = link.replaced_at else {
            let is_alone = self.current(link.peer) == Some(id);
            return (is_alone && !in_use(link.peer))
                .then_some((quiet + IDLE_TIMEOUT, "no topic uses this link"));
        };
        let current = &self.links[&self.current(link.peer)?];
        let peer_has_moved = current.first_heard.is_some();
        let reason = "another link to this peer is used";
        match link.protocol {
            LinkProtocol::Iroh => {
                peer_has_moved.then_some((quiet + config.iroh_drain_time, reason))
            }
            LinkProtocol::Bowline if peer_has_moved => {
                Some((quiet.max(since) + config.drain_time, reason))
            }
            LinkProtocol::Bowline => Some((quiet.max(since) + 2 * config.drain_time, reason)),
        }
    }

    /// Uses this link from now on, and drains the others.
    fn prefer(&mut self, now: Instant, link: LinkId) {
        self.rank += 1;
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        (entry.rank, entry.replaced_at) = (self.rank, None);
        let others = self.by_peer.get(&entry.peer).cloned().unwrap_or_default();
        for other in others {
            if other != link {
                self.drain(now, other);
            }
        }
    }

    fn drain(&mut self, now: Instant, link: LinkId) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.replaced_at.get_or_insert(now);
        }
    }
}
