//! One candidate with its history.

use std::time::{Duration, Instant};

use crate::{Backoff, Candidate, Origin};

/// How long after the last connection a candidate is kept whose addresses are all [`Origin::Claimed`]: the host at these
/// addresses may have nothing to do with the peer, and is not dialed for ever.
const CLAIM_LIFE: Duration = Duration::from_secs(24 * 3600);

/// One address of a candidate.
#[derive(Debug)]
pub(super) struct Known<A> {
    pub(super) at: A,
    /// Who named the address: one origin at least.
    origins: Vec<Origin>,
    /// Whether the last dial has found the peer here. `None`: it was not dialed, or the dial was given up for another connection.
    worked: Option<bool>,
}

impl<A> Known<A> {
    /// The most trusted origin.
    fn trust(&self) -> Option<Origin> {
        self.origins.iter().min().copied()
    }
}

/// One candidate with its history.
#[derive(Debug)]
pub(super) struct Entry<Id, A> {
    /// The peer that must answer, if a source named one.
    pub(super) peer: Option<Id>,
    /// The peer that answered last at addresses without a peer.
    pub(super) answered: Option<Id>,
    /// The address that worked last is the first one.
    pub(super) addresses: Vec<Known<A>>,
    pub(super) backoff: Backoff,
    /// When the next dial is due. `None` while the peer is connected.
    pub(super) due: Option<Instant>,
    /// The peer was lost and is dialed at a quick pace until then.
    pub(super) lost_until: Option<Instant>,
    pub(super) dials: u64,
    /// How many dials were started since a connection lasted. The backoff may have skipped steps.
    pub(super) failures: u32,
    /// When the peer was last known to be connected, or was first named.
    seen: Instant,
    pub(super) last_connected: Option<Instant>,
    pub(super) longest: Option<Duration>,
    /// How often the peer was offered for each purpose.
    pub(super) offers: Vec<(crate::Purpose, u32)>,
}

impl<Id: Clone + Ord, A: Clone + PartialEq> Entry<Id, A> {
    pub(super) fn new(now: Instant, peer: Option<Id>, base: Duration) -> Self {
        Self {
            peer,
            answered: None,
            addresses: Vec::new(),
            backoff: Backoff::new(base),
            due: None,
            lost_until: None,
            dials: 0,
            failures: 0,
            seen: now,
            last_connected: None,
            longest: None,
            offers: Vec::new(),
        }
    }

    /// The peer that this entry stands for, as far as it is known.
    pub(super) fn identity(&self) -> Option<&Id> {
        self.peer.as_ref().or(self.answered.as_ref())
    }

    /// The most trusted origin.
    pub(super) fn origin(&self) -> Origin {
        let origins = self.addresses.iter().filter_map(Known::trust);
        origins.min().unwrap_or(Origin::Other)
    }

