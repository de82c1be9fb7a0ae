//! The life of links.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{Core, Output};
use crate::{
    DownCause, Id, LinkId, TopicId,
    arbiter::{LinkProtocol, NewLink, Probe, Verdict},
};

/// How long after a change the links are checked for those to close. A check takes time for each link and each topic, so it does
/// not follow each change at once.
const LINK_CHECK_DELAY: Duration = Duration::from_millis(500);

impl Core {
    /// A link is up. `dialed_by` is the end that opened it: this node or the peer.
    pub fn handle_link_up(
        &mut self,
        now: Instant,
        link: LinkId,
        peer: Id,
        dialed_by: Id,
        protocol: LinkProtocol,
    ) {
        if peer == self.me {
            self.close(now, link, "a link to this node itself");
            return;
        }
        let handle = self.peers.intern(peer);
        if protocol == LinkProtocol::Iroh {
            self.peers.speaks_iroh(handle);
        }
        tracing::debug!(?link, %peer, %dialed_by, ?protocol, "a link is up");
        self.counters.opened += 1;
        self.dials.remove(&handle);
        self.waiting.retain(|waiting| *waiting != handle);
        let mut verdicts = Vec::new();
        let new = NewLink {
            id: link,
            peer: handle,
            dialed_by,
            lower: self.me.min(peer),
            protocol,
            rate: self.config.max_control_rate,
        };
        self.arbiter.handle_up(now, new, &mut verdicts);
        self.apply(now, verdicts);
        self.check_links_soon(now);
        self.wake(handle);
        self.dial_next(now);
    }

    /// A link is closed, by either end.
    pub fn handle_link_closed(&mut self, now: Instant, link: LinkId) {
        let lasted = self.arbiter.get(link).map(|link| now - link.up);
        let Some((peer, was_current, has_sent)) = self.arbiter.handle_closed(link) else {
            return;
        };
        tracing::debug!(?link, ?lasted, was_current, "a link is closed");
        self.check_links_soon(now);
        self.counters.closed += 1;
        self.counters.lost += u64::from(was_current && has_sent);
        let millis = lasted.map_or(0, |lasted| lasted.as_millis());
        self.counters.lasted_ms += u64::try_from(millis).unwrap_or(0);
        if self.arbiter.current(peer).is_some() {
            // What was on its way over the closed link may be lost.
            if has_sent {
                self.announce_again(now, peer);
            }
            self.wake(peer);
            return;
        }
        self.drop_outbox(peer);
        self.with_all_memberships(now, |membership, out| {
            membership.handle_link_gone(now, peer, out)
        });
    }

    /// The stream of a topic on a link cannot be written, although the link opens further streams. The peer may take part in fewer
    /// topics than this node, and refuse the streams of some.
    pub fn handle_stream_failed(&mut self, now: Instant, link: LinkId, topic: TopicId) {
        let Some(peer) = self.arbiter.get(link).map(|link| link.peer) else {
            return;
        };
        if self.arbiter.has_several(peer) {
            // The peer has closed this link, and uses the other one.
            self.close(now, link, "a stream of the link cannot be written");
            return;
        }
        self.with_membership(now, topic, |membership, out| {
            membership.handle_unreachable(now, peer, out)
        });
    }

    /// A dial has failed.
    pub fn handle_dial_failed(&mut self, now: Instant, peer: &Id) {
        if let Some(peer) = self.peers.find(peer)
            && self.dials.contains_key(&peer)
        {
            self.dial_failed(now, peer);
        }
    }

    /// The outcome of a probe.
    pub fn handle_probe(&mut self, now: Instant, link: LinkId, outcome: Probe) {
        let mut verdicts = Vec::new();
        self.arbiter.handle_probe(now, link, outcome, &mut verdicts);
        self.apply(now, verdicts);
        self.check_links_soon(now);
    }

