//! The addresses of a peer as several others name them.

use super::{key::Distance, message::MAX_ADDRESSES};

/// Who named each of a peer's addresses, by the distance from the target of a lookup. `None`: this node. If there are too many
/// addresses, each namer keeps about as many as the others. The first one therefore cannot fill all places with addresses at
/// which nobody is.
#[derive(Debug, Clone, Default)]
pub(super) struct Namers(Vec<Option<Distance>>);

impl Namers {
    /// A peer with `count` addresses that `namer` has named.
    pub(super) fn of(namer: Option<Distance>, count: usize) -> Self {
        Self(vec![namer; count])
    }

    /// Puts further addresses in front of the known ones. Returns whether there are any.
    pub(super) fn learn<A: PartialEq>(
        &mut self,
        known: &mut Vec<A>,
        named: Vec<A>,
        namer: Option<Distance>,
    ) -> bool {
        let mut added = 0;
        for address in named {
            let is_known = known.contains(&address);
            if !is_known && (known.len() < MAX_ADDRESSES || self.make_room(known, namer)) {
                known.insert(added, address);
                self.0.insert(added, namer);
                added += 1;
            }
        }
        added > 0
    }

    /// Drops the last address of the peer that has named most of them, unless `namer` would then have more than that peer.
    fn make_room<A>(&mut self, known: &mut Vec<A>, namer: Option<Distance>) -> bool {
        let count = |of: &Option<Distance>| self.0.iter().filter(|other| *other == of).count();
        let most = self.0.iter().copied().max_by_key(count);
        let Some(most) = most.filter(|most| count(most) > count(&namer) + 1) else {
            return false;
        };
        let last = self.0.iter().rposition(|of| *of == most);
        let Some(last) = last.filter(|last| *last < known.len()) else {
            return false;
        };
        known.remove(last);
        self.0.remove(last);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namer_keeps_its_share_of_the_addresses_and_the_latest_is_first() {
        let namer = |number: u8| Some(Distance::from_fraction(f64::from(number) / 100.0));
        let (mut known, mut namers) = (Vec::new(), Namers::default());
        assert!(namers.learn(&mut known, (0..9).collect(), namer(1)));
        assert_eq!(known, (0..8).collect::<Vec<u8>>());
        assert!(!namers.learn(&mut known, vec![3], namer(2)), "it is known");
        assert!(namers.learn(&mut known, vec![20], namer(2)));
        assert_eq!(known, [20, 0, 1, 2, 3, 4, 5, 6]);
        assert!(namers.learn(&mut known, (30..38).collect(), namer(3)));
        assert_eq!(known, [30, 31, 32, 20, 0, 1, 2, 3]);
        assert!(!namers.learn(&mut known, vec![9], namer(1)));
        assert!(namers.learn(&mut known, vec![40], None));
        assert_eq!(known, [40, 30, 31, 32, 20, 0, 1, 2]);
    }
}
