//! The node's own tasks: to probe neighbours, replace lost neighbours, and contact other peers.

use std::time::{Duration, Instant};

use super::{Kind, MAX_REQUESTS, Membership};
use crate::{
    event::DownCause,
    message::{Out, Swarm},
};

/// A longer time between two steps means that this node was asleep or overloaded. Its neighbours are not to blame.
const MAX_STEP_GAP: Duration = Duration::from_secs(2);
/// How long a contacted peer may take to answer.
const CONTACT_TIMEOUT: Duration = Duration::from_secs(3);

impl Membership {
    /// A message of any kind has arrived from the peer.
    pub(crate) fn handle_heard(&mut self, now: Instant, from: u32, out: &mut Vec<Out>) {
        if let Some(neighbour) = self.views.neighbour_mut(from) {
            (neighbour.heard, neighbour.probed) = (now, None);
            return;
        }
        if self.contacted.is_some_and(|(peer, _)| peer == from) {
            self.contacted = None;
        }
        // A peer that was set aside answers again.
        if self.views.aside.iter().any(|(peer, _)| *peer == from) {
            self.views.forget(from);
            self.remember(from);
            self.ask(now, from, true, Kind::Request, out);
        }
    }

    /// The network has changed: neighbours are probed and other peers are contacted now.
    pub(crate) fn handle_network_change(&mut self, now: Instant, out: &mut Vec<Out>) {
        let silent_since = now.checked_sub(self.config.silence_timeout).unwrap_or(now);
        for neighbour in &mut self.views.active {
            neighbour.heard = neighbour.heard.min(silent_since);
        }
        self.views.roots.iter_mut().for_each(|root| root.due = now);
        self.next_contact = now;
        self.handle_timeout(now, out);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let mut next = self.next_shuffle.min(self.next_contact);
        for neighbour in &self.views.active {
            let due = match neighbour.probed {
                None => neighbour.heard + self.config.silence_timeout,
                Some(probed) => self.next_probe(neighbour.heard, probed),
            };
            next = next.min(due);
        }
        for request in &self.views.pending {
            next = next.min(request.until);
        }
        if let Some((_, due)) = self.views.owed.first() {
            next = next.min(*due);
        }
        if let Some((_, until)) = self.contacted {
            next = next.min(until);
        }
        if self.wants_refill() && self.next_refill > self.last_step {
            next = next.min(self.next_refill);
        }
        if self.views.active.is_empty() {
            let roots = self.views.roots.iter().map(|root| root.due);
            next = next.min(roots.min().unwrap_or(next));
        }
        Some(next)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Out>) {
        let slept = now - self.last_step;
        let due = self
            .poll_timeout()
            .is_some_and(|due| now > due + MAX_STEP_GAP);
        if slept > MAX_STEP_GAP && due {
            for neighbour in &mut self.views.active {
                (neighbour.heard, neighbour.probed) =
                    (now - self.config.silence_timeout.min(slept), None);
            }
        }
        self.last_step = now;
        self.probe_neighbours(now, out);
        self.expire_requests(now);
        if let Some((peer, until)) = self.contacted
            && now >= until
        {
            self.contacted = None;
            self.set_aside(now, peer);
        }
        let owed = self
            .views
            .owed
            .extract_if(.., |(_, due)| now >= *due)
            .collect::<Vec<_>>();
        for (peer, _) in owed {
            if !self.is_neighbour(peer) && !self.views.is_pending(peer) {
                self.dismiss(now, peer, true, out);
            }
        }
        self.views.aside.retain(|(_, until)| now < *until);
        if now >= self.next_shuffle {
            self.next_shuffle = now + self.rng.jittered(self.config.shuffle_interval);
            self.shuffle(now, out);
        }
        if now >= self.next_contact {
            let isolated = self.views.active.is_empty();
            let gap = self.config.contact_interval / if isolated { 10 } else { 1 };
            self.next_contact = now + self.rng.jittered(gap);
            self.contact(now, out);
        }
        self.refill(now, out);
        self.join_roots(now, out);
    }

    /// Asks remembered peers until enough requests are in flight.
    pub(super) fn refill(&mut self, now: Instant, out: &mut Vec<Out>) {
        while self.wants_refill() && now >= self.next_refill {
            let askable = self.views.askable(now);
            let Some(peer) = self.rng.pick(&askable) else {
                self.next_refill = self
                    .views
                    .next_askable()
                    .unwrap_or(now)
                    .max(now + self.config.request_timeout / 4);
                return;
            };
            // A single neighbour is fragile. It may also be the only one that names this node to others.
            let high = self.views.active.len() <= 1;
            self.ask(now, peer, high, Kind::Request, out);
        }
    }

