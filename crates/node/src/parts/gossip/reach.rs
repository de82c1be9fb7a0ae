//! The reach of the peers with which the node has exchanged gossip a short time ago.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::address::audience::Reach;

/// How long a peer counts after its link has ended. A node in a private network that loses all links at once can still dial the
/// members of which it knows.
const MEMORY: Duration = Duration::from_secs(600);

/// When a peer with each reach last had a link.
#[derive(Default)]
pub(super) struct Reaches(BTreeMap<Reach, Instant>);

impl Reaches {
    /// Peers with these reaches have links now.
    pub(super) fn note(&mut self, now: Instant, present: impl IntoIterator<Item = Reach>) {
        let present = present.into_iter().map(|reach| (reach, now));
        self.0.extend(present);
    }

    /// The reach of the nearest peer that has had a link within the last ten minutes.
    pub(super) fn nearest(&self, now: Instant) -> Option<Reach> {
        let mut from_near_to_far = self.0.iter();
        let recent = from_near_to_far.find(|(_, at)| now < **at + MEMORY);
        recent.map(|(reach, _)| *reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_peer_counts_for_ten_minutes_after_its_link_has_ended() {
        let (mut reaches, now) = (Reaches::default(), Instant::now());
        assert_eq!(reaches.nearest(now), None);
        reaches.note(now, [Reach::Internet, Reach::Machine]);
        let almost = now + MEMORY - Duration::from_millis(1);
        reaches.note(almost, [Reach::Internet]);
        assert_eq!(reaches.nearest(almost), Some(Reach::Machine));
        assert_eq!(reaches.nearest(now + MEMORY), Some(Reach::Internet));
        assert_eq!(reaches.nearest(almost + MEMORY), None);
    }
}