    pub(super) fn dial_failed(&mut self, now: Instant, peer: u32) {
        self.dials.remove(&peer);
        self.counters.failed_dials += 1;
        self.dial_next(now);
        if self.arbiter.current(peer).is_some() {
            return;
        }
        self.outboxes.remove(&peer);
        self.with_all_memberships(now, |membership, out| {
            membership.handle_unreachable(now, peer, out)
        });
    }

    /// Forgets the messages that wait for a peer.
    fn drop_outbox(&mut self, peer: u32) {
        let dropped = self.outboxes.remove(&peer);
        let is_lost = dropped.is_some_and(|outbox| !outbox.is_empty());
        self.counters.unsent += u64::from(is_lost);
    }

    pub(super) fn apply(&mut self, now: Instant, verdicts: Vec<Verdict>) {
        if !verdicts.is_empty() {
            self.check_links_soon(now);
        }
        for verdict in verdicts {
            match verdict {
                Verdict::Probe(link, until) => self.outputs.push_back(Output::Probe(link, until)),
                Verdict::Close(link, reason) => self.close(now, link, reason),
                Verdict::Moved(peer) => {
                    self.counters.replaced += 1;
                    self.wake(peer);
                }
            }
        }
    }

    pub(super) fn close(&mut self, now: Instant, link: LinkId, reason: &'static str) {
        tracing::debug!(?link, reason, "this node closes a link");
        self.outputs.push_back(Output::Close(link, reason));
        self.handle_link_closed(now, link);
    }

    /// A write to a link has made no progress for too long.
    pub fn handle_stalled(&mut self, now: Instant, link: LinkId) {
        let Some(peer) = self.arbiter.get(link).map(|link| link.peer) else {
            return;
        };
        if self.arbiter.current(peer) == Some(link) {
            self.stalled(now, peer, link);
        } else {
            // The peer has come back over another link, and has lost this one.
            self.close(now, link, "the peer does not read this link");
        }
    }

    pub(super) fn stalled(&mut self, now: Instant, peer: u32, link: LinkId) {
        self.counters.stalled += 1;
        self.evict(now, peer, DownCause::Stalled);
        self.drop_outbox(peer);
        self.close(now, link, "the peer does not read");
    }

    /// A link may be due earlier than before, so the links are checked soon.
    pub(super) fn check_links_soon(&mut self, now: Instant) {
        let at = now + LINK_CHECK_DELAY;
        self.links_due = Some(self.links_due.map_or(at, |due| due.min(at)));
    }

    /// Closes the links that are due.
    pub(super) fn check_links(&mut self, now: Instant) {
        let used = self.used_peers();
        let in_use = |peer: u32| used.contains(&peer);
        let mut verdicts = Vec::new();
        self.arbiter
            .handle_timeout(now, &self.config, in_use, &mut verdicts);
        self.links_due = None;
        self.apply(now, verdicts);
        let next = self.arbiter.poll_timeout(&self.config, in_use);
        self.links_due = self.links_due.into_iter().chain(next).min();
    }

    /// The peers that are neighbours in a topic, and those for which a message waits.
    fn used_peers(&self) -> BTreeSet<u32> {
        let topics = self.topics.values();
        let neighbours = topics.flat_map(|entry| entry.topic.membership().neighbours());
        let waiting = self.outboxes.iter();
        let waiting = waiting.filter(|(_, outbox)| !outbox.is_empty());
        neighbours.chain(waiting.map(|(peer, _)| *peer)).collect()
    }

    /// All links.
    pub fn links(&self) -> Vec<LinkId> {
        self.arbiter.links().collect()
    }

    fn announce_again(&mut self, now: Instant, peer: u32) {
        for entry in self.topics.values_mut() {
            entry.topic.broadcast_mut().handle_replaced(now, peer);
        }
    }

    /// Wakes the writer of the link that is used now.
    fn wake(&mut self, peer: u32) {
        if let Some(link) = self.arbiter.current(peer)
            && self.has_messages_for(peer)
        {
            self.outputs.push_back(Output::Transmit(link));
        }
    }
}