    fn wants_refill(&self) -> bool {
        let requests = self.views.requests();
        let open = self.views.active.len() + requests < self.config.max_active;
        open && requests < MAX_REQUESTS && !self.views.passive.is_empty()
    }

    /// Without a neighbour, asks the peers that the user named.
    pub(super) fn join_roots(&mut self, now: Instant, out: &mut Vec<Out>) {
        if !self.views.active.is_empty() {
            return;
        }
        let mut due = Vec::new();
        for root in &mut self.views.roots {
            if now >= root.due {
                root.asked(now, &mut self.rng);
                due.push(root.peer);
            }
        }
        for peer in due {
            self.expect_reply(now);
            out.push(Out::Swarm(peer, Swarm::Join));
        }
    }

    pub(super) fn set_aside(&mut self, now: Instant, peer: u32) {
        // A peer that the user named stays where it is: it is asked again in any case.
        let is_root = self.views.roots.iter().any(|root| root.peer == peer);
        let is_known = self.views.passive.contains(&peer)
            || self.views.aside.iter().any(|(aside, _)| *aside == peer);
        if is_known || is_root {
            let until = now + self.config.set_aside_time;
            self.views.put_aside(peer, until, self.config.max_passive);
        }
    }

    fn next_probe(&self, heard: Instant, probed: Instant) -> Instant {
        let last = heard + self.config.silence_timeout + self.config.probe_timeout;
        (probed + self.config.probe_timeout / 2)
            .min(last.max(probed + self.config.probe_timeout / 4))
    }

    fn probe_neighbours(&mut self, now: Instant, out: &mut Vec<Out>) {
        let (mut lost, mut silent) = (Vec::new(), Vec::new());
        for neighbour in &mut self.views.active {
            if now >= neighbour.heard + self.config.silence_timeout + self.config.probe_timeout
                && neighbour.probed.is_some()
            {
                lost.push(neighbour.peer);
            } else if now >= neighbour.heard + self.config.silence_timeout
                && neighbour
                    .probed
                    .is_none_or(|probed| now >= probed + self.config.probe_timeout / 2)
            {
                neighbour.probed = Some(now);
                silent.push(neighbour.peer);
            }
        }
        for peer in silent {
            self.send_contact(peer, out);
        }
        for peer in lost {
            self.drop_neighbour(peer, DownCause::TimedOut, out);
            self.dismiss(now, peer, true, out);
            self.views.put_aside(
                peer,
                now + self.config.set_aside_time,
                self.config.max_passive,
            );
        }
    }

    /// A Shuffle that names only its sender. Bowline and iroh answer it in any case.
    fn send_contact(&self, peer: u32, out: &mut Vec<Out>) {
        let (origin, nodes) = (self.me, vec![self.me]);
        out.push(Out::Swarm(
            peer,
            Swarm::Shuffle {
                origin,
                nodes,
                ttl: 0,
            },
        ));
    }

    fn expire_requests(&mut self, now: Instant) {
        let expired = self
            .views
            .pending
            .extract_if(.., |request| now >= request.until);
        for request in expired.collect::<Vec<_>>() {
            if request.kind == Kind::Request {
                self.set_aside(now, request.peer);
            }
        }
    }

    fn shuffle(&mut self, now: Instant, out: &mut Vec<Out>) {
        let Some(to) = self.other_neighbour(&[]) else {
            return;
        };
        let active = self.neighbours().filter(|peer| *peer != to).collect();
        let mut nodes = self.rng.sample(active, 3);
        nodes.extend(self.rng.sample(self.views.passive.clone(), 4));
        nodes.push(self.me);
        self.expect_reply(now);
        let (origin, ttl) = (self.me, self.config.shuffle_walk);
        out.push(Out::Swarm(to, Swarm::Shuffle { origin, nodes, ttl }));
    }

    /// Contacts one peer that is not a neighbour. Half of the contacts go to peers that were set aside or named by the user.
    fn contact(&mut self, now: Instant, out: &mut Vec<Out>) {
        let roots = self.views.roots.iter().map(|root| root.peer);
        let roots = roots.filter(|peer| !self.is_neighbour(*peer));
        let lost = self
            .views
            .aside
            .iter()
            .map(|(peer, _)| *peer)
            .chain(roots)
            .collect::<Vec<_>>();
        let prefers_lost = self.rng.below(2) == 0;
        let choice = match lost.is_empty() || (!prefers_lost && !self.views.passive.is_empty()) {
            true => self.rng.pick(&self.views.passive),
            false => self.rng.pick(&lost),
        };
        if let Some(peer) = choice {
            self.contacted = Some((peer, now + CONTACT_TIMEOUT));
            self.expect_reply(now);
            self.send_contact(peer, out);
        }
    }
}