    /// All origins, without repetition.
    pub(super) fn origins(&self) -> Vec<Origin> {
        let mut all: Vec<_> = self
            .addresses
            .iter()
            .flat_map(|known| &known.origins)
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn is_kept(&self) -> bool {
        self.origin() == Origin::Kept
    }

    /// Many nodes may lose this peer at the same time.
    pub(super) fn is_shared(&self) -> bool {
        !self.is_kept()
            && self
                .addresses
                .iter()
                .any(|known| known.origins.iter().any(|origin| origin.is_shared()))
    }

    pub(super) fn is_lost(&self, now: Instant) -> bool {
        self.lost_until.is_some_and(|until| now < until) && self.shown().next().is_some()
    }

    /// The peer is lost from now on for so long, if it is more than a claim.
    pub(super) fn lose(&mut self, now: Instant, window: Duration) {
        let is_shown = self.shown().next().is_some();
        self.lost_until = now.checked_add(window).filter(|_| is_shown);
    }

    /// The peer is connected now, or was until now.
    pub(super) fn see(&mut self, now: Instant) {
        self.seen = now;
    }

    /// Whether the peer is known only by its own claim and was away for [`CLAIM_LIFE`].
    pub(super) fn is_outdated(&self, now: Instant) -> bool {
        let away = now.saturating_duration_since(self.seen);
        away >= CLAIM_LIFE && self.due.is_some() && self.shown().next().is_none()
    }

    /// The addresses that are more than a claim of the peer.
    pub(super) fn shown(&self) -> impl Iterator<Item = &A> {
        let is_shown = |known: &&Known<A>| known.origins.iter().any(|one| one.is_shown());
        self.addresses
            .iter()
            .filter(is_shown)
            .map(|known| &known.at)
    }

    /// The addresses of a dial. A peer that claims the addresses of others cannot aim the quick pace at them.
    pub(super) fn to_dial(&self, now: Instant) -> Vec<A> {
        match self.is_lost(now) {
            true => self.shown().cloned().collect(),
            false => self.all(),
        }
    }

    /// All addresses.
    pub(super) fn all(&self) -> Vec<A> {
        self.addresses
            .iter()
            .map(|known| known.at.clone())
            .collect()
    }

    /// Whether the candidate is dialed even if enough peers are connected.
    pub(super) fn is_urgent(&self, now: Instant) -> bool {
        self.is_kept() || self.is_lost(now)
    }

    /// Adds the addresses of a candidate. Where there is no room, another address makes place. Returns whether there is a new
    /// address.
    pub(super) fn merge(&mut self, candidate: &Candidate<Id, A>, room: usize) -> bool {
        let (origin, mut new) = (candidate.origin, false);
        for address in &candidate.addresses {
            let mut all = self.addresses.iter_mut();
            if let Some(known) = all.find(|known| known.at == *address) {
                if !known.origins.contains(&origin) {
                    known.origins.push(origin);
                }
                continue;
            }
            if self.addresses.len() >= room {
                let Some(worst) = self.outdated(candidate) else {
                    continue;
                };
                self.addresses.remove(worst);
            }
            self.addresses.push(Known {
                at: address.clone(),
                origins: vec![origin],
                worked: None,
            });
            new = true;
        }
        new
    }

    /// The address that makes place for a new address of the candidate: one of a less trusted origin, or one that is as trusted
    /// and out of date. An address is out of date if the last dial there failed. If the peer itself tells where it is, the
    /// addresses that it told before are out of date, and so are those that an earlier run has saved, unless they have worked
    /// since.
    fn outdated(&self, candidate: &Candidate<Id, A>) -> Option<usize> {
        let origin = candidate.origin;
        let is_own = matches!(origin, Origin::Peer | Origin::Claimed);
        let as_trusted = match origin {
            Origin::Peer => Origin::Saved,
            other => other,
        };
        let may_go = |known: &Known<A>| {
            let is_outdated = known.worked.map_or(is_own, |worked| !worked);
            let is_less_trusted = known.trust() > Some(origin);
            is_less_trusted || is_outdated && known.trust() >= Some(as_trusted)
        };
        let others = self.addresses.iter().enumerate();
        let others = others.filter(|(_, known)| !candidate.addresses.contains(&known.at));
        let worst = others
            .filter(|(_, known)| may_go(known))
            .max_by_key(|(at, known)| (known.trust(), known.worked == Some(false), *at));
        worst.map(|(at, _)| at)
    }

    /// A dial of these addresses has found nobody.
    pub(super) fn fail(&mut self, addresses: &[A]) {
        for known in &mut self.addresses {
            if addresses.contains(&known.at) {
                known.worked = Some(false);
            }
        }
    }

    /// `origin` no longer names these addresses. The origins that do keep them.
    pub(super) fn withdraw(&mut self, addresses: &[A], origin: Origin) {
        for known in &mut self.addresses {
            if addresses.contains(&known.at) {
                known.origins.retain(|one| *one != origin);
            }
        }
        self.addresses.retain(|known| !known.origins.is_empty());
    }

    /// An address worked: it is the first from now on.
    pub(super) fn prefer(&mut self, address: &A) {
        if let Some(at) = self.addresses.iter().position(|known| known.at == *address) {
            self.addresses[at].worked = Some(true);
            self.addresses[..=at].rotate_right(1);
        }
    }
}
