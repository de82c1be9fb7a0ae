//! The life of links.

use std::time::Instant;

use super::{Core, Output};
use crate::{
    Id, LinkId,
    arbiter::{LinkProtocol, NewLink, Probe, Verdict},
};

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
            burst: 4.0 * f64::from(self.config.max_control_rate),
        };
        self.arbiter.handle_up(now, new, &mut verdicts);
        self.apply(now, verdicts);
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
        self.outboxes.remove(&peer);
        self.with_all_memberships(now, |membership, out| {
            membership.handle_link_gone(now, peer, out)
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

    pub(super) fn apply(&mut self, now: Instant, verdicts: Vec<Verdict>) {
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
        if let Some(peer) = self.arbiter.get(link).map(|link| link.peer) {
            self.stalled(now, peer, link);
        }
    }

    pub(super) fn stalled(&mut self, now: Instant, peer: u32, link: LinkId) {
        self.counters.stalled += 1;
        self.evict(now, peer, crate::DownCause::Stalled);
        self.outboxes.remove(&peer);
        self.close(now, link, "the peer does not read");
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
